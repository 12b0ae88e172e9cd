//! Why a boot could not be carried out.

use super::lock::LockError;
use crate::fix::PromoteError;
use crate::log::{LogError, MissionsError};

/// A boot could not be carried out, for a reason that is not the application's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// Another supervisor runs here.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An earlier boot that was interrupted could not be cleaned up.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The environment files cannot be read.
    #[error("{0}")]
    Environment(String),
    /// The system refuses something that every boot needs.
    #[error("cannot {what}: {source}")]
    Io {
        /// What.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// A signal came before the boot began.
    #[error(
        "stopped by {by} while an earlier boot was being cleaned up; the next `ubs boot` finishes that"
    )]
    Interrupted {
        /// Which signal.
        by: &'static str,
    },
    /// Our bug.
    #[error("internal error: {0}; please report it with `ubs replay last --events --json`")]
    Bug(String),
}

/// An interrupted boot could not be cleaned up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A mission.
    #[error(transparent)]
    Missions(#[from] MissionsError),
    /// A half-done promotion.
    #[error("cannot recover a promotion that was interrupted: {0}")]
    Promote(#[from] PromoteError),
    /// The caller asked to stop.
    #[error("the recovery was stopped before its end")]
    Stopped,
}
