//! What the tasks and threads of a boot report to its engine.

use tokio::sync::mpsc::UnboundedSender;

use super::error::EngineError;
use crate::domain::boot::{BootCommand, Step};
use crate::domain::ids::MissionId;
use crate::log::LogError;
use crate::manifest::{Environment, Manifest};

/// One report.
pub(super) enum EngineReport {
    /// For the boot machine.
    Command(BootCommand),
    /// A wait is over: the step may be performed now.
    Due(Step),
    /// The environment files were read again, for who asked with this ticket, or could not be.
    Environment(u64, Result<Box<Environment>, EngineError>),
    /// The manifest was read again with its environment, for who asked with this ticket, or why it could not be.
    Manifest(u64, Result<Box<(Manifest, Environment)>, String>),
    /// The failures are settled, or could not be.
    Settled(Result<Settling, EngineError>),
    /// Work on a mission ended because the log cannot be written: it is done again later.
    HealWaits {
        /// Which mission.
        mission: MissionId,
        /// What the log says.
        error: LogError,
    },
}

/// What came of settling.
pub(super) enum Settling {
    /// Missions are filed and closed.
    Filed {
        /// As it is now: a fix may have changed an environment file.
        environment: Result<Box<Environment>, EngineError>,
    },
    /// The last attempt's fixes were taken back.
    RolledBack,
}

/// Where reports go.
pub(super) type Reports = UnboundedSender<EngineReport>;
