//! Projections are what the events add up to: live, rebuilt and replayed are the same bytes.

use proptest::prelude::*;

use super::*;
use crate::domain::boot;

/// Every sample event, each for one of three boots and three missions: most of them make no sense
/// where they stand, which is the point.
fn any_event() -> impl Strategy<Value = NewEvent> {
    let ids = (
        proptest::option::of(1u128..4),
        proptest::option::of(1u128..4),
    );
    (any::<proptest::sample::Index>(), ids, 0i64..1_000_000).prop_map(
        |(which, (boot, mission), at)| {
            let event = match which.get(&samples::all()).clone() {
                Event::MissionFiled {
                    slug,
                    signature,
                    failure,
                    ..
                } => Event::MissionFiled {
                    mission: mission_id(mission.unwrap_or(1)),
                    slug,
                    signature,
                    failure,
                },
                other => other,
            };
            NewEvent {
                at: At(at),
                boot: boot.map(boot_id),
                mission: mission.map(mission_id),
                event,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_rebuild_gives_the_identical_bytes(
        batches in proptest::collection::vec(proptest::collection::vec(any_event(), 1..12), 1..8),
    ) {
        let (_dir, path) = place();
        let log = Log::open(&path).unwrap();
        let count: usize = batches.iter().map(Vec::len).sum();
        for batch in batches {
            log.append(batch).unwrap();
        }
        let live = projections(&path);
        prop_assert_eq!(log.rebuild().unwrap(), count as u64);
        prop_assert_eq!(&projections(&path), &live);
        let reader = log.reader().unwrap();
        prop_assert_eq!(reader.verify().unwrap().problems, Vec::<String>::new());
        // And what is projected is what a replay ends with.
        for summary in reader.boots(10).unwrap() {
            let mut replay = Replay::new(&reader, summary.boot_id, EventFilter::default()).unwrap();
            while let Some(recorded) = replay.advance() {
                recorded.unwrap();
            }
            let projected = reader.boot(summary.boot_id).unwrap();
            prop_assert_eq!(Some(replay.state()), projected.as_ref());
            let mut verified = Replay::verified(&reader, summary.boot_id, EventFilter::default()).unwrap();
            while let Some(recorded) = verified.advance() {
                recorded.unwrap();
            }
            prop_assert_eq!(verified.state(), replay.state());
        }
    }
}

#[test]
fn a_rebuild_of_more_boots_and_missions_than_are_kept_in_memory_is_the_same() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    for round in 0..3_i64 {
        let mut events = vec![];
        for n in 1..=40_u128 {
            let event = if round == 0 {
                boot_started(&format!("app{n}"))
            } else {
                Event::BootUp {
                    degraded: round == 1,
                }
            };
            events.push(of_boot(boot_id(n), round, event));
        }
        for n in 1..=600_u128 {
            let event = match round {
                0 => Event::MissionFiled {
                    mission: mission_id(n),
                    slug: format!("m{n}"),
                    signature: signature(&n.to_string()),
                    failure: failure("x"),
                },
                1 => Event::MissionClaimed {
                    worker: "w".into(),
                    until: At(9),
                },
                _ => Event::MissionClosed {
                    slug: "schema_fix_users".into(),
                    resolution: "gone".into(),
                },
            };
            events.push(NewEvent {
                at: At(round),
                boot: Some(boot_id(n % 40 + 1)),
                mission: Some(mission_id(n)),
                event,
            });
        }
        log.append(events).unwrap();
    }
    let live = projections(&path);
    assert_eq!(live.len(), 640);
    log.rebuild().unwrap();
    assert_eq!(projections(&path), live);
    assert_sound(&path, 3 * 640);
}

#[test]
fn a_boot_begins_with_its_start_and_evolves_by_its_missions() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let (boot, mission) = (boot_id(1), mission_id(7));
    log.append(vec![of_boot(
        boot,
        1,
        Event::Note {
            text: "early".into(),
        },
    )])
    .unwrap();
    let reader = log.reader().unwrap();
    assert_eq!(reader.boot(boot).unwrap(), None);
    assert_eq!(reader.last_boot().unwrap(), None);
    log.append(vec![of_boot(boot, 2, boot_started("grace"))])
        .unwrap();
    let filed = Event::MissionFiled {
        mission,
        slug: "schema_fix_x".into(),
        signature: signature("s"),
        failure: failure("x"),
    };
    // The row's mission is the one that the event names, even if the caller forgot it.
    log.append(vec![NewEvent {
        at: At(3),
        boot: Some(boot),
        mission: None,
        event: filed.clone(),
    }])
    .unwrap();
    let state = reader.boot(boot).unwrap().unwrap();
    assert_eq!(state.missions.len(), 1);
    let expected = boot::evolve(
        boot::evolve(Default::default(), At(2), None, &boot_started("grace")),
        At(3),
        Some(mission),
        &filed,
    );
    assert_eq!(state, expected);
    let of_mission = EventFilter {
        mission: Some(mission),
        ..EventFilter::default()
    };
    assert_eq!(reader.events(of_mission).unwrap().count(), 1);
    let summary = &reader.boots(5).unwrap()[0];
    assert_eq!((summary.seq_first, summary.seq_last), (Seq(2), Seq(3)));
    assert_eq!(reader.mission(mission).unwrap().unwrap().boot, Some(boot));
    assert_eq!(reader.unfinished_boots().unwrap().len(), 1);
}

#[test]
fn an_append_of_many_events_writes_each_state_once() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let boot = boot_id(1);
    log.append(vec![of_boot(boot, 1, boot_started("grace"))])
        .unwrap();
    let before = log
        .transact(|tx| Ok::<_, ()>(tx.ledger.conn.total_changes()))
        .unwrap()
        .unwrap();
    log.append(
        (0..100)
            .map(|n| of_boot(boot, n, Event::Note { text: "n".into() }))
            .collect(),
    )
    .unwrap();
    let after = log
        .transact(|tx| Ok::<_, ()>(tx.ledger.conn.total_changes()))
        .unwrap()
        .unwrap();
    // 100 events, one boot (replaced), one head.
    assert!(after - before <= 103, "{}", after - before);
}

#[test]
fn a_state_that_cannot_be_read_says_how_to_mend_it() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append(vec![of_boot(boot_id(1), 1, boot_started("grace"))])
        .unwrap();
    drop(log);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute("UPDATE boots SET state = x'ff'", []).unwrap();
    drop(conn);
    let log = Log::open(&path).unwrap();
    let error = log
        .append(vec![of_boot(boot_id(1), 2, Event::BootStopped)])
        .unwrap_err();
    assert!(
        error.to_string().contains("`ubs log rebuild` mends"),
        "{error}"
    );
    log.rebuild().unwrap();
    log.append(vec![of_boot(boot_id(1), 2, Event::BootStopped)])
        .unwrap();
    assert_sound(&path, 2);
}
