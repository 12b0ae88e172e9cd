//! Why a trial could not be made.

use std::path::{Path, PathBuf};

use crate::fix::apply::ApplyError;
use crate::sandbox::CopyError;

/// A trial could not be made; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The workspace could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A command could not be started.
    #[error("{0}")]
    Command(String),
    /// The proposal cannot be carried out.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The environment files cannot be read.
    #[error("{0}")]
    Environment(String),
    /// A directory for the trial cannot be made.
    #[error("cannot make {path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The manifest wants more than the host isolates.
    #[error("heal.sandbox.require asks for {missing}, which this host cannot isolate")]
    Isolation {
        /// What is missing.
        missing: String,
    },
}

/// Makes a directory that only this user may enter.
pub(crate) fn make_directory(path: &Path) -> Result<(), TrialError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| TrialError::Io {
            path: path.to_owned(),
            source,
        })
}
