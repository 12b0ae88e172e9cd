//! Opening the file: is it ours, is it whole, is it of a layout that we know? Then, and only for
//! writing, bring it up to date.
//!
//! Nothing is changed before the file is known to be a log. A new one appears whole, in WAL mode. An empty file is brought
//! up to date in place; there the first migration is committed before the switch to WAL, so that the header of the file
//! itself says whose it is, and what a foreign file contains can be told without creating files beside it.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::chain::GENESIS;
use super::error::LogError;
use super::layout::{APPLICATION_ID, BUSY_TIMEOUT, MIGRATIONS, PROJECTION_FORMAT, SCHEMA_VERSION};
use crate::kernel::read_start_keeping_open;

/// Pages in the WAL after which a commit also copies them into the file: 8 MiB. SQLite's default of
/// 4 MiB makes bursts pay for the copying twice as often.
const WAL_PAGES: i64 = 2_048;
/// A WAL that a long read made longer than this is cut back.
const WAL_BYTES_MAX: i64 = 64 << 20;
/// Part of the file that readers map instead of copying.
const READ_MAP_BYTES: i64 = 1 << 30;
/// The first bytes of an SQLite file (<https://sqlite.org/fileformat2.html>, 1.3).
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const HEADER_APPLICATION_ID: usize = 68;

/// What lies at the path, as far as it can be told without changing anything.
enum FileAtPath {
    Nothing,
    Log,
}

/// The path with its directory resolved, so that a later change of directory does not matter and
/// SQLite can be told to follow no link at all.
fn resolve(path: &Path) -> Result<PathBuf, LogError> {
    let Some(name) = path.file_name() else {
        return Err(LogError::NotAFile {
            path: path.to_owned(),
        });
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = fs::canonicalize(directory).map_err(LogError::io("open", path))?;
    Ok(directory.join(name))
}

fn sidecar(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn wal_bytes(path: &Path) -> u64 {
    fs::metadata(sidecar(path, "-wal")).map_or(0, |meta| meta.len())
}

fn damaged(path: &Path, detail: impl Into<String>) -> LogError {
    LogError::Damaged {
        path: path.to_owned(),
        detail: detail.into(),
    }
}

/// Looks at the file without SQLite.
fn look(path: &Path) -> Result<FileAtPath, LogError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(FileAtPath::Nothing);
        }
        Err(error) => return Err(LogError::io("open", path)(error)),
    };
    if meta.is_symlink() {
        return Err(LogError::Symlink {
            path: path.to_owned(),
        });
    }
    if !meta.is_file() {
        return Err(LogError::NotAFile {
            path: path.to_owned(),
        });
    }
    let header = read_start_keeping_open(path, HEADER_BYTES).map_err(LogError::io("open", path))?;
    if header.is_empty() {
        // SQLite would throw the WAL of an empty file away, and with it what can be rescued.
        return match wal_bytes(path) {
            0 => Ok(FileAtPath::Nothing),
            _ => Err(damaged(path, "the file is empty, yet its -wal file is not")),
        };
    }
    let compared = header.len().min(SQLITE_MAGIC.len());
    if header[..compared] != SQLITE_MAGIC[..compared] {
        return Err(LogError::NotSqlite {
            path: path.to_owned(),
        });
    }
    if header.len() < HEADER_BYTES {
        return Err(damaged(
            path,
            format!("it was cut off after {} bytes", header.len()),
        ));
    }
    let mut id = [0; 4];
    id.copy_from_slice(&header[HEADER_APPLICATION_ID..HEADER_APPLICATION_ID + 4]);
    match i64::from(i32::from_be_bytes(id)) {
        APPLICATION_ID => Ok(FileAtPath::Log),
        0 => look_closer(path),
        other => Err(foreign(path, other)),
    }
}

fn foreign(path: &Path, application_id: i64) -> LogError {
    LogError::Foreign {
        path: path.to_owned(),
        owner: format!("application id {application_id:#010x}"),
    }
}

/// An SQLite file without an application id: another program's, or one that is being made right now.
fn look_closer(path: &Path) -> Result<FileAtPath, LogError> {
    let error = |source| LogError::of(path, source);
    // `immutable` creates no files beside it; with a WAL there already are some.
    let conn = connect_reader(path, wal_bytes(path) == 0)?;
    let id: i64 = conn
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(error)?;
    match id {
        APPLICATION_ID => return Ok(FileAtPath::Log),
        0 => {}
        other => return Err(foreign(path, other)),
    }
    let table: Option<String> = conn
        .query_row("SELECT name FROM sqlite_master LIMIT 1", [], |row| {
            row.get(0)
        })
        .optional()
        .map_err(error)?;
    match table {
        None => Ok(FileAtPath::Nothing),
        Some(table) => Err(LogError::Foreign {
            path: path.to_owned(),
            owner: format!("it has a table or index `{table}`"),
        }),
    }
}

fn connect_reader(path: &Path, immutable: bool) -> Result<Connection, LogError> {
    let error = |source| LogError::of(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let conn = if immutable {
        let uri = file_uri(path);
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
    } else {
        Connection::open_with_flags(path, flags)
    }
    .map_err(error)?;
    conn.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
    conn.pragma_update(None, "query_only", true)
        .map_err(error)?;
    conn.pragma_update(None, "mmap_size", READ_MAP_BYTES)
        .map_err(error)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// `file:` URI of the path, with `immutable=1`; every byte that is special in a URI is escaped.
fn file_uri(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            // Writing to a string never fails.
            _ => {
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// The layout of the file, which is known to be a log; reading it also shows gross damage.
fn layout(conn: &Connection) -> Result<i64, rusqlite::Error> {
    let found = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // Reads the whole schema and the page of the anchor.
    if found == SCHEMA_VERSION {
        conn.query_row("SELECT seq FROM head", [], |row| row.get::<_, i64>(0))?;
    }
    Ok(found)
}

fn require_not_newer(path: &Path, found: i64) -> Result<(), LogError> {
    if (0..=SCHEMA_VERSION).contains(&found) {
        return Ok(());
    }
    Err(LogError::Newer {
        path: path.to_owned(),
        found,
        known: SCHEMA_VERSION,
    })
}

/// Opens an existing log for reading; never creates and never migrates. Gives the resolved path too.
pub(super) fn open_reader(path: &Path) -> Result<(Connection, PathBuf), LogError> {
    let path = resolve(path)?;
    if matches!(look(&path)?, FileAtPath::Nothing) {
        return Err(LogError::Missing { path });
    }
    let conn = connect_reader(&path, false)?;
    let (conn, found) = match layout(&conn) {
        Ok(found) => (conn, found),
        Err(error) if is_half_made(&error) => return Err(LogError::Missing { path }),
        // A WAL-mode file in a directory that cannot be written: SQLite cannot make the shared
        // memory file. Nobody else can be writing there either, and without a WAL all is in the file.
        Err(error) if cannot_share(&error) && wal_bytes(&path) == 0 => {
            let conn = connect_reader(&path, true)?;
            let found = layout(&conn).map_err(|source| no_head(&path, source))?;
            (conn, found)
        }
        Err(error) => return Err(no_head(&path, error)),
    };
    require_not_newer(&path, found)?;
    if found < SCHEMA_VERSION {
        return Err(LogError::Older {
            path,
            found,
            known: SCHEMA_VERSION,
        });
    }
    Ok((conn, path))
}

fn cannot_share(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)
    )
}

/// Whoever made it was killed: a rollback journal waits to be undone, which only a writer may do. A log has one until it
/// is first in WAL mode, so there is no event in it yet.
fn is_half_made(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

/// A log whose `head` row or table is gone is damaged, whatever SQLite calls it.
fn no_head(path: &Path, source: rusqlite::Error) -> LogError {
    match source {
        rusqlite::Error::QueryReturnedNoRows => damaged(path, "its head row is missing"),
        source if source.to_string().contains("no such") => damaged(path, source.to_string()),
        source => LogError::of(path, source),
    }
}

/// Opens the log for writing, makes it if there is none, and brings it up to date.
pub(super) fn open_writer(path: &Path) -> Result<(Connection, PathBuf), LogError> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(LogError::io("create the directory of", path))?;
    }
    let path = resolve(path)?;
    match look(&path)? {
        FileAtPath::Nothing => create_file(&path)?,
        FileAtPath::Log => {
            // Through a connection that cannot write: closing one that can would fold a left-over
            // WAL into a file that may be too new for us.
            let conn = connect_reader(&path, false)?;
            match layout(&conn) {
                // The connection that writes undoes the half, and `migrate` makes it anew.
                Err(error) if is_half_made(&error) => {}
                Err(error) if cannot_share(&error) => {
                    return Err(LogError::ReadOnly { path });
                }
                other => {
                    let found = other.map_err(|source| no_head(&path, source))?;
                    require_not_newer(&path, found)?;
                }
            }
        }
    }
    let error = |source| LogError::of(&path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut conn = Connection::open_with_flags(&path, flags).map_err(error)?;
    if conn.is_readonly("main").map_err(error)? {
        return Err(LogError::ReadOnly { path });
    }
    conn.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
    conn.set_prepared_statement_cache_capacity(64);
    migrate(&mut conn, &path, MIGRATIONS)?;
    switch_to_wal(&conn).map_err(error)?;
    for (name, value) in [
        // 2 is FULL: the WAL is synced at each commit, so what was appended survives a power cut.
        ("synchronous", 2),
        ("wal_autocheckpoint", WAL_PAGES),
        ("journal_size_limit", WAL_BYTES_MAX),
    ] {
        conn.pragma_update(None, name, value).map_err(error)?;
    }
    Ok((conn, path))
}

/// Makes the log beside its place, of mode 0600 (SQLite gives `-wal` and `-shm` the same), and puts it there once it is
/// whole and synced. What is there already, or was put there meanwhile, stays.
fn create_file(path: &Path) -> Result<(), LogError> {
    let io = LogError::io;
    let error = |source| LogError::of(path, source);
    let directory = path.parent().unwrap_or(Path::new("/"));
    let made = tempfile::Builder::new()
        .prefix("log-")
        .suffix(".new")
        .tempfile_in(directory)
        .map_err(io("create", path))?
        // No descriptor of ours: closing one would give up the locks of SQLite.
        .into_temp_path();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(&made, flags).map_err(error)?;
    // It is synced once, when it is whole.
    conn.pragma_update(None, "synchronous", 0).map_err(error)?;
    migrate(&mut conn, path, MIGRATIONS)?;
    switch_to_wal(&conn).map_err(error)?;
    conn.close().map_err(|(_, source)| error(source))?;
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(&made).map_err(io("sync", path))?;
    match made.persist_noclobber(path) {
        Ok(()) => sync(directory).map_err(io("sync", path)),
        Err(kept) if kept.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(kept) => Err(io("create", path)(kept.error)),
    }
}

/// Applies what is missing, each in its own transaction, whatever other processes do meanwhile.
fn migrate(conn: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), LogError> {
    let error = |source| LogError::of(path, source);
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    loop {
        let version = |conn: &Connection| {
            conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        };
        if version(conn).map_err(error)? >= known {
            return Ok(());
        }
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(error)?;
        let applied = version(&tx).map_err(error)?;
        let next = usize::try_from(applied)
            .ok()
            .and_then(|n| migrations.get(n));
        let Some(sql) = next else { return Ok(()) };
        tx.execute_batch(sql).map_err(|source| match source {
            // Without the statement, which is the whole migration.
            rusqlite::Error::SqlInputError { msg, .. } => damaged(
                path,
                format!(
                    "it cannot be brought from layout {applied} to {}: {msg}",
                    applied + 1
                ),
            ),
            source => error(source),
        })?;
        if applied == 0 {
            tx.execute(
                "INSERT INTO head (only, seq, chain, projection_format) VALUES (1, 0, ?1, ?2)",
                (GENESIS.0, PROJECTION_FORMAT),
            )
            .map_err(error)?;
        }
        tx.pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(error)?;
        tx.pragma_update(None, "user_version", applied + 1)
            .map_err(error)?;
        tx.commit().map_err(error)?;
    }
}

/// The switch needs the file alone, and SQLite does not wait for that by itself.
fn switch_to_wal(conn: &Connection) -> Result<(), rusqlite::Error> {
    let started = std::time::Instant::now();
    loop {
        let switched = conn
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        match switched {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && started.elapsed() < BUSY_TIMEOUT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other.map(|_| ()),
        }
    }
}

/// An empty log in memory, of the present layout: for a rebuild that changes nothing.
pub(super) fn open_scratch(path: &Path) -> Result<Connection, LogError> {
    let error = |source| LogError::of(path, source);
    let mut conn = Connection::open_in_memory().map_err(error)?;
    migrate(&mut conn, path, MIGRATIONS)?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next layout, as it might be: applied to a log of this one, its events stay.
    #[test]
    fn an_older_layout_is_brought_up_to_date_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.db");
        drop(open_writer(&path).unwrap());
        let next = "ALTER TABLE boots ADD COLUMN host TEXT; CREATE TABLE extra (x INTEGER) STRICT;";
        let migrations = [MIGRATIONS[0], next];
        let mut conn = Connection::open(&path).unwrap();
        for _ in 0..2 {
            migrate(&mut conn, &path, &migrations).unwrap();
            assert_eq!(layout_of(&conn), 2);
        }
        conn.execute("INSERT INTO extra VALUES (1)", []).unwrap();
        drop(conn);
        // This program knows layout 1 only.
        let error = open_reader(&path).unwrap_err();
        assert!(
            matches!(
                error,
                LogError::Newer {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_migration_that_fails_leaves_the_layout_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.db");
        drop(open_writer(&path).unwrap());
        let mut conn = Connection::open(&path).unwrap();
        let broken = "CREATE TABLE extra (x INTEGER) STRICT; CREATE TABLE events (x INTEGER);";
        let error = migrate(&mut conn, &path, &[MIGRATIONS[0], broken]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("from layout 1 to 2: table events already exists"),
            "{error}"
        );
        assert_eq!(layout_of(&conn), 1);
        assert!(conn.prepare("SELECT * FROM extra").is_err());
    }

    #[test]
    fn the_uri_of_a_path_escapes_what_is_special_in_uris() {
        let uri = file_uri(Path::new("/a b/c?d#e%f/log.db"));
        assert_eq!(uri, "file:/a%20b/c%3fd%23e%25f/log.db?immutable=1");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b?c#d%e.db");
        drop(open_writer(&path).unwrap());
        assert_eq!(
            layout(&connect_reader(&path, true).unwrap()).unwrap(),
            SCHEMA_VERSION
        );
    }

    fn layout_of(conn: &Connection) -> i64 {
        conn.pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }
}
