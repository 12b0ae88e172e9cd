//! Folds one event of a service into its state. Total: an event that does not fit changes nothing.

use super::state::{ServiceState, ServiceStatus};
use crate::domain::event::{Event, ExitKind, ProcessRef};
use crate::domain::ids::At;

/// Changes `service` as `event`, which is its own, says. `stopping`: it is being stopped with its layer or boot.
pub(crate) fn evolve(service: &mut ServiceState, at: At, stopping: bool, event: &Event) {
    match event {
        Event::ServiceStarted { process, .. } => started(service, at, process),
        Event::ServiceReady { .. } => {
            service.status = if service.plan.oneshot {
                ServiceStatus::Done
            } else {
                ServiceStatus::Ready
            };
            service.ready_at = Some(at);
            service.stable = false;
            service.error.clear();
        }
        Event::ServiceUnready { reason, .. } => {
            service.status = ServiceStatus::Unready;
            service.stable = false;
            service.error = reason.clone();
        }
        Event::AnswerNotAttributed { why, .. } => service.not_attributed = why.clone(),
        Event::ServiceStable { .. } => service.stable = true,
        Event::ServiceRecovered { .. } => {
            service.ends = 0;
            service.last_end.clear();
        }
        Event::ServiceExited { exit, expected, .. } => exited(service, *exit, *expected, stopping),
        Event::ServiceRestarting {
            at: due,
            restart,
            reason,
            ..
        } => {
            service.ends = *restart;
            service.last_end = reason.clone();
            // Because of a fix, it is stopped first, and starts with its needs.
            service.again = service.is_alive();
            service.restart_at = (!service.again).then_some(*due);
            service.status = ServiceStatus::Restarting;
            service.stable = false;
        }
        Event::ServiceFailed { error, .. } => {
            service.status = ServiceStatus::Failed;
            service.error = error.clone();
            service.restart_at = None;
            service.again = false;
        }
        Event::ServiceSkipped { because, .. } => {
            service.status = ServiceStatus::Skipped;
            service.error = because.clone();
            service.restart_at = None;
            service.stable = false;
            service.again = false;
        }
        _ => {}
    }
}

fn started(service: &mut ServiceState, at: At, process: &ProcessRef) {
    service.status = ServiceStatus::Starting;
    service.process = Some(process.clone());
    service.started_at = Some(at);
    service.restart_at = None;
    service.exit = None;
    service.stable = false;
    service.error.clear();
    service.not_attributed.clear();
}

fn exited(service: &mut ServiceState, exit: ExitKind, expected: bool, stopping: bool) {
    service.process = None;
    service.stable = false;
    service.exit = Some(exit);
    if service.is_steered() {
        let starts = std::mem::take(&mut service.again) && !stopping;
        service.status = if service.terms.disabled {
            ServiceStatus::Disabled
        } else if starts {
            ServiceStatus::Pending
        } else {
            ServiceStatus::Stopped
        };
        return;
    }
    let keeps = matches!(
        service.status,
        ServiceStatus::Failed | ServiceStatus::Skipped
    );
    if expected && !keeps {
        let declared =
            matches!(exit, ExitKind::Code(code) if service.rules.success.contains(&code));
        service.status = if service.plan.oneshot && exit.is_success() || declared && !stopping {
            ServiceStatus::Done
        } else {
            ServiceStatus::Stopped
        };
    }
}
