//! The same as numbers, in the text format of Prometheus.

use std::fmt::Write;

use super::ask::Snapshot;
use super::view::{self, Usages};
use crate::domain::boot::{ServiceState, ServiceStatus};
use crate::domain::ids::At;

const STATES: [ServiceStatus; 10] = [
    ServiceStatus::Pending,
    ServiceStatus::Starting,
    ServiceStatus::Ready,
    ServiceStatus::Unready,
    ServiceStatus::Done,
    ServiceStatus::Restarting,
    ServiceStatus::Failed,
    ServiceStatus::Stopped,
    ServiceStatus::Skipped,
    ServiceStatus::Disabled,
];

/// All metrics of this moment.
pub(super) fn text(snapshot: &Snapshot, usage: &Usages) -> String {
    let state = &snapshot.state;
    let mut text = String::new();
    let ready = view::unready_reasons(state).is_empty();
    let health = view::health(snapshot).status;
    let info = format!(
        "app=\"{}\",boot_id=\"{}\",version=\"{}\"",
        escaped(&state.app),
        snapshot.boot,
        env!("CARGO_PKG_VERSION"),
    );
    let one = |name, help, labels: &str, value| Family::new(name, help).with(labels, value);
    let families = [
        one("ubs_boot_info", "What is supervised.", &info, 1.0),
        one(
            "ubs_boot_start_time_seconds",
            "When the boot began, in seconds since 1970.",
            "",
            seconds(state.started_at),
        ),
        one(
            "ubs_ready",
            "Every service that is needed is ready: 1.",
            "",
            number(ready),
        ),
        one(
            "ubs_health",
            "The word of `ubs health`.",
            &format!("status=\"{}\"", health.as_str()),
            1.0,
        ),
        one(
            "ubs_attempt",
            "Number of the attempt.",
            "",
            f64::from(state.attempt),
        ),
        one(
            "ubs_missions_open",
            "Missions that are not closed.",
            "",
            count(snapshot.missions_open),
        ),
        one(
            "ubs_missions_need_person",
            "Missions that need a person.",
            "",
            count(snapshot.missions_need_person),
        ),
    ];
    families.iter().for_each(|family| family.write(&mut text));
    let mut states = Family::new(
        "ubs_service_state",
        "1 for the state of the service, else 0.",
    );
    let mut restarts = Family::new(
        "ubs_service_restarts",
        "Restarts since the service was last ready for `reset_after`.",
    );
    let mut starts = Family::new(
        "ubs_service_start_time_seconds",
        "When the service's process started, in seconds since 1970.",
    );
    let mut stable = Family::new("ubs_service_stable", "1 if the service is stable.");
    let counter = |name, help| Family {
        kind: "counter",
        ..Family::new(name, help)
    };
    let mut cpu = counter(
        "ubs_service_cpu_seconds_total",
        "Processor time of the service's processes; it begins anew with each start.",
    );
    let mut memory = Family::new(
        "ubs_service_memory_bytes",
        "Resident memory of the service's processes.",
    );
    let mut processes = Family::new("ubs_service_processes", "Processes of the service.");
    let mut probe_last = Family::new(
        "ubs_service_probe_seconds",
        "What the last try of a probe took.",
    );
    let mut probe_time = counter(
        "ubs_service_probe_seconds_total",
        "What all tries of its probes took since its start.",
    );
    let mut probe_tries = counter(
        "ubs_service_probe_tries_total",
        "Tries of its probes since its start.",
    );
    let mut probe_failures = counter(
        "ubs_service_probe_failures_total",
        "Tries of its probes that failed since its start.",
    );
    for layer in &state.layers {
        for service in &layer.services {
            let labels = labels_of(&layer.name, service);
            let pid = service.process.as_ref().map(|process| process.pid);
            if let Some(used) = pid.and_then(|pid| usage.get(&pid)) {
                cpu = cpu.with(&labels, used.cpu_ms as f64 / 1e3);
                memory = memory.with(&labels, count(used.memory_bytes));
                processes = processes.with(&labels, f64::from(used.processes));
            }
            let probes = snapshot.probes.get(&service.plan.name);
            if let Some(probes) = probes.filter(|probes| probes.tries > 0) {
                probe_last = probe_last.with(&labels, probes.last_us as f64 / 1e6);
                probe_time = probe_time.with(&labels, probes.total_us as f64 / 1e6);
                probe_tries = probe_tries.with(&labels, count(probes.tries));
                probe_failures = probe_failures.with(&labels, count(probes.failures));
            }
            for status in STATES {
                let labels = format!("{labels},state=\"{}\"", status.as_str());
                states = states.with(&labels, number(service.status == status));
            }
            restarts = restarts.with(&labels, f64::from(service.ends));
            stable = stable.with(&labels, number(service.is_stable()));
            if let Some(at) = service.started_at.filter(|_| service.is_alive()) {
                starts = starts.with(&labels, seconds(at));
            }
        }
    }
    let all = [
        states,
        restarts,
        stable,
        starts,
        cpu,
        memory,
        processes,
        probe_last,
        probe_time,
        probe_tries,
        probe_failures,
    ];
    for family in all {
        family.write(&mut text);
    }
    text
}

struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: Vec<(String, f64)>,
}

impl Family {
    fn new(name: &'static str, help: &'static str) -> Self {
        let samples = Vec::new();
        Self {
            name,
            help,
            kind: "gauge",
            samples,
        }
    }

    fn with(mut self, labels: &str, value: f64) -> Self {
        self.samples.push((labels.to_owned(), value));
        self
    }

    fn write(&self, text: &mut String) {
        let name = self.name;
        // Writing to a string cannot fail.
        let (help, kind) = (self.help, self.kind);
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in &self.samples {
            let _ = match labels.as_str() {
                "" => writeln!(text, "{name} {value}"),
                labels => writeln!(text, "{name}{{{labels}}} {value}"),
            };
        }
    }
}

fn labels_of(layer: &str, service: &ServiceState) -> String {
    format!(
        "service=\"{}\",layer=\"{}\"",
        escaped(&service.plan.name),
        escaped(layer)
    )
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn number(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn seconds(at: At) -> f64 {
    at.0 as f64 / 1e6
}

fn count(count: u64) -> f64 {
    count as f64
}
