//! One supervisor at a time in a workspace.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::event::ProcessRef;
use crate::domain::ids::BootId;
use crate::kernel::{LockAttempt, LockFile, is_alive};

/// The lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another supervisor runs.
    #[error(
        "{app} is already supervised here by process {pid}; `ubs status` shows it, `ubs stop` stops it"
    )]
    Held {
        /// Name of the application.
        app: String,
        /// Its supervisor.
        pid: u32,
    },
    /// The file cannot be opened or written.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Who supervises, as the lock file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Supervisor {
    /// Name of the application.
    pub app: String,
    /// The process.
    pub process: ProcessRef,
    /// Its boot.
    pub boot: BootId,
    /// Place of the log's last event when it began.
    #[serde(default)]
    pub log_head: u64,
}

/// Held for as long as the supervisor lives; the system releases it when the process dies.
#[derive(Debug)]
pub(crate) struct SupervisorLock(LockFile);

fn path_of(state_dir: &Path) -> PathBuf {
    state_dir.join("supervisor.lock")
}

impl SupervisorLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// Another supervisor holds it, or the file cannot be opened.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, LockError> {
        let path = path_of(state_dir);
        match LockFile::try_take(&path) {
            Ok(LockAttempt::Taken(lock)) => Ok(Self(lock)),
            Ok(LockAttempt::Held(text)) => {
                let (app, pid) = serde_json::from_str::<Supervisor>(&text).map_or_else(
                    |_| ("the application".to_owned(), 0),
                    |holder| (holder.app, holder.process.pid),
                );
                Err(LockError::Held { app, pid })
            }
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// Writes who holds it, for those who want to stop or ask it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn announce(&mut self, supervisor: &Supervisor) -> std::io::Result<()> {
        self.0.write_text(&serde_json::to_vec(supervisor)?)
    }

    /// Takes the announcement back: the boot never began.
    pub(super) fn retract(&mut self) {
        // What is left of it is nobody's, as after a boot.
        let _ = self.0.write_text(b"");
    }
}

/// The supervisor that runs in this state directory, if one does.
#[must_use]
pub(crate) fn supervisor_of(state_dir: &Path) -> Option<Supervisor> {
    let text = LockFile::text_of_holder(&path_of(state_dir))?;
    let holder: Supervisor = serde_json::from_str(&text).ok()?;
    is_alive(&holder.process).then_some(holder)
}

/// The supervisor that was last announced in this state directory, whether it still runs or not.
#[must_use]
pub(crate) fn last_supervisor(state_dir: &Path) -> Option<Supervisor> {
    serde_json::from_str(&std::fs::read_to_string(path_of(state_dir)).ok()?).ok()
}
