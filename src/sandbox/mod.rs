//! Where a proposal is tried and a layer is rehearsed: isolation, limits, copies.
//!
//! May rely on `manifest` and `domain`. Knows nothing of missions or boots.

mod run;

pub use run::{Isolation, SandboxError, SandboxOutcome, SandboxSpec, run_sandboxed};
