//! Decisions about layers and their services: start, readiness, end, restart.

use super::command::BootRefusal;
use super::draft::{BootDraft, find_service, late};
use super::evolve::has_ended;
use super::needs::{Roster, unmet_layer};
use super::state::{BootState, LayerState, LayerStatus, Phase};
use crate::domain::event::{Event, Mode, OnEnd, OnFailure};
use crate::domain::service::{self, Report, ServiceState, ServiceStatus, Surroundings};

pub(super) fn start_layer(draft: &mut BootDraft, name: &str) -> Result<(), BootRefusal> {
    let state = &draft.state;
    let layer = state.layer(name).ok_or_else(|| BootRefusal::Unknown {
        what: "layer",
        name: name.to_owned(),
    })?;
    let allowed = match (state.phase, layer.status) {
        // While the boot runs, it is new.
        (Phase::Starting | Phase::Running, LayerStatus::Pending) => true,
        (Phase::Running, LayerStatus::Failed | LayerStatus::Skipped) => layer.may_start_again(),
        _ => false,
    };
    if !allowed {
        return Err(late(state, "a layer's start"));
    }
    // In a layer that failed, siblings may run: they are not stopped because another layer failed too.
    let failed = layer.status == LayerStatus::Failed;
    let unmet = unmet_layer(state, name).filter(|_| !failed);
    let layer = name.to_owned();
    if let Some(because) = unmet.map(str::to_owned) {
        draft.push(Event::LayerSkipped { layer, because });
    } else {
        draft.push(Event::LayerStarted { layer });
        raise_layer(draft, name);
    }
    Ok(())
}

/// The layer is up if all its services are ready, but for those that a person stopped or that ended by their policy.
pub(super) fn raise_layer(draft: &mut BootDraft, name: &str) {
    let up = draft.state.layer(name).is_some_and(|layer| {
        let mut services = layer.services.iter();
        layer.status == LayerStatus::Starting && services.all(ServiceState::is_settled)
    });
    if up {
        draft.push(Event::LayerUp {
            layer: name.to_owned(),
        });
    }
}

/// Tells a service what happened to it, and its layer and boot what follows. `output`: its last lines.
pub(super) fn tell(
    draft: &mut BootDraft,
    service: &str,
    report: Report,
    output: String,
) -> Result<(), BootRefusal> {
    let (layer, found) = find_service(&draft.state, service)?;
    let around = surroundings(&draft.state, layer);
    let events = service::decide(found, around, draft.context, report)
        .map_err(|service::Late(what)| late(&draft.state, what))?;
    let layer = layer.name.clone();
    for event in events {
        let error = match &event {
            Event::ServiceFailed { error, .. } => Some(error.clone()),
            _ => None,
        };
        draft.push(event);
        if let Some(error) = error
            && !end_with(draft, service)
        {
            fail_layer(draft, &layer, service, &error, output.clone());
        }
    }
    end_with(draft, service);
    raise_layer(draft, &layer);
    Ok(())
}

fn surroundings(state: &BootState, layer: &LayerState) -> Surroundings {
    Surroundings {
        stopping: state.phase == Phase::Stopping || !layer.status.is_supervised(),
        // Not while a sibling is being restarted in a layer that was up.
        starting: layer.status == LayerStatus::Starting && layer.up_at.is_none(),
        fast: state.plan.mode == Mode::Fast,
        in_trial: state.is_fix_in_trial(&layer.name),
    }
}

/// The boot stops with a service whose end is the boot's; says whether it does.
fn end_with(draft: &mut BootDraft, service: &str) -> bool {
    if !matches!(draft.state.phase, Phase::Starting | Phase::Running) {
        return false;
    }
    let found = draft.state.service(service).map(|(_, found)| found);
    let Some(exit) = found
        .filter(|s| s.terms.on_end == OnEnd::Stop && has_ended(s))
        .and_then(|s| s.exit)
    else {
        return false;
    };
    let by = format!("the end of service {service} ({exit})");
    draft.push(Event::StopRequested { by });
    true
}

fn fail_layer(draft: &mut BootDraft, layer: &str, service: &str, error: &str, output: String) {
    let on_failure = draft
        .state
        .service(service)
        .map_or(OnFailure::Boot, |(_, s)| s.rules.on_failure);
    let was_up = draft.state.phase == Phase::Running;
    // Once the boot was up, nothing healthy is stopped because something else broke, unless that is asked for.
    let critical = draft.state.plan.mode == Mode::Fast
        || draft.state.layer(layer).is_some_and(|l| l.critical)
            && (!was_up || on_failure == OnFailure::Boot);
    draft.push(Event::LayerFailed {
        layer: layer.to_owned(),
        error: format!("service {service} {error}"),
        service: service.to_owned(),
        critical,
        output,
    });
    if !critical && on_failure == OnFailure::Dependents {
        skip_dependents(draft, layer);
        skip_lost(draft, true);
    }
}

/// Skips every service that waits for what cannot be, and what waits for that in turn; `running` too: also
/// those that were started.
pub(super) fn skip_lost(draft: &mut BootDraft, running: bool) {
    if !matches!(draft.state.phase, Phase::Starting | Phase::Running) {
        return;
    }
    loop {
        let roster = Roster::of(&draft.state);
        let waits = |s: &&ServiceState| match s.status {
            ServiceStatus::Pending => true,
            ServiceStatus::Failed
            | ServiceStatus::Skipped
            | ServiceStatus::Disabled
            | ServiceStatus::Done
            | ServiceStatus::Stopped => false,
            _ => running,
        };
        let supervised = draft.state.layers.iter();
        let services = supervised
            .filter(|l| l.status.is_supervised())
            .flat_map(|l| &l.services);
        let lost: Vec<(String, String)> = services
            .filter(waits)
            .filter_map(|s| Some((s.plan.name.clone(), roster.why_lost(s)?)))
            .collect();
        if lost.is_empty() {
            return;
        }
        for (service, because) in lost {
            // Each of them waits or runs, so none is too late.
            let _ = tell(draft, &service, Report::Skipped(because), String::new());
        }
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

/// What is due by itself, of every service that is supervised.
pub(super) fn pass_time(draft: &mut BootDraft) {
    let at = draft.context.at;
    if !matches!(draft.state.phase, Phase::Starting | Phase::Running) {
        return;
    }
    let layers = draft.state.layers.iter();
    let services = layers
        .filter(|l| l.status.is_supervised())
        .flat_map(|l| &l.services);
    let due: Vec<String> = services
        .filter(|s| s.next_moment().is_some_and(|due| due <= at))
        .map(|s| s.plan.name.clone())
        .collect();
    for service in due {
        // What is due is never too late.
        let _ = tell(draft, &service, Report::TimePassed, String::new());
    }
}
