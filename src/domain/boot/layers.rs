//! Decisions about layers and their services: start, readiness, end, restart.

use super::command::BootRefusal;
use super::draft::{BootDraft, find_service, late};
use super::state::{LayerStatus, Phase, ServiceState, ServiceStatus};
use crate::domain::backoff::backoff_ms;
use crate::domain::event::{Event, ExitKind, Mode, RestartPolicy};

pub(super) fn start_layer(draft: &mut BootDraft, name: &str) -> Result<(), BootRefusal> {
    let state = &draft.state;
    let layer = state.layer(name).ok_or_else(|| BootRefusal::Unknown {
        what: "layer",
        name: name.to_owned(),
    })?;
    let allowed = match (state.phase, layer.status) {
        (Phase::Starting, LayerStatus::Pending) => true,
        (Phase::Running, LayerStatus::Failed | LayerStatus::Skipped) => {
            !layer.services.iter().any(ServiceState::is_alive)
        }
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

/// The layer is up if all its services are ready.
pub(super) fn raise_layer(draft: &mut BootDraft, name: &str) {
    let up = draft.state.layer(name).is_some_and(|layer| {
        layer.status == LayerStatus::Starting
            && layer
                .services
                .iter()
                .all(|s| matches!(s.status, ServiceStatus::Ready | ServiceStatus::Done))
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
    let critical =
        draft.state.plan.mode == Mode::Fast || draft.state.layer(layer).is_some_and(|l| l.critical);
    draft.push(Event::LayerFailed {
        layer: layer.to_owned(),
        error: format!("service {service} {error}"),
        service,
        critical,
        output,
    });
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
    let was_ready = found.status == ServiceStatus::Ready;
    let stopping = state.phase == Phase::Stopping
        || !matches!(layer.status, LayerStatus::Starting | LayerStatus::Up);
    let layer = layer.name.clone();
    if stopping {
        draft.push(Event::ServiceExited {
            service,
            exit,
            expected: true,
        });
        return Ok(());
    }
    if plan.oneshot && exit.is_success() {
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
    if ended_well && was_ready && plan.restart != RestartPolicy::Always {
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
    let what = match reason {
        Some(reason) => format!("was ended: {reason}"),
        None if plan.oneshot => format!("ended with {exit}"),
        None if was_ready => format!("ended with {exit}"),
        None => format!("ended with {exit} before it was ready"),
    };
    let at = draft.context.at;
    let recent = draft.state.service(&service).map_or(0, |(_, s)| {
        s.restarts
            .iter()
            .filter(|r| at.ms_since(**r) < plan.restart_window_ms)
            .count()
    });
    let restart = u32::try_from(recent).unwrap_or(u32::MAX).saturating_add(1);
    let may_restart = match plan.restart {
        RestartPolicy::Never => false,
        RestartPolicy::Always => !plan.oneshot,
        RestartPolicy::OnFailure => !ended_well && !plan.oneshot,
    };
    if may_restart && restart <= plan.restarts_max {
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
            format!("{what}; given up after {} restarts", plan.restarts_max)
        } else {
            what
        };
        fail_service(draft, &layer, service, error, output);
    }
    Ok(())
}
