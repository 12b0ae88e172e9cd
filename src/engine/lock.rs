//! One supervisor at a time in a workspace.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::domain::event::ProcessRef;
use crate::domain::ids::BootId;
use crate::kernel::{LockAttempt, LockFile, is_alive};

/// A child that a supervisor was just starting when it was killed holds the lock until it runs its own program.
const FREE_WITHIN: Duration = Duration::from_secs(2);
/// Between two tries in that time.
const TRIED_EVERY: Duration = Duration::from_millis(10);

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
    /// Takes the lock. Waits a moment for one whose supervisor is dead.
    ///
    /// # Errors
    /// Another supervisor holds it, or the file cannot be opened.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, LockError> {
        let path = path_of(state_dir);
        let begun = Instant::now();
        loop {
            let text = match LockFile::try_take(&path) {
                Ok(LockAttempt::Taken(lock)) => return Ok(Self(lock)),
                Ok(LockAttempt::Held(text)) => text,
                Err(source) => return Err(LockError::Io { path, source }),
            };
            let holder = serde_json::from_str::<Supervisor>(&text).ok();
            let is_dead = holder.as_ref().is_some_and(|h| !is_alive(&h.process));
            if is_dead && begun.elapsed() < FREE_WITHIN {
                std::thread::sleep(TRIED_EVERY);
                continue;
            }
            let (app, pid) = holder.map_or_else(
                || ("the application".to_owned(), 0),
                |holder| (holder.app, holder.process.pid),
            );
            return Err(LockError::Held { app, pid });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::process_ref;

    #[test]
    fn a_lock_is_waited_for_if_its_supervisor_is_dead_and_refused_if_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = SupervisorLock::take(dir.path()).unwrap();
        let mut supervisor = Supervisor {
            app: "shop".to_owned(),
            process: process_ref(std::process::id()).unwrap(),
            boot: BootId(uuid::Uuid::now_v7()),
            log_head: 0,
        };
        lock.announce(&supervisor).unwrap();
        let refused = SupervisorLock::take(dir.path()).unwrap_err();
        assert!(matches!(refused, LockError::Held { pid, .. } if pid == std::process::id()));
        supervisor.process.start_ticks += 1;
        lock.announce(&supervisor).unwrap();
        let child = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(lock);
        });
        SupervisorLock::take(dir.path()).unwrap();
        child.join().unwrap();
    }
}
