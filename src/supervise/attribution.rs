//! Whether an answer came from our own processes: a probe that a stranger answers says nothing about the service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::process::ServiceSpec;
use crate::kernel::{self, Listener};
use crate::manifest::{Probe, ProbeKind};

/// Most ports of one command that are looked at.
const PORTS_MAX: usize = 8;

/// An address of this host in a command: `127.0.0.1:80`, `localhost:80`, `('127.0.0.1', 80)`; or its port alone:
/// `--port 80`, `--port=80`, `-p 80`.
static PORT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let host = r#"(?:127\.0\.0\.1|localhost|\[::1\]|0\.0\.0\.0)(?::|['"]\s*,\s*)"#;
    Regex::new(&format!(
        r"(?:{host}|(?:^|\s)--port[=\s]|(?:^|\s)-p\s)(\d{{1,5}})\b"
    ))
    .ok()
});

/// The ports of this host that the probe asks: from its address; for a command those that are declared, or inferred
/// from it, or else from the service's. Empty: not known, or not on this host.
pub(crate) fn ports_asked(probe: &Probe, spec: &ServiceSpec) -> Vec<(Vec<IpAddr>, u16)> {
    let kind = &probe.kind;
    let authority = match kind {
        ProbeKind::Tcp(address) => address.as_str(),
        ProbeKind::Http(url) => {
            let rest = url.strip_prefix("http://");
            let rest = rest.or_else(|| url.strip_prefix("https://"));
            let rest = rest.unwrap_or_default();
            rest.split(['/', '?', '#']).next().unwrap_or_default()
        }
        // What it has printed, said or made is its own; a database is most often somebody else's.
        ProbeKind::File(_) | ProbeKind::Log(_) | ProbeKind::Notify | ProbeKind::Sql(_) => {
            return Vec::new();
        }
        ProbeKind::Exec(argv) => {
            let mut ports = probe.ports.clone();
            if ports.is_empty() {
                ports = ports_in(argv);
            }
            if ports.is_empty() {
                ports = ports_in(&spec.argv);
            }
            return ports.into_iter().map(|port| (loopback(), port)).collect();
        }
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, Some(default_port(kind))),
    };
    let addresses = match host.trim_matches(['[', ']']) {
        "localhost" => loopback(),
        host => host.parse().into_iter().collect(),
    };
    let port = port.filter(|_| !addresses.is_empty());
    port.map(|port| (addresses, port)).into_iter().collect()
}

fn default_port(kind: &ProbeKind) -> u16 {
    match kind {
        ProbeKind::Http(url) if url.starts_with("https://") => 443,
        _ => 80,
    }
}

fn loopback() -> Vec<IpAddr> {
    vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

fn ports_in(argv: &[String]) -> Vec<u16> {
    let text = argv.join(" ");
    let Some(pattern) = PORT.as_ref() else {
        return Vec::new();
    };
    let found = pattern.captures_iter(&text);
    let mut ports: Vec<u16> = found.filter_map(|found| found[1].parse().ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.truncate(PORTS_MAX);
    ports
}

/// Refuses an answer that only a process of somebody else can have given. An owner that is not known is accepted.
pub(super) fn require_ours(
    probe: &Probe,
    spec: &ServiceSpec,
    leader: Option<u32>,
) -> Result<(), String> {
    // Without a mark nobody is ours, and nobody else's.
    let Some(mark) = spec.marks.first() else {
        return Ok(());
    };
    for (addresses, port) in ports_asked(probe, spec) {
        if let Listener::Stranger(stranger) = kernel::listener(&addresses, port, leader, mark) {
            return Err(format!(
                "port {port} is answered by {stranger}, and not by a process of this boot; stop it, change the port, or \
                 write `external = true` in the probe if it is meant"
            ));
        }
    }
    Ok(())
}

/// Why nothing says that the service itself gave an answer that was accepted; `None`: something does, or nobody asks.
pub(crate) fn why_not_attributed(
    probe: &Probe,
    spec: &ServiceSpec,
    leader: Option<u32>,
) -> Option<String> {
    let by_address = matches!(
        probe.kind,
        ProbeKind::Http(_) | ProbeKind::Tcp(_) | ProbeKind::Exec(_)
    );
    let mark = spec.marks.first()?;
    if probe.external || probe.http.socket.is_some() || !by_address {
        return None;
    }
    let ports = ports_asked(probe, spec);
    if ports.is_empty() {
        let why = match &probe.kind {
            ProbeKind::Exec(_) => "no port that it asks is known; `ports` in the probe names it",
            _ => "the address that it asks is not on this host",
        };
        return Some(why.to_owned());
    }
    ports.into_iter().find_map(|(addresses, port)| {
        let owner = kernel::listener(&addresses, port, leader, mark);
        (owner == Listener::Unknown).then(|| format!("who listens on port {port} cannot be read"))
    })
}

/// The same for an answer over a local socket, which names its process.
pub(super) fn require_our_process(
    peer: Option<u32>,
    spec: &ServiceSpec,
    leader: Option<u32>,
) -> Result<(), String> {
    let (Some(pid), Some(mark)) = (peer, spec.marks.first()) else {
        return Ok(());
    };
    if peer == leader {
        return Ok(());
    }
    match kernel::owner_of(pid, mark) {
        Listener::Stranger(stranger) => Err(format!(
            "the socket is answered by {stranger}, and not by a process of this boot; stop it, change the socket, or \
             write `external = true` in the probe if it is meant"
        )),
        Listener::Ours | Listener::Unknown => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_attributed_is_said() {
        let why = |kind: ProbeKind, more: &dyn Fn(&mut Probe)| {
            let mut probe = Probe {
                kind,
                ..Probe::READY_DEFAULT
            };
            more(&mut probe);
            let spec = ServiceSpec {
                marks: vec!["UBS_TEST=x".to_owned()],
                argv: vec!["serve".to_owned()],
                ..ServiceSpec::default()
            };
            why_not_attributed(&probe, &spec, None).unwrap_or_default()
        };
        let nothing = |_: &mut Probe| {};
        let exec = || ProbeKind::Exec(vec!["pg_isready".to_owned()]);
        assert!(why(exec(), &nothing).contains("no port that it asks is known"));
        // Port 1 is nobody's here.
        assert!(why(exec(), &|p| p.ports = vec![1]).contains("port 1 cannot be read"));
        assert_eq!(why(exec(), &|p| p.external = true), "");
        let remote = || ProbeKind::Http("https://shop.example/".to_owned());
        assert!(why(remote(), &nothing).contains("not on this host"));
        assert_eq!(why(ProbeKind::Log("x".to_owned()), &nothing), "");
    }

    #[test]
    fn ports_are_inferred_from_commands() {
        let ports = |command: &str| ports_in(&[command.to_owned()]);
        assert_eq!(ports("curl -f http://127.0.0.1:8000/health"), [8000]);
        assert_eq!(ports("pg_isready -p 5433"), [5433]);
        assert_eq!(
            ports("uvicorn app:app --port=81 --bind localhost:82"),
            [81, 82]
        );
        assert_eq!(
            ports("python -c \"s.connect(('127.0.0.1', 8001))\""),
            [8001]
        );
        assert_eq!(ports("test -p pipe; curl http://db:5432"), [0; 0]);
        assert!(ports("test -s up").is_empty());
        assert!(ports("curl http://127.0.0.1:99999").is_empty());
    }
}
