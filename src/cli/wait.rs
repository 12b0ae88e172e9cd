//! `ubs wait`: until the running system, or one service of it, is as somebody needs it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::{Global, length_of_time};
use super::running::{self, Now, Source};
use super::steer::unknown_service;
use crate::control::unready_reasons;
use crate::domain::boot::{BootState, Phase, ServiceState, ServiceStatus};
use crate::domain::health::{HealthStatus, word_of};
use crate::kernel;

/// Time between two looks.
const POLL: Duration = Duration::from_millis(50);

/// Wait until the system, or one service, is ready, stable or stopped.
///
/// Exit code: 0 it is; 1 it is not and will not be, or nothing runs here; 4 the time is up, and it is starting.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which service; without it, all that the application needs
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// For what
    #[arg(long = "for", value_enum, default_value_t = For::Ready, value_name = "WHAT")]
    what: For,
    /// How long, as 500ms, 60s or 5m
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = length_of_time)]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum For {
    /// Its probe says so, or it is done
    Ready,
    /// Ready for `stable_after` without an end
    Stable,
    /// No process of it runs
    Stopped,
}

/// What a look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Reached,
    /// Not yet, and why.
    NotYet(String),
    /// Not yet, because it starts.
    Starting(String),
    /// It will not be by itself, and why.
    Never(String),
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let within = args.timeout;
    let begun = Instant::now();
    let mut ran = false;
    let last = loop {
        let look = match running::now(&place) {
            Ok(now) => {
                let look = look_at(now.as_ref(), args.service.as_deref(), args.what, ran)?;
                ran |= now.is_some_and(|now| now.runs);
                look
            }
            // A boot that just begins makes its log.
            Err(CliError::Log(error)) => Look::NotYet(error.to_string()),
            Err(error) => return Err(error),
        };
        let over = matches!(look, Look::Reached | Look::Never(_));
        if over || begun.elapsed() >= within {
            break look;
        }
        std::thread::sleep(POLL.min(within.saturating_sub(begun.elapsed())));
    };
    let (code, reason) = match &last {
        Look::Reached => (exit::GOOD, None),
        Look::Starting(why) => (exit::STARTING, Some(why)),
        Look::NotYet(why) | Look::Never(why) => (exit::BAD, Some(why)),
    };
    if ui.json {
        let waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        ui.print_json(&json!({
            "reached": last == Look::Reached,
            "reason": reason,
            "waited_ms": waited_ms,
        }))?;
    } else if let Some(reason) = reason {
        ui.note(&match last {
            Look::Never(_) => format!("not reached: {reason}"),
            _ => format!("not reached within {within:?}: {reason}"),
        });
    }
    Ok(code)
}

/// `ran`: a supervisor ran at an earlier look.
fn look_at(
    now: Option<&Now>,
    service: Option<&str>,
    what: For,
    ran: bool,
) -> Result<Look, CliError> {
    let left = now
        .filter(|now| !now.runs)
        .and_then(|now| left_running(&now.state, service));
    let Some(now) = now.filter(|now| now.runs) else {
        return Ok(match what {
            For::Stopped => left.map_or(Look::Reached, Look::Never),
            _ if ran => Look::Never("the boot has ended; see `ubs replay last`".to_owned()),
            _ => Look::NotYet("nothing runs here; boot with `ubs boot --detach`".to_owned()),
        });
    };
    if let Source::Hanging(why) = &now.source {
        let why = format!("the supervisor does not answer ({why})");
        return Ok(Look::NotYet(why));
    }
    let state = &now.state;
    let Some(name) = service else {
        return Ok(look_at_all(now, what));
    };
    let Some((_, service)) = state.service(name) else {
        let services = state.layers.iter().flat_map(|layer| &layer.services);
        let names: Vec<String> = services.map(|s| s.plan.name.clone()).collect();
        return Err(unknown_service(name, &names));
    };
    Ok(look_at_service(state, service, what))
}

/// A process that a supervisor that died left running, of this service or of any.
fn left_running(state: &BootState, service: Option<&str>) -> Option<String> {
    let services = state.layers.iter().flat_map(|layer| &layer.services);
    let mut wanted = services.filter(|s| service.is_none_or(|name| s.plan.name == name));
    wanted.find_map(|service| {
        let process = service.process.as_ref().filter(|p| kernel::is_alive(p))?;
        let (name, pid) = (&service.plan.name, process.pid);
        Some(format!(
            "the supervisor died, and service {name} still runs as process {pid}; `ubs stop` ends it"
        ))
    })
}

fn look_at_all(now: &Now, what: For) -> Look {
    let state = &now.state;
    let starts = matches!(
        state.phase,
        Phase::New
            | Phase::Preflight
            | Phase::Settling
            | Phase::Healing
            | Phase::BackingOff { .. }
            | Phase::Starting
    ) || now.health.status == HealthStatus::Starting;
    let reached = match what {
        For::Stopped => false,
        For::Ready => unready_reasons(state).is_empty(),
        For::Stable => unready_reasons(state).is_empty() && state.is_stable(),
    };
    if reached {
        return Look::Reached;
    }
    let why = match unready_reasons(state) {
        reasons if reasons.is_empty() && what == For::Stopped => "it runs".to_owned(),
        reasons if reasons.is_empty() => "not every service is stable yet".to_owned(),
        reasons => reasons.join("; "),
    };
    if starts && what != For::Stopped {
        Look::Starting(why)
    } else {
        Look::NotYet(why)
    }
}

fn look_at_service(state: &BootState, service: &ServiceState, what: For) -> Look {
    use ServiceStatus as S;
    let status = service.status;
    let reached = match what {
        For::Stopped => {
            !service.is_alive() && !matches!(status, S::Starting | S::Restarting) && !service.again
        }
        For::Ready => matches!(status, S::Ready | S::Done),
        For::Stable => status == S::Done || service.is_stable(),
    };
    if reached {
        return Look::Reached;
    }
    let why = match (&service.held_by, service.error.as_str()) {
        (Some(by), _) => format!("service {} was stopped by {by}", service.plan.name),
        (None, "") => format!("service {} is {}", service.plan.name, word_of(service)),
        (None, error) => format!(
            "service {} is {}: {error}",
            service.plan.name,
            word_of(service)
        ),
    };
    let is_over = !service.again && matches!(status, S::Failed | S::Stopped | S::Skipped);
    match what {
        For::Stopped => Look::NotYet(why),
        _ if status == S::Disabled => Look::Never(why),
        // What heals it may start it again, while the boot is not up.
        _ if is_over && (state.phase == Phase::Running || service.is_held()) => Look::Never(why),
        _ if matches!(status, S::Unready) => Look::NotYet(why),
        _ => Look::Starting(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{RestartPolicy, ServicePlan, ServiceRules, ServiceTerms};

    fn look(phase: Phase, status: ServiceStatus, what: For) -> Look {
        let plan = ServicePlan {
            name: "api".into(),
            oneshot: false,
            restart: RestartPolicy::OnFailure,
            restarts_max: 3,
            restart_window_ms: 1_000,
            restart_backoff_ms: 100,
            restart_backoff_ms_max: 100,
        };
        let mut service =
            ServiceState::fresh(&plan, ServiceRules::default(), ServiceTerms::default());
        service.status = status;
        let state = BootState {
            phase,
            ..BootState::default()
        };
        look_at_service(&state, &service, what)
    }

    #[test]
    fn what_will_not_be_by_itself_is_not_waited_for() {
        use ServiceStatus as S;
        let is_never = |look: Look| matches!(look, Look::Never(_));
        for status in [S::Failed, S::Stopped, S::Skipped, S::Disabled] {
            assert!(
                is_never(look(Phase::Running, status, For::Ready)),
                "{status:?}"
            );
            let stopped = look(Phase::Running, status, For::Stopped);
            assert_eq!(stopped, Look::Reached, "{status:?}");
        }
        assert!(is_never(look(Phase::Starting, S::Disabled, For::Ready)));
        assert!(!is_never(look(Phase::Starting, S::Skipped, For::Ready)));
        assert!(!is_never(look(Phase::Running, S::Restarting, For::Ready)));
        assert_ne!(
            look(Phase::Running, S::Restarting, For::Stopped),
            Look::Reached
        );
    }
}
