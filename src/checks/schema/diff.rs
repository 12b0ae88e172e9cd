//! Expected against live, in the terms of the live database: what it considers the same is no difference.
//!
//! A missing thing carries the statements that add it, where SQLite can add it without touching a row;
//! where it cannot, the finding says why not.

use std::collections::BTreeMap;

use super::approval;
use super::comparison::{Comparison, TOOL_TABLES};
use super::indexes::compare_indexes;
use super::origin::{compare_default, compare_origin};
use super::pairs::Pairs;
use super::proposed::propose;
use super::rename;
use super::rules::compare_rules;
use super::statements::with_statements;
use crate::database::handle::Live;
use crate::database::model::{Column, Dialect, Table};
use crate::database::postgres::ddl;
use crate::database::sql::quote::{identifier, literal};
use crate::database::sqlite::add_column::add_column;
use crate::database::types::same_type;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::remedy::{NEEDS_APPROVAL, PROPOSED, Remedy};
use crate::domain::words::count;

/// Tables that tools keep beside those of the code.
const KEPT_BY_TOOLS: [&str; 6] = [
    "_sqlx_migrations",
    "django_migrations",
    "flyway_schema_history",
    "refinery_schema_history",
    "schema_migrations",
    "spatial_ref_sys",
];
/// More tables that the code does not know are another application's; they are reported in one finding.
const UNKNOWN_MAX: usize = 20;

/// A tool keeps this table beside those of the code.
pub(super) fn is_kept_by_tool(name: &str) -> bool {
    let mut kept = KEPT_BY_TOOLS.into_iter().chain(TOOL_TABLES);
    kept.any(|tool| name.eq_ignore_ascii_case(tool))
}

/// Everything that differs.
pub(super) fn differences(comparison: &Comparison<'_>, expected: &[Table]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let renamed = rename::tables(
        comparison.live,
        comparison.compared(expected),
        expected,
        comparison.others,
    );
    for table in comparison.compared(expected) {
        match comparison.live.table(table.schema.as_deref(), &table.name) {
            None => findings.push(match renamed.get(table.name.as_str()) {
                Some(old) => renamed_table(comparison, table, old),
                None => {
                    let finding = missing_table(comparison, table, expected);
                    match table_elsewhere(comparison, table, expected) {
                        Some(why) => asking(finding, "create the table, empty", why),
                        None => finding,
                    }
                }
            }),
            Some(live) => findings.extend(compare_table(comparison, table, live)),
        }
    }
    findings.extend(unknown_tables(comparison, expected, &renamed));
    if let Some(Live::Postgres(server)) = comparison.server
        && server.is_exhausted()
    {
        findings.push(Finding::of(
            Code::SchemaNotCompared,
            comparison.schema,
            format!(
                "{} took too long to tell which expressions are the same; some were not compared",
                comparison.database
            ),
        ));
    }
    let elsewhere: Vec<&str> = expected
        .iter()
        .filter(|table| !comparison.is_reachable(table) && !comparison.is_ignored(&table.name))
        .map(|table| table.name.as_str())
        .collect();
    if !elsewhere.is_empty() {
        findings.push(Finding::of(
            Code::SchemaNotCompared,
            comparison.schema,
            format!(
                "{} lie in a schema of their own, which SQLite does not have: {}",
                count(elsewhere.len(), "table"),
                elsewhere.join(", ")
            ),
        ));
    }
    findings
}

/// Tables that the code does not know: they harm no boot.
fn unknown_tables(
    comparison: &Comparison<'_>,
    expected: &[Table],
    renamed: &BTreeMap<&str, &str>,
) -> Vec<Finding> {
    // Without models, nobody knows any.
    if comparison.compared(expected).next().is_none() {
        return Vec::new();
    }
    let is_kept = |name: &str| {
        let mut tables = comparison.migration_tables.iter();
        is_kept_by_tool(name) || tables.any(|table| name.eq_ignore_ascii_case(table))
    };
    let unknown: Vec<&str> = rename::unknown(comparison.live, expected, comparison.others)
        .into_iter()
        .map(|table| table.name.as_str())
        .filter(|name| !comparison.is_ignored(name) && !is_kept(name))
        .filter(|name| !renamed.values().any(|old| old == name))
        .collect();
    if unknown.len() > UNKNOWN_MAX {
        let message = format!(
            "{} has {} that the code does not know: {}, and more",
            comparison.database,
            count(unknown.len(), "table"),
            unknown[..UNKNOWN_MAX].join(", ")
        );
        let subject = comparison.schema.to_owned();
        return vec![comparison.finding(Code::SchemaExtraTable, Severity::Info, subject, message)];
    }
    let extra = unknown.into_iter().map(|name| {
        let message = format!(
            "table {name} is in {}, but not in the code",
            comparison.database
        );
        let subject = name.to_owned();
        comparison.finding(Code::SchemaExtraTable, Severity::Info, subject, message)
    });
    extra.collect()
}

fn missing_table(comparison: &Comparison<'_>, table: &Table, expected: &[Table]) -> Finding {
    let mut finding = comparison
        .finding(
            Code::SchemaMissingTable,
            Severity::Critical,
            table.name.clone(),
            format!("table {} is missing in {}", table.name, comparison.database),
        )
        .fact("table", table.name.as_str());
    finding.location = (comparison.locate)(&table.name);
    if comparison.live.dialect == Dialect::Postgres {
        return propose(
            ddl::create_table(comparison.live, table, expected, comparison.rights),
            finding,
            comparison.rights,
            comparison.schema,
            "create the table",
        );
    }
    let statements = match &table.ddl {
        Some(ddl) => {
            let mut statements = vec![ddl.clone()];
            statements.extend(table.indexes.iter().filter_map(|index| index.ddl.clone()));
            Ok(statements)
        }
        None => Err(format!(
            "{}'s dialect cannot write its definition: {}",
            comparison.live.dialect.title(),
            table.problem
        )),
    };
    with_statements(comparison, finding, statements, "create the table")
}

fn compare_table(comparison: &Comparison<'_>, table: &Table, live: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    let subject = |column: &str| format!("{}.{column}", table.name);
    let renamed = rename::columns(comparison.live.dialect, table, live);
    for column in &table.columns {
        match live.column(comparison.live.dialect, &column.name) {
            None => {
                let mut finding = comparison
                    .finding(
                        Code::SchemaMissingColumn,
                        Severity::Critical,
                        subject(&column.name),
                        format!(
                            "column {} of table {} is missing in {}",
                            column.name, table.name, comparison.database
                        ),
                    )
                    .fact("table", table.name.as_str())
                    .fact("column", column.name.as_str());
                finding.location = (comparison.locate)(&table.name);
                if let Some(old) = renamed.get(column.name.as_str()) {
                    findings.push(renamed_column(comparison, table, column, old));
                    continue;
                }
                let by_hand = "write a migration that adds the column";
                let found = match comparison.live.dialect {
                    Dialect::Sqlite => {
                        let statements = add_column(table, column, live);
                        with_statements(comparison, finding, statements, by_hand)
                    }
                    Dialect::Postgres => propose(
                        ddl::add_column(table, column, live, comparison.rights),
                        finding,
                        comparison.rights,
                        comparison.schema,
                        by_hand,
                    ),
                };
                let found = match found.fix {
                    Some(Remedy::RunStatements { .. }) => found,
                    _ => approval::missing_column(comparison, found, table, column, live),
                };
                let dialect = comparison.live.dialect;
                findings.push(match rename::of_its_type(dialect, column, table, live, &renamed) {
                    Some(old) => {
                        let why = format!(
                            "{old}, which the code does not know, is of its type and may be what it was called before"
                        );
                        asking(found, "add the column, which no row has a value of", why)
                    }
                    None => found,
                });
            }
            Some(found) if !live.is_view => {
                let subject = subject(&column.name);
                findings.extend(compare_column(comparison, &subject, live, column, found));
                findings.extend(compare_origin(comparison, table, live, column, found));
            }
            Some(_) => {}
        }
    }
    if live.is_view {
        return findings;
    }
    for column in &live.columns {
        let is_renamed = renamed.values().any(|old| *old == column.name);
        if !is_renamed
            && table
                .column(comparison.live.dialect, &column.name)
                .is_none()
        {
            // A row that the code adds has no value for it.
            let is_lacking = !column.nullable
                && !column.primary_key
                && !column.generated
                && column.identity.is_none()
                && column.server_default.is_none();
            let (severity, more) = if is_lacking {
                let more = "; it is NOT NULL and has no default, so each INSERT of the code fails";
                (Severity::Warning, more)
            } else {
                (Severity::Info, "")
            };
            let mut finding = comparison.finding(
                Code::SchemaExtraColumn,
                severity,
                subject(&column.name),
                format!(
                    "column {} of table {} is in {}, but not in the code{more}",
                    column.name, table.name, comparison.database
                ),
            );
            if is_lacking {
                finding = finding
                    .fact("table", table.name.as_str())
                    .fact("column", column.name.as_str());
            }
            findings.push(finding);
        }
    }
    approval::lift_not_null(comparison, live, &mut findings);
    let pairs = Pairs::of(comparison, table, live);
    findings.extend(compare_indexes(comparison, table, live, &pairs));
    findings.extend(compare_rules(comparison, table, live, &pairs));
    findings
}

/// The finding whose statements would add by themselves, for a person to look at first.
fn asking(finding: Finding, what: &str, why: String) -> Finding {
    let is_open = matches!(finding.fix, Some(Remedy::RunStatements { .. }))
        && !finding.facts.contains_key(NEEDS_APPROVAL);
    if !is_open {
        return finding;
    }
    let remedy = finding.remedy.clone().unwrap_or_default();
    finding
        .remedy(format!("{remedy}; not automatically, because {why}"))
        .fact(PROPOSED, what)
        .fact(NEEDS_APPROVAL, why)
}

/// Why the rows of a missing table may be in another one.
fn table_elsewhere(
    comparison: &Comparison<'_>,
    table: &Table,
    expected: &[Table],
) -> Option<String> {
    let others = comparison.others;
    if let Some(old) = rename::with_its_columns(comparison.live, table, expected, others) {
        return Some(format!(
            "{old}, which the code does not know, has its columns and may be what it was called before"
        ));
    }
    let Some(server @ Live::Postgres(_)) = comparison.server else {
        return None;
    };
    let sql = format!(
        "SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE \
         c.relkind IN ('r', 'p') AND c.relname = {} AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> \
         'information_schema' ORDER BY 1",
        literal(&table.name)
    );
    let found = server.try_column(&sql).ok()?;
    let schema = found.first()?;
    Some(format!(
        "schema {schema} of the database has a table of that name"
    ))
}

fn compare_column(
    comparison: &Comparison<'_>,
    subject: &str,
    table: &Table,
    expected: &Column,
    live: &Column,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let (Some(kind), Some(found)) = (&expected.kind, &live.kind)
        && !same_type(comparison.live.dialect, expected, live)
    {
        let labels = |column: &Column| match &column.labels {
            Some(labels) => format!(" ({})", labels.join(", ")),
            None => String::new(),
        };
        let kind = format!("{kind}{}", labels(expected));
        let found = format!("{found}{}", labels(live));
        let finding = comparison
            .finding(
                Code::SchemaTypeMismatch,
                Severity::Warning,
                subject.to_owned(),
                format!(
                    "{subject} is {} in {}, and the code expects {kind}",
                    if found.is_empty() { "untyped" } else { &found },
                    comparison.database
                ),
            )
            .fact("table", table.name.as_str())
            .fact("column", expected.name.as_str())
            .remedy("correct the model, or write a migration that changes the type");
        findings.push(approval::change_type(
            comparison, finding, table, expected, live,
        ));
    }
    // SQLite lets a primary key be NULL unless told otherwise; nobody relies on it.
    let is_key = expected.primary_key || live.primary_key;
    if !is_key && !expected.generated && expected.nullable != live.nullable {
        let (severity, what, remedy) = if expected.nullable {
            let what = "must not be NULL";
            let remedy = "correct the model, or write a migration that lifts NOT NULL";
            // With a default of the database, leaving the value out is no error.
            let severity = if live.server_default.is_some() {
                Severity::Info
            } else {
                Severity::Warning
            };
            (severity, what, remedy)
        } else {
            let remedy = "write a migration that adds NOT NULL, or make the model nullable";
            (Severity::Info, "may be NULL", remedy)
        };
        let finding = comparison
            .finding(
                Code::SchemaNullableMismatch,
                severity,
                subject.to_owned(),
                format!(
                    "{subject} {what} in {}, and the code says otherwise",
                    comparison.database
                ),
            )
            .fact("table", table.name.as_str())
            .fact("column", expected.name.as_str())
            .remedy(remedy);
        findings.push(finding);
    }
    findings.extend(compare_default(comparison, subject, table, expected, live));
    findings
}

fn renamed_table(comparison: &Comparison<'_>, table: &Table, old: &str) -> Finding {
    let name = &table.name;
    let mut finding = comparison
        .finding(
            Code::SchemaLikelyRename,
            Severity::Critical,
            name.clone(),
            format!(
                "table {name} is missing in {}, and {old}, which the code does not know, has its columns",
                comparison.database
            ),
        )
        .fact("table", name.as_str())
        .fact("renamed_from", old)
        .remedy(format!(
            "if it was renamed: ALTER TABLE {} RENAME TO {}; not automatically, because only a person knows",
            identifier(old),
            identifier(name)
        ));
    finding.location = (comparison.locate)(name);
    finding
}

fn renamed_column(
    comparison: &Comparison<'_>,
    table: &Table,
    column: &Column,
    old: &str,
) -> Finding {
    let (of, name) = (&table.name, &column.name);
    let mut finding = comparison
        .finding(
            Code::SchemaLikelyRename,
            Severity::Critical,
            format!("{of}.{name}"),
            format!(
                "column {name} of table {of} is missing in {}, and {old}, which the code does not know, is of \
                 its type",
                comparison.database
            ),
        )
        .fact("table", of.as_str())
        .fact("column", name.as_str())
        .fact("renamed_from", old)
        .remedy(format!(
            "if it was renamed: ALTER TABLE {} RENAME COLUMN {} TO {}; not automatically, because only a \
             person knows",
            identifier(of),
            identifier(old),
            identifier(name)
        ));
    finding.location = (comparison.locate)(of);
    finding
}
