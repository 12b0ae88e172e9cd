//! Findings, check reports and the GO / NO-GO decision.
//!
//! A check says what it saw; [`decide_go`] says what follows from it. Both are pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::code::Code;
use super::remedy::{Cause, Remedy};
pub use super::severity::Severity;

/// The pre-flight checks, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckName {
    /// Variables, environment files, secrets.
    Config,
    /// Live database against the schema that the code expects.
    Schema,
    /// Each layer dry-run in isolation.
    Rehearsal,
    /// Routes that the application serves against the services declared.
    Registration,
    /// The `[[check]]`s of the manifest, together. Part of a plan if the manifest has one.
    // Last: frames hold the positions.
    Declared,
}

impl CheckName {
    /// The four that every manifest has, in the order of the report.
    pub const ALL: [Self; 4] = [
        Self::Config,
        Self::Schema,
        Self::Rehearsal,
        Self::Registration,
    ];

    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Schema => "schema",
            Self::Rehearsal => "rehearsal",
            Self::Registration => "registration",
            Self::Declared => "declared",
        }
    }

    /// The title, as in the report.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Config => "Configuration & Secrets",
            Self::Schema => "Schema Integrity",
            Self::Rehearsal => "Dependency Health (Rehearsal)",
            Self::Registration => "Service Registration",
            Self::Declared => "Declared Checks",
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a finding is, relative to the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// File, relative to the workspace where it lies in it.
    pub file: String,
    /// 1-based; 0 where the whole file is meant.
    pub line: u32,
    /// 1-based, in characters; 0 where the whole line is meant.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str(&self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

/// One defect that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// Stable, `check.defect`: `schema.missing_column`.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a variable, `table.column`, a layer, a service.
    pub subject: String,
    /// One sentence for a person.
    pub message: String,
    /// Where, if known.
    pub location: Option<Location>,
    /// What to do, if known; one sentence.
    pub remedy: Option<String>,
    /// The layer that cannot start because of it, if it is one layer's.
    pub layer: Option<String>,
    /// The error in full (a traceback), redacted and bounded; empty if there is none.
    pub detail: String,
    /// What a fixer can do about it.
    #[serde(default)]
    pub fix: Option<Remedy>,
    /// What signs the failure beside code and subject.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// What describes it, as the check measured it: `table`, `file`, `line` ...
    pub facts: BTreeMap<String, String>,
}

impl Finding {
    /// A finding of the code's own severity.
    #[must_use]
    pub(crate) fn of(code: Code, subject: impl Into<String>, message: impl Into<String>) -> Self {
        let severity = code.severity();
        Self::new(code, severity, subject, message)
    }

    /// A finding with code, severity, subject and message; the rest is added by the other methods.
    #[must_use]
    pub fn new(
        code: impl Into<Code>,
        severity: Severity,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code: code.into(),
            severity,
            subject: subject.into(),
            message: message.into(),
            location: None,
            remedy: None,
            layer: None,
            detail: String::new(),
            fix: None,
            cause: None,
            facts: BTreeMap::new(),
        }
    }

    /// With this place.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, line: u32, column: u32) -> Self {
        self.location = Some(Location {
            file: file.into(),
            line,
            column,
        });
        self
    }

    /// With this advice.
    #[must_use]
    pub fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy = Some(text.into());
        self
    }

    /// With this for a fixer to do.
    #[must_use]
    pub fn fix(mut self, fix: Remedy) -> Self {
        self.fix = Some(fix);
        self
    }

    /// Signed by this.
    #[must_use]
    pub fn cause(mut self, cause: Cause) -> Self {
        self.cause = Some(cause);
        self
    }

    /// With this fact.
    #[must_use]
    pub fn fact(mut self, key: &str, value: impl Into<String>) -> Self {
        self.facts.insert(key.to_owned(), value.into());
        self
    }
}

/// What a check concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckStatus {
    /// Nothing in the manifest asks for it.
    Skipped,
    /// No finding above `info`.
    Healthy,
    /// The worst finding is a warning.
    Warning,
    /// The worst finding is critical.
    Critical,
    /// The check itself could not be carried out; counts as critical.
    Error,
}

impl CheckStatus {
    /// The status that follows from the findings alone.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Self {
        match findings.iter().map(|f| f.severity).max() {
            Some(Severity::Critical) => Self::Critical,
            Some(Severity::Warning) => Self::Warning,
            _ => Self::Healthy,
        }
    }

    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Error => "error",
        }
    }

    /// The boot cannot go on.
    #[must_use]
    pub fn blocks(self) -> bool {
        self >= Self::Critical
    }
}

/// How the dry run of one layer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RehearsalOutcome {
    /// Everything imported and ran.
    Pass,
    /// It ran, with something to mend.
    Degraded,
    /// The layer cannot start.
    Failed,
}

/// The dry run of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerRehearsal {
    /// Name of the layer.
    pub layer: String,
    /// How it ended.
    pub outcome: RehearsalOutcome,
    /// Wall time.
    pub duration_ms: u64,
    /// What else was seen, for who asked for the check. Not part of the event, whose layout is as it was:
    /// a report that comes from the log has none.
    #[serde(skip)]
    pub seen: Option<DryRun>,
}

/// What was seen of one dry run beside how it ended; bounded and clean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[non_exhaustive]
pub struct DryRun {
    /// The modules that took the longest, without what they import, as `-X importtime` counts.
    pub slowest_modules: Vec<ModuleTime>,
    /// The last lines that it printed.
    pub printed: Vec<String>,
    /// What a dry run should not do.
    pub side_effects: Vec<SideEffect>,
    /// The application's own files that were imported, relative to the workspace; empty if that is not known.
    #[serde(skip)]
    pub(crate) files: Vec<String>,
}

/// Time of one module's import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModuleTime {
    /// Dotted name.
    pub module: String,
    /// Its own time.
    pub self_ms: u64,
}

/// Something that an import or a call did beside defining things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SideEffect {
    /// `thread`, `process`, `connect`, `resolve`, `listen`, `write`.
    pub kind: String,
    /// What exactly: a command, an address, a file, a thread's name.
    pub what: String,
    /// The application's own frame.
    pub location: Option<Location>,
    /// The package whose code did it; none if it was the application's own.
    pub package: Option<String>,
}

/// What a check measured beside its findings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Measured {
    /// Nothing.
    #[default]
    Nothing,
    /// `config`.
    Config {
        /// Variables declared.
        declared: u32,
        /// Declared variables that have a value.
        present: u32,
    },
    /// `schema`.
    Schema {
        /// Tables that the code expects.
        tables_expected: u32,
        /// Tables in the live database.
        tables_live: u32,
    },
    /// `rehearsal`.
    Rehearsal {
        /// Layers dry-run.
        layers_tested: u32,
        /// Layers that passed.
        layers_passed: u32,
        /// One sentence for each problem.
        issues: Vec<String>,
        /// Each layer, in the order of the manifest.
        layers: Vec<LayerRehearsal>,
        /// What the sandbox isolated, and what it could not.
        isolation: Vec<String>,
    },
    /// `registration`.
    Registration {
        /// Services declared.
        expected: u32,
        /// Declared services with a route.
        mounted: u32,
        /// Routes of the application.
        routes: u32,
        /// `mounted / expected` in thousandths (integer, so that frames compare exactly).
        coverage_per_mille: u32,
    },
    /// `declared`.
    // Last: frames hold the positions.
    Declared {
        /// Each `[[check]]` of this run, in the order of the manifest.
        checks: Vec<DeclaredRun>,
    },
}

/// What one `[[check]]` came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeclaredRun {
    /// Its name.
    pub name: String,
    /// What it concluded.
    pub status: CheckStatus,
    /// Wall time.
    pub duration_ms: u64,
    /// Results that it gave: tests, lines, runs; 0 if it did not say.
    pub results: u32,
    /// One line for a person.
    pub summary: String,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Which check.
    pub name: CheckName,
    /// What it concluded.
    pub status: CheckStatus,
    /// Wall time.
    pub duration_ms: u64,
    /// One line for a person.
    pub summary: String,
    /// What it found, worst first.
    pub findings: Vec<Finding>,
    /// What it measured.
    pub measured: Measured,
}

impl CheckReport {
    /// Layers that this check says cannot start.
    pub fn failed_layers(&self) -> impl Iterator<Item = &str> {
        let layers = match &self.measured {
            Measured::Rehearsal { layers, .. } => layers.as_slice(),
            _ => &[],
        };
        layers
            .iter()
            .filter(|l| l.outcome == RehearsalOutcome::Failed)
            .map(|l| l.layer.as_str())
    }

    /// The declared check whose findings have this code came to a result here.
    pub(crate) fn has_asked(&self, code: &Code) -> bool {
        let Measured::Declared { checks } = &self.measured else {
            return false;
        };
        checks.iter().any(|run| {
            code.declared_check() == Some(run.name.as_str())
                && !matches!(run.status, CheckStatus::Skipped | CheckStatus::Error)
        })
    }
}

/// The verdict of a pre-flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Everything may start.
    Go,
    /// The critical layers may start; at least one optional layer may not.
    GoDegraded,
    /// Nothing starts.
    NoGo,
    /// Everything may start, and no check looked at anything.
    // Last: frames of version 1 hold the position.
    GoUnproven,
}

impl Decision {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::GoDegraded => "go_degraded",
            Self::NoGo => "no_go",
            Self::GoUnproven => "go_unproven",
        }
    }

    /// As a person says it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Go => "GO",
            Self::GoDegraded => "GO (degraded)",
            Self::NoGo => "NO-GO",
            Self::GoUnproven => "GO (unproven)",
        }
    }
}

/// NO-GO if a check blocks; degraded if a layer failed its rehearsal (it is then an optional one,
/// because a critical layer's failure blocks); unproven if no check looked at anything; GO otherwise.
pub(crate) fn decide_go<'a>(reports: impl IntoIterator<Item = &'a CheckReport>) -> Decision {
    let mut decision = Decision::GoUnproven;
    for report in reports {
        if report.status != CheckStatus::Skipped && decision == Decision::GoUnproven {
            decision = Decision::Go;
        }
        if report.status.blocks() {
            return Decision::NoGo;
        }
        if report.failed_layers().next().is_some() {
            decision = Decision::GoDegraded;
        }
    }
    decision
}

/// What to add to the manifest where no check looked at anything.
pub(crate) const UNPROVEN: &str = "no check looked at anything: declare variables ([config.vars]), databases \
    ([[schema]]), imports (`rehearse` of a layer) or routes ([registration])";

/// What stands in front of the state of the vault in the summary of the config check.
pub(crate) const VAULT_STATE: &str = "; secrets vault: ";

/// What a decision rests on: `3 of 4 checks; not looked at: schema, the manifest has no [[schema]] section`.
/// Of several only the names: the report of each says why.
pub(crate) fn grounds<'a>(reports: impl IntoIterator<Item = &'a CheckReport>) -> String {
    let reports: Vec<&CheckReport> = reports.into_iter().collect();
    let is_skipped = |report: &&&CheckReport| report.status == CheckStatus::Skipped;
    let skipped: Vec<&&CheckReport> = reports.iter().filter(is_skipped).collect();
    let all = reports.len();
    let not_looked_at = match skipped.as_slice() {
        [] => return format!("{all} of {all} checks"),
        [one] if !one.summary.is_empty() => format!("{}, {}", one.name, one.summary),
        several => {
            let names: Vec<&str> = several.iter().map(|report| report.name.as_str()).collect();
            names.join(", ")
        }
    };
    format!(
        "{} of {all} checks; not looked at: {not_looked_at}",
        all - skipped.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: CheckStatus) -> CheckReport {
        CheckReport {
            name: CheckName::Rehearsal,
            status,
            duration_ms: 1,
            summary: String::new(),
            findings: vec![],
            measured: Measured::Nothing,
        }
    }

    #[test]
    fn where_nothing_was_looked_at_nothing_is_proved() {
        let skipped = [report(CheckStatus::Skipped), report(CheckStatus::Skipped)];
        assert_eq!(decide_go(&skipped), Decision::GoUnproven);
        let one = [report(CheckStatus::Skipped), report(CheckStatus::Healthy)];
        assert_eq!(decide_go(&one), Decision::Go);
        assert_eq!(grounds(&one), "1 of 2 checks; not looked at: rehearsal");
        let mut why = one;
        why[0].summary = "no layer has `rehearse`".into();
        assert_eq!(
            grounds(&why),
            "1 of 2 checks; not looked at: rehearsal, no layer has `rehearse`"
        );
    }

    #[test]
    fn one_blocking_check_is_no_go() {
        let reports = [report(CheckStatus::Healthy), report(CheckStatus::Error)];
        assert_eq!(decide_go(&reports), Decision::NoGo);
    }

    #[test]
    fn a_failed_optional_layer_is_go_degraded_and_a_warning_alone_is_go() {
        assert_eq!(decide_go(&[report(CheckStatus::Warning)]), Decision::Go);
        let mut degraded = report(CheckStatus::Warning);
        degraded.measured = Measured::Rehearsal {
            layers_tested: 1,
            layers_passed: 0,
            issues: vec![],
            layers: vec![LayerRehearsal {
                layer: "ingestion".into(),
                outcome: RehearsalOutcome::Failed,
                duration_ms: 3,
                seen: None,
            }],
            isolation: vec![],
        };
        assert_eq!(decide_go(&[degraded]), Decision::GoDegraded);
    }
}
