//! Starting a service again because a fix changed, under it, what it may use. Neither an end that counts nor a
//! failure: what needs it goes on, and it starts when what it needs is there.

use super::command::BootRefusal;
use super::draft::{BootDraft, find_service, late};
use super::layers::tell;
use super::needs::Roster;
use super::state::{BootState, LayerState, LayerStatus, Phase};
use crate::domain::ids::At;
use crate::domain::mission::{Change, Fix};
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

/// Running services that the fix names, and that were started before `since`.
#[must_use]
pub(crate) fn named(state: &BootState, fix: &Fix, since: At) -> Vec<String> {
    let roster = Roster::of(state);
    services_named(state, fix)
        .filter(|(layer, service)| {
            may_refresh(state, &roster, layer, service)
                && service.started_at.is_some_and(|at| at < since)
        })
        .map(|(_, service)| service.plan.name.clone())
        .collect()
}

fn services_named<'s>(
    state: &'s BootState,
    fix: &'s Fix,
) -> impl Iterator<Item = (&'s LayerState, &'s ServiceState)> {
    let restarted = fix.changes.iter().flat_map(Change::restarts);
    restarted.filter_map(|name| state.service(name))
}

/// The fix does nothing but start services again: without it they need not start once more.
#[must_use]
pub(crate) fn only_restarts(fix: &Fix) -> bool {
    let is_start = |change: &&Change| matches!(change, Change::Restart { .. });
    let is_wait = |change: &&Change| matches!(change, Change::Wait { .. });
    let (starts, others): (Vec<&Change>, Vec<&Change>) = fix.changes.iter().partition(is_start);
    !starts.is_empty() && others.iter().all(is_wait)
}

/// What the fix is for is up with it, and nothing of that, or of what it names, is on its way: whoever asks now whether it
/// worked is answered by what runs with it.
#[must_use]
pub(crate) fn runs_with(state: &BootState, fix: &Fix) -> bool {
    let own = fix.layer.as_deref().and_then(|name| state.layer(name));
    state.phase == Phase::Running
        && own.is_none_or(|layer| layer.status == LayerStatus::Up)
        && !is_on_its_way(state, fix)
}

/// Something that the fix is for, or names, still has to start again with it or is on its way up.
#[must_use]
pub(crate) fn is_on_its_way(state: &BootState, fix: &Fix) -> bool {
    let own = fix.layer.as_deref().and_then(|name| state.layer(name));
    let of_layer = own.into_iter().flat_map(|layer| &layer.services);
    let mut both = of_layer.chain(services_named(state, fix).map(|(_, service)| service));
    own.is_some_and(|layer| layer.status == LayerStatus::Starting)
        || !named(state, fix, fix.applied_at).is_empty()
        || both.any(|service| comes_up(service) || service.again)
}

/// It is on its way up, and has not failed at it so far.
fn comes_up(service: &ServiceState) -> bool {
    let starts = matches!(
        service.status,
        ServiceStatus::Starting | ServiceStatus::Restarting
    );
    starts && service.ends == 0
}

/// Those of `wanted` whose turn it is: nothing that they need, and no layer before theirs, still has to start again or
/// is on its way up. What cannot come up is not waited for.
#[must_use]
pub(crate) fn due(state: &BootState, wanted: &[String]) -> Vec<String> {
    let is_wanted = |service: &ServiceState| wanted.contains(&service.plan.name);
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
