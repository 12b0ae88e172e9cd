//! Indexes and constraints that are there: whether they do what the code expects of them.

use super::diff::Comparison;
use super::origin::shown;
use super::rules::{same_place, same_set, subject};
use crate::database::judge::Verdict;
use crate::database::model::{Constraint, Dialect, Index, Rule, Table};
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

impl Comparison<'_> {
    /// Whether two indexes cover the same things in the same order, whatever their conditions.
    pub(super) fn same_parts(&self, live: &Table, wanted: &Index, found: &Index) -> Verdict {
        if wanted.columns.len() != found.columns.len() {
            return Verdict::Different;
        }
        let mut verdict = Verdict::Same;
        for at in 0..wanted.columns.len() {
            let part = match (&wanted.columns[at], &found.columns[at]) {
                (Some(a), Some(b)) if self.live.dialect.same_name(a, b) => Verdict::Same,
                (None, None) => {
                    self.judge()
                        .same(live, expression(wanted, at), expression(found, at))
                }
                // A collation makes an expression of a column, and changes nothing if it is the column's own.
                _ if self.live.dialect == Dialect::Postgres => Verdict::Different,
                (None, Some(name)) => {
                    self.judge()
                        .same(live, expression(wanted, at), &identifier(name))
                }
                (Some(name), None) => {
                    self.judge()
                        .same(live, &identifier(name), expression(found, at))
                }
                _ => Verdict::Different,
            };
            verdict = worse(verdict, part);
        }
        verdict
    }

    fn same_condition(&self, live: &Table, wanted: &Index, found: &Index) -> Verdict {
        match (&wanted.condition, &found.condition) {
            (Some(a), Some(b)) => self.judge().same(live, a, b),
            _ if wanted.partial != found.partial => Verdict::Different,
            (None, None) => Verdict::Same,
            _ => Verdict::Unknown,
        }
    }

    /// Whether a live index does what the expected one is for; in doubt its name decides.
    pub(super) fn serves(
        &self,
        live: &Table,
        wanted: &Index,
        found: &Index,
        is_same_name: bool,
    ) -> bool {
        let is_unique_enough =
            !wanted.unique || found.unique && wanted.nulls_not_distinct == found.nulls_not_distinct;
        let is_same = |verdict| match verdict {
            Verdict::Same => true,
            Verdict::Unknown => is_same_name,
            Verdict::Different | Verdict::Unclear => false,
        };
        is_unique_enough
            && method(wanted) == method(found)
            && wanted.partial == found.partial
            && is_same(self.same_parts(live, wanted, found))
            && is_same(self.same_condition(live, wanted, found))
    }

    /// How a live index of the expected one's name stands to it.
    pub(super) fn namesake(
        &self,
        table: &Table,
        live: &Table,
        wanted: &Index,
        found: &Index,
    ) -> Namesake {
        let mut told = Vec::new();
        let parts = self.same_parts(live, wanted, found);
        let has_expression = wanted
            .columns
            .iter()
            .chain(&found.columns)
            .any(Option::is_none);
        match parts {
            Verdict::Different if !has_expression => return Namesake::OfOtherColumns,
            Verdict::Different => told.push((
                Severity::Warning,
                format!(
                    "it is over {}, and the code expects {}",
                    listed(self.live.dialect, found),
                    listed(self.live.dialect, wanted)
                ),
            )),
            // An operator class in a text is no expression, so this proves nothing.
            Verdict::Same | Verdict::Unclear | Verdict::Unknown => {}
        }
        let condition = |index: &Index| match index.condition.as_deref() {
            Some(text) if !text.is_empty() => {
                format!("rows where {}", shown(self.live.dialect, text))
            }
            _ if index.partial => "some rows".to_owned(),
            _ => "all rows".to_owned(),
        };
        let severity = match self.same_condition(live, wanted, found) {
            Verdict::Different => Some(Severity::Warning),
            Verdict::Unclear => Some(Severity::Info),
            Verdict::Same | Verdict::Unknown => None,
        };
        if let Some(severity) = severity {
            told.push((
                severity,
                format!(
                    "it covers {}, and the code expects {}",
                    condition(found),
                    condition(wanted)
                ),
            ));
        }
        if method(wanted) != method(found) {
            told.push((
                Severity::Warning,
                format!(
                    "it is of the kind {}, and the code expects {}",
                    method(found),
                    method(wanted)
                ),
            ));
        }
        if wanted.unique && !found.unique {
            told.push((Severity::Warning, "it is not unique".to_owned()));
        } else if wanted.unique && wanted.nulls_not_distinct != found.nulls_not_distinct {
            told.push((
                Severity::Warning,
                nulls(found.nulls_not_distinct).to_owned(),
            ));
        }
        let Some(severity) = told.iter().map(|(severity, _)| *severity).max() else {
            return Namesake::Alike;
        };
        let told: Vec<String> = told.into_iter().map(|(_, text)| text).collect();
        let name = wanted.name.as_deref().unwrap_or("?");
        Namesake::Differs(Box::new(
            self.detail(
                Code::SchemaIndexMismatch,
                severity,
                table,
                format!("{}.{name}", table.name),
                &format!(
                    "index {name} of table {} differs ({})",
                    table.name,
                    told.join("; ")
                ),
                "correct the model, or write a migration that drops the index and creates it anew",
            )
            .fact("index", name),
        ))
    }

    /// Whether a check constraint is there: by its name, or by what it demands.
    pub(super) fn has_check(&self, live: &Table, name: Option<&str>, text: Option<&str>) -> bool {
        if name.is_some_and(|name| self.check_named(live, name).is_some()) {
            return true;
        }
        let text = text.unwrap_or_default();
        let verdicts = live
            .constraints
            .iter()
            .filter_map(|found| match &found.rule {
                Rule::Check { text: there, .. } => Some(self.judge().same(
                    live,
                    text,
                    there.as_deref().unwrap_or_default(),
                )),
                _ => None,
            });
        let mut verdicts: Vec<Verdict> = verdicts.collect();
        if name.is_none() {
            // Without a name, nothing is claimed unless it is sure.
            if text.is_empty() {
                return true;
            }
            verdicts.retain(|verdict| *verdict != Verdict::Different);
            return !verdicts.is_empty();
        }
        verdicts.contains(&Verdict::Same)
    }

    fn check_named<'t>(&self, live: &'t Table, name: &str) -> Option<&'t Constraint> {
        live.constraints.iter().find(|found| {
            let found = found
                .name
                .as_deref()
                .filter(|_| matches!(found.rule, Rule::Check { .. }));
            found.is_some_and(|found| self.live.dialect.same_name(found, name))
        })
    }

    /// What a constraint that is there demands otherwise.
    pub(super) fn compare_constraint(
        &self,
        table: &Table,
        live: &Table,
        wanted: &Constraint,
    ) -> Option<Finding> {
        let dialect = self.live.dialect;
        let name = wanted.name.as_deref();
        let (severity, what) = match &wanted.rule {
            Rule::Check { text, .. } => {
                let Rule::Check { text: there, .. } = &self.check_named(live, name?)?.rule else {
                    return None;
                };
                let (wanted, there) = (
                    text.as_deref().unwrap_or_default(),
                    there.as_deref().unwrap_or_default(),
                );
                let severity = match self.judge().same(live, wanted, there) {
                    Verdict::Same | Verdict::Unknown => return None,
                    Verdict::Different => Severity::Warning,
                    Verdict::Unclear => Severity::Info,
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
                    _ => self
                        .nulls_differ(live, wanted)
                        .or_else(|| timing_differs(dialect, wanted, &alike))?,
                }
            }
        };
        let title = wanted.rule.title();
        let name = name.map_or_else(
            || format!("({})", wanted.rule.columns().join(", ")),
            str::to_owned,
        );
        Some(self.detail(
            Code::SchemaConstraintMismatch,
            severity,
            table,
            subject(table, &wanted.rule, wanted.name.as_deref()),
            &format!("{title} {name} of table {} differs ({what})", table.name),
            "correct the model, or write a migration that drops the constraint and adds it anew",
        ))
    }

    fn nulls_differ(&self, live: &Table, wanted: &Constraint) -> Option<(Severity, String)> {
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
                    && names.is_some_and(|names| same_set(self.live.dialect, &names, columns))
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
    let told = |(deferrable, deferred)| match (deferrable, deferred) {
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
            told(there),
            told(wanted)
        ),
    ))
}

fn nulls(found_not_distinct: bool) -> &'static str {
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

fn worse(a: Verdict, b: Verdict) -> Verdict {
    let rank = |verdict| match verdict {
        Verdict::Same => 0,
        Verdict::Unknown => 1,
        Verdict::Unclear => 2,
        Verdict::Different => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}
