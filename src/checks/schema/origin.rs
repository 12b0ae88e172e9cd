//! Who gives the value of a column (a default, an expression, a number of its own), and how it is sorted.
//!
//! A difference is a warning only where the database itself tells two expressions apart; where it does not
//! understand one of them, it is an information.

use super::diff::Comparison;
use crate::database::judge::{Judge, Verdict};
use crate::database::model::{Column, Dialect, Table};
use crate::database::sql::words::{unwrapped, words, written};
use crate::database::types::{Defaults, compare_defaults};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::redact::truncate;

/// How much of an expression is shown.
const SHOWN_BYTES_MAX: usize = 120;

impl Comparison<'_> {
    pub(super) fn judge(&self) -> Judge<'_> {
        Judge {
            dialect: self.live.dialect,
            server: self.server,
        }
    }

    /// A finding about a part of a table.
    pub(super) fn detail(
        &self,
        code: Code,
        severity: Severity,
        table: &Table,
        subject: String,
        message: &str,
        remedy: &str,
    ) -> Finding {
        let mut finding = self
            .finding(
                code,
                severity,
                subject,
                format!("{message} in {}", self.database),
            )
            .fact("table", table.name.as_str())
            .remedy(remedy);
        finding.location = (self.locate)(&table.name);
        finding
    }

    /// Who gives the value of a column, and how its text is sorted.
    pub(super) fn compare_origin(
        &self,
        table: &Table,
        live: &Table,
        expected: &Column,
        found: &Column,
    ) -> Vec<Finding> {
        let subject = format!("{}.{}", table.name, expected.name);
        let mut findings = Vec::new();
        if let Some((severity, what)) = self.origin(&subject, live, expected, found) {
            findings.push(
                self.detail(
                    Code::SchemaGeneratedMismatch,
                    severity,
                    table,
                    subject.clone(),
                    &what,
                    "correct the model, or write a migration that changes the column",
                )
                .fact("column", expected.name.as_str()),
            );
        }
        let (wanted, there) = (self.collation(expected, true), self.collation(found, false));
        if wanted != there
            && !found.collates_as_database(self.live.collation.as_deref(), wanted.as_deref())
        {
            let told = |name: Option<String>| {
                name.map_or_else(|| "the usual one".to_owned(), |name| truncate(&name, 60))
            };
            // What the code does not ask for may still be meant.
            let severity = if wanted.is_some() {
                Severity::Warning
            } else {
                Severity::Info
            };
            findings.push(
                self.detail(
                    Code::SchemaCollationMismatch,
                    severity,
                    table,
                    subject.clone(),
                    &format!(
                        "{subject} is sorted by another collation than the code expects ({}): {}",
                        told(wanted),
                        told(there)
                    ),
                    "correct the model, or write a migration that changes the collation",
                )
                .fact("column", expected.name.as_str()),
            );
        }
        findings
    }

    fn origin(
        &self,
        subject: &str,
        live: &Table,
        expected: &Column,
        found: &Column,
    ) -> Option<(Severity, String)> {
        match (&expected.computed, &found.computed) {
            (Some(wanted), Some(there)) => {
                let severity = match self.judge().same(live, wanted, there) {
                    Verdict::Same | Verdict::Unknown => return None,
                    Verdict::Different => Severity::Warning,
                    Verdict::Unclear => Severity::Info,
                };
                let (wanted, there) = (
                    shown(self.live.dialect, wanted),
                    shown(self.live.dialect, there),
                );
                return Some((
                    severity,
                    format!(
                        "{subject} is computed otherwise than the code expects ({wanted}): {there}"
                    ),
                ));
            }
            (Some(wanted), None) => {
                let wanted = shown(self.live.dialect, wanted);
                return Some((
                    Severity::Warning,
                    format!(
                        "{subject} is a plain column, and the code expects one that is computed ({wanted}),"
                    ),
                ));
            }
            (None, Some(there)) if !expected.generated && !expected.fetched => {
                let there = shown(self.live.dialect, there);
                return Some((
                    Severity::Warning,
                    format!(
                        "{subject} is computed ({there}) and cannot be written, and the code expects a plain column,"
                    ),
                ));
            }
            _ => {}
        }
        let is_numbered = expected.autoincrement || expected.identity.is_some();
        if self.live.dialect == Dialect::Sqlite {
            let has_rowid = !live.is_without_rowid
                && found
                    .kind
                    .as_deref()
                    .is_some_and(|kind| kind.eq_ignore_ascii_case("INTEGER"));
            let is_rowid = expected
                .kind
                .as_deref()
                .is_some_and(|kind| kind.eq_ignore_ascii_case("INTEGER"));
            let keys = live
                .columns
                .iter()
                .filter(|column| column.primary_key)
                .count();
            let is_left_empty =
                expected.autoincrement && is_rowid && found.primary_key && keys == 1 && !has_rowid;
            return is_left_empty.then(|| {
                (
                    Severity::Warning,
                    format!(
                        "{subject} gets no number of its own (only an INTEGER PRIMARY KEY does), which the code \
                         relies on,"
                    ),
                )
            });
        }
        // A trigger may do it.
        let is_given =
            live.has_triggers || found.identity.is_some() || found.server_default.is_some();
        if is_numbered && !is_given {
            return Some((
                Severity::Warning,
                format!(
                    "{subject} gets no number of its own (it is no identity and has no default), which the code relies on,"
                ),
            ));
        }
        let gives_value = !is_numbered && !expected.fetched && !expected.generated;
        (gives_value && found.identity.as_deref() == Some("always")).then(|| {
            (
                Severity::Warning,
                format!("{subject} is GENERATED ALWAYS AS IDENTITY, so values that the code gives are refused,"),
            )
        })
    }

    /// The name of a column's own collation, in one spelling.
    fn collation(&self, column: &Column, is_expected: bool) -> Option<String> {
        let of_kind = || {
            let kind = column.kind.as_deref()?;
            let at = kind.to_ascii_uppercase().find(" COLLATE ")?;
            Some(kind[at + " COLLATE ".len()..].trim().to_owned())
        };
        let name = column
            .collation
            .clone()
            .or_else(|| is_expected.then(of_kind).flatten())?;
        let name = name
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .trim_matches('"');
        match self.live.dialect {
            Dialect::Sqlite => Some(name.to_uppercase()).filter(|name| name != "BINARY"),
            Dialect::Postgres => Some(name.to_owned()).filter(|name| name != "default"),
        }
    }

    /// The defaults that the database itself gives.
    pub(super) fn compare_default(
        &self,
        subject: &str,
        table: &Table,
        expected: &Column,
        live: &Column,
    ) -> Option<Finding> {
        let severity = match compare_defaults(expected, live) {
            Defaults::Same => return None,
            Defaults::Unclear => Severity::Info,
            // A value that the database gives where the code gives its own does no harm.
            Defaults::Different if expected.server_default.is_none() => Severity::Info,
            Defaults::Different => Severity::Warning,
        };
        if let (Some(wanted), Some(found)) = (&expected.server_default, &live.server_default)
            && self.judge().same_default(table, live, wanted, found) == Verdict::Same
        {
            return None;
        }
        let told = |text: &Option<String>| match text {
            Some(text) => crate::domain::redact::truncate(text, 100),
            None => "none".to_owned(),
        };
        let (wanted, found) = (told(&expected.server_default), told(&live.server_default));
        Some(
            self.finding(
                Code::SchemaDefaultMismatch,
                severity,
                subject.to_owned(),
                format!(
                    "the default of {subject} in {} is {found}, and the code expects {wanted}",
                    self.database
                ),
            )
            .remedy("correct the model, or write a migration that changes the default"),
        )
    }
}

impl Column {
    /// The database's own collation, called by its name, is no other one.
    fn collates_as_database(&self, database: Option<&str>, wanted: Option<&str>) -> bool {
        let spelled = |name: &str| match name.to_lowercase().replace(['-', '_'], "").as_str() {
            "posix" => "c".to_owned(),
            name => name.to_owned(),
        };
        let here = self.collation.as_deref().or(database);
        match (here, wanted.or(database)) {
            (Some(here), Some(wanted)) => spelled(here) == spelled(wanted),
            _ => false,
        }
    }
}

/// An expression on one line, without brackets around it, cut.
pub(super) fn shown(dialect: Dialect, text: &str) -> String {
    let all = words(dialect, text);
    let inner = written(text, unwrapped(&all));
    let words: Vec<&str> = inner.split_whitespace().collect();
    truncate(&words.join(" "), SHOWN_BYTES_MAX)
}
