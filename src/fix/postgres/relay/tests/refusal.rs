//! What is refused, byte by byte; and a program that keeps to no protocol.

use std::io::Write;
use std::net::Shutdown;

use super::testing::*;

const LIVE: [(&str, &str); 2] = [("user", "anybody"), ("database", "live")];

#[test]
fn only_databases_of_the_trial_are_opened() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let refused = |parameters: &[(&str, &str)]| {
        let mut raw = Raw::connect(trial.port);
        raw.start(parameters);
        assert_eq!(raw.read_until(b'Z'), [b'E']);
        let field = |letter| raw.last_error[&letter].clone();
        assert_eq!(field('S'), "FATAL");
        format!("{}: {}", field('C'), field('M'))
    };
    for (parameters, expected) in [
        (
            &[("user", "bob"), ("database", "postgres")][..],
            "3D000: database \"postgres\" is not part of this trial (ubs)",
        ),
        (
            &[("user", "bob")],
            "3D000: database \"bob\" is not part of this trial (ubs)",
        ),
        (
            &[
                ("user", "bob"),
                ("database", "live"),
                ("replication", "true"),
            ],
            "0A000: replication is not part of this trial (ubs)",
        ),
        (
            &[
                ("user", "bob"),
                ("database", "live"),
                ("no_such_thing", "1"),
            ],
            "42704: unrecognized configuration parameter \"no_such_thing\"",
        ),
        (
            &[("database", "live")],
            "08P01: the first message names no user (ubs)",
        ),
    ] {
        assert_eq!(refused(parameters), expected);
    }
    // A newer protocol is talked down.
    let mut raw = Raw::connect(trial.port);
    let wishes = [&LIVE[..], &[("_pq_.wish", "1")]].concat();
    raw.start_with(3 << 16 | 2, &wishes);
    assert_eq!(
        raw.read(),
        Some((b'v', b"\0\0\0\0\0\0\0\x01_pq_.wish\0".to_vec()))
    );
    assert_eq!(raw.read(), Some((b'R', vec![0; 4])));
    let mut raw = Raw::open(trial.port, &LIVE);
    assert_eq!(raw.query("SELECT 1"), "TDCI");
    assert_eq!(raw.parameters["server_encoding"], "UTF8");
    assert_eq!(raw.parameters["session_authorization"], "bob");
    assert_eq!(raw.parameters["application_name"], "");
}

#[test]
fn a_refused_statement_fails_and_takes_its_transaction_with_it() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let mut raw = Raw::open(trial.port, &LIVE);
    let is_refused = |raw: &Raw| {
        assert_eq!(raw.last_error[&'C'], "42501");
        assert!(raw.last_error[&'M'].contains("ubs does not let this statement through"));
    };
    assert_eq!(raw.query("CREATE DATABASE x"), "EI");
    is_refused(&raw);
    // All of a text, also what stands in front.
    assert_eq!(raw.query("CREATE TABLE no1 (x int); CREATE ROLE x"), "EI");
    assert_eq!(raw.query("BEGIN; CREATE TABLE no2 (x int)"), "CCT");
    assert_eq!(raw.query("COPY (SELECT 1) TO PROGRAM 'touch /tmp/x'"), "EE");
    is_refused(&raw);
    assert_eq!(raw.query("SELECT 1"), "EE");
    assert_eq!(raw.last_error[&'C'], "25P02");
    assert_eq!(raw.query("COMMIT"), "CI");
    // A savepoint saves the transaction, as from any error.
    assert_eq!(raw.query("BEGIN"), "CT");
    assert_eq!(raw.query("SAVEPOINT a"), "CT");
    assert_eq!(raw.query("ALTER SYSTEM SET work_mem = 1"), "EE");
    assert_eq!(raw.query("ROLLBACK TO a"), "CT");
    assert_eq!(raw.query("CREATE TABLE yes1 (x int)"), "CT");
    assert_eq!(raw.query("COMMIT"), "CI");
    // In a pipeline all up to the end of it fails, and nothing behind it.
    let pipeline = [
        extended("CREATE TABLE no3 (x int)"),
        extended("LOAD 'x'"),
        extended("CREATE TABLE no4 (x int)"),
        SYNC.to_vec(),
        extended("CREATE TABLE yes2 (x int)"),
        SYNC.to_vec(),
        query("CREATE TABLE yes3 (x int)"),
    ];
    raw.send(&pipeline.concat());
    assert_eq!(raw.answered(), "12CEI");
    is_refused(&raw);
    assert_eq!(raw.answered(), "12CI");
    assert_eq!(raw.answered(), "CI");
    // The end of a pipeline may come later.
    raw.send(&extended("GRANT a TO b"));
    assert_eq!(raw.read_until(b'E'), b"E");
    raw.send(&[extended("CREATE TABLE no5 (x int)"), SYNC.to_vec()].concat());
    assert_eq!(raw.answered(), "I");
    let recording = trial.relay.finish();
    assert_eq!(recording.obstacle, None);
    assert_eq!(
        listed(&recording),
        [
            "SAVEPOINT a",
            "ROLLBACK TO a",
            "CREATE TABLE yes1 (x int)",
            "CREATE TABLE yes2 (x int)",
            "CREATE TABLE yes3 (x int)",
        ]
    );
    let tables = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND \
                  relnamespace = 'public'::regnamespace";
    assert_eq!(trial.server.sql("app", tables).trim(), "yes1 yes2 yes3");
    assert_eq!(
        trial
            .server
            .sql(
                "app",
                "SELECT count(*) FROM pg_database WHERE datname = 'x'"
            )
            .trim(),
        "0"
    );
}

#[test]
fn who_keeps_to_no_protocol_is_told_so_and_ends_alone() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let mut other = Raw::open(trial.port, &LIVE);
    for bytes in [
        &b"Q\0\0\0\x03"[..],
        b"Q\xff\xff\xff\xff",
        b"Q\x7f\xff\xff\xff",
        b"Q\0\0\0\x06ab",
        b"z\0\0\0\x04",
        b"p\0\0\0\x05\0",
        b"B\0\0\0\x0a\0\0\0\x02\0\0",
        b"P\0\0\0\x08\0\0\xff\xff",
    ] {
        let mut raw = Raw::open(trial.port, &LIVE);
        raw.send(bytes);
        assert_eq!(raw.answered(), "E.", "{bytes:?}");
        assert_eq!(raw.last_error[&'C'], "08P01");
        assert_eq!(raw.last_error[&'S'], "FATAL");
    }
    // Before the login too.
    for bytes in [
        &b"\0\0\0\x03"[..],
        b"\xff\xff\xff\xff",
        b"\0\0\0\x08\0\x02\0\0",
        b"\0\0\0\x0a\0\x03\0\0xx",
    ] {
        let mut raw = Raw::connect(trial.port);
        raw.send(bytes);
        assert_eq!(raw.answered(), "E.", "{bytes:?}");
        assert_eq!(raw.last_error[&'C'], "08P01");
    }
    // Encryption is declined, and a request to cancel is not heard.
    let mut raw = Raw::connect(trial.port);
    raw.send(&[0, 0, 0, 8, 4, 210, 22, 47]);
    let mut answer = [0];
    std::io::Read::read_exact(&mut raw.stream, &mut answer).unwrap();
    assert_eq!(answer, *b"N");
    raw.start(&LIVE);
    assert!(raw.read_until(b'Z').contains(&b'R'));
    let mut raw = Raw::connect(trial.port);
    raw.send(&[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(raw.answered(), ".");
    assert_eq!(other.query("SELECT 1"), "TDCI");
    assert_eq!(trial.relay.finish().obstacle, None);
}

#[test]
fn who_vanishes_in_a_transaction_leaves_nothing_and_who_vanishes_behind_it_leaves_it() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let mut raw = Raw::open(trial.port, &LIVE);
    assert_eq!(raw.query("BEGIN; CREATE TABLE no (x int)"), "CCT");
    drop(raw);
    let mut raw = Raw::open(trial.port, &LIVE);
    // Half of a message.
    raw.send(&query("CREATE TABLE never (x int)")[..20]);
    drop(raw);
    let mut raw = Raw::open(trial.port, &LIVE);
    raw.stream
        .write_all(&query(
            "BEGIN; SELECT pg_sleep(0.3); CREATE TABLE yes (x int); COMMIT",
        ))
        .unwrap();
    raw.stream.shutdown(Shutdown::Write).unwrap();
    drop(raw);
    // It does not wait for the answer; the server does what it asked for.
    let begun = std::time::Instant::now();
    let recording = trial.relay.finish();
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(
        listed(&recording),
        ["SELECT pg_sleep(0.3)", "CREATE TABLE yes (x int)"]
    );
    assert_eq!(recording.obstacle, None);
}

#[test]
fn what_the_server_says_at_last_is_heard() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let mut raw = Raw::open(trial.port, &LIVE);
    assert_eq!(raw.query("BEGIN; CREATE TABLE t (x int)"), "CCT");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app'";
    trial.server.sql("postgres", end);
    assert_eq!(raw.answered(), "E.");
    assert_eq!(raw.last_error[&'C'], "57P01");
    let recording = trial.relay.finish();
    assert_eq!(recording, super::super::Recording::default());
}

#[test]
fn no_more_than_sixteen_are_served_and_the_next_one_is_told() {
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    let mut served: Vec<Raw> = (0..super::super::CONNECTIONS_MAX)
        .map(|_| Raw::open(trial.port, &LIVE))
        .collect();
    let mut raw = Raw::connect(trial.port);
    raw.start(&LIVE);
    assert_eq!(raw.answered(), "E.");
    assert_eq!(raw.last_error[&'C'], "53300");
    for raw in &mut served {
        assert_eq!(raw.query("SELECT 1"), "TDCI");
    }
    // A place that is free again is taken; the relay sees the end some moments later.
    served.pop();
    let begun = std::time::Instant::now();
    loop {
        let mut raw = Raw::connect(trial.port);
        raw.start(&LIVE);
        if raw.answered().ends_with('I') {
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
