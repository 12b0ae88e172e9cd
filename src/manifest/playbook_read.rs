//! Reads `[[heal.playbook]]`.
//!
//! Its expressions are matched against what applications print, so they are bounded, and a capture that is put into a
//! step is declared in the same playbook.

use std::collections::BTreeSet;

use super::keys::{PLAYBOOK, PLAYBOOK_EDIT, PLAYBOOK_MATCH, PLAYBOOK_SQL, PLAYBOOK_VERIFY};
use super::order::require_unique;
use super::playbook::{Expression, MatchKey, Playbook, PlaybookEdit, PlaybookRisk, placeholders};
use super::probe::{known_schema, read_probe};
use super::probe_spec::Probe;
use super::problem::{Fault, shown};
use super::section::{Faults, Section, Spanned, values};
use super::types::{Layer, Service};
use super::value_check::compile;
use super::words::{did_you_mean, inside_path, one_of};

/// Most playbooks, and most edits of one.
const PLAYBOOKS_MAX: usize = 100;
/// Longest wait, milliseconds.
const WAIT_MS_MAX: u64 = 60_000;
/// Longest time for `verify`, milliseconds: so long a boot that ends once all is up waits for it.
const VERIFY_MS_MAX: u64 = 300_000;
/// Most attempts at one mission: after as many claims it needs a person.
const ATTEMPTS_MAX: u32 = 5;
const RISKS: [(&str, PlaybookRisk); 5] = [
    ("additive", PlaybookRisk::Additive),
    ("edit", PlaybookRisk::Edit),
    ("open", PlaybookRisk::Open),
    ("guarded", PlaybookRisk::Guarded),
    ("destructive", PlaybookRisk::Destructive),
];

const KEYS: [(&str, MatchKey); 5] = [
    ("code", MatchKey::Code),
    ("layer", MatchKey::Layer),
    ("service", MatchKey::Service),
    ("error", MatchKey::Error),
    ("output", MatchKey::Output),
];

/// The playbooks of `[heal]`, in their order.
///
/// A name that is given by number counts as a name too: another playbook may not have it.
pub(super) fn read_playbooks(
    heal: &Section<'_>,
    schemas: &[&str],
    layers: &[Layer],
) -> Vec<Playbook> {
    let services: Vec<&Service> = layers.iter().flat_map(|layer| &layer.services).collect();
    let sections = heal.sections("playbook", &PLAYBOOK, PLAYBOOKS_MAX);
    let read = sections.iter().enumerate();
    let playbooks: Vec<Playbook> = read
        .map(|(index, section)| read_playbook(section, index + 1, schemas, &services))
        .collect();
    let names: Vec<Spanned<String>> = sections
        .iter()
        .zip(&playbooks)
        .map(|(section, playbook)| Spanned {
            value: playbook.name.clone(),
            span: section.value_span("name"),
        })
        .collect();
    require_unique(heal.faults(), "playbook", names.iter());
    playbooks
}

fn read_playbook(
    section: &Section<'_>,
    number: usize,
    schemas: &[&str],
    services: &[&Service],
) -> Playbook {
    let conditions = read_conditions(section);
    let name = section.parse("name", super::words::name);
    let run = section.list("run", |text| match text {
        "" => Err(Fault::new(
            "empty",
            "a word of `run` is empty",
            "take it out",
        )),
        text => Ok(text.to_owned()),
    });
    let edits = section.sections("edits", &PLAYBOOK_EDIT, PLAYBOOKS_MAX);
    let wait_ms = section.duration("wait", 1).unwrap_or_default();
    if wait_ms > WAIT_MS_MAX {
        let help = "a playbook waits for at most 60s; use `backoff` of [heal] for more";
        section.fault("wait", Fault::new("too long", "`wait` is too long", help));
    }
    let playbook = Playbook {
        name: name.unwrap_or_else(|| format!("playbook-{number}")),
        edits: edits.iter().map(|edit| read_edit(edit)).collect(),
        sql: section
            .section("sql", &PLAYBOOK_SQL)
            .map(|sql| read_sql(&sql, schemas)),
        run: run.map_or_else(Vec::new, values),
        wait_ms,
        restart: section
            .list("restart", |text| {
                known_service(section.faults(), text, services)
            })
            .map_or_else(Vec::new, values),
        verify: section
            .section("verify", &PLAYBOOK_VERIFY)
            .map(|verify| read_verify(&verify)),
        risk: section
            .parse("risk", |text| one_of(text, &RISKS))
            .unwrap_or(PlaybookRisk::Open),
        attempts: section.integer("attempts", 1..=ATTEMPTS_MAX).unwrap_or(1),
        conditions,
    };
    let does_nothing = playbook.run.is_empty()
        && playbook.edits.is_empty()
        && playbook.sql.is_none()
        && playbook.wait_ms == 0
        && playbook.restart.is_empty();
    if does_nothing {
        section.missing("run", "[\"mkdir\", \"-p\", \"${dir}\"]");
    }
    require_captures(section, &playbook);
    playbook
}

/// A service that runs on and on, and so can be started again.
fn known_service(faults: &Faults, text: &str, services: &[&Service]) -> Result<String, Fault> {
    match services.iter().find(|service| service.name == text) {
        Some(service) if service.oneshot => Err(Fault::new(
            "runs once",
            format!(
                "service `{text}` is a one-shot: nothing of it runs that could be started again"
            ),
            "name services that run on, or give its command in `run`",
        )),
        Some(_) => Ok(text.to_owned()),
        None => {
            let names = services.iter().map(|service| service.name.as_str());
            let near = did_you_mean(faults.suggest(text, names));
            Err(Fault::new(
                "no such service",
                format!("there is no service `{}`{near}", shown(text)),
                "write the `name` of a [[layer.service]]",
            ))
        }
    }
}

/// A probe that is asked once the fix is applied: its tries go on for as long as `timeout` says.
fn read_verify(section: &Section<'_>) -> Probe {
    let probe = read_probe(section, &Probe::READY_DEFAULT, &[]);
    if probe.timeout_ms > VERIFY_MS_MAX {
        let help = "write at most \"5m\"";
        let fault = Fault::new("too long", "`timeout` of `verify` is too long", help);
        section.fault("timeout", fault);
    }
    probe
}

fn read_conditions(section: &Section<'_>) -> Vec<(MatchKey, Expression)> {
    let Some(table) = section.section("match", &PLAYBOOK_MATCH) else {
        section.missing("match", "{ error = 'cannot open (?<file>\\S+)' }");
        return Vec::new();
    };
    let conditions = KEYS.iter().filter_map(|(key, kind)| {
        // What names one thing is compared as a whole.
        let is_name = matches!(kind, MatchKey::Code | MatchKey::Layer | MatchKey::Service);
        let expression = table.parse(key, |text| {
            let pattern = match is_name {
                true => format!("^(?:{text})$"),
                false => text.to_owned(),
            };
            compile(&pattern).map(Expression).map_err(|error| {
                let message = format!("`{key}` is no regular expression that can be used: {error}");
                Fault::new(
                    "not an expression",
                    message,
                    "write `.*` for any text, `\\.` for a dot",
                )
            })
        });
        Some((*kind, expression?))
    });
    let conditions: Vec<_> = conditions.collect();
    if !KEYS.iter().any(|(key, _)| table.has(key)) {
        table.missing("error", "'cannot open (?<file>\\S+)'");
    }
    conditions
}

fn read_edit(edit: &Section<'_>) -> PlaybookEdit {
    for (key, example) in [
        ("path", "\"app/settings.py\""),
        ("find", "\"DEBUG = True\""),
        ("replace", "\"DEBUG = False\""),
    ] {
        if !edit.has(key) {
            edit.missing(key, example);
        }
    }
    let text = |text: &str| Ok(text.to_owned());
    PlaybookEdit {
        path: edit.parse("path", inside_path).unwrap_or_default(),
        find: edit.parse_lines("find", text).unwrap_or_default(),
        replace: edit.parse_lines("replace", text).unwrap_or_default(),
    }
}

fn read_sql(sql: &Section<'_>, schemas: &[&str]) -> (String, Vec<String>) {
    for (key, example) in [
        ("schema", "\"main\""),
        ("statements", "[\"CREATE INDEX ...\"]"),
    ] {
        if !sql.has(key) {
            sql.missing(key, example);
        }
    }
    let schema = sql.parse("schema", |text| known_schema(sql.faults(), text, schemas));
    (
        schema.unwrap_or_default(),
        sql.list_of_lines("statements").unwrap_or_default(),
    )
}

/// Every `${name}` of a step is a capture of the playbook. Paths and statements take none: what a service prints
/// chooses no file and writes no SQL.
fn require_captures(section: &Section<'_>, playbook: &Playbook) {
    let expressions = playbook
        .conditions
        .iter()
        .map(|(_, expression)| &expression.0);
    let names: BTreeSet<&str> = expressions
        .flat_map(|expression| expression.capture_names().flatten())
        .collect();
    for used in playbook.run.iter().flat_map(|word| placeholders(word)) {
        if !names.contains(used) {
            let message = format!(
                "`run` uses ${{{}}}, which `match` does not capture",
                shown(used)
            );
            let help = "name a group of an expression, for example (?<dir>\\S+)";
            section.fault("run", Fault::new("not a capture", message, help));
        }
    }
}
