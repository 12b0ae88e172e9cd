//! The plan changes while the system runs: what is new starts, what is gone stops, and the rest goes on.

use super::supervision::{SECOND, Told, layer, rule, service, up};
use super::*;
use crate::domain::health::HealthStatus;

fn replan(told: &mut Told, layers: Vec<LayerPlan>, disabled: bool, removed: &[&str]) {
    let services = || layers.iter().flat_map(|l: &LayerPlan| &l.services);
    let rules = services().map(|s| rule(&s.name)).collect();
    let terms = services().map(|s| ServiceTerms {
        service: s.name.clone(),
        disabled,
        ..ServiceTerms::default()
    });
    let change = PlanChange {
        terms: terms.collect(),
        rules,
        needing: vec![],
        removed: removed.iter().map(|name| (*name).to_owned()).collect(),
        layers,
        validation: None,
    };
    let by = "a person (uid 1000)".to_owned();
    let command = BootCommand::ChangePlan { change, by };
    told.engine.command(command).unwrap();
    told.start();
    assert_replays(told);
}

/// The events alone lead to the same state, and so does the state as it is kept.
fn assert_replays(told: &Told) {
    let events = told.engine.log.iter();
    let replayed = events.fold(BootState::default(), |state, (at, mission, event)| {
        evolve(state, *at, *mission, event)
    });
    assert_eq!(replayed, told.engine.state);
    let kept = serde_json::to_string(&replayed).unwrap();
    assert_eq!(serde_json::from_str::<BootState>(&kept).unwrap(), replayed);
}

#[test]
fn what_is_new_starts_with_its_layer_and_nothing_else_is_touched() {
    let mut told = up();
    let pids = |told: &Told| {
        ["a", "b", "c"].map(|s| told.engine.state.service(s).unwrap().1.process.clone())
    };
    let before = pids(&told);
    replan(
        &mut told,
        vec![layer("one", &[], vec![service("d")])],
        false,
        &[],
    );
    assert_eq!(told.status("d"), ServiceStatus::Starting);
    assert_eq!(told.layer("one"), LayerStatus::Starting);
    assert_eq!(told.layer("two"), LayerStatus::Up);
    told.pass(SECOND);
    assert_eq!(told.layer("one"), LayerStatus::Up);
    let new = layer("three", &["two"], vec![service("e")]);
    replan(&mut told, vec![new], false, &[]);
    assert_eq!(told.status("e"), ServiceStatus::Starting);
    told.pass(SECOND);
    told.pass(11 * SECOND);
    assert_eq!(told.layer("three"), LayerStatus::Up);
    assert_eq!(told.health().status, HealthStatus::Healthy);
    assert_eq!(pids(&told), before);
    // It is supervised as the others are.
    told.end("d", ExitKind::Code(1));
    assert_eq!(told.status("d"), ServiceStatus::Starting);
    assert_eq!(told.engine.state.service("d").unwrap().1.ends, 1);
}

#[test]
fn what_is_gone_is_stopped_and_then_forgotten() {
    let mut told = up();
    replan(&mut told, vec![], false, &["b"]);
    let stop = Step::StopService {
        service: "b".into(),
    };
    assert!(next(&told.engine.state).contains(&stop));
    told.end("b", ExitKind::Code(1));
    assert!(told.engine.state.service("b").is_none());
    assert_eq!(told.layer("one"), LayerStatus::Up);
    told.pass(SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
    assert_replays(&told);
    // What had failed takes its layer's failure along.
    for _ in 0..4 {
        told.end("a", ExitKind::Code(1));
    }
    assert_eq!(told.layer("one"), LayerStatus::Failed);
    replan(&mut told, vec![], false, &["a"]);
    assert!(told.engine.state.service("a").is_none());
    assert_eq!(told.layer("one"), LayerStatus::Up);
}

#[test]
fn what_comes_back_before_it_has_ended_is_never_there_twice() {
    let mut told = up();
    replan(&mut told, vec![], false, &["b"]);
    let plan = vec![layer("one", &[], vec![service("b")])];
    replan(&mut told, plan, false, &[]);
    let start = |step: &Step| matches!(step, Step::StartService { .. });
    assert!(!next(&told.engine.state).iter().any(start));
    told.end("b", ExitKind::Signal(15));
    assert_eq!(told.status("b"), ServiceStatus::Starting);
    told.pass(SECOND);
    assert_eq!(told.layer("one"), LayerStatus::Up);
}

#[test]
fn a_layer_changes_its_place_and_what_still_stops_is_in_no_other_layer() {
    let mut told = up();
    let optional = LayerPlan {
        critical: false,
        ..layer("two", &[], vec![])
    };
    replan(&mut told, vec![optional], false, &[]);
    let two = told.engine.state.layer("two").unwrap();
    assert!(!two.critical && two.after.is_empty() && two.services.len() == 1);
    replan(&mut told, vec![], false, &["b"]);
    let change = PlanChange {
        layers: vec![layer("two", &[], vec![service("b")])],
        ..PlanChange::default()
    };
    let by = "me".to_owned();
    let command = BootCommand::ChangePlan { change, by };
    let refused = told.engine.command(command.clone());
    assert!(
        matches!(refused, Err(BootRefusal::Refused { .. })),
        "{refused:?}"
    );
    told.end("b", ExitKind::Signal(15));
    told.engine.command(command).unwrap();
    told.start();
    assert_eq!(told.status("b"), ServiceStatus::Starting);
}

#[test]
fn what_is_disabled_stops_and_starts_again_when_it_is_not() {
    let mut told = up();
    let plan = || vec![layer("one", &[], vec![service("a")])];
    replan(&mut told, plan(), true, &[]);
    told.end("a", ExitKind::Signal(15));
    assert_eq!(told.status("a"), ServiceStatus::Disabled);
    assert_eq!(told.layer("one"), LayerStatus::Up);
    assert_eq!(told.health().status, HealthStatus::Healthy);
    replan(&mut told, plan(), false, &[]);
    assert_eq!(told.status("a"), ServiceStatus::Starting);
    told.pass(SECOND);
    assert_eq!(told.layer("one"), LayerStatus::Up);
}

#[test]
fn a_policy_that_changes_holds_for_the_next_end() {
    let mut told = up();
    let never = ServicePlan {
        restart: RestartPolicy::Never,
        ..service("a")
    };
    replan(&mut told, vec![layer("one", &[], vec![never])], false, &[]);
    assert_eq!(told.status("a"), ServiceStatus::Ready);
    told.end("a", ExitKind::Code(1));
    assert_eq!(told.status("a"), ServiceStatus::Failed);
}

#[test]
fn a_plan_changes_only_while_the_system_runs() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    let change = PlanChange {
        removed: vec!["a".into()],
        ..PlanChange::default()
    };
    let by = "me".to_owned();
    let refused = told.engine.command(BootCommand::ChangePlan { change, by });
    assert!(
        matches!(refused, Err(BootRefusal::Refused { .. })),
        "{refused:?}"
    );
}

#[test]
fn the_running_system_is_validated_as_planned_from_then_on() {
    let mut told = up();
    let validate = |told: &mut Told, every_ms, checks: &[CheckName]| {
        let checks = checks.to_vec();
        let change = PlanChange {
            validation: Some(ValidationPlan { every_ms, checks }),
            ..PlanChange::default()
        };
        let by = "me".to_owned();
        told.engine
            .command(BootCommand::ChangePlan { change, by })
            .unwrap();
        assert_replays(told);
        At(told.engine.clock)
    };
    let phase = CheckPhase::Validation;
    let (config, declared) = (CheckName::Config, CheckName::Declared);
    let at = validate(&mut told, Some(1_000), &[config]);
    let due = Some(at.plus_ms(1_000));
    assert_eq!(told.engine.state.validation_due, due);
    told.engine.perform(Step::Validate { at }).unwrap();
    let check = Step::RunCheck {
        check: config,
        phase,
    };
    assert!(next(&told.engine.state).contains(&check));
    // It is asked for while the others are at work, and is gone before it has ended.
    validate(&mut told, Some(1_000), &[config, declared]);
    told.engine.perform(check).unwrap();
    assert!(told.engine.state.validating);
    let check = declared;
    let begin = BootCommand::BeginCheck { check, phase };
    told.engine.command(begin).unwrap();
    validate(&mut told, Some(1_000), &[config]);
    assert!(!told.engine.state.validating);
    let report = Box::new(report(declared, &mut Dice(vec![7], 0), 0));
    let late = told.engine.command(BootCommand::EndCheck { report, phase });
    assert!(matches!(late, Err(BootRefusal::Late { .. })), "{late:?}");
    // What a check said that is gone blocks nothing; the moment stays if only the checks are others.
    assert!(told.engine.state.reports[&config].status.blocks());
    let due = told.engine.state.validation_due;
    validate(&mut told, Some(1_000), &[declared]);
    assert!(told.engine.state.reports.is_empty());
    assert_eq!(told.engine.state.validation_due, due);
    validate(&mut told, None, &[declared]);
    assert_eq!(told.engine.state.validation_due, None);
}
