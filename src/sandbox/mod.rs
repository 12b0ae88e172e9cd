//! Where a proposal is tried and a layer is rehearsed: isolation, limits, copies.
//!
//! May rely on `manifest` and `domain`. Knows nothing of missions or boots.

mod bounds;
mod copy;
mod lexical;
mod private;
mod python_paths;
mod report;
mod run;
mod stand_in;
mod system;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub(crate) use copy::{CopyError, SKIPPED, WorkspaceCopy, clone_database};
pub(crate) use report::{Isolation, host_isolation};
pub(crate) use run::{
    Loopback, SandboxError, SandboxOutcome, SandboxSpec, has_own_root, run_sandboxed,
};
pub(crate) use stand_in::{find_program_in_copy, prepare_copy};
pub(crate) use view::View;
pub(crate) use watch::OUTPUT_KEPT_MAX;
