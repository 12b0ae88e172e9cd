//! The log as a whole: real files, real threads, real processes.

mod archive;
mod faults;
mod golden;
mod opening;
mod processes;
mod projections;
mod queue;
mod reading;
mod samples;
mod tampering;
mod writing;

use std::path::PathBuf;

use uuid::Uuid;

use super::*;
use crate::domain::event::{BootPlan, Event, Fingerprint, ProcessRef};
use crate::domain::ids::{At, BootId, MissionId, Seq, Signature};
use crate::domain::mission::Failure;

/// A directory that is removed at the end, and the path of a log in it that does not exist yet.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir
        .path()
        .canonicalize()
        .unwrap()
        .join("state")
        .join("log.db");
    (dir, path)
}

fn note(text: &str) -> NewEvent {
    NewEvent {
        at: At(1_764_000_000_000_000),
        boot: None,
        mission: None,
        event: Event::Note { text: text.into() },
    }
}

fn of_boot(boot: BootId, at: i64, event: Event) -> NewEvent {
    NewEvent {
        at: At(at),
        boot: Some(boot),
        mission: None,
        event,
    }
}

fn boot_id(n: u128) -> BootId {
    BootId(Uuid::from_u128(n))
}

fn mission_id(n: u128) -> MissionId {
    MissionId(Uuid::from_u128(n))
}

fn boot_started(app: &str) -> Event {
    Event::BootStarted {
        app: app.into(),
        plan: BootPlan::default(),
        supervisor: ProcessRef::default(),
        fingerprint: Fingerprint::default(),
    }
}

fn failure(subject: &str) -> Failure {
    Failure {
        subject: subject.into(),
        ..samples::failure()
    }
}

fn signature(text: &str) -> Signature {
    Signature(text.into())
}

/// The anchor, as it is in the file.
fn anchor(path: &std::path::Path) -> (u64, crate::domain::ids::Digest) {
    let conn = rusqlite::Connection::open(path).unwrap();
    verify::read_anchor(&conn).unwrap().unwrap()
}

/// That the anchor is the last event.
#[track_caller]
fn assert_anchored(path: &std::path::Path) {
    let reader = Reader::open(path).unwrap();
    let (seq, chain) = anchor(path);
    assert_eq!(Seq(seq), reader.head().unwrap());
    assert_eq!(chain, reader.verify().unwrap().head);
}

/// Everything that `verify` says, and that there is that much to say it of.
#[track_caller]
fn assert_sound(path: &std::path::Path, events: u64) {
    let verification = Reader::open(path).unwrap().verify().unwrap();
    assert_eq!(verification.problems, Vec::<String>::new());
    assert_eq!(verification.events, events);
}

/// Every row of every projection, as bytes.
fn projections(path: &std::path::Path) -> Vec<Vec<rusqlite::types::Value>> {
    let conn = rusqlite::Connection::open(path).unwrap();
    let mut all = vec![];
    for sql in [
        "SELECT * FROM boots ORDER BY seq_first",
        "SELECT * FROM missions ORDER BY seq_first",
        "SELECT * FROM fix_memory ORDER BY signature, fixer",
    ] {
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement
            .query_map([], |row| (0..columns).map(|i| row.get(i)).collect())
            .unwrap();
        all.extend(rows.map(Result::unwrap));
    }
    all
}

/// Changes the file behind our back, past the triggers, which are there again afterwards.
#[track_caller]
fn change_behind_our_back(path: &std::path::Path, sql: &str) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let triggers: String = conn
        .query_row(
            "SELECT group_concat(sql, ';') FROM sqlite_master WHERE type = 'trigger'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    conn.execute_batch(&format!(
        "DROP TRIGGER events_are_never_updated; DROP TRIGGER events_are_never_deleted; {sql}; {triggers}"
    ))
    .unwrap();
}
