//! Packages: which exact distributions mend an environment, their wheels, and the change of the live environment.
//!
//! The resolver is pip, with the index that the environment is configured for (its `pip.conf`, `PIP_*`). Only wheels are
//! downloaded and unpacked, so nothing of them runs, and a lock file is written by its own tool only where that builds
//! nothing. The live environment is copied before it is changed, and that
//! copy takes its place again if the change is taken back or was interrupted.

mod environment;
mod installer;
mod journal;
mod lock;
mod pin;

pub(super) use environment::{installed, is_usable};
pub(super) use installer::Installer;
pub(super) use journal::JournalPackages;
pub(super) use lock::{LOCKS, Lock, PROJECT};
pub(super) use pin::{pin, pin_after, pin_after_in_poetry, pin_in_poetry, pin_in_project};

use super::apply::ApplyError;

/// A refusal, as a proposal that cannot be carried out says it.
pub(super) fn refusal(environment: &str, why: String) -> ApplyError {
    ApplyError::Packages {
        environment: environment.to_owned(),
        why,
    }
}
