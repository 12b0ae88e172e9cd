//! Databases: what a schema is, the text of SQL, and reading and changing live databases (SQLite, PostgreSQL).
//!
//! Knows nothing of checks, missions or boots. May rely on `manifest` (how a URL is written) and on `domain` for
//! digests and cleaned text.

pub(crate) mod affinity;
pub(crate) mod handle;
pub(crate) mod judge;
pub(crate) mod migration_tables;
pub(crate) mod model;
pub(crate) mod postgres;
pub(crate) mod sql;
pub(crate) mod sqlite;
pub(crate) mod summary;
pub(crate) mod types;
pub(crate) mod unreachable;
pub(crate) mod url;
