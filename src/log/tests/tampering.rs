//! Every way to change a row is found, and the row is named.

use rusqlite::Connection;

use super::*;

/// Ten events, changed by `sql` behind our back; what `verify` says.
#[track_caller]
fn tampered(sql: &str) -> Vec<String> {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let boot = boot_id(1);
    log.append(vec![of_boot(boot, 1, boot_started("grace"))])
        .unwrap();
    let notes = (2..=10).map(|n| {
        of_boot(
            boot,
            n,
            Event::Note {
                text: format!("note {n}"),
            },
        )
    });
    log.append(notes.collect()).unwrap();
    drop(log);
    assert_sound(&path, 10);
    change_behind_our_back(&path, sql);
    let reader = Reader::open(&path).unwrap();
    let problems = reader.verify().unwrap().problems;
    assert!(!problems.is_empty(), "{sql}");
    // A replay that checks the chain finds it too, unless only projections were changed.
    if sql.contains("events") {
        let last = Replay::verified(&reader, boot, EventFilter::default())
            .unwrap()
            .last();
        assert!(
            matches!(last, Some(Err(LogError::Broken { .. }))),
            "{sql}: {last:?}"
        );
    }
    problems
}

#[track_caller]
fn names(sql: &str, expected: &str) {
    let problems = tampered(sql);
    assert!(problems[0].contains(expected), "{sql}: {problems:#?}");
}

#[test]
fn an_edited_row_is_named() {
    for column in [
        "payload = x'b202002b0478787878'",
        "kind = 'boot_up'",
        "at = at + 1",
        "version = 1",
        "event_id = zeroblob(16)",
        "boot_id = NULL",
        "boot_id = zeroblob(16)",
        "mission_id = boot_id",
        "chain = zeroblob(32)",
    ] {
        let sql = format!("UPDATE events SET {column} WHERE seq = 5");
        names(&sql, "event 5 (");
    }
    names(
        "UPDATE events SET event_id = x'00' WHERE seq = 5",
        "event 5: its event_id is malformed",
    );
    names(
        "UPDATE events SET version = 70000 WHERE seq = 5",
        "event 5: its version is malformed",
    );
}

#[test]
fn a_row_that_does_not_say_what_its_columns_say_is_named() {
    let problems = tampered("UPDATE events SET kind = 'boot_up' WHERE seq = 5");
    assert!(
        problems
            .iter()
            .any(|p| p.contains("event 5 (boot_up): the row says boot_up, its frame note")),
        "{problems:#?}"
    );
}

#[test]
fn a_removed_row_is_named() {
    names("DELETE FROM events WHERE seq = 5", "event 5 is missing");
    names(
        "DELETE FROM events WHERE seq BETWEEN 5 AND 7",
        "events 5 to 7 are missing",
    );
    names("DELETE FROM events WHERE seq = 1", "event 1 is missing");
}

#[test]
fn a_removed_row_whose_place_was_closed_is_named() {
    names(
        "DELETE FROM events WHERE seq = 5; UPDATE events SET seq = seq - 1 WHERE seq > 5; \
         UPDATE head SET seq = 9",
        "event 5 (",
    );
}

#[test]
fn swapped_rows_are_named() {
    let problems = tampered(
        "UPDATE events SET seq = -1 WHERE seq = 5; UPDATE events SET seq = 5 WHERE seq = 6; \
         UPDATE events SET seq = 6 WHERE seq = -1;",
    );
    assert!(
        problems[0].contains("event 5 (") && problems[1].contains("event 6 ("),
        "{problems:#?}"
    );
}

#[test]
fn a_tail_that_was_cut_off_is_missed() {
    names(
        "DELETE FROM events WHERE seq = 10",
        "the log ends at event 9, yet event 10 was anchored: the end was cut off",
    );
    names(
        "DELETE FROM events WHERE seq > 7",
        "the log ends at event 7, yet event 10 was anchored: the end was cut off",
    );
    names(
        "DELETE FROM events",
        "the log is empty, yet event 10 was anchored: the end was cut off",
    );
}

/// As if whoever cut was faster than the writer with its anchor.
#[test]
fn a_tail_of_a_boot_that_was_cut_off_after_the_anchor_is_missed() {
    for anchored in [0, 5, 7] {
        let anchor = match anchored {
            0 => anchor_at_genesis(),
            _ => format!(
                "UPDATE head SET (seq, chain) = (SELECT seq, chain FROM EVENTS WHERE seq = {anchored});"
            ),
        };
        // A replay looks at no projection, so it does not find this: hence not `events`.
        let cut = format!("{anchor} DELETE FROM EVENTS WHERE seq > 7");
        let problems = tampered(&cut);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(
            problems[0].contains("the log ends at event 7, yet the row 00000000-0000-0000-0000-000000000001 of projection boots has seen event 10: the end was cut off"),
            "{problems:#?}"
        );
    }
}

fn anchor_at_genesis() -> String {
    let genesis = chain::GENESIS.to_string();
    format!("UPDATE head SET seq = 0, chain = x'{genesis}';")
}

/// What `schema/README.md` admits: such a log is what a crash a moment earlier would have left.
#[test]
fn a_tail_of_nobodys_that_was_cut_off_after_the_anchor_is_not_missed() {
    let (_dir, path) = place();
    Log::open(&path)
        .unwrap()
        .append(vec![note("a"), note("b"), note("c")])
        .unwrap();
    change_behind_our_back(
        &path,
        "DELETE FROM events WHERE seq > 2;
         UPDATE head SET (seq, chain) = (SELECT seq, chain FROM events WHERE seq = 1)",
    );
    assert_sound(&path, 2);
}

/// No place is given twice, the hole stays, and so does the anchor.
#[test]
fn a_log_whose_end_was_cut_off_goes_on_after_the_anchor() {
    let (_dir, path) = place();
    Log::open(&path)
        .unwrap()
        .append(vec![note("a"), note("b"), note("c")])
        .unwrap();
    change_behind_our_back(&path, "DELETE FROM events WHERE seq > 1");
    for seq in [4, 5] {
        let log = Log::open(&path).unwrap();
        assert_eq!(log.append(vec![note("next")]).unwrap(), vec![Seq(seq)]);
        drop(log);
        assert_eq!(anchor(&path).0, 3);
        let problems = Reader::open(&path).unwrap().verify().unwrap().problems;
        assert_eq!(
            problems,
            [
                "events 2 to 3 are missing",
                "event 3, which was anchored, is missing"
            ]
        );
    }
}

/// The process that wrote an event knows of it, anchored or not.
#[test]
fn an_end_that_is_cut_off_beside_a_running_writer_is_missed() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append(vec![note("a"), note("b"), note("c")]).unwrap();
    change_behind_our_back(&path, "DELETE FROM events WHERE seq > 1");
    drop(log);
    let problems = Reader::open(&path).unwrap().verify().unwrap().problems;
    assert_eq!(
        problems,
        ["the log ends at event 1, yet event 3 was anchored: the end was cut off"]
    );
}

#[test]
fn an_inserted_row_is_named() {
    let copy = "INSERT INTO events SELECT 11, event_id, boot_id, mission_id, kind, version, at, \
                payload, chain FROM events WHERE seq = 10";
    names(copy, "event 11 (");
    names(
        &copy.replace("SELECT 11", "SELECT 0"),
        "event 0 was inserted",
    );
    names(
        &copy.replace("SELECT 11", "SELECT -3"),
        "event -3: its seq is malformed",
    );
}

#[test]
fn a_head_that_was_changed_alone_is_found() {
    names(
        "UPDATE head SET chain = zeroblob(32); SELECT * FROM events",
        "event 10 is not the one that was anchored",
    );
    names(
        "DELETE FROM head WHERE only = 1; INSERT INTO head VALUES (1, 12, zeroblob(32), 1); SELECT * FROM events",
        "the log ends at event 10, yet event 12 was anchored",
    );
    names(
        "UPDATE head SET seq = 0; SELECT * FROM events",
        "event 0 is not the one that was anchored",
    );
}

#[test]
fn a_changed_projection_is_found_and_a_rebuild_mends_it() {
    let problems = tampered("UPDATE boots SET app = 'eve'");
    assert!(
        problems[0].contains("projection boots differs"),
        "{problems:#?}"
    );
    assert!(problems[0].contains("`ubs log rebuild`"), "{problems:#?}");
    let problems = tampered("INSERT INTO fix_memory VALUES ('s', 'eve', 9, 0, 0)");
    assert!(problems[0].contains("projection fix_memory differs") && problems[0].contains("s eve"));
}

#[test]
fn what_was_dropped_of_the_layout_is_told() {
    for (sql, expected) in [
        (
            "DROP TRIGGER events_are_never_updated",
            "the trigger events_are_never_updated is missing: somebody dropped it",
        ),
        (
            "DROP INDEX missions_slug",
            "the index missions_slug is missing: somebody dropped it",
        ),
        (
            "CREATE TRIGGER eve AFTER INSERT ON boots BEGIN SELECT 1; END",
            "the trigger eve is not of ubs",
        ),
    ] {
        let (_dir, path) = place();
        Log::open(&path).unwrap().append(vec![note("x")]).unwrap();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let problems = Reader::open(&path).unwrap().verify().unwrap().problems;
        assert_eq!(problems, [expected]);
    }
}

#[test]
fn events_refuse_to_be_changed_by_accident() {
    let (_dir, path) = place();
    Log::open(&path).unwrap().append(vec![note("x")]).unwrap();
    let conn = Connection::open(&path).unwrap();
    for sql in ["UPDATE events SET at = 0", "DELETE FROM events"] {
        let error = conn.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}

/// A kind or version of a newer program is no tampering: kept, shown, and the chain goes on.
#[test]
fn what_a_newer_program_wrote_is_opaque_and_sound() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append(vec![of_boot(boot_id(1), 1, boot_started("grace"))])
        .unwrap();
    log.transact(|tx| tx.ledger.insert_raw("moon_landed", 3, b"\xb2\x03\x00??"))
        .unwrap()
        .unwrap();
    log.append(vec![note("after")]).unwrap();
    let verification = Reader::open(&path).unwrap().verify().unwrap();
    assert_eq!(verification.problems, Vec::<String>::new());
    assert_eq!((verification.events, verification.opaque), (3, 1));
    let events: Vec<_> = log
        .reader()
        .unwrap()
        .events(EventFilter::default())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        (events[1].kind.as_str(), events[1].version),
        ("moon_landed", 3)
    );
    assert!(
        matches!(&events[1].body, Body::Opaque { why, .. } if why.contains("moon_landed is not known"))
    );
    assert!(events[2].event().is_some());
    assert_eq!(log.rebuild().unwrap(), 3);
    assert_sound(&path, 3);
}
