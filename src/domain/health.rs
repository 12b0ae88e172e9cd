//! Health: what a boot's state and the open missions say to somebody who asks "how is it?".
//!
//! Pure; made from a [`BootState`] of any moment, live or replayed.

use serde::Serialize;

use super::boot::{BootState, LayerStatus, Phase, ServiceStatus};
use super::finding::{CheckStatus, Decision};
use super::ids::{At, BootId};

/// The one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthStatus {
    /// Up, everything there.
    Healthy,
    /// Up, something optional missing or something to mend.
    Degraded,
    /// Being brought up.
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
    /// `pending`, `starting`, `up`, `failed`, `skipped`, `stopped`.
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
    /// `pending`, `starting`, `ready`, `done`, `restarting`, `failed`, `stopped`.
    pub status: &'static str,
    /// Its process, while one runs.
    pub pid: Option<u32>,
    /// Restarts within its window.
    pub restarts: usize,
    /// Why it was given up.
    pub error: Option<String>,
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
    /// The layers.
    pub layers: Vec<LayerHealth>,
    /// The checks.
    pub checks: Vec<CheckHealth>,
    /// Missions that are not closed.
    pub missions_open: u64,
    /// Missions that need a person.
    pub missions_need_person: u64,
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
            layers: vec![],
            checks: vec![],
            missions_open: 0,
            missions_need_person: 0,
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
        let status = match (state.phase, state.outcome) {
            _ if orphaned => HealthStatus::Unhealthy,
            (Phase::New, _) => HealthStatus::Unknown,
            (Phase::Running, _) => running_status(state),
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
            some_text(&state.reason)
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
            layers: state.layers.iter().map(layer_health).collect(),
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
        }
    }
}

fn running_status(state: &BootState) -> HealthStatus {
    let services = || state.layers.iter().flat_map(|l| &l.services);
    let waits = services().any(|s| {
        matches!(
            s.status,
            ServiceStatus::Restarting | ServiceStatus::Starting
        )
    });
    // Restart policy let it go, yet the layer was declared to have it.
    let gone = state
        .layers
        .iter()
        .filter(|l| l.status == LayerStatus::Up)
        .flat_map(|l| &l.services)
        .any(|s| s.status == ServiceStatus::Stopped);
    let missing = state.layers.iter().any(|l| l.status != LayerStatus::Up);
    let blocked = state.reports.values().any(|r| r.status.blocks());
    if missing || waits || gone || blocked {
        HealthStatus::Degraded
    } else {
        HealthStatus::Healthy
    }
}

fn layer_health(layer: &super::boot::LayerState) -> LayerHealth {
    LayerHealth {
        name: layer.name.clone(),
        critical: layer.critical,
        status: layer.status.as_str(),
        reason: layer
            .failure
            .as_ref()
            .map(|f| f.error.clone())
            .or_else(|| some_text(&layer.reason)),
        services: layer
            .services
            .iter()
            .map(|service| ServiceHealth {
                name: service.plan.name.clone(),
                status: service.status.as_str(),
                pid: service.process.as_ref().map(|p| p.pid),
                restarts: service.restarts.len(),
                error: some_text(&service.error),
            })
            .collect(),
    }
}
