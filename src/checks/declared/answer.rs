//! What a declared check gives, before it is cleaned: whoever wrote it may be wrong or hostile.

use crate::domain::finding::{Location, Severity};

/// Findings of one declared check that are kept.
pub(super) const FOUND_MAX: usize = 100;

/// What a program left: its exit status and what it printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printed<'a> {
    pub status: i32,
    pub answer: &'a str,
    /// Both streams, for a person.
    pub all: &'a str,
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    /// The last part of the code.
    pub rule: String,
    /// As bad as the manifest says, if the check does not say.
    pub severity: Option<Severity>,
    /// The check itself, if this is empty.
    pub subject: String,
    pub message: String,
    pub location: Option<Location>,
    pub remedy: Option<String>,
    pub detail: String,
}

impl Found {
    pub(super) fn new(rule: &str, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            subject: subject.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    #[must_use]
    pub(super) fn at(mut self, file: &str, line: u64, column: u64) -> Self {
        let number = |number: u64| u32::try_from(number).unwrap_or(0);
        self.location = (!file.is_empty()).then(|| Location {
            file: file.to_owned(),
            line: number(line),
            column: number(column),
        });
        self
    }
}

/// What a check gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub found: Vec<Found>,
    /// Findings beyond [`FOUND_MAX`].
    pub more: usize,
    /// What it looked at: tests, runs; `None` if it does not say.
    pub results: Option<u32>,
    /// It says that it did not look, and why.
    pub skipped: Option<String>,
}

impl Answer {
    pub(super) fn of(found: Vec<Found>) -> Self {
        Self {
            found,
            ..Self::default()
        }
        .bounded()
    }

    pub(super) fn with_results(found: Vec<Found>, results: usize) -> Self {
        Self {
            results: Some(u32::try_from(results).unwrap_or(u32::MAX)),
            ..Self::of(found)
        }
    }

    fn bounded(mut self) -> Self {
        self.more += self.found.len().saturating_sub(FOUND_MAX);
        self.found.truncate(FOUND_MAX);
        self
    }
}

/// The severity that a word of some checker means.
pub(super) fn severity_of(word: &str) -> Option<Severity> {
    Some(match word.to_ascii_lowercase().as_str() {
        "critical" | "fatal" | "error" | "high" | "blocker" | "emergency" => Severity::Critical,
        "warning" | "warn" | "medium" | "moderate" | "major" => Severity::Warning,
        "info" | "information" | "note" | "notice" | "low" | "minor" | "none" | "debug" => {
            Severity::Info
        }
        _ => return None,
    })
}
