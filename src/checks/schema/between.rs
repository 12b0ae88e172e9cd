//! SQLite databases compared with one that is as they should be.

use std::path::Path;

use super::comparison::Comparison;
use super::diff::differences;
use super::expected::expected_of;
use crate::database::model::Table;
use crate::database::postgres::ddl::Rights;
use crate::database::sqlite::live::read_live;
use crate::database::unreachable::Unreachable;
use crate::domain::finding::Finding;

/// A schema to which databases are held, read once.
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let (good, live) = (dir.path().join("good.db"), dir.path().join("live.db"));
/// # let sql = |path, sql| rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
/// sql(&good, "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT)");
/// sql(&live, "CREATE TABLE users (id INTEGER PRIMARY KEY)");
/// let expected = ubs::ExpectedSchema::of_database(&good).unwrap();
/// let findings = expected.differences(&live).unwrap();
/// assert_eq!(findings[0].code, "schema.missing_column");
/// assert_eq!(findings[0].subject, "users.email");
/// ```
#[derive(Debug, Clone)]
pub struct ExpectedSchema(Vec<Table>);

impl ExpectedSchema {
    /// The schema of a SQLite file; nothing else of it is read.
    ///
    /// # Errors
    /// Why the file cannot be read: it is missing, locked, damaged, or no database.
    pub fn of_database(path: &Path) -> Result<Self, String> {
        let schema = read_live(path).map_err(|found: Unreachable| found.why)?;
        Ok(Self(expected_of(schema)))
    }

    /// What the SQLite file `live` lacks, has more, or has otherwise, as the schema check reports it; empty if
    /// SQLite takes both for the same. A finding's `fix` holds the statements that mend it where adding is
    /// enough.
    ///
    /// # Errors
    /// As for [`Self::of_database`].
    pub fn differences(&self, live: &Path) -> Result<Vec<Finding>, String> {
        let found = read_live(live).map_err(|found: Unreachable| found.why)?;
        let comparison = Comparison {
            migration_tables: &[],
            schema: "live",
            database: live.display().to_string(),
            ignore: &[],
            live: &found,
            server: None,
            asked: None,
            spent: Default::default(),
            others: &[],
            rights: &Rights::default(),
            locate: &|_| None,
        };
        Ok(differences(&comparison, &self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_tried_beside_what_they_name() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str, sql: &str| {
            let path = dir.path().join(name);
            let connection = rusqlite::Connection::open(&path).unwrap();
            connection.execute_batch(sql).unwrap();
            path
        };
        let expected = made(
            "expected.db",
            "CREATE TABLE \"a \"\"b\" (id INTEGER PRIMARY KEY, x TEXT); CREATE TABLE t (c TEXT); CREATE INDEX ix ON t (c)",
        );
        let live = made(
            "live.db",
            "CREATE TABLE \"A \"\"b\" (id INTEGER PRIMARY KEY); CREATE TABLE t (c TEXT); CREATE TABLE other (c TEXT); \
             CREATE INDEX IX ON other (c)",
        );
        let expected = ExpectedSchema::of_database(&expected).unwrap();
        let findings = expected.differences(&live).unwrap();
        let reported: Vec<_> = findings
            .iter()
            .map(|f| (f.subject.as_str(), f.fix.is_some()))
            .collect();
        let expected = [("a \"b.x", true), ("t.ix", false), ("other", false)];
        assert_eq!(reported, expected, "{findings:#?}");
        let remedy = findings[1].remedy.as_deref().unwrap();
        assert!(remedy.contains("index ix already exists"), "{remedy}");
    }
}
