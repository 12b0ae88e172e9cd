//! One database and what is expected of it: what every part of the comparison is given.

use std::cell::Cell;
use std::time::Duration;

use crate::database::handle::Live;
use crate::database::judge::Judge;
use crate::database::model::{DatabaseSchema, Dialect, Table};
use crate::database::postgres::ddl::Rights;
use crate::database::sql::words::{unwrapped, words, written};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Location, Severity};
use crate::domain::redact::truncate;

/// Tables that migration tools keep for themselves.
pub(super) const TOOL_TABLES: [&str; 1] = ["alembic_version"];
/// How much of an expression is shown.
const SHOWN_BYTES_MAX: usize = 120;

/// One database and what is expected of it.
pub(super) struct Comparison<'a> {
    /// Name of the `[[schema]]`.
    pub schema: &'a str,
    /// The database, for people: `database main (app.db)`.
    pub database: String,
    /// Patterns of tables that are not compared.
    pub ignore: &'a [String],
    pub live: &'a DatabaseSchema,
    /// The server itself, for PostgreSQL.
    pub server: Option<&'a Live>,
    /// The database itself, if it is there.
    pub asked: Option<&'a Live>,
    /// How long rows have been counted.
    pub spent: Cell<Duration>,
    /// Tables that the code expects in the same database by another `[[schema]]`.
    pub others: &'a [Table],
    /// Tables in which the migrations of the application keep what they did.
    pub migration_tables: &'a [String],
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
    pub(super) fn is_reachable(&self, table: &Table) -> bool {
        self.live.dialect == Dialect::Postgres || is_in_main(table)
    }

    /// Tables of the database, of tools, and those that the manifest leaves out.
    pub(super) fn is_ignored(&self, table: &str) -> bool {
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

    pub(super) fn judge(&self) -> Judge<'_> {
        Judge {
            dialect: self.live.dialect,
            server: self.server,
        }
    }

    /// A finding of this schema.
    pub(super) fn finding(
        &self,
        code: Code,
        severity: Severity,
        subject: String,
        message: String,
    ) -> Finding {
        Finding::new(code, severity, subject, message).fact("schema", self.schema)
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
}

fn is_in_main(table: &Table) -> bool {
    table
        .schema
        .as_deref()
        .is_none_or(|schema| schema.is_empty() || schema.eq_ignore_ascii_case("main"))
}

/// An expression on one line, without brackets around it, cut.
pub(super) fn shown(dialect: Dialect, text: &str) -> String {
    let all = words(dialect, text);
    let inner = written(text, unwrapped(&all));
    let words: Vec<&str> = inner.split_whitespace().collect();
    truncate(&words.join(" "), SHOWN_BYTES_MAX)
}
