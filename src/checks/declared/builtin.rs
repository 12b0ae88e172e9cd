//! The kinds of declared checks that need no program.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::Utc;
use nix::sys::resource::{Resource, getrlimit};

use super::answer::{Answer, Found};
use super::certificate::ends_at;
use crate::checks::context::CheckContext;
use crate::domain::finding::Severity;
use crate::http::{BodyLimit, Client, HttpError, Target, certificates_of, server_certificate};
use crate::kernel::free_bytes;
use crate::manifest::{CertificateOf, CheckKind, DeclaredCheck};

/// From the beginning of 1900, with which NTP counts, to that of 1970.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;
/// Bytes of a packet of SNTP without extensions.
const NTP_BYTES: usize = 48;
/// First byte of a question: version 4, client.
const NTP_CLIENT: u8 = 0x23;
const NTP_PORT: u16 = 123;
const DAY_S: i64 = 24 * 60 * 60;

/// Looks. The reason of an error is the rest of a sentence that begins with the check.
pub(super) fn look(context: &CheckContext<'_>, check: &DeclaredCheck) -> Result<Answer, String> {
    let expand = |text: &str| {
        context
            .environment
            .expand(text)
            .map_err(|error| format!("cannot look: {error}"))
    };
    let place = |text: &str| expand(text).map(|path| context.root.join(path));
    let timeout_ms = check.timeout_ms;
    let found = match &check.kind {
        CheckKind::Program { .. } => return Err("has a program".to_owned()),
        CheckKind::Tcp(address) => tcp(&expand(address)?, timeout_ms)?,
        CheckKind::Http(url) => http(&expand(url)?, timeout_ms)?,
        CheckKind::Dns(name) => dns(&expand(name)?, timeout_ms)?,
        CheckKind::Disk { path, free_bytes } => disk(&place(path)?, &expand(path)?, *free_bytes)?,
        CheckKind::File {
            path,
            mode,
            owner,
            max_age_ms,
        } => file(
            &place(path)?,
            &expand(path)?,
            *mode,
            owner.as_deref(),
            *max_age_ms,
        )?,
        CheckKind::Clock { server, skew_ms } => clock(&expand(server)?, *skew_ms, timeout_ms)?,
        CheckKind::Limits {
            open_files,
            processes,
        } => limits(*open_files, *processes)?,
        CheckKind::Certificate { of, days } => {
            let (subject, certificate) = match of {
                CertificateOf::File(path) => (expand(path)?, certificate_in(&place(path)?)),
                CertificateOf::Server { address, ca_file } => {
                    let address = expand(address)?;
                    let ca_file = ca_file.as_deref().map(place).transpose()?;
                    let certificate = certificate_at(&address, ca_file, timeout_ms)?;
                    (address, certificate)
                }
            };
            match certificate {
                Ok(certificate) => ends(&subject, &certificate, *days)?,
                Err((rule, why)) => vec![Found::new(
                    rule,
                    subject.clone(),
                    format!("{subject} {why}"),
                )],
            }
        }
    };
    Ok(Answer::with_results(found, 1))
}

/// `None`: the time is up.
fn within<T>(timeout_ms: u64, what: impl Future<Output = T>) -> Result<Option<T>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| format!("cannot start an event loop: {error}"))?;
    let ended = runtime.block_on(async {
        tokio::time::timeout(Duration::from_millis(timeout_ms), what)
            .await
            .ok()
    });
    // A look-up of a name cannot be stopped.
    runtime.shutdown_background();
    Ok(ended)
}

fn tcp(address: &str, timeout_ms: u64) -> Result<Vec<Found>, String> {
    let why = match within(timeout_ms, tokio::net::TcpStream::connect(address))? {
        Some(Ok(_)) => return Ok(Vec::new()),
        Some(Err(error)) => error.to_string(),
        None => format!("nothing within {timeout_ms} ms"),
    };
    let message = format!("{address} accepts no connection: {why}");
    Ok(vec![Found::new("closed", address, message)])
}

fn http(url: &str, timeout_ms: u64) -> Result<Vec<Found>, String> {
    let (target, path) =
        Target::of_url(url).map_err(|why| format!("cannot look: its URL {why}"))?;
    let shown = format!("{target}{}", path.split('?').next().unwrap_or_default());
    let asked = async {
        let mut client = Client::new(target, None)?;
        client.get(&path, &[], BodyLimit::First(0)).await
    };
    let (rule, why) = match within(timeout_ms, asked)? {
        Some(Ok(answer)) if (200..400).contains(&answer.status) => return Ok(Vec::new()),
        Some(Ok(answer)) => ("status", format!("answers with status {}", answer.status)),
        Some(Err(error)) => ("unreachable", format!("gives no answer: {error}")),
        None => (
            "unreachable",
            format!("gives no answer within {timeout_ms} ms"),
        ),
    };
    Ok(vec![Found::new(rule, &shown, format!("GET {shown} {why}"))])
}

fn dns(name: &str, timeout_ms: u64) -> Result<Vec<Found>, String> {
    let why = match within(timeout_ms, tokio::net::lookup_host((name, 0)))? {
        Some(Ok(mut addresses)) => match addresses.next() {
            Some(_) => return Ok(Vec::new()),
            None => "it has no address".to_owned(),
        },
        Some(Err(error)) => error.to_string(),
        None => format!("no answer within {timeout_ms} ms"),
    };
    let message = format!("{name} has no address: {why}");
    Ok(vec![Found::new("unresolved", name, message)])
}

fn disk(path: &Path, shown: &str, wanted: u64) -> Result<Vec<Found>, String> {
    // What is not there yet will lie where its directory lies.
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let free = free_bytes(there).map_err(|error| format!("cannot look at {shown}: {error}"))?;
    if free >= wanted {
        return Ok(Vec::new());
    }
    let mib = |bytes: u64| bytes >> 20;
    let message = format!(
        "{shown} has {} MiB free, and needs {}",
        mib(free),
        mib(wanted)
    );
    Ok(vec![Found::new("full", shown, message)])
}

fn file(
    path: &Path,
    shown: &str,
    mode: Option<u32>,
    owner: Option<&str>,
    max_age_ms: Option<u64>,
) -> Result<Vec<Found>, String> {
    let file = match path.metadata() {
        Ok(file) => file,
        Err(error) => {
            let message = format!("{shown} cannot be looked at: {error}");
            return Ok(vec![Found::new("missing", shown, message)]);
        }
    };
    let mut found = Vec::new();
    let has = file.mode() & 0o7777;
    if let Some(most) = mode.filter(|most| has & !most != 0) {
        let message = format!("{shown} has mode {has:04o}, and may have {most:04o} at most");
        let remedy = format!("chmod {:o} {shown}", has & most);
        found.push(Found {
            remedy: Some(remedy),
            ..Found::new("mode", shown, message)
        });
    }
    if let Some(owner) = owner {
        let user = nix::unistd::User::from_name(owner)
            .map_err(|error| format!("cannot look up the user {owner}: {error}"))?;
        let message = match user {
            None => Some(format!("there is no user {owner}, who has to own {shown}")),
            Some(user) if user.uid.as_raw() != file.uid() => Some(format!(
                "{shown} belongs to user {}, and not to {owner}",
                file.uid()
            )),
            Some(_) => None,
        };
        found.extend(message.map(|message| Found::new("owner", shown, message)));
    }
    let age = file
        .modified()
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    if let Some(most) = max_age_ms.map(Duration::from_millis)
        && let Some(age) = age.filter(|age| *age > most)
    {
        let (age, most) = (age.as_secs(), most.as_secs());
        let message = format!("{shown} was written {age} s ago, and has to be newer than {most} s");
        found.push(Found::new("old", shown, message));
    }
    Ok(found)
}

fn clock(server: &str, skew_ms: u64, timeout_ms: u64) -> Result<Vec<Found>, String> {
    let bare = server.trim_matches(['[', ']']);
    let address = match server.rsplit_once(':') {
        _ if bare.parse::<IpAddr>().is_ok() => (bare.to_owned(), NTP_PORT),
        Some((host, port)) => {
            let port = port
                .parse()
                .map_err(|_| format!("cannot ask {server}: its port is no number"))?;
            (host.trim_matches(['[', ']']).to_owned(), port)
        }
        None => (server.to_owned(), NTP_PORT),
    };
    let asked = async {
        let mut addresses = tokio::net::lookup_host((address.0.as_str(), address.1)).await?;
        let at = addresses
            .next()
            .ok_or_else(|| std::io::Error::other("it has no address"))?;
        ask_time(at).await
    };
    let offset_ms = match within(timeout_ms, asked)? {
        Some(Ok(offset_ms)) => offset_ms,
        Some(Err(error)) => return Err(format!("cannot ask {server}: {error}")),
        None => return Err(format!("got no answer of {server} within {timeout_ms} ms")),
    };
    if offset_ms.unsigned_abs() <= skew_ms {
        return Ok(Vec::new());
    }
    let word = if offset_ms > 0 { "behind" } else { "ahead of" };
    let apart = offset_ms.unsigned_abs();
    let message = format!("the clock is {apart} ms {word} {server}, and {skew_ms} ms are allowed");
    Ok(vec![Found {
        remedy: Some("see that the host keeps its time: timedatectl status".to_owned()),
        ..Found::new("skew", server, message)
    }])
}

/// Milliseconds that the server is ahead of this clock.
async fn ask_time(server: SocketAddr) -> std::io::Result<i64> {
    let here: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = tokio::net::UdpSocket::bind(here).await?;
    socket.connect(server).await?;
    let mut question = [0; NTP_BYTES];
    question[0] = NTP_CLIENT;
    // What the server repeats as the time of the question: an answer to another one is none.
    let mut mark = [0; 8];
    getrandom::fill(&mut mark).map_err(std::io::Error::other)?;
    question[40..].copy_from_slice(&mark);
    let sent_ms = now_ms();
    socket.send(&question).await?;
    let mut answer = [0; 2 * NTP_BYTES];
    loop {
        let length = socket.recv(&mut answer).await?;
        let came_ms = now_ms();
        if length < NTP_BYTES || answer[24..32] != mark {
            continue;
        }
        let stratum = answer[1];
        if stratum == 0 || answer[0] >> 6 == 3 {
            return Err(std::io::Error::other("it does not know the time itself"));
        }
        let (received, sent) = (ntp_ms(&answer[32..40]), ntp_ms(&answer[40..48]));
        return Ok(((received - sent_ms) + (sent - came_ms)) / 2);
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Seconds and fractions as NTP writes them, in milliseconds since 1970.
fn ntp_ms(bytes: &[u8]) -> i64 {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
    };
    let (mut seconds, fraction) = (number(&bytes[..4]), number(&bytes[4..8]));
    // The count began anew in 2036.
    if seconds < NTP_TO_UNIX_S {
        seconds += 1 << 32;
    }
    let ms = (seconds - NTP_TO_UNIX_S) * 1000 + ((fraction * 1000) >> 32);
    i64::try_from(ms).unwrap_or(i64::MAX / 4)
}

fn limits(open_files: Option<u32>, processes: Option<u32>) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for (rule, what, resource, wanted) in [
        (
            "open_files",
            "open files",
            Resource::RLIMIT_NOFILE,
            open_files,
        ),
        ("processes", "processes", Resource::RLIMIT_NPROC, processes),
    ] {
        let Some(wanted) = wanted else { continue };
        let (soft, hard) =
            getrlimit(resource).map_err(|error| format!("cannot look at {what}: {error}"))?;
        if soft >= u64::from(wanted) {
            continue;
        }
        let message =
            format!("{soft} {what} are allowed (at most {hard}), and {wanted} are needed");
        let remedy = format!(
            "set `limits = {{ {rule} = {wanted} }}` for the service, or raise the limit of ubs"
        );
        found.push(Found {
            remedy: Some(remedy),
            ..Found::new(rule, what, message)
        });
    }
    Ok(found)
}

/// A certificate, or what is wrong with it.
type Certificate = Result<Vec<u8>, (&'static str, String)>;

fn certificate_in(path: &Path) -> Certificate {
    match certificates_of(path) {
        Ok(certificates) => certificates
            .first()
            .map(|first| first.to_vec())
            .ok_or_else(|| ("unreadable", "has no certificate".to_owned())),
        Err(why) => Err(("unreadable", why.to_owned())),
    }
}

fn certificate_at(
    address: &str,
    ca_file: Option<PathBuf>,
    timeout_ms: u64,
) -> Result<Certificate, String> {
    let target = Target::parse(&format!("https://{address}"))
        .map_err(|why| format!("cannot look: its address {why}"))?;
    let asked = server_certificate(&target, ca_file.as_deref());
    match within(timeout_ms, asked)? {
        Some(Ok(certificate)) => Ok(Ok(certificate)),
        Some(Err(HttpError::Untrusted(why))) => {
            Ok(Err(("untrusted", format!("cannot be trusted: {why}"))))
        }
        Some(Err(error)) => Err(format!("cannot look at {address}: {error}")),
        None => Err(format!("got no answer of {address} within {timeout_ms} ms")),
    }
}

fn ends(subject: &str, der: &[u8], days: u32) -> Result<Vec<Found>, String> {
    let ends_at =
        ends_at(der).ok_or_else(|| format!("cannot read the certificate of {subject}"))?;
    let left_s = (ends_at - Utc::now()).num_seconds();
    if left_s >= i64::from(days) * DAY_S {
        return Ok(Vec::new());
    }
    let on = ends_at.format("%Y-%m-%d");
    let (rule, severity, message) = if left_s <= 0 {
        (
            "expired",
            None,
            format!("the certificate of {subject} ended on {on}"),
        )
    } else {
        let left = left_s / DAY_S;
        let message = format!("the certificate of {subject} ends on {on}, in {left} days");
        ("ends_soon", Some(Severity::Warning), message)
    };
    Ok(vec![Found {
        severity,
        remedy: Some("renew the certificate".to_owned()),
        ..Found::new(rule, subject, message)
    }])
}
