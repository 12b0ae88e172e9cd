//! Who gives the value of a column (a default, an expression, a number of its own), and how it is sorted.
//!
//! A difference is a warning only where the database itself tells two expressions apart; where it does not
//! understand one of them, it is an information.

use super::comparison::{Comparison, shown};
use crate::database::judge::Equivalence;
use crate::database::model::{Column, Dialect, Table};
use crate::database::types::{Defaults, compare_defaults};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::redact::truncate;

/// Who gives the value of a column, and how its text is sorted.
pub(super) fn compare_origin(
    comparison: &Comparison<'_>,
    table: &Table,
    live: &Table,
    expected: &Column,
    found: &Column,
) -> Vec<Finding> {
    let subject = format!("{}.{}", table.name, expected.name);
    let mut findings = Vec::new();
    if let Some((severity, what)) = origin(comparison, &subject, live, expected, found) {
        findings.push(
            comparison
                .detail(
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
    let (wanted, there) = (
        collation(comparison, expected, true),
        collation(comparison, found, false),
    );
    if wanted != there
        && !found.collates_as_database(comparison.live.collation.as_deref(), wanted.as_deref())
    {
        let reported = |name: Option<String>| {
            name.map_or_else(|| "the usual one".to_owned(), |name| truncate(&name, 60))
        };
        // What the code does not ask for may still be meant.
        let severity = if wanted.is_some() {
            Severity::Warning
        } else {
            Severity::Info
        };
        findings.push(
            comparison
                .detail(
                    Code::SchemaCollationMismatch,
                    severity,
                    table,
                    subject.clone(),
                    &format!(
                        "{subject} is sorted by another collation than the code expects ({}): {}",
                        reported(wanted),
                        reported(there)
                    ),
                    "correct the model, or write a migration that changes the collation",
                )
                .fact("column", expected.name.as_str()),
        );
    }
    findings
}

fn origin(
    comparison: &Comparison<'_>,
    subject: &str,
    live: &Table,
    expected: &Column,
    found: &Column,
) -> Option<(Severity, String)> {
    match (&expected.computed, &found.computed) {
        (Some(wanted), Some(there)) => {
            let severity = match comparison.judge().same(live, wanted, there) {
                Equivalence::Same | Equivalence::Unknown => return None,
                Equivalence::Different => Severity::Warning,
                Equivalence::Unclear => Severity::Info,
            };
            let (wanted, there) = (
                shown(comparison.live.dialect, wanted),
                shown(comparison.live.dialect, there),
            );
            return Some((
                severity,
                format!(
                    "{subject} is computed otherwise than the code expects ({wanted}): {there}"
                ),
            ));
        }
        (Some(wanted), None) => {
            let wanted = shown(comparison.live.dialect, wanted);
            return Some((
                Severity::Warning,
                format!(
                    "{subject} is a plain column, and the code expects one that is computed ({wanted}),"
                ),
            ));
        }
        (None, Some(there)) if !expected.generated && !expected.fetched => {
            let there = shown(comparison.live.dialect, there);
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
    if comparison.live.dialect == Dialect::Sqlite {
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
    let is_given = live.has_triggers || found.identity.is_some() || found.server_default.is_some();
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
fn collation(comparison: &Comparison<'_>, column: &Column, is_expected: bool) -> Option<String> {
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
    match comparison.live.dialect {
        Dialect::Sqlite => Some(name.to_uppercase()).filter(|name| name != "BINARY"),
        Dialect::Postgres => Some(name.to_owned()).filter(|name| name != "default"),
    }
}

/// The defaults that the database itself gives.
pub(super) fn compare_default(
    comparison: &Comparison<'_>,
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
        && comparison.judge().same_default(table, live, wanted, found) == Equivalence::Same
    {
        return None;
    }
    let reported = |text: &Option<String>| match text {
        Some(text) => crate::domain::redact::truncate(text, 100),
        None => "none".to_owned(),
    };
    let (wanted, found) = (
        reported(&expected.server_default),
        reported(&live.server_default),
    );
    Some(
        comparison
            .finding(
                Code::SchemaDefaultMismatch,
                severity,
                subject.to_owned(),
                format!(
                    "the default of {subject} in {} is {found}, and the code expects {wanted}",
                    comparison.database
                ),
            )
            .remedy("correct the model, or write a migration that changes the default"),
    )
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
