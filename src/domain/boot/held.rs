//! Services that a person stopped or starts again: what the events of [`super::steer`] fold into.

use super::state::{BootState, LayerState, LayerStatus};
use crate::domain::event::ServiceOrder;
use crate::domain::service::{ServiceState, ServiceStatus};

/// Folds the event of an order.
pub(super) fn steered(state: &mut BootState, name: &str, order: ServiceOrder, by: &str) {
    let found = state
        .layers
        .iter_mut()
        .find(|l| l.services.iter().any(|s| s.plan.name == name));
    let Some(layer) = found else { return };
    let supervised = layer.status.is_supervised();
    let Some(service) = layer.services.iter_mut().find(|s| s.plan.name == name) else {
        return;
    };
    service.restart_at = None;
    service.stable = false;
    service.error.clear();
    service.again = false;
    if order == ServiceOrder::Stop {
        service.held_by = Some(by.to_owned());
        service.status = ServiceStatus::Stopped;
        return;
    }
    service.held_by = None;
    service.ends = 0;
    service.last_end.clear();
    if service.is_alive() {
        service.again = true;
        service.status = ServiceStatus::Stopped;
    } else {
        service.status = ServiceStatus::Pending;
    }
    // The layer is up again when the service is, and what waits for the layer waits until then.
    let has_failed = |s: &ServiceState| s.status == ServiceStatus::Failed;
    if supervised && !layer.services.iter().any(has_failed) {
        layer.status = LayerStatus::Starting;
        layer.failure = None;
        layer.reason.clear();
    }
}

/// Services that a person stopped, carried over into the layers of a new attempt.
pub(super) fn keep_held(before: &[LayerState], layers: &mut [LayerState]) {
    let held = before.iter().flat_map(|l| &l.services);
    for kept in held.filter(|s| s.is_held()) {
        let services = layers.iter_mut().flat_map(|l| &mut l.services);
        for service in services.filter(|s| s.plan.name == kept.plan.name) {
            service.held_by.clone_from(&kept.held_by);
            service.status = ServiceStatus::Stopped;
        }
    }
}
