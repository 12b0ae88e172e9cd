//! Reads `ready` and `live`: what is tested, and how often.

use std::collections::BTreeMap;

use super::command::read_command;
use super::interpolate::require_sound;
use super::probe_spec::{HttpRequest, Probe, ProbeKind};
use super::problem::{Fault, shown};
use super::section::{Faults, Section, values};
use super::value_check::compile;
use super::words::{did_you_mean, inside_or_absolute_path};

/// Most failures or successes in a row.
const IN_A_ROW_MAX: u32 = 1000;
/// Shorter waits between two tries would only load the machine.
const INTERVAL_MS_MIN: u64 = 10;
/// What a probe can test.
const KINDS: [&str; 7] = ["http", "tcp", "exec", "file", "log", "notify", "sql"];
/// Keys that say more about `http`.
const HTTP_KEYS: [&str; 5] = ["status", "body", "headers", "socket", "ca_file"];
/// What a header's name consists of (RFC 9110, section 5.6.2), besides letters and digits.
const TOKEN_SIGNS: &str = "!#$%&'*+-.^_`|~";

pub(super) fn read_probe(section: &Section<'_>, defaults: &Probe, schemas: &[&str]) -> Probe {
    let kinds = KINDS.into_iter().filter(|key| section.knows(key));
    let (known, found): (Vec<&str>, Vec<&str>) = (
        kinds.clone().collect(),
        kinds.filter(|key| section.has(key)).collect(),
    );
    if found.len() != 1 {
        let choice = format!("`{}`", known.join("`, `"));
        let (label, message) = if found.is_empty() {
            ("tests nothing", format!("a probe needs one of {choice}"))
        } else {
            (
                "several tests",
                format!("a probe has one of {choice}, not several"),
            )
        };
        let help = "write for example { http = \"http://127.0.0.1:8000/health\" }, { tcp = \"127.0.0.1:5432\" } or { exec = [\"pg_isready\"] }";
        let fault = Fault::new(label, message, help);
        section.faults().report(section.span(), fault);
    }
    for key in HTTP_KEYS.into_iter().filter(|key| section.knows(key)) {
        section.only_with(
            key,
            "http",
            "add `http = \"http://127.0.0.1:8000/health\"`, or take it out",
        );
    }
    // Each is read, so that each mistake is reported.
    let kinds = [
        section.parse("http", probe_url).map(ProbeKind::Http),
        section.parse("tcp", host_port).map(ProbeKind::Tcp),
        read_command(section, "exec").map(ProbeKind::Exec),
        section.parse("file", path).map(ProbeKind::File),
        known
            .contains(&"log")
            .then(|| section.parse("log", pattern).map(ProbeKind::Log))
            .flatten(),
        known
            .contains(&"notify")
            .then(|| read_notify(section))
            .flatten(),
        known
            .contains(&"sql")
            .then(|| section.parse("sql", |text| known_schema(section.faults(), text, schemas)))
            .flatten()
            .map(ProbeKind::Sql),
    ];
    let in_a_row = |key| {
        section
            .knows(key)
            .then(|| section.integer(key, 1..=IN_A_ROW_MAX))
            .flatten()
    };
    Probe {
        kind: kinds
            .into_iter()
            .flatten()
            .next()
            .unwrap_or_else(|| defaults.kind.clone()),
        http: read_http(section),
        ports: match section.knows("ports") {
            true => read_ports(section),
            false => Vec::new(),
        },
        delay_ms: section
            .knows("delay")
            .then(|| section.duration("delay", 0))
            .flatten()
            .unwrap_or(defaults.delay_ms),
        interval_ms: section
            .duration("interval", INTERVAL_MS_MIN)
            .unwrap_or(defaults.interval_ms),
        timeout_ms: section
            .duration("timeout", 1)
            .unwrap_or(defaults.timeout_ms),
        try_ms: section
            .knows("try_timeout")
            .then(|| section.duration("try_timeout", 1))
            .flatten(),
        successes_min: in_a_row("successes").unwrap_or(defaults.successes_min),
        failures_max: in_a_row("failures").unwrap_or(defaults.failures_max),
        external: section.boolean("external").unwrap_or(defaults.external),
    }
}

fn read_notify(section: &Section<'_>) -> Option<ProbeKind> {
    let wanted = section.boolean("notify")?;
    if !wanted {
        let fault = Fault::new(
            "tests nothing",
            "`notify = false` tests nothing",
            "write `notify = true`, or take the probe out",
        );
        section.fault("notify", fault);
    }
    Some(ProbeKind::Notify)
}

fn read_ports(section: &Section<'_>) -> Vec<u16> {
    let help = "take it out: the port is in the address";
    section.only_with("ports", "exec", help);
    let port = |value: &toml_edit::Value| {
        let number = value
            .as_integer()
            .and_then(|number| u16::try_from(number).ok());
        number.filter(|number| *number > 0).ok_or_else(|| {
            Fault::new(
                "not a port",
                "`ports` has numbers from 1 to 65535",
                "write for example ports = [5432]",
            )
        })
    };
    section
        .entries("ports", "ports", port)
        .map_or(vec![], values)
}

fn read_http(section: &Section<'_>) -> HttpRequest {
    let status = |value: &toml_edit::Value| {
        let number = value
            .as_integer()
            .and_then(|number| u16::try_from(number).ok());
        number
            .filter(|number| (100..=599).contains(number))
            .ok_or_else(|| {
                Fault::new(
                    "not a status",
                    "`status` has statuses of HTTP, whole numbers from 100 to 599",
                    "write for example status = [200, 204]",
                )
            })
    };
    let statuses: Vec<u16> = section
        .entries("status", "statuses", status)
        .map_or(vec![], values);
    if section.has("status") && statuses.is_empty() {
        let fault = Fault::new(
            "empty",
            "`status` allows no status at all",
            "name the statuses that are right, or take the key out",
        );
        section.fault("status", fault);
    }
    let path_in = |key| match section.knows(key) {
        true => section.parse(key, path),
        false => None,
    };
    HttpRequest {
        statuses,
        body: section.parse_lines("body", pattern),
        headers: match section.knows("headers") {
            true => read_headers(section),
            false => BTreeMap::new(),
        },
        socket: path_in("socket"),
        ca_file: path_in("ca_file"),
    }
}

fn read_headers(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in section.texts("headers") {
        let is_token = |c: char| c.is_ascii_alphanumeric() || TOKEN_SIGNS.contains(c);
        if name.value.is_empty() || !name.value.chars().all(is_token) {
            let fault = Fault::new(
                "not a header",
                format!("`{}` cannot be the name of a header", shown(name.value)),
                "write for example headers = { Host = \"shop.example\" }",
            );
            section.faults().report(name.span, fault);
            continue;
        }
        let sound = require_sound(&value.value).and_then(|()| {
            if value.value.contains(['\r', '\n']) {
                return Err(Fault::new(
                    "a line break",
                    "the value of a header is one line",
                    "take the line break out",
                ));
            }
            Ok(())
        });
        if let Err(fault) = sound {
            section.faults().report(value.span, fault);
        }
        headers.insert(name.value.to_owned(), value.value);
    }
    headers
}

/// A path with variables, relative to the workspace or absolute.
pub(super) fn path(text: &str) -> Result<String, Fault> {
    require_sound(text)?;
    inside_or_absolute_path(text)
}

/// A regular expression.
pub(super) fn pattern(text: &str) -> Result<String, Fault> {
    match compile(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            // The library draws the pattern over several lines; the last one says what is wrong.
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default();
            let why = shown(why.trim_start_matches("error: "));
            Err(Fault::new(
                "not a regular expression",
                format!("the pattern cannot be used: {why}"),
                "see https://docs.rs/regex for the syntax; in TOML, single quotes keep backslashes as they are",
            ))
        }
    }
}

/// The name of a `[[schema]]`.
pub(super) fn known_schema(faults: &Faults, text: &str, schemas: &[&str]) -> Result<String, Fault> {
    if schemas.contains(&text) {
        return Ok(text.to_owned());
    }
    let near = did_you_mean(faults.suggest(text, schemas.iter().copied()));
    Err(Fault::new(
        "no such schema",
        format!("no [[schema]] is called `{}`{near}", shown(text)),
        "write the `name` of the [[schema]] whose database is meant",
    ))
}

/// The URL of something that answers over HTTP on this host or near it.
pub(super) fn http_url(text: &str) -> Result<String, Fault> {
    if text.starts_with("https://") {
        require_sound(text)?;
        return Err(Fault::new(
            "not supported in this version",
            "URLs over https are not supported here in this version",
            "use the service's plain port",
        ));
    }
    probe_url(text)
}

/// The same, over TLS too.
pub(super) fn probe_url(text: &str) -> Result<String, Fault> {
    require_sound(text)?;
    let wrong = |label: &str, message: &str, help: &str| Err(Fault::new(label, message, help));
    let help = "write for example \"http://127.0.0.1:8000/health\"";
    // What a variable holds is known only at run time.
    if text.starts_with("${") {
        return Ok(text.to_owned());
    }
    let rest = text.strip_prefix("http://");
    let Some(rest) = rest.or_else(|| text.strip_prefix("https://")) else {
        return wrong("not a URL", "the URL does not begin with http://", help);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || text.contains(char::is_whitespace) {
        return wrong("not a URL", "the URL names no host", help);
    }
    if authority.contains('@') && !authority.contains("${") {
        return wrong(
            "a user in the URL",
            "no user and password is sent",
            "use a path that needs none, or a probe by `exec`",
        );
    }
    if !authority.contains("${") {
        let port = authority
            .rsplit_once(':')
            .filter(|(_, port)| !port.ends_with(']'))
            .map(|(_, port)| port);
        if port.is_some_and(|port| !is_port(port)) {
            return wrong("not a port", "the URL has no right port", help);
        }
    }
    Ok(text.to_owned())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

pub(super) fn host_port(text: &str) -> Result<String, Fault> {
    require_sound(text)?;
    if text.contains("${") {
        return Ok(text.to_owned());
    }
    let help = if is_port(text) {
        format!("write host and port: \"127.0.0.1:{text}\"")
    } else {
        "write host and port, for example \"127.0.0.1:5432\" or \"[::1]:5432\"".to_owned()
    };
    let right = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let plain = !host.is_empty() && !host.contains([':', '/', ' ', '@']);
        is_port(port) && (plain || bracketed)
    });
    if right {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "not host:port",
        format!("`{}` is not of the form host:port", shown(text)),
        help,
    ))
}
