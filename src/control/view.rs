//! What is answered, made of a snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ask::Snapshot;
use crate::domain::boot::{BootState, LayerState, LayerStatus, Phase, ServiceState, ServiceStatus};
use crate::domain::event::ExitKind;
use crate::domain::health::{Health, word_of};
use crate::domain::ids::{At, BootId};
use crate::kernel::Usage;

/// One service as programs read it. Fields are added, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ServiceView<'a> {
    name: &'a str,
    layer: &'a str,
    critical: bool,
    oneshot: bool,
    status: &'static str,
    pid: Option<u32>,
    started_at: Option<At>,
    ready_at: Option<At>,
    stable: bool,
    restarts: u32,
    restart_at: Option<At>,
    last_exit: Option<String>,
    stopped_by: Option<&'a str>,
    error: Option<&'a str>,
}

/// All that the supervisor knows of its boot, as its own commands read it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CurrentBoot {
    pub boot_id: BootId,
    pub missions_open: u64,
    pub missions_need_person: u64,
    #[serde(default)]
    pub log_not_written_since: Option<At>,
    /// What the log does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    pub state: BootState,
}

impl CurrentBoot {
    /// Its health, as the supervisor that runs knows it.
    pub(crate) fn health(&self) -> Health {
        let (open, need_person) = (self.missions_open, self.missions_need_person);
        Health {
            log_not_written_since: self.log_not_written_since,
            ..Health::of(self.boot_id, &self.state, Some(true), open, need_person)
        }
        .with_trouble(self.trouble.as_deref())
    }
}

pub(super) fn health(snapshot: &Snapshot) -> Health {
    Health {
        log_not_written_since: snapshot.log_not_written_since,
        ..Health::of(
            snapshot.boot,
            &snapshot.state,
            Some(true),
            snapshot.missions_open,
            snapshot.missions_need_person,
        )
    }
    .with_trouble(snapshot.trouble.as_deref())
}

pub(super) fn boot(snapshot: &Snapshot) -> CurrentBoot {
    CurrentBoot {
        boot_id: snapshot.boot,
        missions_open: snapshot.missions_open,
        missions_need_person: snapshot.missions_need_person,
        log_not_written_since: snapshot.log_not_written_since,
        trouble: snapshot.trouble.clone(),
        state: snapshot.state.clone(),
    }
}

/// What the processes of each service use, by the pid of its main one.
pub(super) type Usages = BTreeMap<u32, Usage>;

pub(super) fn status(snapshot: &Snapshot, usage: &Usages) -> Value {
    let health = health(snapshot);
    let state = &snapshot.state;
    json!({
        "app": state.app,
        "boot_id": snapshot.boot,
        "mode": state.plan.mode,
        "phase": state.phase.as_str(),
        "attempt": state.attempt,
        "health": health.status,
        "reason": health.reason,
        "ready": unready_reasons(state).is_empty(),
        "stable_at": health.stable_at,
        "started_at": state.started_at,
        "up_at": state.up_at,
        "missions_open": snapshot.missions_open,
        "missions_need_person": snapshot.missions_need_person,
        "log_not_written_since": snapshot.log_not_written_since,
        "supervisor": {
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
        },
        "services": services_with_usage(snapshot, usage),
    })
}

/// Each service with what it uses and what its probes took.
fn services_with_usage(snapshot: &Snapshot, usage: &Usages) -> Vec<Value> {
    let services = services(&snapshot.state).into_iter();
    let full =
        services.map(|service| {
            let used = service.pid.and_then(|pid| usage.get(&pid));
            let probes = snapshot.probes.get(service.name);
            let mut document = json!(service);
            document["usage"] = json!(used);
            document["probes"] = json!(probes.filter(|probes| probes.tries > 0).map(
                |probes| json!({
                    "tries": probes.tries,
                    "failures": probes.failures,
                    "last_ms": ms(probes.last_us),
                    "total_ms": ms(probes.total_us),
                })
            ));
            document
        });
    full.collect()
}

/// Milliseconds with three digits after the point.
fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

pub(super) fn services(state: &BootState) -> Vec<ServiceView<'_>> {
    let all = |layer| -> Vec<ServiceView<'_>> { services_of(layer).collect() };
    state.layers.iter().flat_map(all).collect()
}

fn services_of(layer: &LayerState) -> impl Iterator<Item = ServiceView<'_>> {
    layer.services.iter().map(|service| view_of(layer, service))
}

pub(super) fn service<'a>(state: &'a BootState, name: &str) -> Option<ServiceView<'a>> {
    let (layer, service) = state.service(name)?;
    Some(view_of(layer, service))
}

/// The service as `/services/NAME` answers; `None` if the boot has none of that name.
pub(crate) fn service_json(state: &BootState, name: &str) -> Option<Value> {
    serde_json::to_value(service(state, name)?).ok()
}

fn view_of<'a>(layer: &'a LayerState, service: &'a ServiceState) -> ServiceView<'a> {
    ServiceView {
        name: &service.plan.name,
        layer: &layer.name,
        critical: layer.critical,
        oneshot: service.plan.oneshot,
        status: word_of(service),
        pid: service.process.as_ref().map(|process| process.pid),
        started_at: service.started_at,
        ready_at: service.ready_at,
        stable: service.is_stable() || service.status == ServiceStatus::Done,
        restarts: service.ends,
        restart_at: service.restart_at,
        last_exit: service.exit.as_ref().map(ExitKind::to_string),
        stopped_by: service.held_by.as_deref(),
        error: Some(service.error.as_str()).filter(|error| !error.is_empty()),
    }
}

/// Why the system is not ready now; empty if it is: every service that it needs is ready, done or not wanted (disabled).
pub(crate) fn unready_reasons(state: &BootState) -> Vec<String> {
    if state.phase != Phase::Running {
        let why = match state.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        return vec![format!("the boot is {}{why}", state.phase.as_str())];
    }
    let mut reasons = Vec::new();
    for layer in state.layers.iter().filter(|layer| layer.critical) {
        let lacking = layer.services.iter().filter(|s| !s.is_there());
        let before = reasons.len();
        reasons.extend(lacking.map(|service| {
            let why = match (&service.held_by, service.error.as_str()) {
                (Some(by), _) => format!(" by {by}"),
                (None, "") => String::new(),
                (None, error) => format!(": {error}"),
            };
            format!("service {} is {}{why}", service.plan.name, word_of(service))
        }));
        if reasons.len() == before && layer.status != LayerStatus::Up {
            reasons.push(format!("layer {} is {}", layer.name, layer.status.as_str()));
        }
    }
    reasons
}
