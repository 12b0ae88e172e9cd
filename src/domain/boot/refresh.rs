//! Starting a service again because a fix changed, under it, what it may use. Neither an end that counts nor a
//! failure: the service waits for its restart while it stops.

use super::command::BootRefusal;
use super::draft::{BootDraft, find_service, late};
use super::state::{BootState, Phase, ServiceState, ServiceStatus};
use crate::domain::event::{Event, ExitKind};
use crate::domain::ids::At;
use crate::domain::mission::Fix;

pub(super) fn refresh(
    draft: &mut BootDraft,
    service: &str,
    reason: String,
) -> Result<(), BootRefusal> {
    let (layer, found) = find_service(&draft.state, service)?;
    let may = draft.state.phase == Phase::Running && layer.status.is_supervised() && runs(found);
    if !may {
        return Err(late(&draft.state, "a service's new start"));
    }
    let restart = found.ends;
    draft.push(Event::ServiceRestarting {
        service: service.to_owned(),
        restart,
        at: draft.context.at,
        reason,
    });
    Ok(())
}

/// Its process runs, and is meant to.
fn runs(service: &ServiceState) -> bool {
    service.is_alive()
        && !service.plan.oneshot
        && matches!(
            service.status,
            ServiceStatus::Starting | ServiceStatus::Ready | ServiceStatus::Unready
        )
}

/// The service stops in order to start again.
pub(super) fn is_refreshed(state: &BootState, service: &str) -> bool {
    state.phase == Phase::Running
        && state
            .service(service)
            .is_some_and(|(_, s)| s.is_alive() && s.status == ServiceStatus::Restarting)
}

/// It has stopped: now it starts.
pub(super) fn start_anew(draft: &mut BootDraft, service: String, exit: ExitKind) {
    let found = draft.state.service(&service);
    let (restart, reason) = found.map_or((0, String::new()), |(_, found)| {
        (found.ends, found.last_end.clone())
    });
    draft.push(Event::ServiceExited {
        service: service.clone(),
        exit,
        expected: true,
    });
    draft.push(Event::ServiceRestarting {
        service,
        restart,
        at: draft.context.at,
        reason,
    });
}

/// Running services that may use what the fix changed at `since`, and were started before: those of the layer that it
/// is for; where that is not known, all, if files changed. A database is read anew by whoever asks it.
#[must_use]
pub(crate) fn affected(state: &BootState, fix: &Fix, since: At) -> Vec<String> {
    if state.phase != Phase::Running {
        return vec![];
    }
    let own = fix
        .layer
        .as_deref()
        .filter(|name| state.layer(name).is_some());
    let layers = state.layers.iter().filter(|layer| match own {
        Some(name) => layer.name == name,
        None => !fix.files.is_empty(),
    });
    layers
        .filter(|layer| layer.status.is_supervised())
        .flat_map(|layer| &layer.services)
        .filter(|service| runs(service) && service.started_at.is_some_and(|at| at < since))
        .map(|service| service.plan.name.clone())
        .collect()
}
