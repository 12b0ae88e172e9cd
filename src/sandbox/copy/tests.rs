//! Copies of real trees and of a database in use.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_tree_is_copied_with_modes_and_links_and_without_what_no_trial_needs() {
    let dir = tempfile::tempdir().unwrap();
    let ws = dir.path().join("ws");
    for sub in ["pkg/sub", ".git", "venv", "pkg/__pycache__", ".ubs/tmp"] {
        fs::create_dir_all(ws.join(sub)).unwrap();
    }
    for file in [
        "a.py",
        "pkg/b.py",
        ".git/HEAD",
        "venv/x",
        "pkg/__pycache__/c.pyc",
    ] {
        fs::write(ws.join(file), file).unwrap();
    }
    fs::set_permissions(ws.join("a.py"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(ws.join("pkg/sub"), fs::Permissions::from_mode(0o555)).unwrap();
    symlink("../a.py", ws.join("pkg/inside")).unwrap();
    symlink(ws.canonicalize().unwrap().join("a.py"), ws.join("absolute")).unwrap();
    let absolute = ws.canonicalize().unwrap().join("a.py");
    symlink(absolute, ws.join("pkg/absolute")).unwrap();
    symlink("/etc/passwd", ws.join("outside")).unwrap();
    symlink("../../etc", ws.join("climbs")).unwrap();
    symlink("gone", ws.join("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(ws.join("socket")).unwrap();

    let copy = WorkspaceCopy::create(&ws, &ws.join(".ubs/tmp"), &[]).unwrap();
    let root = copy.root().to_path_buf();
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join("a.py")), 0o755);
    assert_eq!(mode(&root.join("pkg/sub")), 0o555);
    assert_eq!(fs::read_to_string(root.join("pkg/inside")).unwrap(), "a.py");
    assert_eq!(
        fs::read_link(root.join("absolute")).unwrap(),
        Path::new("a.py")
    );
    assert_eq!(
        fs::read_link(root.join("pkg/absolute")).unwrap(),
        Path::new("../a.py")
    );
    assert_eq!(
        fs::read_link(root.join("dangling")).unwrap(),
        Path::new("gone")
    );
    let mut skipped = copy.skipped_links().to_vec();
    skipped.sort();
    assert_eq!(skipped, [PathBuf::from("climbs"), PathBuf::from("outside")]);
    for gone in [
        "outside",
        "climbs",
        ".git",
        "venv",
        "pkg/__pycache__",
        ".ubs",
        "socket",
    ] {
        assert!(fs::symlink_metadata(root.join(gone)).is_err(), "{gone}");
    }
    fs::write(root.join("a.py"), "changed").unwrap();
    assert_eq!(fs::read_to_string(ws.join("a.py")).unwrap(), "a.py");
    drop(copy);
    assert!(!root.exists());
    let kept = WorkspaceCopy::create(&ws, dir.path(), &[]).unwrap().keep();
    assert!(kept.join("pkg/b.py").exists());
}

#[test]
fn a_workspace_that_is_too_large_is_refused_and_the_culprit_named() {
    let dir = tempfile::tempdir().unwrap();
    let ws = dir.path();
    fs::create_dir_all(ws.join("small")).unwrap();
    fs::create_dir_all(ws.join("media/deep")).unwrap();
    fs::write(ws.join("small/a"), [0; 10]).unwrap();
    fs::write(ws.join("media/deep/b"), [0; 1000]).unwrap();
    let error = |bytes, files| {
        scan_limited(ws, Path::new("/none"), Path::new("/none"), bytes, files)
            .err()
            .unwrap()
    };
    assert!(
        error(500, 100).to_string().ends_with("media"),
        "{}",
        error(500, 100)
    );
    assert!(error(5000, 2).to_string().contains("2 files"));
    let before = fs::read_dir(ws).unwrap().count();
    fs::File::create(ws.join("media/huge"))
        .unwrap()
        .set_len(BYTES_MAX + 1)
        .unwrap();
    assert!(matches!(
        WorkspaceCopy::create(ws, ws, &[]),
        Err(CopyError::TooLarge { .. })
    ));
    assert_eq!(
        fs::read_dir(ws).unwrap().count(),
        before,
        "nothing is left behind"
    );
}

#[test]
fn a_workspace_that_is_too_deep_is_refused_and_the_place_named() {
    let dir = tempfile::tempdir().unwrap();
    let ws = dir.path().join("ws");
    let mut deep = ws.join("cache");
    for _ in 0..DEPTH_MAX {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    let error = WorkspaceCopy::create(&ws, dir.path(), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("256 levels") && error.contains("ws/cache: remove"),
        "{error}"
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
    fs::remove_dir(&deep).unwrap();
    WorkspaceCopy::create(&ws, dir.path(), &[]).unwrap();
}

#[test]
fn a_database_that_is_being_written_is_copied_as_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (ws, into) = (dir.path().join("ws"), dir.path().join("into"));
    fs::create_dir_all(ws.join("data")).unwrap();
    fs::create_dir(&into).unwrap();
    let db = ws.join("data/app.db");
    let writer = Connection::open(&db).unwrap();
    writer
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
             CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, filler TEXT);
             INSERT INTO account SELECT value, 100, hex(zeroblob(500)) FROM
               (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value+1 FROM n WHERE value<500) SELECT value FROM n);",
        )
        .unwrap();
    let stop = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let (sent, started) = std::sync::mpsc::channel();
        let stop = &stop;
        let handle = scope.spawn(move || {
            let mut rounds = 0u32;
            while !stop.load(Ordering::Relaxed) {
                writer
                    .execute_batch(
                        "BEGIN; UPDATE account SET balance=balance-1 WHERE id<=250;
                         UPDATE account SET balance=balance+1 WHERE id>250; COMMIT;",
                    )
                    .unwrap();
                rounds += 1;
                let _ = sent.send(());
            }
            rounds
        });
        started.recv().unwrap();
        for _ in 0..10 {
            let copy = WorkspaceCopy::create(&ws, &into, &[PathBuf::from("data/app.db")]).unwrap();
            let clone = Connection::open(copy.root().join("data/app.db")).unwrap();
            let ok: String = clone
                .query_row("PRAGMA integrity_check", [], |r| r.get(0))
                .unwrap();
            assert_eq!(ok, "ok");
            let sum: i64 = clone
                .query_row("SELECT sum(balance) FROM account", [], |r| r.get(0))
                .unwrap();
            assert_eq!(sum, 50_000, "no half transaction is seen");
        }
        stop.store(true, Ordering::Relaxed);
        handle.join().unwrap()
    });
    assert!(rounds > 0);
}

#[test]
fn what_is_no_database_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("app.db"),
        "this is not a database, but long enough to be looked at ".repeat(20),
    )
    .unwrap();
    let into = tempfile::tempdir().unwrap();
    let error = WorkspaceCopy::create(dir.path(), into.path(), &["app.db".into()]).unwrap_err();
    assert!(error.to_string().contains("app.db"), "{error}");
    assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0);
}
