//! Expected against live, in the terms of the live database: what it considers the same is no difference.
//!
//! A missing thing carries the statements that add it, where SQLite can add it without touching a row;
//! where it cannot, the finding says why not.

use std::collections::BTreeMap;

use std::collections::HashSet;

use rusqlite::Connection;

use super::pairs::{Pairs, Served};
use super::proposed::propose;
use super::rename;
use super::rule_details::Namesake;
use crate::database::handle::Live;
use crate::database::model::{Column, Dialect, Index, Schema, Table};
use crate::database::postgres::ddl::{self, Proposed, Rights};
use crate::database::sql::quote::identifier;
use crate::database::sql::text::Token;
use crate::database::sql::words::words;
use crate::database::sqlite::add_column::add_column;
use crate::database::types::same_type;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Location, Severity};
use crate::domain::remedy::Remedy;

/// Tables that migration tools keep for themselves.
const TOOL_TABLES: [&str; 1] = ["alembic_version"];
/// Tables that tools keep beside those of the code.
const KEPT_BY_TOOLS: [&str; 6] = [
    "_sqlx_migrations",
    "django_migrations",
    "flyway_schema_history",
    "refinery_schema_history",
    "schema_migrations",
    "spatial_ref_sys",
];
/// More tables that the code does not know are another application's; they are told in one finding.
const UNKNOWN_MAX: usize = 20;

/// One database and what is expected of it.
pub(super) struct Comparison<'a> {
    /// Name of the `[[schema]]`.
    pub schema: &'a str,
    /// The database, for people: `database main (app.db)`.
    pub database: String,
    /// Patterns of tables that are not compared.
    pub ignore: &'a [String],
    pub live: &'a Schema,
    /// The server itself, for PostgreSQL.
    pub server: Option<&'a Live>,
    /// Tables that the code expects in the same database by another `[[schema]]`.
    pub others: &'a [Table],
    /// Tables in which the migrations of the application keep what they did.
    pub books: &'a [String],
    /// What may be changed there; PostgreSQL only.
    pub rights: &'a Rights,
    /// Where a table is defined in the source.
    pub locate: &'a dyn Fn(&str) -> Option<Location>,
}

impl Comparison<'_> {
    /// Tables that are compared.
    pub(super) fn compared<'t>(&self, expected: &'t [Table]) -> impl Iterator<Item = &'t Table> {
        expected
            .iter()
            .filter(|table| self.is_reachable(table) && !self.is_ignored(&table.name))
    }

    /// SQLite has one schema.
    fn is_reachable(&self, table: &Table) -> bool {
        self.live.dialect == Dialect::Postgres || is_in_main(table)
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
    pub(super) fn differences(&self, expected: &[Table]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let renamed = rename::tables(self.live, self.compared(expected), expected, self.others);
        for table in self.compared(expected) {
            match self.live.table(table.schema.as_deref(), &table.name) {
                None => findings.push(match renamed.get(table.name.as_str()) {
                    Some(old) => self.renamed_table(table, old),
                    None => self.missing_table(table, expected),
                }),
                Some(live) => self.compare_table(table, live, &mut findings),
            }
        }
        self.tell_unknown(expected, &renamed, &mut findings);
        if let Some(Live::Postgres(server)) = self.server
            && server.is_tired()
        {
            findings.push(Finding::of(
                Code::SchemaNotCompared,
                self.schema,
                format!(
                    "{} took too long to tell which expressions are the same; some were not compared",
                    self.database
                ),
            ));
        }
        let elsewhere: Vec<&str> = expected
            .iter()
            .filter(|table| !self.is_reachable(table) && !self.is_ignored(&table.name))
            .map(|table| table.name.as_str())
            .collect();
        if !elsewhere.is_empty() {
            findings.push(Finding::of(
                Code::SchemaNotCompared,
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

    /// Tables that the code does not know: they harm no boot.
    fn tell_unknown(
        &self,
        expected: &[Table],
        renamed: &BTreeMap<&str, &str>,
        findings: &mut Vec<Finding>,
    ) {
        // Without models, nobody knows any.
        if self.compared(expected).next().is_none() {
            return;
        }
        let is_kept = |name: &str| {
            let mut kept = KEPT_BY_TOOLS
                .into_iter()
                .chain(self.books.iter().map(String::as_str));
            kept.any(|tool| name.eq_ignore_ascii_case(tool))
        };
        let unknown: Vec<&str> = rename::unknown(self.live, expected, self.others)
            .into_iter()
            .map(|table| table.name.as_str())
            .filter(|name| !self.is_ignored(name) && !is_kept(name))
            .filter(|name| !renamed.values().any(|old| old == name))
            .collect();
        if unknown.len() > UNKNOWN_MAX {
            let message = format!(
                "{} has {} that the code does not know: {}, and more",
                self.database,
                crate::checks::count(unknown.len(), "table"),
                unknown[..UNKNOWN_MAX].join(", ")
            );
            let subject = self.schema.to_owned();
            findings.push(self.finding(Code::SchemaExtraTable, Severity::Info, subject, message));
            return;
        }
        for name in unknown {
            let message = format!("table {name} is in {}, but not in the code", self.database);
            let subject = name.to_owned();
            findings.push(self.finding(Code::SchemaExtraTable, Severity::Info, subject, message));
        }
    }

    pub(super) fn finding(
        &self,
        code: Code,
        severity: Severity,
        subject: String,
        message: String,
    ) -> Finding {
        Finding::new(code, severity, subject, message).fact("schema", self.schema)
    }

    /// Tries statements in an empty database with the live definitions that they name: what it refuses, the live
    /// one refuses too.
    fn accepts(&self, statements: &[String]) -> Result<(), String> {
        let in_words = |error: rusqlite::Error| format!("SQLite refuses it: {error}");
        let connection = Connection::open_in_memory().map_err(in_words)?;
        // SQLite takes a string for a name where one belongs.
        let named: HashSet<String> = statements
            .iter()
            .flat_map(|statement| words(Dialect::Sqlite, statement))
            .filter(|word| word.is_name() || matches!(word.token, Token::Text(_)))
            .map(|word| word.name().trim_matches('\'').to_lowercase())
            .collect();
        let is_named = |name: &str| named.contains(&name.to_lowercase());
        for table in &self.live.tables {
            let mut indexes = table.indexes.iter();
            if !is_named(&table.name)
                && !indexes.any(|index| index.name.as_deref().is_some_and(is_named))
            {
                continue;
            }
            // What needs a module that is not here (a virtual table) is left out.
            let _ = connection.execute(table.ddl.as_deref().unwrap_or_default(), []);
            for sql in table.indexes.iter().filter_map(|index| index.ddl.as_ref()) {
                let _ = connection.execute(sql, []);
            }
        }
        for statement in statements {
            connection.execute(statement, []).map_err(in_words)?;
        }
        Ok(())
    }

    /// With the statements that mend it, or the reason why a person has to.
    fn with_statements(
        &self,
        finding: Finding,
        statements: Result<Vec<String>, String>,
        by_hand: &str,
    ) -> Finding {
        if self.live.dialect == Dialect::Postgres {
            return propose(
                Proposed::from(statements),
                finding,
                self.rights,
                self.schema,
                by_hand,
            );
        }
        let tried = statements.and_then(|statements| {
            self.accepts(&statements)?;
            Ok(statements)
        });
        match tried {
            Ok(statements) => {
                let first = statements.first().map_or("", String::as_str);
                let first: Vec<&str> = first.split_whitespace().collect();
                let shown = crate::domain::redact::truncate(&first.join(" "), 200);
                let schema = self.schema.to_owned();
                finding
                    .remedy(format!("run {shown}"))
                    .fix(Remedy::RunStatements { schema, statements })
            }
            Err(why) => finding.remedy(format!("{by_hand}; not automatically, because {why}")),
        }
    }

    fn missing_table(&self, table: &Table, expected: &[Table]) -> Finding {
        let mut finding = self
            .finding(
                Code::SchemaMissingTable,
                Severity::Critical,
                table.name.clone(),
                format!("table {} is missing in {}", table.name, self.database),
            )
            .fact("table", table.name.as_str());
        finding.location = (self.locate)(&table.name);
        if self.live.dialect == Dialect::Postgres {
            return propose(
                ddl::create_table(self.live, table, expected, self.rights),
                finding,
                self.rights,
                self.schema,
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
                self.live.dialect.title(),
                table.problem
            )),
        };
        self.with_statements(finding, statements, "create the table")
    }

    fn compare_table(&self, table: &Table, live: &Table, findings: &mut Vec<Finding>) {
        let subject = |column: &str| format!("{}.{column}", table.name);
        let renamed = rename::columns(self.live.dialect, table, live);
        for column in &table.columns {
            match live.column(self.live.dialect, &column.name) {
                None => {
                    let mut finding = self
                        .finding(
                            Code::SchemaMissingColumn,
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
                    if let Some(old) = renamed.get(column.name.as_str()) {
                        findings.push(self.renamed_column(table, column, old));
                        continue;
                    }
                    let by_hand = "write a migration that adds the column";
                    findings.push(match self.live.dialect {
                        Dialect::Sqlite => {
                            let statements = add_column(table, column, live);
                            self.with_statements(finding, statements, by_hand)
                        }
                        Dialect::Postgres => propose(
                            ddl::add_column(table, column, live, self.rights),
                            finding,
                            self.rights,
                            self.schema,
                            by_hand,
                        ),
                    });
                }
                Some(found) if !live.is_view => {
                    let subject = subject(&column.name);
                    findings.extend(self.compare_column(&subject, live, column, found));
                    findings.extend(self.compare_origin(table, live, column, found));
                }
                Some(_) => {}
            }
        }
        if live.is_view {
            return;
        }
        for column in &live.columns {
            let is_renamed = renamed.values().any(|old| *old == column.name);
            if !is_renamed && table.column(self.live.dialect, &column.name).is_none() {
                findings.push(self.finding(
                    Code::SchemaExtraColumn,
                    Severity::Info,
                    subject(&column.name),
                    format!(
                        "column {} of table {} is in {}, but not in the code",
                        column.name, table.name, self.database
                    ),
                ));
            }
        }
        let pairs = Pairs::of(self, table, live);
        for (at, index) in table.indexes.iter().enumerate() {
            findings.extend(self.missing_index(table, index, live, pairs.served(at)));
        }
        findings.extend(self.compare_rules(table, live, &pairs));
    }

    fn compare_column(
        &self,
        subject: &str,
        table: &Table,
        expected: &Column,
        live: &Column,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let (Some(kind), Some(found)) = (&expected.kind, &live.kind)
            && !same_type(self.live.dialect, expected, live)
        {
            let labels = |column: &Column| match &column.labels {
                Some(labels) => format!(" ({})", labels.join(", ")),
                None => String::new(),
            };
            let kind = format!("{kind}{}", labels(expected));
            let found = format!("{found}{}", labels(live));
            findings.push(
                self.finding(
                    Code::SchemaTypeMismatch,
                    Severity::Warning,
                    subject.to_owned(),
                    format!(
                        "{subject} is {} in {}, and the code expects {kind}",
                        if found.is_empty() { "untyped" } else { &found },
                        self.database
                    ),
                )
                .remedy("correct the model, or write a migration that changes the type"),
            );
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
            findings.push(
                self.finding(
                    Code::SchemaNullableMismatch,
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
        findings.extend(self.compare_default(subject, table, expected, live));
        findings
    }

    fn renamed_table(&self, table: &Table, old: &str) -> Finding {
        let name = &table.name;
        let mut finding = self
            .finding(
                Code::SchemaLikelyRename,
                Severity::Critical,
                name.clone(),
                format!(
                    "table {name} is missing in {}, and {old}, which the code does not know, has its columns",
                    self.database
                ),
            )
            .fact("table", name.as_str())
            .fact("renamed_from", old)
            .remedy(format!(
                "if it was renamed: ALTER TABLE {} RENAME TO {}; not automatically, because only a person knows",
                identifier(old),
                identifier(name)
            ));
        finding.location = (self.locate)(name);
        finding
    }

    fn renamed_column(&self, table: &Table, column: &Column, old: &str) -> Finding {
        let (of, name) = (&table.name, &column.name);
        let mut finding = self
            .finding(
                Code::SchemaLikelyRename,
                Severity::Critical,
                format!("{of}.{name}"),
                format!(
                    "column {name} of table {of} is missing in {}, and {old}, which the code does not know, is of \
                     its type",
                    self.database
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
        finding.location = (self.locate)(of);
        finding
    }

    /// Two indexes that the code expects are one in the database: a query has what it needs.
    fn index_shared(&self, table: &Table, name: &str, by: &Index) -> Finding {
        let by = match &by.name {
            Some(name) if !by.is_implied => format!("index {name}"),
            _ => "the index of a constraint".to_owned(),
        };
        self.finding(
            Code::SchemaMissingIndex,
            Severity::Info,
            format!("{}.{name}", table.name),
            format!(
                "index {name} of table {} is missing in {}, and {by} over the same columns does its work",
                table.name, self.database
            ),
        )
        .fact("table", table.name.as_str())
        .fact("index", name)
        .remedy("take the index out of the model, or write a migration that creates it")
    }

    fn missing_index(
        &self,
        table: &Table,
        index: &Index,
        live: &Table,
        served: Served<'_>,
    ) -> Option<Finding> {
        let name = index.name.as_deref()?;
        let same_name = live.indexes.iter().find(|found| {
            let found = found.name.as_deref();
            found.is_some_and(|found| self.live.dialect.same_name(found, name))
        });
        let lacks_column = index
            .columns
            .iter()
            .flatten()
            .any(|column| live.column(self.live.dialect, column).is_none());
        match served {
            _ if lacks_column => return None,
            Served::Own => return None,
            Served::Shared(by) => return Some(self.index_shared(table, name, by)),
            Served::Nobody => {}
        }
        match same_name.map(|found| self.namesake(table, live, index, found)) {
            Some(Namesake::Differs(finding)) => return Some(*finding),
            Some(Namesake::Alike) => return None,
            Some(Namesake::OfOtherColumns) | None => {}
        }
        let subject = format!("{}.{name}", table.name);
        let mut finding = self
            .finding(
                Code::SchemaMissingIndex,
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
                .ok_or_else(|| "the database's dialect cannot write its definition".to_owned())
        };
        Some(self.with_statements(finding, statements, "create the index"))
    }
}

fn is_in_main(table: &Table) -> bool {
    table
        .schema
        .as_deref()
        .is_none_or(|schema| schema.is_empty() || schema.eq_ignore_ascii_case("main"))
}
