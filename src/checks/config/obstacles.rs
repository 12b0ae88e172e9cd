//! What would be in the way of a boot that begins now: ports that are taken, files of earlier runs, a full disk.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::domain::process::BOOT_MARK;
use crate::domain::remedy::Remedy;
use crate::kernel::{Listener, free_bytes, leftover, listener};
use crate::manifest::{ProbeKind, Service};

/// Less free space than this lets databases and logs fail soon, in bytes.
const FREE_BYTES_MIN: u64 = 100 << 20;
/// A file with the number of a process is no longer.
const PID_BYTES_MAX: u64 = 64;

/// Findings about the host as it is now, for the services that are going to be started; none unless a boot is about to
/// begin.
pub(super) fn obstacles<'m>(
    context: &CheckContext<'m>,
    services: impl Iterator<Item = &'m Service>,
) -> Vec<Finding> {
    if !context.before_boot {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut ports: BTreeMap<u16, &Service> = BTreeMap::new();
    for service in services {
        let run = AsRun::of_service(context, service);
        for port in ports_of(context, service, &run) {
            ports.entry(port).or_insert(service);
        }
        findings.extend(stale_file(context, service, &run));
    }
    for (port, service) in ports {
        findings.extend(port_taken(context, service, port));
    }
    findings.extend(disk_space(context));
    findings
}

/// The ports that a service is going to listen on: of its command, and of probes that only it may answer.
fn ports_of(context: &CheckContext<'_>, service: &Service, run: &AsRun) -> Vec<u16> {
    let of_command = run
        .program
        .port
        .as_deref()
        .and_then(|port| port.parse().ok());
    let mut ports: Vec<u16> = of_command
        .filter(|_| run.program.serves)
        .into_iter()
        .collect();
    for probe in [&service.ready, &service.live].into_iter().flatten() {
        let address = match &probe.kind {
            ProbeKind::Tcp(address) => address.as_str(),
            ProbeKind::Http(url) => {
                let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                rest.split(['/', '?']).next().unwrap_or_default()
            }
            _ => continue,
        };
        let address = context.environment.expand(address).unwrap_or_default();
        let Some((host, port)) = address.rsplit_once(':') else {
            continue;
        };
        let is_here = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
        if let (true, false, Ok(port)) = (is_here, probe.external, port.parse()) {
            ports.push(port);
        }
    }
    ports
}

fn port_taken(context: &CheckContext<'_>, service: &Service, port: u16) -> Option<Finding> {
    let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let Listener::Stranger(stranger) = listener(&addresses, port, None, "") else {
        return None;
    };
    if is_of_a_boot(context, stranger.pid) {
        return None;
    }
    let message = format!(
        "port {port} of service {} is taken by {stranger}",
        service.name
    );
    let finding = Finding::of(Code::ConfigPortTaken, service.name.as_str(), message);
    Some(context.at_service(finding, service).remedy(format!(
        "end that process (`kill {}`), or give the service another port",
        stranger.pid
    )))
}

/// The boot that runs in this workspace holds it.
fn is_of_a_boot(context: &CheckContext<'_>, pid: u32) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let variables = std::fs::read(process.join("environ")).unwrap_or_default();
    let is_marked = variables
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(BOOT_MARK.as_bytes()))
        .any(|value| value.starts_with(b"="));
    let directory = std::fs::read_link(process.join("cwd")).unwrap_or_default();
    is_marked && directory.starts_with(&context.manifest.workspace)
}

/// A file that says that the service runs already, while the process that it names is another program.
fn stale_file(context: &CheckContext<'_>, service: &Service, run: &AsRun) -> Option<Finding> {
    let expand = |word: &String| context.environment.expand(word).ok();
    let words: Vec<String> = service.run.iter().filter_map(expand).collect();
    let named = ["--pidfile", "--pid"].iter().find_map(|option| {
        words.iter().enumerate().find_map(|(at, word)| {
            let value = word.strip_prefix(option)?;
            match value.strip_prefix('=') {
                Some(value) => Some(value.to_owned()),
                None => words.get(at + 1).filter(|_| value.is_empty()).cloned(),
            }
        })
    });
    let is_beat = run.program.tool == "celery" && words.iter().any(|word| word == "beat");
    let name = named.or_else(|| is_beat.then(|| "celerybeat.pid".to_owned()))?;
    let path = context
        .root
        .join(run.cwd.as_deref().unwrap_or_default())
        .join(&name);
    let is_small = path
        .metadata()
        .is_ok_and(|m| m.is_file() && m.len() <= PID_BYTES_MAX);
    let text = is_small
        .then(|| std::fs::read_to_string(&path).ok())
        .flatten()?;
    let pid: u32 = text.trim().parse().ok()?;
    // Of a process that is gone the program itself takes the file over.
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    if command.contains(run.program.tool.as_str()) || run.program.tool.is_empty() {
        return None;
    }
    let tool = &run.program.tool;
    let other = context
        .redactor
        .clean(command.split(' ').next().unwrap_or_default(), 128);
    let message = format!(
        "{name} names process {pid}, which is {other} and not {tool}: an earlier run left it behind, and {tool} will \
         not start beside it"
    );
    let finding = Finding::of(Code::ConfigStaleFile, service.name.as_str(), message);
    let mut finding = finding.at(name.as_str(), 1, 0).remedy(format!(
        "remove {name}; so that it cannot happen again, let the service write none (`--pidfile=`)"
    ));
    // The process that has the number now began after the file was written.
    let inside = path.strip_prefix(context.root).ok().and_then(Path::to_str);
    if let (Some(inside), Ok(_)) = (inside, leftover(&path)) {
        finding = finding.fix(Remedy::MoveAside {
            path: inside.to_owned(),
        });
    }
    Some(finding)
}

fn disk_space(context: &CheckContext<'_>) -> Option<Finding> {
    let free = free_bytes(context.root).ok()?;
    (free < FREE_BYTES_MIN).then(|| {
        let message = format!("{} MiB are free where the workspace lies", free >> 20);
        Finding::of(Code::ConfigDiskSpace, "disk", message)
            .remedy("make room: databases and logs fail when a disk is full")
    })
}
