//! `process-compose.yaml`: processes with dependencies and probes.

use std::collections::BTreeSet;

use super::container::inside;
use super::draft::{Note, Unit, Units};
use super::files::Files;
use super::probes::process_probes;
use super::shell::{from_compose, from_shell};
use super::text::{holds_credential, is_secret_name, is_variable_name, plain};
use super::yaml::{Node, parse};

/// Names of the file, the one that is taken first.
pub(super) const NAMES: [&str; 4] = [
    "process-compose.yaml",
    "process-compose.yml",
    "process_compose.yaml",
    "process_compose.yml",
];
/// More processes than this were never written by hand.
const PROCESSES_MAX: usize = 200;
/// Numbers of the signals that a manifest knows by name.
const SIGNALS: [(&str, &str); 6] = [
    ("1", "HUP"),
    ("2", "INT"),
    ("3", "QUIT"),
    ("10", "USR1"),
    ("12", "USR2"),
    ("15", "TERM"),
];

/// Reads the file `name`.
pub(super) fn read(files: &Files, name: &str) -> Units {
    let mut units = Units::default();
    let Some(text) = files.text(name) else {
        units
            .notes
            .push(Note::unsure(format!("{name} could not be read")));
        return units;
    };
    let root = match parse(&text) {
        Ok(root) => root,
        Err(error) => {
            let why = format!(
                "{name}:{} is not right: {}; nothing was taken from it",
                error.line,
                plain(&error.why)
            );
            files.message(why.clone());
            units.notes.push(Note::unsure(why));
            return units;
        }
    };
    let processes = root.get("processes").map_or(&[][..], Node::entries);
    if processes.is_empty() {
        let text = format!("{name} declares no processes");
        units.notes.push(Note::unsure(text));
    }
    if processes.len() > PROCESSES_MAX {
        let text = format!("{name} has more than {PROCESSES_MAX} processes; the rest was left out");
        units.notes.push(Note::unsure(text));
    }
    let mut once: BTreeSet<String> = BTreeSet::new();
    for (process, node) in processes.iter().take(PROCESSES_MAX) {
        if node.get("disabled").is_some_and(Node::is_true) {
            let text = format!(
                "{name}:{}: process {process} is disabled; it was left out",
                node.line
            );
            units.notes.push(Note::unsure(text));
            continue;
        }
        let unit = unit(name, process, node, &root, &mut units, &mut once);
        units.units.push(unit);
    }
    units.run_once(&once);
    units
}

fn unit(
    file: &str,
    name: &str,
    node: &Node,
    root: &Node,
    units: &mut Units,
    once: &mut BTreeSet<String>,
) -> Unit {
    let mut unit = Unit {
        name: name.to_owned(),
        origin: format!("{file}:{}", node.line),
        ..Unit::default()
    };
    let mut references = Vec::new();
    for (dependency, how) in node.get("depends_on").map_or(&[][..], Node::entries) {
        if how.text_of("condition") == Some("process_completed_successfully")
            || how.text_of("condition") == Some("process_completed")
        {
            once.insert(dependency.clone());
        }
        unit.after.push(dependency.clone());
    }
    if let Some(command) = node.text_of("command") {
        let line = from_shell(command, &mut references);
        (unit.run, unit.cwd, unit.env) = (line.run, line.cwd, line.env);
    }
    if let Some(words) = node.get("entrypoint").filter(|_| unit.run.is_empty()) {
        let words = words.texts().into_iter();
        unit.run = words
            .map(|word| from_compose(word, &mut references).0)
            .collect();
    }
    if unit.run.is_empty() {
        unit.notes
            .push(Note::unsure("it has no command".to_owned()));
    }
    if let Some(directory) = node.text_of("working_dir") {
        match inside(directory) {
            Some(inside) => unit.cwd = Some(inside).filter(|inside| inside != "."),
            None => unit.notes.push(Note::unsure(format!(
                "its working directory {} lies outside the workspace",
                plain(directory)
            ))),
        }
    }
    let entries = [root, node].map(|node| node.get("environment").map(pairs).unwrap_or_default());
    for (variable, value) in entries.iter().flatten() {
        if !is_variable_name(variable) {
            continue;
        }
        if holds_credential(value) || (is_secret_name(variable) && !value.starts_with('$')) {
            unit.notes.push(Note::unsure(format!(
                "{variable} of {} was not copied: its value looks secret; set it in .env",
                unit.origin
            )));
            continue;
        }
        let (value, _) = from_compose(value, &mut references);
        unit.env.retain(|(name, _)| name != variable);
        unit.env.push((variable.clone(), value));
    }
    (unit.ready, unit.live) = process_probes(node, &mut references);
    if node.get("readiness_probe").is_some() && unit.ready.is_none() {
        unit.notes.push(Note::unsure(
            "its readiness probe has no counterpart here".to_owned(),
        ));
    }
    if node.get("ready_log_line").is_some() {
        unit.notes.push(Note::unsure(
            "it is ready there when it has logged a certain line; such a probe is not supported yet",
        ));
    }
    lifetime(node, &mut unit);
    for reference in &mut references {
        reference.origin.clone_from(&unit.origin);
    }
    units.references.extend(references);
    unit
}

/// Names and values of an environment, which is a list or a map.
fn pairs(node: &Node) -> Vec<(String, String)> {
    let list = node.items().iter().filter_map(Node::text);
    let list = list.filter_map(|entry| entry.split_once('='));
    let map = node
        .entries()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.text()?)));
    list.chain(map)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn lifetime(node: &Node, unit: &mut Unit) {
    unit.restart = match node.at(&["availability", "restart"]).and_then(Node::text) {
        Some("always") => Some("always"),
        Some("on_failure" | "on-failure" | "exit_on_failure") => Some("on-failure"),
        Some("no") => Some("never"),
        _ => None,
    };
    unit.restart_max = node
        .at(&["availability", "max_restarts"])
        .and_then(Node::text)
        .and_then(|text| text.parse().ok())
        .filter(|max: &u32| (1..=1000).contains(max) && unit.restart.is_some());
    unit.stop_signal = node
        .at(&["shutdown", "signal"])
        .and_then(Node::text)
        .and_then(|number| SIGNALS.iter().find(|(known, _)| *known == number))
        .map(|(_, signal)| (*signal).to_owned());
    unit.stop_timeout_ms = node
        .at(&["shutdown", "timeout_seconds"])
        .and_then(Node::text)
        .and_then(|text| text.parse::<u64>().ok())
        .map(|seconds| seconds.min(86_400) * 1000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_as_lists_and_maps_and_what_has_no_counterpart() {
        let dir = tempfile::tempdir().unwrap();
        let text = "environment: [A=1, S_PASSWORD=hunter22]\nprocesses:\n  p:\n    entrypoint: [python, -m, app]\n    environment: {A: 2, B: '3'}\n    ready_log_line: up\n    working_dir: /srv\n  q: {command: x}\n  r: {command: y, depends_on: {q: {condition: process_completed_successfully}}}\n";
        std::fs::write(dir.path().join("process-compose.yaml"), text).unwrap();
        let units = read(&Files::of(dir.path()), "process-compose.yaml");
        let first = &units.units[0];
        assert_eq!(first.run, ["python", "-m", "app"]);
        let env: Vec<(&str, &str)> = first
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(env, [("A", "2"), ("B", "3")]);
        // The secret, the log line, the directory.
        assert_eq!(first.notes.iter().filter(|note| note.unsure).count(), 3);
        assert!(units.units[1].oneshot && !units.units[2].oneshot);
        assert!(!format!("{units:?}").contains("hunter22"));
    }
}
