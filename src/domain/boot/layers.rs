//! Decisions about layers and their services: start, readiness, end, restart.

use super::command::BootRefusal;
use super::draft::{BootDraft, find_service, late};
use super::state::{LayerStatus, Phase, ServiceStatus};
use crate::domain::backoff::backoff_ms;
use crate::domain::event::{Event, ExitKind, Mode, OnFailure, RestartPolicy};
use crate::domain::ids::At;
use crate::domain::words::count;

pub(super) fn start_layer(draft: &mut BootDraft, name: &str) -> Result<(), BootRefusal> {
    let state = &draft.state;
    let layer = state.layer(name).ok_or_else(|| BootRefusal::Unknown {
        what: "layer",
        name: name.to_owned(),
    })?;
    let allowed = match (state.phase, layer.status) {
        (Phase::Starting, LayerStatus::Pending) => true,
        (Phase::Running, LayerStatus::Failed | LayerStatus::Skipped) => layer.may_start_again(),
        _ => false,
    };
    if !allowed {
        return Err(late(state, "a layer's start"));
    }
    draft.push(Event::LayerStarted {
        layer: name.to_owned(),
    });
    raise_layer(draft, name);
    Ok(())
}

/// The layer is up if all its services are ready, but for those that a person stopped.
pub(super) fn raise_layer(draft: &mut BootDraft, name: &str) {
    let up = draft.state.layer(name).is_some_and(|layer| {
        layer.status == LayerStatus::Starting
            && layer.services.iter().all(|s| {
                matches!(s.status, ServiceStatus::Ready | ServiceStatus::Done) || s.is_held()
            })
    });
    if up {
        draft.push(Event::LayerUp {
            layer: name.to_owned(),
        });
    }
}

pub(super) fn fail_service(
    draft: &mut BootDraft,
    layer: &str,
    service: String,
    error: String,
    output: String,
) {
    draft.push(Event::ServiceFailed {
        service: service.clone(),
        error: error.clone(),
    });
    let on_failure = draft
        .state
        .service(&service)
        .map_or(OnFailure::Boot, |(_, s)| s.rules.on_failure);
    let was_up = draft.state.phase == Phase::Running;
    // Once the boot was up, nothing healthy is stopped because something else broke, unless that is asked for.
    let critical = draft.state.plan.mode == Mode::Fast
        || draft.state.layer(layer).is_some_and(|l| l.critical)
            && (!was_up || on_failure == OnFailure::Boot);
    draft.push(Event::LayerFailed {
        layer: layer.to_owned(),
        error: format!("service {service} {error}"),
        service,
        critical,
        output,
    });
    if !critical && on_failure == OnFailure::Dependents {
        skip_dependents(draft, layer);
    }
}

/// What comes after the layer is stopped, or not started, until the layer is up again.
fn skip_dependents(draft: &mut BootDraft, layer: &str) {
    let mut gone = vec![layer.to_owned()];
    loop {
        let next = draft.state.layers.iter().find(|l| {
            !gone.contains(&l.name)
                && l.after.iter().any(|before| gone.contains(before))
                && matches!(
                    l.status,
                    LayerStatus::Pending | LayerStatus::Starting | LayerStatus::Up
                )
        });
        let Some(name) = next.map(|l| l.name.clone()) else {
            return;
        };
        draft.push(Event::LayerSkipped {
            layer: name.clone(),
            because: layer.to_owned(),
        });
        gone.push(name);
    }
}

/// What is due by itself: services that have run for long enough without a probe, that have been ready for
/// long enough to be stable, and whose earlier ends no longer count.
pub(super) fn pass_time(draft: &mut BootDraft) {
    let at = draft.context.at;
    let is_due = |moment: Option<At>| moment.is_some_and(|due| due <= at);
    let mut due = Vec::new();
    if !matches!(draft.state.phase, Phase::Starting | Phase::Running) {
        return;
    }
    for layer in &draft.state.layers {
        if !layer.status.is_supervised() {
            continue;
        }
        for service in &layer.services {
            let name = || service.plan.name.clone();
            if is_due(service.proved_at()) {
                due.push((layer.name.clone(), Event::ServiceReady { service: name() }));
            }
            if is_due(service.stable_at()) {
                due.push((layer.name.clone(), Event::ServiceStable { service: name() }));
            }
            if is_due(service.recovered_at()) {
                let (service, ends) = (name(), service.ends);
                let recovered = Event::ServiceRecovered { service, ends };
                due.push((layer.name.clone(), recovered));
            }
        }
    }
    for (layer, event) in due {
        let is_ready = matches!(event, Event::ServiceReady { .. });
        draft.push(event);
        if is_ready {
            raise_layer(draft, &layer);
        }
    }
}

pub(super) fn exit_service(
    draft: &mut BootDraft,
    service: String,
    exit: ExitKind,
    reason: Option<String>,
    output: String,
) -> Result<(), BootRefusal> {
    let state = &draft.state;
    let (layer, found) = find_service(state, &service)?;
    if !found.is_alive() {
        return Err(late(state, "a service's exit"));
    }
    let plan = found.plan.clone();
    let was_ready = matches!(found.status, ServiceStatus::Ready | ServiceStatus::Unready);
    let stopping = state.phase == Phase::Stopping
        || found.status == ServiceStatus::Failed
        || found.is_steered()
        || !layer.status.is_supervised();
    let starting = layer.status == LayerStatus::Starting;
    let declared = reason.is_none()
        && matches!(exit, ExitKind::Code(code) if found.rules.success.contains(&code));
    let ends = found.ends;
    let layer = layer.name.clone();
    if stopping {
        draft.push(Event::ServiceExited {
            service,
            exit,
            expected: true,
        });
        return Ok(());
    }
    if declared && !plan.oneshot && plan.restart != RestartPolicy::Always {
        draft.push(Event::ServiceExited {
            service,
            exit,
            expected: true,
        });
        raise_layer(draft, &layer);
        return Ok(());
    }
    if plan.oneshot && (exit.is_success() || declared) {
        draft.push(Event::ServiceExited {
            service: service.clone(),
            exit,
            expected: true,
        });
        draft.push(Event::ServiceReady { service });
        raise_layer(draft, &layer);
        return Ok(());
    }
    let ended_well = exit.is_success() && reason.is_none();
    // A service that is done with its work, by its own policy.
    if ended_well && was_ready && !starting && plan.restart != RestartPolicy::Always {
        draft.push(Event::ServiceExited {
            service,
            exit,
            expected: true,
        });
        return Ok(());
    }
    draft.push(Event::ServiceExited {
        service: service.clone(),
        exit,
        expected: false,
    });
    let may_restart = match plan.restart {
        RestartPolicy::Never => false,
        RestartPolicy::Always => !plan.oneshot,
        RestartPolicy::OnFailure => !ended_well && !plan.oneshot,
    };
    let what = match reason {
        Some(reason) => format!("was ended: {reason}"),
        None if plan.oneshot => format!("ended with {exit}"),
        None if ended_well && !may_restart => format!(
            "ended with {exit} before {}; declare `oneshot = true` or `success = [0]` if that is right",
            if was_ready {
                "its layer was up"
            } else {
                "it was ready"
            }
        ),
        None if was_ready => format!("ended with {exit}"),
        None => format!("ended with {exit} before it was ready"),
    };
    let at = draft.context.at;
    let restart = ends.saturating_add(1);
    let unlimited = plan.restarts_max == u32::MAX;
    if may_restart && (unlimited || restart <= plan.restarts_max) {
        let wait_ms = backoff_ms(
            restart,
            plan.restart_backoff_ms,
            plan.restart_backoff_ms_max,
            draft.context.random_per_mille,
        );
        draft.push(Event::ServiceRestarting {
            service,
            restart,
            at: at.plus_ms(wait_ms),
            reason: what,
        });
    } else {
        let error = if may_restart {
            {
                let max = usize::try_from(plan.restarts_max).unwrap_or(usize::MAX);
                format!("{what}; given up after {}", count(max, "restart"))
            }
        } else {
            what
        };
        fail_service(draft, &layer, service, error, output);
    }
    Ok(())
}
