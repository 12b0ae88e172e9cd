//! What a database itself says about the migrations that were applied to it: the small tables of the
//! tools. Reads only.

use rusqlite::Connection;

use super::super::live::{self, Database};
use crate::checks::CheckContext;
use crate::manifest::Schema;

/// Rows of a tool's table that are read.
const ROWS_MAX: usize = 100_000;

/// An open database.
pub(super) struct Ledger {
    connection: Connection,
    /// `database main (app.db)`.
    pub shown: String,
}

impl Ledger {
    /// `None` if the database is no SQLite file, or cannot be read: that is a finding of its own. A file
    /// that does not exist is empty.
    pub(super) fn open(context: &CheckContext<'_>, schema: &Schema) -> Option<Self> {
        let url = context.environment.expand(&schema.database).ok()?;
        let Database::File(path) = live::parse_url(&url, context.root) else {
            return None;
        };
        let inside = path.strip_prefix(context.root).unwrap_or(&path).display();
        let shown = format!("database {} ({inside})", schema.name);
        let connection = if path.exists() {
            live::open(&path).ok()?
        } else if path.parent().is_some_and(std::path::Path::is_dir) {
            Connection::open_in_memory().ok()?
        } else {
            return None;
        };
        Some(Self { connection, shown })
    }

    /// The table is there.
    pub(super) fn has(&self, table: &str) -> bool {
        let sql = "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND lower(name) = lower(?1)";
        let found = self.connection.query_row(sql, [table], |row| row.get(0));
        found.is_ok_and(|n: i64| n > 0)
    }

    /// Tables besides those named.
    pub(super) fn other_tables(&self, tools: &[&str]) -> usize {
        let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        let names = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare(sql)?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        let is_tool = |name: &String| tools.iter().any(|tool| name.eq_ignore_ascii_case(tool));
        names().map_or(0, |names| {
            names.iter().filter(|name| !is_tool(name)).count()
        })
    }

    /// Columns of a table as text (blobs as hexadecimal digits, NULL as an empty text). `None` if the
    /// table has no such columns.
    pub(super) fn rows(&self, table: &str, columns: &[&str]) -> Option<Vec<Vec<String>>> {
        use rusqlite::types::ValueRef;
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let list: Vec<String> = columns
            .iter()
            // In quotes, an unknown name would be a string to SQLite.
            .map(|name| format!("t.{}", quoted(name)))
            .collect();
        let sql = format!(
            "SELECT {} FROM main.{} AS t LIMIT {ROWS_MAX}",
            list.join(", "),
            quoted(table)
        );
        let read = || -> rusqlite::Result<Vec<Vec<String>>> {
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            let mut read = Vec::new();
            while let Some(row) = rows.next()? {
                let mut texts = Vec::with_capacity(columns.len());
                for at in 0..columns.len() {
                    texts.push(match row.get_ref(at)? {
                        ValueRef::Null => String::new(),
                        ValueRef::Integer(n) => n.to_string(),
                        ValueRef::Real(n) => n.to_string(),
                        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        ValueRef::Blob(bytes) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
                    });
                }
                read.push(texts);
            }
            Ok(read)
        };
        read().ok()
    }
}
