//! What is said about a running system, told step by step: readiness, crash loops, and how far a failure reaches.

use super::*;
use crate::domain::event::ServiceOrder;
use crate::domain::health::{Health, HealthStatus};
use crate::domain::ids::BootId;

pub(super) const SECOND: i64 = 1_000_000;

/// A boot in mode layered whose layers have the given services; a layer comes after the one before.
pub(super) struct Told {
    pub engine: Engine,
}

pub(super) fn service(name: &str) -> ServicePlan {
    ServicePlan {
        name: name.into(),
        oneshot: false,
        restart: RestartPolicy::OnFailure,
        restarts_max: 3,
        restart_window_ms: 300_000,
        restart_backoff_ms: 100,
        restart_backoff_ms_max: 10_000,
    }
}

pub(super) fn rule(name: &str) -> ServiceRules {
    ServiceRules {
        service: name.into(),
        probed: false,
        min_uptime_ms: 1_000,
        stable_after_ms: 10_000,
        reset_after_ms: 300_000,
        success: vec![],
        on_failure: OnFailure::Nothing,
    }
}

pub(super) fn layer(name: &str, after: &[&str], services: Vec<ServicePlan>) -> LayerPlan {
    LayerPlan {
        name: name.into(),
        critical: true,
        after: after.iter().map(|s| (*s).to_owned()).collect(),
        services,
    }
}

impl Told {
    pub(super) fn begin(layers: Vec<LayerPlan>, change: impl Fn(&mut ServiceRules)) -> Self {
        Self::with(Mode::Layered, layers, change, vec![], &[])
    }

    pub(super) fn with(
        mode: Mode,
        layers: Vec<LayerPlan>,
        change: impl Fn(&mut ServiceRules),
        terms: Vec<ServiceTerms>,
        needing: &[&str],
    ) -> Self {
        let mut engine = Engine {
            state: BootState::default(),
            log: vec![],
            clock: 0,
            missions: vec![],
            dice: Dice(vec![], 0),
        };
        let services = layers.iter().flat_map(|l| &l.services);
        let rules = services.map(|s| {
            let mut rules = rule(&s.name);
            change(&mut rules);
            rules
        });
        engine
            .command(BootCommand::Start {
                app: "app".into(),
                rules: rules.collect(),
                terms,
                needing: needing.iter().map(|name| (*name).to_owned()).collect(),
                plan: BootPlan {
                    checks: vec![],
                    layers,
                    ..plan(mode, 0, false)
                },
                supervisor: process(1),
                fingerprint: Box::default(),
            })
            .unwrap();
        let mut told = Self { engine };
        told.start();
        told
    }

    /// Starts what may start now, restarts included.
    pub(super) fn start(&mut self) {
        for _ in 0..20 {
            let steps = next(&self.engine.state);
            let step = steps.into_iter().find(|s| {
                matches!(
                    s,
                    Step::StartLayer { .. } | Step::StartService { .. } | Step::Settle
                )
            });
            let Some(step) = step else { return };
            let before = self.engine.clock;
            // A step takes no time here, but for a wait that it names.
            self.engine.clock -= 1_000;
            self.engine.perform(step).unwrap();
            self.engine.clock = self.engine.clock.max(before);
        }
    }

    /// So much time passes; whoever is due is told.
    pub(super) fn pass(&mut self, us: i64) {
        self.engine.clock += us;
        let _ = self.engine.command(BootCommand::TimePassed);
        self.start();
    }

    pub(super) fn end(&mut self, service: &str, exit: ExitKind) {
        self.engine
            .command(BootCommand::ServiceExited {
                service: service.into(),
                exit,
                reason: None,
                output: "Traceback\nValueError: no such key\nbye".into(),
            })
            .unwrap();
        self.start();
    }

    pub(super) fn status(&self, service: &str) -> ServiceStatus {
        self.engine.state.service(service).unwrap().1.status
    }

    pub(super) fn layer(&self, name: &str) -> LayerStatus {
        self.engine.state.layer(name).unwrap().status
    }

    pub(super) fn health(&self) -> Health {
        let boot = BootId(Uuid::from_u128(1));
        Health::of(boot, &self.engine.state, Some(true), 0, 0)
    }
}

/// Two layers, `a` and `b` in the first and `c` in the second, up and stable.
pub(super) fn up() -> Told {
    let layers = vec![
        layer("one", &[], vec![service("a"), service("b")]),
        layer("two", &["one"], vec![service("c")]),
    ];
    let mut told = Told::begin(layers, |_| {});
    told.pass(SECOND);
    told.pass(SECOND);
    told.pass(11 * SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
    told
}

#[test]
fn without_a_probe_ready_is_earned_by_uptime_and_healthy_by_being_stable() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    assert_eq!(told.status("a"), ServiceStatus::Starting);
    let ready = BootCommand::ServiceReady {
        service: "a".into(),
    };
    assert!(
        told.engine.command(ready).is_err(),
        "not after so short a time"
    );
    told.pass(SECOND / 2);
    assert_eq!(told.engine.state.phase, Phase::Starting);
    told.pass(SECOND);
    assert_eq!(told.engine.state.phase, Phase::Running);
    let health = told.health();
    assert_eq!(health.status, HealthStatus::Starting);
    assert!(health.stable_at.is_some());
    assert_eq!(health.layers[0].services[0].status, "up (not probed)");
    assert!(!told.engine.state.is_stable());
    told.pass(11 * SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
    assert!(told.engine.state.is_stable());
}

#[test]
fn a_service_that_dies_at_once_is_never_ready_and_ends_the_boot() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    for _ in 0..4 {
        told.end("a", ExitKind::Code(1));
    }
    assert_eq!(told.engine.state.up_at, None);
    assert_eq!(told.engine.state.outcome, Some(Outcome::Failed));
    let never = |(_, _, event): &(At, Option<MissionId>, Event)| {
        !matches!(event, Event::ServiceReady { .. } | Event::BootUp { .. })
    };
    assert!(told.engine.log.iter().all(never));
}

#[test]
fn a_service_that_ends_well_while_its_layer_starts_settles_it() {
    let services = vec![service("a"), service("b")];
    let mut told = Told::begin(vec![layer("one", &[], services)], |_| {});
    told.end("a", ExitKind::Code(0));
    let failure = told
        .engine
        .log
        .iter()
        .find_map(|(_, _, event)| match event {
            Event::ServiceFailed { error, .. } => Some(error.clone()),
            _ => None,
        });
    let error = failure.unwrap();
    assert!(
        error.starts_with("ended with exit status 0 before it was ready"),
        "{error}"
    );
    assert!(error.contains("oneshot"), "{error}");
    // Declared, it is done.
    let services = vec![service("a"), service("b")];
    let mut told = Told::begin(vec![layer("one", &[], services)], |rules| {
        rules.success = vec![0, 42];
    });
    told.end("a", ExitKind::Code(42));
    assert_eq!(told.status("a"), ServiceStatus::Done);
    told.pass(2 * SECOND);
    assert_eq!(told.layer("one"), LayerStatus::Up);
}

#[test]
fn slow_crashes_are_counted_until_it_was_ready_for_long_enough() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    for round in 1..=3 {
        told.pass(100 * SECOND);
        assert_eq!(told.status("a"), ServiceStatus::Ready);
        told.end("a", ExitKind::Code(3));
        told.pass(20 * SECOND);
        let health = told.health();
        assert_eq!(health.status, HealthStatus::Degraded);
        assert_eq!(health.layers[0].services[0].restarts, round);
        let reason = health.reason.unwrap();
        assert!(reason.contains("exit status 3"), "{reason}");
    }
    told.pass(100 * SECOND);
    told.end("a", ExitKind::Code(3));
    assert_eq!(told.status("a"), ServiceStatus::Failed);
    assert_eq!(told.health().status, HealthStatus::Unhealthy);
    let said = told.health().layers[0].reason.clone().unwrap();
    assert!(said.contains("ValueError: no such key"), "{said}");

    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    for _ in 0..10 {
        told.pass(2 * SECOND);
        told.end("a", ExitKind::Code(3));
        told.pass(2 * SECOND);
        told.pass(301 * SECOND);
        assert_eq!(told.health().status, HealthStatus::Healthy);
    }
}

#[test]
fn unlimited_restarts_are_never_given_up() {
    let mut plan = service("a");
    plan.restarts_max = u32::MAX;
    let mut told = Told::begin(vec![layer("one", &[], vec![plan])], |_| {});
    for _ in 0..200 {
        told.end("a", ExitKind::Code(1));
    }
    assert_ne!(told.status("a"), ServiceStatus::Failed);
    assert_eq!(told.engine.state.service("a").unwrap().1.ends, 200);
}

/// Brings two layers up, then lets `b` of the first fail for good.
fn failing(on_failure: OnFailure) -> Told {
    let mut b = service("b");
    b.restart = RestartPolicy::Never;
    let layers = vec![
        layer("one", &[], vec![service("a"), b]),
        layer("two", &["one"], vec![service("c")]),
    ];
    let mut told = Told::begin(layers, |rules| rules.on_failure = on_failure);
    told.pass(2 * SECOND);
    told.pass(2 * SECOND);
    assert_eq!(told.engine.state.phase, Phase::Running);
    told.end("b", ExitKind::Code(1));
    told
}

#[test]
fn once_up_a_failure_stays_where_it_is_and_only_what_failed_starts_again() {
    let mut told = failing(OnFailure::Nothing);
    assert_eq!(told.engine.state.phase, Phase::Running);
    assert_eq!(told.status("a"), ServiceStatus::Ready);
    assert_eq!(told.status("c"), ServiceStatus::Ready);
    assert_eq!(told.health().status, HealthStatus::Unhealthy);
    assert!(!told.engine.state.missions.is_empty(), "a mission is filed");
    let stops = |s: &Step| matches!(s, Step::StopService { .. });
    assert!(!next(&told.engine.state).iter().any(stops));
    // A sibling that ends is restarted as ever.
    told.end("a", ExitKind::Code(1));
    assert_eq!(told.status("a"), ServiceStatus::Starting);
    told.pass(2 * SECOND);
    let layer = "one".to_owned();
    told.engine
        .command(BootCommand::StartLayer { layer })
        .unwrap();
    assert_eq!(told.status("a"), ServiceStatus::Ready);
    told.start();
    assert_eq!(told.status("b"), ServiceStatus::Starting);
    told.pass(2 * SECOND);
    assert_eq!(told.layer("one"), LayerStatus::Up);
}

#[test]
fn dependents_are_stopped_if_asked_and_start_when_it_recovers() {
    let mut told = failing(OnFailure::Dependents);
    assert_eq!(told.status("a"), ServiceStatus::Ready);
    assert_eq!(told.layer("two"), LayerStatus::Skipped);
    let stop = Step::StopService {
        service: "c".into(),
    };
    assert!(next(&told.engine.state).contains(&stop));
    told.end("c", ExitKind::Signal(15));
    assert_eq!(told.status("c"), ServiceStatus::Stopped);
    let layer = "one".to_owned();
    told.engine
        .command(BootCommand::StartLayer { layer })
        .unwrap();
    told.start();
    told.pass(2 * SECOND);
    told.pass(2 * SECOND);
    assert_eq!(told.layer("two"), LayerStatus::Up);
    assert_eq!(told.status("c"), ServiceStatus::Ready);
}

#[test]
fn the_whole_boot_falls_with_it_if_asked() {
    let told = failing(OnFailure::Boot);
    assert_eq!(told.engine.state.phase, Phase::Stopping);
}

#[test]
fn lost_readiness_is_said_at_once_and_its_return_too() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |rules| {
        rules.probed = true;
    });
    let ready = BootCommand::ServiceReady {
        service: "a".into(),
    };
    told.engine.command(ready.clone()).unwrap();
    told.pass(11 * SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
    let unready = BootCommand::ServiceUnready {
        service: "a".into(),
        reason: "status 503".into(),
    };
    told.engine.command(unready.clone()).unwrap();
    let health = told.health();
    assert_eq!(health.status, HealthStatus::Degraded);
    assert!(health.reason.unwrap().contains("status 503"));
    assert!(told.engine.command(unready).is_err(), "once is enough");
    told.engine.command(ready).unwrap();
    assert_eq!(told.health().status, HealthStatus::Starting);
    told.pass(11 * SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
}

fn met(told: &mut Told) -> MissionId {
    let id = MissionId(Uuid::from_u128(9));
    let mut finding = Finding::new("rehearsal.failed", Severity::Warning, "one", "no engine");
    finding.layer = Some("one".into());
    let filed = Event::MissionFiled {
        mission: id,
        slug: "m".into(),
        signature: crate::domain::signature::sign_finding(&finding),
        failure: crate::domain::mission::Failure::of_finding(CheckName::Rehearsal, &finding),
    };
    told.engine.record(Some(id), filed);
    id
}

#[test]
fn a_worker_of_the_boot_that_comes_too_late_does_not_hide_what_somebody_else_applied() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    told.pass(2 * SECOND);
    let id = met(&mut told);
    let applied = Event::FixApplied {
        fixer: "ann".into(),
        summary: "bring the engine".into(),
    };
    told.engine.record(Some(id), applied);
    for outcome in [HealOutcome::HeldElsewhere, HealOutcome::Rejected] {
        told.engine
            .command(BootCommand::EndHeal {
                mission: id,
                outcome,
                reason: "somebody else has worked on it".into(),
            })
            .unwrap();
        let mission = &told.engine.state.missions[0];
        assert_eq!(mission.outcome, Some(HealOutcome::Applied), "{outcome:?}");
        assert_eq!(mission.reason, "bring the engine");
    }
}

#[test]
fn an_applied_mission_closes_when_its_layer_is_stable_and_not_when_a_check_passes() {
    use crate::domain::mission::{MissionState, MissionStatus};
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    let id = met(&mut told);
    let (signature, failure) = match &told.engine.log.last().unwrap().2 {
        Event::MissionFiled {
            signature, failure, ..
        } => (signature.clone(), failure.clone()),
        other => panic!("{other:?}"),
    };
    let report = CheckReport {
        name: CheckName::Rehearsal,
        status: CheckStatus::Healthy,
        duration_ms: 1,
        summary: String::new(),
        findings: vec![],
        measured: Measured::Nothing,
    };
    let mission = MissionState {
        id: Some(id),
        signature: Some(signature),
        failure: Some(failure),
        status: MissionStatus::Applied,
        // The check is newer than the fix, and the layer older.
        updated_at: At(i64::MAX),
        ..MissionState::default()
    };
    let closes = |told: &Told| {
        let mut state = told.engine.state.clone();
        state.reports.insert(report.name, report.clone());
        closable(&state, &[], &mission)
    };
    assert_eq!(closes(&told), None);
    told.pass(2 * SECOND);
    assert_eq!(told.layer("one"), LayerStatus::Up);
    assert_eq!(closes(&told), None, "up, and not stable yet");
    told.pass(11 * SECOND);
    let said = closes(&told).expect("closed");
    assert!(said.ends_with("layer one is up and stable"), "{said}");
}

#[test]
fn a_mission_of_a_declared_check_closes_when_that_check_ran_and_no_other() {
    use crate::domain::code::Code;
    use crate::domain::finding::{DeclaredRun, Finding};
    use crate::domain::mission::{Failure, MissionState, MissionStatus};
    use crate::domain::signature::sign_finding;
    let told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    let code = Code::of_declared("prisma", "drift");
    let finding = Finding::new(
        code,
        crate::domain::finding::Severity::Critical,
        "users",
        "differs",
    );
    let mission = MissionState {
        signature: Some(sign_finding(&finding)),
        failure: Some(Failure::of_finding(CheckName::Declared, &finding)),
        status: MissionStatus::Filed,
        ..MissionState::default()
    };
    for (name, status, closes) in [
        ("prisma", CheckStatus::Healthy, true),
        ("prisma", CheckStatus::Skipped, false),
        ("prisma", CheckStatus::Error, false),
        ("live", CheckStatus::Healthy, false),
    ] {
        let mut state = told.engine.state.clone();
        let run = DeclaredRun {
            name: name.to_owned(),
            status,
            duration_ms: 1,
            results: 1,
            summary: String::new(),
        };
        let report = CheckReport {
            name: CheckName::Declared,
            // Another check that failed hides nothing of this one.
            status: CheckStatus::Error,
            duration_ms: 1,
            summary: String::new(),
            findings: vec![],
            measured: Measured::Declared { checks: vec![run] },
        };
        state.reports.insert(report.name, report);
        assert_eq!(
            closable(&state, &[], &mission).is_some(),
            closes,
            "{name} {status:?}"
        );
    }
}

#[test]
fn what_ended_by_its_own_policy_stays_so_when_its_layer_starts_again_and_settles_it() {
    let mut told = failing(OnFailure::Nothing);
    told.end("a", ExitKind::Code(0));
    assert_eq!(told.status("a"), ServiceStatus::Stopped);
    let layer = "one".to_owned();
    told.engine
        .command(BootCommand::StartLayer { layer })
        .unwrap();
    told.start();
    assert_eq!(told.status("a"), ServiceStatus::Stopped);
    told.pass(2 * SECOND);
    assert_eq!(told.status("b"), ServiceStatus::Ready);
    assert_eq!(told.layer("one"), LayerStatus::Up);
}

#[test]
fn a_sibling_may_end_by_its_own_policy_while_a_person_restarts_a_service() {
    let services = vec![service("a"), service("b")];
    let mut told = Told::begin(vec![layer("one", &[], services)], |_| {});
    told.pass(2 * SECOND);
    let restart = BootCommand::Steer {
        service: "b".into(),
        order: ServiceOrder::Restart,
        by: "a person".into(),
    };
    told.engine.command(restart).unwrap();
    told.end("b", ExitKind::Signal(15));
    assert_eq!(told.layer("one"), LayerStatus::Starting);
    told.end("a", ExitKind::Code(0));
    assert_eq!(told.status("a"), ServiceStatus::Stopped, "it did not fail");
    told.pass(2 * SECOND);
    assert_eq!(told.layer("one"), LayerStatus::Up);
}

#[test]
fn a_crash_loop_while_the_system_starts_is_said_and_writes_a_bounded_log() {
    let mut plan = service("a");
    plan.restarts_max = u32::MAX;
    (plan.restart_backoff_ms, plan.restart_backoff_ms_max) = (10, 100);
    let mut told = Told::begin(vec![layer("one", &[], vec![plan])], |_| {});
    assert_eq!(told.health().reason, None);
    let begun = told.engine.clock;
    let mut ends = 0_usize;
    while told.engine.clock < begun + 3_600 * SECOND {
        told.end("a", ExitKind::Code(3));
        ends += 1;
    }
    assert!((300..600).contains(&ends), "{ends} in an hour");
    assert!(told.engine.log.len() < 3 * ends + 20);
    let health = told.health();
    assert_eq!(health.status, HealthStatus::Starting);
    let reason = health.reason.unwrap();
    assert!(reason.contains("was restarted"), "{reason}");
    assert!(reason.contains("exit status 3"), "{reason}");
}

#[test]
fn what_we_ended_for_its_liveness_did_not_end_unasked() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    told.pass(2 * SECOND);
    let ended = BootCommand::ServiceExited {
        service: "a".into(),
        exit: ExitKind::Signal(15),
        reason: Some("liveness failed 3 times in a row".into()),
        output: String::new(),
    };
    told.engine.command(ended).unwrap();
    assert_eq!(told.status("a"), ServiceStatus::Restarting);
    let unasked = |(_, _, event): &(At, Option<MissionId>, Event)| {
        matches!(
            event,
            Event::ServiceExited {
                expected: false,
                ..
            }
        )
    };
    assert!(!told.engine.log.iter().any(unasked));
    assert_eq!(told.health().status, HealthStatus::Degraded);
}

#[test]
fn what_the_supervisor_knows_beside_its_log_makes_it_degraded() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    told.pass(2 * SECOND);
    told.pass(11 * SECOND);
    assert_eq!(
        told.health().with_trouble(None).status,
        HealthStatus::Healthy
    );
    let health = told.health().with_trouble(Some(".env cannot be read"));
    assert_eq!(health.status, HealthStatus::Degraded);
    assert_eq!(health.reason.as_deref(), Some(".env cannot be read"));
}

#[test]
fn a_supervisor_that_does_not_answer_is_never_called_well() {
    let silent = |told: &Told| told.health().unwatched("nothing within 8 s");
    let health = silent(&up());
    assert_eq!(health.status, HealthStatus::Unhealthy);
    let reason = health.reason.unwrap();
    assert!(
        reason.contains("nothing within 8 s") && reason.contains("said HEALTHY last"),
        "{reason}"
    );
    let starting = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    assert_eq!(silent(&starting).status, HealthStatus::Unhealthy);
    let mut over = up();
    let by = "me".to_owned();
    let stop = BootCommand::RequestStop { by };
    over.engine.command(stop).unwrap();
    assert_eq!(silent(&over).status, HealthStatus::Down);
}

#[test]
fn what_makes_a_running_system_degraded_is_said() {
    let mut told = up();
    let optional = &mut told.engine.state.layers[1];
    optional.critical = false;
    optional.status = LayerStatus::Skipped;
    optional.reason = "layer one is not up".into();
    let health = told.health();
    let said = (health.status, health.reason.as_deref());
    let wanted = "layer two is skipped: layer one is not up";
    assert_eq!(said, (HealthStatus::Degraded, Some(wanted)));
    let mut told = up();
    let mut found = report(CheckName::Schema, &mut Dice(vec![0], 0), 0);
    found.summary = "1 table is missing".into();
    told.engine.state.reports.insert(CheckName::Schema, found);
    let health = told.health();
    let wanted = "the schema check found what would stop a boot: 1 table is missing";
    let said = (health.status, health.reason.as_deref());
    assert_eq!(said, (HealthStatus::Degraded, Some(wanted)));
}

#[test]
fn a_clock_that_is_set_proves_nothing_sooner_and_lets_nobody_wait_longer() {
    const HOUR: i64 = 3_600 * SECOND;
    for by in [HOUR, -HOUR] {
        let set = |told: &mut Told| {
            let from = At(told.engine.clock);
            told.engine.clock += by;
            let to = At(told.engine.clock);
            let set = BootCommand::SetClock { from, to };
            told.engine.command(set).unwrap();
        };
        let mut plan = service("a");
        plan.restart_backoff_ms = 5_000;
        let mut told = Told::begin(vec![layer("one", &[], vec![plan])], |_| {});
        told.pass(SECOND / 2);
        set(&mut told);
        told.pass(SECOND / 4);
        assert_eq!(told.status("a"), ServiceStatus::Starting, "{by}");
        told.pass(SECOND / 2);
        assert_eq!(told.status("a"), ServiceStatus::Ready, "{by}");
        told.pass(5 * SECOND);
        set(&mut told);
        told.pass(4 * SECOND);
        assert_eq!(told.health().status, HealthStatus::Starting, "{by}");
        told.pass(2 * SECOND);
        assert_eq!(told.health().status, HealthStatus::Healthy, "{by}");
    }
}
