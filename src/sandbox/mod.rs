//! Where a proposal is tried and a layer is rehearsed: isolation, limits, copies.
//!
//! May rely on `manifest` and `domain`. Knows nothing of missions or boots.

mod copy;
mod overlay;
mod run;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use copy::{CopyError, WorkspaceCopy, clone_database};
pub(crate) use overlay::Overlay;
pub(crate) use run::{
    Isolation, Loopback, SandboxError, SandboxOutcome, SandboxSpec, host_isolation, run_laid_over,
    run_sandboxed,
};
