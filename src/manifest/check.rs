//! Reads `[[check]]`: the checks that the manifest declares.

use super::command::read_command;
use super::interpolate::require_sound;
use super::keys::{
    CHECK, CHECK_CERTIFICATE, CHECK_CLOCK, CHECK_DISK, CHECK_FILE, CHECK_LIMITS, COVERAGE,
};
use super::layer::read_name;
use super::measure::size_bytes;
use super::order::require_unique;
use super::probe::{host_port, path, probe_url};
use super::problem::{Fault, shown};
use super::section::{Faults, Section, Spanned, values};
use super::types::{
    CertificateOf, CheckFormat, CheckKind, CheckSeverity, CheckWhen, DeclaredCheck, Layer,
};
use super::words::{did_you_mean, glob_pattern, inside_path, one_of};

/// Most declared checks.
const CHECKS_MAX: usize = 100;
/// Time that a check has if the manifest does not say.
const TIMEOUT_MS_DEFAULT: u64 = 30_000;
/// A certificate that ends sooner is told, if the manifest does not say.
const DAYS_DEFAULT: u32 = 14;
/// No certificate is valid for longer.
const DAYS_MAX: u32 = 36_500;
/// Clocks that are less apart agree, if the manifest does not say.
const SKEW_MS_DEFAULT: u64 = 5_000;

/// Each names what is looked at; one of them stands in a check.
const KINDS: [&str; 9] = [
    "run",
    "tcp",
    "http",
    "dns",
    "disk",
    "file",
    "clock",
    "limits",
    "certificate",
];
const FORMATS: [(&str, CheckFormat); 7] = [
    ("exit", CheckFormat::Exit),
    ("json", CheckFormat::Json),
    ("sarif", CheckFormat::Sarif),
    ("junit", CheckFormat::Junit),
    ("tap", CheckFormat::Tap),
    ("nagios", CheckFormat::Nagios),
    ("goss", CheckFormat::Goss),
];
const TIMES: [(&str, CheckWhen); 3] = [
    ("preflight", CheckWhen::Preflight),
    ("live", CheckWhen::Live),
    ("both", CheckWhen::Both),
];
const SEVERITIES: [(&str, CheckSeverity); 3] = [
    ("critical", CheckSeverity::Critical),
    ("warning", CheckSeverity::Warning),
    ("info", CheckSeverity::Info),
];

/// `[[check]]`, in the order of the file.
pub(super) fn read_checks(root: &Section<'_>, layers: &[Layer]) -> Vec<DeclaredCheck> {
    let mut names: Vec<Spanned<String>> = Vec::new();
    let mut checks = Vec::new();
    for section in root.sections("check", &CHECK, CHECKS_MAX) {
        let name = read_name(&section, "prisma");
        if name.value.contains('.') {
            let fault = Fault::new(
                "has a dot",
                format!(
                    "`{}` has a dot, and a check's name is a part of codes",
                    shown(&name.value)
                ),
                "use letters, digits, `_` and `-`",
            );
            section.faults().report(name.span.clone(), fault);
        }
        let above: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
        let needs = section.list("needs", |text| {
            known(section.faults(), "check above it", text, &above)
        });
        let layer_names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let layer = section.parse("layer", |text| {
            known(section.faults(), "layer", text, &layer_names)
        });
        let inputs = section.list("inputs", |text| {
            let pattern = glob_pattern(text, "write a path, with `*` for any characters")?;
            inside_path(&pattern)
        });
        checks.push(DeclaredCheck {
            name: name.value.clone(),
            kind: read_kind(&section),
            when: section
                .parse("when", |text| one_of(text, &TIMES))
                .unwrap_or(CheckWhen::Preflight),
            severity: section
                .parse("severity", |text| one_of(text, &SEVERITIES))
                .unwrap_or(CheckSeverity::Critical),
            inputs: inputs.map_or(vec![], values),
            timeout_ms: section.duration("timeout", 1).unwrap_or(TIMEOUT_MS_DEFAULT),
            network: section.boolean("network").unwrap_or(false),
            needs: needs.map_or(vec![], values),
            remedy: section.parse("remedy", |text| Ok(text.to_owned())),
            layer,
            line: section.line(),
        });
        names.push(name);
    }
    require_unique(root.faults(), "check", names.iter());
    checks
}

/// `coverage.acknowledge`: gaps of the coverage that are known.
pub(super) fn read_acknowledged(root: &Section<'_>, layers: &[Layer]) -> Vec<String> {
    let Some(section) = root.section("coverage", &COVERAGE) else {
        return Vec::new();
    };
    let services = layers.iter().flat_map(|layer| &layer.services);
    let names: Vec<String> = layers
        .iter()
        .map(|layer| format!("layer {}", layer.name))
        .chain(services.map(|service| format!("service {}", service.name)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let read = |text: &str| {
        known(section.faults(), "layer or service", text, &names).map_err(|fault| Fault {
            help: "write for example \"layer cache\" or \"service worker\"".to_owned(),
            ..fault
        })
    };
    section.list("acknowledge", read).map_or(vec![], values)
}

fn known(faults: &Faults, what: &str, text: &str, names: &[&str]) -> Result<String, Fault> {
    if names.contains(&text) {
        return Ok(text.to_owned());
    }
    let near = did_you_mean(faults.suggest(text, names.iter().copied()));
    Err(Fault::new(
        "not known",
        format!("no {what} is called `{}`{near}", shown(text)),
        format!("write the `name` of a {what}, or take it out"),
    ))
}

fn read_kind(section: &Section<'_>) -> CheckKind {
    let found: Vec<&str> = KINDS.into_iter().filter(|key| section.has(key)).collect();
    if found.len() != 1 {
        let choice = format!("`{}`", KINDS.join("`, `"));
        let (label, message) = if found.is_empty() {
            ("looks at nothing", format!("a check needs one of {choice}"))
        } else {
            (
                "looks at several things",
                format!("a check has one of {choice}, not several"),
            )
        };
        let help =
            "write for example run = [\"alembic\", \"check\"], or split it into several checks";
        section
            .faults()
            .report(section.span(), Fault::new(label, message, help));
    }
    for key in ["format", "inputs", "network"] {
        section.only_with(key, "run", "take it out");
    }
    // Each is read, so that each mistake is reported.
    let kinds = [
        read_command(section, "run").map(|run| CheckKind::Program {
            run,
            format: section
                .parse("format", |text| one_of(text, &FORMATS))
                .unwrap_or(CheckFormat::Exit),
        }),
        section.parse("tcp", host_port).map(CheckKind::Tcp),
        section.parse("http", probe_url).map(CheckKind::Http),
        section.parse("dns", host).map(CheckKind::Dns),
        section
            .section("disk", &CHECK_DISK)
            .map(|disk| read_disk(&disk)),
        section
            .section("file", &CHECK_FILE)
            .map(|file| read_file(&file)),
        section
            .section("clock", &CHECK_CLOCK)
            .map(|clock| read_clock(&clock)),
        section
            .section("limits", &CHECK_LIMITS)
            .map(|limits| read_limits(&limits)),
        section
            .section("certificate", &CHECK_CERTIFICATE)
            .map(|certificate| read_certificate(&certificate)),
    ];
    kinds
        .into_iter()
        .flatten()
        .next()
        .unwrap_or_else(|| CheckKind::Tcp(String::new()))
}

fn host(text: &str) -> Result<String, Fault> {
    require_sound(text)?;
    let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if text.contains("${") || (!text.is_empty() && text.chars().all(is_host)) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "not a host",
        format!("`{}` is not the name of a host", shown(text)),
        "write for example \"db.example.org\"",
    ))
}

fn read_path(section: &Section<'_>) -> String {
    if !section.has("path") {
        section.missing("path", "\"data\"");
    }
    section.parse("path", path).unwrap_or_default()
}

fn read_disk(section: &Section<'_>) -> CheckKind {
    if !section.has("free") {
        section.missing("free", "\"1GiB\"");
    }
    CheckKind::Disk {
        path: read_path(section),
        free_bytes: section.size("free", size_bytes).unwrap_or_default(),
    }
}

fn read_file(section: &Section<'_>) -> CheckKind {
    CheckKind::File {
        path: read_path(section),
        mode: section.parse("mode", |text| {
            let mode = u32::from_str_radix(text, 8).ok();
            mode.filter(|mode| *mode <= 0o7777 && text.len() <= 5)
                .ok_or_else(|| {
                    Fault::new(
                        "not a mode",
                        format!("`{}` is not a mode", shown(text)),
                        "write the permissions in octal, for example \"0640\"",
                    )
                })
        }),
        owner: section.parse("owner", |text| Ok(text.to_owned())),
        max_age_ms: section.duration("max_age", 1000),
    }
}

fn read_clock(section: &Section<'_>) -> CheckKind {
    if !section.has("server") {
        section.missing("server", "\"pool.ntp.org\"");
    }
    CheckKind::Clock {
        server: section.parse("server", host).unwrap_or_default(),
        skew_ms: section.duration("skew", 1).unwrap_or(SKEW_MS_DEFAULT),
    }
}

fn read_limits(section: &Section<'_>) -> CheckKind {
    if !section.has("open_files") && !section.has("processes") {
        section.missing("open_files", "4096");
    }
    CheckKind::Limits {
        open_files: section.integer("open_files", 1..=u32::MAX),
        processes: section.integer("processes", 1..=u32::MAX),
    }
}

fn read_certificate(section: &Section<'_>) -> CheckKind {
    let file = section.parse("file", path);
    let address = section.parse("server", host_port);
    let ca_file = section.parse("ca_file", path);
    match (section.has("file"), section.has("server")) {
        (true, true) => {
            let fault = Fault::new(
                "one too many",
                "a certificate is in a `file` or at a `server`",
                "keep one of the two",
            );
            section.fault("server", fault);
        }
        (false, false) => section.missing("file", "\"tls/server.pem\""),
        _ => {}
    }
    section.only_with("ca_file", "server", "take it out");
    CheckKind::Certificate {
        of: match (file, address) {
            (Some(file), _) => CertificateOf::File(file),
            (None, address) => CertificateOf::Server {
                address: address.unwrap_or_default(),
                ca_file,
            },
        },
        days: section
            .integer("days", 0..=DAYS_MAX)
            .unwrap_or(DAYS_DEFAULT),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::Manifest;
    use crate::manifest::probe::known_schema;
    use crate::manifest::problem::tests::render;

    fn parse(checks: &str) -> Result<Manifest, String> {
        let text = format!("[app]\nname='a'\n{checks}\n[[layer]]\nname='web'\n");
        Manifest::parse(&text, Path::new("ubs.toml")).map_err(|error| render(&error))
    }

    #[test]
    fn a_check_has_the_defaults_of_the_documentation() {
        let manifest = parse("[[check]]\nname='pip'\nrun='python -m pip check'").unwrap();
        assert_eq!(
            manifest.checks,
            [DeclaredCheck {
                name: "pip".into(),
                kind: CheckKind::Program {
                    run: ["python", "-m", "pip", "check"].map(str::to_owned).to_vec(),
                    format: CheckFormat::Exit,
                },
                when: CheckWhen::Preflight,
                severity: CheckSeverity::Critical,
                inputs: vec![],
                timeout_ms: 30_000,
                network: false,
                needs: vec![],
                remedy: None,
                layer: None,
                line: 3,
            }]
        );
    }

    #[test]
    fn what_is_acknowledged_is_a_layer_or_a_service() {
        let manifest = parse("[coverage]\nacknowledge = ['layer web']").unwrap();
        assert_eq!(manifest.acknowledged, ["layer web"]);
        let said = parse("[coverage]\nacknowledge = ['layer wbe']").unwrap_err();
        assert!(
            said.contains("no layer or service is called `layer wbe`; did you mean"),
            "{said}"
        );
    }

    #[test]
    fn names_that_are_near_are_searched_a_hundred_times_at_most() {
        let faults = Faults::new("");
        let hints = |fault: Fault| fault.message.contains("did you mean");
        let of_layer = |_: &i32| hints(known(&faults, "layer", "wbe", &["web"]).unwrap_err());
        assert_eq!((0..60).filter(&of_layer).count(), 60);
        let of_schema = |_: &i32| hints(known_schema(&faults, "mian", &["main"]).unwrap_err());
        assert_eq!((0..60).filter(of_schema).count(), 40);
        assert_eq!((0..60).filter(&of_layer).count(), 0);
    }

    #[test]
    fn what_is_wrong_with_a_check_is_said() {
        let run = "[[check]]\nname='a'\nrun='x'\n";
        for (checks, says) in [
            (
                "[[check]]\nname='a'".to_owned(),
                "a check needs one of `run`",
            ),
            (format!("{run}tcp='a:1'"), "not several"),
            ("[[check]]\nname='a.b'\nrun='x'".to_owned(), "has a dot"),
            (format!("{run}{run}"), "two checks are called `a`"),
            (
                format!("{run}needs=['a']"),
                "no check above it is called `a`",
            ),
            (format!("{run}layer='wbe'"), "did you mean `web`"),
            (format!("{run}format='xml'"), "`xml` is not allowed"),
            (format!("{run}when='now'"), "`now` is not allowed"),
            (format!("{run}severity='fatal'"), "`fatal` is not allowed"),
            (format!("{run}inputs=['../x']"), "../x"),
            (
                "[[check]]\nname='a'\ntcp='a:1'\nformat='json'".to_owned(),
                "with `run` only",
            ),
            ("[[check]]\nname='a'\ntcp='nowhere'".to_owned(), "host:port"),
            ("[[check]]\nname='a'\ndisk={path='/'}".to_owned(), "`free`"),
            (
                "[[check]]\nname='a'\nfile={path='/x',mode='9'}".to_owned(),
                "not a mode",
            ),
            ("[[check]]\nname='a'\nlimits={}".to_owned(), "`open_files`"),
            ("[[check]]\nname='a'\ncertificate={}".to_owned(), "`file`"),
            (
                "[[check]]\nname='a'\ncertificate={file='a',server='b:1'}".to_owned(),
                "a `file` or at a `server`",
            ),
        ] {
            let said = parse(&checks).unwrap_err();
            assert!(said.contains(says), "{checks}: {said}");
        }
    }
}
