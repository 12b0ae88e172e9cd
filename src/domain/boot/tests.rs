//! The boot machine driven by an engine that does everything it is told, with random outcomes.

use std::collections::HashSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::event::{
    BootPlan, CheckPhase, Event, ExitKind, HealOutcome, LayerPlan, Mode, Need, NeedCondition,
    OnEnd, OnFailure, ProcessRef, RestartPolicy, ServicePlan, ServiceRules, ServiceTerms,
};
use crate::domain::finding::{
    CheckName, CheckReport, CheckStatus, Finding, LayerRehearsal, Measured, RehearsalOutcome,
    Severity,
};
use crate::domain::ids::{At, MissionId};

/// A source of choices: the bytes that proptest made, then zeros.
struct Dice(Vec<u8>, usize);

impl Dice {
    fn roll(&mut self, sides: u8) -> u8 {
        let byte = self.0.get(self.1).copied().unwrap_or(0);
        self.1 += 1;
        byte % sides
    }
}

fn plan(mode: Mode, layers: usize, validate: bool) -> BootPlan {
    let layer = |i: usize| LayerPlan {
        name: format!("layer{i}"),
        critical: i % 3 != 2,
        after: if i == 0 {
            vec![]
        } else {
            vec![format!("layer{}", i - 1)]
        },
        services: (0..=i % 3)
            .map(|n| ServicePlan {
                name: format!("service{i}-{n}"),
                oneshot: n == 1,
                restart: [
                    RestartPolicy::OnFailure,
                    RestartPolicy::Never,
                    RestartPolicy::Always,
                ][(i + n) % 3],
                restarts_max: 2,
                restart_window_ms: 1_000_000_000,
                restart_backoff_ms: 10,
                restart_backoff_ms_max: 40,
            })
            .collect(),
    };
    BootPlan {
        mode,
        checks: if mode == Mode::Fast {
            vec![]
        } else {
            CheckName::ALL.to_vec()
        },
        layers: (0..layers).map(layer).collect(),
        attempts_max: 4,
        backoff_ms: 100,
        backoff_ms_max: 1_000,
        breaker_max: 3,
        validate_every_ms: validate.then_some(1_000),
    }
}

/// Every kind of rule: probed or not, each way to fail.
fn rules(plan: &BootPlan) -> Vec<ServiceRules> {
    let services = plan.layers.iter().flat_map(|layer| &layer.services);
    services
        .enumerate()
        .map(|(i, service)| ServiceRules {
            service: service.name.clone(),
            probed: i % 2 == 0,
            min_uptime_ms: 1_000,
            stable_after_ms: 2_000,
            reset_after_ms: 5_000,
            success: if i % 5 == 4 { vec![0] } else { vec![] },
            on_failure: [OnFailure::Nothing, OnFailure::Dependents, OnFailure::Boot][i % 3],
        })
        .collect()
}

/// Every kind of need on the service before it in the plan; one that is disabled, whom nobody needs, and one
/// whose end is the boot's.
fn terms(plan: &BootPlan) -> Vec<ServiceTerms> {
    let names: Vec<&String> = plan
        .layers
        .iter()
        .flat_map(|layer| &layer.services)
        .map(|service| &service.name)
        .collect();
    let conditions = [
        NeedCondition::Ready,
        NeedCondition::Started,
        NeedCondition::Completed,
        NeedCondition::Succeeded,
        NeedCondition::Logged,
    ];
    (0..names.len())
        .map(|i| ServiceTerms {
            service: names[i].clone(),
            disabled: i == 4,
            needs: (i > 0 && i != 5)
                .then(|| Need {
                    service: names[i - 1].clone(),
                    condition: conditions[i % 5],
                })
                .into_iter()
                .collect(),
            on_end: if i == 7 { OnEnd::Stop } else { OnEnd::Nothing },
            jitter_percent: 50,
        })
        .collect()
}

fn report(check: CheckName, dice: &mut Dice, layers: usize) -> CheckReport {
    let mut findings = vec![];
    let mut measured = Measured::Nothing;
    match dice.roll(8) {
        0 => findings.push(Finding::new(
            format!("{check}.broken"),
            Severity::Critical,
            format!("thing{}", dice.roll(3)),
            "broken",
        )),
        1 => findings.push(Finding::new(
            format!("{check}.odd"),
            Severity::Warning,
            "thing",
            "odd",
        )),
        2 if layers > 2 => {
            let mut finding = Finding::new(
                format!("{check}.import"),
                Severity::Warning,
                "layer2",
                "broken",
            );
            finding.layer = Some("layer2".into());
            findings.push(finding);
            measured = Measured::Rehearsal {
                layers_tested: 1,
                layers_passed: 0,
                issues: vec![],
                layers: vec![LayerRehearsal {
                    layer: "layer2".into(),
                    outcome: RehearsalOutcome::Failed,
                    duration_ms: 1,
                    seen: None,
                }],
                isolation: vec![],
            };
        }
        _ => {}
    }
    CheckReport {
        name: check,
        status: CheckStatus::of(&findings),
        duration_ms: 1,
        summary: String::new(),
        findings,
        measured,
    }
}

fn process(pid: u32) -> ProcessRef {
    ProcessRef {
        pid,
        start_ticks: u64::from(pid),
        host_boot: "host".into(),
    }
}

type Logged = (At, Option<MissionId>, Event);

/// Performs the steps of a boot until it ends or `steps_max` is reached.
struct Engine {
    state: BootState,
    log: Vec<Logged>,
    clock: i64,
    missions: Vec<(crate::domain::ids::Signature, MissionId)>,
    dice: Dice,
}

impl Engine {
    fn command(&mut self, command: BootCommand) -> Result<(), BootRefusal> {
        self.clock += 1_000;
        let context = Context {
            at: At(self.clock),
            random_per_mille: 500,
        };
        for event in decide(&self.state, context, command)? {
            self.record(None, event);
        }
        Ok(())
    }

    fn record(&mut self, mission: Option<MissionId>, event: Event) {
        let state = std::mem::take(&mut self.state);
        self.state = evolve(state, At(self.clock), mission, &event);
        self.log.push((At(self.clock), mission, event));
    }

    fn settle(&mut self) -> Result<(), BootRefusal> {
        let failures = open_failures(&self.state);
        let open = u32::try_from(failures.len()).unwrap();
        for signed in failures {
            let known = self
                .missions
                .iter()
                .find(|(s, _)| *s == signed.signature)
                .map(|m| m.1);
            let event = match known {
                Some(_) => Event::MissionRecurred {
                    slug: "m".into(),
                    signature: signed.signature,
                    failure: signed.failure,
                },
                None => {
                    let id = MissionId(Uuid::from_u128(self.missions.len() as u128 + 1));
                    self.missions.push((signed.signature.clone(), id));
                    Event::MissionFiled {
                        mission: id,
                        slug: "m".into(),
                        signature: signed.signature,
                        failure: signed.failure,
                    }
                }
            };
            self.record(known, event);
        }
        self.command(BootCommand::Settled { open, closed: 0 })
    }

    fn perform(&mut self, step: Step) -> Result<(), BootRefusal> {
        use BootCommand as C;
        match step {
            Step::RunCheck { check, phase } => {
                self.command(C::BeginCheck { check, phase })?;
                let layers = self.state.layers.len();
                let report = Box::new(report(check, &mut self.dice, layers));
                self.command(C::EndCheck { report, phase })
            }
            Step::Settle => self.settle(),
            Step::Heal { mission, .. } => {
                let outcome = match self.dice.roll(4) {
                    0 => HealOutcome::Rejected,
                    1 => HealOutcome::NeedsPerson,
                    2 => HealOutcome::AwaitingApproval,
                    _ => HealOutcome::Applied,
                };
                self.command(C::EndHeal {
                    mission,
                    outcome,
                    reason: String::new(),
                })
            }
            Step::WaitForRetry { until } => {
                self.clock = self.clock.max(until.0);
                self.command(C::BackoffElapsed)
            }
            Step::StartLayer { layer } => self.command(C::StartLayer { layer }),
            Step::StartService { service, at } => {
                self.clock = self.clock.max(at.map_or(0, |at| at.0));
                if self.dice.roll(10) == 9 {
                    return self.command(C::ServiceUnstartable {
                        service,
                        error: "no such program".into(),
                        output: String::new(),
                    });
                }
                let pid = u32::try_from(self.log.len()).unwrap() + 100;
                self.command(C::ServiceStarted {
                    service,
                    process: process(pid),
                })
            }
            Step::StopService { service } => self.command(C::ServiceExited {
                service,
                exit: ExitKind::Signal(15),
                reason: None,
                output: String::new(),
            }),
            Step::Look => self.command(C::BeginValidation),
            Step::WaitForServices { at } => {
                self.clock = self.clock.max(at.0);
                self.command(C::TimePassed)
            }
            Step::Validate { at } => {
                self.clock = self.clock.max(at.0);
                self.command(C::BeginValidation)
            }
        }
    }

    /// A service that is new, disabled, enabled or gone, in a layer that there is or in a new one.
    fn replan(&mut self) -> Result<(), BootRefusal> {
        let (name, layer) = [("new0", "layer0"), ("new1", "extra")][usize::from(self.dice.roll(2))];
        let mut change = if self.dice.roll(3) == 0 {
            PlanChange {
                removed: vec![name.to_owned()],
                ..PlanChange::default()
            }
        } else {
            PlanChange {
                layers: vec![supervision::layer(
                    layer,
                    &[],
                    vec![supervision::service(name)],
                )],
                rules: vec![supervision::rule(name)],
                terms: vec![ServiceTerms {
                    service: name.to_owned(),
                    disabled: self.dice.roll(3) == 0,
                    ..ServiceTerms::default()
                }],
                ..PlanChange::default()
            }
        };
        let mut checks = self.state.plan.checks.clone();
        if !checks.is_empty() && self.dice.roll(3) == 0 {
            match checks.pop_if(|check| *check == CheckName::Declared) {
                Some(_) => {}
                None => checks.push(CheckName::Declared),
            }
            let every_ms = (self.dice.roll(3) > 0).then_some(2_000);
            change.validation = Some(ValidationPlan { every_ms, checks });
        }
        let by = "a person".to_owned();
        self.command(BootCommand::ChangePlan { change, by })
    }

    /// Something that happens by itself: a service gets ready or exits.
    fn happen(&mut self) -> Result<(), BootRefusal> {
        if self.state.phase == Phase::Running && self.dice.roll(12) == 11 {
            return self.replan();
        }
        let alive: Vec<_> = self
            .state
            .layers
            .iter()
            .flat_map(|l| &l.services)
            .filter(|s| s.is_alive())
            .map(|s| (s.plan.name.clone(), s.plan.oneshot, s.status))
            .collect();
        if alive.is_empty() {
            return Ok(());
        }
        let pick = usize::from(self.dice.roll(u8::try_from(alive.len()).unwrap()));
        let (service, oneshot, status) = alive[pick].clone();
        if status == ServiceStatus::Starting && !oneshot && self.dice.roll(8) != 7 {
            return self.command(BootCommand::ServiceReady { service });
        }
        let exit = if self.dice.roll(3) == 2 {
            ExitKind::Code(1)
        } else {
            ExitKind::Code(0)
        };
        if status == ServiceStatus::Ready && self.dice.roll(4) != 3 {
            return match self.dice.roll(4) {
                3 => self.command(BootCommand::ServiceUnready {
                    service,
                    reason: "status 503".into(),
                }),
                _ => Ok(()),
            };
        }
        self.command(BootCommand::ServiceExited {
            service,
            exit,
            reason: None,
            output: String::new(),
        })
    }
}

fn run(mode: Mode, layers: usize, bytes: Vec<u8>, stop_after: usize) -> Engine {
    let mut engine = Engine {
        state: BootState::default(),
        log: vec![],
        clock: 1_000_000,
        missions: vec![],
        dice: Dice(bytes, 0),
    };
    engine
        .command(BootCommand::Start {
            app: "app".into(),
            plan: plan(mode, layers, true),
            rules: rules(&plan(mode, layers, true)),
            terms: terms(&plan(mode, layers, true)),
            needing: vec!["layer2".into(), "layer4".into()],
            supervisor: process(1),
            fingerprint: Box::default(),
        })
        .unwrap();
    // Far more than any boot of this size needs before it stands still or is stopped.
    for round in 0..2_000 {
        if engine.state.is_ended() {
            break;
        }
        if round == stop_after {
            let _ = engine.command(BootCommand::RequestStop { by: "test".into() });
        }
        let steps = next(&engine.state);
        let stops = engine.state.phase == Phase::Stopping;
        let waits = steps
            .iter()
            .all(|s| matches!(s, Step::Validate { .. } | Step::WaitForServices { .. }));
        let unique: HashSet<_> = steps.iter().collect();
        assert_eq!(unique.len(), steps.len(), "a step is named once: {steps:?}");
        if !steps.is_empty() && (!waits || engine.dice.roll(4) == 0) {
            let pick = usize::from(engine.dice.roll(u8::try_from(steps.len()).unwrap()));
            match engine.perform(steps[pick].clone()) {
                Ok(()) | Err(BootRefusal::Late { .. }) => {}
                Err(refusal) => panic!("{refusal} on {:?}", steps[pick]),
            }
        }
        if !stops {
            match engine.happen() {
                Ok(()) | Err(BootRefusal::Late { .. }) => {}
                Err(refusal) => panic!("{refusal}"),
            }
        }
    }
    engine
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Fast), Just(Mode::Layered), Just(Mode::Resilient)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_boot_ends_when_told_and_leaves_nothing_running(
        mode in any_mode(),
        layers in 0usize..6,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        stop_after in 0usize..300,
    ) {
        let engine = run(mode, layers, bytes, stop_after);
        prop_assert!(engine.state.is_ended(), "stuck in {:?}", engine.state.phase);
        prop_assert!(!engine.state.any_alive());
        prop_assert!(engine.state.outcome.is_some());
        prop_assert!(engine.state.attempt <= engine.state.plan.attempts_max);
        prop_assert!(next(&engine.state).is_empty());
    }

    #[test]
    fn the_log_alone_gives_the_same_state(
        mode in any_mode(),
        layers in 0usize..6,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let engine = run(mode, layers, bytes, 200);
        let replayed = engine.log.iter().fold(BootState::default(), |state, (at, mission, event)| {
            evolve(state, *at, *mission, event)
        });
        prop_assert_eq!(replayed, engine.state);
    }

    #[test]
    fn services_run_only_in_layers_that_began_in_order(
        layers in 1usize..6,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let engine = run(Mode::Resilient, layers, bytes, 150);
        let mut state = BootState::default();
        for (at, mission, event) in &engine.log {
            if let Event::LayerStarted { layer } = event {
                let after = state.layer(layer).unwrap().after.clone();
                for before in after {
                    prop_assert!(state.layer(&before).unwrap().is_settled());
                }
            }
            if let Event::ServiceStarted { service, .. } = event {
                let (layer, found) = state.service(service).unwrap();
                prop_assert!(layer.started_at.is_some());
                prop_assert!(!found.is_alive(), "{} started twice", service);
                let again = found.status == ServiceStatus::Restarting;
                let met = Roster::of(&state).has_met(found);
                prop_assert!(again || met, "{} started before its needs", service);
                prop_assert!(!found.terms.disabled);
            }
            state = evolve(state, *at, *mission, event);
        }
    }

    /// Whatever is refused in between.
    #[test]
    fn several_commands_lead_where_each_after_the_other_does(
        mode in any_mode(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        steps in 0_usize..30,
        picks in proptest::collection::vec(0_usize..8, 1..8),
    ) {
        let engine = run(mode, 3, bytes, steps);
        let context = Context { at: At(engine.clock + 1_000), random_per_mille: 500 };
        let commands: Vec<BootCommand> = picks
            .iter()
            .map(|pick| match pick {
                0 => BootCommand::BackoffElapsed,
                1 => BootCommand::BeginValidation,
                2 => BootCommand::RequestStop { by: "x".into() },
                3 => BootCommand::Interrupt { reason: "x".into(), reaped: 0 },
                4 => BootCommand::StartLayer { layer: "layer0".into() },
                5 => BootCommand::ServiceReady { service: "service0-0".into() },
                6 => BootCommand::ServiceReady { service: "nobody".into() },
                _ => BootCommand::Settled { open: 0, closed: 0 },
            })
            .collect();
        let (mut state, mut events, mut bug) = (engine.state.clone(), Vec::new(), None);
        for command in commands.clone() {
            match decide(&state, context, command) {
                Ok(more) => {
                    for event in more {
                        state = evolve(state, context.at, None, &event);
                        events.push(event);
                    }
                }
                Err(BootRefusal::Late { .. } | BootRefusal::Ended) => {}
                Err(refusal) => {
                    bug = Some(refusal.to_string());
                    break;
                }
            }
        }
        let (together, refusal) = decide_each(&engine.state, context, commands);
        prop_assert_eq!(together, events);
        prop_assert_eq!(refusal.map(|refusal| refusal.to_string()), bug);
    }

    #[test]
    fn the_end_is_final(
        mode in any_mode(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let engine = run(mode, 3, bytes, 20);
        let context = Context { at: At(i64::MAX), random_per_mille: 0 };
        let commands = [
            BootCommand::BackoffElapsed,
            BootCommand::BeginValidation,
            BootCommand::RequestStop { by: "x".into() },
            BootCommand::Interrupt { reason: "x".into(), reaped: 0 },
            BootCommand::StartLayer { layer: "layer0".into() },
            BootCommand::ServiceReady { service: "service0-0".into() },
            BootCommand::Settled { open: 0, closed: 0 },
        ];
        for command in commands {
            prop_assert!(decide(&engine.state, context, command).is_err());
        }
    }
}

/// Drives a resilient boot whose first two attempts find something that gets fixed.
#[test]
fn a_boot_heals_retries_and_runs() {
    let mut engine = Engine {
        state: BootState::default(),
        log: vec![],
        clock: 0,
        missions: vec![],
        dice: Dice(vec![], 0),
    };
    let mut plan = plan(Mode::Resilient, 1, false);
    plan.checks = vec![CheckName::Config];
    engine
        .command(BootCommand::Start {
            app: "app".into(),
            plan,
            rules: vec![],
            terms: vec![],
            needing: vec![],
            supervisor: process(1),
            fingerprint: Box::default(),
        })
        .unwrap();
    let check = CheckName::Config;
    let phase = CheckPhase::Preflight;
    let finish = |engine: &mut Engine, findings: Vec<Finding>| {
        engine
            .command(BootCommand::BeginCheck { check, phase })
            .unwrap();
        let report = Box::new(CheckReport {
            name: check,
            status: CheckStatus::of(&findings),
            duration_ms: 1,
            summary: String::new(),
            findings,
            measured: Measured::Nothing,
        });
        engine
            .command(BootCommand::EndCheck { report, phase })
            .unwrap();
        engine.settle().unwrap();
    };
    let missing = Finding::new(
        "config.missing",
        Severity::Critical,
        "PORT",
        "PORT is missing",
    );
    finish(&mut engine, vec![missing]);
    assert_eq!(engine.state.phase, Phase::Healing);
    let mission = engine.state.missions[0].id;
    assert_eq!(
        next(&engine.state),
        [Step::Heal {
            mission,
            attempt: 1
        }]
    );
    let outcome = HealOutcome::Applied;
    engine
        .command(BootCommand::EndHeal {
            mission,
            outcome,
            reason: String::new(),
        })
        .unwrap();
    assert!(matches!(engine.state.phase, Phase::BackingOff { .. }));
    engine.command(BootCommand::BackoffElapsed).unwrap();
    assert_eq!(engine.state.attempt, 2);
    finish(&mut engine, vec![]);
    assert_eq!(engine.state.phase, Phase::Starting);
    engine
        .command(BootCommand::StartLayer {
            layer: "layer0".into(),
        })
        .unwrap();
    let service = "service0-0".to_owned();
    engine
        .command(BootCommand::ServiceStarted {
            service: service.clone(),
            process: process(7),
        })
        .unwrap();
    engine
        .command(BootCommand::ServiceReady { service })
        .unwrap();
    assert_eq!(engine.state.phase, Phase::Running);
    assert!(!engine.state.degraded);
}

#[test]
fn a_failing_signature_trips_the_breaker() {
    let bytes: Vec<u8> = vec![];
    let mut engine = run(Mode::Resilient, 1, bytes, 0);
    engine.state = BootState::default();
    engine
        .command(BootCommand::Start {
            app: "app".into(),
            plan: BootPlan {
                attempts_max: 50,
                ..plan(Mode::Resilient, 1, false)
            },
            rules: vec![],
            terms: vec![],
            needing: vec![],
            supervisor: process(1),
            fingerprint: Box::default(),
        })
        .unwrap();
    for _ in 0..50 {
        if engine.state.is_ended() {
            break;
        }
        for step in next(&engine.state) {
            match step {
                Step::RunCheck { check, phase } => {
                    engine
                        .command(BootCommand::BeginCheck { check, phase })
                        .unwrap();
                    let findings = vec![Finding::new("x.y", Severity::Critical, "z", "no")];
                    let report = Box::new(CheckReport {
                        name: check,
                        status: CheckStatus::Critical,
                        duration_ms: 0,
                        summary: String::new(),
                        findings,
                        measured: Measured::Nothing,
                    });
                    engine
                        .command(BootCommand::EndCheck { report, phase })
                        .unwrap();
                }
                Step::Heal { mission, .. } => {
                    let outcome = HealOutcome::Applied;
                    engine
                        .command(BootCommand::EndHeal {
                            mission,
                            outcome,
                            reason: String::new(),
                        })
                        .unwrap();
                }
                step => engine.perform(step).unwrap(),
            }
        }
    }
    assert_eq!(engine.state.outcome, Some(Outcome::Failed));
    assert!(
        engine
            .log
            .iter()
            .any(|(_, _, e)| matches!(e, Event::BreakerTripped { seen: 3, .. }))
    );
    assert_eq!(engine.state.attempt, 3);
}

mod needs;
mod refresh;
mod replanning;
mod steering;
mod supervision;

#[test]
fn what_only_warns_is_asked_about_once_nobody_knows_what_blocks() {
    let mission = |n: u128, critical: bool, asks: bool| BootMission {
        id: MissionId(Uuid::from_u128(n)),
        slug: String::new(),
        signature: crate::domain::ids::Signature(n.to_string()),
        critical,
        layer: None,
        error: String::new(),
        remedy: None,
        attempt: 1,
        validation: 0,
        outcome: None,
        reason: String::new(),
        rolled_back: false,
        closed: false,
        layer_restarted: false,
        asks,
        found_live: false,
    };
    let mut state = BootState {
        attempt: 1,
        missions: vec![
            mission(1, true, false),
            mission(2, false, false),
            mission(3, false, true),
        ],
        ..BootState::default()
    };
    let next = |state: &BootState| state.to_heal().map(|m| m.id.0.as_u128());
    assert_eq!(next(&state), Some(1));
    for (outcome, expected) in [
        (HealOutcome::NeedsPerson, Some(3)),
        (HealOutcome::Rejected, Some(3)),
        (HealOutcome::AwaitingApproval, None),
    ] {
        state.missions[0].outcome = Some(outcome);
        assert_eq!(next(&state), expected, "{outcome:?}");
    }
    state.missions[0].outcome = Some(HealOutcome::NeedsPerson);
    state.missions[2].outcome = Some(HealOutcome::AwaitingApproval);
    assert_eq!(next(&state), None);

    // A database may differ in much: a boot asks about some of it.
    state.missions.truncate(1);
    for n in 10..20 {
        state.missions.push(mission(n, false, true));
    }
    let mut asked = 0;
    while let Some(found) = next(&state) {
        let mut missions = state.missions.iter_mut();
        let found = missions.find(|m| m.id.0.as_u128() == found).unwrap();
        found.outcome = Some(HealOutcome::AwaitingApproval);
        asked += 1;
    }
    assert_eq!(asked, 5);
}
