//! What is opened, what is refused, and that a refusal changes nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::domain::remedy::Remedy;

/// Opens for writing and for reading: both must refuse, and the directory stays as it was.
#[track_caller]
fn refused(path: &Path) -> (LogError, LogError) {
    let before = contents(path.parent().unwrap());
    let writing = Log::open(path).expect_err("refused for writing");
    let reading = Reader::open(path).expect_err("refused for reading");
    assert_eq!(contents(path.parent().unwrap()), before, "{writing}");
    (writing, reading)
}

/// Every file with its bytes.
fn contents(dir: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name(),
                fs::read(entry.path()).unwrap_or_default(),
            )
        })
        .collect();
    files.sort();
    files
}

fn a_log() -> (tempfile::TempDir, std::path::PathBuf) {
    let (dir, path) = place();
    Log::open(&path)
        .unwrap()
        .append(vec![note("one"), note("two")])
        .unwrap();
    (dir, path)
}

#[test]
fn a_log_whose_maker_was_killed_is_made_anew() {
    let (dir, path) = place();
    let half = dir.path().join("half.db");
    let conn = Connection::open(&half).unwrap();
    let id = Connection::open({
        Log::open(&path).unwrap();
        &path
    })
    .unwrap()
    .pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0))
    .unwrap();
    conn.pragma_update(None, "application_id", id).unwrap();
    conn.execute_batch(
        "CREATE TABLE half (x); INSERT INTO half VALUES (1);
         PRAGMA cache_size = 1; BEGIN; DROP TABLE half; CREATE TABLE big (x);
         INSERT INTO big WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)
         SELECT randomblob(4000) FROM n;",
    )
    .unwrap();
    // What `kill -9` leaves: pages that were written, and the journal that undoes them.
    let killed = path.with_file_name("killed.db");
    fs::copy(&half, &killed).unwrap();
    fs::copy(
        dir.path().join("half.db-journal"),
        path.with_file_name("killed.db-journal"),
    )
    .unwrap();
    assert!(matches!(
        Reader::open(&killed),
        Err(LogError::Missing { .. })
    ));
    let log = Log::open(&killed).unwrap();
    log.append(vec![note("one")]).unwrap();
}

#[test]
fn a_new_log_is_for_its_owner_only() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append(vec![note("x")]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for suffix in ["", "-wal", "-shm"] {
        let file = path.with_file_name(format!("log.db{suffix}"));
        assert_eq!(mode(&file), 0o600, "{suffix}");
    }
    assert_eq!(log.path(), path);
    let conn = Connection::open(&path).unwrap();
    let pragma = |name| {
        conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(pragma("application_id"), APPLICATION_ID);
    assert_eq!(pragma("user_version"), SCHEMA_VERSION);
    let loose: i64 = conn
        .query_row(
            "SELECT count(*) FROM pragma_table_list WHERE type = 'table' AND NOT strict AND name NOT LIKE 'sqlite_%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(loose, 0, "every table is STRICT");
}

#[test]
fn the_last_close_leaves_one_file() {
    let (_dir, path) = a_log();
    assert_eq!(contents(path.parent().unwrap()).len(), 1);
    assert_sound(&path, 2);
}

#[test]
fn an_empty_file_becomes_a_log_and_is_none_for_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    fs::write(&path, b"").unwrap();
    assert!(matches!(Reader::open(&path), Err(LogError::Missing { .. })));
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    Log::open(&path).unwrap().append(vec![note("x")]).unwrap();
    assert_sound(&path, 1);
}

#[test]
fn an_empty_file_beside_a_wal_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    fs::write(&path, b"").unwrap();
    fs::write(dir.path().join("log.db-wal"), b"frames").unwrap();
    let (writing, reading) = refused(&path);
    assert!(matches!(writing, LogError::Damaged { .. }), "{writing}");
    assert!(matches!(reading, LogError::Damaged { .. }), "{reading}");
}

#[test]
fn a_reader_makes_no_file() {
    let (_dir, path) = place();
    fs::create_dir(path.parent().unwrap()).unwrap();
    let error = Reader::open(&path).unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }));
    assert!(error.to_string().contains("`ubs boot`"), "{error}");
    assert!(contents(path.parent().unwrap()).is_empty());
    assert!(matches!(
        Reader::open(Path::new("/no/such/place/log.db")),
        Err(LogError::Missing { .. })
    ));
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [&b"hello"[..], &[0_u8; 5000], b"SQLite format 2\0 and more"] {
        let path = dir.path().join("log.db");
        fs::write(&path, bytes).unwrap();
        let (writing, reading) = refused(&path);
        assert!(matches!(writing, LogError::NotSqlite { .. }), "{writing}");
        assert!(matches!(reading, LogError::NotSqlite { .. }), "{reading}");
    }
}

#[test]
fn the_database_of_another_program_is_refused() {
    for pragma in [
        "",
        "PRAGMA application_id = 42;",
        "PRAGMA journal_mode = wal;",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(&format!(
            "{pragma} CREATE TABLE users (id); INSERT INTO users VALUES (1)"
        ))
        .unwrap();
        drop(conn);
        let (writing, reading) = refused(&path);
        assert!(matches!(writing, LogError::Foreign { .. }), "{writing}");
        assert!(matches!(reading, LogError::Foreign { .. }), "{reading}");
        let owner = if pragma.contains("42") {
            "application id 0x0000002a"
        } else {
            "`users`"
        };
        assert!(writing.to_string().contains(owner), "{writing}");
    }
}

#[test]
fn a_newer_layout_is_refused() {
    let (_dir, path) = a_log();
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let before = fs::read(&path).unwrap();
    for error in [
        Log::open(&path).unwrap_err(),
        Reader::open(&path).unwrap_err(),
    ] {
        assert!(
            matches!(error, LogError::Newer { found: 99, .. }),
            "{error}"
        );
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_newer_layout_with_a_left_over_wal_is_refused_and_the_wal_stays() {
    let (dir, path) = a_log();
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 99;")
        .unwrap();
    let copy = dir.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    fs::copy(
        path.with_file_name("log.db-wal"),
        dir.path().join("copy.db-wal"),
    )
    .unwrap();
    let before = (
        fs::read(&copy).unwrap(),
        fs::read(dir.path().join("copy.db-wal")).unwrap(),
    );
    let error = Log::open(&copy).unwrap_err();
    assert!(matches!(error, LogError::Newer { .. }), "{error}");
    let after = (
        fs::read(&copy).unwrap(),
        fs::read(dir.path().join("copy.db-wal")).unwrap(),
    );
    assert!(before == after);
}

#[test]
fn an_older_layout_needs_a_command_that_writes() {
    let (_dir, path) = a_log();
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 0)
        .unwrap();
    let error = Reader::open(&path).unwrap_err();
    assert!(matches!(error, LogError::Older { found: 0, .. }), "{error}");
    assert!(error.to_string().contains("`ubs log rebuild`"), "{error}");
    // Here it only pretends to be older: the migration does not fit, and says so.
    let error = Log::open(&path).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
}

#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let (_dir, path) = a_log();
    let whole = fs::read(&path).unwrap();
    let mut scratched = whole.clone();
    scratched[100..200].fill(0xff);
    for (what, bytes) in [
        ("header only", &whole[..50]),
        ("first page only", &whole[..4096]),
        ("half", &whole[..whole.len() / 2]),
        ("schema page", &scratched),
    ] {
        fs::write(&path, bytes).unwrap();
        for error in [
            Log::open(&path).unwrap_err(),
            Reader::open(&path).unwrap_err(),
        ] {
            assert!(
                matches!(error, LogError::Damaged { .. }),
                "{what}: {error:?}"
            );
        }
        assert!(fs::read(&path).unwrap() == bytes, "{what}");
    }
}

#[test]
fn a_log_without_its_head_row_is_damaged() {
    let (_dir, path) = a_log();
    Connection::open(&path)
        .unwrap()
        .execute("DELETE FROM head", [])
        .unwrap();
    let (writing, reading) = (
        Log::open(&path).unwrap_err(),
        Reader::open(&path).unwrap_err(),
    );
    assert!(
        writing.to_string().contains("head row is missing"),
        "{writing}"
    );
    assert!(
        reading.to_string().contains("head row is missing"),
        "{reading}"
    );
}

#[test]
fn links_and_directories_are_refused() {
    let (dir, path) = a_log();
    let link = dir.path().join("link.db");
    symlink(&path, &link).unwrap();
    let (writing, reading) = refused(&link);
    assert!(matches!(writing, LogError::Symlink { .. }), "{writing}");
    assert!(matches!(reading, LogError::Symlink { .. }), "{reading}");
    let (writing, reading) = refused(path.parent().unwrap());
    assert!(matches!(writing, LogError::NotAFile { .. }), "{writing}");
    assert!(matches!(reading, LogError::NotAFile { .. }), "{reading}");
    // A link to the directory is followed: workspaces are often reached through one.
    let through = dir.path().join("through");
    symlink(path.parent().unwrap(), &through).unwrap();
    assert_eq!(Reader::open(&through.join("log.db")).unwrap().path(), path);
}

#[test]
fn a_file_that_may_not_be_read_or_written_is_refused() {
    let (_dir, path) = a_log();
    if fs::metadata(&path).unwrap().uid() == 0 {
        eprintln!("SKIPPED: root may read and write everything");
        return;
    }
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    assert!(matches!(
        Log::open(&path),
        Err(LogError::Io { what: "open", .. })
    ));
    assert!(matches!(
        Reader::open(&path),
        Err(LogError::Io { what: "open", .. })
    ));
    mode(0o400);
    assert!(matches!(Log::open(&path), Err(LogError::ReadOnly { .. })));
    assert_eq!(Reader::open(&path).unwrap().head().unwrap(), Seq(2));
}

/// Forensics on a copy: no `-wal`, no `-shm`, and nowhere to make them.
#[test]
fn a_copy_in_a_read_only_directory_is_readable() {
    let (_dir, path) = a_log();
    let directory = path.parent().unwrap();
    let mode = |mode| fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    assert_sound(&path, 2);
    if fs::metadata(directory).unwrap().uid() != 0 {
        assert_eq!(contents(directory).len(), 1);
    }
    mode(0o700);
}

#[test]
fn a_log_whose_projections_another_version_made_is_rebuilt_by_the_next_writer() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append(vec![of_boot(boot_id(1), 5, boot_started("grace"))])
        .unwrap();
    drop(log);
    Connection::open(&path)
        .unwrap()
        .execute_batch("UPDATE head SET projection_format = 0; DELETE FROM boots;")
        .unwrap();
    let problems = Reader::open(&path).unwrap().verify().unwrap().problems;
    assert!(problems[0].contains("format 0"), "{problems:?}");
    drop(Log::open(&path).unwrap());
    assert_sound(&path, 1);
    assert_eq!(Reader::open(&path).unwrap().boots(9).unwrap().len(), 1);
}

/// A log as the program before wrote it: frames of version 1, states by position.
#[test]
fn a_log_of_version_1_is_rebuilt_and_its_mission_has_a_remedy() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let frame = golden::frame_of(1, "mission_filed.7");
    log.transact(move |tx| tx.ledger.insert_raw("mission_filed", 1, &frame))
        .unwrap()
        .unwrap();
    drop(log);
    // What was appended as it is was not folded. Now there is a state that nobody can read.
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "UPDATE head SET projection_format = 2;
         INSERT INTO missions VALUES (1, x'01950000000070008000000000000001', 1, 'old', '', 'filed', \
         0, 0, 0, NULL, x'0102');",
    )
    .unwrap();
    drop(conn);
    let reader = Reader::open(&path).unwrap();
    let mission = mission_id(0x0195_0000_0000_7000_8000_0000_0000_0001);
    for error in [
        reader.mission(mission).unwrap_err(),
        reader.missions(true).unwrap_err(),
        reader.boot(boot_id(1)).unwrap_err(),
    ] {
        assert!(
            matches!(error, LogError::OtherProjections { found: 2, .. })
                && error.to_string().contains("`ubs log rebuild`"),
            "{error}"
        );
    }
    // Events need no projection.
    assert_eq!(reader.events(EventFilter::default()).unwrap().count(), 1);
    drop(Log::open(&path).unwrap());
    let state = reader.mission(mission).unwrap().unwrap();
    let failure = state.failure.unwrap();
    assert!(
        matches!(failure.fix, Some(Remedy::Migrate { ref target, .. }) if target == "other"),
        "{failure:?}"
    );
    assert_sound(&path, 1);
}

#[test]
fn errors_say_what_to_do() {
    let (_dir, path) = a_log();
    let at = |error: LogError| error.to_string();
    for text in [
        at(LogError::Full { path: path.clone() }),
        at(LogError::Busy {
            path: path.clone(),
            waited_s: 30,
        }),
        at(LogError::ReadOnly { path: path.clone() }),
    ] {
        assert!(
            text.contains("log.db") && text.contains("try again")
                || text.contains("make it writable"),
            "{text}"
        );
    }
}

/// What SQLite holds on the file for this process (proc_locks(5)).
fn locks_held_on(path: &Path) -> usize {
    let inode = format!(":{} ", fs::metadata(path).unwrap().ino());
    let own = format!(" {} ", std::process::id());
    fs::read_to_string("/proc/locks")
        .unwrap()
        .lines()
        .filter(|line| line.contains(&inode) && line.contains(&own))
        .count()
}

#[test]
fn looking_at_a_log_that_is_open_here_keeps_its_locks() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append(vec![note("x")]).unwrap();
    let before = locks_held_on(&path);
    assert!(before > 0, "SQLite holds a lock in WAL mode");
    drop(Reader::open(&path).unwrap());
    drop(Log::open(&path).unwrap());
    assert_eq!(locks_held_on(&path), before);
}
