//! Starting a service again because a fix changed, under it, what it may use. Neither an end that counts nor a
//! failure: what needs it goes on, and it starts when what it needs is there.

use super::command::BootRefusal;
use super::draft::{BootDraft, find_service, late};
use super::layers::tell;
use super::needs::Roster;
use super::state::{BootState, LayerState, Phase};
use crate::domain::ids::At;
use crate::domain::mission::Fix;
use crate::domain::service::{Report, ServiceState, ServiceStatus};

pub(super) fn refresh(
    draft: &mut BootDraft,
    service: &str,
    reason: String,
) -> Result<(), BootRefusal> {
    let (layer, found) = find_service(&draft.state, service)?;
    if !may_refresh(&draft.state, &Roster::of(&draft.state), layer, found) {
        return Err(late(&draft.state, "a service's new start"));
    }
    tell(draft, service, Report::Refreshed(reason), String::new())
}

/// What runs, is meant to run, and could start again: what it needs may be gone by now, and it works without.
fn may_refresh(
    state: &BootState,
    roster: &Roster<'_>,
    layer: &LayerState,
    service: &ServiceState,
) -> bool {
    state.phase == Phase::Running
        && layer.status.is_supervised()
        && service.may_be_refreshed()
        && roster.why_lost(service).is_none()
}

/// Running services that may use what the fix changed at `since`, and were started before: those of the layer that it
/// is for; where that is not known, all, if files changed. A database is read anew by whoever asks it.
#[must_use]
pub(crate) fn affected(state: &BootState, fix: &Fix, since: At) -> Vec<String> {
    let own = fix
        .layer
        .as_deref()
        .filter(|name| state.layer(name).is_some());
    let layers = state.layers.iter().filter(|layer| match own {
        Some(name) => layer.name == name,
        None => !fix.files.is_empty(),
    });
    let roster = Roster::of(state);
    layers
        .flat_map(|layer| layer.services.iter().map(move |service| (layer, service)))
        .filter(|(layer, service)| {
            may_refresh(state, &roster, layer, service)
                && service.started_at.is_some_and(|at| at < since)
        })
        .map(|(_, service)| service.plan.name.clone())
        .collect()
}

/// Those of `wanted` whose turn it is: nothing that they need, and no layer before theirs, still has to start again or
/// is on its way up. What cannot come up is not waited for.
#[must_use]
pub(crate) fn due(state: &BootState, wanted: &[String]) -> Vec<String> {
    let is_wanted = |service: &ServiceState| wanted.contains(&service.plan.name);
    let comes_up = |service: &ServiceState| {
        let starts = matches!(
            service.status,
            ServiceStatus::Starting | ServiceStatus::Restarting
        );
        starts && service.ends == 0
    };
    let waits = |service: &ServiceState| {
        let needs = service.terms.needs.iter();
        let mut needed = needs.filter_map(|need| state.service(&need.service));
        needed.any(|(_, needed)| is_wanted(needed) || comes_up(needed))
    };
    let layers = state.layers.iter();
    for layer in layers.filter(|layer| layer.status.is_supervised()) {
        let names = |may: &dyn Fn(&ServiceState) -> bool| -> Vec<String> {
            let own = layer.services.iter().filter(|service| is_wanted(service));
            own.filter(|service| may(service))
                .map(|service| service.plan.name.clone())
                .collect()
        };
        let due = names(&|service| !waits(service));
        let any_comes_up = layer.services.iter().any(comes_up);
        if !due.is_empty() || any_comes_up {
            return due;
        }
        let all = names(&|_| true);
        if !all.is_empty() {
            // They wait for what comes later: nothing is gained by that.
            return all;
        }
    }
    vec![]
}
