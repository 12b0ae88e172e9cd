//! The queue of missions: who gets what, what is remembered, and how a mission is found.

use std::collections::BTreeSet;

use super::*;
use crate::domain::mission::{MissionCommand, MissionRefusal, MissionStatus, Risk};

fn queue() -> (tempfile::TempDir, Missions) {
    let (dir, path) = place();
    (dir, Missions::new(Log::open(&path).unwrap()))
}

fn claim(worker: &str) -> MissionCommand {
    MissionCommand::Claim {
        worker: worker.into(),
        lease_ms: 60_000,
    }
}

#[test]
fn a_failure_that_is_seen_again_is_the_same_mission_until_it_is_closed() {
    let (_dir, missions) = queue();
    let first = missions.file(signature("s"), failure("a")).unwrap();
    let again = missions.file(signature("s"), failure("a")).unwrap();
    assert_eq!((again.id, again.recurrences), (first.id, 1));
    let other = missions.file(signature("t"), failure("b")).unwrap();
    assert_ne!(other.id, first.id);
    let id = first.id.unwrap();
    missions
        .command(
            id,
            MissionCommand::Close {
                resolution: "gone".into(),
            },
        )
        .unwrap();
    assert_ne!(
        missions.file(signature("s"), failure("a")).unwrap().id,
        first.id
    );
    assert_eq!(missions.open().unwrap().len(), 2);
    assert_eq!(
        missions.with_status(MissionStatus::Closed).unwrap(),
        vec![id]
    );
}

#[test]
fn commands_are_decided_on_what_is_recorded() {
    let (_dir, missions) = queue();
    let id = missions
        .file(signature("s"), failure("a"))
        .unwrap()
        .id
        .unwrap();
    let held = missions.command(id, claim("ann")).unwrap();
    assert_eq!(held.status, MissionStatus::Claimed);
    assert_eq!(missions.get(id).unwrap(), held);
    let refused = missions.command(id, claim("bob")).unwrap_err();
    assert!(
        matches!(refused, MissionsError::Refused(MissionRefusal::Held { .. })),
        "{refused}"
    );
    let unknown = missions.command(mission_id(9), claim("bob")).unwrap_err();
    assert!(matches!(unknown, MissionsError::NotFound(_)), "{unknown}");
    assert!(matches!(
        missions.get(mission_id(9)),
        Err(MissionsError::NotFound(_))
    ));
}

#[test]
fn events_of_a_queue_in_a_boot_carry_the_boot() {
    let (_dir, missions) = queue();
    let missions = missions.in_boot(boot_id(5));
    let filed = missions.file(signature("s"), failure("a")).unwrap();
    assert_eq!(filed.boot, Some(boot_id(5)));
    missions.command(filed.id.unwrap(), claim("ann")).unwrap();
    missions.claim_next("bob", 1_000).unwrap();
    let reader = missions.log().reader().unwrap();
    for recorded in reader.events(EventFilter::default()).unwrap() {
        assert_eq!(recorded.unwrap().boot, Some(boot_id(5)));
    }
}

#[test]
fn the_oldest_claimable_mission_comes_next() {
    let (_dir, missions) = queue();
    let ids: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|s| missions.file(signature(s), failure(s)).unwrap().id.unwrap())
        .collect();
    let next = |worker| {
        missions
            .claim_next(worker, 60_000)
            .unwrap()
            .map(|m| m.id.unwrap())
    };
    assert_eq!(next("ann"), Some(ids[0]));
    assert_eq!(next("bob"), Some(ids[1]));
    let decline = MissionCommand::Decline {
        by: "eve".into(),
        reason: "no".into(),
    };
    missions.command(ids[0], decline).unwrap();
    // The first one waits for its back-off now.
    assert_eq!(next("bob"), Some(ids[2]));
    assert_eq!(next("bob"), None);
    assert!(matches!(missions.claim_next("bob", 0), Ok(None)));
    missions
        .command(
            ids[2],
            MissionCommand::Release {
                worker: "bob".into(),
                reason: "r".into(),
            },
        )
        .unwrap();
    assert!(matches!(
        missions.claim_next("bob", 0),
        Err(MissionsError::Refused(MissionRefusal::BadLease { .. }))
    ));
}

#[test]
fn a_lease_that_ran_out_is_claimable_and_too_many_claims_end_in_quarantine() {
    let (_dir, missions) = queue();
    let first = missions
        .file(signature("a"), failure("a"))
        .unwrap()
        .id
        .unwrap();
    let second = missions
        .file(signature("b"), failure("b"))
        .unwrap()
        .id
        .unwrap();
    for _ in 0..crate::domain::mission::MISSION_ATTEMPTS_MAX {
        let got = missions.claim_next("ann", 1).unwrap().unwrap();
        assert_eq!(got.id, Some(first));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(
        missions.claim_next("ann", 60_000).unwrap().unwrap().id,
        Some(second)
    );
    assert_eq!(
        missions.get(first).unwrap().status,
        MissionStatus::Quarantined
    );
    let reader = missions.log().reader().unwrap();
    assert_eq!(reader.mission_counts().unwrap(), (2, 1));
}

#[test]
fn an_approved_mission_waits_for_its_promotion_not_for_a_claim() {
    let (_dir, missions) = queue();
    let id = missions
        .file(signature("a"), failure("a"))
        .unwrap()
        .id
        .unwrap();
    let worker = || "ann".to_owned();
    missions.command(id, claim("ann")).unwrap();
    let proposal = samples::proposal("create_table", Risk::Open);
    missions
        .command(
            id,
            MissionCommand::Propose {
                worker: worker(),
                proposal,
            },
        )
        .unwrap();
    let verdict = samples::verdict(true);
    missions
        .command(
            id,
            MissionCommand::Judge {
                worker: worker(),
                verdict,
                needs_approval: true,
            },
        )
        .unwrap();
    missions
        .command(id, MissionCommand::Approve { by: "eve".into() })
        .unwrap();
    assert_eq!(missions.claim_next("bob", 1_000).unwrap(), None);
}

/// From claim to the end that `last` makes.
fn work(missions: &Missions, fixer: &str, holds: bool, last: Option<MissionCommand>) {
    let state = missions.file(signature("s"), failure("a")).unwrap();
    let id = state.id.unwrap();
    if matches!(
        state.status,
        MissionStatus::Rejected | MissionStatus::Quarantined
    ) {
        missions
            .command(id, MissionCommand::Requeue { by: "eve".into() })
            .unwrap();
    }
    missions.command(id, claim("ann")).unwrap();
    let proposal = samples::proposal(fixer, Risk::Additive);
    missions
        .command(
            id,
            MissionCommand::Propose {
                worker: "ann".into(),
                proposal,
            },
        )
        .unwrap();
    let verdict = samples::verdict(holds);
    missions
        .command(
            id,
            MissionCommand::Judge {
                worker: "ann".into(),
                verdict,
                needs_approval: false,
            },
        )
        .unwrap();
    if let Some(last) = last {
        let start = MissionCommand::StartPromotion {
            files: vec![],
            databases: vec![],
        };
        missions.command(id, start).unwrap();
        if !matches!(last, MissionCommand::UndoPromotion { .. }) {
            missions
                .command(id, MissionCommand::FinishPromotion)
                .unwrap();
        }
        missions.command(id, last).unwrap();
    }
}

#[test]
fn each_proposal_is_remembered_once() {
    let (_dir, missions) = queue();
    let reason = || "r".to_owned();
    work(
        &missions,
        "good",
        true,
        Some(MissionCommand::Close {
            resolution: reason(),
        }),
    );
    work(&missions, "bad", false, None);
    work(
        &missions,
        "bad",
        true,
        Some(MissionCommand::RollBack { reason: reason() }),
    );
    work(
        &missions,
        "late",
        true,
        Some(MissionCommand::UndoPromotion { reason: reason() }),
    );
    // Declined before anything was proposed: not the last fixer's fault.
    let id = missions.open().unwrap()[0].id.unwrap();
    missions
        .command(id, MissionCommand::Requeue { by: "eve".into() })
        .unwrap();
    missions.command(id, claim("ann")).unwrap();
    missions
        .command(
            id,
            MissionCommand::Decline {
                by: "eve".into(),
                reason: reason(),
            },
        )
        .unwrap();
    // Closed without a fix of its own.
    missions
        .command(
            id,
            MissionCommand::Close {
                resolution: reason(),
            },
        )
        .unwrap();
    let record = |fixer: &str, closed, rejected, rolled_back| FixRecord {
        fixer: fixer.into(),
        closed,
        rejected,
        rolled_back,
    };
    assert_eq!(
        missions.fix_memory(&signature("s")).unwrap(),
        [
            record("bad", 0, 1, 1),
            record("good", 1, 0, 0),
            record("late", 0, 1, 0)
        ]
    );
    assert_eq!(missions.fix_memory(&signature("t")).unwrap(), []);
    let path = missions.log().path().to_owned();
    let live = projections(&path);
    missions.log().rebuild().unwrap();
    assert_eq!(projections(&path), live);
}

#[test]
fn missions_are_found_by_id_beginning_and_slug() {
    let (_dir, missions) = queue();
    let file = |n: u128, subject: &str, s: &str| {
        let id = mission_id(n);
        let command = MissionCommand::File {
            id,
            signature: signature(s),
            failure: failure(subject),
        };
        missions.command(id, command).unwrap();
        id
    };
    let a = file(0xabcd_1111_0000_0000_0000_0000_0000_0001, "users", "a");
    let b = file(0xabcd_2222_0000_0000_0000_0000_0000_0002, "orders", "b");
    let found = |name: &str| missions.find(name).map(|m| m.id.unwrap());
    assert_eq!(found(&a.to_string()).unwrap(), a);
    assert_eq!(found("abcd1").unwrap(), a);
    assert_eq!(found("ABCD2222-0000").unwrap(), b);
    assert_eq!(found("schema_fix_orders").unwrap(), b);
    for nobody in ["abc", "", "abcd3", "zzzz", "schema_fix_x", "µµµµ"] {
        assert!(
            matches!(found(nobody), Err(MissionsError::NotFound(_))),
            "{nobody}"
        );
    }
    let ambiguous = found("abcd").unwrap_err().to_string();
    assert!(
        ambiguous.contains("schema_fix_users") && ambiguous.contains("schema_fix_orders"),
        "{ambiguous}"
    );
    // Of two with one slug the open one; a second open one has a slug of its own.
    missions
        .command(
            a,
            MissionCommand::Close {
                resolution: "gone".into(),
            },
        )
        .unwrap();
    let c = file(3, "users", "c");
    assert_eq!(found("schema_fix_users").unwrap(), c);
    let d = file(4, "users", "d");
    assert_eq!(found("schema_fix_users").unwrap(), c);
    assert_eq!(found("schema_fix_users_2").unwrap(), d);
}

#[test]
fn many_workers_never_claim_one_mission_twice() {
    let (_dir, missions) = queue();
    let count = 60;
    for n in 0..count {
        missions
            .file(signature(&n.to_string()), failure(&n.to_string()))
            .unwrap();
    }
    let path = missions.log().path().to_owned();
    let workers: Vec<_> = (0..12)
        .map(|n| {
            // Half of them through a handle of their own, as another process would.
            let missions = if n % 2 == 0 {
                missions.clone()
            } else {
                Missions::new(Log::open(&path).unwrap())
            };
            std::thread::spawn(move || {
                let mut mine = vec![];
                while let Some(state) = missions.claim_next(&format!("worker {n}"), 60_000).unwrap()
                {
                    mine.push(state.id.unwrap());
                }
                mine
            })
        })
        .collect();
    let claimed: Vec<_> = workers
        .into_iter()
        .flat_map(|w| w.join().unwrap())
        .collect();
    assert_eq!(claimed.len(), count);
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), count);
    assert_sound(&path, 2 * count as u64);
}

#[test]
fn one_slug_names_one_open_mission() {
    let (_dir, missions) = queue();
    let first = missions.file(signature("s"), failure("a")).unwrap();
    let second = missions.file(signature("t"), failure("a")).unwrap();
    let third = missions.file(signature("u"), failure("a")).unwrap();
    assert_eq!(second.slug, format!("{}_2", first.slug));
    assert_eq!(third.slug, format!("{}_3", first.slug));
    assert_eq!(missions.find(&second.slug).unwrap().id, second.id);
    let close = MissionCommand::Close {
        resolution: "gone".into(),
    };
    missions.command(first.id.unwrap(), close).unwrap();
    let fourth = missions.file(signature("v"), failure("a")).unwrap();
    assert_eq!(fourth.slug, first.slug);
}

#[test]
fn heartbeats_hold_a_mission_for_one_day_at_most() {
    let (_dir, missions) = queue();
    let id = missions
        .file(signature("s"), failure("a"))
        .unwrap()
        .id
        .unwrap();
    let day_ms = 24 * 60 * 60 * 1_000;
    let claimed = NewEvent {
        at: At(now().0 - 23 * 60 * 60 * 1_000_000),
        mission: Some(id),
        ..note("")
    };
    missions
        .log()
        .append(vec![NewEvent {
            event: Event::MissionClaimed {
                worker: "ann".into(),
                until: now().plus_ms(60_000),
            },
            ..claimed
        }])
        .unwrap();
    let held = missions
        .command(
            id,
            MissionCommand::Heartbeat {
                worker: "ann".into(),
                lease_ms: day_ms,
            },
        )
        .unwrap();
    let left_ms = held.lease.unwrap().until.ms_since(now());
    assert!(left_ms <= 60 * 60 * 1_000, "{left_ms} ms");
}
