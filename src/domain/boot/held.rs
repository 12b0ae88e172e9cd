//! Services that a person stopped or starts again: what the events of [`super::steer`] fold into.

use super::state::{BootState, LayerState};
use crate::domain::event::ServiceOrder;
use crate::domain::service::ServiceStatus;

/// Folds the event of an order.
pub(super) fn steered(state: &mut BootState, name: &str, order: ServiceOrder, by: &str) {
    let found = state
        .layers
        .iter_mut()
        .find(|l| l.services.iter().any(|s| s.plan.name == name));
    let Some(layer) = found else { return };
    let Some(service) = layer.services.iter_mut().find(|s| s.plan.name == name) else {
        return;
    };
    if order == ServiceOrder::Stop {
        service.hold(by);
        return;
    }
    service.want_again();
    layer.wait_again();
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
