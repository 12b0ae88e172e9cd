use super::*;

fn database(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

const BEFORE: &str = "CREATE TABLE t (x); INSERT INTO t VALUES (1), (2);";

#[test]
fn a_database_is_replaced_whole_and_once_only() {
    for wal in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let [live, image] = ["live.db", "image.db"].map(|name| dir.path().join(name));
        database(&live, BEFORE);
        if wal {
            database(
                &live,
                "PRAGMA journal_mode = WAL; INSERT INTO t VALUES (3);",
            );
        }
        clone_database(&live, &image).unwrap();
        let before = file_digest(&live).unwrap();
        database(&image, "ALTER TABLE t ADD COLUMN y; CREATE TABLE u (z)");
        let after = file_digest(&image).unwrap();
        replace_contents(&live, &image, before, after).unwrap();
        assert_eq!(file_digest(&live).unwrap(), after);
        // As recovery does it when the crash came after the change.
        replace_contents(&live, &image, before, after).unwrap();
        // Rows that came since are not lost.
        database(&live, "INSERT INTO t VALUES (9, 9)");
        let error = replace_contents(&live, &image, before, after).unwrap_err();
        assert!(matches!(error, ApplyError::Changed { .. }), "{error}");
        let rows: i64 = Connection::open(&live)
            .unwrap()
            .query_row("SELECT max(x) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 9);
    }
}

#[test]
fn a_database_that_was_not_there_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let [live, image] = ["live.db", "image.db"].map(|name| dir.path().join(name));
    database(&image, BEFORE);
    let (before, after) = (file_digest(&live).unwrap(), file_digest(&image).unwrap());
    assert!(!live.exists());
    replace_contents(&live, &image, before, after).unwrap();
    assert_eq!(file_digest(&live).unwrap(), after);
}

#[test]
fn a_database_in_use_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let [live, image] = ["live.db", "image.db"].map(|name| dir.path().join(name));
    database(&live, BEFORE);
    let before = file_digest(&live).unwrap();
    database(&image, "CREATE TABLE u (z)");
    let after = file_digest(&image).unwrap();
    let other = Connection::open(&live).unwrap();
    other
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (3)")
        .unwrap();
    let error = replace_contents(&live, &image, before, after).unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert_eq!(file_digest(&live).unwrap(), before);
}
