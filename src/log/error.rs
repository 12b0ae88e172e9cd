//! What can go wrong with the log: each variant says what, where, why and what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

use super::layout::BUSY_TIMEOUT;
use crate::domain::mission::MissionRefusal;

/// The log cannot be opened, read or written. Nothing was changed unless the variant says so.
///
/// Cheap to clone: one failed commit fails every append that shared it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// There is no such file.
    #[error("there is no log at {}; `ubs boot` and `ubs preflight` make one", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// The file is a symbolic link.
    #[error("{} is a symbolic link, and a log is never reached through one; name the file itself", path.display())]
    Symlink {
        /// Which file.
        path: PathBuf,
    },
    /// Something else than a file is there.
    #[error("{} is not a regular file, so it cannot be a log; name another place", path.display())]
    NotAFile {
        /// Which path.
        path: PathBuf,
    },
    /// The system does not let us at the file.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `create`.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: Arc<std::io::Error>,
    },
    /// The file is not an SQLite database.
    #[error("{} is not a log: it is not an SQLite database; name another file, nothing was changed", path.display())]
    NotSqlite {
        /// Which file.
        path: PathBuf,
    },
    /// The file belongs to another program.
    #[error("{} is not a log: it is the database of another program ({owner}); name another file, nothing was changed", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is known of the other program: its application id, or one of its tables.
        owner: String,
    },
    /// A newer `ubs` made the file.
    #[error("the log {} has layout {found}, made by a newer ubs, and this one knows layouts up to {known}; use the newer program, nothing was changed", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Layout of the file.
        found: i64,
        /// Newest layout that this program knows.
        known: i64,
    },
    /// An older `ubs` made the file, and it is open for reading only.
    #[error("the log {} has the older layout {found}, this ubs reads layout {known}; a command that writes to the log, such as `ubs log rebuild`, brings it up to date", path.display())]
    Older {
        /// Which file.
        path: PathBuf,
        /// Layout of the file.
        found: i64,
        /// The layout that this program reads.
        known: i64,
    },
    /// Another `ubs` made the projections, and the log is open for reading only.
    #[error("the log {} keeps boots and missions in the format {found} of another ubs, this one reads format {known}; a command that writes to the log, such as `ubs log rebuild`, makes them anew from the events", path.display())]
    OtherProjections {
        /// Which file.
        path: PathBuf,
        /// Format of the projections in the file.
        found: i64,
        /// The format that this program reads.
        known: i64,
    },
    /// The file is damaged.
    #[error("the log {} is damaged: {detail}; keep a copy; `ubs log verify` says how much is readable, and if nothing is, move the file away: the next boot begins a new log", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// An event is not what was written, found by a replay that checks the chain.
    #[error("the log {} was tampered with: {what}; `ubs log verify` tells all", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file, its directory or its file system cannot be written.
    #[error("the log {} cannot be written: the file, its directory or its file system is read-only; make it writable, or use a command that only reads", path.display())]
    ReadOnly {
        /// Which file.
        path: PathBuf,
    },
    /// Another process holds the log.
    #[error("the log {} was held by another process for {waited_s} s; see which one it is (`fuser {}`) and try again", path.display(), path.display())]
    Busy {
        /// Which file.
        path: PathBuf,
        /// How long this one waited, in seconds.
        waited_s: u64,
    },
    /// There is no space left.
    #[error("the log {} cannot grow: the disk or the quota is full; make space and try again, nothing was written", path.display())]
    Full {
        /// Which file.
        path: PathBuf,
    },
    /// Another job of the same batch met an error of the disk that undid the whole batch.
    #[error("the log {}: an error of the disk undid the whole transaction; see that the disk is well and has space, and try again, nothing was written", path.display())]
    RolledBack {
        /// Which file.
        path: PathBuf,
    },
    /// SQLite says no, for another reason.
    #[error("the log {}: {source}", path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: Arc<rusqlite::Error>,
    },
    /// The event is larger than any event may be.
    #[error("a {kind} event of {bytes} bytes is larger than {max} bytes; shorten what it quotes")]
    TooLarge {
        /// Its kind.
        kind: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Our bug: the event or a state cannot be encoded.
    #[error("internal error: a {what} cannot be encoded: {why}; please report it")]
    Encode {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// Our bug: the work inside a transaction panicked; it was rolled back.
    #[error(
        "internal error: a transaction panicked and was rolled back: {message}; please report it"
    )]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// Our bug: the work went on after an event of it could not be appended; it was rolled back.
    #[error(
        "internal error: a transaction went on after an event could not be appended, and was rolled back; please report it"
    )]
    Incomplete,
    /// Our bug: the writer thread was asked to wait for itself.
    #[error("internal error: the log was called from inside its own transaction; please report it")]
    Reentrant,
    /// The writer thread is gone.
    #[error("the log's writer has stopped; open the log again")]
    Stopped,
}

impl LogError {
    /// What SQLite's error means for the log at `path`.
    pub(super) fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy {
                path,
                waited_s: BUSY_TIMEOUT.as_secs(),
            },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::NotADatabase) => Self::NotSqlite { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::ConstraintViolation) => Self::Damaged {
                path,
                detail: source.to_string(),
            },
            _ => Self::Sqlite {
                path,
                source: Arc::new(source),
            },
        }
    }

    /// Whether the log cannot be written or read now, and may be later. The others are bugs of ours, or of
    /// what was to be written.
    pub(crate) fn is_trouble(&self) -> bool {
        !matches!(
            self,
            Self::TooLarge { .. }
                | Self::Encode { .. }
                | Self::Panicked { .. }
                | Self::Incomplete
                | Self::Reentrant
        )
    }

    /// For `map_err` on a file operation.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { path },
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Full { path }
            }
            _ => Self::Io {
                what,
                path,
                source: Arc::new(source),
            },
        }
    }
}

/// A mission command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum MissionsError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The mission's state does not allow it.
    #[error(transparent)]
    Refused(#[from] MissionRefusal),
    /// No such mission.
    #[error("there is no mission {0}; `ubs missions` lists them")]
    NotFound(String),
    /// More than one mission goes by that name.
    #[error("{name} could be {}; give more of the id", candidates.join(" or "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The missions that it may mean, as `id (slug, status)`.
        candidates: Vec<String>,
    },
}
