//! Whether what failed is well in what runs now: ready and stable, not merely started.

use super::state::{BootState, LayerState, LayerStatus, Phase};
use crate::domain::mission::Failure;
use crate::domain::service::{ServiceState, ServiceStatus};

/// Ends of a service, none of them followed by `reset_after` of being ready, that are a crash loop.
pub(super) const CRASH_LOOP_ENDS: u32 = 3;

/// Every service of the layer is ready and stable, is done, or is not wanted.
#[must_use]
pub(super) fn is_layer_stable(layer: &LayerState) -> bool {
    layer.status == LayerStatus::Up && layer.services.iter().all(is_service_stable)
}

fn is_service_stable(service: &ServiceState) -> bool {
    match service.status {
        ServiceStatus::Done | ServiceStatus::Disabled => true,
        ServiceStatus::Stopped => !service.again,
        _ => service.is_stable(),
    }
}

/// The failure is gone from what runs: its layer is up and stable, or without a layer all that is needed.
#[must_use]
pub(super) fn is_proved_by_running(state: &BootState, failure: &Failure) -> bool {
    let own = failure.layer.as_deref().and_then(|name| state.layer(name));
    match own {
        Some(layer) => is_layer_stable(layer),
        None => {
            state.phase == Phase::Running
                && state
                    .layers
                    .iter()
                    .filter(|layer| layer.critical)
                    .all(is_layer_stable)
        }
    }
}

/// What shows that a service that failed while it ran is well in this boot, or why it is not.
pub(crate) fn shown_running(state: &BootState, failure: &Failure) -> Result<String, String> {
    let wait = "wait until it is, or mend it; then complete the mission again";
    match state.service(&failure.subject) {
        // What a person stopped shows nothing.
        Some((_, service)) if is_service_stable(service) && !service.is_held() => {
            Ok(format!("{} is ready and stable", failure.subject))
        }
        Some((_, service)) => Err(format!(
            "service {} is {}, not ready and stable; {wait}",
            failure.subject,
            service.status.as_str()
        )),
        None => match failure.layer.as_deref().and_then(|name| state.layer(name)) {
            Some(layer) if is_layer_stable(layer) => {
                Ok(format!("layer {} is up and stable", layer.name))
            }
            Some(layer) => Err(format!(
                "layer {} is {}, not up and stable; {wait}",
                layer.name,
                layer.status.as_str()
            )),
            None => Err(format!(
                "the running boot knows nothing of {}, so nothing shows that it works",
                failure.subject
            )),
        },
    }
}
