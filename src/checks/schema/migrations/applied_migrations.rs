//! What a database itself says about the migrations that were applied to it: the small tables of the
//! tools. Reads only.

use std::cell::RefCell;

use rusqlite::Connection;

use super::upgrader::Upgrader;
use crate::checks::context::CheckContext;
use crate::database::handle::Live;
use crate::database::sql::quote::identifier;
use crate::database::sqlite::live;
use crate::database::url::{Database, parse_url};
use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::domain::remedy::MigrationTool;
use crate::manifest::Schema;

/// Rows of a tool's table that are read.
const ROWS_MAX: usize = 100_000;
/// Most rows of a table that are counted.
const COUNTED_MAX: u64 = 1_000_000;

enum OpenDatabase {
    Sqlite(Connection),
    Server(Live),
}

/// An open database.
pub(super) struct AppliedMigrations {
    database: OpenDatabase,
    /// `database main (app.db)`.
    pub shown: String,
    /// Why rows that are there could not be read.
    trouble: RefCell<Option<String>>,
}

impl AppliedMigrations {
    /// `None` if the database cannot be read: that is a finding of its own. A file that does not exist is
    /// empty.
    pub(super) fn open(context: &CheckContext<'_>, schema: &Schema) -> Option<Self> {
        let url = context.environment.expand_url(&schema.database).ok()?;
        let path = match parse_url(&url, context.root) {
            Database::File(path) => path,
            Database::Memory => return None,
            Database::Other => {
                return Some(Self {
                    database: OpenDatabase::Server(Live::postgres(&url).ok()?),
                    shown: format!("database {}", schema.name),
                    trouble: RefCell::default(),
                });
            }
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
        // One moment of it, and a lock or a damage shows before anything is said of what it holds.
        connection
            .execute_batch("BEGIN; SELECT count(*) FROM main.sqlite_schema")
            .ok()?;
        Some(Self {
            database: OpenDatabase::Sqlite(connection),
            shown,
            trouble: RefCell::default(),
        })
    }

    /// The finding for a database whose rows could not be read, so that nothing is known of it.
    pub(super) fn unreadable(&self, schema: &Schema) -> Option<Finding> {
        let why = self.trouble.borrow().clone()?;
        let name = schema.name.as_str();
        let message = format!("{} cannot be read: {why}", self.shown);
        Some(
            Finding::of(Code::SchemaUnreachable, name, message)
                .remedy("restore the database from a backup, or stop the process that locks it")
                .fact("schema", name),
        )
    }

    /// Who may upgrade it: `tool`, if there is one, or a person where the server does not let it be tried.
    pub(super) fn upgrader(&self, tool: Option<(MigrationTool, String)>) -> Upgrader {
        let (why_not, tool, target) = match (&self.database, tool) {
            (_, None) => return Upgrader::Person(None),
            (OpenDatabase::Sqlite(_), Some((tool, target))) => return Upgrader::Tool(tool, target),
            (OpenDatabase::Server(live), Some((tool, target))) => match live.user_rights() {
                Ok(rights) => (rights.why_no_migrations(), tool, target),
                Err(why) => {
                    let why = format!("what the user may do cannot be asked: {why}");
                    (Some(why), tool, target)
                }
            },
        };
        match why_not {
            None => Upgrader::Tool(tool, target),
            Some(why) => Upgrader::Person(Some(why)),
        }
    }

    /// Tables besides those named.
    pub(super) fn other_tables(&self, tools: &[&str]) -> usize {
        let names: Vec<String> = match &self.database {
            OpenDatabase::Sqlite(connection) => sqlite_tables(connection).unwrap_or_default(),
            OpenDatabase::Server(_) => self
                .rows("pg_tables", &["tablename", "schemaname"])
                .unwrap_or_default()
                .into_iter()
                .filter(|row| !["pg_catalog", "information_schema"].contains(&row[1].as_str()))
                .map(|mut row| row.swap_remove(0))
                .collect(),
        };
        let is_tool = |name: &&String| tools.iter().any(|tool| name.eq_ignore_ascii_case(tool));
        names.iter().filter(|name| !is_tool(name)).count()
    }

    /// It is a server's.
    pub(super) fn is_server(&self) -> bool {
        matches!(self.database, OpenDatabase::Server(_))
    }

    /// For how many rows of a table, called `t`, a condition holds; `None` if there is no such table, or they are too many to count.
    pub(super) fn count(&self, table: &str, condition: &str) -> Option<u64> {
        let table = identifier(table);
        let limited = format!("SELECT * FROM {table} LIMIT {}", COUNTED_MAX + 1);
        let sql =
            |condition: &str| format!("SELECT count(*) FROM ({limited}) AS t WHERE {condition}");
        let count = |condition: &str| -> Option<u64> {
            match &self.database {
                OpenDatabase::Sqlite(connection) => {
                    let found = connection.query_row(&sql(condition), [], |row| row.get(0));
                    u64::try_from(found.unwrap_or(-1_i64)).ok()
                }
                OpenDatabase::Server(live) => {
                    let answer = live.try_column(&sql(condition)).ok()?;
                    answer.first()?.parse().ok()
                }
            }
        };
        (count("true")? <= COUNTED_MAX).then(|| count(condition))?
    }

    /// Columns of a table as text (blobs as hexadecimal digits, NULL as an empty text). `None` if the
    /// table has no such columns.
    pub(super) fn rows(&self, table: &str, columns: &[&str]) -> Option<Vec<Vec<String>>> {
        self.rows_in(None, table, columns)
    }

    /// The same of a table in a schema of a server.
    pub(super) fn rows_in(
        &self,
        schema: Option<&str>,
        table: &str,
        columns: &[&str],
    ) -> Option<Vec<Vec<String>>> {
        let connection = match &self.database {
            OpenDatabase::Sqlite(connection) => connection,
            OpenDatabase::Server(live) => {
                let qualified = schema.map(|schema| format!("{schema}.{table}"));
                let table = qualified.as_deref().unwrap_or(table);
                let rows = live.read_table(table, columns, ROWS_MAX).ok()??;
                let text = |value: Option<String>| {
                    let value = value.unwrap_or_default();
                    // A `bytea` as PostgreSQL writes it.
                    value
                        .strip_prefix("\\x")
                        .map_or(value.clone(), str::to_owned)
                };
                let all = |row: Vec<Option<String>>| row.into_iter().map(text).collect();
                return Some(rows.into_iter().map(all).collect());
            }
        };
        use rusqlite::types::ValueRef;
        let list: Vec<String> = columns
            .iter()
            // In quotes, an unknown name would be a string to SQLite.
            .map(|name| format!("t.{}", identifier(name)))
            .collect();
        let sql = format!(
            "SELECT {} FROM main.{} AS t LIMIT {ROWS_MAX}",
            list.join(", "),
            identifier(table)
        );
        let mut statement = connection.prepare(&sql).ok()?;
        let mut read = || -> rusqlite::Result<Vec<Vec<String>>> {
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
        match read() {
            Ok(rows) => Some(rows),
            Err(error) => {
                *self.trouble.borrow_mut() = Some(error.to_string());
                None
            }
        }
    }
}

fn sqlite_tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    statement.query_map([], |row| row.get(0))?.collect()
}
