//! What a person asks of one service of a boot: start, stop, restart.
//!
//! A service that a person stopped stays stopped, whatever its restart policy, its layer and later attempts
//! want, until a person starts it. There is one instance at any time: what is started again while it runs is
//! stopped first.

use super::command::BootRefusal;
use super::draft::{BootDraft, find_service};
use super::layers::raise_layer;
use super::state::{BootState, LayerState, LayerStatus, Phase, ServiceState, ServiceStatus};
use crate::domain::event::{Event, ServiceOrder};

impl ServiceState {
    /// A person stopped it.
    #[must_use]
    pub(crate) fn is_held(&self) -> bool {
        self.held_by.is_some()
    }

    /// Its end is what a person asked for.
    pub(super) fn is_steered(&self) -> bool {
        self.is_held() || self.again
    }
}

pub(super) fn steer(
    draft: &mut BootDraft,
    service: &str,
    order: ServiceOrder,
    by: String,
) -> Result<(), BootRefusal> {
    let state = &draft.state;
    let (layer, found) = find_service(state, service)?;
    if !matches!(state.phase, Phase::Starting | Phase::Running) {
        return Err(BootRefusal::Refused {
            why: format!(
                "the boot is {}: a service is steered while the system starts or runs",
                state.phase.as_str()
            ),
        });
    }
    let has_effect = match order {
        ServiceOrder::Stop => would_stop(found),
        ServiceOrder::Start => would_start(layer, found)?,
        ServiceOrder::Restart => {
            require_layer(layer, found)?;
            true
        }
    };
    if !has_effect {
        return Ok(());
    }
    let layer = layer.name.clone();
    draft.push(Event::ServiceSteered {
        service: service.to_owned(),
        order,
        by,
    });
    // Nobody waits for a service that a person stopped.
    raise_layer(draft, &layer);
    Ok(())
}

fn would_stop(service: &ServiceState) -> bool {
    let is_over = service.status == ServiceStatus::Done && !service.is_alive();
    !service.is_held() && !is_over
}

fn would_start(layer: &LayerState, service: &ServiceState) -> Result<bool, BootRefusal> {
    if service.is_held() {
        return Ok(true);
    }
    let runs_or_will = match service.status {
        ServiceStatus::Failed => false,
        ServiceStatus::Restarting => false,
        ServiceStatus::Pending => layer.status.is_supervised(),
        _ => service.is_alive(),
    };
    if runs_or_will {
        return Ok(false);
    }
    require_layer(layer, service)?;
    Ok(true)
}

/// A service starts with its layer, not before it.
fn require_layer(layer: &LayerState, service: &ServiceState) -> Result<(), BootRefusal> {
    if layer.status.is_supervised() {
        return Ok(());
    }
    let why = match layer.status {
        LayerStatus::Pending => "is not started yet".to_owned(),
        status if layer.reason.is_empty() => format!("is {}", status.as_str()),
        status => format!("is {}: {}", status.as_str(), layer.reason),
    };
    Err(BootRefusal::Refused {
        why: format!(
            "service {} starts with its layer {}, which {why}",
            service.plan.name, layer.name
        ),
    })
}

/// Folds [`Event::ServiceSteered`].
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

/// Where a service stands whose process ended because a person asked; false if nobody did.
pub(super) fn ended(service: &mut ServiceState, stopping: bool) -> bool {
    let steered = service.is_steered();
    let starts = std::mem::take(&mut service.again) && !stopping;
    if steered {
        service.status = if starts {
            ServiceStatus::Pending
        } else {
            ServiceStatus::Stopped
        };
    }
    steered
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
