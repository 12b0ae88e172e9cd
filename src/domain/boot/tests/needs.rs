//! Needs between services, what follows an end, mode fast: the rows of the cases, on the pure machine.

use super::supervision::{SECOND, Told, layer, service};
use super::*;
use crate::domain::event::ServiceOrder;
use crate::domain::health::HealthStatus;

fn need(service: &str, condition: NeedCondition) -> Need {
    Need {
        service: service.into(),
        condition,
    }
}

fn terms(service: &str, needs: Vec<Need>) -> ServiceTerms {
    ServiceTerms {
        service: service.into(),
        needs,
        ..ServiceTerms::default()
    }
}

/// `who` needs `whom`, one pair each.
pub(super) fn ready(pairs: &[(&str, &[&str])]) -> Vec<ServiceTerms> {
    let needs = |whom: &[&str]| {
        let whom = whom.iter();
        whom.map(|name| need(name, NeedCondition::Ready)).collect()
    };
    pairs
        .iter()
        .map(|(who, whom)| terms(who, needs(whom)))
        .collect()
}

pub(super) fn oneshot(name: &str) -> ServicePlan {
    let mut plan = service(name);
    plan.oneshot = true;
    plan.restart = RestartPolicy::Never;
    plan
}

/// One optional layer of these services.
fn told(services: Vec<ServicePlan>, terms: Vec<ServiceTerms>) -> Told {
    let mut all = layer("all", &[], services);
    all.critical = false;
    Told::with(Mode::Layered, vec![all], |_| {}, terms, &[])
}

fn starts_of(told: &Told, name: &str) -> usize {
    let log = told.engine.log.iter();
    log.filter(|(_, _, e)| matches!(e, Event::ServiceStarted { service, .. } if service == name))
        .count()
}

fn said(told: &Told, name: &str) -> String {
    told.engine.state.service(name).unwrap().1.error.clone()
}

fn stop_steps(told: &Told) -> Vec<String> {
    let stops = next(&told.engine.state).into_iter();
    stops
        .filter_map(|step| match step {
            Step::StopService { service } => Some(service),
            _ => None,
        })
        .collect()
}

#[test]
fn a_service_waits_for_what_it_needs_and_says_so() {
    let mut told = told(
        vec![service("api"), service("db")],
        ready(&[("api", &["db"])]),
    );
    assert_eq!(told.status("api"), ServiceStatus::Pending);
    let health = told.health();
    assert_eq!(health.layers[0].services[0].status, "waiting");
    assert_eq!(health.layers[0].services[0].waits_for, ["db (ready)"]);
    // Through restarts, and it starts once.
    told.end("db", ExitKind::Code(1));
    told.pass(SECOND / 2);
    assert_eq!(starts_of(&told, "db"), 2);
    assert_eq!(starts_of(&told, "api"), 0);
    told.pass(2 * SECOND);
    assert_eq!(told.status("api"), ServiceStatus::Starting);
    told.pass(2 * SECOND);
    assert_eq!(told.layer("all"), LayerStatus::Up);
    assert_eq!(starts_of(&told, "api"), 1);
}

#[test]
fn one_is_restarted_by_a_person_while_another_waits_for_it() {
    let mut told = told(
        vec![service("api"), service("db")],
        ready(&[("api", &["db"])]),
    );
    told.pass(SECOND / 2);
    told.engine
        .command(BootCommand::Steer {
            service: "db".into(),
            order: ServiceOrder::Restart,
            by: "a person".into(),
        })
        .unwrap();
    told.start();
    // The old one has not ended: there is no second one.
    told.pass(2 * SECOND);
    assert_eq!((starts_of(&told, "db"), starts_of(&told, "api")), (1, 0));
    told.end("db", ExitKind::Signal(15));
    assert_eq!((starts_of(&told, "db"), starts_of(&told, "api")), (2, 0));
    assert_eq!(told.health().layers[0].services[0].status, "waiting");
    told.pass(2 * SECOND);
    assert_eq!(told.status("api"), ServiceStatus::Starting);
    told.pass(2 * SECOND);
    assert_eq!(told.layer("all"), LayerStatus::Up);
    assert_eq!((starts_of(&told, "db"), starts_of(&told, "api")), (2, 1));
}

#[test]
fn what_each_condition_takes() {
    use NeedCondition as C;
    // Condition, then what the service does that needs the one-shot: at its start, after exit 0, after exit 1.
    let rows = [
        (C::Ready, false, true, false),
        (C::Started, true, true, true),
        (C::Succeeded, false, true, false),
        (C::Completed, false, true, true),
        (C::Logged, false, true, false),
    ];
    for (condition, at_start, after_0, after_1) in rows {
        for (code, after) in [(0, after_0), (1, after_1)] {
            let terms = vec![terms("b", vec![need("a", condition)])];
            let mut told = told(vec![oneshot("a"), service("b")], terms);
            let starts = |told: &Told| starts_of(told, "b") == 1;
            assert_eq!(starts(&told), at_start, "{condition:?} at its start");
            told.end("a", ExitKind::Code(code));
            assert_eq!(starts(&told), after, "{condition:?} after {code}");
            let is_skipped = told.status("b") == ServiceStatus::Skipped;
            assert_eq!(is_skipped, !after, "{condition:?} after {code}");
        }
    }
}

#[test]
fn a_failure_skips_exactly_those_that_need_it_in_any_shape() {
    // Who needs whom, who fails, who is skipped.
    type Row<'a> = (&'a [(&'a str, &'a [&'a str])], &'a str, &'a [&'a str]);
    let rows: [Row<'_>; 5] = [
        (&[("b", &["a"])], "a", &["b"]),
        (&[("b", &["a"]), ("c", &["b"])], "a", &["b", "c"]),
        // A rhombus.
        (
            &[("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])],
            "a",
            &["b", "c", "d"],
        ),
        (&[("d", &["a", "b", "c"])], "b", &["d"]),
        // Odd and even are apart.
        (&[("c", &["a"]), ("d", &["b"])], "a", &["c"]),
    ];
    for (pairs, fails, skipped) in rows {
        let services = ["a", "b", "c", "d", "e"].map(oneshot).to_vec();
        let mut told = told(services, ready(pairs));
        told.end(fails, ExitKind::Code(1));
        for _ in 0..5 {
            for name in ["a", "b", "c", "d", "e"] {
                let alive = told.engine.state.service(name).unwrap().1.is_alive();
                if alive {
                    told.end(name, ExitKind::Code(0));
                }
            }
        }
        for name in ["a", "b", "c", "d", "e"] {
            let wanted = if name == fails {
                ServiceStatus::Failed
            } else if skipped.contains(&name) {
                ServiceStatus::Skipped
            } else {
                ServiceStatus::Done
            };
            assert_eq!(told.status(name), wanted, "{name} of {pairs:?}");
        }
        assert_eq!(told.engine.state.phase, Phase::Running, "the rest goes on");
        assert!(said(&told, skipped[0]).contains(&format!("needs {fails} (ready), which ended")));
    }
}

#[test]
fn a_need_over_layers_skips_and_what_was_skipped_starts_when_it_recovers() {
    let mut cache = layer("cache", &[], vec![oneshot("warm")]);
    cache.critical = false;
    let api = layer("api", &["cache"], vec![service("api"), service("worker")]);
    let terms = ready(&[("worker", &["warm"])]);
    let mut told = Told::with(Mode::Layered, vec![cache, api], |_| {}, terms, &[]);
    told.end("warm", ExitKind::Code(1));
    told.pass(2 * SECOND);
    assert_eq!(told.engine.state.phase, Phase::Running);
    assert_eq!(told.status("api"), ServiceStatus::Ready);
    assert_eq!(told.status("worker"), ServiceStatus::Skipped);
    let health = told.health();
    assert_eq!(
        health.status,
        HealthStatus::Unhealthy,
        "its layer is critical"
    );
    assert_eq!(health.layers[1].status, "incomplete");
    assert!(health.reason.unwrap().contains("worker was skipped"));
    let layer = "cache".to_owned();
    told.engine
        .command(BootCommand::StartLayer { layer })
        .unwrap();
    told.start();
    told.end("warm", ExitKind::Code(0));
    assert_eq!(told.status("worker"), ServiceStatus::Starting);
    told.pass(2 * SECOND);
    assert_eq!(told.layer("api"), LayerStatus::Up);
    assert!(!told.engine.state.degraded);
    assert_eq!(
        starts_of(&told, "api"),
        1,
        "what was healthy was left alone"
    );
}

#[test]
fn a_layer_that_names_what_it_comes_after_needs_it_and_the_order_of_the_file_does_not() {
    for (needing, wanted) in [
        (&["api"][..], LayerStatus::Skipped),
        (&[][..], LayerStatus::Up),
    ] {
        let mut cache = layer("cache", &[], vec![oneshot("warm")]);
        cache.critical = false;
        let api = layer("api", &["cache"], vec![service("api")]);
        let mut told = Told::with(Mode::Layered, vec![cache, api], |_| {}, vec![], needing);
        told.end("warm", ExitKind::Code(1));
        told.pass(2 * SECOND);
        assert_eq!(told.layer("api"), wanted);
        assert_eq!(told.engine.state.phase, Phase::Running);
        let layer = "cache".to_owned();
        told.engine
            .command(BootCommand::StartLayer { layer })
            .unwrap();
        told.start();
        told.end("warm", ExitKind::Code(0));
        told.pass(2 * SECOND);
        assert_eq!(told.layer("api"), LayerStatus::Up);
    }
}

#[test]
fn dependents_that_run_are_stopped_with_it_only_if_asked() {
    for (on_failure, wanted) in [
        (OnFailure::Nothing, ServiceStatus::Ready),
        (OnFailure::Dependents, ServiceStatus::Skipped),
    ] {
        let mut a = service("a");
        a.restart = RestartPolicy::Never;
        let all = layer("all", &[], vec![a, service("b"), service("c")]);
        let terms = ready(&[("b", &["a"])]);
        let change = |rules: &mut ServiceRules| rules.on_failure = on_failure;
        let mut told = Told::with(Mode::Layered, vec![all], change, terms, &[]);
        told.pass(2 * SECOND);
        told.pass(2 * SECOND);
        assert_eq!(told.engine.state.phase, Phase::Running);
        told.end("a", ExitKind::Code(1));
        assert_eq!(told.status("b"), wanted);
        assert_eq!(told.status("c"), ServiceStatus::Ready);
    }
}

#[test]
fn services_stop_in_the_reverse_of_their_needs() {
    // b and c need a; d needs them both. Layers that nothing ties together stop at once.
    let terms = ready(&[("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])]);
    let layers = vec![
        layer("one", &[], ["a", "b", "c", "d"].map(service).to_vec()),
        layer("two", &[], vec![service("e")]),
    ];
    let mut told = Told::with(Mode::Layered, layers, |_| {}, terms, &[]);
    for _ in 0..4 {
        told.pass(2 * SECOND);
    }
    assert_eq!(told.engine.state.phase, Phase::Running);
    let by = "test".to_owned();
    told.engine
        .command(BootCommand::RequestStop { by })
        .unwrap();
    for wanted in [&["e", "d"][..], &["c", "b"], &["a"]] {
        assert_eq!(stop_steps(&told), wanted);
        for name in wanted {
            told.end(name, ExitKind::Signal(15));
        }
    }
    assert_eq!(told.engine.state.outcome, Some(Outcome::Stopped));
}

#[test]
fn the_end_of_a_vital_service_ends_the_boot_with_its_code() {
    for (exit, code) in [
        (ExitKind::Code(42), 42),
        (ExitKind::Code(0), 0),
        (ExitKind::Signal(9), 137),
    ] {
        let mut main = service("main");
        main.restart = RestartPolicy::Never;
        let mut terms = terms("main", vec![]);
        terms.on_end = OnEnd::Stop;
        let all = layer("all", &[], vec![main, service("b")]);
        let mut told = Told::with(Mode::Resilient, vec![all], |_| {}, vec![terms], &[]);
        told.pass(2 * SECOND);
        assert_eq!(told.engine.state.phase, Phase::Running);
        told.end("main", exit);
        assert_eq!(told.engine.state.phase, Phase::Stopping);
        assert_eq!(stop_steps(&told), ["b"]);
        told.end("b", ExitKind::Code(3));
        assert_eq!(told.engine.state.outcome, Some(Outcome::Stopped));
        assert_eq!(told.engine.state.exit_code, Some(code));
        assert!(told.engine.state.reason.contains("the end of service main"));
        assert!(told.engine.state.missions.is_empty(), "as declared");
    }
    // Somebody's stop is not the service's end.
    let mut terms = terms("main", vec![]);
    terms.on_end = OnEnd::Stop;
    let mut told = told(vec![service("main")], vec![terms]);
    told.pass(2 * SECOND);
    let by = "test".to_owned();
    told.engine
        .command(BootCommand::RequestStop { by })
        .unwrap();
    told.end("main", ExitKind::Code(7));
    assert_eq!(told.engine.state.exit_code, None);
}

#[test]
fn in_fast_the_first_failure_ends_the_boot() {
    for up in [false, true] {
        let all = layer("all", &[], vec![service("api"), service("worker")]);
        let mut told = Told::with(Mode::Fast, vec![all], |_| {}, vec![], &[]);
        if up {
            told.pass(2 * SECOND);
        }
        told.end("worker", ExitKind::Code(1));
        assert_eq!(told.engine.state.phase, Phase::Stopping);
        told.end("api", ExitKind::Signal(15));
        assert_eq!(told.engine.state.outcome, Some(Outcome::Failed));
        assert_eq!(starts_of(&told, "worker"), 1);
        assert!(said(&told, "worker").contains("mode fast"));
    }
}

#[test]
fn all_done_is_seen_and_a_disabled_service_is_not_missed() {
    let mut off = terms("off", vec![]);
    off.disabled = true;
    let mut told = told(vec![oneshot("a"), oneshot("b"), service("off")], vec![off]);
    told.end("a", ExitKind::Code(0));
    assert!(!told.engine.state.is_all_done());
    told.end("b", ExitKind::Code(0));
    assert!(told.engine.state.is_all_done());
    assert_eq!(told.layer("all"), LayerStatus::Up);
    assert_eq!(told.status("off"), ServiceStatus::Disabled);
    assert_eq!(starts_of(&told, "off"), 0);
    assert!(!told.engine.state.degraded);
}

#[test]
fn while_a_fix_is_in_trial_nothing_is_given_up() {
    let mut a = service("a");
    a.restart = RestartPolicy::Never;
    let layers = vec![layer("one", &[], vec![a, service("b")])];
    let mut told = Told::with(Mode::Resilient, layers, |_| {}, vec![], &[]);
    told.pass(2 * SECOND);
    told.end("a", ExitKind::Code(1));
    let mission = told.engine.state.missions[0].id;
    // The mission of the layer is being worked on.
    for _ in 0..10 {
        told.end("b", ExitKind::Code(1));
        assert_eq!(told.status("b"), ServiceStatus::Starting);
    }
    told.engine
        .command(BootCommand::EndHeal {
            mission,
            outcome: HealOutcome::Rejected,
            reason: String::new(),
        })
        .unwrap();
    told.end("b", ExitKind::Code(1));
    assert_eq!(told.status("b"), ServiceStatus::Failed);
    assert_eq!(told.engine.state.phase, Phase::Running);
}

#[test]
fn what_failed_starts_again_once_its_mission_is_closed() {
    let mut all = layer("all", &[], vec![service("a"), oneshot("b")]);
    all.critical = false;
    let mut told = Told::with(Mode::Layered, vec![all], |_| {}, vec![], &[]);
    told.end("b", ExitKind::Code(1));
    told.pass(2 * SECOND);
    assert_eq!(told.engine.state.phase, Phase::Running);
    assert_eq!(told.status("b"), ServiceStatus::Failed);
    let mission = told.engine.state.missions[0].id;
    let closed = Event::MissionClosed {
        slug: "m".into(),
        resolution: "done by hand".into(),
    };
    told.engine.record(Some(mission), closed);
    told.start();
    assert_eq!(starts_of(&told, "b"), 2);
    assert_eq!(starts_of(&told, "a"), 1, "only what failed");
    told.end("b", ExitKind::Code(1));
    told.pass(2 * SECOND);
    assert_eq!(starts_of(&told, "b"), 2, "once for each mission");
}

#[test]
fn a_need_that_is_skipped_in_a_critical_layer_is_no_good_end_and_a_wait_is_said() {
    let mut optional = layer("tasks", &[], vec![oneshot("task")]);
    optional.critical = false;
    let layers = vec![optional, layer("app", &["tasks"], vec![service("api")])];
    let needs = ready(&[("api", &["task"])]);
    let mut told = Told::with(Mode::Layered, layers, |_| {}, needs, &[]);
    assert!(!told.engine.state.is_needed_skipped());
    told.end("task", ExitKind::Code(1));
    told.pass(SECOND);
    assert_eq!(told.status("api"), ServiceStatus::Skipped);
    assert_eq!(told.health().status, HealthStatus::Unhealthy);
    assert!(told.engine.state.is_needed_skipped());

    let needs = vec![terms("api", vec![need("task", NeedCondition::Succeeded)])];
    let services = vec![service("task"), service("api")];
    let told = Told::with(
        Mode::Layered,
        vec![layer("one", &[], services)],
        |_| {},
        needs,
        &[],
    );
    assert_eq!(
        told.health().reason.as_deref(),
        Some("service api waits for task (succeeded)")
    );
}
