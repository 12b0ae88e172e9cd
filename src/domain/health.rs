//! Health: what a boot's state and the open missions say to somebody who asks "how is it?".
//!
//! Pure; made from a [`BootState`] of any moment, live or replayed.

use serde::Serialize;

use super::boot::{BootState, LayerState, LayerStatus, Phase, Roster, ServiceState, ServiceStatus};
use super::finding::{CheckStatus, Decision};
use super::ids::{At, BootId};

/// The one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthStatus {
    /// Up, everything there, stable, and not restarted lately.
    Healthy,
    /// Up, something optional missing or something to mend.
    Degraded,
    /// Being brought up, or up and not stable yet.
    Starting,
    /// It should be up and is not.
    Unhealthy,
    /// Stopped as asked.
    Down,
    /// Never booted.
    Unknown,
}

impl HealthStatus {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// Health of one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerHealth {
    /// Its name.
    pub name: String,
    /// If it fails, the boot fails.
    pub critical: bool,
    /// `pending`, `starting`, `up`, `incomplete` (a service was skipped), `failed`, `skipped`, `stopped`.
    pub status: &'static str,
    /// Why it is not up.
    pub reason: Option<String>,
    /// Its services.
    pub services: Vec<ServiceHealth>,
}

/// Health of one service.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ServiceHealth {
    /// Its name.
    pub name: String,
    /// `pending`, `waiting`, `starting`, `ready`, `up (not probed)`, `unready`, `done`, `restarting`, `failed`,
    /// `stopping`, `stopped`, `skipped`, `disabled`.
    pub status: &'static str,
    /// What it waits for, while it is `waiting`: `db (ready)`.
    pub waits_for: Vec<String>,
    /// Its process, while one runs.
    pub pid: Option<u32>,
    /// Restarts since it was last ready for `reset_after`.
    pub restarts: usize,
    /// It has been ready for `stable_after`.
    pub stable: bool,
    /// Why it was given up or skipped, or is not ready any more.
    pub error: Option<String>,
    /// `answer not attributed`, and why: another program may have answered its probe.
    pub note: Option<String>,
}

/// The newest result of one check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckHealth {
    /// Its name.
    pub name: &'static str,
    /// What it concluded.
    pub status: CheckStatus,
    /// One line.
    pub summary: String,
}

/// Health of an application.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The one word.
    pub status: HealthStatus,
    /// Name of the application.
    pub app: Option<String>,
    /// The boot it comes from.
    pub boot_id: Option<BootId>,
    /// Where that boot stands.
    pub phase: &'static str,
    /// How it ended.
    pub outcome: Option<&'static str>,
    /// The newest decision.
    pub decision: Option<Decision>,
    /// Number of the attempt.
    pub attempt: u32,
    /// When the boot began.
    pub started_at: Option<At>,
    /// When the system was first up.
    pub up_at: Option<At>,
    /// When something last happened.
    pub updated_at: Option<At>,
    /// Why it stands where it stands.
    pub reason: Option<String>,
    /// When all that has to be ready is stable, if nothing ends until then; only while that is all that lacks.
    pub stable_at: Option<At>,
    /// The layers.
    pub layers: Vec<LayerHealth>,
    /// The checks.
    pub checks: Vec<CheckHealth>,
    /// Missions that are not closed.
    pub missions_open: u64,
    /// Missions that need a person.
    pub missions_need_person: u64,
    /// Since when the supervisor cannot write its log, so that the rest is of before; only it can say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_not_written_since: Option<At>,
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl Health {
    /// Health before the first boot.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            status: HealthStatus::Unknown,
            app: None,
            boot_id: None,
            phase: Phase::New.as_str(),
            outcome: None,
            decision: None,
            attempt: 0,
            started_at: None,
            up_at: None,
            updated_at: None,
            reason: None,
            stable_at: None,
            layers: vec![],
            checks: vec![],
            missions_open: 0,
            missions_need_person: 0,
            log_not_written_since: None,
        }
    }

    /// Health as `state` tells it. `supervisor_alive`: whether the supervisor named in the state
    /// still runs; `None` if that was not asked (a moment in the past).
    #[must_use]
    pub fn of(
        boot_id: BootId,
        state: &BootState,
        supervisor_alive: Option<bool>,
        missions_open: u64,
        missions_need_person: u64,
    ) -> Self {
        let orphaned = supervisor_alive == Some(false) && !state.is_ended();
        let running = (state.phase == Phase::Running && !orphaned).then(|| judge_running(state));
        let status = match (state.phase, state.outcome) {
            _ if orphaned => HealthStatus::Unhealthy,
            (Phase::New, _) => HealthStatus::Unknown,
            (Phase::Running, _) => running
                .as_ref()
                .map_or(HealthStatus::Unknown, |running| running.status),
            (Phase::Ended, Some(super::boot::Outcome::Stopped)) => HealthStatus::Down,
            (Phase::Ended, _) => HealthStatus::Unhealthy,
            (Phase::Stopping, _) if state.after_stop == super::boot::AfterStop::End => {
                HealthStatus::Down
            }
            _ => HealthStatus::Starting,
        };
        let reason = if orphaned {
            Some("the supervisor died; `ubs boot` records it and starts again".to_owned())
        } else {
            running
                .as_ref()
                .and_then(|running| running.reason.clone())
                .or_else(|| some_text(&state.reason))
                .or_else(|| starting_reason(state))
        };
        Self {
            status,
            app: Some(state.app.clone()),
            boot_id: Some(boot_id),
            phase: state.phase.as_str(),
            outcome: state.outcome.map(super::boot::Outcome::as_str),
            decision: state.decision,
            attempt: state.attempt,
            started_at: Some(state.started_at),
            up_at: state.up_at,
            updated_at: Some(state.updated_at),
            reason,
            stable_at: running.and_then(|running| running.stable_at),
            layers: {
                let roster = Roster::of(state);
                let layers = state.layers.iter();
                let waits = !state.is_ended() && state.phase != Phase::Stopping;
                let of = |layer| layer_health(layer, waits.then_some(&roster));
                layers.map(of).collect()
            },
            checks: state
                .reports
                .values()
                .map(|report| CheckHealth {
                    name: report.name.as_str(),
                    status: report.status,
                    summary: report.summary.clone(),
                })
                .collect(),
            missions_open,
            missions_need_person,
            log_not_written_since: None,
        }
    }
}

impl Health {
    /// With what the supervisor knows beside its log: something to mend, so that nothing is called healthy.
    #[must_use]
    pub(crate) fn with_trouble(mut self, trouble: Option<&str>) -> Self {
        let Some(trouble) = trouble else { return self };
        if self.status == HealthStatus::Healthy {
            self.status = HealthStatus::Degraded;
        }
        self.reason = Some(match self.reason {
            Some(reason) => format!("{reason}; {trouble}"),
            None => trouble.to_owned(),
        });
        self
    }
}

impl Health {
    /// Of a supervisor that runs and does not answer, and `why` that is known: what its log said last may long be
    /// untrue, and what fails now is not seen.
    #[must_use]
    pub(crate) fn unwatched(mut self, why: &str) -> Self {
        use HealthStatus as S;
        if matches!(self.status, S::Healthy | S::Degraded | S::Starting) {
            let before = self.status.as_str().to_uppercase();
            self.reason = Some(format!(
                "the supervisor does not answer ({why}), so nobody watches the services; its log said {before} last"
            ));
            self.status = S::Unhealthy;
            self.stable_at = None;
        }
        self
    }
}

/// What is said about a system that runs.
struct Running {
    status: HealthStatus,
    reason: Option<String>,
    stable_at: Option<At>,
}

/// The worst of what is known decides: something needed is down, something is not as it should be, something
/// has not proved itself yet.
fn judge_running(state: &BootState) -> Running {
    let services = || {
        state
            .layers
            .iter()
            .flat_map(|layer| layer.services.iter().map(move |service| (layer, service)))
    };
    let say = |status, reason: String| Running {
        status,
        reason: some_text(&reason),
        stable_at: None,
    };
    if let Some(reason) = services().find_map(|(layer, service)| down_reason(layer, service)) {
        return say(HealthStatus::Unhealthy, reason);
    }
    let down = state.layers.iter().find(|layer| {
        layer.critical && matches!(layer.status, LayerStatus::Failed | LayerStatus::Skipped)
    });
    if let Some(layer) = down {
        let reason = layer.failure.as_ref().map_or(&layer.reason, |f| &f.error);
        return say(
            HealthStatus::Unhealthy,
            format!("layer {} is down: {reason}", layer.name),
        );
    }
    if let Some(reason) = services().find_map(|(_, service)| weak_reason(service)) {
        return say(HealthStatus::Degraded, reason);
    }
    if let Some(layer) = state.layers.iter().find(|l| l.status != LayerStatus::Up) {
        let why = layer.failure.as_ref().map_or(&layer.reason, |f| &f.error);
        let why = some_text(why).map_or_else(String::new, |why| format!(": {why}"));
        let (name, status) = (&layer.name, layer.status.as_str());
        return say(
            HealthStatus::Degraded,
            format!("layer {name} is {status}{why}"),
        );
    }
    if let Some(report) = state.reports.values().find(|r| r.status.blocks()) {
        let (check, summary) = (report.name, &report.summary);
        return say(
            HealthStatus::Degraded,
            format!("the {check} check found what would stop a boot: {summary}"),
        );
    }
    match services().filter_map(|(_, s)| s.stable_at()).max() {
        Some(at) => Running {
            status: HealthStatus::Starting,
            reason: Some("every service is ready, and not all are stable yet".to_owned()),
            stable_at: Some(at),
        },
        None => say(HealthStatus::Healthy, String::new()),
    }
}

/// What keeps layers from being up, where that is more than that they have only begun: a crash loop, then a wait.
fn starting_reason(state: &BootState) -> Option<String> {
    let services = || {
        let layers = state.layers.iter();
        let starting = layers.filter(|l| l.status == LayerStatus::Starting);
        starting.flat_map(|layer| &layer.services)
    };
    if state.phase != Phase::Starting {
        return None;
    }
    let crashed = services().find(|s| s.ends > 0 && !s.is_settled());
    crashed.and_then(weak_reason).or_else(|| {
        let roster = Roster::of(state);
        services()
            .filter(|s| s.status == ServiceStatus::Pending)
            .find_map(|service| {
                let need = roster.waits_for(service).first()?.to_string();
                Some(format!("service {} waits for {need}", service.plan.name))
            })
    })
}

/// Why a service that the application needs is down, if it is.
fn down_reason(layer: &LayerState, service: &ServiceState) -> Option<String> {
    let name = &service.plan.name;
    match service.status {
        _ if !layer.critical || !layer.status.is_supervised() => None,
        ServiceStatus::Failed => Some(format!("service {name} is down: it {}", service.error)),
        ServiceStatus::Skipped => Some(format!("service {name} was skipped: {}", service.error)),
        ServiceStatus::Stopped if service.again => None,
        ServiceStatus::Stopped if service.is_held() => Some(held_reason(service)),
        // Its restart policy let it go, yet the layer was declared to have it.
        ServiceStatus::Stopped => Some(format!(
            "service {name} is down: it ended with {}",
            service
                .exit
                .map_or_else(|| "an unknown end".to_owned(), |exit| exit.to_string())
        )),
        _ => None,
    }
}

/// Why a service is not as it should be, if it is not.
fn weak_reason(service: &ServiceState) -> Option<String> {
    let name = &service.plan.name;
    let times = match service.ends {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    };
    match service.status {
        ServiceStatus::Unready => Some(format!(
            "service {name} is not ready any more: {}",
            service.error
        )),
        ServiceStatus::Starting | ServiceStatus::Restarting if service.ends == 0 => {
            Some(format!("service {name} is starting"))
        }
        // It ran before, and waits for what it needs.
        ServiceStatus::Pending if service.ends == 0 && service.started_at.is_some() => {
            Some(format!("service {name} is starting"))
        }
        ServiceStatus::Failed => Some(format!("service {name} is down: it {}", service.error)),
        ServiceStatus::Stopped if service.again => {
            Some(format!("service {name} is being restarted by a person"))
        }
        ServiceStatus::Stopped if service.is_held() => Some(held_reason(service)),
        ServiceStatus::Stopped => Some(format!("service {name} has ended")),
        ServiceStatus::Skipped => Some(format!("service {name} was skipped: {}", service.error)),
        _ if service.ends > 0 => Some(format!(
            "service {name} was restarted {times}: it {}",
            service.last_end
        )),
        _ => None,
    }
}

/// It does not run because a person wants it so.
fn held_reason(service: &ServiceState) -> String {
    let (name, by) = (&service.plan.name, service.held_by.as_deref());
    let by = by.unwrap_or("a person");
    format!("service {name} was stopped by {by}; `ubs start {name}` starts it")
}

/// The word for a service: one that nobody asked is not called ready.
pub(crate) fn word_of(service: &ServiceState) -> &'static str {
    match service.status {
        ServiceStatus::Ready if !service.rules.probed => "up (not probed)",
        ServiceStatus::Stopped if service.is_alive() => "stopping",
        status => status.as_str(),
    }
}

/// What a service said last that tells why it failed: the last exception line, else the last line.
pub(crate) fn last_words(output: &str) -> Option<&str> {
    let lines = || {
        output
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    lines()
        .rev()
        .find(|line| is_exception(line))
        .or_else(|| lines().next_back())
}

/// `package.SomeError: text`, as Python ends a traceback.
fn is_exception(line: &str) -> bool {
    let class = line.split(':').next().unwrap_or_default();
    let last = class.rsplit('.').next().unwrap_or_default();
    let named = ["Error", "Exception", "Interrupt", "Exit", "Warning"];
    !class.contains(char::is_whitespace)
        && last.starts_with(char::is_uppercase)
        && named.iter().any(|end| last.ends_with(end))
}

/// `roster`: what services may wait for; `None` once nothing is started any more.
fn layer_health(layer: &LayerState, roster: Option<&Roster<'_>>) -> LayerHealth {
    let waits_for = |service: &ServiceState| {
        let may_start = layer.status.is_supervised() && service.status == ServiceStatus::Pending;
        let roster = roster.filter(|_| may_start).into_iter();
        roster
            .flat_map(|roster| roster.waits_for(service))
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    LayerHealth {
        name: layer.name.clone(),
        critical: layer.critical,
        status: match layer.status {
            _ if layer.is_incomplete() => "incomplete",
            status => status.as_str(),
        },
        reason: layer
            .failure
            .as_ref()
            .map(|f| match last_words(&f.output) {
                Some(said) => format!("{}; it said: {said}", f.error),
                None => f.error.clone(),
            })
            .or_else(|| some_text(&layer.reason)),
        services: layer
            .services
            .iter()
            .map(|service| (service, waits_for(service)))
            .map(|(service, waits_for)| ServiceHealth {
                name: service.plan.name.clone(),
                status: if waits_for.is_empty() {
                    word_of(service)
                } else {
                    "waiting"
                },
                waits_for,
                pid: service.process.as_ref().map(|p| p.pid),
                restarts: usize::try_from(service.ends).unwrap_or(usize::MAX),
                stable: service.is_stable() || service.status == ServiceStatus::Done,
                error: some_text(&service.error),
                note: (service.status == ServiceStatus::Ready
                    && !service.not_attributed.is_empty())
                .then(|| format!("answer not attributed: {}", service.not_attributed)),
            })
            .collect(),
    }
}
