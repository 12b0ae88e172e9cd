//! Two SQLite databases compared with each other: what one has for an expectation of the other.

use std::path::Path;

use super::diff::Comparison;
use super::expected::expected_of;
use super::live::{Unreachable, read_live};
use super::postgres_ddl::Rights;
use crate::domain::finding::Finding;

/// What `live` lacks, has more, or has otherwise than `expected`, as the schema check tells it; both are
/// SQLite files, of which nothing but the schema is read. Empty if SQLite takes them for the same.
///
/// A finding's `facts` hold the statements that mend it (`ddl`, a JSON list) where adding is enough.
///
/// # Errors
/// Why a file cannot be read: it is missing, locked, damaged, or no database.
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let (expected, live) = (dir.path().join("expected.db"), dir.path().join("live.db"));
/// # let sql = |path, sql| rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
/// sql(&expected, "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT)");
/// sql(&live, "CREATE TABLE users (id INTEGER PRIMARY KEY)");
/// let findings = ubs::checks::schema_differences(&expected, &live).unwrap();
/// assert_eq!(findings[0].code, "schema.missing_column");
/// assert_eq!(findings[0].subject, "users.email");
/// ```
pub fn schema_differences(expected: &Path, live: &Path) -> Result<Vec<Finding>, String> {
    let read = |path: &Path| read_live(path).map_err(|Unreachable(why)| why);
    let (wanted, found) = std::thread::scope(|scope| {
        let wanted = scope.spawn(|| read(expected).map(expected_of));
        let found = read(live);
        let wanted = wanted
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, String>((wanted?, found?))
    })?;
    let comparison = Comparison {
        schema: "live",
        database: live.display().to_string(),
        ignore: &[],
        live: &found,
        server: None,
        others: &[],
        rights: &Rights::default(),
        locate: &|_| None,
    };
    Ok(comparison.differences(&wanted))
}
