//! With a real server: what others do meanwhile, and what takes too long.

use super::super::*;
use crate::checks::testing::postgres::Server;

const BOOK: &str = "INSERT INTO django_migrations (name) VALUES ('b2')";

fn recording(statements: &[&str]) -> Recording {
    let statements = statements
        .iter()
        .map(|sql| serde_json::json!({"sql": sql, "parameters": [], "is_last": true}))
        .collect::<Vec<_>>();
    let all = serde_json::json!({"statements": statements, "settings": {}, "concurrent": false, "obstacle": null});
    serde_json::from_value(all).unwrap()
}

fn migration_tables() -> MigrationTables {
    MigrationTables {
        versions: Vec::new(),
        growing: vec!["django_migrations".to_owned()],
    }
}

/// A database whose migrations keep a book that takes the same line twice, and what adds a row to both tables,
/// proved.
fn proved(server: &Server) -> (String, Proved) {
    server.sql(
        "postgres",
        "CREATE TABLE django_migrations (id serial, name text); CREATE TABLE t (x int)",
    );
    let url = server.url("postgresql", "postgres");
    let live =
        read_in_transaction(&Session::connect(&url).unwrap(), Some(&migration_tables())).unwrap();
    let statements = ["INSERT INTO t VALUES (1)", BOOK];
    let clone = |name: &str| {
        server.sql(
            "template1",
            &format!("CREATE DATABASE {name} TEMPLATE postgres"),
        );
        Session::connect(&server.url("postgresql", name)).unwrap()
    };
    let (first, second) = (clone("one"), clone("two"));
    for statement in statements {
        first.run(statement, ASK_MAX).unwrap();
    }
    let migrated = MigratedClone::read(&first, &migration_tables()).unwrap();
    let done = prove(
        &second,
        &live,
        &migrated,
        recording(&statements),
        &migration_tables(),
        LIVE_MAX,
    );
    (url, done.unwrap().0)
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn who_migrates_by_hand_meanwhile_is_waited_for_and_seen() {
    let Some(server) = Server::start() else {
        return;
    };
    let (url, proved) = proved(&server);
    let by_hand = Session::connect(&url).unwrap();
    by_hand
        .run(&format!("BEGIN; INSERT INTO t VALUES (1); {BOOK}"), ASK_MAX)
        .unwrap();
    let promoting = std::thread::spawn({
        let (url, proved) = (url.clone(), proved.clone());
        move || promote(&url, &proved, &migration_tables())
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let begun = Instant::now();
    while server.sql("postgres", waits).trim() != "1" {
        assert!(begun.elapsed() < LIVE_MAX, "it does not wait");
        assert!(!promoting.is_finished(), "it does not wait");
    }
    by_hand.run("COMMIT", ASK_MAX).unwrap();
    let done = promoting.join().unwrap();
    // Those very rows are what it was to add.
    assert!(done.is_ok(), "{done:?}");
    let counted = "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM django_migrations)";
    assert_eq!(server.sql("postgres", counted).trim(), "1|1");
    // Somebody who is not done in time.
    server.sql("postgres", "DELETE FROM t; DELETE FROM django_migrations");
    by_hand.run(&format!("BEGIN; {BOOK}"), ASK_MAX).unwrap();
    let why = promote(&url, &proved, &migration_tables())
        .unwrap_err()
        .to_string();
    assert!(why.contains("somebody else may be migrating"), "{why}");
    by_hand.run("ROLLBACK", ASK_MAX).unwrap();
    promote(&url, &proved, &migration_tables()).unwrap();
    assert_eq!(server.sql("postgres", counted).trim(), "1|1");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn what_takes_longer_than_it_may_is_not_proved_and_not_left_running() {
    let Some(server) = Server::start() else {
        return;
    };
    let session = Session::connect(&server.url("postgresql", "postgres")).unwrap();
    let sleeps = recording(&["SELECT pg_sleep(0.2)"; 20]);
    let all = in_transaction(&session, &[], || {
        run(&session, &sleeps, None, Duration::from_millis(500))
    });
    let why = all.unwrap_err().to_string();
    assert!(why.contains("takes longer than 0 s"), "{why}");
    // Limits that a statement takes away are there again for the next one.
    let unlimited = recording(&[
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT 1",
    ]);
    let limit = in_transaction(&session, &[], || {
        run(&session, &unlimited, None, LIVE_MAX)?;
        session
            .value("SHOW statement_timeout", ASK_MAX)
            .map_err(because("cannot ask"))
    });
    assert_eq!(limit.unwrap().as_deref(), Some("1min")); // What a server does not end by itself.
    let late = session.run("SELECT pg_sleep(600)", Duration::ZERO);
    assert!(late.unwrap_err().to_string().contains("no answer"));
    let goes_on =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(600)' AND state = 'active'";
    let begun = Instant::now();
    while server.sql("postgres", goes_on).trim() != "0" {
        assert!(begun.elapsed() < Duration::from_secs(20), "it goes on");
    }
}
