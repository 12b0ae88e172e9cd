//! A plan that changes while the boot runs: what the event of [`super::replan`] folds into.
//!
//! What runs goes on; only what is gone or disabled is stopped. What a service is started with is not part of the plan.

use super::state::{BootState, LayerState, LayerStatus};
use crate::domain::event::LayerPlan;
use crate::domain::finding::CheckName;
use crate::domain::ids::At;
use crate::domain::service::{ServiceState, ServiceStatus};

/// The layers of the plan, before anything of them was started.
pub(super) fn fresh_layers(state: &BootState) -> Vec<LayerState> {
    let layers = state.plan.layers.iter();
    layers.map(|layer| fresh_layer(state, layer)).collect()
}

fn fresh_layer(state: &BootState, plan: &LayerPlan) -> LayerState {
    let services = plan.services.iter().map(|service| {
        let rules = state.rules.get(&service.name).cloned().unwrap_or_default();
        let terms = state.terms.get(&service.name).cloned().unwrap_or_default();
        ServiceState::fresh(service, rules, terms)
    });
    LayerState {
        name: plan.name.clone(),
        critical: plan.critical,
        after: plan.after.clone(),
        needing: state.needing.contains(&plan.name),
        status: LayerStatus::Pending,
        started_at: None,
        up_at: None,
        failure: None,
        reason: String::new(),
        waits_for: None,
        services: services.collect(),
    }
}

/// Takes a layer of the new plan, with the services that it names, into the plan and the state. What the state knows of
/// their rules and terms is as it shall be already.
pub(super) fn put(state: &mut BootState, plan: &LayerPlan) {
    let Some(known) = state.plan.layers.iter_mut().find(|l| l.name == plan.name) else {
        let fresh = fresh_layer(state, plan);
        state.plan.layers.push(plan.clone());
        state.layers.push(fresh);
        return;
    };
    known.critical = plan.critical;
    known.after.clone_from(&plan.after);
    for service in &plan.services {
        match known.services.iter_mut().find(|s| s.name == service.name) {
            Some(known) => *known = service.clone(),
            None => known.services.push(service.clone()),
        }
    }
    let fresh = fresh_layer(state, plan);
    let Some(layer) = state.layers.iter_mut().find(|l| l.name == plan.name) else {
        return;
    };
    layer.critical = fresh.critical;
    layer.after = fresh.after;
    layer.needing = fresh.needing;
    let mut starts = false;
    for fresh in fresh.services {
        let name = &fresh.plan.name;
        match layer.services.iter_mut().find(|s| s.plan.name == *name) {
            Some(service) => starts |= replan(service, fresh),
            None => {
                starts |= !fresh.terms.disabled;
                layer.services.push(fresh);
            }
        }
    }
    if starts || layer.status == LayerStatus::Failed {
        layer.wait_again();
    }
}

/// Says whether it is to be started, and was not.
fn replan(service: &mut ServiceState, fresh: ServiceState) -> bool {
    service.plan = fresh.plan;
    service.rules = fresh.rules;
    let was_disabled = std::mem::replace(&mut service.terms, fresh.terms).disabled;
    if service.terms.disabled {
        disable(service);
        return false;
    }
    if was_disabled && !service.is_held() {
        service.want_again();
        return true;
    }
    false
}

/// It is stopped, if it runs, and not wanted any more.
fn disable(service: &mut ServiceState) {
    service.restart_at = None;
    service.again = false;
    service.stable = false;
    service.held_by = None;
    service.error.clear();
    service.status = if service.is_alive() {
        ServiceStatus::Stopped
    } else {
        ServiceStatus::Disabled
    };
}

/// Takes a service out of the plan; it is known until its process has ended.
pub(super) fn remove(state: &mut BootState, name: &str) {
    for layer in &mut state.plan.layers {
        layer.services.retain(|service| service.name != name);
    }
    for layer in &mut state.layers {
        let Some(service) = layer.services.iter_mut().find(|s| s.plan.name == name) else {
            continue;
        };
        service.terms.disabled = true;
        disable(service);
        // What failed is gone.
        if layer.status == LayerStatus::Failed {
            layer.wait_again();
        }
    }
    forget(state, name);
}

/// The running system is validated by these checks so often from now on.
pub(super) fn validate(state: &mut BootState, at: At, every_ms: Option<u64>, checks: &[CheckName]) {
    if state.plan.validate_every_ms != every_ms {
        state.plan.validate_every_ms = every_ms;
        state.validation_due = every_ms.map(|ms| at.plus_ms(ms));
    }
    // What is new is asked by the next validation: nobody waits for it before.
    if !state.validating {
        let new = checks
            .iter()
            .filter(|check| !state.plan.checks.contains(check));
        state.checks_finished.extend(new);
    }
    state.plan.checks = checks.to_vec();
    // What a check said that there is no longer is nobody's ground.
    state.reports.retain(|check, _| checks.contains(check));
}

/// Nothing is known of a service that the plan no longer has, once its process has ended.
pub(super) fn forget(state: &mut BootState, name: &str) {
    let mut planned = state.plan.layers.iter().flat_map(|l| &l.services);
    if planned.any(|service| service.name == name) {
        return;
    }
    for layer in &mut state.layers {
        let gone = |s: &ServiceState| s.plan.name == name && !s.is_alive();
        layer.services.retain(|service| !gone(service));
    }
    if state.service(name).is_none() {
        state.rules.remove(name);
        state.terms.remove(name);
    }
}
