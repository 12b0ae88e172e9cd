//! Constraints that are there: whether they demand what the code expects of them.

use super::comparison::{Comparison, shown};
use super::index_details::nulls;
use crate::database::judge::Equivalence;
use crate::database::model::{Constraint, Dialect, Index, Rule, Table};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};

/// Whether a check constraint is there: by its name, or by what it demands.
pub(super) fn has_check(
    comparison: &Comparison<'_>,
    live: &Table,
    name: Option<&str>,
    text: Option<&str>,
) -> bool {
    if name.is_some_and(|name| check_named(comparison, live, name).is_some()) {
        return true;
    }
    let text = text.unwrap_or_default();
    let verdicts = live
        .constraints
        .iter()
        .filter_map(|found| match &found.rule {
            Rule::Check { text: there, .. } => Some(comparison.judge().same(
                live,
                text,
                there.as_deref().unwrap_or_default(),
            )),
            _ => None,
        });
    let mut verdicts: Vec<Equivalence> = verdicts.collect();
    if name.is_none() {
        // Without a name, nothing is claimed unless it is sure.
        if text.is_empty() {
            return true;
        }
        verdicts.retain(|verdict| *verdict != Equivalence::Different);
        return !verdicts.is_empty();
    }
    verdicts.contains(&Equivalence::Same)
}

fn check_named<'t>(
    comparison: &Comparison<'_>,
    live: &'t Table,
    name: &str,
) -> Option<&'t Constraint> {
    live.constraints.iter().find(|found| {
        let found = found
            .name
            .as_deref()
            .filter(|_| matches!(found.rule, Rule::Check { .. }));
        found.is_some_and(|found| comparison.live.dialect.same_name(found, name))
    })
}

/// What a constraint that is there demands otherwise.
pub(super) fn compare_constraint(
    comparison: &Comparison<'_>,
    table: &Table,
    live: &Table,
    wanted: &Constraint,
) -> Option<Finding> {
    let dialect = comparison.live.dialect;
    let name = wanted.name.as_deref();
    let (severity, what) = match &wanted.rule {
        Rule::Check { text, .. } => {
            let Rule::Check { text: there, .. } = &check_named(comparison, live, name?)?.rule
            else {
                return None;
            };
            let (wanted, there) = (
                text.as_deref().unwrap_or_default(),
                there.as_deref().unwrap_or_default(),
            );
            let severity = match comparison.judge().same(live, wanted, there) {
                Equivalence::Same | Equivalence::Unknown => return None,
                Equivalence::Different => Severity::Warning,
                Equivalence::Unclear => Severity::Info,
            };
            (
                severity,
                format!(
                    "it demands {}, and the code expects {}",
                    shown(dialect, there),
                    shown(dialect, wanted)
                ),
            )
        }
        rule => {
            let twins: Vec<&Constraint> = live
                .constraints
                .iter()
                .filter(|found| match (rule, &found.rule) {
                    (Rule::Unique { columns: a }, Rule::Unique { columns: b }) => {
                        same_set(dialect, a, b)
                    }
                    (rule, found) => same_place(dialect, rule, found),
                })
                .collect();
            let alike: Vec<&Constraint> = twins
                .iter()
                .copied()
                .filter(|found| actions(&found.rule) == actions(rule))
                .collect();
            match twins.first() {
                Some(found) if alike.is_empty() => (
                    Severity::Warning,
                    format!(
                        "it is there with {}, and the code expects {}",
                        actions(&found.rule),
                        actions(rule)
                    ),
                ),
                _ => nulls_differ(comparison, live, wanted)
                    .or_else(|| timing_differs(dialect, wanted, &alike))?,
            }
        }
    };
    let title = wanted.rule.title();
    let name = name.map_or_else(
        || format!("({})", wanted.rule.columns().join(", ")),
        str::to_owned,
    );
    Some(comparison.detail(
        Code::SchemaConstraintMismatch,
        severity,
        table,
        subject(table, &wanted.rule, wanted.name.as_deref()),
        &format!("{title} {name} of table {} differs ({what})", table.name),
        "correct the model, or write a migration that drops and recreates the constraint",
    ))
}

fn nulls_differ(
    comparison: &Comparison<'_>,
    live: &Table,
    wanted: &Constraint,
) -> Option<(Severity, String)> {
    let Rule::Unique { columns } = &wanted.rule else {
        return None;
    };
    let twins: Vec<&Index> = live
        .indexes
        .iter()
        .filter(|index| {
            let names: Option<Vec<String>> = index.columns.iter().cloned().collect();
            index.unique
                && !index.partial
                && names.is_some_and(|names| same_set(comparison.live.dialect, &names, columns))
        })
        .collect();
    let first = twins.first()?;
    if twins
        .iter()
        .any(|index| index.nulls_not_distinct == wanted.nulls_not_distinct)
    {
        return None;
    }
    Some((
        Severity::Warning,
        nulls(first.nulls_not_distinct).to_owned(),
    ))
}

/// What a foreign key does to a row whose target goes or changes.
fn actions(rule: &Rule) -> String {
    let Rule::ForeignKey {
        on_delete,
        on_update,
        ..
    } = rule
    else {
        return String::new();
    };
    // What happens where nothing is said.
    let action = |text: &Option<String>| match text.as_deref().unwrap_or_default().trim() {
        "" => "NO ACTION".to_owned(),
        text => text.to_uppercase(),
    };
    format!(
        "ON DELETE {} ON UPDATE {}",
        action(on_delete),
        action(on_update)
    )
}

/// When a constraint is looked at. SQLite tells only which foreign keys wait for the end.
fn timing_differs(
    dialect: Dialect,
    wanted: &Constraint,
    twins: &[&Constraint],
) -> Option<(Severity, String)> {
    let timing = |constraint: &Constraint| match dialect {
        Dialect::Sqlite if !matches!(constraint.rule, Rule::ForeignKey { .. }) => (false, false),
        Dialect::Sqlite => (constraint.deferred, constraint.deferred),
        Dialect::Postgres => (
            constraint.deferrable || constraint.deferred,
            constraint.deferred,
        ),
    };
    let wanted = timing(wanted);
    // A unique index in the place of a constraint cannot wait.
    let there = twins.first().map_or((false, false), |found| timing(found));
    if wanted == there || twins.iter().any(|found| timing(found) == wanted) {
        return None;
    }
    let reported = |(deferrable, deferred)| match (deferrable, deferred) {
        (_, true) => "DEFERRABLE INITIALLY DEFERRED",
        (true, _) => "DEFERRABLE",
        _ => "not deferrable",
    };
    // What may wait and does not have to does no harm.
    let severity = if wanted.0 && !there.0 || wanted.1 && !there.1 {
        Severity::Warning
    } else {
        Severity::Info
    };
    Some((
        severity,
        format!(
            "it is {}, and the code expects {}",
            reported(there),
            reported(wanted)
        ),
    ))
}

pub(super) fn same_set(dialect: Dialect, a: &[String], b: &[String]) -> bool {
    a.len() == b.len()
        && a.iter()
            .all(|one| b.iter().any(|two| dialect.same_name(one, two)))
}

/// The same columns and the same place, whatever happens on a deletion.
pub(super) fn same_place(dialect: Dialect, wanted: &Rule, found: &Rule) -> bool {
    match (wanted, found) {
        (Rule::PrimaryKey { columns: a }, Rule::PrimaryKey { columns: b }) => {
            same_set(dialect, a, b)
        }
        (
            Rule::ForeignKey {
                columns: a,
                table: at,
                schema,
                targets,
                ..
            },
            Rule::ForeignKey {
                columns: b,
                table: to,
                schema: other,
                targets: there,
                ..
            },
        ) => {
            let elsewhere = dialect == Dialect::Postgres
                && matches!((schema, other), (Some(one), Some(two)) if one != two);
            // Pairs of columns, in whatever order.
            let pairs_match = a.iter().enumerate().all(|(i, name)| {
                let found = b.iter().position(|other| dialect.same_name(other, name));
                found.is_some_and(|j| {
                    there.is_empty()
                        || targets
                            .get(i)
                            .zip(there.get(j))
                            .is_some_and(|(x, y)| dialect.same_name(x, y))
                })
            });
            a.len() == b.len() && dialect.same_name(at, to) && !elsewhere && pairs_match
        }
        _ => false,
    }
}

/// By columns, not by name: SQLite keeps no names, and a signature must not change with them.
pub(super) fn subject(table: &Table, rule: &Rule, name: Option<&str>) -> String {
    match (rule, name) {
        (Rule::Check { .. }, Some(name)) => format!("{}.{name}", table.name),
        (Rule::Check { columns, .. }, None) if columns.is_empty() => {
            format!("{}.check", table.name)
        }
        (Rule::PrimaryKey { .. }, _) => format!("{}.primary_key", table.name),
        _ => format!("{}.{}", table.name, rule.columns().join(",")),
    }
}
