//! What can go wrong with the log.
use crate::domain::mission::MissionRefusal;
use std::path::PathBuf;
/// The log cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// SQLite says no.
    #[error("the log {}: {source}", path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}
/// A mission command was not carried out.
#[derive(Debug, thiserror::Error)]
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
}
