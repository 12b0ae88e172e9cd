//! What runs starts again because a fix changed what it may use.

use super::needs::{oneshot, ready};
use super::supervision::{SECOND, Told, layer, service};
use super::*;
use crate::domain::event::ServiceOrder;
use crate::domain::health::HealthStatus;

fn refresh(told: &mut Told, service: &str) -> Result<(), BootRefusal> {
    told.engine.command(BootCommand::Refresh {
        service: service.into(),
        reason: "is started again with the fix".into(),
    })
}

fn stops(told: &Told, service: &str) -> bool {
    let service = service.to_owned();
    next(&told.engine.state).contains(&Step::StopService { service })
}

#[test]
fn what_a_fix_changed_starts_again_without_an_end_that_counts() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    told.pass(2 * SECOND);
    told.pass(11 * SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
    refresh(&mut told, "a").unwrap();
    assert!(stops(&told, "a"));
    // It stops once: asked again it is on its way already.
    assert!(refresh(&mut told, "a").is_err());
    told.end("a", ExitKind::Signal(15));
    told.pass(2 * SECOND);
    assert_eq!(told.status("a"), ServiceStatus::Ready);
    assert_eq!(told.layer("one"), LayerStatus::Up);
    let (_, a) = told.engine.state.service("a").unwrap();
    assert_eq!(a.ends, 0);
    told.pass(11 * SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
}

#[test]
fn what_is_not_meant_to_run_is_not_started_again_by_a_fix() {
    let mut off = ready(&[("off", &[])]);
    off[0].disabled = true;
    let mut terms = ready(&[("skipped", &["broken"])]);
    terms.extend(off);
    let services = vec![
        service("held"),
        service("off"),
        oneshot("done"),
        oneshot("broken"),
        service("skipped"),
        service("runs"),
    ];
    let mut all = layer("all", &[], services);
    all.critical = false;
    let mut told = Told::with(Mode::Layered, vec![all], |_| {}, terms, &[]);
    told.end("done", ExitKind::Code(0));
    told.end("broken", ExitKind::Code(1));
    told.pass(2 * SECOND);
    told.engine
        .command(BootCommand::Steer {
            service: "held".into(),
            order: ServiceOrder::Stop,
            by: "a person (uid 1000)".into(),
        })
        .unwrap();
    assert_eq!(told.engine.state.phase, Phase::Running);
    // While it stops, and once it has.
    assert!(refresh(&mut told, "held").is_err());
    told.end("held", ExitKind::Signal(15));
    for (name, status) in [
        ("held", ServiceStatus::Stopped),
        ("off", ServiceStatus::Disabled),
        ("done", ServiceStatus::Done),
        ("broken", ServiceStatus::Failed),
        ("skipped", ServiceStatus::Skipped),
    ] {
        assert_eq!(told.status(name), status, "{name}");
        assert!(refresh(&mut told, name).is_err(), "{name}");
        assert_eq!(told.status(name), status, "{name}");
    }
    refresh(&mut told, "runs").unwrap();
}

#[test]
fn a_new_start_waits_for_what_it_needs_and_skips_nobody() {
    let services = vec![service("db"), service("api"), service("looker")];
    let terms = ready(&[("api", &["db"]), ("looker", &["api"])]);
    let layers = vec![layer("all", &[], services)];
    let mut told = Told::with(Mode::Layered, layers, |_| {}, terms, &[]);
    for _ in 0..3 {
        told.pass(2 * SECOND);
    }
    told.pass(11 * SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
    refresh(&mut told, "db").unwrap();
    refresh(&mut told, "api").unwrap();
    assert!(stops(&told, "db") && stops(&told, "api") && !stops(&told, "looker"));
    told.end("api", ExitKind::Signal(15));
    assert_eq!(
        told.status("api"),
        ServiceStatus::Pending,
        "db is not there"
    );
    assert_eq!(told.health().status, HealthStatus::Degraded);
    told.end("db", ExitKind::Signal(15));
    assert_eq!(
        told.status("api"),
        ServiceStatus::Pending,
        "db is not ready"
    );
    told.pass(2 * SECOND);
    assert_eq!(told.status("api"), ServiceStatus::Starting);
    told.pass(2 * SECOND);
    told.pass(11 * SECOND);
    assert_eq!(told.health().status, HealthStatus::Healthy);
    assert_eq!(told.status("looker"), ServiceStatus::Ready, "left alone");
}

#[test]
fn what_could_not_start_again_is_left_running() {
    let mut db = service("db");
    db.restart = RestartPolicy::Never;
    let layers = vec![layer("all", &[], vec![db, service("api")])];
    let terms = ready(&[("api", &["db"])]);
    let mut told = Told::with(Mode::Layered, layers, |_| {}, terms, &[]);
    told.pass(2 * SECOND);
    told.pass(2 * SECOND);
    told.end("db", ExitKind::Code(1));
    assert_eq!(told.status("api"), ServiceStatus::Ready);
    assert!(refresh(&mut told, "api").is_err());
    assert_eq!(told.status("api"), ServiceStatus::Ready);
}

#[test]
fn a_person_may_stop_what_a_fix_starts_again() {
    let mut told = Told::begin(vec![layer("one", &[], vec![service("a")])], |_| {});
    told.pass(2 * SECOND);
    refresh(&mut told, "a").unwrap();
    // What the old process says of itself meanwhile comes too late.
    let late = told.engine.command(BootCommand::ServiceUnstartable {
        service: "a".into(),
        error: "was not ready in time".into(),
        output: String::new(),
    });
    assert!(matches!(late, Err(BootRefusal::Late { .. })), "{late:?}");
    told.engine
        .command(BootCommand::Steer {
            service: "a".into(),
            order: ServiceOrder::Stop,
            by: "a person (uid 1000)".into(),
        })
        .unwrap();
    told.end("a", ExitKind::Signal(15));
    told.pass(600 * SECOND);
    assert_eq!(told.status("a"), ServiceStatus::Stopped);
}
