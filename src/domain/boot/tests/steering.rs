//! A person steers one service: what is stopped stays stopped, and there is one instance at any time.

use super::supervision::{SECOND, Told, layer, service, up};
use super::*;
use crate::domain::event::ServiceOrder;
use crate::domain::health::{Health, HealthStatus};

const WHO: &str = "a person (uid 1000)";

fn steer(told: &mut Told, service: &str, order: ServiceOrder) -> Result<(), BootRefusal> {
    told.engine.command(BootCommand::Steer {
        service: service.into(),
        order,
        by: WHO.into(),
    })?;
    told.start();
    Ok(())
}

fn stops(told: &Told) -> usize {
    let steps = next(&told.engine.state);
    let stop = |step: &&Step| matches!(step, Step::StopService { .. });
    steps.iter().filter(stop).count()
}

#[test]
fn what_a_person_stops_stays_stopped_and_is_said() {
    let mut told = up();
    steer(&mut told, "a", ServiceOrder::Stop).unwrap();
    assert_eq!(stops(&told), 1, "only it is stopped");
    told.end("a", ExitKind::Signal(15));
    told.pass(600 * SECOND);
    assert_eq!(told.status("a"), ServiceStatus::Stopped);
    assert_eq!(told.status("c"), ServiceStatus::Ready);
    let health = told.health();
    assert_eq!(health.status, HealthStatus::Unhealthy);
    let reason = health.reason.unwrap();
    assert!(
        reason.contains("a was stopped by a person (uid 1000)"),
        "{reason}"
    );
    // Again is nothing new, and is no event.
    let events = told.engine.log.len();
    steer(&mut told, "a", ServiceOrder::Stop).unwrap();
    assert_eq!(told.engine.log.len(), events);
    steer(&mut told, "a", ServiceOrder::Start).unwrap();
    assert_eq!(told.status("a"), ServiceStatus::Starting);
    assert_eq!(told.health().status, HealthStatus::Degraded);
    told.pass(SECOND);
    told.pass(11 * SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
}

#[test]
fn the_recovery_of_its_layer_leaves_it_stopped() {
    let mut told = up();
    steer(&mut told, "a", ServiceOrder::Stop).unwrap();
    told.end("a", ExitKind::Signal(15));
    for _ in 0..4 {
        told.end("b", ExitKind::Code(1));
    }
    assert_eq!(told.layer("one"), LayerStatus::Failed);
    let again = Event::LayerStarted {
        layer: "one".into(),
    };
    told.engine.record(None, again);
    told.start();
    assert_eq!(told.status("a"), ServiceStatus::Stopped);
    assert_eq!(told.status("b"), ServiceStatus::Starting);
    told.pass(SECOND);
    assert_eq!(told.layer("one"), LayerStatus::Up);
}

#[test]
fn a_restart_waits_for_the_end_and_counts_from_zero() {
    let mut told = up();
    told.end("a", ExitKind::Code(1));
    told.pass(SECOND);
    assert_eq!(told.engine.state.service("a").unwrap().1.ends, 1);
    steer(&mut told, "a", ServiceOrder::Restart).unwrap();
    // The old one runs: there is no second one, and nobody says that it is ready.
    assert_eq!(told.status("a"), ServiceStatus::Stopped);
    assert_eq!(stops(&told), 1);
    assert!(told.health().status != HealthStatus::Healthy);
    let late = told.engine.command(BootCommand::ServiceReady {
        service: "a".into(),
    });
    assert!(matches!(late, Err(BootRefusal::Late { .. })));
    told.end("a", ExitKind::Signal(15));
    assert_eq!(told.status("a"), ServiceStatus::Starting);
    assert_eq!(told.engine.state.service("a").unwrap().1.ends, 0);
    assert_eq!(told.layer("one"), LayerStatus::Starting);
    told.pass(SECOND);
    assert_eq!(told.layer("one"), LayerStatus::Up);
}

#[test]
fn what_was_given_up_can_be_started_by_a_person() {
    let mut told = up();
    for _ in 0..4 {
        told.end("a", ExitKind::Code(1));
    }
    assert_eq!(told.status("a"), ServiceStatus::Failed);
    steer(&mut told, "a", ServiceOrder::Start).unwrap();
    told.pass(SECOND);
    assert_eq!(told.status("a"), ServiceStatus::Ready);
    assert_eq!(told.layer("one"), LayerStatus::Up);
    assert!(told.engine.state.critical_layer_failure().is_none());
}

#[test]
fn nobody_waits_for_a_service_that_a_person_stopped() {
    let layers = vec![
        layer("one", &[], vec![service("a"), service("b")]),
        layer("two", &["one"], vec![service("c")]),
    ];
    let mut told = Told::begin(layers, |_| {});
    let early = steer(&mut told, "c", ServiceOrder::Start);
    assert!(
        matches!(early, Err(BootRefusal::Refused { .. })),
        "{early:?}"
    );
    let unknown = steer(&mut told, "nobody", ServiceOrder::Stop);
    assert!(matches!(unknown, Err(BootRefusal::Unknown { .. })));
    steer(&mut told, "a", ServiceOrder::Stop).unwrap();
    told.end("a", ExitKind::Signal(15));
    told.pass(SECOND);
    told.pass(SECOND);
    assert_eq!(told.engine.state.phase, Phase::Running);
    assert_eq!(told.status("c"), ServiceStatus::Ready);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens and whoever asks: no service is started while it runs, nor one that a person stopped, and
    /// a needed service that a person stopped is never HEALTHY.
    #[test]
    fn one_instance_whoever_steers(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut told = up();
        told.engine.dice = Dice(bytes, 0);
        for _ in 0..120 {
            let steps = next(&told.engine.state);
            for step in &steps {
                if let Step::StartService { service, .. } = step {
                    let found = told.engine.state.service(service).unwrap().1;
                    prop_assert!(!found.is_alive() && !found.is_held(), "{found:?}");
                }
            }
            let held = told.engine.state.layers.iter().flat_map(|l| &l.services).any(|s| s.is_held());
            let boot = crate::domain::ids::BootId(Uuid::nil());
            let health = Health::of(boot, &told.engine.state, Some(true), 0, 0);
            prop_assert!(!held || health.status != HealthStatus::Healthy);
            let name = ["a", "b", "c"][usize::from(told.engine.dice.roll(3))];
            let order = [ServiceOrder::Start, ServiceOrder::Stop, ServiceOrder::Restart]
                [usize::from(told.engine.dice.roll(3))];
            let outcome = match told.engine.dice.roll(6) {
                0 => told.engine.command(BootCommand::Steer {
                    service: name.into(),
                    order,
                    by: WHO.into(),
                }),
                1 => told.engine.happen(),
                n => match steps.get(usize::from(n - 2)) {
                    Some(step) => told.engine.perform(step.clone()),
                    None => told.engine.happen(),
                },
            };
            let harmless = matches!(
                outcome,
                Ok(()) | Err(BootRefusal::Late { .. } | BootRefusal::Refused { .. } | BootRefusal::Ended)
            );
            prop_assert!(harmless, "{outcome:?}");
        }
    }
}
