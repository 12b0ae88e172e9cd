//! `supervisord.conf`: programs, with the files that it includes.

use std::collections::BTreeMap;

use super::carry::{literal, seconds_ms, set_directory, set_env, set_user, signal};
use super::container::inside;
use super::draft::{Note, REPLICAS_MAX, Reference, Unit, Units, not_carried};
use super::files::Files;
use super::text::{is_variable_name, plain};
use super::yaml::{Node, Value};

/// Where the file lies, the one that is taken first.
pub(super) const NAMES: [&str; 8] = [
    "supervisord.conf",
    "supervisor.conf",
    "etc/supervisord.conf",
    "conf/supervisord.conf",
    "config/supervisord.conf",
    "deploy/supervisord.conf",
    "docker/supervisord.conf",
    "supervisor/supervisord.conf",
];
/// More programs or files were never written by hand.
const PROGRAMS_MAX: usize = 200;
const FILES_MAX: usize = 50;
/// The order of a program that says none.
const PRIORITY_DEFAULT: i64 = 999;
/// So many programs of the same order are waited for by name.
const BEFORE_MAX: usize = 8;

/// Names with what they stand for.
type Entries = Vec<(String, Node)>;

/// A section with the file that it stands in.
struct Section {
    name: String,
    file: String,
    node: Node,
}

/// Reads the file `name` and what it includes.
pub(super) fn read(files: &Files, name: &str) -> Units {
    let mut units = Units {
        file: name.to_owned(),
        ..Units::default()
    };
    let mut sections = Vec::new();
    add_file(files, name, &mut sections, &mut units);
    let patterns: Vec<String> = sections
        .iter()
        .filter(|section: &&Section| section.name == "include")
        .filter_map(|section| section.node.text_of("files"))
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    for pattern in &patterns {
        add_included(files, name, pattern, &mut sections, &mut units);
    }
    let mut orders = Vec::new();
    let common = sections
        .iter()
        .find(|section| section.name == "supervisord");
    for section in &sections {
        let Some(program) = section.name.strip_prefix("program:") else {
            continue;
        };
        if units.units.len() >= PROGRAMS_MAX {
            let text =
                format!("{name} has more than {PROGRAMS_MAX} programs; the rest was left out");
            units.notes.push(Note::unsure(text));
            break;
        }
        let made = programs(
            files,
            program.trim(),
            section,
            common,
            &mut units.references,
        );
        for (priority, unit) in made {
            orders.push((priority, units.units.len()));
            units.units.push(unit);
        }
    }
    groups(&sections, &mut units);
    order(&mut orders, &mut units.units);
    if units.units.is_empty() {
        units
            .notes
            .push(Note::unsure(format!("{name} declares no programs")));
    }
    for section in sections
        .iter()
        .filter(|section| !section.name.starts_with("program:"))
    {
        if let Some((kind @ ("eventlistener" | "fcgi-program"), own)) = section.name.split_once(':')
        {
            units.notes.push(Note::unsure(format!(
                "{}:{}: the {kind} {} was left out; what it does has to be written by hand",
                section.file,
                section.node.line,
                plain(own)
            )));
        }
        let left: Vec<(String, u32)> = section
            .node
            .left()
            .into_iter()
            .map(|(key, line)| (format!("[{}] {key}", section.name), line))
            .collect();
        units.notes.extend(not_carried(&section.file, &left));
        units
            .left
            .extend(left.into_iter().map(|(key, _)| plain(&key)));
    }
    units
}

fn add_file(files: &Files, name: &str, sections: &mut Vec<Section>, units: &mut Units) {
    let Some(text) = units.text(files, name) else {
        return;
    };
    let (found, strange) = parse(&text);
    for (line, text) in strange {
        units.notes.push(Note::unsure(format!(
            "{name}:{line} is no `key = value`: {}",
            plain(&text)
        )));
    }
    sections.extend(found.into_iter().map(|(section, node)| Section {
        name: section,
        file: name.to_owned(),
        node,
    }));
}

fn add_included(
    files: &Files,
    name: &str,
    pattern: &str,
    sections: &mut Vec<Section>,
    units: &mut Units,
) {
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    let pattern = pattern.replace("%(here)s/", "");
    let found = inside(format!("{directory}/{pattern}").trim_start_matches('/'))
        .filter(|_| !pattern.starts_with('/'))
        .and_then(|pattern| {
            let whole = glob::Pattern::escape(files.root().to_str()?);
            glob::glob(&format!("{whole}/{pattern}")).ok()
        });
    let mut any = false;
    for path in found.into_iter().flatten().flatten().take(FILES_MAX) {
        let inside = path
            .strip_prefix(files.root())
            .ok()
            .and_then(|path| path.to_str());
        if let Some(inside) = inside {
            any = true;
            units
                .notes
                .push(Note::sure(format!("{} is included", plain(inside))));
            add_file(files, inside, sections, units);
        }
    }
    if !any {
        units.notes.push(Note::unsure(format!(
            "the included files {} were not found in the workspace; they were not read",
            plain(&pattern)
        )));
    }
}

/// Sections with their keys; and lines that are none.
fn parse(text: &str) -> (Entries, Vec<(u32, String)>) {
    let mut sections: Vec<(String, u32, Entries)> = Vec::new();
    let mut strange = Vec::new();
    for (line, number) in text.lines().zip(1_u32..) {
        let bare = without_comment(line);
        let trimmed = bare.trim();
        if trimmed.is_empty() {
            continue;
        }
        let goes_on = line.starts_with([' ', '\t']);
        if let Some(name) = trimmed
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            && !goes_on
        {
            sections.push((name.trim().to_owned(), number, Vec::new()));
            continue;
        }
        let Some((_, _, keys)) = sections.last_mut() else {
            strange.push((number, trimmed.to_owned()));
            continue;
        };
        if goes_on
            && let Some((_, node)) = keys.last_mut()
            && let Value::Text(value) = &mut node.value
        {
            value.push('\n');
            value.push_str(trimmed);
            continue;
        }
        let at = trimmed.find(['=', ':']);
        match at {
            Some(at) => {
                let key = trimmed[..at].trim().to_owned();
                let node = Node::of_text(trimmed[at + 1..].trim(), number);
                keys.retain(|(known, _)| *known != key);
                keys.push((key, node));
            }
            None => strange.push((number, trimmed.to_owned())),
        }
    }
    let sections = sections
        .into_iter()
        .map(|(name, line, keys)| (name, Node::new(Value::Map(keys), line)));
    (sections.collect(), strange)
}

/// `;` begins a comment at the start of a line or after a blank, `#` at the start only.
fn without_comment(line: &str) -> &str {
    if line.starts_with(['#', ';']) {
        return "";
    }
    let at = line
        .match_indices(';')
        .find(|(at, _)| line[..*at].ends_with([' ', '\t']));
    at.map_or(line, |(at, _)| &line[..at])
}

/// Values of `%(NAME)s`.
struct Expansion<'a> {
    program: &'a str,
    number: usize,
    here: &'a str,
}

impl Expansion<'_> {
    /// The text in the manifest's syntax; a dollar sign is one.
    fn of(&self, text: &str, references: &mut Vec<Reference>) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            out.push_str(&literal(&rest[..at]));
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix('%') {
                out.push('%');
                rest = after;
                continue;
            }
            let Some((name, after)) = after
                .strip_prefix('(')
                .and_then(|text| text.split_once(')'))
            else {
                out.push('%');
                rest = after;
                continue;
            };
            let end = after
                .find(|c: char| c.is_ascii_alphabetic())
                .ok_or("a form without its end")?;
            let (form, after) = after.split_at(end + 1);
            match name {
                "program_name" | "group_name" => out.push_str(self.program),
                "here" => out.push_str(self.here),
                "process_num" => {
                    let width: usize = form.trim_end_matches('d').parse().unwrap_or(0);
                    out.push_str(&format!("{:0width$}", self.number, width = width.min(9)));
                }
                _ => match name
                    .strip_prefix("ENV_")
                    .filter(|name| is_variable_name(name))
                {
                    Some(variable) => {
                        out.push_str(&format!("${{{variable}}}"));
                        references.push(Reference {
                            name: variable.to_owned(),
                            ..Reference::default()
                        });
                    }
                    None => return Err(format!("%({name}){form} is not known here")),
                },
            }
            rest = after;
        }
        out.push_str(&literal(rest));
        Ok(out)
    }
}

/// A program, as often as it runs, each with its place in the order.
fn programs(
    files: &Files,
    program: &str,
    section: &Section,
    common: Option<&Section>,
    references: &mut Vec<Reference>,
) -> Vec<(i64, Unit)> {
    let node = &section.node;
    let count = node
        .text_of("numprocs")
        .and_then(|text| text.parse::<usize>().ok());
    let first = node
        .text_of("numprocs_start")
        .and_then(|text| text.parse::<usize>().ok());
    let count = count.unwrap_or(1);
    let pattern = node.text_of("process_name").unwrap_or("%(program_name)s");
    let priority = node.text_of("priority").and_then(|text| text.parse().ok());
    let mut made = Vec::new();
    for at in 0..count.min(REPLICAS_MAX) {
        let number = first.unwrap_or(0).saturating_add(at);
        let directory = section
            .file
            .rsplit_once('/')
            .map_or(".", |(directory, _)| directory);
        let expansion = Expansion {
            program,
            number,
            here: directory,
        };
        let name = match expansion.of(pattern, &mut Vec::new()) {
            Ok(name) if count > 1 || !name.is_empty() => name,
            _ => program.to_owned(),
        };
        let mut unit = Unit {
            name,
            origin: format!("{}:{}", section.file, node.line),
            ..Unit::default()
        };
        let begin = references.len();
        fill(files, &mut unit, node, common, &expansion, references);
        for reference in &mut references[begin..] {
            reference.origin.clone_from(&unit.origin);
        }
        if at == 0 {
            unit.leave(&section.file, node);
            if count > REPLICAS_MAX {
                unit.notes.push(Note::unsure(format!(
                    "it runs {count} times there; here are the first {REPLICAS_MAX}"
                )));
            }
        }
        made.push((priority.unwrap_or(PRIORITY_DEFAULT), unit));
    }
    made
}

fn fill(
    files: &Files,
    unit: &mut Unit,
    node: &Node,
    common: Option<&Section>,
    expansion: &Expansion<'_>,
    references: &mut Vec<Reference>,
) {
    let all = common.map(|section| &section.node);
    // Only in the background supervisord goes to its own.
    let general = all.filter(|all| !all.peek_at("nodaemon").is_some_and(is_true));
    let directory = [Some(node), general].into_iter().flatten();
    if let Some((of, text)) = directory
        .filter_map(|of| Some((of, of.text_of("directory")?)))
        .next()
    {
        match expansion.of(text, references) {
            Ok(directory) => set_directory(unit, files.root(), &directory),
            Err(_) => of.refuse_at(&["directory"]),
        }
    }
    // What is relative to the file is not to another directory.
    let here = files.root().join(expansion.here).display().to_string();
    let expansion = &Expansion {
        here: match &unit.cwd {
            Some(_) => here.trim_end_matches("/."),
            None => expansion.here,
        },
        ..*expansion
    };
    if let Some(command) = node.text_of("command") {
        let words = shlex::split(command).unwrap_or_default();
        let words: Result<Vec<String>, String> = words
            .iter()
            .map(|word| expansion.of(word, references))
            .collect();
        match words {
            Ok(words) if !words.is_empty() => unit.run = words,
            Ok(_) => node.refuse_at(&["command"]),
            Err(why) => {
                node.refuse_at(&["command"]);
                unit.notes
                    .push(Note::unsure(format!("its command: {}", plain(&why))));
            }
        }
    }
    if unit.run.is_empty() {
        unit.notes
            .push(Note::unsure("it has no command that can be read"));
    }
    let place = unit.origin.clone();
    for (source, line) in [(all, common), (Some(node), None)] {
        let Some(environment) = source.and_then(|node| node.get("environment")) else {
            continue;
        };
        let text = environment.text().unwrap_or("");
        let place = line.map_or(place.clone(), |section| {
            format!("{}:{}", section.file, environment.line)
        });
        match pairs(text) {
            Some(pairs) => {
                for (name, value) in pairs {
                    match expansion.of(&value, references) {
                        Ok(value) => set_env(unit, &place, &name, &value),
                        Err(why) => unit.notes.push(Note::unsure(format!(
                            "{} of {place} was not copied: {}",
                            plain(&name),
                            plain(&why)
                        ))),
                    }
                }
            }
            None => environment.refuse(),
        }
    }
    if let Some(user) = node.text_of("user") {
        set_user(unit, user);
    }
    let umask = node.text_of("umask").or_else(|| all?.text_of("umask"));
    unit.umask = umask.map(|text| format!("{text:0>3}"));
    lifetime(unit, node);
}

fn lifetime(unit: &mut Unit, node: &Node) {
    unit.disabled = node.text_of("autostart").is_some_and(is_false);
    if node
        .peek_at("autostart")
        .is_some_and(|text| !is_true(text) && !is_false(text))
    {
        node.refuse_at(&["autostart"]);
    }
    let starts = node.text_of("startsecs");
    let start_ms = starts.and_then(seconds_ms);
    if starts.is_some() && start_ms.is_none() {
        node.refuse_at(&["startsecs"]);
    }
    unit.min_uptime_ms = start_ms.filter(|ms| *ms > 0);
    let codes = node.text_of("exitcodes");
    let codes: Vec<i32> = codes
        .unwrap_or("0")
        .split(',')
        .filter_map(|code| code.trim().parse().ok())
        .collect();
    let said = node.get("exitcodes").is_some();
    match node.text_of("autorestart") {
        None | Some("unexpected") => {
            unit.restart = Some("on-failure");
            if said || start_ms == Some(0) {
                unit.success = codes;
            }
        }
        Some(text) if is_true(text) => {
            unit.restart = Some("always");
            if said {
                node.refuse_at(&["exitcodes"]);
            }
        }
        Some(text) if is_false(text) => {
            unit.restart = Some("never");
            unit.success = codes;
        }
        Some(_) => {
            node.refuse_at(&["autorestart"]);
            unit.restart = Some("on-failure");
        }
    }
    if let Some(text) = node.text_of("startretries") {
        match text.parse::<u32>() {
            Ok(max) if unit.restart != Some("never") => unit.restart_max = Some(max.min(1000)),
            _ => node.refuse_at(&["startretries"]),
        }
    }
    if let Some(text) = node.text_of("stopsignal") {
        unit.stop_signal = signal(text);
        if unit.stop_signal.is_none() {
            node.refuse_at(&["stopsignal"]);
        }
    }
    if let Some(text) = node.text_of("stopwaitsecs") {
        unit.stop_timeout_ms = seconds_ms(text);
        if unit.stop_timeout_ms.is_none() {
            node.refuse_at(&["stopwaitsecs"]);
        }
    }
    // A stop always reaches the whole group here.
    for key in ["stopasgroup", "killasgroup"] {
        if node.text_of(key).is_some_and(|text| !is_true(text)) {
            node.refuse_at(&[key]);
        }
    }
}

fn is_true(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "1" | "yes" | "on"
    )
}

fn is_false(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "false" | "0" | "no" | "off"
    )
}

/// `A="1",B=2`; `None` if it is something else.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let (value, after) = after[1..].split_once(quote)?;
                (value.to_owned(), after)
            }
            _ => {
                let end = after.find([',', '\n']).unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        pairs.push((name.trim().to_owned(), value));
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Some(pairs)
}

/// Names the group of each program.
fn groups(sections: &[Section], units: &mut Units) {
    for section in sections {
        let Some(group) = section.name.strip_prefix("group:") else {
            continue;
        };
        for program in section.node.text_of("programs").unwrap_or("").split(',') {
            let program = program.trim();
            for unit in units.units.iter_mut().filter(|unit| unit.name == program) {
                unit.notes
                    .push(Note::sure(format!("of the group {}", plain(group))));
            }
        }
    }
}

/// What has a lower priority is started before, as there.
fn order(orders: &mut [(i64, usize)], units: &mut [Unit]) {
    orders.sort_unstable();
    let mut by_priority: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (priority, at) in orders.iter() {
        by_priority.entry(*priority).or_default().push(*at);
    }
    let mut before: Vec<String> = Vec::new();
    for members in by_priority.values() {
        for at in members {
            for name in &before {
                units[*at].after.push(name.clone());
                units[*at].needs.push((name.clone(), "started"));
            }
        }
        let running = members
            .iter()
            .filter(|at| !units[**at].disabled && !units[**at].run.is_empty());
        let names: Vec<String> = running
            .map(|at| units[*at].name.clone())
            .take(BEFORE_MAX)
            .collect();
        if !names.is_empty() {
            before = names;
        }
    }
}

#[cfg(test)]
mod tests;
