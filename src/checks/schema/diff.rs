//! Expected against live, in the terms of SQLite: what it considers the same is no difference.
//!
//! A missing thing carries the statements that add it, where SQLite can add it without touching a row;
//! where it cannot, the finding says why not.

use rusqlite::Connection;

use super::add_column::add_column;
use super::affinity::are_compatible;
use super::expected::{ExpectedColumn, ExpectedIndex, ExpectedTable};
use super::live::{LiveColumn, LiveSchema, LiveTable};
use crate::domain::finding::{Finding, Location, Severity};

/// Tables that migration tools keep for themselves.
const TOOL_TABLES: [&str; 1] = ["alembic_version"];

/// One database and what is expected of it.
pub(super) struct Comparison<'a> {
    /// Name of the `[[schema]]`.
    pub schema: &'a str,
    /// The database, for people: `database main (app.db)`.
    pub database: String,
    /// Patterns of tables that are not compared.
    pub ignore: &'a [String],
    pub live: &'a LiveSchema,
    /// Where a table is defined in the source.
    pub locate: &'a dyn Fn(&str) -> Option<Location>,
}

impl Comparison<'_> {
    /// Tables that are compared.
    pub(super) fn compared<'t>(
        &self,
        expected: &'t [ExpectedTable],
    ) -> impl Iterator<Item = &'t ExpectedTable> {
        expected
            .iter()
            .filter(|table| is_in_main(table) && !self.is_ignored(&table.name))
    }

    fn is_ignored(&self, table: &str) -> bool {
        let options = glob::MatchOptions {
            case_sensitive: false,
            ..glob::MatchOptions::default()
        };
        table.to_lowercase().starts_with("sqlite_")
            || TOOL_TABLES
                .iter()
                .any(|tool| table.eq_ignore_ascii_case(tool))
            || self.ignore.iter().any(|pattern| {
                glob::Pattern::new(pattern).is_ok_and(|p| p.matches_with(table, options))
            })
    }

    /// Everything that differs.
    pub(super) fn differences(&self, expected: &[ExpectedTable]) -> Vec<Finding> {
        let stage = Stage::of(self.live);
        let mut findings = Vec::new();
        for table in self.compared(expected) {
            match self.live.get(&table.name.to_lowercase()) {
                None => findings.push(self.missing_table(&stage, table)),
                Some(live) => self.compare_table(&stage, table, live, &mut findings),
            }
        }
        let elsewhere: Vec<&str> = expected
            .iter()
            .filter(|table| !is_in_main(table) && !self.is_ignored(&table.name))
            .map(|table| table.name.as_str())
            .collect();
        if !elsewhere.is_empty() {
            findings.push(Finding::new(
                "schema.not_compared",
                Severity::Info,
                self.schema,
                format!(
                    "{} lie in a schema of their own, which SQLite does not have: {}",
                    crate::checks::count(elsewhere.len(), "table"),
                    elsewhere.join(", ")
                ),
            ));
        }
        findings
    }

    fn finding(&self, code: &str, severity: Severity, subject: String, message: String) -> Finding {
        Finding::new(code, severity, subject, message).fact("schema", self.schema)
    }

    /// With the statements that mend it, or the reason why a person has to.
    fn with_statements(
        &self,
        stage: &Stage,
        finding: Finding,
        statements: Result<Vec<String>, String>,
        by_hand: &str,
    ) -> Finding {
        let tried = statements.and_then(|statements| {
            stage.accepts(&statements)?;
            serde_json::to_string(&statements)
                .map(|ddl| (ddl, statements))
                .map_err(|error| error.to_string())
        });
        match tried {
            Ok((ddl, statements)) => {
                let first = statements.first().map_or("", String::as_str);
                let first: Vec<&str> = first.split_whitespace().collect();
                let shown = crate::domain::redact::truncate(&first.join(" "), 200);
                finding.fact("ddl", ddl).remedy(format!("run {shown}"))
            }
            Err(why) => finding.remedy(format!("{by_hand}; not automatically, because {why}")),
        }
    }

    fn missing_table(&self, stage: &Stage, table: &ExpectedTable) -> Finding {
        let mut finding = self
            .finding(
                "schema.missing_table",
                Severity::Critical,
                table.name.clone(),
                format!("table {} is missing in {}", table.name, self.database),
            )
            .fact("table", table.name.as_str());
        finding.location = (self.locate)(&table.name);
        let statements = match &table.ddl {
            Some(ddl) => {
                let mut statements = vec![ddl.clone()];
                statements.extend(table.indexes.iter().filter_map(|index| index.ddl.clone()));
                Ok(statements)
            }
            None => Err(format!(
                "SQLite's dialect cannot write its definition: {}",
                table.problem
            )),
        };
        self.with_statements(stage, finding, statements, "create the table")
    }

    fn compare_table(
        &self,
        stage: &Stage,
        table: &ExpectedTable,
        live: &LiveTable,
        findings: &mut Vec<Finding>,
    ) {
        let subject = |column: &str| format!("{}.{column}", table.name);
        for column in &table.columns {
            match live.column(&column.name) {
                None => {
                    let mut finding = self
                        .finding(
                            "schema.missing_column",
                            Severity::Critical,
                            subject(&column.name),
                            format!(
                                "column {} of table {} is missing in {}",
                                column.name, table.name, self.database
                            ),
                        )
                        .fact("table", table.name.as_str())
                        .fact("column", column.name.as_str());
                    finding.location = (self.locate)(&table.name);
                    let statements = add_column(table, column, live);
                    findings.push(self.with_statements(
                        stage,
                        finding,
                        statements,
                        "write a migration that adds the column",
                    ));
                }
                Some(found) if !live.is_view => {
                    findings.extend(self.compare_column(&subject(&column.name), column, found));
                }
                Some(_) => {}
            }
        }
        if live.is_view {
            return;
        }
        for column in &live.columns {
            if table.column(&column.name).is_none() {
                findings.push(self.finding(
                    "schema.extra_column",
                    Severity::Info,
                    subject(&column.name),
                    format!(
                        "column {} of table {} is in {}, but not in the code",
                        column.name, table.name, self.database
                    ),
                ));
            }
        }
        for index in &table.indexes {
            findings.extend(self.missing_index(stage, table, index, live));
        }
    }

    fn compare_column(
        &self,
        subject: &str,
        expected: &ExpectedColumn,
        live: &LiveColumn,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(kind) = &expected.kind
            && !are_compatible(kind, &live.kind)
        {
            findings.push(
                self.finding(
                    "schema.type_mismatch",
                    Severity::Warning,
                    subject.to_owned(),
                    format!(
                        "{subject} is {} in {}, and the code expects {kind}",
                        if live.kind.is_empty() {
                            "untyped"
                        } else {
                            &live.kind
                        },
                        self.database
                    ),
                )
                .remedy("correct the model, or write a migration that changes the type"),
            );
        }
        // SQLite lets a primary key be NULL unless told otherwise; nobody relies on it.
        let is_key = expected.primary_key || live.primary_key;
        if !is_key && !expected.generated && expected.nullable == live.not_null {
            let (severity, what, remedy) = if expected.nullable {
                let what = "must not be NULL";
                let remedy = "correct the model, or write a migration that lifts NOT NULL";
                // With a default of the database, leaving the value out is no error.
                let severity = if live.default.is_some() {
                    Severity::Info
                } else {
                    Severity::Warning
                };
                (severity, what, remedy)
            } else {
                let remedy = "write a migration that adds NOT NULL, or make the model nullable";
                (Severity::Info, "may be NULL", remedy)
            };
            findings.push(
                self.finding(
                    "schema.nullable_mismatch",
                    severity,
                    subject.to_owned(),
                    format!(
                        "{subject} {what} in {}, and the code says otherwise",
                        self.database
                    ),
                )
                .remedy(remedy),
            );
        }
        findings
    }

    fn missing_index(
        &self,
        stage: &Stage,
        table: &ExpectedTable,
        index: &ExpectedIndex,
        live: &LiveTable,
    ) -> Option<Finding> {
        let name = index.name.as_deref()?;
        let same_name = live
            .indexes
            .iter()
            .find(|found| found.name.eq_ignore_ascii_case(name));
        // Expressions and conditions are not compared; the name has to do.
        let is_plain = !index.partial && index.columns.iter().all(Option::is_some);
        let serves = if is_plain {
            live.indexes.iter().any(|found| {
                !found.partial
                    && (found.unique || !index.unique)
                    && same_columns(&found.columns, &index.columns)
            })
        } else {
            same_name.is_some()
        };
        let lacks_column = index
            .columns
            .iter()
            .flatten()
            .any(|column| live.column(column).is_none());
        if serves || lacks_column {
            return None;
        }
        let subject = format!("{}.{name}", table.name);
        let mut finding = self
            .finding(
                "schema.missing_index",
                Severity::Warning,
                subject,
                format!(
                    "index {name} of table {} is missing in {}",
                    table.name, self.database
                ),
            )
            .fact("table", table.name.as_str())
            .fact("index", name);
        finding.location = (self.locate)(&table.name);
        let statements = if same_name.is_some() {
            Err("an index of that name exists, over other columns".to_owned())
        } else {
            index
                .ddl
                .clone()
                .map(|ddl| vec![ddl])
                .ok_or_else(|| "SQLite's dialect cannot write its definition".to_owned())
        };
        Some(self.with_statements(stage, finding, statements, "create the index"))
    }
}

fn is_in_main(table: &ExpectedTable) -> bool {
    table
        .schema
        .as_deref()
        .is_none_or(|schema| schema.is_empty() || schema.eq_ignore_ascii_case("main"))
}

fn same_columns(a: &[Option<String>], b: &[Option<String>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|pair| match pair {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        })
}

impl LiveTable {
    pub(super) fn column(&self, name: &str) -> Option<&LiveColumn> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

impl ExpectedTable {
    pub(super) fn column(&self, name: &str) -> Option<&ExpectedColumn> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// An empty database with the live definitions: what it refuses, the live one refuses too.
struct Stage(Option<Connection>);

impl Stage {
    fn of(live: &LiveSchema) -> Self {
        let Ok(connection) = Connection::open_in_memory() else {
            return Self(None);
        };
        for table in live.values() {
            // What needs a module that is not here (a virtual table) is left out.
            let _ = connection.execute(&table.sql, []);
            for sql in table.indexes.iter().filter_map(|index| index.sql.as_ref()) {
                let _ = connection.execute(sql, []);
            }
        }
        Self(Some(connection))
    }

    /// Tries the statements, and takes them back.
    fn accepts(&self, statements: &[String]) -> Result<(), String> {
        let Some(connection) = &self.0 else {
            return Ok(());
        };
        let words = |error: rusqlite::Error| format!("SQLite refuses it: {error}");
        let transaction = connection.unchecked_transaction().map_err(words)?;
        for statement in statements {
            transaction.execute(statement, []).map_err(words)?;
        }
        transaction.rollback().map_err(words)
    }
}
