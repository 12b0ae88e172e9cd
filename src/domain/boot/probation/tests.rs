//! Boots that were up, with fixes on probation.

use uuid::Uuid;

use super::*;
use crate::domain::boot::state::LayerFailure;
use crate::domain::boot::{LayerState, LayerStatus, ServiceState};
use crate::domain::event::{RestartPolicy, ServicePlan, ServiceRules, ServiceTerms};
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Finding, Measured, Severity};
use crate::domain::ids::{MissionId, Seq};
use crate::domain::mission::{FixStatus, Risk};
use crate::domain::signature::sign_finding;

const SECOND: i64 = 1_000_000;

fn boot(n: u128) -> BootId {
    BootId(Uuid::from_u128(n))
}

fn at(seconds: i64) -> At {
    At(seconds * SECOND)
}

/// Up since second 10, with one service that was ready then and is stable ten seconds later.
fn running() -> BootState {
    let plan = ServicePlan {
        name: "web".into(),
        oneshot: false,
        restart: RestartPolicy::OnFailure,
        restarts_max: 5,
        restart_window_ms: 1,
        restart_backoff_ms: 1,
        restart_backoff_ms_max: 1,
    };
    let rules = ServiceRules {
        stable_after_ms: 10_000,
        ..ServiceRules::default()
    };
    let service = ServiceState {
        status: ServiceStatus::Ready,
        started_at: Some(at(9)),
        ready_at: Some(at(10)),
        stable: true,
        ..ServiceState::fresh(&plan, rules, ServiceTerms::default())
    };
    BootState {
        phase: Phase::Running,
        up_at: Some(at(10)),
        updated_at: at(20),
        layers: vec![LayerState {
            name: "api".into(),
            critical: true,
            after: vec![],
            needing: false,
            status: LayerStatus::Up,
            started_at: Some(at(9)),
            up_at: Some(at(10)),
            failure: None,
            reason: String::new(),
            waits_for: None,
            services: vec![service],
        }],
        ..BootState::default()
    }
}

fn fix(n: u64, applied: i64, in_boot: Option<BootId>) -> Fix {
    Fix {
        id: Seq(n),
        mission: MissionId(Uuid::from_u128(u128::from(n))),
        slug: format!("fix{n}"),
        signature: Signature(format!("s{n}")),
        failure: String::new(),
        layer: None,
        fixer: "f".into(),
        worker: "w".into(),
        approved_by: None,
        summary: String::new(),
        risk: Risk::Additive,
        proof: None,
        files: vec![],
        databases: vec![],
        changes: vec![],
        applied_at: at(applied),
        boot: in_boot,
        status: FixStatus::Probation,
        reason: String::new(),
        since: at(applied),
    }
}

fn fail_layer(state: &mut BootState) {
    state.layers[0].status = LayerStatus::Failed;
    state.layers[0].failure = Some(LayerFailure {
        service: "web".into(),
        error: "service web ended with exit code 1".into(),
        output: String::new(),
    });
}

fn no_go(state: &mut BootState) -> Signature {
    let finding = Finding::new(
        "schema.missing_table",
        Severity::Critical,
        "users",
        "missing",
    );
    let signature = sign_finding(&finding);
    state.phase = Phase::Settling;
    state.decision = Some(Decision::NoGo);
    let report = CheckReport {
        name: CheckName::Schema,
        status: CheckStatus::Critical,
        duration_ms: 1,
        summary: String::new(),
        findings: vec![finding],
        measured: Measured::Nothing,
    };
    state.reports.insert(CheckName::Schema, report);
    signature
}

fn was_good(state: &mut BootState) {
    let report = CheckReport {
        name: CheckName::Schema,
        status: CheckStatus::Healthy,
        duration_ms: 1,
        summary: String::new(),
        findings: vec![],
        measured: Measured::Nothing,
    };
    state.reports.insert(CheckName::Schema, report);
}

fn named(found: Option<(&Fix, String)>) -> Option<u64> {
    found.map(|(fix, _)| fix.id.0)
}

#[test]
fn probation_counts_stable_time_with_the_fix_and_goes_on_after_an_orderly_stop() {
    let mut state = running();
    assert_eq!(healthy_ms(&state, at(0), at(19)), 0);
    assert_eq!(healthy_ms(&state, at(0), at(50)), 30_000);
    assert_eq!(healthy_ms(&state, at(45), at(50)), 5_000);
    // Of a boot that ended in order, what it had until then counts; of a killed one nothing is known.
    state.phase = Phase::Ended;
    state.ended_at = Some(at(60));
    state.layers[0].status = LayerStatus::Stopped;
    state.layers[0].services[0].status = ServiceStatus::Stopped;
    state.outcome = Some(Outcome::Stopped);
    assert_eq!(healthy_ms(&state, at(0), at(900)), 40_000);
    state.outcome = Some(Outcome::Interrupted);
    assert_eq!(healthy_ms(&state, at(0), at(900)), 0);
}

#[test]
fn time_in_which_something_needed_is_not_ready_does_not_count() {
    let mut state = running();
    state.layers[0].services[0].status = ServiceStatus::Unready;
    assert_eq!(healthy_ms(&state, at(0), at(900)), 0);
    assert!(!is_healthy(&state));
    state.layers[0].critical = false;
    assert!(is_healthy(&state));
}

#[test]
fn a_worse_next_boot_names_the_newest_fix() {
    let mut before = running();
    was_good(&mut before);
    let mut state = BootState::default();
    let signature = no_go(&mut state);
    let fixes = [fix(1, 15, Some(boot(1))), fix(2, 16, None)];
    let baseline = Some((boot(1), &before));
    let found = suspect(&state, boot(2), &fixes, baseline, |_| None);
    assert_eq!(named(found), Some(2));
    // What had failed before the fix is not its doing; nor what failed in the boot before.
    let known = |asked: &Signature| (*asked == signature).then_some(at(3));
    assert_eq!(
        named(suspect(&state, boot(2), &fixes, baseline, known)),
        None
    );
    no_go(&mut before);
    let baseline = Some((boot(1), &before));
    assert_eq!(
        named(suspect(&state, boot(2), &fixes, baseline, |_| None)),
        None
    );
    assert_eq!(
        named(suspect(&state, boot(2), &fixes, None, |_| None)),
        None
    );
}

#[test]
fn what_shows_once_another_failure_is_healed_is_not_the_fix_s_doing() {
    // The layer never came up: it was broken all along.
    let mut state = running();
    fail_layer(&mut state);
    state.layers[0].up_at = None;
    let fixes = [fix(1, 5, Some(boot(1)))];
    assert_eq!(
        named(suspect(&state, boot(1), &fixes, None, |_| None)),
        None
    );
    // It was up with the fix, and broke then.
    state.layers[0].up_at = Some(at(10));
    let found = suspect(&state, boot(1), &fixes, None, |_| None);
    let (fix, why) = found.expect("a suspect");
    assert_eq!(fix.id, Seq(1));
    assert!(why.ends_with("service web ended with exit code 1"), "{why}");
}

#[test]
fn a_crash_loop_since_the_fix_names_it_and_one_from_before_does_not() {
    let mut state = running();
    let service = &mut state.layers[0].services[0];
    service.ends = CRASH_LOOP_ENDS;
    service.last_end = "ended with exit code 1".into();
    service.started_at = Some(at(100));
    let since = [fix(1, 50, None)];
    assert_eq!(
        named(suspect(&state, boot(1), &since, None, |_| None)),
        Some(1)
    );
    let later = [fix(1, 101, None)];
    assert_eq!(
        named(suspect(&state, boot(1), &later, None, |_| None)),
        None
    );
}

#[test]
fn a_failure_that_came_back_in_what_ran_with_the_fix_names_it() {
    let mut state = running();
    fail_layer(&mut state);
    let signature = open_failures(&state)[0].signature.clone();
    let applied = |at| Fix {
        signature: signature.clone(),
        ..fix(1, at, Some(boot(1)))
    };
    // The layer was started in second 9.
    assert!(came_back(&state, &applied(8), false).is_some());
    assert!(came_back(&state, &applied(30), true).is_none(), "too old");
    assert!(came_back(&state, &fix(2, 8, None), true).is_none());
    // A new attempt tried everything anew.
    state.phase = Phase::Settling;
    assert!(came_back(&state, &applied(30), true).is_some());
    let unseen = came_back(&state, &applied(30), false);
    assert!(unseen.is_none(), "{unseen:?}");
}

#[test]
fn what_a_fix_names_starts_again_and_runs_with_it_once_it_is_up() {
    use crate::domain::boot::{named, only_restarts, runs_with};
    use crate::domain::mission::Change;
    let mut state = running();
    let restart = Change::Restart {
        services: vec!["web".into(), "absent".into()],
    };
    let mut fix = Fix {
        changes: vec![restart, Change::Wait { ms: 1 }],
        ..fix(1, 30, Some(boot(1)))
    };
    assert!(only_restarts(&fix));
    assert!(!only_restarts(&Fix {
        changes: vec![Change::Wait { ms: 1 }],
        ..fix.clone()
    }));
    state.layers[0].services[0].process = Some(crate::domain::event::ProcessRef {
        pid: 1,
        start_ticks: 1,
        host_boot: String::new(),
    });
    assert_eq!(named(&state, &fix, fix.applied_at), ["web"]);
    assert!(!runs_with(&state, &fix));
    let web = &mut state.layers[0].services[0];
    (web.started_at, web.status) = (Some(at(31)), ServiceStatus::Starting);
    assert!(named(&state, &fix, fix.applied_at).is_empty());
    assert!(!runs_with(&state, &fix), "it is not up yet");
    state.layers[0].services[0].status = ServiceStatus::Ready;
    assert!(runs_with(&state, &fix));
    // What it is for is not up.
    fix.layer = Some("api".into());
    state.layers[0].status = LayerStatus::Failed;
    assert!(!runs_with(&state, &fix));
    (state.layers[0].status, state.phase) = (LayerStatus::Up, Phase::Stopping);
    assert!(!runs_with(&state, &fix));
}

#[test]
fn affected_services_start_again_in_the_order_of_layers_and_needs() {
    use crate::domain::boot::due;
    use crate::domain::event::{Need, NeedCondition};
    let mut state = running();
    let named = |name: &str| {
        let mut service = state.layers[0].services[0].clone();
        service.plan.name = name.into();
        service
    };
    let (db, mut api, later) = (named("db"), named("api"), named("later"));
    api.terms.needs.push(Need {
        service: "db".into(),
        condition: NeedCondition::Ready,
    });
    let mut second = state.layers[0].clone();
    second.name = "second".into();
    second.services = vec![later];
    state.layers[0].services = vec![api, db];
    state.layers.push(second);
    let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    assert_eq!(due(&state, &names(&["api", "db", "later"])), ["db"]);
    state.layers[0].services[1].status = ServiceStatus::Restarting;
    assert!(due(&state, &names(&["api", "later"])).is_empty());
    state.layers[0].services[1].status = ServiceStatus::Ready;
    assert_eq!(due(&state, &names(&["api", "later"])), ["api"]);
    assert_eq!(due(&state, &names(&["later"])), ["later"]);
    // What cannot come up is not waited for.
    state.layers[0].services[0].status = ServiceStatus::Restarting;
    state.layers[0].services[0].ends = 2;
    assert_eq!(due(&state, &names(&["later"])), ["later"]);
}
