//! Appending: what is durable, what is rolled back, and that nobody's failure is another one's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::*;

#[test]
fn places_are_dense_from_one_and_events_come_back() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    assert_eq!(log.append(vec![]).unwrap(), vec![]);
    assert_eq!(log.append(vec![note("a")]).unwrap(), vec![Seq(1)]);
    assert_eq!(
        log.append(vec![note("b"), note("c")]).unwrap(),
        vec![Seq(2), Seq(3)]
    );
    let reader = log.reader().unwrap();
    let all: Vec<_> = reader
        .events(EventFilter::default())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let texts: Vec<_> = all.iter().map(|r| r.event().unwrap().clone()).collect();
    assert_eq!(texts, ["a", "b", "c"].map(|text| note(text).event));
    assert_eq!(
        (all[2].seq, all[2].at, all[2].version),
        (Seq(3), note("").at, FRAME_VERSION)
    );
    drop(log);
    assert_sound(&path, 3);
}

#[test]
fn every_kind_of_event_is_stored_and_verified() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let events = samples::all();
    let count = events.len();
    let new = |event| NewEvent {
        at: At(1),
        boot: Some(boot_id(1)),
        mission: Some(mission_id(1)),
        event,
    };
    log.append(events.clone().into_iter().map(new).collect())
        .unwrap();
    let read: Vec<_> = log
        .reader()
        .unwrap()
        .events(EventFilter::default())
        .unwrap()
        .map(|r| r.unwrap().event().unwrap().clone())
        .collect();
    assert_eq!(read, events);
    assert_sound(&path, count as u64);
}

#[test]
fn many_threads_share_commits() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let threads: Vec<_> = (0..32)
        .map(|t| {
            let log = log.clone();
            std::thread::spawn(move || {
                let mut last = Seq(0);
                for n in 0..20 {
                    let seq = log.append(vec![note(&format!("{t}/{n}"))]).unwrap()[0];
                    assert!(seq > last);
                    last = seq;
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(log.commits() < 32 * 20, "{} commits", log.commits());
    drop(log);
    assert_sound(&path, 32 * 20);
}

#[test]
fn work_that_fails_leaves_nothing_behind_and_others_go_on() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let boot = boot_id(1);
    log.append(vec![of_boot(boot, 1, boot_started("grace"))])
        .unwrap();
    // Hold the writer, so that all of these are one batch.
    let (hold, held) = crossbeam_channel::bounded::<()>(0);
    let (inside, entered) = crossbeam_channel::bounded::<()>(1);
    let holder = {
        let log = log.clone();
        std::thread::spawn(move || {
            log.transact(move |_| {
                inside.send(()).unwrap();
                held.recv().unwrap();
                Err::<(), ()>(())
            })
        })
    };
    entered.recv().unwrap();
    let up = |degraded| of_boot(boot, 2, Event::BootUp { degraded });
    let before = {
        let (log, event) = (log.clone(), up(true));
        std::thread::spawn(move || log.append(vec![event]))
    };
    while log.queued() < 1 {
        std::thread::yield_now();
    }
    let failing = {
        let (log, event) = (log.clone(), of_boot(boot, 3, Event::BootStopped));
        std::thread::spawn(move || {
            log.transact(move |tx| {
                tx.append(event)?;
                assert!(tx.boot(boot)?.unwrap().is_ended(), "seen within");
                Err::<(), LogError>(LogError::Stopped)
            })
        })
    };
    while log.queued() < 2 {
        std::thread::yield_now();
    }
    let panicking = {
        let (log, event) = (log.clone(), of_boot(boot, 4, Event::BootStopped));
        std::thread::spawn(move || {
            log.transact(move |tx| -> Result<(), ()> {
                tx.append(event).unwrap();
                panic!("the cat sat on the keyboard");
            })
        })
    };
    while log.queued() < 3 {
        std::thread::yield_now();
    }
    let after = {
        let log = log.clone();
        std::thread::spawn(move || {
            log.transact(move |tx| {
                let state = tx.boot(boot)?.unwrap();
                assert!(state.is_up() && state.degraded && !state.is_ended());
                tx.append(of_boot(boot, 5, Event::BootUp { degraded: false }))
            })
        })
    };
    while log.queued() < 4 {
        std::thread::yield_now();
    }
    hold.send(()).unwrap();
    assert_eq!(holder.join().unwrap().unwrap(), Err(()));
    assert_eq!(before.join().unwrap().unwrap(), vec![Seq(2)]);
    assert!(matches!(
        failing.join().unwrap().unwrap(),
        Err(LogError::Stopped)
    ));
    let panicked = panicking.join().unwrap().unwrap_err();
    assert!(
        matches!(&panicked, LogError::Panicked { message } if message.contains("the cat")),
        "{panicked}"
    );
    assert_eq!(after.join().unwrap().unwrap().unwrap(), Seq(3));
    let state = log.reader().unwrap().boot(boot).unwrap().unwrap();
    assert!(!state.degraded && state.is_up());
    assert_sound(&path, 3);
}

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let boot = boot_id(1);
    log.append(vec![of_boot(boot, 1, boot_started("grace"))])
        .unwrap();
    let limit = |pages: i64| {
        log.transact(move |tx| tx.ledger.conn.pragma_update(None, "max_page_count", pages))
            .unwrap()
            .unwrap();
    };
    limit(1);
    let large = move || {
        of_boot(
            boot,
            2,
            Event::LayerFailed {
                layer: "api".into(),
                service: "web".into(),
                critical: true,
                error: "e".into(),
                output: "o".repeat(100_000),
            },
        )
    };
    let error = log.append(vec![large()]).unwrap_err();
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    let error = log.append(vec![note("a"), large(), note("b")]).unwrap_err();
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    let error = log
        .transact(move |tx| tx.append(large()))
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    // Work that does not look at the error is rolled back all the same.
    let error = log
        .transact(move |tx| {
            let _ = tx.append(of_boot(
                boot,
                2,
                Event::LayerFailed {
                    layer: "api".into(),
                    service: "web".into(),
                    critical: true,
                    error: "e".into(),
                    output: "o".repeat(100_000),
                },
            ));
            Ok::<(), ()>(())
        })
        .unwrap_err();
    assert!(matches!(error, LogError::Incomplete), "{error}");
    assert_sound(&path, 1);
    limit(1 << 30);
    assert_eq!(
        log.append(vec![of_boot(boot, 3, Event::BootUp { degraded: false })])
            .unwrap(),
        vec![Seq(2)]
    );
    assert!(log.reader().unwrap().boot(boot).unwrap().unwrap().is_up());
    drop(log);
    assert_sound(&path, 2);
}

/// The full disk shows only when the projections are written, after every event of the batch.
#[test]
fn a_commit_that_fails_is_undone_as_a_whole() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let boot = boot_id(1);
    let error = log
        .transact(move |tx| {
            let pages: i64 = tx
                .ledger
                .conn
                .pragma_query_value(None, "page_count", |r| r.get(0))
                .unwrap();
            tx.append(of_boot(boot, 1, boot_started(&"grace".repeat(3_000))))?;
            tx.ledger
                .conn
                .pragma_update(None, "max_page_count", pages + 6)
                .unwrap();
            Ok::<(), LogError>(())
        })
        .unwrap_err();
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    log.transact(|tx| {
        tx.ledger
            .conn
            .pragma_update(None, "max_page_count", 1 << 30)
    })
    .unwrap()
    .unwrap();
    assert!(log.reader().unwrap().boot(boot).unwrap().is_none());
    assert_eq!(log.append(vec![note("x")]).unwrap(), vec![Seq(1)]);
    drop(log);
    assert_sound(&path, 1);
}

#[test]
fn an_event_that_is_too_large_is_refused_alone() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let error = log
        .append(vec![note("a"), note(&"x".repeat(FRAME_BYTES_MAX))])
        .unwrap_err();
    assert!(matches!(error, LogError::TooLarge { .. }), "{error}");
    assert_eq!(log.append(vec![note("b")]).unwrap(), vec![Seq(1)]);
}

#[test]
fn a_transaction_that_calls_the_log_is_refused_instead_of_waiting_for_itself() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let inner = log.clone();
    let error = log
        .transact(move |_| inner.append(vec![note("x")]))
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, LogError::Reentrant), "{error}");
    assert_eq!(log.append(vec![note("x")]).unwrap(), vec![Seq(1)]);
}

#[test]
fn what_another_handle_wrote_is_seen_by_the_next_transaction() {
    let (_dir, path) = place();
    let (one, two) = (Log::open(&path).unwrap(), Log::open(&path).unwrap());
    let boot = boot_id(1);
    one.append(vec![of_boot(boot, 1, boot_started("grace"))])
        .unwrap();
    two.append(vec![of_boot(boot, 2, Event::BootUp { degraded: true })])
        .unwrap();
    let seen = one
        .transact(move |tx| tx.boot(boot))
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(seen.is_up() && seen.degraded);
    one.append(vec![of_boot(boot, 3, Event::BootStopped)])
        .unwrap();
    assert!(
        two.transact(move |tx| tx.boot(boot))
            .unwrap()
            .unwrap()
            .unwrap()
            .is_ended()
    );
    assert_sound(&path, 3);
}

#[test]
fn a_reader_works_beside_a_writer() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append(vec![note("first")]).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (log, done) = (log.clone(), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut count = 1;
            while !done.load(Ordering::Relaxed) {
                log.append(vec![note("more")]).unwrap();
                count += 1;
            }
            count
        })
    };
    let reader = Reader::open(&path).unwrap();
    for _ in 0..20 {
        let head = reader.head().unwrap();
        let verification = reader.verify().unwrap();
        assert_eq!(verification.problems, Vec::<String>::new());
        assert!(verification.events >= head.0);
    }
    done.store(true, Ordering::Relaxed);
    let count = writer.join().unwrap();
    assert_sound(&path, count);
}

#[test]
fn dropping_the_last_clone_finishes_what_is_queued() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let log = log.clone();
            std::thread::spawn(move || log.append(vec![note(&n.to_string())]).unwrap())
        })
        .collect();
    drop(log);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_sound(&path, 8);
}

#[test]
fn the_wal_does_not_grow_without_bound() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    for _ in 0..60 {
        log.append((0..1_000).map(|_| note(&"x".repeat(900))).collect())
            .unwrap();
    }
    let wal = std::fs::metadata(path.with_file_name("log.db-wal"))
        .unwrap()
        .len();
    assert!(wal < 32 << 20, "{wal} bytes");
    drop(log);
    assert!(!path.with_file_name("log.db-wal").exists());
}

/// Waits until the anchor is that event.
#[track_caller]
fn wait_for_anchor(path: &std::path::Path, seq: u64) {
    let started = std::time::Instant::now();
    while anchor(path).0 != seq {
        assert!(started.elapsed().as_secs() < 20, "{:?}", anchor(path));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn the_anchor_follows_once_the_writer_is_idle_and_at_the_end() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let started = std::time::Instant::now();
    log.append(vec![note("a")]).unwrap();
    let at_once = anchor(&path).0;
    if started.elapsed() < ledger::ANCHOR_IDLE {
        assert_eq!(at_once, 0);
    }
    wait_for_anchor(&path, 1);
    assert_anchored(&path);
    assert_eq!(log.commits(), 1, "commits of events only");
    // Once: whoever has nothing to do writes nothing.
    let conn = Connection::open(&path).unwrap();
    let version = || -> i64 {
        conn.pragma_query_value(None, "data_version", |row| row.get(0))
            .unwrap()
    };
    let before = version();
    std::thread::sleep(4 * ledger::ANCHOR_IDLE);
    assert_eq!(version(), before);
    log.append(vec![note("b")]).unwrap();
    drop(log);
    assert_anchored(&path);
    assert_sound(&path, 2);
}

#[test]
fn a_writer_that_is_never_idle_anchors_all_the_same() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let most = u64::from(ledger::ANCHOR_COMMITS_MAX);
    for _ in 0..most {
        log.append(vec![note("x")]).unwrap();
    }
    let seq = anchor(&path).0;
    assert!(seq > 0 && seq <= most, "{seq}");
    drop(log);
    assert_anchored(&path);
}

#[test]
fn a_rebuild_anchors() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append(vec![note("a"), note("b")]).unwrap();
    log.rebuild().unwrap();
    assert_anchored(&path);
    assert_eq!(log.commits(), 1);
    // One that is undone does not count as one.
    log.append(vec![note("c")]).unwrap();
    log.transact(|tx| {
        tx.ledger.rebuild().unwrap();
        Err::<(), ()>(())
    })
    .unwrap()
    .unwrap_err();
    wait_for_anchor(&path, 3);
    assert_anchored(&path);
}

/// What one handle left is anchored by the other, and neither loses sight of the other's events.
#[test]
fn two_writers_share_one_anchor() {
    let (_dir, path) = place();
    let (one, two) = (Log::open(&path).unwrap(), Log::open(&path).unwrap());
    for n in 0..10 {
        assert_eq!(one.append(vec![note("one")]).unwrap(), [Seq(2 * n + 1)]);
        assert_eq!(two.append(vec![note("two")]).unwrap(), [Seq(2 * n + 2)]);
    }
    wait_for_anchor(&path, 20);
    assert_eq!(one.append(vec![note("one")]).unwrap(), [Seq(21)]);
    wait_for_anchor(&path, 21);
    drop(one);
    assert_eq!(two.append(vec![note("two")]).unwrap(), [Seq(22)]);
    drop(two);
    assert_anchored(&path);
    assert_sound(&path, 22);
}

/// Another process holds the log: nobody gets an error, and it is anchored later.
#[test]
fn an_anchor_that_cannot_be_written_is_written_later() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append(vec![note("a")]).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::sleep(6 * ledger::ANCHOR_IDLE);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(log.append(vec![note("b")]).unwrap(), [Seq(2)]);
    wait_for_anchor(&path, 2);
    drop(log);
    assert_sound(&path, 2);
}

#[test]
fn an_anchor_that_lags_or_does_not_fit_never_makes_a_writer_overwrite() {
    for (anchored, fits) in [("chain", true), ("zeroblob(32)", false)] {
        let (_dir, path) = place();
        Log::open(&path)
            .unwrap()
            .append(vec![note("a"), note("b")])
            .unwrap();
        let texts = || -> Vec<_> {
            Reader::open(&path)
                .unwrap()
                .events(EventFilter::default())
                .unwrap()
                .map(|recorded| recorded.unwrap().event().unwrap().clone())
                .collect()
        };
        let sql = format!(
            "UPDATE head SET (seq, chain) = (SELECT seq, {anchored} FROM events WHERE seq = 1)"
        );
        Connection::open(&path).unwrap().execute(&sql, []).unwrap();
        let log = Log::open(&path).unwrap();
        assert_eq!(log.append(vec![note("c")]).unwrap(), [Seq(3)]);
        drop(log);
        assert_eq!(texts(), ["a", "b", "c"].map(|text| note(text).event));
        if fits {
            assert_anchored(&path);
            assert_sound(&path, 3);
        } else {
            // It is the evidence, and stays.
            assert_eq!(anchor(&path).0, 1);
            let problems = Reader::open(&path).unwrap().verify().unwrap().problems;
            assert_eq!(problems.len(), 1);
            assert!(
                problems[0].contains("event 1 is not the one that was anchored"),
                "{problems:?}"
            );
        }
    }
}

/// What an append costs beside the sync: the page of the event, and now and then a new one.
#[test]
fn a_lone_append_writes_little_more_than_one_page() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let wal = path.with_file_name("log.db-wal");
    let frames = || std::fs::metadata(&wal).map_or(0, |meta| meta.len()) / (4_096 + 24);
    let before = frames();
    for _ in 0..500 {
        log.append(vec![note("x")]).unwrap();
    }
    let written = frames() - before;
    assert!(written < 750, "{written} pages for 500 appends");
}
