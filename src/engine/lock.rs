//! One supervisor at a time in a workspace.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::domain::event::ProcessRef;
use crate::domain::ids::BootId;

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
}

/// Held for as long as the supervisor lives; the system releases it when the process dies.
#[derive(Debug)]
pub(crate) struct SupervisorLock {
    file: Flock<fs::File>,
}

fn path_of(state_dir: &Path) -> PathBuf {
    state_dir.join("supervisor.lock")
}

fn open(path: &Path) -> Result<fs::File, LockError> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|source| LockError::Io {
            path: path.to_owned(),
            source,
        })
}

fn read_holder(file: &mut fs::File) -> Option<Supervisor> {
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

impl SupervisorLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// Another supervisor holds it, or the file cannot be opened.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, LockError> {
        let path = path_of(state_dir);
        let file = open(&path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { file }),
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let holder = read_holder(&mut file);
                let (app, pid) = holder.map_or_else(
                    || ("the application".to_owned(), 0),
                    |holder| (holder.app, holder.process.pid),
                );
                Err(LockError::Held { app, pid })
            }
            Err((_, errno)) => Err(LockError::Io {
                path,
                source: errno.into(),
            }),
        }
    }

    /// Writes who holds it, for those who want to stop or ask it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn announce(&mut self, supervisor: &Supervisor) -> std::io::Result<()> {
        let text = serde_json::to_vec(supervisor)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)
    }
}

/// The supervisor that runs in this state directory, if one does.
#[must_use]
pub(crate) fn supervisor_of(state_dir: &Path) -> Option<Supervisor> {
    let mut file = fs::File::open(path_of(state_dir)).ok()?;
    let holder = read_holder(&mut file)?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
            crate::kernel::is_alive(&holder.process).then_some(holder)
        }
        // Nobody holds it: what the file says is history.
        _ => None,
    }
}
