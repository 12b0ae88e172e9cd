//! What the file says of itself: whose it is, and the versions of what is in it.

use std::time::Duration;

/// `PRAGMA application_id` of a log: `UbsL`.
pub(crate) const APPLICATION_ID: i64 = 0x5562_734c;
/// Every migration, oldest first; `user_version` says how many were applied.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("../../schema/0001_log.sql")];
/// The layout that this program reads and writes.
pub(crate) const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;
/// What the projections look like. Raised when a column, a state or `evolve` changes, and by every
/// migration; the next writer that finds another value rebuilds them.
pub(super) const PROJECTION_FORMAT: i64 = 5;
/// How long one process waits for another one's transaction. The longest is a rebuild.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
