//! The look at the running system: are the services alive, and does the application serve what it should?
//!
//! Runs in a thread of its own: it may wait for sockets. Reads only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::services::LiveProbe;
use crate::checks::{Earlier, LiveService, LiveSystem, check_running};
use crate::domain::boot::{BootState, LayerStatus, ServiceStatus};
use crate::domain::finding::{CheckName, CheckReport};
use crate::domain::redact::Redactor;
use crate::fix::{CheckPlace, run_checks};
use crate::manifest::{Environment, Manifest};
use crate::supervise::{Asked, fetch_up_to, probe_once};

/// Largest document that is read.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// A service without a readiness probe may not listen yet: the document is asked for so long.
const DOCUMENT_WITHIN: Duration = Duration::from_secs(10);
/// One try.
const DOCUMENT_TRY_MS: u64 = 5_000;
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// One try of a probe.
const PROBE_MS_MAX: u64 = 5_000;
/// All probes together.
const PROBES_WITHIN: Duration = Duration::from_secs(30);

/// What is looked at.
pub(super) struct Look {
    pub manifest: Manifest,
    pub environment: Environment,
    pub redactor: Arc<Redactor>,
    pub services: Vec<LiveService>,
    pub probes: Vec<LiveProbe>,
    /// What the check of the application object said just before.
    pub known: Option<CheckReport>,
    pub state_dir: PathBuf,
    pub scratch: PathBuf,
    pub process_env: BTreeMap<String, String>,
    pub overrides: BTreeMap<String, String>,
}

/// The declared services as the boot knows them.
pub(super) fn live_services(state: &BootState) -> Vec<LiveService> {
    let layers = state.layers.iter();
    layers
        .flat_map(|layer| layer.services.iter().map(move |service| (layer, service)))
        .filter(|(_, service)| service.status != ServiceStatus::Disabled)
        .map(|(layer, service)| {
            let alive = matches!(service.status, ServiceStatus::Ready | ServiceStatus::Done);
            let why = if let Some(by) = &service.held_by {
                format!("it was stopped by {by}")
            } else if !service.error.is_empty() {
                service.error.clone()
            } else if layer.status == LayerStatus::Skipped {
                format!("its layer {} was not started", layer.name)
            } else {
                format!("it is {}", service.status.as_str())
            };
            LiveService {
                name: service.plan.name.clone(),
                failure: (!alive).then_some(why),
                // What was skipped is so because of what is filed, and what a person stopped is no failure.
                is_filed: service.is_held()
                    || service.status == ServiceStatus::Skipped
                    || matches!(layer.status, LayerStatus::Failed | LayerStatus::Skipped),
            }
        })
        .collect()
}

impl Look {
    /// Looks.
    pub(super) fn run(mut self) -> Result<CheckReport, String> {
        let begun = Instant::now();
        let Some(registration) = self.manifest.registration.clone() else {
            return Err("the manifest has no [registration] section".to_owned());
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| format!("cannot start an event loop: {error}"))?;
        let document = registration.openapi.as_deref().map(|url| {
            let expanded = self.environment.expand(url).map_err(|e| e.to_string())?;
            require_here(url, &expanded)?;
            runtime.block_on(document(&expanded))
        });
        runtime.block_on(probe_all(&mut self.services, &self.probes));
        let before = match (&registration.app, self.known.take()) {
            (None, _) => None,
            (Some(_), Some(known)) => Some(known),
            (Some(_), None) => self.look_at_object()?,
        };
        let system = LiveSystem {
            before,
            document,
            services: self.services,
        };
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(check_running(&registration, system, &self.redactor, took))
    }

    fn look_at_object(&self) -> Result<Option<CheckReport>, String> {
        run_checks(
            &CheckPlace {
                manifest: &self.manifest,
                root: &self.manifest.workspace,
                scratch: &self.scratch,
                state: Some(&self.state_dir),
                process_env: &self.process_env,
                overrides: self.overrides.clone(),
                before_boot: false,
                is_live: true,
                earlier: &Earlier::default(),
            },
            &[CheckName::Registration],
        )
        .map(|mut reports| reports.pop())
        .map_err(|error| error.to_string())
    }
}

/// A host that the manifest does not spell out must be this one: a variable must not send us elsewhere.
fn require_here(written: &str, expanded: &str) -> Result<(), String> {
    let authority = |url: &str| {
        let rest = url.strip_prefix("http://")?;
        rest.split(['/', '?', '#']).next().map(str::to_owned)
    };
    let host = |authority: &str| match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
        _ => authority.to_owned(),
    };
    let Some(meant) = authority(expanded).map(|a| host(&a)) else {
        return Err("`registration.openapi` does not begin with http://".to_owned());
    };
    let is_written = written
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_prefix(meant.as_str()))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/', '?', '#']));
    let is_loopback = meant == "localhost"
        || meant
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    if is_written || is_loopback {
        Ok(())
    } else {
        Err(
            "a variable leads to another host; write the host in the manifest if it is meant"
                .to_owned(),
        )
    }
}

async fn document(url: &str) -> Result<String, String> {
    let begun = Instant::now();
    loop {
        let failure = match fetch_up_to(url, DOCUMENT_TRY_MS, DOCUMENT_BYTES_MAX + 1).await {
            Ok((200, body)) if body.len() > DOCUMENT_BYTES_MAX => {
                return Err(format!(
                    "it is larger than {} MiB",
                    DOCUMENT_BYTES_MAX >> 20
                ));
            }
            Ok((200, body)) => return Ok(body),
            Ok((status @ (502..=504), _)) => format!("GET {url}: status {status}"),
            Ok((status, _)) => return Err(format!("GET {url}: status {status}")),
            Err(failure) => failure.to_string(),
        };
        if begun.elapsed() + RETRY_AFTER >= DOCUMENT_WITHIN {
            return Err(failure);
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Asks each service that is up; one that does not answer is not alive.
async fn probe_all(services: &mut [LiveService], probes: &[LiveProbe]) {
    let begun = Instant::now();
    for live in probes {
        let Some(service) = services
            .iter_mut()
            .find(|s| s.name == live.service && s.failure.is_none())
        else {
            continue;
        };
        if begun.elapsed() >= PROBES_WITHIN {
            service.failure = Some("there was no time left to probe it".to_owned());
            continue;
        }
        let timeout_ms = live.probe.timeout_ms.min(PROBE_MS_MAX);
        let asked = Asked {
            spec: &live.spec,
            leader: None,
            signs: None,
        };
        if let Err(failure) = probe_once(&live.probe, timeout_ms, asked).await {
            service.failure = Some(failure.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_leads_no_further_than_this_host() {
        let port = "http://127.0.0.1:${PORT}/openapi.json";
        assert_eq!(
            require_here(port, "http://127.0.0.1:80/openapi.json"),
            Ok(())
        );
        let written = "http://api:80/x";
        assert_eq!(require_here(written, written), Ok(()));
        for here in [
            "http://localhost:1/",
            "http://[::1]:1/x",
            "http://127.9.9.9",
        ] {
            assert_eq!(require_here("${URL}", here), Ok(()), "{here}");
        }
        for elsewhere in [
            "http://169.254.169.254/x",
            "http://localhost.example.org/",
            "http://127.0.0.1@example.org/",
            "file:///etc/passwd",
        ] {
            assert!(require_here("${URL}", elsewhere).is_err(), "{elsewhere}");
        }
        assert!(require_here("http://api${X}/", "http://api.example.org/").is_err());
    }
}
