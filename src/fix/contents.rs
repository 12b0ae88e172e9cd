//! What is in a SQLite database, rows included: whether two moments are the same, and whether one only
//! adds to the other.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::database::{DatabaseError, because};
use crate::database::migration_tables::MigrationTables;
use crate::database::sql::quote::identifier;
use crate::domain::ids::Digest;

/// Bytes of a database whose rows are compared one by one.
const COMPARED_BYTES_MAX: u64 = 4 << 30;
/// Most reasons listed in one message.
const REASONS_MAX: usize = 5;

type Definition = (String, String, String);

/// Type, name and statement of everything, internal tables left out.
fn definitions(connection: &Connection) -> rusqlite::Result<Vec<Definition>> {
    let mut statement = connection.prepare(
        "SELECT type, name, coalesce(sql, '') FROM main.sqlite_schema \
         WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1, 2",
    )?;
    statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

/// One column as the database declares it.
#[derive(Debug, Clone, PartialEq)]
struct DeclaredColumn {
    name: String,
    rest: (String, bool, Option<String>, i64, i64),
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<DeclaredColumn>> {
    let mut statement = connection.prepare(
        "SELECT name, coalesce(type, ''), \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, 'main')",
    )?;
    statement
        .query_map([table], |row| {
            Ok(DeclaredColumn {
                name: row.get(0)?,
                rest: (
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                ),
            })
        })?
        .collect()
}

/// The foreign keys or the indexes of a table, one text each.
fn parts(connection: &Connection, sql: &str, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

const FOREIGN_KEYS: &str = "SELECT group_concat(\"from\" || '>' || coalesce(\"to\", ''), ',') || ' ' || \"table\" || ' ' \
     || on_update || ' ' || on_delete FROM pragma_foreign_key_list(?1) GROUP BY id ORDER BY 1";
const INDEXES: &str = "SELECT coalesce(s.sql, l.origin || (SELECT group_concat(coalesce(i.name, ''), ',') \
     FROM pragma_index_info(l.name) AS i)) FROM pragma_index_list(?1) AS l \
     LEFT JOIN main.sqlite_schema AS s ON s.type = 'index' AND s.name = l.name ORDER BY 1";

/// Number and sum of the digests of the rows: the order does not matter, each row counts.
fn rows(
    connection: &Connection,
    table: &str,
    columns: &[DeclaredColumn],
) -> rusqlite::Result<(u64, u128)> {
    let list: Vec<String> = columns
        .iter()
        .map(|column| format!("t.{}", identifier(&column.name)))
        .collect();
    let sql = format!(
        "SELECT {} FROM main.{} AS t",
        list.join(", "),
        identifier(table)
    );
    let mut statement = connection.prepare(&sql)?;
    let mut found = statement.query([])?;
    let (mut count, mut sum) = (0_u64, 0_u128);
    while let Some(row) = found.next()? {
        let mut hasher = blake3::Hasher::new();
        for at in 0..columns.len() {
            let (kind, bytes): (u8, std::borrow::Cow<'_, [u8]>) = match row.get_ref(at)? {
                ValueRef::Null => (0, (&[][..]).into()),
                ValueRef::Integer(n) => (1, n.to_le_bytes().to_vec().into()),
                ValueRef::Real(n) => (2, n.to_bits().to_le_bytes().to_vec().into()),
                ValueRef::Text(text) => (3, text.into()),
                ValueRef::Blob(bytes) => (4, bytes.into()),
            };
            hasher.update(&[kind]);
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(&bytes);
        }
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        sum = sum.wrapping_add(u128::from_le_bytes(half));
        count += 1;
    }
    Ok((count, sum))
}

/// Digest of every definition and every row.
pub(super) fn contents_digest(connection: &Connection) -> Result<Digest, DatabaseError> {
    let read = || -> rusqlite::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        let mut text = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        let definitions = definitions(connection)?;
        for (kind, name, sql) in &definitions {
            [kind, name, sql].into_iter().for_each(|part| text(part));
            if kind == "table" {
                // A virtual table whose module is not here is what its shadow tables are.
                let found =
                    columns(connection, name).and_then(|columns| rows(connection, name, &columns));
                text(
                    &found
                        .map_or_else(|_| String::new(), |(count, sum)| format!("{count} {sum:x}")),
                );
            }
        }
        Ok(Digest(*hasher.finalize().as_bytes()))
    };
    read().map_err(because("cannot read the database"))
}

/// [`contents_digest`] of a file; one that does not exist is empty.
pub(super) fn file_digest(path: &Path) -> Result<Digest, DatabaseError> {
    contents_digest(&open_or_empty(path)?)
}

fn open_or_empty(path: &Path) -> Result<Connection, DatabaseError> {
    let opened = if path.exists() {
        // Writable, since a database in WAL mode cannot be read otherwise; it is a clone.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(path, flags)
    } else {
        Connection::open_in_memory()
    };
    opened.map_err(because(format!("cannot open {}", path.display())))
}

/// What `after` has lost or changed of `before`; nothing if it only gained tables, columns and indexes.
/// The rows of `migration_tables` may change: the migration tool keeps what it did in them.
pub(super) fn side_effects_of(
    before: &Path,
    after: &Path,
    migration_tables: &MigrationTables,
) -> Result<Vec<String>, DatabaseError> {
    if before
        .metadata()
        .is_ok_and(|m| m.len() > COMPARED_BYTES_MAX)
    {
        return Ok(vec![
            "the database is too large to compare row by row".to_owned(),
        ]);
    }
    let before = open_or_empty(before)?;
    let after = open_or_empty(after)?;
    let mut reasons = differences(&before, &after, migration_tables)
        .map_err(because("cannot compare the database with what it was"))?;
    let more = reasons.len().saturating_sub(REASONS_MAX);
    if more > 0 {
        reasons.truncate(REASONS_MAX);
        reasons.push(format!("{more} more"));
    }
    Ok(reasons)
}

fn differences(
    before: &Connection,
    after: &Connection,
    migration_tables: &MigrationTables,
) -> rusqlite::Result<Vec<String>> {
    let mut reasons = Vec::new();
    let now: BTreeMap<(String, String), String> = definitions(after)?
        .into_iter()
        .map(|(kind, name, sql)| ((kind, name), sql))
        .collect();
    let was = definitions(before)?;
    for (kind, name, sql) in &was {
        let found = now.get(&(kind.clone(), name.clone()));
        match (kind.as_str(), found) {
            ("index", _) => {}
            (_, None) => reasons.push(format!("{kind} {name} is gone")),
            ("table", Some(new)) => {
                compare_table(
                    before,
                    after,
                    name,
                    (sql, new),
                    migration_tables,
                    &mut reasons,
                )?;
            }
            (_, Some(new)) if new != sql => reasons.push(format!("{kind} {name} changes")),
            _ => {}
        }
    }
    for (kind, name) in now.keys().filter(|(kind, _)| kind == "trigger") {
        if !was.iter().any(|(k, n, _)| k == kind && n == name) {
            reasons.push(format!("trigger {name} is new"));
        }
    }
    Ok(reasons)
}

fn compare_table(
    before: &Connection,
    after: &Connection,
    table: &str,
    (sql_before, sql_after): (&str, &str),
    migration_tables: &MigrationTables,
    reasons: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let old = columns(before, table)?;
    let new = columns(after, table)?;
    let mut lost = false;
    for column in &old {
        let found = new.iter().find(|c| c.name == column.name);
        if found.is_none() {
            lost = true;
            reasons.push(format!("column {table}.{} is gone", column.name));
        } else if found != Some(column) {
            reasons.push(format!("column {table}.{} changes", column.name));
        }
    }
    let checks = |sql: &str| sql.to_uppercase().matches("CHECK").count();
    if checks(sql_before) != checks(sql_after) {
        reasons.push(format!("the checks of table {table} change"));
    }
    for (what, sql) in [("foreign key", FOREIGN_KEYS), ("index", INDEXES)] {
        let kept = parts(after, sql, table)?;
        if parts(before, sql, table)?
            .iter()
            .any(|part| !kept.contains(part))
        {
            reasons.push(
                format!("an {what} of table {table} is gone or changes").replace("an f", "a f"),
            );
        }
    }
    if lost || sql_before.to_uppercase().starts_with("CREATE VIRTUAL") {
        return Ok(());
    }
    let (old_rows, new_rows) = (rows(before, table, &old)?, rows(after, table, &old)?);
    let is_one = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(table));
    // A merge of two heads leaves one row of two; none at all is a downgrade to nothing.
    let has_version = is_one(&migration_tables.versions) && (new_rows.0 > 0 || old_rows.0 == 0);
    if has_version || (is_one(&migration_tables.growing) && new_rows.0 >= old_rows.0) {
        return Ok(());
    }
    if old_rows.0 != new_rows.0 {
        let (old, new) = (old_rows.0, new_rows.0);
        reasons.push(format!(
            "the number of rows of table {table} goes from {old} to {new}"
        ));
    } else if old_rows != new_rows {
        reasons.push(format!("rows of table {table} change"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(change: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let [before, after] = ["before", "after"].map(|name| dir.path().join(name));
        for path in [&before, &after] {
            Connection::open(path)
                .unwrap()
                .execute_batch(
                    "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, UNIQUE (x)); INSERT INTO t (x) VALUES ('a'), ('b');
                     CREATE TABLE u (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t (id)); CREATE INDEX u_t ON u (t);
                     CREATE TABLE version (v); INSERT INTO version VALUES (1), (2); CREATE TABLE done (d);
                     INSERT INTO done VALUES (1), (2); CREATE VIEW w AS SELECT x FROM t;",
                )
                .unwrap();
        }
        assert_eq!(file_digest(&before).unwrap(), file_digest(&after).unwrap());
        Connection::open(&after)
            .unwrap()
            .execute_batch(change)
            .unwrap();
        assert_ne!(file_digest(&before).unwrap(), file_digest(&after).unwrap());
        let migration_tables = MigrationTables {
            versions: vec!["version".to_owned()],
            growing: vec!["done".to_owned()],
        };
        side_effects_of(&before, &after, &migration_tables).unwrap()
    }

    #[test]
    fn additions_have_no_reasons() {
        for change in [
            "CREATE TABLE n (x); INSERT INTO n VALUES (1)",
            "ALTER TABLE t ADD COLUMN y INTEGER NOT NULL DEFAULT 0",
            "CREATE UNIQUE INDEX t_x ON t (x)",
            "UPDATE version SET v = 3 WHERE v = 2",
            "DELETE FROM version WHERE v = 1; UPDATE version SET v = 3",
            "INSERT INTO done VALUES (3)",
            // As Alembic's batch mode does it: a new table under the old name, with all that was there.
            "CREATE TABLE t2 (id INTEGER PRIMARY KEY, x TEXT, y TEXT, UNIQUE (x)); INSERT INTO t2 SELECT id, x, NULL FROM t;
             DROP VIEW w; DROP TABLE t; ALTER TABLE t2 RENAME TO t; CREATE VIEW w AS SELECT x FROM t",
        ] {
            assert_eq!(reasons(change), Vec::<String>::new(), "{change}");
        }
    }

    #[test]
    fn everything_else_is_named() {
        for (change, reason) in [
            ("DROP TABLE u", "table u is gone"),
            (
                "DELETE FROM t WHERE x = 'a'",
                "the number of rows of table t goes from 2 to 1",
            ),
            (
                "UPDATE t SET x = 'c' WHERE x = 'a'",
                "rows of table t change",
            ),
            ("ALTER TABLE t RENAME COLUMN x TO y", "column t.x is gone"),
            ("DROP INDEX u_t", "an index of table u is gone or changes"),
            (
                "DELETE FROM version",
                "the number of rows of table version goes from 2 to 0",
            ),
            (
                "DELETE FROM done WHERE d = 1",
                "the number of rows of table done goes from 2 to 1",
            ),
            ("DROP VIEW w", "view w is gone"),
            (
                "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM u; END",
                "trigger g is new",
            ),
            (
                "DROP TABLE u; CREATE TABLE u (id INTEGER PRIMARY KEY, t INTEGER); CREATE INDEX u_t ON u (t)",
                "a foreign key of table u is gone or changes",
            ),
            (
                "DROP TABLE u; CREATE TABLE u (id INTEGER PRIMARY KEY, t TEXT REFERENCES t (id)); CREATE INDEX u_t ON u (t)",
                "column u.t changes",
            ),
            (
                "DROP TABLE u; CREATE TABLE u (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t (id) CHECK (t > 0)); CREATE INDEX u_t ON u (t)",
                "the checks of table u change",
            ),
        ] {
            let found = reasons(change);
            assert!(
                found.iter().any(|found| found == reason),
                "{change}: {found:?}"
            );
        }
    }
}
