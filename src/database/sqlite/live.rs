//! A SQLite database as it is: what is in its file. Opened for reading only; nothing is created beside it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::database::model::{Column, Constraint, DatabaseSchema, Dialect, Index, Rule, Table};
use crate::database::sqlite::text::{IndexPart, TableText, index_part, index_text};
use crate::database::unreachable::{Unreachable, UnreachableKind};

/// How long a locked database is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest database that is copied to see what it will be once a transaction that was cut short is undone.
const ROLLED_BACK_BYTES_MAX: u64 = 256 << 20;
/// Tables and columns that are read from a database.
const TABLES_MAX: usize = 10_000;

/// Reads the schema of the database in `path`, which exists.
pub(crate) fn read_live(path: &Path) -> Result<DatabaseSchema, Unreachable> {
    let connection = open(path)?;
    read_schema(&connection).map_err(|error| unreachable(&error, path))
}

pub(crate) fn open(path: &Path) -> Result<Connection, Unreachable> {
    let cannot = |why: String, kind| Unreachable::new(format!("{} {why}", path.display()), kind);
    if path.is_dir() {
        let kind = UnreachableKind::NotADatabase;
        return Err(cannot("is a directory".to_owned(), kind));
    }
    let mut uri = format!("file:{}?mode=ro", percent_encode(path));
    // A database in WAL mode that nobody has open has no log; reading it would leave one behind
    // (sqlite.org/wal.html, "Read-Only Databases").
    if is_in_wal_mode(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => UnreachableKind::Right,
            _ => UnreachableKind::Other,
        };
        cannot(format!("cannot be read: {error}"), kind)
    })? && !sibling(path, "-wal").exists()
    {
        uri.push_str("&immutable=1");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(uri, flags).map_err(|error| unreachable(&error, path))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(|error| unreachable(&error, path))?;
    Ok(rolled_back(path, &connection).unwrap_or(connection))
}

/// The database as the next program that writes to it will find it, if one was killed in the middle of a transaction: a
/// copy is rolled back, since a look changes nothing. SQLite keeps what is removed here open until the connection ends.
fn rolled_back(path: &Path, live: &Connection) -> Option<Connection> {
    let journal = sibling(path, "-journal");
    let length = std::fs::metadata(&journal).ok()?.len();
    let asked = live.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    let is_hot = asked.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::ReadOnly));
    let bytes = std::fs::metadata(path).ok()?.len();
    if !is_hot || length.max(bytes) > ROLLED_BACK_BYTES_MAX {
        return None;
    }
    let content =
        crate::kernel::read_start_keeping_open(path, usize::try_from(bytes).ok()?).ok()?;
    let directory = tempfile::tempdir().ok()?;
    let copy = directory.path().join("copy.db");
    std::fs::write(&copy, content).ok()?;
    std::fs::copy(&journal, sibling(&copy, "-journal")).ok()?;
    let connection = Connection::open(&copy).ok()?;
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .ok()?;
    Some(connection)
}

/// Bytes 18 and 19 of the header are 2 in WAL mode (sqlite.org/fileformat.html, 1.3.3).
fn is_in_wal_mode(path: &Path) -> std::io::Result<bool> {
    // Not opened here: this process may hold locks on it, for a trial or a promotion.
    let header = crate::kernel::read_start_keeping_open(path, 20)?;
    Ok(header.len() == 20 && (header[18] == 2 || header[19] == 2))
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn percent_encode(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str()
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                char::from(*byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// What a database that cannot be read says.
pub(crate) fn unreachable(error: &rusqlite::Error, path: &Path) -> Unreachable {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => UnreachableKind::Locked,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => UnreachableKind::NotADatabase,
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            UnreachableKind::Right
        }
        _ => UnreachableKind::Other,
    };
    Unreachable::new(in_words(error, path), kind)
}

pub(crate) fn in_words(error: &rusqlite::Error, path: &Path) -> String {
    let file = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "{file} is locked: another program held it for longer than {} s",
            BUSY_TIMEOUT.as_secs()
        ),
        Some(ErrorCode::NotADatabase) => format!("{file} is no SQLite database"),
        Some(ErrorCode::DatabaseCorrupt) => format!("{file} is damaged: {error}"),
        _ if sibling(path, "-journal").exists() => format!(
            "{file} was left in the middle of a transaction, which the next program that writes to it will \
             undo: {error}"
        ),
        _ => format!("{file} cannot be read: {error}"),
    }
}

/// Everything in the main database of a connection.
pub(crate) fn read_schema(connection: &Connection) -> rusqlite::Result<DatabaseSchema> {
    // One moment for all of it.
    let transaction = connection.unchecked_transaction()?;
    let mut tables = Vec::new();
    {
        let mut statement = transaction.prepare(
            "SELECT name, type = 'view', nullif(sql, '') FROM main.sqlite_schema \
             WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name LIMIT ?1",
        )?;
        let limit = i64::try_from(TABLES_MAX).unwrap_or(i64::MAX);
        let rows = statement.query_map([limit], |row| {
            Ok(Table {
                name: row.get(0)?,
                is_view: row.get(1)?,
                ddl: row.get(2)?,
                ..Table::default()
            })
        })?;
        for row in rows {
            tables.push(row?);
        }
    }
    let index_ddl = read_index_ddl(&transaction)?;
    for table in &mut tables {
        // A view on a table that is gone, or a virtual table whose module is not here, has no columns
        // for us; that it exists is still known.
        let (columns, key) = read_columns(&transaction, &table.name).unwrap_or_default();
        table.columns = columns;
        if table.is_view {
            continue;
        }
        if !key.is_empty() {
            let rule = Rule::PrimaryKey { columns: key };
            table.constraints.push(Constraint::new(None, rule));
        }
        read_indexes(&transaction, table, &index_ddl).unwrap_or_default();
        let keys = read_foreign_keys(&transaction, &table.name).unwrap_or_default();
        table.constraints.extend(keys);
        read_text(table);
    }
    Ok(DatabaseSchema {
        dialect: Dialect::Sqlite,
        tables,
        ..DatabaseSchema::default()
    })
}

/// The statement of each index that one made. `sqlite_schema` is not sorted by name: one pass for all.
fn read_index_ddl(connection: &Connection) -> rusqlite::Result<HashMap<String, String>> {
    let mut statement = connection.prepare(
        "SELECT name, sql FROM main.sqlite_schema WHERE type = 'index' AND sql IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// The columns, and those of the primary key in its order.
fn read_columns(
    connection: &Connection,
    table: &str,
) -> rusqlite::Result<(Vec<Column>, Vec<String>)> {
    let mut statement = connection.prepare_cached(
        "SELECT name, coalesce(type, ''), \"notnull\", dflt_value, pk, hidden IN (2, 3) \
         FROM pragma_table_xinfo(?1, 'main')",
    )?;
    let mut key: Vec<(u32, String)> = Vec::new();
    let columns = statement
        .query_map([table], |row| {
            let place: u32 = row.get(4)?;
            let column = Column {
                name: row.get(0)?,
                kind: row.get(1)?,
                nullable: !row.get::<_, bool>(2)?,
                server_default: row.get(3)?,
                primary_key: place > 0,
                generated: row.get(5)?,
                ..Column::default()
            };
            if place > 0 {
                key.push((place, column.name.clone()));
            }
            Ok(column)
        })?
        .collect::<rusqlite::Result<_>>()?;
    key.sort();
    Ok((columns, key.into_iter().map(|(_, name)| name).collect()))
}

/// The indexes, and the unique constraints that made some of them.
fn read_indexes(
    connection: &Connection,
    table: &mut Table,
    ddl: &HashMap<String, String>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT name, \"unique\", partial, origin FROM pragma_index_list(?1, 'main') ORDER BY name",
    )?;
    let found: Vec<(String, Index)> = statement
        .query_map([&table.name], |row| {
            let origin: String = row.get(3)?;
            let name: String = row.get(0)?;
            let index = Index {
                ddl: ddl.get(&name).cloned(),
                name: Some(name),
                unique: row.get(1)?,
                partial: row.get(2)?,
                is_implied: origin != "c",
                ..Index::default()
            };
            Ok((origin, index))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (origin, mut index) in found {
        let mut statement = connection
            .prepare_cached("SELECT name FROM pragma_index_info(?1, 'main') ORDER BY seqno")?;
        index.columns = statement
            .query_map([&index.name], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if origin == "u" {
            let columns = index.columns.iter().flatten().cloned().collect();
            table
                .constraints
                .push(Constraint::new(None, Rule::Unique { columns }));
        }
        read_index_text(&mut index);
        table.indexes.push(index);
    }
    Ok(())
}

fn read_foreign_keys(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Constraint>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, \"table\", \"from\", \"to\", on_delete, on_update \
         FROM pragma_foreign_key_list(?1, 'main') ORDER BY id, seq",
    )?;
    let mut rows = statement.query([table])?;
    let mut keys: Vec<(i64, Constraint)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if keys.last().is_none_or(|(last, _)| *last != id) {
            keys.push((
                id,
                Constraint::new(
                    None,
                    Rule::ForeignKey {
                        columns: Vec::new(),
                        schema: None,
                        table: row.get(1)?,
                        targets: Vec::new(),
                        on_delete: row.get(4)?,
                        on_update: row.get(5)?,
                    },
                ),
            ));
        }
        let (from, to): (String, Option<String>) = (row.get(2)?, row.get(3)?);
        if let Some((
            _,
            Constraint {
                rule: Rule::ForeignKey {
                    columns, targets, ..
                },
                ..
            },
        )) = keys.last_mut()
        {
            columns.push(from);
            targets.extend(to);
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

fn names_collation(ddl: &str) -> bool {
    ddl.to_uppercase().contains("COLLATE")
}

/// What only the text of the table says.
fn read_text(table: &mut Table) {
    /// Without one of these, the catalog says all.
    const TELLING: [&str; 5] = ["CHECK", "COLLATE", "DEFERR", "INITIALLY", "ROWID"];
    let ddl = table.ddl.as_deref().unwrap_or_default();
    let upper = ddl.to_uppercase();
    if !TELLING.iter().any(|word| upper.contains(word))
        && !table.columns.iter().any(|column| column.generated)
    {
        return;
    }
    let text = TableText::of(ddl);
    table.is_without_rowid = text.without_rowid;
    for column in &mut table.columns {
        let found = text.column(&column.name);
        column.collation = found.and_then(|found| found.collation.clone());
        column.computed = column.generated.then(|| {
            found
                .and_then(|found| found.computed.clone())
                .unwrap_or_default()
        });
    }
    for constraint in &mut table.constraints {
        if let Rule::ForeignKey { columns, .. } = &constraint.rule {
            let is_late = text.deferred.iter().any(|names| {
                names.len() == columns.len()
                    && names
                        .iter()
                        .zip(columns)
                        .all(|(a, b)| a.eq_ignore_ascii_case(b))
            });
            (constraint.deferrable, constraint.deferred) = (is_late, is_late);
        }
    }
    table
        .constraints
        .extend(text.checks.into_iter().map(|(name, text)| {
            let columns = Vec::new();
            Constraint::new(
                name,
                Rule::Check {
                    columns,
                    text: Some(text),
                },
            )
        }));
}

/// The parts of an index that are no plain columns, and its condition.
fn read_index_text(index: &mut Index) {
    let Some(ddl) = &index.ddl else { return };
    // Columns alone are in the catalog; only a collation of their own is not.
    if !index.partial && index.columns.iter().all(Option::is_some) && !names_collation(ddl) {
        return;
    }
    let (parts, condition) = index_text(ddl);
    index.condition = condition.or_else(|| index.partial.then(String::new));
    if parts.len() != index.columns.len() {
        return;
    }
    index.expressions = vec![None; parts.len()];
    for (at, part) in parts.iter().enumerate() {
        if let IndexPart::Expression(text) = index_part(Dialect::Sqlite, part) {
            index.columns[at] = None;
            index.expressions[at] = Some(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wal_database_is_read_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a?b#c%20.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY)")
            .unwrap();
        // In use: the log is there, and is read.
        assert_eq!(read_live(&path).unwrap().tables.len(), 1);
        drop(connection);
        let before = std::fs::read(&path).unwrap();
        assert_eq!(read_live(&path).unwrap().tables.len(), 1);
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_a_killed_program_left_in_the_middle_of_a_transaction_is_read_as_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let (path, killed) = (dir.path().join("app.db"), dir.path().join("killed.db"));
        let connection = Connection::open(&path).unwrap();
        let script = "PRAGMA cache_size = 1; CREATE TABLE t (x); BEGIN; CREATE TABLE junk (x); \
             INSERT INTO junk WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
             SELECT hex(zeroblob(500)) FROM n";
        connection.execute_batch(script).unwrap();
        // As it lies there at this moment, which is what a kill leaves.
        std::fs::copy(&path, &killed).unwrap();
        std::fs::copy(sibling(&path, "-journal"), sibling(&killed, "-journal")).unwrap();
        let before = std::fs::read(&killed).unwrap();
        let tables = read_live(&killed).unwrap().tables;
        assert_eq!(tables.iter().map(|t| &*t.name).collect::<Vec<_>>(), ["t"]);
        assert_eq!(std::fs::read(&killed).unwrap(), before);
        assert!(sibling(&killed, "-journal").exists());
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        std::fs::write(
            &path,
            "this is not a database, but it is long enough".repeat(40),
        )
        .unwrap();
        let why = |path: &Path| read_live(path).unwrap_err().to_string();
        assert!(
            why(&path).ends_with("is no SQLite database"),
            "{}",
            why(&path)
        );
        assert!(why(dir.path()).ends_with("is a directory"));
        std::fs::write(&path, "").unwrap();
        assert!(read_live(&path).unwrap().tables.is_empty());
        let locked = Connection::open(&path).unwrap();
        locked
            .execute_batch("CREATE TABLE t (x); BEGIN EXCLUSIVE")
            .unwrap();
        assert!(why(&path).contains("is locked"), "{}", why(&path));
    }
}
