//! `process-compose.yaml`: processes with dependencies and probes.

use std::collections::BTreeSet;

use super::carry::{literal, seconds_ms, set_directory, set_env, signal};
use super::draft::{Note, ProbeDraft, REPLICAS_MAX, Test, Unit, Units};
use super::files::Files;
use super::probes::process_probes;
use super::shell::{CommandLine, for_shell_of_compose, from_compose, from_shell};
use super::yaml::Node;

/// Names of the file, the one that is taken first.
pub(super) const NAMES: [&str; 4] = [
    "process-compose.yaml",
    "process-compose.yml",
    "process_compose.yaml",
    "process_compose.yml",
];
/// More processes than this were never written by hand.
const PROCESSES_MAX: usize = 200;

/// Reads the file `name`.
pub(super) fn read(files: &Files, name: &str) -> Units {
    let mut units = Units {
        file: name.to_owned(),
        ..Units::default()
    };
    let Some(root) = units.yaml(files, name) else {
        return units;
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
        let mut unit = unit(files, process, node, &root, &mut units, &mut once);
        unit.disabled = node.get("disabled").is_some_and(Node::is_true);
        let replicas = node.text_of("replicas").map(str::parse::<usize>);
        let count = match replicas {
            Some(Ok(count)) if (1..=REPLICAS_MAX).contains(&count) => count,
            Some(_) => {
                node.refuse_at(&["replicas"]);
                1
            }
            None => 1,
        };
        unit.leave(name, node);
        units
            .units
            .extend(unit.replicas(count, Some("PC_REPLICA_NUM")));
    }
    // A line that others wait for is when it is ready.
    units.run_once(&once);
    for (key, node) in root.entries() {
        // What each process has taken of it, and what process-compose itself does not read.
        if matches!(key.as_str(), "processes" | "environment" | "version") || key.starts_with("x-")
        {
            node.take();
        }
        if key == "env_cmds" {
            let text = format!(
                "{name}:{}: ubs runs no command for a variable; let the shell of the service do it: \
                 run = [\"sh\", \"-c\", \"export NAME=$(the command); exec the program\"]",
                node.line
            );
            units.notes.push(Note::unsure(text));
        }
    }
    units.leave(&root);
    units
}

fn unit(
    files: &Files,
    name: &str,
    node: &Node,
    root: &Node,
    units: &mut Units,
    once: &mut BTreeSet<String>,
) -> Unit {
    let mut unit = Unit {
        name: name.to_owned(),
        origin: format!("{}:{}", units.file, node.line),
        ..Unit::default()
    };
    let mut references = Vec::new();
    for (dependency, how) in node.get("depends_on").map_or(&[][..], Node::entries) {
        match how.text_of("condition") {
            Some("process_completed_successfully") => {
                once.insert(dependency.clone());
            }
            Some("process_completed") => unit.needs.push((dependency.clone(), "completed")),
            Some("process_log_ready") => unit.needs.push((dependency.clone(), "logged")),
            Some("process_healthy") => {}
            Some("process_started") | None => unit.needs.push((dependency.clone(), "started")),
            Some(_) => {
                how.refuse();
            }
        }
        unit.after.push(dependency.clone());
    }
    if let Some(command) = node.text_of("command") {
        let shell = root.get("shell");
        let named = shell.and_then(|shell| shell.text_of("shell_command"));
        let argument = shell.and_then(|shell| shell.text_of("shell_argument"));
        // process-compose makes `$$` a dollar sign before the shell sees it.
        let line = match command.contains("$$") {
            true => CommandLine {
                run: for_shell_of_compose(command.trim()),
                ..CommandLine::default()
            },
            false => from_shell(command, &mut references),
        };
        (unit.run, unit.cwd, unit.env) = (line.run, line.cwd, line.env);
        if let Some(shell) = named {
            (unit.cwd, unit.env) = (None, Vec::new());
            unit.run = for_shell_of_compose(command);
            unit.run[0] = literal(shell);
            if let Some(argument) = argument {
                unit.run[1] = literal(argument);
            }
        }
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
        set_directory(&mut unit, files.root(), directory);
    }
    for file in node.get("env_file").map(Node::texts).unwrap_or_default() {
        unit.env_file.push((file.to_owned(), false));
    }
    let entries = [root, node].map(|node| node.get("environment").map(pairs).unwrap_or_default());
    for (variable, value) in entries.iter().flatten() {
        let (value, _) = from_compose(value, &mut references);
        let place = unit.origin.clone();
        set_env(&mut unit, &place, variable, &value);
    }
    (unit.ready, unit.live) = process_probes(node, &mut references);
    if let Some(line) = node.text_of("ready_log_line") {
        // A text there, a pattern here.
        if unit.ready.is_none() {
            unit.ready = Some(ProbeDraft::of(Test::Log(literal(&regex::escape(line)))));
        } else {
            node.refuse_at(&["ready_log_line"]);
        }
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
    let at = |path: &[&str]| node.at(path).and_then(Node::text);
    unit.restart = match at(&["availability", "restart"]) {
        Some("always") => Some("always"),
        Some("on_failure" | "on-failure") => Some("on-failure"),
        Some("exit_on_failure") => {
            unit.notes.push(Note::unsure(
                "its failure ends all there; here its layer is critical, and the boot is healed",
            ));
            Some("never")
        }
        // What is not said is "no" there.
        Some("no") | None => Some("never"),
        Some(_) => {
            node.refuse_at(&["availability", "restart"]);
            None
        }
    };
    if let Some(text) = at(&["availability", "max_restarts"]) {
        match text.parse::<u32>() {
            Ok(max) if (1..=1000).contains(&max) && unit.restart != Some("never") => {
                unit.restart_max = Some(max);
            }
            // 0 is "without end" there, which is never meant by a person who boots with ubs.
            _ => node.refuse_at(&["availability", "max_restarts"]),
        }
    }
    let seconds = |path: &[&str]| {
        let found = at(path).and_then(seconds_ms);
        if found.is_none() {
            node.refuse_at(path);
        }
        found
    };
    unit.restart_backoff_ms =
        seconds(&["availability", "backoff_seconds"]).filter(|_| unit.restart != Some("never"));
    if unit.restart == Some("never") {
        node.refuse_at(&["availability", "backoff_seconds"]);
    }
    let text = at(&["availability", "exit_on_end"]);
    unit.on_end_stop = text.is_some_and(|text| text == "true");
    if let Some(text) = at(&["shutdown", "signal"]) {
        unit.stop_signal = signal(text);
        if unit.stop_signal.is_none() {
            node.refuse_at(&["shutdown", "signal"]);
        }
    }
    if let Some(command) = at(&["shutdown", "command"]) {
        let mut none = Vec::new();
        unit.stop_command = from_shell(command, &mut none).run;
    }
    unit.stop_timeout_ms = seconds(&["shutdown", "timeout_seconds"]);
    if let Some(codes) = node
        .get("success_exit_codes")
        .or(node.at(&["availability", "success_exit_codes"]))
    {
        unit.success = codes
            .texts()
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_gives_variables_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            "env_cmds: {DAY: 'date --secret hunter22'}\nprocesses: {p: {command: 'echo $DAY'}}\n";
        std::fs::write(dir.path().join("process-compose.yaml"), text).unwrap();
        let units = read(&Files::of(dir.path()), "process-compose.yaml");
        let said = format!("{:?}", units.notes);
        assert!(
            said.contains("env_cmds.DAY (line 1)") && said.contains("export NAME=$("),
            "{said}"
        );
        assert!(!said.contains("hunter22"), "{said}");
    }

    #[test]
    fn environments_as_lists_and_maps_and_what_has_no_counterpart() {
        let dir = tempfile::tempdir().unwrap();
        let text = "environment: [A=1, S_PASSWORD=hunter22]\nprocesses:\n  p:\n    entrypoint: [python, -m, app]\n    environment: {A: 2, B: '3'}\n    ready_log_line: up\n    working_dir: /nowhere/at/all\n  q: {command: x}\n  r: {command: y, replicas: 2, depends_on: {q: {condition: process_completed_successfully}}}\n";
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
        // The secret, the directory.
        assert_eq!(first.notes.iter().filter(|note| note.unsure).count(), 2);
        assert_eq!(
            first.ready.as_ref().unwrap().test,
            Test::Log("up".to_owned())
        );
        assert!(units.units[1].oneshot && !units.units[2].oneshot);
        let number = &units.units[3].env;
        assert_eq!(units.units[3].name, "r-1");
        assert_eq!(
            number[..],
            [("A", "1"), ("PC_REPLICA_NUM", "1")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        assert!(!format!("{units:?}").contains("hunter22"));
    }
}
