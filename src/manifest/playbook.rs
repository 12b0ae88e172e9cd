//! `[[heal.playbook]]`: what the manifest says is to be done about a failure that it describes.

use regex::Regex;

use super::probe_spec::Probe;

/// One `[[heal.playbook]]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Playbook {
    /// As it is called in the log; `playbook-N` if it has no name.
    pub name: String,
    /// What a failure must be like; each by its key, at least one.
    pub conditions: Vec<(MatchKey, Expression)>,
    /// What is done, in order: edits, statements, the command, the wait.
    pub edits: Vec<PlaybookEdit>,
    /// Name of the `[[schema]]`, and the statements.
    pub sql: Option<(String, Vec<String>)>,
    /// Program and arguments, with captures as `${name}`.
    pub run: Vec<String>,
    /// Milliseconds.
    pub wait_ms: u64,
    /// Services that are started again once it is applied, if they run.
    pub restart: Vec<String>,
    /// What must succeed with it; otherwise it is taken back.
    pub verify: Option<Probe>,
    /// What it says of itself; what it does may be riskier.
    pub risk: PlaybookRisk,
    /// How often it is tried for one mission.
    pub attempts: u32,
}

/// What a playbook says that it may endanger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum PlaybookRisk {
    Additive,
    Edit,
    Open,
    Guarded,
    Destructive,
}

/// What of a failure an expression looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatchKey {
    Code,
    Layer,
    Service,
    Error,
    Output,
}

/// One replacement in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaybookEdit {
    pub path: String,
    /// Stands in the file exactly once.
    pub find: String,
    pub replace: String,
}

/// A regular expression that is known to compile.
#[derive(Debug, Clone)]
pub(crate) struct Expression(pub Regex);

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Expression {}

/// The names that stand as `${name}` in the text.
pub(crate) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("${")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('}')?.0))
}
