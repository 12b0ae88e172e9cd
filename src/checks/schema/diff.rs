//! Expected against live, in the terms of SQLite: what it considers the same is no difference.
//!
//! A missing thing carries the statements that add it, where SQLite can add it without touching a row;
//! where it cannot, the finding says why not.

use rusqlite::Connection;

use super::expected::{ExpectedColumn, ExpectedIndex, ExpectedTable, quote};
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
    fn column(&self, name: &str) -> Option<&LiveColumn> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

impl ExpectedTable {
    fn column(&self, name: &str) -> Option<&ExpectedColumn> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// The statements that add a column to a table with rows, without touching one
/// (sqlite.org/lang_altertable.html, 4).
fn add_column(
    table: &ExpectedTable,
    column: &ExpectedColumn,
    live: &LiveTable,
) -> Result<Vec<String>, String> {
    let refuse = |why: &str| Err(why.to_owned());
    let Some(kind) = &column.kind else {
        return refuse("SQLite has no type for it");
    };
    if live.is_view {
        return refuse("it is a view there");
    }
    if column.primary_key {
        return refuse("a primary key cannot be added to a table that exists");
    }
    if column.generated {
        return refuse("its value is generated");
    }
    if column.checked {
        return refuse("a constraint of the table belongs to it, which ADD COLUMN cannot bring");
    }
    let default = match column.server_default.as_deref() {
        Some(text) if is_constant(text) => Some(text),
        Some(_) => return refuse("its default is no constant"),
        None if !column.nullable => column.default.as_deref().filter(|text| is_constant(text)),
        None => None,
    };
    let is_null = default.is_none_or(|text| text.trim().eq_ignore_ascii_case("NULL"));
    if !column.nullable && is_null {
        return refuse("it must not be NULL and has no constant default for the rows that exist");
    }
    if column.unique && !is_null {
        return refuse("it is unique, and all rows that exist would get the same value");
    }
    if column.references.is_some() && !is_null {
        return refuse(
            "it references another table, and its default might reference nothing there",
        );
    }
    let mut alter = format!(
        "ALTER TABLE {} ADD COLUMN {} {kind}",
        quote(&live.name),
        column.quoted
    );
    if let Some(default) = default {
        alter.push_str(&format!(" DEFAULT {default}"));
    }
    if !column.nullable {
        alter.push_str(" NOT NULL");
    }
    if let Some(references) = &column.references {
        alter.push_str(&format!(" {references}"));
    }
    let mut statements = vec![alter];
    let mut is_indexed = false;
    for index in &table.indexes {
        let names: Option<Vec<&str>> = index.columns.iter().map(Option::as_deref).collect();
        let Some(names) = names else { continue };
        let has_it = names.iter().any(|n| n.eq_ignore_ascii_case(&column.name));
        let others_are_there = names
            .iter()
            .all(|n| n.eq_ignore_ascii_case(&column.name) || live.column(n).is_some());
        if has_it && others_are_there {
            let ddl = index.ddl.clone();
            statements.push(ddl.ok_or("one of its indexes cannot be written for SQLite")?);
            is_indexed |= index.unique && names.len() == 1;
        }
    }
    if column.unique && !is_indexed {
        statements.push(format!(
            "CREATE UNIQUE INDEX {} ON {} ({})",
            quote(&format!("uq_{}_{}", live.name, column.name)),
            quote(&live.name),
            column.quoted
        ));
    }
    Ok(statements)
}

/// A literal: a number, a string, a blob, NULL, TRUE or FALSE. SQLite adds no column with another
/// default (no CURRENT_TIMESTAMP, no expression in brackets).
fn is_constant(text: &str) -> bool {
    let text = text.trim();
    if let Some(inner) = text
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        return !inner.replace("''", "").contains('\'') && !inner.contains('\0');
    }
    let words = ["NULL", "TRUE", "FALSE"];
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
        || (digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.parse::<f64>().is_ok())
}

/// Type affinity (sqlite.org/datatype3.html, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

fn affinity(kind: &str) -> Affinity {
    let kind = kind.to_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    if has(&["INT"]) {
        Affinity::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if kind.trim().is_empty() || has(&["BLOB"]) {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// What is written through one type comes back through the other.
fn are_compatible(expected: &str, live: &str) -> bool {
    use Affinity as A;
    let (a, b) = (affinity(expected), affinity(live));
    if a == b || live.trim().is_empty() || live.eq_ignore_ascii_case("ANY") {
        return true;
    }
    match (a, b) {
        // Numeric affinity stores whole numbers and fractions as what they are.
        (A::Numeric, A::Integer | A::Real) | (A::Integer | A::Real, A::Numeric) => {
            !is_text_in_numeric(expected) && !is_text_in_numeric(live)
                || is_text_in_numeric(expected) == is_text_in_numeric(live)
        }
        // Dates, times and JSON are text in a column whose name gives it numeric affinity.
        (A::Numeric, A::Text) => is_text_in_numeric(expected),
        (A::Text, A::Numeric) => is_text_in_numeric(live),
        _ => false,
    }
}

fn is_text_in_numeric(kind: &str) -> bool {
    let kind = kind.to_uppercase();
    ["DATE", "TIME", "JSON", "UUID", "STRING"]
        .iter()
        .any(|word| kind.contains(word))
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

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
