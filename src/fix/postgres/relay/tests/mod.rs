//! What is recorded, with a real server and the house's own client.

mod driver;
mod refusal;
pub(super) mod testing;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};

use super::*;
use testing::*;

/// A client and what it runs in.
struct Driver {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Driver {
    fn connect(port: u16) -> Self {
        Self::with(port, |_| {})
    }

    fn with(port: u16, set: impl FnOnce(&mut Config)) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(port)
            .user("me")
            .dbname("live");
        set(&mut config);
        let client = runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await.unwrap();
            tokio::spawn(async move { drop(connection.await) });
            client
        });
        Self { runtime, client }
    }

    #[track_caller]
    fn run(&self, sql: &str) {
        self.runtime
            .block_on(self.client.batch_execute(sql))
            .unwrap();
    }

    #[track_caller]
    fn fail(&self, sql: &str) {
        self.runtime
            .block_on(self.client.batch_execute(sql))
            .unwrap_err();
    }
}

#[test]
fn a_transaction_is_recorded_when_it_is_committed_without_what_failed() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let driver = Driver::connect(trial.port);
    driver.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    driver.run("/* first */ CREATE TABLE t (id serial PRIMARY KEY, name text, n int);");
    driver.run("SAVEPOINT a");
    driver.run("CREATE TABLE gone (x int)");
    driver.fail("SELECT no_such_function()");
    driver.run("ROLLBACK TO SAVEPOINT a");
    let insert = driver
        .runtime
        .block_on(
            driver
                .client
                .prepare("INSERT INTO t (name, n) VALUES ($1, $2)"),
        )
        .unwrap();
    for (name, n) in [("it's", Some(7)), ("é", None)] {
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&name, &n];
        driver
            .runtime
            .block_on(driver.client.execute(&insert, &values))
            .unwrap();
    }
    driver.run("COMMIT");
    driver.run("BEGIN; CREATE TABLE not_this (x int); ROLLBACK");
    // What follows an error is taken back by COMMIT.
    driver.run("BEGIN; CREATE TABLE nor_this (x int)");
    driver.fail("SELECT 1/0");
    driver.run("COMMIT");
    drop(driver);
    let mut recording = trial.relay.finish();
    assert_eq!(
        listed(&recording),
        [
            "CREATE TABLE t (id serial PRIMARY KEY, name text, n int)",
            "SAVEPOINT a",
            "CREATE TABLE gone (x int)",
            "ROLLBACK TO SAVEPOINT a",
            "INSERT INTO t (name, n) VALUES ($1, $2) <- [105, 116, 39, 115], [0, 0, 0, 7]",
            "INSERT INTO t (name, n) VALUES ($1, $2) <- [195, 169], NULL",
        ]
    );
    assert_eq!(recording.settings, BTreeMap::new());
    // It can be kept and read again.
    let kept = serde_json::to_string(&recording).unwrap();
    recording = serde_json::from_str(&kept).unwrap();
    let trial = TrialEnded(trial.server);
    trial.expect_same_catalog(&recording);
    assert_eq!(
        trial
            .0
            .sql(
                "again",
                "SELECT string_agg(name || coalesce(n, 0), ' ' ORDER BY id) FROM t"
            )
            .trim(),
        "it's7 é0"
    );
}

#[test]
fn texts_with_several_statements_take_effect_as_the_server_says() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let driver = Driver::connect(trial.port);
    driver.run("CREATE TABLE a (x int); INSERT INTO a VALUES (1); ;");
    driver.fail("CREATE TABLE no1 (x int); SELECT 1/0; CREATE TABLE no2 (x int)");
    driver.run("INSERT INTO a VALUES (2); BEGIN; INSERT INTO a VALUES (3); COMMIT; INSERT INTO a VALUES (4)");
    driver.fail("BEGIN; INSERT INTO a VALUES (5); COMMIT; INSERT INTO a VALUES (6); SELECT 1/0");
    driver.run("INSERT INTO a VALUES (7); ROLLBACK; INSERT INTO a VALUES (8)");
    driver.run("DO $$ BEGIN INSERT INTO a VALUES (9); END $$; SET TRANSACTION READ WRITE");
    driver.run(
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END; \
         SELECT f()",
    );
    // To the server, this is one string on two lines.
    driver.run("SELECT E'a' -- so\n '\\'; CREATE DATABASE x; --'");
    driver.run("");
    driver.run("-- nothing");
    // A constraint that is looked at in the end fails the COMMIT.
    driver.run("CREATE TABLE b (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    driver.run("BEGIN; INSERT INTO b VALUES (1), (1)");
    driver.fail("COMMIT");
    let recording = trial.relay.finish();
    assert_eq!(
        listed(&recording),
        [
            "CREATE TABLE a (x int)",
            "INSERT INTO a VALUES (1)",
            "INSERT INTO a VALUES (2)",
            "INSERT INTO a VALUES (3)",
            "INSERT INTO a VALUES (4)",
            "INSERT INTO a VALUES (5)",
            "INSERT INTO a VALUES (8)",
            "DO $$ BEGIN INSERT INTO a VALUES (9); END $$",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END",
            "SELECT f()",
            "SELECT E'a' -- so\n '\\'; CREATE DATABASE x; --'",
            "CREATE TABLE b (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        ]
    );
    let trial = TrialEnded(trial.server);
    trial.expect_same_catalog(&recording);
    let sums = |database: &str| trial.0.sql(database, "SELECT sum(x), count(*) FROM a");
    assert_eq!(sums("app"), sums("again"));
}

#[test]
fn limits_and_what_tidies_up_are_not_recorded() {
    let Some(trial) = RelayTrial::start("CREATE SCHEMA a") else {
        return;
    };
    let driver = Driver::connect(trial.port);
    driver.run("SET lock_timeout = '5s'; BEGIN; SET LOCAL statement_timeout = '1min'; CREATE TABLE t (x int); COMMIT");
    driver.run("RESET ALL; CLOSE ALL; DEALLOCATE ALL");
    driver
        .run("SET search_path = a; CREATE TABLE t (x int); PREPARE p AS INSERT INTO t VALUES ($1)");
    driver.run("EXECUTE p (1); DEALLOCATE p; RESET ALL; CREATE TABLE u (x int)");
    let recording = trial.relay.finish();
    assert_eq!(
        listed(&recording),
        [
            "CREATE TABLE t (x int)",
            "CLOSE ALL",
            "SET search_path = a",
            "CREATE TABLE t (x int)",
            "PREPARE p AS INSERT INTO t VALUES ($1)",
            "EXECUTE p (1)",
            "DEALLOCATE p",
            "RESET ALL",
            "CREATE TABLE u (x int)",
        ]
    );
    let ended = TrialEnded(trial.server);
    ended.0.sql("template1", "CREATE SCHEMA a");
    ended.expect_same_catalog(&recording);
}

#[test]
fn a_portal_that_is_run_in_parts_counts_once() {
    let Some(trial) =
        RelayTrial::start("CREATE TABLE t AS SELECT g AS x FROM generate_series(1, 10) AS g")
    else {
        return;
    };
    let mut driver = Driver::connect(trial.port);
    let (runtime, client) = (&driver.runtime, &mut driver.client);
    runtime.block_on(async {
        let transaction = client.transaction().await.unwrap();
        let portal = transaction
            .bind("UPDATE t SET x = x + $1 RETURNING x", &[&1])
            .await
            .unwrap();
        for rows in [4, 4, 2, 0] {
            let found = transaction.query_portal(&portal, 4).await.unwrap();
            assert_eq!(found.len(), rows);
        }
        transaction.commit().await.unwrap();
    });
    drop(driver);
    // Names are taken as the server has them: one that it did not take stands for what it stood for.
    let mut raw = Raw::open(trial.port, &[("user", "me"), ("database", "app")]);
    let mut send = |parts: &[Vec<u8>], expected: &str| {
        raw.send(&[&parts.concat()[..], &SYNC].concat());
        assert_eq!(raw.answered(), expected);
    };
    send(&[parse("s", "INSERT INTO t VALUES (100)")], "1I");
    send(&[parse("s", "INSERT INTO t VALUES (200)")], "EI");
    send(
        &[
            bind("p", "s"),
            execute("p", 0),
            bind("q", "s"),
            execute("q", 0),
        ],
        "2C2CI",
    );
    send(
        &[parse("r", "DEALLOCATE s"), bind("", "r"), execute("", 0)],
        "12CI",
    );
    send(&[bind("", "s"), execute("", 0)], "EI");
    let delete = "DELETE FROM t WHERE x = 100 -- gone";
    send(&[extended(""), extended(delete)], "12I12CI");
    let recording = trial.relay.finish();
    assert_eq!(recording.obstacle, None);
    assert_eq!(
        listed(&recording),
        [
            "UPDATE t SET x = x + $1 RETURNING x <- [0, 0, 0, 1]",
            "INSERT INTO t VALUES (100)",
            "INSERT INTO t VALUES (100)",
            "DELETE FROM t WHERE x = 100",
        ]
    );
    // The type that the client named.
    assert_eq!(recording.statements[0].parameters[0].oid, 0);
}

#[test]
fn what_cannot_be_replayed_is_an_obstacle_and_is_done_all_the_same() {
    for (script, expected, done) in [
        (
            "BEGIN; INSERT INTO t VALUES (1); COMMIT AND CHAIN; COMMIT",
            "a transaction ends with COMMIT AND CHAIN",
            "SELECT bool_or(x = 1) FROM t",
        ),
        (
            "VACUUM t",
            "VACUUM does not run inside of a transaction",
            "SELECT reltuples >= 0 FROM pg_class WHERE relname = 't'",
        ),
        (
            "SET standard_conforming_strings = off; INSERT INTO t VALUES (2)",
            "",
            "SELECT true",
        ),
        (
            "SET LOCAL search_path = public; INSERT INTO t VALUES (3)",
            "a transaction that is not the last one says SET LOCAL, which would hold for all that follows",
            "SELECT true",
        ),
    ] {
        let Some(trial) = RelayTrial::start("CREATE TABLE t (x int)") else {
            return;
        };
        let driver = Driver::connect(trial.port);
        driver.run(script);
        driver.run("INSERT INTO t VALUES (9)");
        let recording = trial.relay.finish();
        let obstacle = recording.obstacle.unwrap();
        if expected.is_empty() {
            assert!(
                obstacle.contains("standard_conforming_strings is turned off"),
                "{obstacle}"
            );
        } else {
            assert_eq!(obstacle, expected);
        }
        assert_eq!(trial.server.sql("app", done).trim(), "t", "{script}");
    }
}

#[test]
fn a_statement_within_a_copy_is_an_obstacle() {
    for sql in [
        "COPY (DELETE FROM t RETURNING x) TO STDOUT",
        "/* a */ copy/* b */(SELECT f()) TO STDOUT",
    ] {
        let Some(trial) = RelayTrial::start(
            "CREATE TABLE t (x int); INSERT INTO t VALUES (1); \
             CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'DELETE FROM t RETURNING x'",
        ) else {
            return;
        };
        let mut raw = Raw::open(trial.port, &[("user", "me"), ("database", "app")]);
        assert_eq!(raw.query(sql), "HdcCI");
        let obstacle = trial.relay.finish().obstacle.unwrap();
        assert!(obstacle.contains("COPY (...) TO STDOUT"), "{obstacle}");
    }
}

#[test]
fn rows_of_a_copy_are_passed_on_and_not_recorded() {
    let Some(trial) = RelayTrial::start("CREATE TABLE t (x int)") else {
        return;
    };
    let mut raw = Raw::open(trial.port, &[("user", "me"), ("database", "app")]);
    // Out: nothing to record.
    assert_eq!(
        raw.query("INSERT INTO t VALUES (1); COPY t TO STDOUT"),
        "CHdcCI"
    );
    raw.send(&[extended("COPY t TO STDOUT"), SYNC.to_vec()].concat());
    assert_eq!(raw.answered(), "12HdcCI");
    // In: by each protocol, well and badly.
    let (row, bad) = (b"d\0\0\0\x062\n", b"d\0\0\0\x06x\n");
    let done = b"c\0\0\0\x04";
    raw.send(&query("COPY t FROM STDIN"));
    assert_eq!(raw.read_until(b'G'), b"G");
    raw.send(&[&row[..], done].concat());
    assert_eq!(raw.answered(), "CI");
    raw.send(&[&query("COPY t FROM STDIN")[..], bad, done].concat());
    assert_eq!(raw.answered(), "GEI");
    // The server passes over the first Sync.
    raw.send(&[&extended("COPY t FROM STDIN")[..], &SYNC, row, done, &SYNC].concat());
    assert_eq!(raw.answered(), "12GCI");
    raw.send(&[&extended("COPY t FROM STDIN")[..], &SYNC].concat());
    assert_eq!(raw.read_until(b'G'), b"12G");
    raw.send(&[&bad[..], done, &SYNC].concat());
    assert_eq!(raw.answered(), "EI");
    raw.send(&[&extended("COPY t FROM STDIN")[..], b"f\0\0\0\x06x\0", &SYNC].concat());
    assert_eq!(raw.answered(), "12GEI");
    assert_eq!(raw.query("INSERT INTO t VALUES (3)"), "CI");
    assert_eq!(raw.query("SELECT x FROM t"), "TDDDDCI");
    let recording = trial.relay.finish();
    assert_eq!(
        recording.obstacle.as_deref(),
        Some("it reads rows from the client (COPY ... FROM STDIN), and those are not recorded")
    );
    assert_eq!(
        listed(&recording),
        [
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (3)",
            "SELECT x FROM t"
        ]
    );
}

#[test]
fn settings_of_the_program_hold_and_are_told() {
    let Some(trial) = RelayTrial::start("CREATE SCHEMA a; CREATE SCHEMA \"b c\"") else {
        return;
    };
    let show = |driver: &Driver, name: &str| -> String {
        let row = driver
            .runtime
            .block_on(driver.client.query_one(&format!("SHOW {name}"), &[]));
        row.unwrap().get(0)
    };
    let driver = Driver::with(trial.port, |config| {
        config
            .application_name("it's me")
            .options(r#"-c search_path=a,"b\ c" -c timezone=Asia/Tokyo"#);
    });
    assert_eq!(show(&driver, "search_path"), "a,\"b c\"");
    assert_eq!(show(&driver, "timezone"), "Asia/Tokyo");
    assert_eq!(show(&driver, "application_name"), "it's me");
    driver.run("CREATE TABLE t (x int)");
    let mut latin = Raw::open(
        trial.port,
        &[
            ("user", "me"),
            ("database", "live"),
            ("client_encoding", "LATIN1"),
            ("DateStyle", "German"),
        ],
    );
    assert_eq!(latin.parameters["client_encoding"], "LATIN1");
    assert_eq!(latin.parameters["DateStyle"], "German, DMY");
    assert_eq!(latin.query("SELECT 'x'"), "TDCI");
    // Reading with other settings is in nobody's way, changing is.
    drop(driver);
    assert_eq!(latin.query("CREATE TABLE u (x int)"), "CI");
    let recording = trial.relay.finish();
    let path = recording.settings.get("search_path").map(String::as_str);
    assert_eq!(path, Some("a,\"b c\""));
    assert_eq!(recording.settings.len(), 2);
    assert_eq!(
        recording.obstacle.as_deref(),
        Some("two connections that changed something were opened with different settings")
    );
}

#[test]
fn texts_in_another_encoding_are_an_obstacle() {
    let Some(trial) = RelayTrial::start("CREATE TABLE t (x text)") else {
        return;
    };
    let mut raw = Raw::open(
        trial.port,
        &[
            ("user", "me"),
            ("database", "live"),
            ("client_encoding", "LATIN1"),
        ],
    );
    raw.send(b"Q\0\0\0\x1fINSERT INTO t VALUES ('\xe9')\0");
    assert_eq!(raw.answered(), "CI");
    assert_eq!(trial.server.sql("app", "SELECT x FROM t").trim(), "é");
    assert!(trial.relay.finish().obstacle.is_some());
}

#[test]
fn one_connection_after_the_other_is_no_obstacle_and_side_by_side_is() {
    let Some(trial) = RelayTrial::start("CREATE TABLE t (x int)") else {
        return;
    };
    let first = Driver::connect(trial.port);
    first.run("BEGIN; INSERT INTO t VALUES (1); COMMIT");
    let second = Driver::connect(trial.port);
    second.run("BEGIN; SELECT 1");
    first.run("INSERT INTO t VALUES (2)");
    second.run("COMMIT");
    second.run("INSERT INTO t VALUES (3)");
    let recording = trial.relay.finish();
    assert_eq!(recording.obstacle, None);
    assert_eq!(recording.statements.len(), 4);

    let Some(trial) = RelayTrial::start("CREATE TABLE t (x int)") else {
        return;
    };
    let (first, second) = (Driver::connect(trial.port), Driver::connect(trial.port));
    first.run("BEGIN; INSERT INTO t VALUES (1)");
    second.run("INSERT INTO t VALUES (2)");
    first.run("COMMIT");
    assert_eq!(
        trial.relay.finish().obstacle.as_deref(),
        Some("two connections had transactions open at the same time and both changed something")
    );
}

#[test]
fn the_end_of_a_trial_waits_for_no_statement() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let mut raw = Raw::open(trial.port, &[("user", "me"), ("database", "app")]);
    raw.send(&query("SELECT pg_sleep(60)"));
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    let wait_for = |expected: &str| {
        let begun = Instant::now();
        while trial.server.sql("postgres", sleeping).trim() != expected {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for("1");
    let begun = Instant::now();
    let recording = trial.relay.finish();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(recording, Recording::default());
    // The server does not go on for nobody.
    wait_for("0");
}

#[test]
fn a_trial_without_a_listener_ends_with_nothing() {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let upstream = || Upstream {
        url: "postgresql://u:p@127.0.0.1:1/x".to_owned(),
        databases: vec!["x".to_owned()],
    };
    let relay = Relay::start(upstream(), receiver.clone()).unwrap();
    assert_eq!(relay.finish(), Recording::default());
    let relay = Relay::start(upstream(), receiver.clone()).unwrap();
    drop(sender);
    assert_eq!(relay.finish(), Recording::default());
    // A server that is not there is said without its URL.
    let (relay, port) = relay_to(upstream().url, &["x"]);
    let mut raw = Raw::connect(port);
    raw.start(&[("user", "me"), ("database", "x")]);
    assert_eq!(raw.answered(), "E.");
    assert_eq!(raw.last_error[&'C'], "08006");
    assert!(raw.last_error[&'M'].contains("out of reach"));
    assert_eq!(relay.finish(), Recording::default());
}

#[test]
fn the_server_may_demand_tls_or_be_a_socket() {
    let encrypted = |url: String, server: &crate::checks::testing::postgres::Server| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        server.speak_tls(&made.cert.pem(), &made.signing_key.serialize_pem());
        format!("{url}?sslmode=require")
    };
    let socket = |url: String, server: &crate::checks::testing::postgres::Server| {
        let dir = server.socket().display().to_string().replace('/', "%2F");
        format!("{url}?host={dir}")
    };
    let open = |trial: &RelayTrial, expected: &str| {
        let driver = Driver::connect(trial.port);
        let sql = "SELECT coalesce(inet_server_addr()::text, 'socket') || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let row = driver
            .runtime
            .block_on(driver.client.query_one(sql, &[]))
            .unwrap();
        assert_eq!(row.get::<_, String>(0), expected);
    };
    let Some(trial) = RelayTrial::with_url("", encrypted) else {
        return;
    };
    open(&trial, "127.0.0.1/32true");
    // What is cancelled is cancelled over TLS too.
    let mut raw = Raw::open(trial.port, &[("user", "me"), ("database", "app")]);
    raw.send(&query("SELECT pg_sleep(60)"));
    let begun = Instant::now();
    trial.relay.finish();
    assert!(begun.elapsed() < Duration::from_secs(5));
    open(&RelayTrial::with_url("", socket).unwrap(), "socketfalse");
}

#[test]
fn a_large_answer_is_not_collected() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let mut raw = Raw::open(trial.port, &[("user", "me"), ("database", "app")]);
    raw.send(&query(
        "SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
    ));
    // Nobody reads: the server is held up.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND wait_event = 'ClientWrite'";
    let held_up = || trial.server.sql("postgres", waits).trim() == "1";
    let begun = Instant::now();
    while !held_up() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(held_up());
    let mut bytes = 0;
    while let Some((kind, body)) = raw.read() {
        bytes += body.len();
        if kind == b'Z' {
            break;
        }
    }
    assert!(bytes > 100_000_000);
    assert_eq!(listed(&trial.relay.finish()).len(), 1);
}
