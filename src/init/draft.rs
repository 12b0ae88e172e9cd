//! What a manifest is going to say, with a note on where each thing comes from; and the services that the
//! files of other process managers describe, before they become layers.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde::Serialize;

use super::files::Files;
use super::text::plain;
use super::yaml::{BadYaml, Node, parse};
use crate::manifest::VarKind;

/// Processes of one service that are written out.
pub(super) const REPLICAS_MAX: usize = 20;
/// One comment has room for so much.
const NOT_CARRIED_BYTES_MAX: usize = 400;

/// A remark in the written file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// A person should look at it.
    pub unsure: bool,
    /// It names what was not carried over; the summary lists that by itself.
    pub not_carried: bool,
    pub text: String,
}

impl Note {
    pub(super) fn sure(text: impl Into<String>) -> Self {
        Self {
            unsure: false,
            not_carried: false,
            text: text.into(),
        }
    }

    pub(super) fn unsure(text: impl Into<String>) -> Self {
        Self {
            unsure: true,
            not_carried: false,
            text: text.into(),
        }
    }

    /// `what` has no counterpart in a manifest.
    pub(super) fn not_carried(what: &str) -> Self {
        Self {
            not_carried: true,
            ..Self::unsure(format!("not carried over{what}"))
        }
    }
}

/// Something to look at.
#[derive(Debug, Serialize)]
pub(crate) struct Unsure {
    /// The part of the manifest.
    pub subject: String,
    /// What is not sure.
    pub message: String,
    /// `not_carried` says it too.
    #[serde(skip)]
    pub not_carried: bool,
}

/// A whole manifest.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub name: String,
    pub name_notes: Vec<Note>,
    pub python: PythonDraft,
    pub config: ConfigDraft,
    pub schemas: Vec<SchemaDraft>,
    pub schema_notes: Vec<Note>,
    pub registration: Option<RegistrationDraft>,
    pub registration_notes: Vec<Note>,
    pub layers: Vec<LayerDraft>,
    pub layer_notes: Vec<Note>,
}

/// `[python]`.
#[derive(Debug, Clone, Default)]
pub(super) struct PythonDraft {
    pub interpreter: Option<String>,
    /// Empty: the default.
    pub path: Vec<String>,
    pub requirements: Option<String>,
    pub notes: Vec<Note>,
}

/// `[config]`.
#[derive(Debug, Clone, Default)]
pub(super) struct ConfigDraft {
    /// Empty: the default.
    pub files: Vec<String>,
    pub example: Option<String>,
    pub vars: Vec<VarDraft>,
    pub notes: Vec<Note>,
}

/// `[config.vars.NAME]`.
#[derive(Debug, Clone, Default)]
pub(super) struct VarDraft {
    pub name: String,
    pub required: bool,
    pub secret: bool,
    pub kind: VarKind,
    /// Both ends, for a port.
    pub range: Option<(u32, u32)>,
    pub one_of: Vec<String>,
    pub default: Option<String>,
    /// The file that reads it, if no other file has to do with it.
    pub file: Option<String>,
    /// False: written as a comment.
    pub active: bool,
    pub notes: Vec<Note>,
}

/// `[[schema]]`.
#[derive(Debug, Clone, Default)]
pub(super) struct SchemaDraft {
    pub name: String,
    pub database: String,
    pub expect: String,
    /// Compared when all migrations are applied.
    pub models: Option<String>,
    pub ignore: Vec<String>,
    pub active: bool,
    pub notes: Vec<Note>,
}

/// `[registration]`.
#[derive(Debug, Clone, Default)]
pub(super) struct RegistrationDraft {
    pub app: String,
    /// Name and prefix.
    pub services: Vec<(String, String)>,
    pub active: bool,
    pub notes: Vec<Note>,
}

/// `[[layer]]`, with at most one service.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerDraft {
    pub name: String,
    /// Names of layers.
    pub after: Vec<String>,
    pub imports: Vec<String>,
    /// The dry run tries the start-up too.
    pub startup: bool,
    pub service: Option<Unit>,
    pub active: bool,
    /// The boot may go on without it.
    pub optional: bool,
    pub notes: Vec<Note>,
}

/// What a probe tests, in the manifest's own syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Http(String),
    Tcp(String),
    Exec(Vec<String>),
    /// A line of its output: a pattern.
    Log(String),
    /// `READY=1`.
    Notify,
}

/// A health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProbeDraft {
    pub test: Test,
    pub interval_ms: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub failures: Option<u32>,
    pub delay_ms: Option<u64>,
    pub successes: Option<u32>,
    /// The right statuses.
    pub status: Vec<u16>,
    pub headers: Vec<(String, String)>,
}

impl ProbeDraft {
    pub(super) fn of(test: Test) -> Self {
        Self {
            test,
            interval_ms: None,
            timeout_ms: None,
            failures: None,
            delay_ms: None,
            successes: None,
            status: Vec::new(),
            headers: Vec::new(),
        }
    }
}

/// A service as another process manager's file describes it. All texts are in the manifest's own syntax.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// As the other file calls it.
    pub name: String,
    /// File and line.
    pub origin: String,
    /// Empty: not known.
    pub run: Vec<String>,
    pub cwd: Option<String>,
    pub env: Vec<(String, String)>,
    /// Names of other units.
    pub after: Vec<String>,
    pub ready: Option<ProbeDraft>,
    pub live: Option<ProbeDraft>,
    /// Conditions other than "ready", which `after` says: `started`, `completed`, `logged`.
    pub needs: Vec<(String, &'static str)>,
    /// Environment files, and whether they may be missing.
    pub env_file: Vec<(String, bool)>,
    pub user: Option<String>,
    pub umask: Option<String>,
    /// Keys of `limits`, with the value as TOML writes it.
    pub limits: Vec<(&'static str, String)>,
    pub restart: Option<&'static str>,
    pub restart_max: Option<u32>,
    pub restart_backoff_ms: Option<u64>,
    /// If the wait grows.
    pub restart_max_backoff_ms: Option<u64>,
    pub restart_reset_ms: Option<u64>,
    /// Statuses that mean that it is done.
    pub success: Vec<i32>,
    pub min_uptime_ms: Option<u64>,
    /// Longest time of a task.
    pub timeout_ms: Option<u64>,
    pub on_end_stop: bool,
    pub disabled: bool,
    /// It starts only with one of these.
    pub profiles: Vec<String>,
    pub stop_signal: Option<String>,
    pub stop_command: Vec<String>,
    pub stop_timeout_ms: Option<u64>,
    pub oneshot: bool,
    /// It may fail without harm, as its file says.
    pub optional: bool,
    /// What its file says and a manifest cannot, by key.
    pub left: Vec<String>,
    /// The port where it listens, as far as its file tells.
    pub port: Option<String>,
    /// An image that others made: its name, and the port on this host where it is reached.
    pub image: Option<(String, Option<String>)>,
    pub notes: Vec<Note>,
}

impl Unit {
    /// Nothing starts it by itself.
    pub(super) fn is_held_back(&self) -> bool {
        self.disabled || !self.profiles.is_empty()
    }

    /// A task: nothing probes it, and it is not started again.
    pub(super) fn run_once(&mut self) {
        self.oneshot = true;
        if self.ready.is_some() || self.live.is_some() {
            self.notes.push(Note::unsure(
                "its health check was left out: it runs to its end before others begin",
            ));
        }
        if self.restart.is_some_and(|policy| policy != "never") {
            self.notes.push(Note::unsure(
                "its restart policy was left out: it runs to its end before others begin",
            ));
        }
        (self.ready, self.live, self.restart) = (None, None, None);
    }

    /// As often as its file says: the first one keeps its name, `number` is the variable that tells them apart.
    pub(super) fn replicas(self, count: usize, number: Option<&str>) -> Vec<Self> {
        let count = count.clamp(1, REPLICAS_MAX);
        let mut all: Vec<Self> = Vec::new();
        for at in 0..count {
            let mut one = self.clone();
            if at > 0 {
                one.name = format!("{}-{at}", self.name);
                // What is told of the first one is not told again.
                (one.notes, one.left) = (Vec::new(), Vec::new());
            }
            if let Some(name) = number.filter(|_| count > 1) {
                one.env.push((name.to_owned(), at.to_string()));
            }
            all.push(one);
        }
        all
    }

    /// Names what of its file nobody took, in a note and for the summary.
    pub(super) fn leave(&mut self, file: &str, node: &Node) {
        let left = node.left();
        self.notes.extend(not_carried(file, &left));
        self.left
            .extend(left.into_iter().map(|(key, _)| plain(&key)));
    }
}

/// Notes that name keys which a manifest does not have.
pub(super) fn not_carried(file: &str, left: &[(String, u32)]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut text = String::new();
    for (key, line) in left {
        let word = format!("{} (line {line})", plain(key));
        if text.len() + word.len() > NOT_CARRIED_BYTES_MAX && !text.is_empty() {
            notes.push(Note::not_carried(&format!(" from {file}: {text}")));
            text.clear();
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&word);
    }
    if !text.is_empty() {
        notes.push(Note::not_carried(&format!(" from {file}: {text}")));
    }
    notes
}

/// A variable that one of these files refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reference {
    pub name: String,
    pub default: Option<String>,
    /// The file itself insists on it (`${NAME:?message}`).
    pub required: bool,
    /// File and line.
    pub origin: String,
}

/// What such a file gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Units {
    pub units: Vec<Unit>,
    pub references: Vec<Reference>,
    /// Environment files that it names.
    pub env_files: Vec<String>,
    /// The name that it gives to the whole.
    pub name: Option<String>,
    pub notes: Vec<Note>,
    /// Keys beside the services that a manifest does not have.
    pub left: Vec<String>,
    /// The file, as it is named.
    pub file: String,
}

impl Units {
    /// The text of one of its files. Says so if it cannot be read.
    pub(super) fn text(&mut self, files: &Files, name: &str) -> Option<Rc<str>> {
        let text = files.text(name);
        if text.is_none() {
            self.notes
                .push(Note::unsure(format!("{name} could not be read")));
        }
        text
    }

    /// The tree of one of its files of YAML. Says so if there is none.
    pub(super) fn yaml(&mut self, files: &Files, name: &str) -> Option<Node> {
        let text = self.text(files, name)?;
        let wrong = |error: BadYaml| {
            let (line, why) = (error.line, plain(&error.why));
            self.wrong(
                files,
                format!("{name}:{line} is not right: {why}; nothing was taken from it"),
            );
        };
        parse(&text).map_err(wrong).ok()
    }

    /// Says what is wrong with a file, in the manifest and in the summary.
    pub(super) fn wrong(&mut self, files: &Files, why: String) {
        files.message(why.clone());
        self.notes.push(Note::unsure(why));
    }

    /// Names what beside the services nobody took.
    pub(super) fn leave(&mut self, node: &Node) {
        let left = node.left();
        let notes = not_carried(&self.file, &left);
        self.notes.extend(notes);
        self.left
            .extend(left.into_iter().map(|(key, _)| plain(&key)));
    }

    /// These run to their end before others begin: nothing probes them, and they are not started again.
    pub(super) fn run_once(&mut self, names: &BTreeSet<String>) {
        let named = self.units.iter_mut();
        for unit in named.filter(|unit| names.contains(&unit.name)) {
            unit.run_once();
        }
    }
}
