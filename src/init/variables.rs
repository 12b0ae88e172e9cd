//! The variables that the application reads: required or not, of which kind, with which default.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{ApplicationCode, is_side};
use super::draft::{Note, Reference, VarDraft};
use super::text::{holds_credential, is_secret_name, is_variable_name, plain};
use crate::manifest::{EnvFile, Var, VarKind};
use crate::source::{EnvRead, Guard, ValueKind};

/// A manifest may declare 1000; the rest is for a person.
const VARS_MAX: usize = 900;
/// Places that a comment names.
const PLACES_SHOWN_MAX: usize = 2;
/// Longest default that is written.
const DEFAULT_BYTES_MAX: usize = 500;
/// Entries of an example file that nothing reads and that are written.
const EXAMPLE_ENTRIES_MAX: usize = 2000;
/// Choices that are written.
const CHOICES_MAX: usize = 200;
/// Set by the host, a shell or the interpreter, not by the application's configuration.
const OF_THE_HOST: [&str; 24] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "LANG",
    "LC_ALL",
    "TZ",
    "TERM",
    "TMPDIR",
    "TMP",
    "TEMP",
    "HOSTNAME",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "VIRTUAL_ENV",
    "CI",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "EDITOR",
];

/// What the environment files say. Values are looked at, and those of `current` are never written.
#[derive(Debug, Default)]
pub(super) struct EnvFiles {
    /// Name of the example file, and what is in it.
    pub example: Option<(String, EnvFile)>,
    /// Effective values.
    pub current: BTreeMap<String, String>,
}

impl EnvFiles {
    fn in_example(&self, name: &str) -> Option<(&str, u32, &str)> {
        let (file, example) = self.example.as_ref()?;
        let entry = example.entries.iter().rfind(|entry| entry.name == name)?;
        Some((file, entry.line, entry.value.as_str()))
    }
}

/// Every variable, by name.
pub(super) fn variables(
    code: &ApplicationCode<'_>,
    entries: &[String],
    env: &EnvFiles,
    references: &[Reference],
) -> Vec<VarDraft> {
    let at_import = code.reached(entries, false);
    let ever = code.reached(entries, true);
    let mut reads: BTreeMap<&str, Vec<&EnvRead>> = BTreeMap::new();
    for read in &code.facts.env_reads {
        let name = read.name.as_str();
        if !is_side(&read.place.file) && is_variable_name(name) && !OF_THE_HOST.contains(&name) {
            reads.entry(name).or_default().push(read);
        }
    }
    let mut vars: BTreeMap<String, VarDraft> = BTreeMap::new();
    for (name, reads) in reads {
        let reach = Reach {
            code,
            at_import: &at_import,
            ever: &ever,
            known: !entries.is_empty(),
        };
        vars.insert(name.to_owned(), of_reads(name, &reads, &reach, env));
    }
    for reference in references {
        let name = reference.name.as_str();
        if !is_variable_name(name) || OF_THE_HOST.contains(&name) {
            continue;
        }
        let var = vars
            .entry(name.to_owned())
            .or_insert_with(|| start(name, env));
        var.required |= reference.required;
        var.file = None;
        let default = reference.default.as_deref().unwrap_or("");
        if var.default.is_none() && !default.is_empty() {
            offer_default(var, default, "");
        }
        let used = format!("used in {}", reference.origin);
        if !reference.origin.is_empty() && var.notes.iter().all(|note| note.text != used) {
            var.notes.push(Note::sure(used));
        }
    }
    for var in vars.values_mut() {
        settle(var, env);
    }
    let mut list: Vec<VarDraft> = vars.into_values().collect();
    if let Some((file, example)) = &env.example {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let names: BTreeSet<String> = list.iter().map(|var| var.name.clone()).collect();
        for entry in example.entries.iter().take(EXAMPLE_ENTRIES_MAX) {
            let name = entry.name.as_str();
            if names.contains(name) || !is_variable_name(name) || !seen.insert(name) {
                continue;
            }
            let mut var = start(name, env);
            settle(&mut var, env);
            var.active = false;
            var.notes = vec![Note::unsure(format!(
                "in {file}:{}, but nothing was seen to read it",
                entry.line
            ))];
            list.push(var);
        }
    }
    for var in list.iter_mut().skip(VARS_MAX) {
        var.active = false;
    }
    list.truncate(2 * VARS_MAX);
    list
}

fn start(name: &str, env: &EnvFiles) -> VarDraft {
    let example = env.in_example(name).map_or("", |(_, _, value)| value);
    VarDraft {
        name: name.to_owned(),
        secret: is_secret_name(name) || holds_credential(example),
        active: true,
        ..VarDraft::default()
    }
}

struct Reach<'a> {
    code: &'a ApplicationCode<'a>,
    at_import: &'a BTreeSet<&'a str>,
    ever: &'a BTreeSet<&'a str>,
    /// It is known what the application starts with.
    known: bool,
}

impl Reach<'_> {
    /// 0: read whenever the application starts; 1: when one of its functions runs; 2: perhaps never.
    fn distance(&self, read: &EnvRead) -> u8 {
        let module = self.code.module_of(&read.place.file).unwrap_or("");
        let early = matches!(read.guard, Guard::Always);
        match (early, self.known) {
            (true, true) if self.at_import.contains(module) => 0,
            (_, true) if self.ever.contains(module) => 1,
            _ => 2,
        }
    }
}

fn of_reads(name: &str, reads: &[&EnvRead], reach: &Reach<'_>, env: &EnvFiles) -> VarDraft {
    let mut var = start(name, env);
    var.secret |= reads.iter().any(|read| read.secret);
    let mut reads = reads.to_vec();
    reads.sort_by_key(|read| (reach.distance(read), read.place.clone()));
    let mut aliases: Vec<&str> = Vec::new();
    for read in &reads {
        for alias in &read.aliases {
            if alias != name && !aliases.contains(&alias.as_str()) {
                aliases.push(alias);
            }
        }
    }
    let needed: Vec<&&EnvRead> = reads.iter().filter(|read| read.required).collect();
    var.required = aliases.is_empty() && needed.iter().any(|read| reach.distance(read) == 0);
    let places: Vec<String> = reads
        .iter()
        .map(|read| format!("{}:{}", plain(&read.place.file), read.place.line))
        .collect();
    let files: BTreeSet<&str> = reads.iter().map(|read| read.place.file.as_str()).collect();
    if let (1, Some(file)) = (files.len(), files.first()) {
        var.file = Some(plain(file));
    }
    let shown = places.len().min(PLACES_SHOWN_MAX);
    let more = match places.len() - shown {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    var.notes.push(Note::sure(format!(
        "read in {}{more}",
        places[..shown].join(", ")
    )));
    if !aliases.is_empty() {
        let names: Vec<String> = aliases.iter().map(|name| plain(name)).collect();
        var.notes.push(Note::unsure(format!(
            "{} is read instead if it is set, so this one is not required",
            names.join(" or ")
        )));
    } else if !var.required
        && let Some(read) = needed.first()
    {
        var.notes.push(Note::unsure(format!(
            "{}:{} needs it, but it was not seen to run whenever the application starts; if it does, write required = true",
            plain(&read.place.file),
            read.place.line
        )));
    }
    let kinds: BTreeSet<&'static str> = reads.iter().map(|read| word(kind_of(read.kind))).collect();
    // A read that says nothing about the kind does not contradict one that does.
    let said: Vec<VarKind> = reads
        .iter()
        .map(|read| kind_of(read.kind))
        .filter(|kind| *kind != VarKind::String)
        .collect();
    if let Some(first) = said.first()
        && kinds.iter().filter(|kind| **kind != "string").count() == 1
    {
        var.kind = *first;
    }
    let mut choices = reads.iter().filter(|read| !read.one_of.is_empty());
    if let Some(first) = choices.next()
        && choices.all(|other| other.one_of == first.one_of)
        && var.kind == VarKind::String
        && !var.secret
    {
        var.kind = VarKind::Enum;
        var.one_of.clone_from(&first.one_of);
    }
    let default = reads
        .iter()
        .filter_map(|read| read.default.as_deref())
        .find(|default| !default.is_empty());
    if let Some(default) = default {
        offer_default(&mut var, default, "");
    }
    var
}

/// Takes a default, unless it is a secret.
fn offer_default(var: &mut VarDraft, default: &str, from: &str) {
    if holds_credential(default) {
        var.secret = true;
        var.notes.push(Note::sure(
            "its default holds a password, which is not repeated here",
        ));
    } else if !var.secret
        && default.len() <= DEFAULT_BYTES_MAX
        && !default.contains(char::is_control)
        && !is_placeholder(default)
    {
        var.default = Some(default.to_owned());
        if !from.is_empty() {
            var.notes.push(Note::sure(format!("default from {from}")));
        }
    }
}

/// What an example file writes where a value belongs.
fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    value.contains(['<', '>', '…'])
        || lower.contains("...")
        || [
            "change",
            "your",
            "xxx",
            "todo",
            "replace",
            "example",
            "secret",
            "password",
            "placeholder",
        ]
        .iter()
        .any(|word| {
            lower.starts_with(word)
                || lower.contains(&format!("{word}-"))
                || lower.contains(&format!("{word}_"))
        })
        || lower.contains("example.com")
        || lower.contains("example.org")
}

/// The default of the example file, the kind that defaults and names tell, and whether the parser and
/// the present value agree with it.
fn settle(var: &mut VarDraft, env: &EnvFiles) {
    let example = env.in_example(&var.name);
    if var.default.is_none()
        && let Some((file, line, value)) = example
        && !value.is_empty()
    {
        let from = format!("{file}:{line}");
        offer_default(var, value, &from);
    }
    if var.secret {
        var.default = None;
        if matches!(var.kind, VarKind::Enum | VarKind::Bool) {
            var.kind = VarKind::String;
            var.one_of.clear();
        }
    }
    let said = var.kind;
    let sample = var
        .default
        .as_deref()
        .or(example.map(|(_, _, value)| value))
        .unwrap_or("");
    if var.kind == VarKind::String {
        var.kind = guess(&var.name, sample);
    }
    let is_port = var.name == "PORT" || var.name.ends_with("_PORT");
    if var.kind == VarKind::Int && is_port && var.default.as_deref() != Some("0") {
        var.range = Some((1, 65535));
    }
    let guessed = var.kind != said || var.range.is_some();
    let current = env.current.get(&var.name);
    let fits = |var: &VarDraft, value: &str| declared(var).check(value).is_ok();
    if guessed && current.is_some_and(|value| !value.is_empty() && !fits(var, value)) {
        var.kind = said;
        var.range = None;
        var.notes.push(Note::unsure(
            "its present value is not of the kind that its default has; kind left open",
        ));
    } else if guessed && var.kind != said {
        var.notes
            .push(Note::sure("kind guessed from its default or name"));
    }
    if let Some(default) = var.default.take() {
        if fits(var, &default) {
            var.default = Some(default);
        } else {
            var.notes.push(Note::unsure(
                "its default is not of its kind, so it is not repeated here",
            ));
        }
    }
    let odd = |choice: &String| choice.is_empty() || choice.contains(char::is_control);
    if var.one_of.iter().any(odd) || var.one_of.len() > CHOICES_MAX {
        var.one_of.clear();
        if var.kind == VarKind::Enum {
            var.kind = VarKind::String;
        }
    }
}

fn declared(var: &VarDraft) -> Var {
    Var {
        kind: var.kind,
        min: var.range.map(|(min, _)| f64::from(min)),
        max: var.range.map(|(_, max)| f64::from(max)),
        one_of: var.one_of.clone(),
        ..Var::default()
    }
}

fn guess(name: &str, sample: &str) -> VarKind {
    let is_number = !sample.is_empty()
        && sample.len() < 10
        && sample.bytes().all(|b| b.is_ascii_digit())
        && (sample == "0" || !sample.starts_with('0'));
    if sample.contains("://") && VarKind::Url.check(sample).is_ok() {
        VarKind::Url
    } else if is_number && !name.ends_with("_ID") {
        VarKind::Int
    } else if matches!(sample.to_ascii_lowercase().as_str(), "true" | "false") {
        VarKind::Bool
    } else {
        VarKind::String
    }
}

fn kind_of(kind: ValueKind) -> VarKind {
    match kind {
        ValueKind::String => VarKind::String,
        ValueKind::Int => VarKind::Int,
        ValueKind::Float => VarKind::Float,
        ValueKind::Bool => VarKind::Bool,
        ValueKind::Url => VarKind::Url,
        ValueKind::Path => VarKind::Path,
        ValueKind::Duration => VarKind::Duration,
    }
}

/// The word of a manifest for a kind.
pub(super) fn word(kind: VarKind) -> &'static str {
    match kind {
        VarKind::String => "string",
        VarKind::Int => "int",
        VarKind::Float => "float",
        VarKind::Bool => "bool",
        VarKind::Url => "url",
        VarKind::Path => "path",
        VarKind::Enum => "enum",
        VarKind::Duration => "duration",
    }
}

#[cfg(test)]
mod tests;
