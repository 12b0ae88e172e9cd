//! The pure part: no bytes of either side break it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::recording::Recorder;
use super::super::tests::testing::{SYNC, bind, execute, extended, parse, query};
use super::*;

fn tracker(recorder: &Arc<Mutex<Recorder>>) -> Tracker {
    Tracker::new(ConnectionLedger::new(recorder.clone(), 0, BTreeMap::new()))
}

/// Bytes in pieces, as a network may give them; what comes out on the other side.
fn passed(
    bytes: &[u8],
    piece: usize,
    mut take: impl FnMut(&[u8], &mut Vec<u8>) -> usize,
) -> Vec<u8> {
    let (mut held, mut out) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        held.extend(piece);
        let taken = take(&held, &mut out);
        held.drain(..taken);
    }
    out
}

#[test]
fn bytes_pass_unchanged_however_they_are_cut() {
    let mut sent = [
        query("SELECT 1; SELECT 2"),
        extended("INSERT INTO t VALUES (1)"),
        SYNC.to_vec(),
        b"d\0\0\0\x09hello".to_vec(),
    ]
    .concat();
    let whole = sent.len();
    sent.extend(&query("SELECT 3")[..7]);
    for piece in 1..40 {
        let recorder: Arc<Mutex<Recorder>> = Arc::default();
        let mut tracker = tracker(&recorder);
        let out = passed(&sent, piece, |held, out| {
            tracker.client_sent(held, out).unwrap()
        });
        assert_eq!(out, sent[..whole], "{piece}");
        let answer = b"D\0\0\0\x06abC\0\0\0\x0dSELECT 1\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I1\0\0\0\x042\0\0\0\x04";
        let out = passed(answer, piece, |held, out| tracker.server_sent(held, out));
        assert_eq!(out, answer, "{piece}");
        assert_eq!(recorder.lock().unwrap().close().statements.len(), 2);
        assert!(!tracker.ledger.is_lost() && !tracker.ledger.is_idle());
    }
}

#[test]
fn who_asks_faster_than_is_answered_waits() {
    let recorder: Arc<Mutex<Recorder>> = Arc::default();
    let mut tracker = tracker(&recorder);
    let many = extended("SELECT 1").repeat(50_000);
    let mut out = Vec::new();
    let taken = tracker.client_sent(&many, &mut out).unwrap();
    assert!(tracker.ledger.is_full() && taken < many.len());
    assert_eq!(tracker.client_sent(&many[taken..], &mut out), Ok(0));
    let answer = b"1\0\0\0\x042\0\0\0\x04C\0\0\0\x0dSELECT 1\0".repeat(40_000);
    tracker.server_sent(&answer, &mut Vec::new());
    assert!(!tracker.ledger.is_full());
    let rest = tracker.client_sent(&many[taken..], &mut out).unwrap();
    assert_eq!(taken + rest, many.len());
    assert_eq!(out, many);
}

#[test]
fn a_server_that_answers_something_else_is_an_obstacle() {
    let recorder: Arc<Mutex<Recorder>> = Arc::default();
    let mut tracker = tracker(&recorder);
    let mut out = Vec::new();
    tracker.client_sent(&query("SELECT 1"), &mut out).unwrap();
    tracker.server_sent(b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I", &mut out);
    assert!(tracker.ledger.is_lost());
    let recording = recorder.lock().unwrap().close();
    assert!(recording.statements.is_empty());
    assert_eq!(
        recording.obstacle.as_deref(),
        Some("the answers of the server do not fit what was asked for")
    );
}

/// Messages that a client may send, whole or broken.
fn messages() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    prop_oneof![
        "[a-zA-Z ;'$()/*-]{0,30}".prop_map(|sql| query(&sql)),
        Just(query("BEGIN; CREATE TABLE t (x int)")),
        Just(query("COMMIT")),
        Just(query("CREATE ROLE x")),
        Just(parse("s", "COPY t FROM STDIN")),
        Just(parse("s", "SELECT 1")),
        Just(bind("p", "s")),
        Just(execute("p", 1)),
        Just(SYNC.to_vec()),
        Just(b"c\0\0\0\x04".to_vec()),
        Just(b"C\0\0\0\x07Ss\0".to_vec()),
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(kind, body)| {
            let mut message = Vec::new();
            put(&mut message, kind, |out| out.extend(body));
            message
        }),
        proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

/// Messages that a server may send, in any order.
fn answers() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    prop_oneof![
        prop_oneof![
            Just("C\0\0\0\u{b}COMMIT\0"),
            Just("C\0\0\0\u{a}BEGIN\0"),
            Just("C\0\0\0\u{d}SELECT 1\0"),
            Just("Z\0\0\0\u{5}I"),
            Just("Z\0\0\0\u{5}T"),
            Just("Z\0\0\0\u{5}E"),
            Just("1\0\0\0\u{4}"),
            Just("2\0\0\0\u{4}"),
            Just("3\0\0\0\u{4}"),
            Just("s\0\0\0\u{4}"),
            Just("E\0\0\0\u{5}\0"),
            Just("G\0\0\0\u{7}\0\0\0"),
        ]
        .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

#[test]
fn who_never_asks_for_answers_does_not_fill_our_memory() {
    let recorder: Arc<Mutex<Recorder>> = Arc::default();
    let mut large = Vec::new();
    put(&mut large, b'B', |out| {
        // Portal, statement, no format, one value, no format of results.
        out.extend([0, b'a', 0, 0, 0, 0, 1]);
        out.extend((1_u32 << 20).to_be_bytes());
        out.extend(vec![b'x'; 1 << 20]);
        out.extend([0, 0]);
    });
    let mut trackers = [tracker(&recorder), tracker(&recorder)];
    let mut out = Vec::new();
    // Together, they have no more than one.
    let sent = (0..100).position(|at: usize| {
        out.clear();
        let tracker = &mut trackers[at % 2];
        tracker.client_sent(&large, &mut out).is_err()
    });
    assert_eq!(sent, Some(63));
    // The other one goes on, and what is answered makes room.
    let [other, _] = &mut trackers;
    for _ in 0..200 {
        out.clear();
        assert!(other.client_sent(&large, &mut out).is_ok());
        other.server_sent(b"2\0\0\0\x04", &mut out);
    }
    drop(trackers);
    let mut recorder = recorder.lock().unwrap();
    let bytes = recorder
        .waiting_bytes()
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(bytes, 0);
    let obstacle = recorder.close().obstacle.unwrap();
    assert!(obstacle.contains("too much waits"), "{obstacle}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_break_it(
        turns in proptest::collection::vec((messages(), answers(), answers()), 0..40),
    ) {
        let recorder: Arc<Mutex<Recorder>> = Arc::default();
        let mut tracker = tracker(&recorder);
        let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
        let mut out = Vec::new();
        for (message, first, second) in turns {
            from_client.extend(message);
            match tracker.client_sent(&from_client, &mut out) {
                Ok(taken) => drop(from_client.drain(..taken)),
                Err(_) => break,
            }
            for answer in [first, second] {
                from_server.extend(answer);
                let taken = tracker.server_sent(&from_server, &mut out);
                from_server.drain(..taken);
            }
        }
        drop(tracker);
        // What is not in the recording takes no room.
        let mut recorder = recorder.lock().unwrap();
        let (statements, bytes) = recorder.held();
        let recording = recorder.close();
        proptest::prop_assert_eq!(statements, recording.statements.len());
        let recorded: usize = recording.statements.iter().map(|one| one.sql.len()).sum();
        proptest::prop_assert_eq!(bytes, recorded);
    }
}
