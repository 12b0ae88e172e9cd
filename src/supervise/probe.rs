//! Asks a service whether it is ready, or still alive.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Uri;
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use regex::Regex;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::attribution::{require_our_process, require_ours};
use super::command::run;
use super::failure::ProbeFailure;
use super::process::{ServiceSpec, Signs};
use crate::http::{BodyLimit, Client, Target};
use crate::manifest::{HttpRequest, Probe, ProbeKind, compile_pattern};

/// First bytes of a body that are kept.
const BODY_MAX: usize = 64 << 10;

/// Time allowed for one try over the network while waiting for readiness: a port that accepts and then says
/// nothing must not use up the time of the tries to come.
const NETWORK_TRY_MS_MAX: u64 = 10_000;

/// A first answer that is still missing is asked for again after so small a part of the time since the first try (one
/// in so many), as long as that is less than the interval: waiting delays the start by little, and costs some fifty tries.
const EARLY_PART: u32 = 8;
/// The shortest such time.
const EARLY_MIN: Duration = Duration::from_millis(1);

/// The clock of a file system may be so far behind ours (a tick of the kernel).
const FILE_CLOCK_BEHIND: Duration = Duration::from_millis(20);

/// The service that is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// What it runs: a command probes with its environment, in its directory, as its user.
    pub spec: &'a ServiceSpec,
    /// Its main process, if that is known: looked at first when the answer is attributed.
    pub leader: Option<u32>,
    /// What it has shown since it was started; `None` where nobody looks.
    pub signs: Option<&'a Signs>,
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

/// Tries until enough tries in a row succeed or `probe.timeout_ms` is over, with `probe.interval_ms` between two tries:
/// less at first where a try costs the service nothing ([`early_wait`]).
/// The first one comes after `probe.delay_ms`, which is given besides.
pub(crate) async fn await_ready(probe: &Probe, asked: Asked<'_>) -> Readiness {
    tokio::time::sleep(Duration::from_millis(probe.delay_ms)).await;
    let end = Instant::now() + Duration::from_millis(probe.timeout_ms);
    let mut last: Option<ProbeFailure> = None;
    let mut successes = 0;
    let first_at = Instant::now();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let try_ms = match (&probe.kind, probe.try_ms) {
            (_, Some(try_ms)) => left_ms.min(try_ms),
            (ProbeKind::Http(_) | ProbeKind::Tcp(_) | ProbeKind::Sql(_), None) => {
                left_ms.min(NETWORK_TRY_MS_MAX)
            }
            _ => left_ms,
        };
        let begun = Instant::now();
        match probe_once(probe, try_ms.max(1), asked).await {
            Ok(()) => {
                successes += 1;
                if successes >= probe.successes_min {
                    return Readiness::Ready;
                }
                last = Some(ProbeFailure::new(format!(
                    "{successes} of {} tries in a row succeeded",
                    probe.successes_min
                )));
            }
            // A try that was cut short by the end knows less than the one before, unless it had its time.
            Err(failure)
                if last.is_none()
                    || Instant::now() < end
                    || begun.elapsed() >= Duration::from_millis(probe.timeout_ms / 4) =>
            {
                successes = 0;
                last = Some(failure);
            }
            Err(_) => {}
        }
        let mut wait = Duration::from_millis(probe.interval_ms.max(1));
        if successes == 0 {
            wait = wait.min(early_wait(&probe.kind, first_at.elapsed()));
        }
        let next = Instant::now() + wait;
        if next >= end {
            tokio::time::sleep_until(end.min(next)).await;
            return Readiness::TimedOut {
                last: last.unwrap_or_else(|| ProbeFailure::new("not tried")),
            };
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Most time until the next try for a first answer. A connection that is refused and a file that is missing cost nobody
/// anything; a request or a command that fails costs the service, and comes at its interval.
fn early_wait(kind: &ProbeKind, since_first: Duration) -> Duration {
    match kind {
        ProbeKind::Tcp(_) | ProbeKind::File(_) => (since_first / EARLY_PART).max(EARLY_MIN),
        _ => Duration::MAX,
    }
}

/// Tries once. An answer counts if it is ours ([`require_ours`]), or if the probe is `external`.
///
/// HTTP: one GET without redirects and proxies; a status from 200 to 399 is good unless others are named, and the body
/// is read only to compare it.
///
/// # Errors
/// What was wrong, in one sentence, with a command's last output.
pub(crate) async fn probe_once(
    probe: &Probe,
    timeout_ms: u64,
    asked: Asked<'_>,
) -> Result<(), ProbeFailure> {
    let begun = Instant::now();
    let answer = ask(probe, timeout_ms, asked).await;
    if let Some(signs) = asked.signs {
        signs.note_probe(begun.elapsed(), answer.is_ok());
    }
    let peer = answer?;
    if probe.external {
        return Ok(());
    }
    let ours = if probe.http.socket.is_some() {
        require_our_process(peer, asked.spec, asked.leader)
    } else {
        require_ours(probe, asked.spec, asked.leader)
    };
    ours.map_err(ProbeFailure::new)
}

/// The process that answered, where the answer itself says it.
async fn ask(
    probe: &Probe,
    timeout_ms: u64,
    asked: Asked<'_>,
) -> Result<Option<u32>, ProbeFailure> {
    let spec = asked.spec;
    let limit = Duration::from_millis(timeout_ms);
    let late =
        |what: &str| ProbeFailure::new(format!("{what} did not answer within {timeout_ms} ms"));
    match &probe.kind {
        ProbeKind::Http(url) => {
            return tokio::time::timeout(limit, probe_http(url, &probe.http, &spec.workspace))
                .await
                .unwrap_or_else(|_| Err(late(&format!("GET {url}"))));
        }
        ProbeKind::Tcp(address) => tokio::time::timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| late(address))?
            .and_then(require_other_end)
            .map_err(|e| ProbeFailure::new(format!("cannot connect to {address}: {e}"))),
        ProbeKind::Exec(argv) => run(argv, limit, spec).await,
        ProbeKind::File(path) => {
            let since = asked
                .signs
                .map(|signs| signs.started)
                .filter(|_| !probe.external);
            look_at_file(&spec.workspace.join(path), path, since)
        }
        ProbeKind::Log(pattern) => match asked.signs {
            Some(signs) => tokio::time::timeout(limit, signs.line_seen())
                .await
                .map_err(|_| ProbeFailure::new(format!("no line of its output matches {pattern}"))),
            None => Ok(()),
        },
        ProbeKind::Notify => match asked.signs {
            Some(signs) => tokio::time::timeout(limit, signs.notified())
                .await
                .map_err(|_| ProbeFailure::new(signs.why_not_notified())),
            None => Ok(()),
        },
        ProbeKind::Sql(schema) => match spec.pings.get(schema) {
            Some(ping) => tokio::time::timeout(limit, ping.ask())
                .await
                .map_err(|_| late(&format!("the database of schema {schema}")))?
                .map_err(|why| {
                    ProbeFailure::new(format!("the database of schema {schema}: {why}"))
                }),
            None => Ok(()),
        },
    }
    .map(|()| None)
}

/// A connection to a port where nobody listens can meet itself, if the kernel gives it that very port (RFC 9293, 3.5:
/// simultaneous open). That is no answer.
fn require_other_end(stream: TcpStream) -> io::Result<()> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// Something stands there, and came or changed since the service was started: what an earlier run left says nothing.
fn look_at_file(path: &Path, shown: &str, since: Option<SystemTime>) -> Result<(), ProbeFailure> {
    let about = std::fs::metadata(path).map_err(|error| {
        ProbeFailure::new(match error.kind() {
            io::ErrorKind::NotFound => format!("{shown} does not exist"),
            _ => format!("{shown} cannot be looked at: {error}"),
        })
    })?;
    let Some(since) = since else {
        return Ok(());
    };
    let seconds = u64::try_from(about.ctime()).unwrap_or(0);
    let nanos = u32::try_from(about.ctime_nsec()).unwrap_or(0);
    // The time of the last change of any kind: a renamed file counts, and nobody can set it.
    let changed = UNIX_EPOCH + Duration::new(seconds, nanos);
    if changed + FILE_CLOCK_BEHIND >= since {
        return Ok(());
    }
    Err(ProbeFailure::new(format!(
        "{shown} is older than this start of the service; let the service write it anew, or write `external = true` in \
         the probe if it is meant"
    )))
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
    let here = Path::new("");
    let answered = request(url, &HttpRequest::default(), here, body_max).await?;
    Ok((answered.status, answered.body))
}

struct Answered {
    status: u16,
    body: String,
    peer: Option<u32>,
}

async fn request(
    url: &str,
    with: &HttpRequest,
    workspace: &Path,
    body_max: usize,
) -> Result<Answered, ProbeFailure> {
    let wrong = |why: &str| ProbeFailure::new(format!("GET {url}: {why}"));
    let uri: Uri = url.parse().map_err(|e| wrong(&format!("not a URL: {e}")))?;
    let (Some("http" | "https"), Some(_)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("only http:// and https:// can be probed"));
    };
    let (target, path) = Target::of_url(url).map_err(wrong)?;
    let ca_file = with.ca_file.as_ref().map(|file| workspace.join(file));
    let socket: Option<PathBuf> = with.socket.as_ref().map(|socket| workspace.join(socket));
    let client = Client::new(target, ca_file.as_deref());
    let mut client = client
        .map_err(|error| wrong(&error.to_string()))?
        .over_socket(socket);
    let mut headers = vec![(CONNECTION, HeaderValue::from_static("close"))];
    for (name, value) in &with.headers {
        let header = HeaderName::try_from(name.as_str()).ok();
        let header = header.zip(HeaderValue::try_from(value.as_str()).ok());
        headers.push(
            header
                .ok_or_else(|| wrong(&format!("the header {name} contains invalid characters")))?,
        );
    }
    let answer = client
        .get(&path, &headers, BodyLimit::First(body_max))
        .await;
    let answer = answer.map_err(|error| wrong(&error.to_string()))?;
    Ok(Answered {
        status: answer.status,
        body: String::from_utf8_lossy(&answer.body).into_owned(),
        peer: client.peer(),
    })
}

async fn probe_http(
    url: &str,
    with: &HttpRequest,
    workspace: &Path,
) -> Result<Option<u32>, ProbeFailure> {
    let body_max = if with.body.is_some() { BODY_MAX } else { 0 };
    let Answered { status, body, peer } = request(url, with, workspace, body_max).await?;
    let is_right = match with.statuses.as_slice() {
        [] => (200..=399).contains(&status),
        statuses => statuses.contains(&status),
    };
    if !is_right {
        return Err(ProbeFailure::new(format!("GET {url}: status {status}")));
    }
    match &with.body {
        Some(pattern) if !matches(pattern, &body) => Err(ProbeFailure::new(format!(
            "GET {url}: status {status}, and the body does not match {pattern}"
        ))),
        _ => Ok(peer),
    }
}

/// Whether the pattern of a manifest matches. Each is compiled once: a probe asks every second.
fn matches(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, Option<Regex>>> = const { RefCell::new(BTreeMap::new()) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        if !compiled.contains_key(pattern) {
            compiled.insert(pattern.to_owned(), compile_pattern(pattern).ok());
        }
        let regex = compiled.get(pattern).and_then(Option::as_ref);
        regex.is_some_and(|regex| regex.is_match(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_answer_is_asked_for_again_soon_where_that_costs_nothing() {
        let wait = |kind: &ProbeKind, ms| early_wait(kind, Duration::from_millis(ms)).as_micros();
        let tcp = ProbeKind::Tcp("127.0.0.1:1".to_owned());
        assert_eq!((wait(&tcp, 0), wait(&tcp, 20)), (1_000, 2_500));
        let http = ProbeKind::Http("http://127.0.0.1:1/".to_owned());
        assert_eq!(early_wait(&http, Duration::ZERO), Duration::MAX);
    }

    #[tokio::test]
    async fn a_connection_that_meets_itself_is_no_answer() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let here = socket.local_addr().unwrap();
        let met = socket.connect(here).await.unwrap();
        assert!(require_other_end(met).is_err());
    }
}
