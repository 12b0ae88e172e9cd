//! Folds one event into the state. Total: an event that does not fit changes nothing but the
//! moment, so that a log of any version can be replayed.

use super::clock;
use super::held;
use super::plan_change::{self, fresh_layers};
use super::proof::CRASH_LOOP_ENDS;
use super::state::{AfterStop, BootMission, BootState, LayerFailure, LayerStatus, Outcome, Phase};
use crate::domain::event::{CheckPhase, Event, ExitKind, HealOutcome, Mode, OnEnd};
use crate::domain::finding::{CheckName, Measured};
use crate::domain::ids::{At, MissionId, Signature};
use crate::domain::mission::Failure;
use crate::domain::remedy::{NEEDS_APPROVAL, Remedy};
use crate::domain::service::{self, ServiceState, ServiceStatus};

/// The state after `event`, which belongs to this boot; `mission` is the event's mission if it has one.
#[must_use]
pub(crate) fn evolve(
    mut state: BootState,
    at: At,
    mission: Option<MissionId>,
    event: &Event,
) -> BootState {
    state.updated_at = at;
    match event {
        Event::BootStarted {
            app,
            plan,
            supervisor,
            fingerprint,
        } => {
            state = BootState {
                app: app.clone(),
                plan: plan.clone(),
                supervisor: Some(supervisor.clone()),
                fingerprint: fingerprint.clone(),
                started_at: at,
                updated_at: at,
                ..BootState::default()
            };
            state.layers = fresh_layers(&state);
        }
        Event::RulesSet { rules } => {
            for rule in rules {
                state.rules.insert(rule.service.clone(), rule.clone());
            }
            for service in state.layers.iter_mut().flat_map(|l| &mut l.services) {
                if let Some(rules) = state.rules.get(&service.plan.name) {
                    service.rules = rules.clone();
                }
            }
        }
        Event::TermsSet { terms, needing } => {
            for terms in terms {
                state.terms.insert(terms.service.clone(), terms.clone());
            }
            state.needing.extend(needing.iter().cloned());
            // Nothing was started yet.
            state.layers = fresh_layers(&state);
        }
        Event::AttemptStarted { attempt } => start_attempt(&mut state, *attempt),
        Event::CheckStarted { check, .. } => {
            state.checks_started.insert(*check);
        }
        Event::CheckFinished { report, phase } => {
            state.checks_finished.insert(report.name);
            state.reports.insert(report.name, report.clone());
            let last = state
                .plan
                .checks
                .iter()
                .all(|c| state.checks_finished.contains(c));
            if last && *phase == CheckPhase::Validation {
                state.unsettled = true;
            }
        }
        Event::DecisionMade {
            decision,
            skipped_layers,
            ..
        } => {
            state.decision = Some(*decision);
            state.phase = Phase::Settling;
            for layer in &mut state.layers {
                if skipped_layers.contains(&layer.name) {
                    layer.status = LayerStatus::Skipped;
                    layer.reason = "its rehearsal failed".to_owned();
                }
            }
        }
        Event::MissionsSettled { .. } => {
            state.unsettled = false;
            if state.phase == Phase::Settling {
                state.phase = if state.is_blocked() {
                    Phase::Healing
                } else {
                    Phase::Starting
                };
            }
        }
        Event::HealFinished {
            mission,
            outcome,
            reason,
        } => {
            with_mission(&mut state, *mission, |m| {
                // Somebody else applied a fix, or gave the mission back to the queue, while the worker of this boot
                // looked at it: what that one says of itself comes too late.
                let is_overtaken = *outcome == HealOutcome::HeldElsewhere
                    || m.outcome == Some(HealOutcome::Applied);
                if is_overtaken && m.outcome.is_some() {
                    return;
                }
                m.outcome = Some(*outcome);
                m.reason = reason.clone();
            });
        }
        Event::Retried { at, reason, .. } => {
            state.phase = Phase::BackingOff { until: *at };
            state.reason = reason.clone();
        }
        Event::BootUp { degraded } => {
            state.phase = Phase::Running;
            state.degraded = *degraded;
            state.up_at.get_or_insert(at);
            state.reason.clear();
            state.validation_due = state.plan.validate_every_ms.map(|ms| at.plus_ms(ms));
            state.unsettled = true;
            // Where there is something to register, the running system is looked at first of all.
            let registers = state
                .reports
                .get(&CheckName::Registration)
                .is_some_and(|report| matches!(report.measured, Measured::Registration { .. }));
            if registers {
                state.checks_started.remove(&CheckName::Registration);
                state.checks_finished.remove(&CheckName::Registration);
            }
        }
        Event::ValidationStarted { validation } => {
            // The first look is at the registration alone: the other checks just ran.
            if !state.is_look_due() {
                state.checks_started.clear();
                state.checks_finished.clear();
            }
            state.validations = *validation;
            state.validating = true;
        }
        Event::ValidationFinished { decision, .. } => {
            state.validating = false;
            state.decision = Some(*decision);
            state.unsettled = true;
            state.validation_due = state.plan.validate_every_ms.map(|ms| at.plus_ms(ms));
        }
        Event::StopRequested { by } => {
            if state.phase != Phase::Stopping {
                state.exit_code = vital_exit(&state);
            }
            state.phase = Phase::Stopping;
            state.after_stop = AfterStop::End;
            state.reason = format!("stopped by {by}");
            state.validating = false;
        }
        Event::BootStopped => end(&mut state, at, Outcome::Stopped, None),
        Event::BootFailed { reason } => end(&mut state, at, Outcome::Failed, Some(reason)),
        Event::BootInterrupted { reason, .. } => {
            end(&mut state, at, Outcome::Interrupted, Some(reason));
        }
        Event::LayerStarted { .. }
        | Event::LayerUp { .. }
        | Event::LayerFailed { .. }
        | Event::LayerSkipped { .. } => evolve_layer(&mut state, at, event),
        Event::ServiceStarted { .. }
        | Event::ServiceReady { .. }
        | Event::ServiceUnready { .. }
        | Event::AnswerNotAttributed { .. }
        | Event::ServiceStable { .. }
        | Event::ServiceRecovered { .. }
        | Event::ServiceExited { .. }
        | Event::ServiceRestarting { .. }
        | Event::ServiceFailed { .. }
        | Event::ServiceSkipped { .. } => evolve_service(&mut state, at, event),
        Event::ServiceSteered { service, order, by } => {
            held::steered(&mut state, service, *order, by);
        }
        Event::PlanChanged {
            layers,
            rules,
            terms,
            needing,
            removed,
            ..
        } => {
            for rules in rules {
                state.rules.insert(rules.service.clone(), rules.clone());
            }
            // As in a plan that is fixed: those that say nothing are not kept.
            for terms in terms {
                if terms.is_default() {
                    state.terms.remove(&terms.service);
                } else {
                    state.terms.insert(terms.service.clone(), terms.clone());
                }
            }
            for layer in layers {
                state.needing.remove(&layer.name);
                if needing.contains(&layer.name) {
                    state.needing.insert(layer.name.clone());
                }
                plan_change::put(&mut state, layer);
            }
            for service in removed {
                plan_change::remove(&mut state, service);
            }
        }
        Event::ClockSet { from, to } => clock::set(&mut state, *from, *to),
        Event::ValidationPlanned {
            every_ms, checks, ..
        } => plan_change::validate(&mut state, at, *every_ms, checks),
        _ => evolve_mission(&mut state, mission, event),
    }
    state
}

fn start_attempt(state: &mut BootState, attempt: u32) {
    state.attempt = attempt;
    state.phase = Phase::Preflight;
    state.reason.clear();
    state.decision = None;
    state.degraded = false;
    state.previous = state.reports.values().map(|r| (r.name, r.status)).collect();
    state.reports.clear();
    state.checks_started.clear();
    state.checks_finished.clear();
    state.after_stop = AfterStop::End;
    let mut layers = fresh_layers(state);
    held::keep_held(&state.layers, &mut layers);
    state.layers = layers;
}

fn end(state: &mut BootState, at: At, outcome: Outcome, reason: Option<&String>) {
    state.phase = Phase::Ended;
    state.outcome = Some(outcome);
    state.ended_at = Some(at);
    if let Some(reason) = reason {
        state.reason = reason.clone();
    }
    for layer in &mut state.layers {
        if matches!(layer.status, LayerStatus::Up | LayerStatus::Starting) {
            layer.status = LayerStatus::Stopped;
        }
        for service in &mut layer.services {
            if service.process.take().is_some() || service.status == ServiceStatus::Restarting {
                service.status = ServiceStatus::Stopped;
            }
        }
    }
}

fn evolve_layer(state: &mut BootState, at: At, event: &Event) {
    let (Event::LayerStarted { layer: name }
    | Event::LayerUp { layer: name }
    | Event::LayerFailed { layer: name, .. }
    | Event::LayerSkipped { layer: name, .. }) = event
    else {
        return;
    };
    let fast = state.plan.mode == Mode::Fast;
    let Some(layer) = state.layers.iter_mut().find(|l| l.name == *name) else {
        return;
    };
    match event {
        Event::LayerStarted { .. } => {
            let again = layer.status != LayerStatus::Pending;
            let was_supervised = layer.status.is_supervised();
            layer.status = LayerStatus::Starting;
            layer.started_at = Some(at);
            layer.failure = None;
            layer.reason.clear();
            layer.waits_for = None;
            for service in &mut layer.services {
                // Only what failed or was stopped with its layer starts again, not what had ended by its own policy.
                let is_over =
                    service.status == ServiceStatus::Done || was_supervised && service.has_left();
                let keeps = service.is_held()
                    || again
                        && (service.is_alive() || is_over)
                        && service.status != ServiceStatus::Failed;
                if keeps || service.status == ServiceStatus::Disabled {
                    continue;
                }
                service.status = ServiceStatus::Pending;
                service.ends = 0;
                service.last_end.clear();
                service.restart_at = None;
                service.error.clear();
            }
            if again {
                for mission in &mut state.missions {
                    if mission.layer.as_deref() == Some(name) || mission.rolled_back {
                        mission.layer_restarted = true;
                    }
                }
            }
        }
        Event::LayerUp { .. } => {
            layer.status = LayerStatus::Up;
            layer.up_at = Some(at);
            if state.phase == Phase::Running {
                state.degraded = state.layers.iter().any(|l| l.status != LayerStatus::Up);
                state.unsettled = true;
            }
        }
        Event::LayerFailed {
            critical,
            service,
            error,
            output,
            ..
        } => {
            layer.status = LayerStatus::Failed;
            layer.failure = Some(LayerFailure {
                service: service.clone(),
                error: error.clone(),
                output: output.clone(),
            });
            if *critical {
                for service in &mut layer.services {
                    if service.status == ServiceStatus::Restarting {
                        service.status = ServiceStatus::Failed;
                        service.restart_at = None;
                    }
                }
            }
            state.unsettled = true;
            state.degraded = true;
            if *critical && state.phase != Phase::Stopping {
                state.phase = Phase::Stopping;
                state.validating = false;
                state.reason = format!("layer {name} failed: {error}");
                state.after_stop = if fast {
                    AfterStop::Fail {
                        reason: state.reason.clone(),
                    }
                } else {
                    AfterStop::Settle
                };
                after_last_exit(state);
            }
        }
        Event::LayerSkipped { because, .. } => {
            layer.status = LayerStatus::Skipped;
            layer.reason = format!("layer {because} is not up; it starts when that is");
            layer.waits_for = Some(because.clone());
            for service in &mut layer.services {
                if service.status == ServiceStatus::Restarting {
                    service.status = ServiceStatus::Stopped;
                    service.restart_at = None;
                }
            }
            state.degraded = true;
        }
        _ => {}
    }
}

fn evolve_service(state: &mut BootState, at: At, event: &Event) {
    let (Event::ServiceStarted { service: name, .. }
    | Event::ServiceReady { service: name }
    | Event::ServiceUnready { service: name, .. }
    | Event::AnswerNotAttributed { service: name, .. }
    | Event::ServiceStable { service: name }
    | Event::ServiceRecovered { service: name, .. }
    | Event::ServiceExited { service: name, .. }
    | Event::ServiceRestarting { service: name, .. }
    | Event::ServiceFailed { service: name, .. }
    | Event::ServiceSkipped { service: name, .. }) = event
    else {
        return;
    };
    let stopping = state.phase == Phase::Stopping;
    let found = state.layers.iter_mut().find_map(|layer| {
        let supervised = layer.status.is_supervised();
        let mut services = layer.services.iter_mut();
        let service = services.find(|s| s.plan.name == *name)?;
        Some((supervised, service))
    });
    let Some((supervised, found)) = found else {
        return;
    };
    service::evolve(found, at, stopping || !supervised, event);
    if matches!(event, Event::ServiceExited { .. }) {
        plan_change::forget(state, name);
    }
    match event {
        // What was waited for may close missions now.
        Event::ServiceStable { .. } if state.phase == Phase::Running && state.is_stable() => {
            state.unsettled = true;
        }
        // A crash loop may be due to a fix.
        Event::ServiceRestarting { restart, .. }
            if state.phase == Phase::Running && *restart == CRASH_LOOP_ENDS =>
        {
            state.unsettled = true;
        }
        Event::ServiceExited { .. } if stopping => after_last_exit(state),
        Event::ServiceSkipped { .. } => state.degraded = true,
        _ => {}
    }
}

/// The exit code that a boot takes over from a service whose end is its own, if one has ended.
fn vital_exit(state: &BootState) -> Option<i32> {
    let services = state.layers.iter().flat_map(|l| &l.services);
    let ended = services.filter(|s| s.terms.on_end == OnEnd::Stop && has_ended(s));
    ended.filter_map(|s| s.exit).next().map(|exit| match exit {
        ExitKind::Code(code) => code,
        // As a shell says it.
        ExitKind::Signal(signal) => signal.saturating_add(128),
        ExitKind::Unknown => 1,
    })
}

/// It ended for good.
pub(super) fn has_ended(service: &ServiceState) -> bool {
    let is_final = matches!(
        service.status,
        ServiceStatus::Done | ServiceStatus::Stopped | ServiceStatus::Failed
    );
    is_final && !service.is_alive() && service.exit.is_some()
}

/// With the last process gone, a boot that stops because of a critical layer goes on to file and
/// heal the failure.
fn after_last_exit(state: &mut BootState) {
    if state.after_stop == AfterStop::Settle && !state.any_alive() {
        state.phase = Phase::Settling;
        for layer in &mut state.layers {
            if matches!(layer.status, LayerStatus::Up | LayerStatus::Starting) {
                layer.status = LayerStatus::Stopped;
            }
        }
    }
}

fn with_mission(state: &mut BootState, id: MissionId, change: impl FnOnce(&mut BootMission)) {
    if let Some(mission) = state.missions.iter_mut().find(|m| m.id == id) {
        change(mission);
    }
}

fn meet_mission(
    state: &mut BootState,
    id: MissionId,
    slug: &str,
    signature: &Signature,
    failure: &Failure,
) {
    if state.phase == Phase::Settling && failure.critical {
        *state.seen.entry(signature.clone()).or_default() += 1;
    }
    let met = BootMission {
        slug: slug.to_owned(),
        signature: signature.clone(),
        critical: failure.critical,
        layer: failure.layer.clone(),
        error: failure.error.clone(),
        remedy: failure.remedy.clone(),
        asks: failure.facts.contains_key(NEEDS_APPROVAL)
            && !matches!(failure.fix, None | Some(Remedy::ByHand { .. })),
        found_live: state.phase == Phase::Running
            && state.validations > 0
            && failure.check.is_some(),
        ..unknown_mission(state, id)
    };
    match state.missions.iter_mut().find(|m| m.id == id) {
        // While the system runs, a failure that is still there is no new work: what was found out
        // about the mission stays true until somebody changes something.
        Some(known) if state.phase == Phase::Running && !known.closed => {
            let (outcome, reason) = (known.outcome, known.reason.clone());
            let found_live = known.found_live;
            *known = BootMission { found_live, ..met };
            if outcome != Some(HealOutcome::Applied) {
                known.outcome = outcome;
                known.reason = reason;
            }
        }
        Some(known) => *known = met,
        None => state.missions.push(met),
    }
}

/// A mission of which nothing is known but that this boot has to do with it now.
fn unknown_mission(state: &BootState, id: MissionId) -> BootMission {
    BootMission {
        id,
        slug: format!("mission {id}"),
        signature: Signature(String::new()),
        critical: false,
        layer: None,
        error: String::new(),
        remedy: None,
        attempt: state.attempt,
        validation: state.validations,
        outcome: None,
        reason: String::new(),
        rolled_back: false,
        closed: false,
        layer_restarted: false,
        found_live: false,
        asks: false,
    }
}

/// A fix was taken back, also one of an earlier boot, whose mission this boot never met.
fn take_back(state: &mut BootState, id: MissionId, reason: &str) {
    let met = state.missions.iter().find(|m| m.id == id);
    // Its failure came back, and nobody has worked on that yet.
    let is_due =
        met.is_some_and(|m| m.outcome.is_none() && !m.closed && m.attempt == state.attempt);
    if met.is_none() {
        let met = BootMission {
            error: "a fix of an earlier boot made this one worse".to_owned(),
            ..unknown_mission(state, id)
        };
        state.missions.push(met);
    }
    let attempt = state.attempt;
    with_mission(state, id, |m| {
        m.rolled_back = true;
        m.closed = false;
        m.layer_restarted = false;
        m.attempt = attempt;
        m.outcome = match is_due {
            true => None,
            false => Some(HealOutcome::Rejected),
        };
        m.reason = reason.to_owned();
    });
}

fn evolve_mission(state: &mut BootState, mission: Option<MissionId>, event: &Event) {
    match (event, mission) {
        (
            Event::MissionFiled {
                mission,
                slug,
                signature,
                failure,
            },
            _,
        ) => {
            meet_mission(state, *mission, slug, signature, failure);
        }
        (
            Event::MissionRecurred {
                slug,
                signature,
                failure,
            },
            Some(id),
        ) => {
            meet_mission(state, id, slug, signature, failure);
        }
        (Event::MissionClosed { resolution, .. }, Some(id)) => with_mission(state, id, |m| {
            m.closed = true;
            m.reason = resolution.clone();
        }),
        // Others work on missions too: a person who approves, a worker beside this boot.
        (Event::FixApplied { summary, .. }, Some(id)) if state.phase == Phase::Running => {
            with_mission(state, id, |m| {
                m.outcome = Some(HealOutcome::Applied);
                m.reason = summary.clone();
            });
        }
        (Event::MissionRequeued { .. }, Some(id)) if state.phase == Phase::Running => {
            with_mission(state, id, |m| m.outcome = None);
        }
        (Event::FixRolledBack { reason }, Some(id)) => take_back(state, id, reason),
        (Event::FixUndone { by, reason }, Some(id)) => with_mission(state, id, |m| {
            m.closed = false;
            m.outcome = Some(HealOutcome::NeedsPerson);
            m.reason = format!("its fix was taken back by {by}: {reason}");
        }),
        (Event::MissionQuarantined { reason }, Some(id)) => with_mission(state, id, |m| {
            m.outcome = Some(HealOutcome::NeedsPerson);
            m.reason = reason.clone();
        }),
        _ => {}
    }
}
