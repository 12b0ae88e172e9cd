//! Reading: filters, replay, health now and then.

use super::*;
use crate::domain::health::HealthStatus;
use crate::domain::ids::EventId;

/// Boot 1 (stopped), boot 2 (up), missions 1 (closed at 50) and 2 (quarantined at 70).
fn history() -> (tempfile::TempDir, Log) {
    let (dir, path) = place();
    let log = Log::open(&path).unwrap();
    let filed = |n: u128| Event::MissionFiled {
        mission: mission_id(n),
        slug: format!("m{n}"),
        signature: signature(&n.to_string()),
        failure: failure(&n.to_string()),
    };
    let of_mission = |n: u128, boot: u128, at, event| NewEvent {
        at: At(at),
        boot: Some(boot_id(boot)),
        mission: Some(mission_id(n)),
        event,
    };
    for event in [
        of_boot(boot_id(1), 10, boot_started("grace")),
        of_mission(1, 1, 20, filed(1)),
        of_boot(boot_id(1), 30, Event::BootUp { degraded: true }),
        of_boot(boot_id(1), 35, Event::BootStopped),
        of_boot(boot_id(2), 40, boot_started("grace")),
        of_mission(
            1,
            2,
            50,
            Event::MissionClosed {
                slug: "schema_fix_users".into(),
                resolution: "gone".into(),
            },
        ),
        of_mission(2, 2, 60, filed(2)),
        of_mission(
            2,
            2,
            70,
            Event::MissionQuarantined {
                reason: "hard".into(),
            },
        ),
        of_boot(boot_id(2), 80, Event::BootUp { degraded: false }),
        note("of nobody"),
    ] {
        log.append(vec![event]).unwrap();
    }
    (dir, log)
}

fn seqs(reader: &Reader, filter: EventFilter) -> Vec<u64> {
    reader
        .events(filter)
        .unwrap()
        .map(|r| r.unwrap().seq.0)
        .collect()
}

#[test]
fn filters_select_and_combine() {
    let (_dir, log) = history();
    let reader = log.reader().unwrap();
    let all = EventFilter::default;
    assert_eq!(seqs(&reader, all()), (1..=10).collect::<Vec<_>>());
    let boot = || EventFilter {
        boot: Some(boot_id(2)),
        ..all()
    };
    assert_eq!(seqs(&reader, boot()), [5, 6, 7, 8, 9]);
    let mission = EventFilter {
        mission: Some(mission_id(1)),
        ..all()
    };
    assert_eq!(seqs(&reader, mission.clone()), [2, 6]);
    assert_eq!(
        seqs(
            &reader,
            EventFilter {
                boot: Some(boot_id(2)),
                ..mission
            }
        ),
        [6]
    );
    assert_eq!(
        seqs(
            &reader,
            EventFilter {
                after: Some(Seq(6)),
                until: Some(Seq(8)),
                ..boot()
            }
        ),
        [7, 8]
    );
    assert_eq!(
        seqs(
            &reader,
            EventFilter {
                until_at: Some(At(60)),
                ..boot()
            }
        ),
        [5, 6, 7]
    );
    assert_eq!(
        seqs(
            &reader,
            EventFilter {
                after: Some(Seq(u64::MAX)),
                ..all()
            }
        ),
        [0_u64; 0]
    );
    assert_eq!(
        seqs(
            &reader,
            EventFilter {
                boot: Some(boot_id(9)),
                ..all()
            }
        ),
        [0_u64; 0]
    );
}

#[test]
fn the_index_of_the_boot_or_the_mission_is_used() {
    let (_dir, log) = history();
    let conn = rusqlite::Connection::open(log.path()).unwrap();
    for (sql, index) in [
        (
            "SELECT * FROM events INDEXED BY events_of_boot WHERE seq > 3 AND boot_id = x'00' ORDER BY seq LIMIT 9",
            "events_of_boot (boot_id=? AND rowid>?)",
        ),
        (
            "SELECT * FROM events INDEXED BY events_of_mission WHERE seq > 3 AND mission_id = x'00' ORDER BY seq LIMIT 9",
            "events_of_mission (mission_id=? AND rowid>?)",
        ),
    ] {
        let plan: Vec<String> = conn
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap()
            .query_map([], |row| row.get(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(plan.len() == 1 && plan[0].contains(index), "{plan:?}");
    }
}

#[test]
fn long_walks_are_paged_without_a_seam() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    log.append((0..1_000).map(|n| note(&n.to_string())).collect())
        .unwrap();
    let reader = log.reader().unwrap();
    assert_eq!(
        seqs(&reader, EventFilter::default()),
        (1..=1_000).collect::<Vec<_>>()
    );
    let ids: std::collections::BTreeSet<EventId> = reader
        .events(EventFilter::default())
        .unwrap()
        .map(|r| r.unwrap().id)
        .collect();
    assert_eq!(ids.len(), 1_000);
}

#[test]
fn a_replay_gives_the_state_after_each_event() {
    let (_dir, log) = history();
    let reader = log.reader().unwrap();
    let phases = |replay: Replay<'_>| -> Vec<(u64, &'static str)> {
        replay
            .map(|step| step.unwrap())
            .map(|(r, s)| (r.seq.0, s.phase.as_str()))
            .collect()
    };
    let whole = [(1, "new"), (2, "new"), (3, "running"), (4, "ended")];
    assert_eq!(
        phases(Replay::new(&reader, boot_id(1), EventFilter::default()).unwrap()),
        whole
    );
    assert_eq!(
        phases(Replay::verified(&reader, boot_id(1), EventFilter::default()).unwrap()),
        whole
    );
    let some = || EventFilter {
        after: Some(Seq(2)),
        until: Some(Seq(3)),
        ..EventFilter::default()
    };
    assert_eq!(
        phases(Replay::new(&reader, boot_id(1), some()).unwrap()),
        [(3, "running")]
    );
    assert_eq!(
        phases(Replay::verified(&reader, boot_id(1), some()).unwrap()),
        [(3, "running")]
    );
    let until = || EventFilter {
        until_at: Some(At(20)),
        ..EventFilter::default()
    };
    assert_eq!(
        phases(Replay::new(&reader, boot_id(1), until()).unwrap()),
        whole[..2]
    );
    assert_eq!(
        phases(Replay::verified(&reader, boot_id(1), until()).unwrap()),
        whole[..2]
    );
    let mission = EventFilter {
        mission: Some(mission_id(1)),
        ..EventFilter::default()
    };
    let mut replay = Replay::new(&reader, boot_id(1), mission).unwrap();
    assert_eq!(replay.advance().unwrap().unwrap().seq, Seq(2));
    assert!(replay.advance().is_none());
    assert_eq!(replay.state(), &reader.boot(boot_id(1)).unwrap().unwrap());
}

#[test]
fn health_is_of_the_newest_boot() {
    let (_dir, log) = history();
    let health = log.reader().unwrap().health(|_| true).unwrap();
    assert_eq!(
        (health.boot_id, health.status),
        (Some(boot_id(2)), HealthStatus::Healthy)
    );
    assert_eq!((health.missions_open, health.missions_need_person), (1, 1));
    let orphaned = log.reader().unwrap().health(|_| false).unwrap();
    assert_eq!(orphaned.status, HealthStatus::Unhealthy);
}

#[test]
fn health_of_a_past_moment_is_what_it_was() {
    let (_dir, log) = history();
    let reader = log.reader().unwrap();
    let at = |at| {
        let health = reader.health_at(At(at)).unwrap();
        let boot = health.boot_id.map(|boot| boot.0.as_u128());
        (
            boot,
            health.phase,
            health.missions_open,
            health.missions_need_person,
        )
    };
    assert_eq!(at(5), (None, "new", 0, 0));
    assert_eq!(at(10), (Some(1), "new", 0, 0));
    assert_eq!(at(25), (Some(1), "new", 1, 0));
    assert_eq!(at(30), (Some(1), "running", 1, 0));
    assert_eq!(at(39), (Some(1), "ended", 1, 0));
    assert_eq!(at(45), (Some(2), "new", 1, 0));
    assert_eq!(at(55), (Some(2), "new", 0, 0));
    assert_eq!(at(65), (Some(2), "new", 1, 0));
    assert_eq!(at(75), (Some(2), "new", 1, 1));
    assert_eq!(at(i64::MAX), (Some(2), "running", 1, 1));
}

/// The supervisor of boot 1 is a process that never was. It died, and boot 2 found out much later.
#[test]
fn after_the_last_word_of_a_dead_supervisor_nothing_is_known() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let (dead, lost) = (boot_id(1), boot_id(2));
    log.append(vec![
        of_boot(dead, 1_000, boot_started("grace")),
        of_boot(dead, 2_000, Event::BootUp { degraded: false }),
    ])
    .unwrap();
    let reader = log.reader().unwrap();
    let at = |at| reader.health_at(At(at)).unwrap();
    assert_eq!(at(2_000).status, HealthStatus::Healthy);
    let unknown = at(2_001);
    assert_eq!(unknown.status, HealthStatus::Unknown);
    let reason = unknown.reason.unwrap();
    assert!(
        reason.contains("was last heard of at 1970-01-01T00:00:00.002"),
        "{reason}"
    );
    let known = |n: usize| {
        let boots = reader.boots(10).unwrap();
        (boots[n].known_until, boots[n].ended_at)
    };
    assert_eq!(known(0), (Some(At(2_000)), None));
    // What others do to its missions says nothing of it.
    let interrupted = Event::BootInterrupted {
        reason: "the supervisor died".into(),
        reaped: 0,
    };
    log.append(vec![
        NewEvent {
            mission: Some(mission_id(9)),
            ..of_boot(dead, 5_000, Event::FixVerified)
        },
        of_boot(dead, 9_000, interrupted),
        of_boot(lost, 9_001, boot_started("grace")),
        of_boot(lost, 9_002, Event::BootUp { degraded: false }),
        of_boot(lost, 9_003, Event::BootStopped),
    ])
    .unwrap();
    assert_eq!(at(6_000).status, HealthStatus::Unknown);
    assert_eq!(at(9_000).status, HealthStatus::Unhealthy);
    assert_eq!(known(1), (Some(At(2_000)), Some(At(9_000))));
    assert_eq!(known(0), (None, Some(At(9_003))));
    assert_eq!(reader.last_good_boot().unwrap(), Some(lost));
}

#[test]
fn an_empty_log_has_answers_too() {
    let (_dir, path) = place();
    let log = Log::open(&path).unwrap();
    let reader = log.reader().unwrap();
    assert_eq!(reader.head().unwrap(), Seq(0));
    assert_eq!(
        reader.health(|_| true).unwrap().status,
        HealthStatus::Unknown
    );
    assert_eq!(
        reader.health_at(At(0)).unwrap().status,
        HealthStatus::Unknown
    );
    assert_sound(&path, 0);
    assert_eq!(reader.stats().unwrap().first_at, None);
    assert_eq!(
        Replay::new(&reader, boot_id(1), EventFilter::default())
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        Replay::verified(&reader, boot_id(1), EventFilter::default())
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn lists_and_sizes() {
    let (_dir, log) = history();
    let reader = log.reader().unwrap();
    let boots = reader.boots(10).unwrap();
    assert_eq!(
        boots.iter().map(|b| b.boot_id).collect::<Vec<_>>(),
        [boot_id(2), boot_id(1)]
    );
    assert_eq!(boots[1].outcome.as_deref(), Some("stopped"));
    assert_eq!(
        (boots[1].up_at, boots[1].ended_at),
        (Some(At(30)), Some(At(35)))
    );
    assert_eq!(reader.boots(1).unwrap().len(), 1);
    assert_eq!(
        reader
            .unfinished_boots()
            .unwrap()
            .iter()
            .map(|(id, _)| *id)
            .collect::<Vec<_>>(),
        [boot_id(2)]
    );
    assert_eq!(
        (
            reader.missions(true).unwrap().len(),
            reader.missions(false).unwrap().len()
        ),
        (2, 1)
    );
    let stats = reader.stats().unwrap();
    assert_eq!((stats.events, stats.boots, stats.missions), (10, 2, 2));
    assert_eq!(
        (stats.first_at, stats.last_at),
        (Some(At(10)), Some(note("").at))
    );
    assert_eq!(stats.kinds["mission_filed"], 2);
    assert_eq!(stats.kinds.values().sum::<u64>(), 10);
}
