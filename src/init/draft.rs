//! What a manifest is going to say, with a note on where each thing comes from; and the services that the
//! files of other process managers describe, before they become layers.

use std::collections::BTreeSet;

use crate::manifest::VarKind;

/// A remark in the written file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// A person should look at it.
    pub unsure: bool,
    pub text: String,
}

impl Note {
    pub(super) fn sure(text: impl Into<String>) -> Self {
        Self {
            unsure: false,
            text: text.into(),
        }
    }

    pub(super) fn unsure(text: impl Into<String>) -> Self {
        Self {
            unsure: true,
            text: text.into(),
        }
    }
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
    pub notes: Vec<Note>,
}

/// What a probe tests, in the manifest's own syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Http(String),
    Tcp(String),
    Exec(Vec<String>),
}

/// A health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProbeDraft {
    pub test: Test,
    pub interval_ms: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub failures: Option<u32>,
}

impl ProbeDraft {
    pub(super) fn of(test: Test) -> Self {
        Self {
            test,
            interval_ms: None,
            timeout_ms: None,
            failures: None,
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
    pub restart: Option<&'static str>,
    pub restart_max: Option<u32>,
    pub stop_signal: Option<String>,
    pub stop_timeout_ms: Option<u64>,
    pub oneshot: bool,
    /// The port where it listens, as far as its file tells.
    pub port: Option<String>,
    /// An image that others made: its name, and the port on this host where it is reached.
    pub image: Option<(String, Option<String>)>,
    pub notes: Vec<Note>,
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
}

impl Units {
    /// These run to their end before others begin: nothing probes them, and they are not started again.
    pub(super) fn run_once(&mut self, names: &BTreeSet<String>) {
        for unit in &mut self.units {
            if names.contains(&unit.name) {
                unit.oneshot = true;
                (unit.ready, unit.live, unit.restart) = (None, None, None);
            }
        }
    }
}
