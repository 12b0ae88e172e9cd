//! Constraints, and indexes that the code does not know: the second half of the comparison.
//!
//! A missing unique constraint is a warning and not critical: the application boots and answers, what it
//! loses is a protection, and to bring it back somebody has to look at the rows first.

use super::comparison::Comparison;
use super::constraint_details::{compare_constraint, has_check, same_place, same_set, subject};
use super::pairs::Pairs;
use crate::database::model::{Dialect, Rule, Table};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::remedy::LEADS_TO;

/// Constraints that are missing or that the code does not know, and indexes of the latter kind.
pub(super) fn compare_rules(
    comparison: &Comparison<'_>,
    table: &Table,
    live: &Table,
    pairs: &Pairs<'_>,
) -> Vec<Finding> {
    let dialect = comparison.live.dialect;
    let mut findings = Vec::new();
    for constraint in &table.constraints {
        let columns = constraint.rule.columns();
        // A missing or renamed column is reported, and its constraints go with it.
        if columns
            .iter()
            .any(|name| live.column(dialect, name).is_none())
        {
            continue;
        }
        // So with a table or column that it leads to.
        if let Rule::ForeignKey {
            schema,
            table: to,
            targets,
            ..
        } = &constraint.rule
            && !comparison
                .live
                .table(schema.as_deref(), to)
                .is_some_and(|to| {
                    to.is_view
                        || targets
                            .iter()
                            .all(|name| to.column(dialect, name).is_some())
                })
        {
            continue;
        }
        let is_there = match (&constraint.rule, &constraint.name) {
            (Rule::Check { text, .. }, name) => {
                has_check(comparison, live, name.as_deref(), text.as_deref())
            }
            (Rule::Unique { columns }, _) => is_unique(dialect, live, columns),
            (rule, _) => live
                .constraints
                .iter()
                .any(|found| same_place(dialect, rule, &found.rule)),
        };
        if is_there {
            findings.extend(compare_constraint(comparison, table, live, constraint));
            continue;
        }
        let what = described(&constraint.rule, constraint.name.as_deref());
        let there = other_key(dialect, &constraint.rule, live);
        let mut finding = comparison
            .finding(
                Code::SchemaMissingConstraint,
                Severity::Warning,
                subject(table, &constraint.rule, constraint.name.as_deref()),
                format!(
                    "{what} of table {} is missing in {}{there}",
                    table.name, comparison.database
                ),
            )
            .fact("table", table.name.as_str())
            .remedy(
                "write a migration that adds it; rows that break it have to be corrected before",
            );
        if let Rule::ForeignKey { table: to, .. } = &constraint.rule {
            finding = finding.fact(LEADS_TO, to.as_str());
        }
        finding.location = (comparison.locate)(&table.name);
        findings.push(finding);
    }
    findings.extend(extra_rules(comparison, table, live, pairs));
    findings
}

fn extra_rules(
    comparison: &Comparison<'_>,
    table: &Table,
    live: &Table,
    pairs: &Pairs<'_>,
) -> Vec<Finding> {
    let dialect = comparison.live.dialect;
    let mut findings = Vec::new();
    let mut extra = |code: Code, subject: String, what: String| {
        let text = format!(
            "{what} of table {} is in {}, but not in the code",
            table.name, comparison.database
        );
        findings.push(comparison.finding(code, Severity::Info, subject, text));
    };
    for constraint in &live.constraints {
        let is_known = match &constraint.rule {
            // A primary key that differs is reported as the one that is missing.
            Rule::PrimaryKey { .. } | Rule::Check { .. } => true,
            Rule::Unique { columns } => is_unique(dialect, table, columns),
            rule => table
                .constraints
                .iter()
                .any(|wanted| same_place(dialect, &wanted.rule, rule)),
        };
        if !is_known {
            extra(
                Code::SchemaExtraConstraint,
                subject(table, &constraint.rule, constraint.name.as_deref()),
                described(&constraint.rule, constraint.name.as_deref()),
            );
        }
    }
    for (place, index) in live.indexes.iter().enumerate() {
        let name = index.name.as_deref().unwrap_or("?");
        let plain: Option<Vec<String>> = index.columns.iter().cloned().collect();
        let is_known = index.is_implied
            || pairs.is_known(comparison, table, live, place)
            || (index.unique && plain.is_some_and(|columns| has_unique(dialect, table, &columns)));
        if !is_known {
            extra(
                Code::SchemaExtraIndex,
                format!("{}.{name}", table.name),
                format!("index {name}"),
            );
        }
    }
    findings
}

/// Whether a constraint lets those columns be there once only.
fn has_unique(dialect: Dialect, table: &Table, columns: &[String]) -> bool {
    table
        .constraints
        .iter()
        .any(|constraint| match &constraint.rule {
            Rule::Unique { columns: found } | Rule::PrimaryKey { columns: found } => {
                same_set(dialect, found, columns)
            }
            _ => false,
        })
}

/// Whether a table lets those columns be there once only, by a constraint or by an index.
fn is_unique(dialect: Dialect, table: &Table, columns: &[String]) -> bool {
    has_unique(dialect, table, columns)
        || table.indexes.iter().any(|index| {
            let found: Option<Vec<String>> = index.columns.iter().cloned().collect();
            index.unique && !index.partial && found.is_some_and(|f| same_set(dialect, &f, columns))
        })
}

fn same_list(dialect: Dialect, a: &[String], b: &[String]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(one, two)| dialect.same_name(one, two))
}

/// The primary key that is there instead of this one.
fn other_key(dialect: Dialect, rule: &Rule, live: &Table) -> String {
    let mut keys = live
        .constraints
        .iter()
        .filter_map(|found| match (rule, &found.rule) {
            (Rule::PrimaryKey { columns }, Rule::PrimaryKey { columns: there })
                if !same_list(dialect, columns, there) =>
            {
                Some(format!(", whose primary key is ({})", there.join(", ")))
            }
            _ => None,
        });
    keys.next().unwrap_or_default()
}

fn described(rule: &Rule, name: Option<&str>) -> String {
    let name = name.map_or_else(String::new, |name| format!(" {name}"));
    match rule {
        Rule::ForeignKey {
            columns,
            table,
            targets,
            ..
        } => format!(
            "{}{name} ({}) to {table} ({})",
            rule.title(),
            columns.join(", "),
            targets.join(", ")
        ),
        Rule::Check {
            text: Some(text), ..
        } => format!(
            "{}{name} ({})",
            rule.title(),
            crate::domain::redact::truncate(text, 120)
        ),
        Rule::Check { .. } => format!("{}{name}", rule.title()),
        _ => format!("{}{name} ({})", rule.title(), rule.columns().join(", ")),
    }
}
