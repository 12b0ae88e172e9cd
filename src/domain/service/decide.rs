//! Turns what happened to a service into events, or refuses it.

use super::state::{ServiceState, ServiceStatus};
use crate::domain::backoff::backoff_ms_with;
use crate::domain::event::{Event, ExitKind, ProcessRef, RestartPolicy};
use crate::domain::ids::At;
use crate::domain::words::count;

/// What the outside world contributes to a decision: the moment and a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    /// Now.
    pub at: At,
    /// 0 to 1000, for jitter.
    pub random_per_mille: u16,
}

/// What a decision about a service has to know of the boot around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Surroundings {
    /// It is being stopped with its layer or the boot.
    pub stopping: bool,
    /// Its layer was not up yet.
    pub starting: bool,
    /// Its first failure is its last.
    pub fast: bool,
    /// A fix for it is in trial: it is not given up meanwhile.
    pub in_trial: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// Its process runs.
    Started(ProcessRef),
    /// Its probe says that it is ready.
    Ready,
    /// Its probe says that it is ready no more.
    Unready(String),
    /// Time passed.
    TimePassed,
    /// Its process ended.
    Exited {
        /// How.
        exit: ExitKind,
        /// Why, if something is known beyond the exit.
        reason: Option<String>,
    },
    /// It could not be started, was not ready in time, or did not end in time.
    Unstartable(String),
    /// What it needs cannot be.
    Skipped(String),
    /// A fix changed what it may use: it is to start again. Why, for people.
    Refreshed(String),
}

/// What was reported comes too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late(pub &'static str);

/// The events that follow from `report`.
///
/// # Errors
/// The service no longer waits for such a report.
pub(crate) fn decide(
    service: &ServiceState,
    around: Surroundings,
    context: Context,
    report: Report,
) -> Result<Vec<Event>, Late> {
    use ServiceStatus as S;
    let name = service.plan.name.clone();
    match report {
        // While all stops, a process that was being started is told of, and stopped too.
        Report::Started(process) => {
            if service.is_alive() {
                return Err(Late("a second process of a service"));
            }
            let service = name;
            Ok(vec![Event::ServiceStarted { service, process }])
        }
        Report::Ready => {
            let waits = matches!(service.status, S::Starting | S::Unready);
            let unproved = service.proved_at().is_some_and(|at| at > context.at);
            if around.stopping || !waits || service.plan.oneshot || unproved {
                return Err(Late("a service's readiness"));
            }
            Ok(vec![Event::ServiceReady { service: name }])
        }
        Report::Unready(reason) => {
            if around.stopping || service.status != S::Ready {
                return Err(Late("a service's lost readiness"));
            }
            let service = name;
            Ok(vec![Event::ServiceUnready { service, reason }])
        }
        Report::TimePassed => Ok(pass_time(service, context.at)),
        Report::Exited { exit, reason } => exited(service, around, context, exit, reason),
        Report::Unstartable(error) => {
            let waits = matches!(
                service.status,
                S::Pending | S::Starting | S::Restarting | S::Skipped
            );
            // What is being stopped need not be ready any more.
            if around.stopping || !waits || service.is_steered() {
                return Err(Late("a service's failure to start"));
            }
            let service = name;
            Ok(vec![Event::ServiceFailed { service, error }])
        }
        Report::Skipped(because) => {
            let ended = matches!(
                service.status,
                S::Failed | S::Done | S::Skipped | S::Disabled
            );
            if ended {
                return Err(Late("a service's skip"));
            }
            let service = name;
            Ok(vec![Event::ServiceSkipped { service, because }])
        }
        // Neither an end that counts nor a failure.
        Report::Refreshed(reason) => {
            if around.stopping || !service.may_be_refreshed() {
                return Err(Late("a service's new start"));
            }
            Ok(vec![Event::ServiceRestarting {
                service: name,
                restart: service.ends,
                at: context.at,
                reason,
            }])
        }
    }
}

/// What is due by itself: it has run for long enough without a probe, has been ready for long enough to be
/// stable, and its earlier ends no longer count.
fn pass_time(service: &ServiceState, at: At) -> Vec<Event> {
    let is_due = |moment: Option<At>| moment.is_some_and(|due| due <= at);
    let name = || service.plan.name.clone();
    let mut due = Vec::new();
    if is_due(service.proved_at()) {
        due.push(Event::ServiceReady { service: name() });
    }
    if is_due(service.stable_at()) {
        due.push(Event::ServiceStable { service: name() });
    }
    if is_due(service.recovered_at()) {
        let ends = service.ends;
        let service = name();
        due.push(Event::ServiceRecovered { service, ends });
    }
    due
}

/// The shortest wait before the `restart`-th restart, however short the waits are meant to be: each restart is
/// written to the log, and a crash loop that goes on for days must not fill the disk.
fn crash_loop_wait_ms(restart: u32) -> u64 {
    match restart {
        0..=20 => 0,
        21..=100 => 1_000,
        _ => 10_000,
    }
}

fn exited(
    service: &ServiceState,
    around: Surroundings,
    context: Context,
    exit: ExitKind,
    reason: Option<String>,
) -> Result<Vec<Event>, Late> {
    use ServiceStatus as S;
    if !service.is_alive() {
        return Err(Late("a service's exit"));
    }
    let plan = &service.plan;
    let ended = |expected: bool| Event::ServiceExited {
        service: plan.name.clone(),
        exit,
        expected,
    };
    let was_ready = matches!(service.status, S::Ready | S::Unready);
    let declared = reason.is_none()
        && matches!(exit, ExitKind::Code(code) if service.rules.success.contains(&code));
    let is_stopped = around.stopping || service.is_steered();
    if is_stopped || matches!(service.status, S::Failed | S::Skipped) {
        return Ok(vec![ended(true)]);
    }
    if declared && !plan.oneshot && !plan.restart.is_always() {
        return Ok(vec![ended(true)]);
    }
    if plan.oneshot && (exit.is_success() || declared) {
        let service = plan.name.clone();
        return Ok(vec![ended(true), Event::ServiceReady { service }]);
    }
    let is_ours = reason.is_some();
    let ended_well = exit.is_success() && !is_ours;
    // A service that is done with its work, by its own policy.
    if ended_well && was_ready && !around.starting && !plan.restart.is_always() {
        return Ok(vec![ended(true)]);
    }
    let may_restart = match plan.restart {
        RestartPolicy::Never => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => !plan.oneshot,
        RestartPolicy::OnFailure => !ended_well && !plan.oneshot,
    };
    let what = match reason {
        Some(reason) => format!("was ended: {reason}"),
        None if plan.oneshot => format!("ended with {exit}"),
        None if ended_well && !may_restart => format!(
            "ended with {exit} before {}; declare `oneshot = true` or `success = [0]` if that is right",
            if was_ready {
                "its layer was up"
            } else {
                "it was ready"
            }
        ),
        None if was_ready => format!("ended with {exit}"),
        None => format!("ended with {exit} before it was ready"),
    };
    let first_is_last = around.fast && may_restart && !(ended_well && was_ready);
    let restart = service.ends.saturating_add(1);
    let unlimited = plan.restarts_max == u32::MAX || around.in_trial;
    let service_name = plan.name.clone();
    let then = if may_restart && !first_is_last && (unlimited || restart <= plan.restarts_max) {
        let wait_ms = backoff_ms_with(
            restart,
            plan.restart_backoff_ms,
            plan.restart_backoff_ms_max,
            service.terms.jitter_percent,
            context.random_per_mille,
        )
        .max(crash_loop_wait_ms(restart));
        Event::ServiceRestarting {
            service: service_name,
            restart,
            at: context.at.plus_ms(wait_ms),
            reason: what,
        }
    } else {
        let error = if first_is_last {
            format!("{what}; in mode fast the first failure ends the boot")
        } else if may_restart {
            let max = usize::try_from(plan.restarts_max).unwrap_or(usize::MAX);
            format!("{what}; given up after {}", count(max, "restart"))
        } else {
            what
        };
        Event::ServiceFailed {
            service: service_name,
            error,
        }
    };
    // What we ended ourselves, with a reason, did not end unasked.
    Ok(vec![ended(is_ours), then])
}
