//! `compose.yaml` and its override file: services that are built here become services of the manifest,
//! images that others made are named.

use std::collections::{BTreeMap, BTreeSet};

use super::container::{built_command, context_of, port_of_image, published};
use super::draft::{Note, Reference, Unit, Units};
use super::files::Files;
use super::probes::{compose_probes, duration_ms};
use super::shell::from_compose;
use super::text::{holds_credential, is_secret_name, is_variable_name, plain};
use super::yaml::{Node, Value, parse};
use crate::source::program;

/// Names of the file, the one that is taken first.
pub(super) const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];
/// More services than this were never written by hand.
const SERVICES_MAX: usize = 200;

/// Reads the compose file `name` and the override file beside it.
pub(super) fn read(files: &Files, name: &str) -> Units {
    let mut units = Units::default();
    let Some(mut root) = document(files, name, &mut units) else {
        return units;
    };
    if let Some(extra) = files.first(&OVERRIDES)
        && let Some(over) = document(files, extra, &mut units)
    {
        units.notes.push(Note::sure(format!(
            "{extra} is laid over {name}, as compose does."
        )));
        root = overlay(root, over, "");
    }
    units.name = root.text_of("name").map(str::to_owned);
    if root.get("include").is_some() {
        let text = format!("{name} includes other files: what they declare was not read");
        units.notes.push(Note::unsure(text));
    }
    let services = root.get("services").map_or(&[][..], Node::entries);
    if services.is_empty() {
        units
            .notes
            .push(Note::unsure(format!("{name} declares no services")));
    }
    if services.len() > SERVICES_MAX {
        let text = format!("{name} has more than {SERVICES_MAX} services; the rest was left out");
        units.notes.push(Note::unsure(text));
    }
    let reader = ComposeReader {
        files,
        file: name,
        names: services.iter().map(|(name, _)| name.as_str()).collect(),
        // An image that one service builds may run others.
        built: services
            .iter()
            .filter(|(_, service)| service.get("build").is_some())
            .filter_map(|(_, service)| Some((service.text_of("image")?, service)))
            .collect(),
    };
    let mut once: BTreeSet<String> = BTreeSet::new();
    for (service, node) in services.iter().take(SERVICES_MAX) {
        if let Some(profiles) = node.get("profiles").filter(|p| !p.texts().is_empty()) {
            units.notes.push(Note::unsure(format!(
                "{name}:{}: service {service} is started only with the profile {}; it was left out",
                node.line,
                profiles.texts().join(", ")
            )));
            continue;
        }
        let unit = reader.unit(service, node, &mut units, &mut once);
        units.units.push(unit);
    }
    units.run_once(&once);
    units
}

fn document(files: &Files, name: &str, units: &mut Units) -> Option<Node> {
    let bad = |why: String, units: &mut Units| {
        files.message(why.clone());
        units.notes.push(Note::unsure(why));
    };
    let Some(text) = files.text(name) else {
        units
            .notes
            .push(Note::unsure(format!("{name} could not be read")));
        return None;
    };
    match parse(&text) {
        Ok(root) if root.entries().is_empty() => {
            bad(format!("{name} is no compose file: it has no keys"), units);
            None
        }
        Ok(root) => Some(root),
        Err(error) => {
            bad(
                format!(
                    "{name}:{} is not right: {}; nothing was taken from it",
                    error.line,
                    plain(&error.why)
                ),
                units,
            );
            None
        }
    }
}

/// The second file over the first one: maps key by key, lists one behind the other, anything else replaced.
fn overlay(below: Node, above: Node, key: &str) -> Node {
    let line = if below.line > 0 {
        below.line
    } else {
        above.line
    };
    let named = matches!(key, "environment" | "depends_on" | "labels");
    match (below.value, above.value) {
        (below, Value::Null) => Node { value: below, line },
        (Value::Map(mut entries), Value::Map(over)) => {
            for (key, node) in over {
                match entries.iter_mut().find(|(name, _)| *name == key) {
                    Some((_, own)) => *own = overlay(std::mem::take(own), node, &key),
                    None => entries.push((key, node)),
                }
            }
            Node {
                value: Value::Map(entries),
                line,
            }
        }
        (below, above) if named => overlay(
            Node {
                value: as_map(below),
                line,
            },
            Node {
                value: as_map(above),
                line,
            },
            "",
        ),
        (Value::List(mut items), Value::List(over))
            if !matches!(key, "command" | "entrypoint" | "test") =>
        {
            items.extend(over);
            Node {
                value: Value::List(items),
                line,
            }
        }
        (_, value) => Node { value, line },
    }
}

/// `[A=1, B]` as `{A: 1, B: null}`.
fn as_map(value: Value) -> Value {
    match value {
        Value::List(items) => Value::Map(
            items
                .into_iter()
                .filter_map(|item| {
                    let line = item.line;
                    let text = item.text()?;
                    let (name, value) = match text.split_once('=') {
                        Some((name, value)) => (name, Value::Text(value.to_owned())),
                        None => (text, Value::Null),
                    };
                    Some((name.to_owned(), Node { value, line }))
                })
                .collect(),
        ),
        Value::Map(entries) => Value::Map(entries),
        _ => Value::Map(Vec::new()),
    }
}

struct ComposeReader<'f> {
    files: &'f Files,
    file: &'f str,
    names: BTreeSet<&'f str>,
    built: BTreeMap<&'f str, &'f Node>,
}

impl ComposeReader<'_> {
    fn unit(
        &self,
        name: &str,
        node: &Node,
        units: &mut Units,
        once: &mut BTreeSet<String>,
    ) -> Unit {
        let mut unit = Unit {
            name: name.to_owned(),
            origin: format!("{}:{}", self.file, node.line),
            ..Unit::default()
        };
        let mut references = Vec::new();
        for (dependency, condition) in dependencies(node) {
            if condition == "service_completed_successfully" {
                once.insert(dependency.clone());
            }
            unit.after.push(dependency);
        }
        if node.get("extends").is_some() {
            unit.notes.push(Note::unsure(
                "it extends another service; what it takes from there was not read".to_owned(),
            ));
        }
        self.command(node, &mut unit, &mut references);
        unit.port = published(node).map(|(_, inside)| inside);
        if unit.image.is_none() {
            self.environment(node, &mut unit, &mut references);
            if let Some(check) = node.get("healthcheck") {
                (unit.ready, unit.live) = compose_probes(check, &mut references);
            }
            lifetime(node, &mut unit);
            for file in env_files(node) {
                let (file, exact) = from_compose(&file, &mut Vec::new());
                if exact && !file.contains('$') && !units.env_files.contains(&file) {
                    units.env_files.push(file);
                }
            }
        }
        for reference in &mut references {
            reference.origin.clone_from(&unit.origin);
        }
        if unit.image.is_none() {
            units.references.extend(references);
        }
        unit
    }

    /// Sets `run` and `cwd`, or `image`.
    fn command(&self, node: &Node, unit: &mut Unit, references: &mut Vec<Reference>) {
        let image = node.text_of("image");
        let builder = match node.get("build") {
            Some(_) => Some(node),
            None => image.and_then(|image| self.built.get(image).copied()),
        };
        let own = own_command(node, references);
        let is_ours = || {
            let program = program(own.as_deref().unwrap_or_default());
            program.object.is_some() || program.run_module.is_some() || program.script.is_some()
        };
        if builder.is_none() && !is_ours() {
            let image = image.unwrap_or("an image");
            let port = published(node)
                .map(|(outside, _)| outside)
                .or_else(|| port_of_image(image).map(str::to_owned));
            unit.image = Some((plain(image), port));
            return;
        }
        let context = builder.and_then(|node| context_of(self.files, node));
        unit.cwd = context.clone().filter(|context| context != ".");
        let built = builder.and_then(|node| built_command(self.files, node, context.as_deref()));
        let entrypoint = node.get("entrypoint").is_some();
        let built = built.unwrap_or_default();
        unit.run = match own {
            Some(own) if entrypoint || built.entrypoint.is_empty() => own,
            Some(own) => [built.entrypoint.clone(), own].concat(),
            None => [built.entrypoint.clone(), built.command].concat(),
        };
        references.extend(built.references);
        if unit.run.is_empty() {
            unit.notes.push(Note::unsure(
                "neither the service nor its Dockerfile says which command it runs".to_owned(),
            ));
        } else if let Some(inside) = unit.run.iter().find(|word| word.starts_with('/')) {
            unit.notes.push(Note::unsure(format!(
                "{} is a path inside the container",
                plain(inside)
            )));
        }
        let replicas = node
            .at(&["deploy", "replicas"])
            .or_else(|| node.get("scale"))
            .and_then(Node::text);
        if let Some(number) = replicas.filter(|number| *number != "1") {
            unit.notes.push(Note::unsure(format!(
                "it runs {} times there, and once here",
                plain(number)
            )));
        }
    }

    fn environment(&self, node: &Node, unit: &mut Unit, references: &mut Vec<Reference>) {
        let Some(environment) = node.get("environment") else {
            return;
        };
        let map = as_map(environment.value.clone());
        let Value::Map(entries) = map else { return };
        for (name, value) in entries {
            if !is_variable_name(&name) {
                continue;
            }
            let own = Reference {
                name: name.clone(),
                ..Reference::default()
            };
            let Some(text) = value.text() else {
                references.push(own);
                continue;
            };
            let first = references.len();
            let (text, exact) = from_compose(text, references);
            let refers_to_itself =
                text.starts_with("${") && references[first..].iter().any(|r| r.name == name);
            if refers_to_itself && references.len() == first + 1 && text.ends_with('}') {
                continue;
            }
            let why = if holds_credential(&without_references(&text))
                || (is_secret_name(&name) && !without_references(&text).is_empty())
            {
                Some("its value looks secret; set it in .env".to_owned())
            } else if let Some(host) = self.host_in(&text) {
                Some(format!(
                    "its value names the host {host}, which is known to compose only; set it in .env"
                ))
            } else if !exact {
                Some("its value has a form that a manifest has not; set it in .env".to_owned())
            } else {
                None
            };
            match why {
                Some(why) => {
                    let text = format!(
                        "{name} of {}:{} was not copied: {why}",
                        self.file, value.line
                    );
                    unit.notes.push(Note::unsure(text));
                    references.truncate(first);
                    references.push(own);
                }
                None => unit.env.push((name, text)),
            }
        }
    }

    /// Another service whose name is a host in this value.
    fn host_in(&self, text: &str) -> Option<&str> {
        self.names.iter().copied().find(|name| {
            text == *name
                || text.match_indices(name).any(|(at, _)| {
                    let before = &text[..at];
                    let after = &text[at + name.len()..];
                    (before.ends_with("//") || before.ends_with('@') || before.is_empty())
                        && (after.is_empty() || after.starts_with([':', '/']))
                        && (text.contains("://") || after.starts_with(':'))
                })
        })
    }
}

/// The text without its references; what stands in their defaults stays.
fn without_references(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (inside, after) = after.split_once('}').unwrap_or((after, ""));
        if let Some((_, default)) = inside.split_once(":-") {
            out.push_str(default);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `entrypoint` and `command`, in the manifest's syntax.
fn own_command(node: &Node, references: &mut Vec<Reference>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for key in ["entrypoint", "command"] {
        let Some(node) = node.get(key) else { continue };
        match &node.value {
            // Split as a shell would, but given to none.
            Value::Text(text) => words.extend(shlex::split(text).unwrap_or_default()),
            Value::List(_) => words.extend(node.texts().into_iter().map(str::to_owned)),
            _ => {}
        }
    }
    let words: Vec<String> = words
        .iter()
        .map(|word| from_compose(word, references).0)
        .collect();
    (!words.is_empty()).then_some(words)
}

/// Names and conditions.
fn dependencies(node: &Node) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if let Some(depends) = node.get("depends_on") {
        for name in depends.texts() {
            found.push((name.to_owned(), String::new()));
        }
        for (name, how) in depends.entries() {
            let condition = how.text_of("condition").unwrap_or("").to_owned();
            found.push((name.clone(), condition));
        }
    }
    for name in node.get("links").map(Node::texts).unwrap_or_default() {
        let name = name.split(':').next().unwrap_or(name);
        if !found.iter().any(|(known, _)| known == name) {
            found.push((name.to_owned(), String::new()));
        }
    }
    found
}

fn env_files(node: &Node) -> Vec<String> {
    let Some(files) = node.get("env_file") else {
        return Vec::new();
    };
    let mut found: Vec<String> = files.texts().into_iter().map(str::to_owned).collect();
    found.extend(
        files
            .items()
            .iter()
            .filter_map(|item| item.text_of("path"))
            .map(str::to_owned),
    );
    found
}

/// How it is restarted and stopped.
fn lifetime(node: &Node, unit: &mut Unit) {
    let policy = node.text_of("restart").unwrap_or("");
    match policy.split_once(':').map_or(policy, |(word, _)| word) {
        "always" | "unless-stopped" => unit.restart = Some("always"),
        "on-failure" => {
            unit.restart = Some("on-failure");
            unit.restart_max = policy
                .split_once(':')
                .and_then(|(_, max)| max.parse().ok())
                .map(|max: u32| max.min(1000));
        }
        "no" => unit.restart = Some("never"),
        _ => {}
    }
    unit.stop_signal = node.text_of("stop_signal").map(str::to_owned);
    unit.stop_timeout_ms = node.text_of("stop_grace_period").and_then(duration_ms);
}

#[cfg(test)]
mod tests;
