//! What the sources read from the environment against what the manifest declares.
//!
//! Only what is certain: where the code computes names, nothing is called unused, and that is said once.

use std::collections::{BTreeMap, BTreeSet};

use crate::checks::context::CheckContext;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::words::count;
use crate::source::{EnvRead, Guard, SourceFacts, Unjudged};

/// Variables of the system, of tools and of Python itself: no application declares them.
const STANDARD: [&str; 34] = [
    "PATH",
    "HOME",
    "LANG",
    "LANGUAGE",
    "CI",
    "TMPDIR",
    "TMP",
    "TEMP",
    "USER",
    "USERNAME",
    "LOGNAME",
    "SHELL",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "PWD",
    "HOSTNAME",
    "DISPLAY",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "TZ",
    "NO_COLOR",
    "FORCE_COLOR",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "APPDATA",
    "LOCALAPPDATA",
    "USERPROFILE",
    "SYSTEMROOT",
    "COMSPEC",
    "PROGRAMFILES",
    "READTHEDOCS",
];
/// The same by how they begin.
const STANDARD_BEGINNINGS: [&str; 11] = [
    "PYTHON",
    "LC_",
    "XDG_",
    "PYTEST_",
    "SSL_CERT_",
    "GITHUB_",
    "UBS_",
    "COVERAGE_",
    // What a supervisor sets for its services.
    "NOTIFY_SOCKET",
    "WATCHDOG_",
    "LISTEN_",
];
/// Read by packages, not by the application's own code.
const OF_PACKAGES: [&str; 14] = [
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "OTEL_",
    "SENTRY_",
    "UVICORN_",
    "GUNICORN_",
    "WEB_CONCURRENCY",
    "FLASK_",
    "DJANGO_",
    "PG",
    "CELERY_",
    "FORWARDED_ALLOW_IPS",
    "SSL_",
];
/// First places of what could not be judged.
const PLACES_SHOWN: usize = 3;
/// Of a file that may use a variable in its text.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Findings about reads that nobody declares and declarations that nobody reads. `documented` are the names
/// of the example file.
pub(super) fn read_findings(
    context: &CheckContext<'_>,
    documented: &BTreeSet<&str>,
) -> Vec<Finding> {
    let facts = context.facts();
    if facts.files == 0 {
        return Vec::new();
    }
    let scan = &context.manifest.config.scan;
    let counts = |file: &str| {
        let is_inside = |directory: &String| {
            let directory = directory.trim_start_matches("./").trim_end_matches('/');
            matches!(directory, "" | ".")
                || file
                    .strip_prefix(directory)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        (scan.is_empty() || scan.iter().any(is_inside)) && !is_test(file)
    };
    let mut by_name: BTreeMap<&str, Vec<&EnvRead>> = BTreeMap::new();
    for read in facts.env_reads.iter().filter(|r| counts(&r.place.file)) {
        by_name.entry(&read.name).or_default().push(read);
    }
    let mut findings: Vec<Finding> = by_name
        .iter()
        .filter_map(|(name, reads)| undeclared(context, documented, name, reads))
        .collect();
    let computed: Vec<&Unjudged> = facts
        .unjudged
        .iter()
        .filter(|u| u.why.contains("variable") && counts(&u.place.file))
        .collect();
    if computed.is_empty() && !facts.truncated && facts.syntax_errors.is_empty() {
        findings.extend(unused(context, facts));
    } else if let Some(first) = computed.first()
        && !context.manifest.config.vars.is_empty()
    {
        let shown: Vec<String> = computed
            .iter()
            .take(PLACES_SHOWN)
            .map(|u| format!("{}:{}", u.place.file, u.place.line))
            .collect();
        let message = format!(
            "the code computes names of variables in {} ({}): what it reads there is not known, so no \
             declaration is called unused",
            count(computed.len(), "place"),
            shown.join(", ")
        );
        findings.push(
            Finding::of(Code::ConfigUnjudged, "environment", message).at(
                first.place.file.as_str(),
                first.place.line,
                first.place.column,
            ),
        );
    }
    findings
}

fn undeclared(
    context: &CheckContext<'_>,
    documented: &BTreeSet<&str>,
    name: &str,
    reads: &[&EnvRead],
) -> Option<Finding> {
    if is_standard(name) {
        return None;
    }
    let manifest = context.manifest;
    let names = |read: &EnvRead| {
        let mut all = vec![read.name.clone()];
        all.extend(read.aliases.iter().cloned());
        all
    };
    let same = |a: &str, b: &str, read: &EnvRead| {
        a == b || (read.reader == "pydantic-settings" && a.eq_ignore_ascii_case(b))
    };
    let given = |read: &EnvRead, mut known: &mut dyn Iterator<Item = &str>| {
        let names = names(read);
        // By reference: a trait object is no iterator by value.
        (&mut known).any(|known| names.iter().any(|name| same(known, name, read)))
    };
    let first = reads.first()?;
    let is_declared = given(first, &mut manifest.config.vars.keys().map(String::as_str))
        || given(first, &mut documented.iter().copied())
        || given(first, &mut service_variables(context));
    if is_declared {
        return None;
    }
    let near = manifest
        .config
        .vars
        .keys()
        .find(|known| is_near(known, name));
    let is_set = given(
        first,
        &mut context.environment.values.keys().map(String::as_str),
    );
    let needed = reads
        .iter()
        .find(|read| read.required && matches!(read.guard, Guard::Always) && !is_set);
    let read = needed.unwrap_or(first);
    let place = &read.place;
    let (severity, message) = if let Some(near) = near.filter(|_| !is_set) {
        (
            Severity::Warning,
            format!(
                "{name} is read by the code and not declared; {near}, one letter off, is declared"
            ),
        )
    } else if needed.is_some() {
        (
            Severity::Warning,
            format!("{name} is read without a default, is not set, and is not declared"),
        )
    } else if manifest.config.vars.is_empty() {
        // Who declares nothing gets no finding for each variable.
        return None;
    } else {
        (
            Severity::Info,
            format!("{name} is read by the code, and not declared"),
        )
    };
    Some(
        Finding::new(Code::ConfigUndeclaredRead, severity, name, message)
            .at(place.file.as_str(), place.line, place.column)
            .remedy(match near {
                Some(near) => format!("correct one of the two names, {name} and {near}"),
                None => format!(
                    "declare it as [config.vars.{name}] in {}{}",
                    context.manifest_name(),
                    if needed.is_some() { ", and set it" } else { "" }
                ),
            }),
    )
}

/// One letter more, less or other, or two that changed places; a number at the end makes another variable of it.
fn is_near(a: &str, b: &str) -> bool {
    const LETTERS_MIN: usize = 5;
    let without_number = |text: &str| text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    a.len().min(b.len()) >= LETTERS_MIN
        && without_number(a) == a.len()
        && without_number(b) == b.len()
        && strsim::osa_distance(a, b) == 1
}

fn service_variables<'a>(context: &'a CheckContext<'_>) -> impl Iterator<Item = &'a str> {
    let layers = context.manifest.layers.iter();
    layers
        .flat_map(|layer| &layer.services)
        .flat_map(|service| service.env.keys().map(String::as_str))
}

fn unused(context: &CheckContext<'_>, facts: &SourceFacts) -> Vec<Finding> {
    let manifest = context.manifest;
    if manifest.config.vars.is_empty() {
        return Vec::new();
    }
    // All sources count here, also tests: somebody reads it.
    let read: BTreeSet<String> = facts
        .env_reads
        .iter()
        .flat_map(|read| read.aliases.iter().chain([&read.name]))
        .map(|name| name.to_ascii_uppercase())
        .collect();
    let texts = texts(context);
    manifest
        .config
        .vars
        .iter()
        .filter(|(name, _)| {
            let is_used = read.contains(&name.to_ascii_uppercase())
                || is_standard(name)
                || OF_PACKAGES.iter().any(|begin| name.starts_with(begin))
                || texts.iter().any(|text| uses(text, name));
            !is_used
        })
        .map(|(name, var)| {
            let message = format!(
                "{name} is declared, and neither the Python sources nor the manifest read it"
            );
            Finding::of(Code::ConfigUnused, name.as_str(), message)
                .at(context.manifest_name(), var.line, 0)
                .remedy(format!(
                    "take [config.vars.{name}] out, unless something else than the sources reads it"
                ))
        })
        .collect()
}

/// The texts that may use a variable as `${NAME}`: the manifest and the environment files.
fn texts(context: &CheckContext<'_>) -> Vec<String> {
    let manifest = context.manifest;
    let files = manifest
        .config
        .files
        .iter()
        .map(|file| context.root.join(file));
    files
        .chain([manifest.path.clone()])
        .filter(|path| {
            std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= TEXT_BYTES_MAX)
        })
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

/// `${NAME}`, `${NAME:-default}` or `$NAME`.
fn uses(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).unwrap_or("");
        let after = text
            .get(at + name.len()..)
            .and_then(|rest| rest.chars().next());
        let ends = after.is_none_or(|c| !(c.is_ascii_alphanumeric() || c == '_'));
        ends && (before.ends_with("${") || before.ends_with('$'))
    })
}

fn is_standard(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    STANDARD.contains(&name.as_str())
        || STANDARD_BEGINNINGS
            .iter()
            .any(|begin| name.starts_with(begin))
        || name.ends_with("_PROXY")
}

fn is_test(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.starts_with("test_")
        || name.ends_with("_test.py")
        || matches!(name, "conftest.py" | "setup.py")
        || file
            .split('/')
            .any(|part| matches!(part, "tests" | "test" | "docs" | "examples"))
}

#[cfg(test)]
mod tests;
