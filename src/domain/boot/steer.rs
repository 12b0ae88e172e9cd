//! What a person asks of one service of a boot: start, stop, restart.
//!
//! A service that a person stopped stays stopped, whatever its restart policy, its layer and later attempts
//! want, until a person starts it. There is one instance at any time: what is started again while it runs is
//! stopped first.

use super::command::BootRefusal;
use super::draft::{BootDraft, find_service};
use super::layers::raise_layer;
use super::state::{LayerState, LayerStatus, Phase};
use crate::domain::event::{Event, ServiceOrder};
use crate::domain::service::{ServiceState, ServiceStatus};

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
    if found.terms.disabled {
        return Err(BootRefusal::Refused {
            why: format!("service {service} is disabled in the manifest"),
        });
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
