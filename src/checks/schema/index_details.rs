//! Indexes that are there: whether they do what the code expects of them.

use super::comparison::{Comparison, shown};
use crate::database::judge::Equivalence;
use crate::database::model::{Dialect, Index, Table};
use crate::database::sql::quote::identifier;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};

/// An index of the same name.
pub(super) enum Namesake {
    OfOtherColumns,
    /// Nothing is sure to differ.
    Alike,
    Differs(Box<Finding>),
}

/// Whether two indexes cover the same things in the same order, whatever their conditions.
pub(super) fn same_parts(
    comparison: &Comparison<'_>,
    live: &Table,
    wanted: &Index,
    found: &Index,
) -> Equivalence {
    if wanted.columns.len() != found.columns.len() {
        return Equivalence::Different;
    }
    let mut verdict = Equivalence::Same;
    for at in 0..wanted.columns.len() {
        let part = match (&wanted.columns[at], &found.columns[at]) {
            (Some(a), Some(b)) if comparison.live.dialect.same_name(a, b) => Equivalence::Same,
            (None, None) => {
                comparison
                    .judge()
                    .same(live, expression(wanted, at), expression(found, at))
            }
            // A collation makes an expression of a column, and changes nothing if it is the column's own.
            _ if comparison.live.dialect == Dialect::Postgres => Equivalence::Different,
            (None, Some(name)) => {
                comparison
                    .judge()
                    .same(live, expression(wanted, at), &identifier(name))
            }
            (Some(name), None) => {
                comparison
                    .judge()
                    .same(live, &identifier(name), expression(found, at))
            }
            _ => Equivalence::Different,
        };
        verdict = worse(verdict, part);
    }
    verdict
}

fn same_condition(
    comparison: &Comparison<'_>,
    live: &Table,
    wanted: &Index,
    found: &Index,
) -> Equivalence {
    match (&wanted.condition, &found.condition) {
        (Some(a), Some(b)) => comparison.judge().same(live, a, b),
        _ if wanted.partial != found.partial => Equivalence::Different,
        (None, None) => Equivalence::Same,
        _ => Equivalence::Unknown,
    }
}

/// Whether a live index does what the expected one is for; in doubt its name decides.
pub(super) fn serves(
    comparison: &Comparison<'_>,
    live: &Table,
    wanted: &Index,
    found: &Index,
    is_same_name: bool,
) -> bool {
    let is_unique_enough =
        !wanted.unique || found.unique && wanted.nulls_not_distinct == found.nulls_not_distinct;
    let is_same = |verdict| match verdict {
        Equivalence::Same => true,
        Equivalence::Unknown => is_same_name,
        Equivalence::Different | Equivalence::Unclear => false,
    };
    is_unique_enough
        && method(wanted) == method(found)
        && wanted.partial == found.partial
        && is_same(same_parts(comparison, live, wanted, found))
        && is_same(same_condition(comparison, live, wanted, found))
}

/// How a live index of the expected one's name stands to it.
pub(super) fn namesake(
    comparison: &Comparison<'_>,
    table: &Table,
    live: &Table,
    wanted: &Index,
    found: &Index,
) -> Namesake {
    let mut reported = Vec::new();
    let parts = same_parts(comparison, live, wanted, found);
    let has_expression = wanted
        .columns
        .iter()
        .chain(&found.columns)
        .any(Option::is_none);
    match parts {
        Equivalence::Different if !has_expression => return Namesake::OfOtherColumns,
        Equivalence::Different => reported.push((
            Severity::Warning,
            format!(
                "it is over {}, and the code expects {}",
                listed(comparison.live.dialect, found),
                listed(comparison.live.dialect, wanted)
            ),
        )),
        // An operator class in a text is no expression, so this proves nothing.
        Equivalence::Same | Equivalence::Unclear | Equivalence::Unknown => {}
    }
    let condition = |index: &Index| match index.condition.as_deref() {
        Some(text) if !text.is_empty() => {
            format!("rows where {}", shown(comparison.live.dialect, text))
        }
        _ if index.partial => "some rows".to_owned(),
        _ => "all rows".to_owned(),
    };
    let severity = match same_condition(comparison, live, wanted, found) {
        Equivalence::Different => Some(Severity::Warning),
        Equivalence::Unclear => Some(Severity::Info),
        Equivalence::Same | Equivalence::Unknown => None,
    };
    if let Some(severity) = severity {
        reported.push((
            severity,
            format!(
                "it covers {}, and the code expects {}",
                condition(found),
                condition(wanted)
            ),
        ));
    }
    if method(wanted) != method(found) {
        reported.push((
            Severity::Warning,
            format!(
                "it is of the kind {}, and the code expects {}",
                method(found),
                method(wanted)
            ),
        ));
    }
    if wanted.unique && !found.unique {
        reported.push((Severity::Warning, "it is not unique".to_owned()));
    } else if wanted.unique && wanted.nulls_not_distinct != found.nulls_not_distinct {
        reported.push((
            Severity::Warning,
            nulls(found.nulls_not_distinct).to_owned(),
        ));
    }
    let Some(severity) = reported.iter().map(|(severity, _)| *severity).max() else {
        return Namesake::Alike;
    };
    let reported: Vec<String> = reported.into_iter().map(|(_, text)| text).collect();
    let name = wanted.name.as_deref().unwrap_or("?");
    Namesake::Differs(Box::new(
        comparison
            .detail(
                Code::SchemaIndexMismatch,
                severity,
                table,
                format!("{}.{name}", table.name),
                &format!(
                    "index {name} of table {} differs ({})",
                    table.name,
                    reported.join("; ")
                ),
                "correct the model, or write a migration that drops and recreates the index",
            )
            .fact("index", name),
    ))
}

/// How the unique constraint or index that is there treats NULL otherwise.
pub(super) fn nulls(found_not_distinct: bool) -> &'static str {
    if found_not_distinct {
        "NULL may be there once only, and the code expects any number"
    } else {
        "NULL may be there any number of times, and the code expects NULLS NOT DISTINCT"
    }
}

fn method(index: &Index) -> &str {
    index.method.as_deref().unwrap_or("btree")
}

fn expression(index: &Index, at: usize) -> &str {
    index
        .expressions
        .get(at)
        .and_then(Option::as_deref)
        .unwrap_or_default()
}

fn listed(dialect: Dialect, index: &Index) -> String {
    let parts = index
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| match column {
            Some(name) => name.clone(),
            None => shown(dialect, expression(index, at)),
        });
    format!("({})", parts.collect::<Vec<_>>().join(", "))
}

fn worse(a: Equivalence, b: Equivalence) -> Equivalence {
    let rank = |verdict| match verdict {
        Equivalence::Same => 0,
        Equivalence::Unknown => 1,
        Equivalence::Unclear => 2,
        Equivalence::Different => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}
