//! Asks a service whether it is ready, or still alive.

use std::io::ErrorKind;
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::attribution::require_ours;
use super::group::GroupChild;
use super::process::{CommandError, ServiceSpec, command_of};
use crate::http::{BodyLimit, Client, Target};
use crate::manifest::{Probe, ProbeKind};

/// First bytes of a body that are kept.
const BODY_MAX: usize = 64 << 10;

/// Last bytes kept of a command's output.
const OUTPUT_KEPT: usize = 4 << 10;

/// Time allowed for one try over the network while waiting for readiness: a port that accepts and then says
/// nothing must not use up the time of the tries to come.
const NETWORK_TRY_MS_MAX: u64 = 10_000;

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ProbeFailure {
    /// One sentence.
    pub message: String,
    /// The last output of a command; not redacted.
    pub output: String,
}

impl ProbeFailure {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            output: String::new(),
        }
    }
}

/// The service that is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// What it runs: a command probes with its environment, in its directory, as its user.
    pub spec: &'a ServiceSpec,
    /// Its main process, if that is known: looked at first when the answer is attributed.
    pub leader: Option<u32>,
}

/// How the wait for readiness ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// A try succeeded.
    Ready,
    /// None did, in the time allowed.
    TimedOut {
        /// What the last one said.
        last: ProbeFailure,
    },
}

/// Tries until one try succeeds or `probe.timeout_ms` is over, with `probe.interval_ms` between two tries.
pub(crate) async fn await_ready(probe: &Probe, asked: Asked<'_>) -> Readiness {
    let end = Instant::now() + Duration::from_millis(probe.timeout_ms);
    let mut last: Option<ProbeFailure> = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let try_ms = match probe.kind {
            ProbeKind::Exec(_) => left_ms,
            ProbeKind::Http(_) | ProbeKind::Tcp(_) => left_ms.min(NETWORK_TRY_MS_MAX),
        };
        match probe_once(probe, try_ms.max(1), asked).await {
            Ok(()) => return Readiness::Ready,
            // A try that was cut short by the end knows less than the one before.
            Err(failure) if last.is_none() || Instant::now() < end => last = Some(failure),
            Err(_) => {}
        }
        let next = Instant::now() + Duration::from_millis(probe.interval_ms.max(1));
        if next >= end {
            tokio::time::sleep_until(end.min(next)).await;
            return Readiness::TimedOut {
                last: last.unwrap_or_else(|| ProbeFailure::new("not tried")),
            };
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Tries once. An answer counts if it is ours ([`require_ours`]), or if the probe is `external`.
///
/// HTTP: one GET without redirects and proxies; a status from 200 to 399 is good, and the body is not read.
///
/// # Errors
/// What was wrong, in one sentence, with a command's last output.
pub(crate) async fn probe_once(
    probe: &Probe,
    timeout_ms: u64,
    asked: Asked<'_>,
) -> Result<(), ProbeFailure> {
    ask(&probe.kind, timeout_ms, asked.spec).await?;
    if probe.external {
        return Ok(());
    }
    require_ours(&probe.kind, asked.spec, asked.leader).map_err(ProbeFailure::new)
}

async fn ask(kind: &ProbeKind, timeout_ms: u64, spec: &ServiceSpec) -> Result<(), ProbeFailure> {
    let limit = Duration::from_millis(timeout_ms);
    let late =
        |what: &str| ProbeFailure::new(format!("{what} did not answer within {timeout_ms} ms"));
    match kind {
        ProbeKind::Http(url) => tokio::time::timeout(limit, probe_http(url))
            .await
            .unwrap_or_else(|_| Err(late(&format!("GET {url}")))),
        ProbeKind::Tcp(address) => tokio::time::timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| late(address))?
            .map(drop)
            .map_err(|e| ProbeFailure::new(format!("cannot connect to {address}: {e}"))),
        ProbeKind::Exec(argv) => run(argv, limit, spec).await,
    }
}

/// Gets a URL: status and the first bytes of the body. HTTP without redirects and proxies.
///
/// # Errors
/// What was wrong, in one sentence.
pub(crate) async fn fetch(url: &str, timeout_ms: u64) -> Result<(u16, String), ProbeFailure> {
    fetch_up_to(url, timeout_ms, BODY_MAX).await
}

/// Gets a URL: status and the first `body_max` bytes of the body. HTTP without redirects and proxies.
///
/// # Errors
/// What was wrong, in one sentence.
pub(crate) async fn fetch_up_to(
    url: &str,
    timeout_ms: u64,
    body_max: usize,
) -> Result<(u16, String), ProbeFailure> {
    tokio::time::timeout(Duration::from_millis(timeout_ms), get(url, body_max))
        .await
        .unwrap_or_else(|_| {
            let message = format!("GET {url} did not answer within {timeout_ms} ms");
            Err(ProbeFailure::new(message))
        })
}

/// One GET; so many bytes of the body are read.
async fn get(url: &str, body_max: usize) -> Result<(u16, String), ProbeFailure> {
    let wrong = |why: &str| ProbeFailure::new(format!("GET {url}: {why}"));
    let uri: Uri = url.parse().map_err(|e| wrong(&format!("not a URL: {e}")))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("only http:// can be probed"));
    };
    let target = Target::parse(&format!("http://{authority}")).map_err(wrong)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut client = Client::new(target, None).map_err(|error| wrong(&error.to_string()))?;
    let close = [("connection", HeaderValue::from_static("close"))];
    let answer = client.get(path, &close, BodyLimit::First(body_max)).await;
    let answer = answer.map_err(|error| wrong(&error.to_string()))?;
    Ok((
        answer.status,
        String::from_utf8_lossy(&answer.body).into_owned(),
    ))
}

/// A status from 200 to 399 is good.
async fn probe_http(url: &str) -> Result<(), ProbeFailure> {
    match get(url, 0).await? {
        (200..=399, _) => Ok(()),
        (status, _) => Err(ProbeFailure::new(format!("GET {url}: status {status}"))),
    }
}

async fn run(argv: &[String], limit: Duration, spec: &ServiceSpec) -> Result<(), ProbeFailure> {
    let name = argv.first().cloned().unwrap_or_default();
    let failed = |e: std::io::Error| ProbeFailure::new(format!("cannot run {name}: {e}"));
    let command = command_of(argv, spec).map_err(|error| match error {
        CommandError::Program(e) => failed(e),
        CommandError::User(user, e) => {
            ProbeFailure::new(format!("cannot run {name} as user {user}: {e}"))
        }
    })?;
    let (mut child, pipe) = GroupChild::start(command, &[]).map_err(failed)?;
    let mut output = Vec::new();
    let exit = {
        let ended = tokio::time::timeout(limit, child.wait());
        tokio::pin!(ended);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                exit = &mut ended => break exit.ok(),
                ready = pipe.readable(), if open => open = ready.is_ok() && drain(&pipe, &mut output),
            }
        }
    };
    if exit.is_none() {
        let _ = child.kill().await;
    }
    drain(&pipe, &mut output);
    let message = match exit {
        Some(exit) if exit.is_success() => return Ok(()),
        Some(exit) => format!("{name} ended with {exit}"),
        None => format!("{name} did not end within {} ms", limit.as_millis()),
    };
    Err(ProbeFailure {
        message,
        output: String::from_utf8_lossy(&output).trim_end().to_owned(),
    })
}

/// Takes what is in the pipe, and keeps the last bytes of all; `false` at its end.
fn drain(pipe: &pipe::Receiver, kept: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    // Bounded, so that a command that prints for ever does not keep us from its timeout.
    for _ in 0..64 {
        match pipe.try_read(&mut buffer) {
            Ok(n) if n > 0 => {
                kept.extend_from_slice(&buffer[..n]);
                kept.drain(..kept.len().saturating_sub(OUTPUT_KEPT));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}
