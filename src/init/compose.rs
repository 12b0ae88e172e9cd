//! `compose.yaml` and its override file: services that are built here become services of the manifest,
//! images that others made are named.

use std::collections::{BTreeMap, BTreeSet};

use super::carry::{LIMITS, limit, set_user, signal};
use super::container::{
    Built, Directories, built_command, context_of, inside, port_of_image, published,
};
use super::draft::{Note, REPLICAS_MAX, Reference, Unit, Units};
use super::files::Files;
use super::probes::{compose_probes, duration_ms};
use super::shell::from_compose;
use super::text::{holds_credential, is_secret_name, is_variable_name, name_of, plain};
use super::yaml::{Node, Value};
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
/// Files that `include` names, at most.
const INCLUDES_MAX: usize = 20;
/// Services that extend each other, at most.
const EXTENDS_MAX: usize = 8;

/// Reads the compose file `name` and the override file beside it.
pub(super) fn read(files: &Files, name: &str) -> Units {
    let mut units = Units {
        file: name.to_owned(),
        ..Units::default()
    };
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
    // What depends on a variable is no name of an application.
    match root.text_of("name") {
        Some(name) if name.contains('$') => root.refuse_at(&["name"]),
        name => units.name = name.map(str::to_owned),
    }
    root = included(files, root, &mut units);
    extended(files, &mut root, &mut units);
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
        let mut unit = reader.unit(service, node, &mut units, &mut once);
        if let Some(profiles) = node.get("profiles").filter(|p| !p.texts().is_empty()) {
            unit.profiles = profiles
                .texts()
                .iter()
                .map(|text| name_of(text, "profile"))
                .collect();
        }
        let count = copies(node, &mut unit);
        unit.leave(name, node);
        units.units.extend(unit.replicas(count, None));
    }
    units.run_once(&once);
    for (key, node) in root.entries() {
        // What is told of above, and what compose itself does not read.
        if key == "services" || key == "version" || key.starts_with("x-") {
            node.take();
        }
    }
    units.leave(&root);
    units
}

/// The files of `include`, each below the file that includes it.
fn included(files: &Files, root: Node, units: &mut Units) -> Node {
    let Some(include) = root.get("include") else {
        return root;
    };
    let mut below: Option<Node> = None;
    for item in include.items().iter().take(INCLUDES_MAX) {
        let path = item.get("path").unwrap_or(item);
        for path in path.texts() {
            let found = inside(path).filter(|path| files.is_file(path));
            let Some(node) = found.and_then(|path| document(files, &path, units)) else {
                units.notes.push(Note::unsure(format!(
                    "the included file {} was not read",
                    plain(path)
                )));
                continue;
            };
            units
                .notes
                .push(Note::sure(format!("{} is included", plain(path))));
            below = Some(match below {
                Some(below) => overlay(below, node, ""),
                None => node,
            });
        }
    }
    match below {
        Some(below) => overlay(below, root, ""),
        None => root,
    }
}

/// Lays each service that extends another one over that one.
fn extended(files: &Files, root: &mut Node, units: &mut Units) {
    let original = root.clone();
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let services = entries.iter_mut().find(|(key, _)| key == "services");
    let Some((
        _,
        Node {
            value: Value::Map(services),
            ..
        },
    )) = services
    else {
        return;
    };
    for (name, service) in services.iter_mut().take(SERVICES_MAX) {
        if service.get("extends").is_some() {
            *service = base_of(files, &original, name, service, units, 0);
        }
    }
}

fn base_of(
    files: &Files,
    root: &Node,
    name: &str,
    service: &Node,
    units: &mut Units,
    depth: usize,
) -> Node {
    let Some(extends) = service.get("extends") else {
        return service.clone();
    };
    let wanted = extends.text().or_else(|| extends.text_of("service"));
    let other = extends.text_of("file");
    let document = match other {
        Some(file) => inside(file)
            .filter(|file| files.is_file(file))
            .and_then(|file| document(files, &file, units)),
        None => Some(root.clone()),
    };
    let base = wanted.and_then(|wanted| {
        let document = document.as_ref()?;
        let base = document.at(&["services", wanted])?;
        let same = other.is_none() && wanted == name;
        (depth < EXTENDS_MAX && !same)
            .then(|| base_of(files, document, wanted, base, units, depth + 1))
    });
    let Some(base) = base else {
        units.notes.push(Note::unsure(format!(
            "{}: service {} extends what was not found; what it takes from there was not read",
            units.file,
            plain(name)
        )));
        extends.refuse();
        return service.clone();
    };
    let whole = overlay(base, service.clone(), "");
    if let Some(extends) = whole.get("extends") {
        // Of the table form, what is more than these two is named.
        let _ = (
            extends.text(),
            extends.text_of("service"),
            extends.text_of("file"),
        );
    }
    whole
}

fn document(files: &Files, name: &str, units: &mut Units) -> Option<Node> {
    let root = units.yaml(files, name)?;
    if root.entries().is_empty() {
        units.wrong(files, format!("{name} is no compose file: it has no keys"));
        return None;
    }
    Some(root)
}

/// The second file over the first one: maps key by key, lists one behind the other, anything else replaced, and what
/// is tagged `!override` or `!reset` as well.
fn overlay(below: Node, above: Node, key: &str) -> Node {
    if above.replaces {
        return above;
    }
    let line = if below.line > 0 {
        below.line
    } else {
        above.line
    };
    let named = matches!(key, "environment" | "depends_on" | "labels");
    match (below.value, above.value) {
        (below, Value::Null) => Node::new(below, line),
        (Value::Map(mut entries), Value::Map(over)) => {
            for (key, node) in over {
                if node.replaces && node.value == Value::Null {
                    entries.retain(|(name, _)| *name != key);
                    continue;
                }
                match entries.iter_mut().find(|(name, _)| *name == key) {
                    Some((_, own)) => *own = overlay(std::mem::take(own), node, &key),
                    None => entries.push((key, node)),
                }
            }
            Node::new(Value::Map(entries), line)
        }
        (below, above) if named => overlay(
            Node::new(as_map(below), line),
            Node::new(as_map(above), line),
            "",
        ),
        (Value::List(mut items), Value::List(over))
            if !matches!(key, "command" | "entrypoint" | "test") =>
        {
            items.extend(over);
            Node::new(Value::List(items), line)
        }
        (_, value) => Node::new(value, line),
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
                    Some((name.to_owned(), Node::new(value, line)))
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
        for (dependency, condition, optional) in dependencies(node) {
            match condition.as_str() {
                "service_completed_successfully" => {
                    once.insert(dependency.clone());
                }
                "service_started" => unit.needs.push((dependency.clone(), "started")),
                _ => {}
            }
            if optional {
                unit.notes.push(Note::unsure(format!(
                    "it goes on without {} there (required: false)",
                    plain(&dependency)
                )));
            }
            unit.after.push(dependency);
        }
        self.command(node, &mut unit, &mut references);
        if unit.image.is_none() {
            if let Some((outside, inside)) = published(node) {
                if outside != inside {
                    unit.notes.push(Note::sure(format!(
                        "published there as {}; here it listens on {}",
                        plain(&outside),
                        plain(&inside)
                    )));
                }
                unit.port = Some(inside);
            }
            self.environment(node, &mut unit, &mut references);
            if let Some(check) = node.get("healthcheck") {
                (unit.ready, unit.live) = compose_probes(check, &mut references);
            }
            lifetime(node, &mut unit);
            limits(node, &mut unit);
            if let Some(user) = node.text_of("user") {
                set_user(&mut unit, user);
            }
            for (file, optional) in env_files(node) {
                let (text, exact) = from_compose(&file, &mut Vec::new());
                if !exact || text.contains('$') {
                    unit.notes.push(Note::unsure(format!(
                        "its environment file {} has a variable in its name; it was left out",
                        plain(&file)
                    )));
                } else if inside(&text).as_deref() == Some(".env") {
                    // Every service has it.
                    if !units.env_files.contains(&text) {
                        units.env_files.push(text);
                    }
                } else {
                    unit.env_file.push((text, optional));
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
            // It is not started from here, so nobody has use for these.
            for key in ["command", "entrypoint", "depends_on", "links"] {
                node.refuse_at(&[key]);
            }
            return;
        }
        let context = builder.and_then(|node| context_of(self.files, node));
        unit.cwd = context.clone().filter(|context| context != ".");
        let built = builder.and_then(|node| built_command(self.files, node, context.as_deref()));
        let entrypoint = node.get("entrypoint").is_some();
        let mut built = built.unwrap_or_default();
        unit.run = match own {
            Some(own) if entrypoint || built.entrypoint.is_empty() => own,
            Some(own) => [built.entrypoint.clone(), own].concat(),
            None => [built.entrypoint.clone(), std::mem::take(&mut built.command)].concat(),
        };
        let directories = std::mem::take(&mut built.directories);
        self.directory(node, directories, context.as_deref(), unit);
        references.append(&mut built.references);
        self.image_environment(node, built, context.as_deref(), unit);
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
    }

    /// What the image sets and the service does not: `ENV` of its Dockerfile, which `env_file` overrides too.
    fn image_environment(
        &self,
        node: &Node,
        mut built: Built,
        context: Option<&str>,
        unit: &mut Unit,
    ) {
        unit.env = built.env_in(unit.cwd.as_deref(), context);
        let own = node
            .get("environment")
            .map(|node| as_map(node.value.clone()));
        let own: BTreeSet<String> = match own {
            Some(Value::Map(entries)) => entries.into_iter().map(|(name, _)| name).collect(),
            _ => BTreeSet::new(),
        };
        let files: Vec<_> = env_files(node)
            .into_iter()
            .filter_map(|(file, _)| self.files.text(&inside(&file)?))
            .collect();
        let is_set = |name: &str| {
            own.contains(name)
                || files.iter().flat_map(|text| text.lines()).any(|line| {
                    let line = line.trim_start();
                    let line = line.strip_prefix("export ").unwrap_or(line);
                    line.split_once('=')
                        .is_some_and(|(known, _)| known.trim() == name)
                })
        };
        unit.env.retain(|(name, _)| !is_set(name));
        let overridden = [
            ("USER", "user"),
            ("HEALTHCHECK", "healthcheck"),
            ("STOPSIGNAL", "stop_signal"),
        ];
        let left: Vec<String> = built
            .left
            .iter()
            .filter(|line| {
                let (word, rest) = line.split_once(' ').unwrap_or((line.as_str(), ""));
                let is_overridden = |(instruction, key): &(&str, &str)| {
                    word.eq_ignore_ascii_case(instruction) && node.get(key).is_some()
                };
                !(overridden.iter().any(is_overridden) || word == "ENV" && is_set(rest))
            })
            .map(|line| plain(line))
            .collect();
        if !left.is_empty() {
            unit.notes.push(Note::not_carried(&format!(
                " from {}: {}",
                plain(&built.file),
                left.join(", ")
            )));
        }
    }

    /// Sets `cwd` to the directory of the workspace that the container's one is a copy of, or mounted from.
    fn directory(
        &self,
        node: &Node,
        mut built: Directories,
        context: Option<&str>,
        unit: &mut Unit,
    ) {
        let context = context.unwrap_or(".");
        for (_, from) in &mut built.copies {
            *from = format!("{context}/{from}");
        }
        let volumes = node.get("volumes").map_or(&[][..], Node::items);
        for volume in volumes {
            let pair = match volume.peek() {
                Some(text) => text.split_once(':'),
                None => volume
                    .get("source")
                    .and_then(Node::peek)
                    .zip(volume.get("target").and_then(Node::peek)),
            };
            if let Some((from, to)) = pair
                && from.starts_with('.')
                && let Some(from) = inside(from)
            {
                let to = to.split(':').next().unwrap_or(to);
                built
                    .copies
                    .push((to.trim_end_matches('/').to_owned(), from));
            }
        }
        let named = node.text_of("working_dir");
        let Some(path) = named.or(built.work.as_deref()) else {
            return;
        };
        match built
            .origin_of(path)
            .filter(|path| path == "." || self.files.is_dir(path))
        {
            Some(inside) => unit.cwd = Some(inside).filter(|inside| inside != "."),
            None if named.is_some() => unit.notes.push(Note::unsure(format!(
                "its directory {} is one of the container",
                plain(path)
            ))),
            None => {}
        }
    }

    fn environment(&self, node: &Node, unit: &mut Unit, references: &mut Vec<Reference>) {
        let Some(environment) = node.get("environment") else {
            return;
        };
        environment.take();
        let map = as_map(environment.value.clone());
        let Value::Map(entries) = map else { return };
        for (name, value) in entries {
            if !is_variable_name(&name) {
                unit.notes.push(Note::unsure(format!(
                    "{} cannot be the name of a variable; it was left out",
                    plain(&name)
                )));
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
            Value::Text(text) => {
                node.take();
                words.extend(shlex::split(text).unwrap_or_else(|| {
                    node.refuse();
                    Vec::new()
                }));
            }
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

/// Names and conditions, and whether the service goes on without it.
fn dependencies(node: &Node) -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    if let Some(depends) = node.get("depends_on") {
        for name in depends.texts() {
            found.push((name.to_owned(), String::new(), false));
        }
        for (name, how) in depends.entries() {
            let condition = how.text_of("condition").unwrap_or("").to_owned();
            let optional = how.text_of("required") == Some("false");
            found.push((name.clone(), condition, optional));
        }
    }
    for name in node.get("links").map(Node::texts).unwrap_or_default() {
        let name = name.split(':').next().unwrap_or(name);
        if !found.iter().any(|(known, _, _)| known == name) {
            found.push((name.to_owned(), String::new(), false));
        }
    }
    found
}

/// Names, and whether the file may be missing.
fn env_files(node: &Node) -> Vec<(String, bool)> {
    let Some(files) = node.get("env_file") else {
        return Vec::new();
    };
    let of_table = |table: &Node| {
        let path = table.text_of("path")?;
        let optional = table.text_of("required") == Some("false");
        Some((path.to_owned(), optional))
    };
    let mut found: Vec<(String, bool)> = of_table(files).into_iter().collect();
    match &files.value {
        Value::List(items) => {
            for item in items {
                let plain = item.text().map(|path| (path.to_owned(), false));
                found.extend(plain.or_else(|| of_table(item)));
            }
        }
        _ => found.extend(files.text().map(|path| (path.to_owned(), false))),
    }
    found
}

/// How it is restarted and stopped.
fn lifetime(node: &Node, unit: &mut Unit) {
    let policy = node.text_of("restart");
    match policy.map(|policy| policy.split_once(':').unwrap_or((policy, ""))) {
        Some(("always", _)) => unit.restart = Some("always"),
        Some(("unless-stopped", _)) => unit.restart = Some("unless-stopped"),
        Some(("on-failure", max)) => {
            unit.restart = Some("on-failure");
            unit.restart_max = max.parse().ok().map(|max: u32| max.min(1000));
        }
        Some(("no" | "false", _)) => unit.restart = Some("never"),
        Some(_) => node.refuse_at(&["restart"]),
        None => {}
    }
    if let Some(deploy) = node.at(&["deploy", "restart_policy"]) {
        match deploy.text_of("condition") {
            Some("none") => unit.restart = Some("never"),
            Some("on-failure") => unit.restart = Some("on-failure"),
            Some("any") => unit.restart = Some("always"),
            Some(_) => deploy.refuse_at(&["condition"]),
            None => unit.restart = unit.restart.or(Some("always")),
        }
        let number = deploy.text_of("max_attempts").map(str::parse::<u32>);
        match number {
            Some(Ok(max)) => unit.restart_max = Some(max.min(1000)),
            Some(Err(_)) => deploy.refuse_at(&["max_attempts"]),
            None => {}
        }
        unit.restart_backoff_ms = time(deploy, "delay");
        unit.restart_reset_ms = time(deploy, "window").map(|ms| ms.max(1000));
    } else if policy.is_none() && !unit.run.is_empty() {
        // Compose starts nothing again that does not say so.
        unit.restart = Some("never");
    }
    if let Some(text) = node.text_of("stop_signal") {
        unit.stop_signal = signal(text);
        if unit.stop_signal.is_none() {
            node.refuse_at(&["stop_signal"]);
        }
    }
    unit.stop_timeout_ms = time(node, "stop_grace_period");
}

/// How often it runs; more than once only if it publishes no port.
fn copies(node: &Node, unit: &mut Unit) -> usize {
    if unit.image.is_some() {
        return 1;
    }
    let replicas = node.at(&["deploy", "replicas"]);
    let replicas = replicas.or_else(|| node.get("scale")).and_then(Node::text);
    let Some(number) = replicas.filter(|number| *number != "1") else {
        return 1;
    };
    match number.parse::<usize>() {
        Ok(count) if (2..=REPLICAS_MAX).contains(&count) && unit.port.is_none() => count,
        _ => {
            unit.notes.push(Note::unsure(format!(
                "it runs {} times there, and once here",
                plain(number)
            )));
            1
        }
    }
}

/// A duration; one that cannot be read is named as not carried over.
fn time(node: &Node, key: &str) -> Option<u64> {
    let found = node.text_of(key).and_then(duration_ms);
    if found.is_none() {
        node.refuse_at(&[key]);
    }
    found
}

/// `ulimits`, as far as a manifest has them.
fn limits(node: &Node, unit: &mut Unit) {
    let Some(ulimits) = node.get("ulimits") else {
        return;
    };
    for (key, name, unit_of) in LIMITS {
        let Some(said) = ulimits.get(key) else {
            continue;
        };
        // The soft one is what a process meets.
        let value = said.peek().or_else(|| said.get("soft")?.peek());
        let Some(number) = value.and_then(|text| text.parse::<u64>().ok()) else {
            continue;
        };
        let _ = (said.text(), said.text_of("soft"), said.text_of("hard"));
        unit.limits.push((name, limit(number, unit_of)));
        if let Some(hard) = said.get("hard").and_then(Node::peek)
            && hard != number.to_string()
        {
            unit.notes.push(Note::unsure(format!(
                "its hard limit of {key} is {} there; here both are the soft one",
                plain(hard)
            )));
        }
    }
}

#[cfg(test)]
mod tests;
