//! A SQLite database as it is: where its file lies, and what is in it. Opened for reading only; nothing
//! is created beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a locked database is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Tables and columns that are read from a database.
const TABLES_MAX: usize = 10_000;

/// One table or view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LiveTable {
    pub name: String,
    pub is_view: bool,
    pub columns: Vec<LiveColumn>,
    pub indexes: Vec<LiveIndex>,
    /// The statement that created it.
    pub sql: String,
}

/// One column, hidden and generated ones included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LiveColumn {
    pub name: String,
    pub kind: String,
    pub not_null: bool,
    pub default: Option<String>,
    pub primary_key: bool,
    pub generated: bool,
}

/// One index; `None` among the columns is an expression.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LiveIndex {
    pub name: String,
    pub unique: bool,
    pub partial: bool,
    pub columns: Vec<Option<String>>,
    /// The statement that created it; `None` for one that a constraint made.
    pub sql: Option<String>,
}

/// Tables by name in lower case: SQLite does not tell names apart by case.
pub(super) type LiveSchema = BTreeMap<String, LiveTable>;

/// Why a database cannot be read, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreachable(pub String);

/// What a SQLite URL means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Database {
    /// A file.
    File(PathBuf),
    /// Gone when the application ends.
    Memory,
    /// No SQLite database.
    Other,
}

/// The file that a SQLite URL names, as an application with working directory `root` would open it.
/// `None` for a database in memory, and for other databases.
#[must_use]
pub fn sqlite_path(url: &str, root: &Path) -> Option<PathBuf> {
    match parse_url(url, root) {
        Database::File(path) => Some(path),
        Database::Memory | Database::Other => None,
    }
}

/// Reads a database URL in the way of SQLAlchemy: `sqlite[+driver]:///path[?query]`.
pub(super) fn parse_url(url: &str, root: &Path) -> Database {
    let Some((scheme, rest)) = url.trim().split_once("://") else {
        return Database::Other;
    };
    let dialect = scheme.split('+').next().unwrap_or_default();
    if !dialect.eq_ignore_ascii_case("sqlite") && !dialect.eq_ignore_ascii_case("sqlite3") {
        return Database::Other;
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some(database) = rest.strip_prefix('/') else {
        // `sqlite://` is in memory; with a host it is an error of whoever wrote it.
        return if rest.is_empty() {
            Database::Memory
        } else {
            Database::Other
        };
    };
    let option = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_lowercase())
    };
    let is_uri = matches!(option("uri").as_deref(), Some("true" | "1" | "yes" | "on"));
    let in_memory = |name: &str| name.is_empty() || name == ":memory:";
    if is_uri && let Some(name) = database.strip_prefix("file:") {
        // `file:path`, `file:/path`, `file:///path`, `file://localhost/path` (sqlite.org/uri.html).
        let name = match name.strip_prefix("//") {
            Some(rest) => rest.find('/').map_or("", |slash| &rest[slash..]),
            None => name,
        };
        if in_memory(name) || option("mode").as_deref() == Some("memory") {
            return Database::Memory;
        }
        return Database::File(join(root, &percent_decode(name)));
    }
    if in_memory(database) {
        return Database::Memory;
    }
    let decoded = join(root, &percent_decode(database));
    let literal = join(root, database);
    // Older versions of SQLAlchemy take the path to the letter.
    if !decoded.exists() && literal.exists() {
        return Database::File(literal);
    }
    Database::File(decoded)
}

fn join(root: &Path, path: &str) -> PathBuf {
    // Without the `.` of `./app.db`, so that one file has one name.
    root.join(path).components().collect()
}

pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match hex {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

/// Reads the schema of the database in `path`, which exists.
pub(super) fn read_live(path: &Path) -> Result<LiveSchema, Unreachable> {
    let connection = open(path)?;
    read_schema(&connection).map_err(|error| Unreachable(in_words(&error, path)))
}

pub(super) fn open(path: &Path) -> Result<Connection, Unreachable> {
    let cannot = |why: String| Unreachable(format!("{} {why}", path.display()));
    if path.is_dir() {
        return Err(cannot("is a directory".to_owned()));
    }
    let mut uri = format!("file:{}?mode=ro", percent_encode(path));
    // A database in WAL mode that nobody has open has no log; reading it would leave one behind
    // (sqlite.org/wal.html, "Read-Only Databases").
    if is_in_wal_mode(path).map_err(|error| cannot(format!("cannot be read: {error}")))?
        && !sibling(path, "-wal").exists()
    {
        uri.push_str("&immutable=1");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)
        .map_err(|error| Unreachable(in_words(&error, path)))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(|error| Unreachable(in_words(&error, path)))?;
    Ok(connection)
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

pub(super) fn in_words(error: &rusqlite::Error, path: &Path) -> String {
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
pub(super) fn read_schema(connection: &Connection) -> rusqlite::Result<LiveSchema> {
    // One moment for all of it.
    let transaction = connection.unchecked_transaction()?;
    let mut tables = Vec::new();
    {
        let mut statement = transaction.prepare(
            "SELECT name, type = 'view', coalesce(sql, '') FROM main.sqlite_schema \
             WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name LIMIT ?1",
        )?;
        let limit = i64::try_from(TABLES_MAX).unwrap_or(i64::MAX);
        let rows = statement.query_map([limit], |row| {
            Ok(LiveTable {
                name: row.get(0)?,
                is_view: row.get(1)?,
                sql: row.get(2)?,
                ..LiveTable::default()
            })
        })?;
        for row in rows {
            tables.push(row?);
        }
    }
    let mut schema = LiveSchema::new();
    for mut table in tables {
        // A view on a table that is gone, or a virtual table whose module is not here, has no columns
        // for us; that it exists is still known.
        table.columns = read_columns(&transaction, &table.name).unwrap_or_default();
        if !table.is_view {
            table.indexes = read_indexes(&transaction, &table.name).unwrap_or_default();
        }
        schema.insert(table.name.to_lowercase(), table);
    }
    Ok(schema)
}

fn read_columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<LiveColumn>> {
    let mut statement = connection.prepare(
        "SELECT name, coalesce(type, ''), \"notnull\", dflt_value, pk > 0, hidden IN (2, 3) \
         FROM pragma_table_xinfo(?1, 'main')",
    )?;
    statement
        .query_map([table], |row| {
            Ok(LiveColumn {
                name: row.get(0)?,
                kind: row.get(1)?,
                not_null: row.get(2)?,
                default: row.get(3)?,
                primary_key: row.get(4)?,
                generated: row.get(5)?,
            })
        })?
        .collect()
}

fn read_indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<LiveIndex>> {
    let mut statement = connection.prepare(
        "SELECT l.name, l.\"unique\", l.partial, s.sql FROM pragma_index_list(?1, 'main') AS l \
         LEFT JOIN main.sqlite_schema AS s ON s.type = 'index' AND s.name = l.name ORDER BY l.name",
    )?;
    let mut indexes: Vec<LiveIndex> = statement
        .query_map([table], |row| {
            Ok(LiveIndex {
                name: row.get(0)?,
                unique: row.get(1)?,
                partial: row.get(2)?,
                sql: row.get(3)?,
                columns: Vec::new(),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    for index in &mut indexes {
        let mut statement =
            connection.prepare("SELECT name FROM pragma_index_info(?1, 'main') ORDER BY seqno")?;
        index.columns = statement
            .query_map([&index.name], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
    }
    Ok(indexes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_file_that_the_application_opens() {
        let root = Path::new("/srv/app");
        for (url, expected) in [
            ("sqlite:///app.db", Some("/srv/app/app.db")),
            ("sqlite:///./data/app.db", Some("/srv/app/data/app.db")),
            ("sqlite:////var/lib/app.db", Some("/var/lib/app.db")),
            ("sqlite+aiosqlite:///app.db", Some("/srv/app/app.db")),
            (
                "sqlite+pysqlite:///app.db?timeout=5",
                Some("/srv/app/app.db"),
            ),
            ("SQLite:///app.db", Some("/srv/app/app.db")),
            ("sqlite:///my%20app.db", Some("/srv/app/my app.db")),
            ("sqlite:///100%.db", Some("/srv/app/100%.db")),
            (
                "sqlite:///file:app.db?mode=ro&uri=true",
                Some("/srv/app/app.db"),
            ),
            ("sqlite:///file:/var/app.db?uri=true", Some("/var/app.db")),
            ("sqlite:///file:///var/app.db?uri=true", Some("/var/app.db")),
            ("sqlite:///file:app.db", Some("/srv/app/file:app.db")),
            ("sqlite:///file:x?mode=memory&cache=shared&uri=true", None),
            ("sqlite:///file::memory:?cache=shared&uri=true", None),
            ("sqlite://", None),
            ("sqlite:///", None),
            ("sqlite:///:memory:", None),
            ("sqlite:///:memory:?cache=shared", None),
            ("sqlite://host/app.db", None),
            ("postgresql://ann@db/app", None),
            ("mysql+pymysql:///app.db", None),
            ("app.db", None),
            ("", None),
        ] {
            let path = sqlite_path(url, root);
            assert_eq!(path.as_deref(), expected.map(Path::new), "{url}");
        }
    }

    #[test]
    fn a_wal_database_is_read_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a?b#c%20.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY)")
            .unwrap();
        // In use: the log is there, and is read.
        assert_eq!(read_live(&path).unwrap().len(), 1);
        drop(connection);
        let before = std::fs::read(&path).unwrap();
        assert_eq!(read_live(&path).unwrap().len(), 1);
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
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
        assert!(read_live(&path).unwrap().is_empty());
        let locked = Connection::open(&path).unwrap();
        locked
            .execute_batch("CREATE TABLE t (x); BEGIN EXCLUSIVE")
            .unwrap();
        assert!(why(&path).contains("is locked"), "{}", why(&path));
    }
}
