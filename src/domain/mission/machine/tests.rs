//! Random commands to a mission: no illegal transition, the fold is the truth, the end is final.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::event::Verdict;
use crate::domain::finding::CheckName;
use crate::domain::ids::MissionId;
use crate::domain::mission::order::{Change, Failure, Risk};

fn failure() -> Failure {
    Failure {
        check: Some(CheckName::Schema),
        code: "schema.missing_table".into(),
        subject: "security_events".into(),
        layer: None,
        critical: true,
        error: "no such table".into(),
        remedy: None,
        traceback: String::new(),
        location: None,
        criteria: vec![],
        fix: None,
        cause: None,
        facts: BTreeMap::new(),
    }
}

fn proposal() -> Proposal {
    Proposal {
        fixer: "create_table".into(),
        summary: "create it".into(),
        risk: Risk::Additive,
        changes: vec![Change::Sql {
            schema: "main".into(),
            statements: vec!["x".into()],
        }],
    }
}

fn any_command() -> impl Strategy<Value = MissionCommand> {
    use MissionCommand as C;
    let worker = prop_oneof![Just("ann".to_owned()), Just("bob".to_owned())];
    let verdict = any::<bool>().prop_map(|holds| Verdict {
        holds,
        reason: String::new(),
        checks: vec![],
        isolation: vec![],
        duration_ms: 1,
    });
    prop_oneof![
        Just(C::File {
            id: MissionId(Uuid::from_u128(7)),
            signature: Signature("s".into()),
            failure: failure()
        }),
        Just(C::Recur { failure: failure() }),
        (worker.clone(), 0u64..20_000).prop_map(|(worker, lease_ms)| C::Claim { worker, lease_ms }),
        (worker.clone(), 0u64..20_000)
            .prop_map(|(worker, lease_ms)| C::Heartbeat { worker, lease_ms }),
        worker.clone().prop_map(|worker| C::Release {
            worker,
            reason: String::new()
        }),
        worker.clone().prop_map(|worker| C::Propose {
            worker,
            proposal: proposal()
        }),
        (worker, verdict, any::<bool>()).prop_map(|(worker, verdict, needs_approval)| C::Judge {
            worker,
            verdict,
            needs_approval
        }),
        Just(C::Approve { by: "eve".into() }),
        Just(C::Decline {
            by: "eve".into(),
            reason: String::new()
        }),
        Just(C::StartPromotion {
            files: vec![],
            databases: vec![]
        }),
        Just(C::FinishPromotion),
        Just(C::UndoPromotion {
            reason: String::new()
        }),
        Just(C::RollBack {
            reason: String::new()
        }),
        Just(C::Bless { healthy_ms: 1 }),
        Just(C::Undo {
            by: "eve".into(),
            reason: String::new()
        }),
        Just(C::Quarantine {
            reason: String::new()
        }),
        Just(C::Close {
            resolution: String::new()
        }),
        Just(C::Requeue { by: "eve".into() }),
    ]
}

/// The statuses that may follow each status (itself included, for leases and recurrences).
fn may_follow(from: MissionStatus, to: MissionStatus) -> bool {
    use MissionStatus as S;
    if from == to {
        return true;
    }
    match from {
        S::Unfiled => to == S::Filed,
        S::Filed => matches!(to, S::Claimed | S::Quarantined | S::Closed),
        S::Claimed => matches!(
            to,
            S::Proposed | S::Filed | S::Rejected | S::Quarantined | S::Closed
        ),
        S::Proposed => matches!(
            to,
            S::Verified
                | S::AwaitingApproval
                | S::Rejected
                | S::Quarantined
                | S::Filed
                | S::Claimed
                | S::Closed
        ),
        S::Verified => matches!(
            to,
            S::AwaitingApproval
                | S::Promoting
                | S::Rejected
                | S::Filed
                | S::Claimed
                | S::Quarantined
                | S::Closed
        ),
        S::AwaitingApproval => matches!(to, S::Verified | S::Rejected | S::Quarantined | S::Closed),
        S::Promoting => matches!(to, S::Applied | S::Rejected | S::Quarantined),
        S::Applied => matches!(to, S::Closed | S::Filed | S::Rejected | S::Quarantined),
        S::Rejected => matches!(to, S::Claimed | S::Quarantined | S::Filed | S::Closed),
        S::Quarantined => matches!(to, S::Filed | S::Closed),
        // Its fix was taken back.
        S::Closed => matches!(to, S::Rejected | S::Quarantined),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn random_commands_never_reach_an_illegal_state(
        commands in proptest::collection::vec((any_command(), 0i64..40_000_000), 1..120),
    ) {
        let mut state = MissionState::default();
        let mut log = vec![];
        let mut clock = 0;
        for (command, wait) in commands {
            clock += wait;
            let at = At(clock);
            let Ok(events) = decide(&state, at, command) else { continue };
            prop_assert!(!events.is_empty());
            for event in events {
                let before = state.status;
                state = evolve(state, at, None, &event);
                prop_assert!(may_follow(before, state.status), "{before:?} -> {:?} by {event:?}", state.status);
                log.push((at, event));
            }
            prop_assert_eq!(
                state.lease.is_some() && !state.status.is_held(), false,
                "a lease without a holder in {:?}", state.status
            );
            prop_assert!(state.attempts <= MISSION_ATTEMPTS_MAX);
        }
        let replayed = log.iter().fold(MissionState::default(), |s, (at, e)| evolve(s, *at, None, e));
        prop_assert_eq!(replayed, state);
    }

    #[test]
    fn two_workers_never_hold_one_mission(wait_ms in 0u64..20_000) {
        let mut state = MissionState::default();
        let file = MissionCommand::File {
            id: MissionId(Uuid::from_u128(1)),
            signature: Signature("s".into()),
            failure: failure(),
        };
        for event in decide(&state, At(0), file).unwrap() {
            state = evolve(state, At(0), None, &event);
        }
        let claim = |worker: &str| MissionCommand::Claim { worker: worker.into(), lease_ms: 10_000 };
        for event in decide(&state, At(0), claim("ann")).unwrap() {
            state = evolve(state, At(0), None, &event);
        }
        let later = At(0).plus_ms(wait_ms);
        let second = decide(&state, later, claim("bob"));
        prop_assert_eq!(second.is_ok(), wait_ms >= 10_000);
        let propose = MissionCommand::Propose { worker: "bob".into(), proposal: proposal() };
        prop_assert!(decide(&state, later, propose).is_err());
    }
}

#[test]
fn slugs_name_what_is_fixed() {
    assert_eq!(failure().slug(At(0)), "schema_fix_security_events");
    let layer = Failure {
        check: None,
        code: "layer.failed".into(),
        layer: Some("agentic spine".into()),
        ..failure()
    };
    assert_eq!(
        layer.slug(At(1_764_000_000_000_000)),
        "boot_fix_agentic_spine_1764000000"
    );
}

#[test]
fn rejections_back_off_and_end_in_quarantine() {
    assert_eq!(rejection_backoff_ms(1), 1_000);
    assert_eq!(rejection_backoff_ms(3), 4_000);
    assert_eq!(rejection_backoff_ms(1_000), REJECTION_BACKOFF_MS_MAX);
}

/// What a worker, the boot or a person does next, in a week of simulated time.
#[derive(Debug, Clone, Copy)]
enum Act {
    Claim,
    Heartbeat,
    /// The worker dies: whatever it holds, it never speaks of again.
    Die,
    Propose,
    Judge {
        holds: bool,
        asks: bool,
    },
    Promote,
    Finish {
        well: bool,
    },
    Release,
    GiveUp,
    Recur,
    RollBack,
    Bless,
    Undo,
    Close,
    Approve,
    Requeue,
    EndOffer,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Claim),
        2 => Just(Act::Heartbeat),
        1 => Just(Act::Die),
        4 => Just(Act::Propose),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(holds, asks)| Act::Judge { holds, asks }),
        4 => Just(Act::Promote),
        4 => any::<bool>().prop_map(|well| Act::Finish { well }),
        1 => Just(Act::Release),
        1 => Just(Act::GiveUp),
        1 => Just(Act::Recur),
        1 => Just(Act::RollBack),
        1 => Just(Act::Bless),
        1 => Just(Act::Undo),
        1 => Just(Act::Close),
        1 => Just(Act::Approve),
        1 => Just(Act::Requeue),
        1 => Just(Act::EndOffer),
    ]
}

fn command_of(act: Act, worker: &str, lease_ms: u64) -> Option<MissionCommand> {
    use MissionCommand as C;
    let worker = worker.to_owned();
    let reason = String::new;
    Some(match act {
        Act::Claim => C::Claim { worker, lease_ms },
        Act::Heartbeat => C::Heartbeat { worker, lease_ms },
        Act::Die => return None,
        Act::Propose => C::Propose {
            worker,
            proposal: proposal(),
        },
        Act::Judge { holds, asks } => C::Judge {
            worker,
            verdict: Verdict {
                holds,
                reason: reason(),
                checks: vec![],
                isolation: vec![],
                duration_ms: 1,
            },
            needs_approval: asks,
        },
        Act::Promote => C::StartPromotion {
            files: vec![],
            databases: vec![],
        },
        Act::Finish { well: true } => C::FinishPromotion,
        Act::Finish { well: false } => C::UndoPromotion { reason: reason() },
        Act::Release => C::Release {
            worker,
            reason: reason(),
        },
        Act::GiveUp => C::GiveUp {
            worker,
            reason: reason(),
        },
        Act::Recur => C::Recur { failure: failure() },
        Act::RollBack => C::RollBack { reason: reason() },
        Act::Bless => C::Bless { healthy_ms: 1 },
        Act::Undo => C::Undo {
            by: worker,
            reason: reason(),
        },
        Act::Close => C::Close {
            resolution: reason(),
        },
        Act::Approve => C::Approve { by: worker },
        Act::Requeue => C::Requeue { by: worker },
        Act::EndOffer => C::Quarantine { reason: reason() },
    })
}

const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

fn now_held_by(state: &MissionState, at: At) -> Option<String> {
    let lease = state.lease.as_ref().filter(|lease| at < lease.until)?;
    Some(lease.worker.clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_week_of_several_workers_loses_no_mission_and_promotes_nothing_twice(
        acts in proptest::collection::vec((any_act(), 0usize..4, 1u64..6 * 60 * 60 * 1_000), 1..400),
        leases in proptest::collection::vec(1u64..2 * 60 * 60 * 1_000, 4),
    ) {
        let mut state = MissionState::default();
        let mut at = At(0);
        let file = MissionCommand::File {
            id: MissionId(Uuid::from_u128(3)),
            signature: Signature("s".into()),
            failure: failure(),
        };
        for event in decide(&state, at, file).unwrap() {
            state = evolve(state, at, None, &event);
        }
        let (mut begun, mut ended) = (0_u32, 0_u32);
        // A worker that died comes back under another name.
        let mut lives = [0_u32; 4];
        for (act, who, wait_ms) in acts {
            at = at.plus_ms(wait_ms % (1 + WEEK_MS / 400));
            if matches!(act, Act::Die) {
                lives[who] += 1;
                continue;
            }
            let name = format!("w{who}.{}", lives[who]);
            let holder = now_held_by(&state, at);
            let Some(command) = command_of(act, &name, leases[who]) else { continue };
            let Ok(events) = decide(&state, at, command) else { continue };
            // What only a holder does, only the holder did.
            if matches!(act, Act::Heartbeat | Act::Propose | Act::Judge { .. } | Act::Release | Act::GiveUp) {
                prop_assert_eq!(holder.as_deref(), Some(name.as_str()));
            }
            if matches!(act, Act::Claim) {
                prop_assert_eq!(holder, None, "claimed from under somebody");
            }
            for event in &events {
                match event {
                    Event::PromotionStarted { .. } => {
                        prop_assert_eq!(begun, ended, "promoted twice at once");
                        begun += 1;
                    }
                    Event::FixApplied { .. } | Event::PromotionUndone { .. } => ended += 1,
                    _ => {}
                }
                state = evolve(state, at, None, event);
            }
            prop_assert!(ended <= begun && begun - ended <= 1);
            prop_assert_eq!(begun > ended, state.status == MissionStatus::Promoting);
        }
        // Everybody goes home: it is closed, or waits for a named thing that brings it to its end.
        let mut steps = 0;
        while !matches!(state.status, MissionStatus::Closed | MissionStatus::Quarantined) {
            steps += 1;
            prop_assert!(steps < 60, "{:?} leads nowhere", state.status);
            at = at.plus_ms(LEASE_MS_MAX);
            let act = match state.status {
                MissionStatus::AwaitingApproval => Act::Approve,
                MissionStatus::Verified if state.lease.is_none() => Act::Promote,
                MissionStatus::Promoting => Act::Finish { well: true },
                MissionStatus::Applied => Act::Close,
                _ => Act::Claim,
            };
            let command = command_of(act, "last", 1).unwrap();
            let events = decide(&state, at, command);
            prop_assert!(events.is_ok(), "{:?} waits for nothing: {events:?}", state.status);
            for event in events.unwrap() {
                state = evolve(state, at, None, &event);
            }
        }
    }
}
