//! Why nothing can be said of a database.

/// Why a database cannot be read, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreachable(pub String);
