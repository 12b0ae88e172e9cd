//! What is to be done with a service's process now.

use super::state::{ServiceState, ServiceStatus};
use crate::domain::ids::At;

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessStep {
    /// Start it.
    Start {
        /// Not before this moment.
        at: Option<At>,
    },
    /// Stop it.
    Stop,
}

/// What is to be done with the process of a service whose needs are met, or not. Nothing while it runs as it
/// should, and nothing once it is done, given up, stopped or disabled.
#[must_use]
pub(crate) fn next(service: &ServiceState, has_needs_met: bool) -> Option<ProcessStep> {
    match service.status {
        ServiceStatus::Failed | ServiceStatus::Skipped | ServiceStatus::Stopped
            if service.is_alive() =>
        {
            Some(ProcessStep::Stop)
        }
        ServiceStatus::Pending | ServiceStatus::Skipped if has_needs_met => {
            Some(ProcessStep::Start { at: None })
        }
        // A restart waits for nobody: what it needs was there when it started first.
        ServiceStatus::Restarting => Some(ProcessStep::Start {
            at: service.restart_at,
        }),
        _ => None,
    }
}
