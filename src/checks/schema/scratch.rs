//! The schema that SQL files make on PostgreSQL: applied to a scratch database beside the live one, and read
//! from its catalog.
//!
//! The files are hostile, and the user may be allowed much (a superuser's statement can run programs on the
//! server). So what they say is only carried out as far as it makes tables, types, views and indexes
//! ([`judge`]): no functions are made and no rows are written, so nothing of theirs is ever evaluated. Each
//! statement goes to the server alone and has a limit of time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::expected::{self, constraint_columns};
use super::sql_files::sql_files;
use crate::checks::context::CheckContext;
use crate::database::handle::Live;
use crate::database::model::{Rule, Table};
use crate::database::postgres::dump::without_marks_for_psql;
use crate::database::postgres::own_database::{OwnDatabase, Purpose, Template};
use crate::database::postgres::session::{ServerError, Session};
use crate::database::postgres::user_rights::UserRights;
use crate::database::sql::quote::identifier;
use crate::database::sql::statement::{Judged, judge, place_of};
use crate::database::sql::text::{line_of, statements};
use crate::database::unreachable::Unreachable;
use crate::database::url::is_postgres;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::Schema;

/// How long one statement, and all of them, may take.
const STATEMENT_MAX: Duration = Duration::from_secs(10);
const TOTAL_MAX: Duration = Duration::from_secs(60);
const ASK_MAX: Duration = Duration::from_secs(10);

/// What SQL files expect, by the kind of database that they are for; `None` if it is out of reach.
pub(super) fn read_sql(
    context: &CheckContext<'_>,
    schema: &Schema,
    pattern: &str,
) -> Result<Option<Vec<Table>>, Box<Finding>> {
    match context.environment.expand_url(&schema.database) {
        Ok(url) if is_postgres(&url) => read_on_server(context, schema, pattern, &url),
        _ => expected::read_sql(context, pattern).map(Some),
    }
}

/// What the files expect of the database at `url`; `None` if the server is out of reach, which is reported
/// elsewhere.
///
/// # Errors
/// A finding that says why they cannot be applied.
fn read_on_server(
    context: &CheckContext<'_>,
    schema: &Schema,
    pattern: &str,
    url: &str,
) -> Result<Option<Vec<Table>>, Box<Finding>> {
    let Ok(live) = Session::connect(url) else {
        return Ok(None);
    };
    let not_compared = |why: String, remedy: &str| {
        let message = format!(
            "database {} is not compared with {pattern}: {why}",
            schema.name
        );
        Box::new(
            Finding::new(
                Code::SchemaNotCompared,
                Severity::Warning,
                schema.name.as_str(),
                message,
            )
            .remedy(remedy)
            .fact("schema", schema.name.as_str()),
        )
    };
    let unmade = |error: ServerError| {
        not_compared(
            format!("no scratch database can be made and read: {error}"),
            "make sure that the server has room for another database and that the user may connect to it",
        )
    };
    if let Some(why) = UserRights::read(&live).map_err(unmade)?.why_no_clone() {
        return Err(not_compared(
            format!("no scratch database can be made for the files: {why}"),
            "let the user create databases, or compare with `sqlalchemy:module:attribute`",
        ));
    }
    let unapplied = |message: String| {
        Box::new(
            Finding::of(Code::SchemaModelsUnloadable, pattern, message)
                .remedy("correct the SQL files, or `expect` in the manifest"),
        )
    };
    let files = sql_files(context.root, pattern).map_err(&unapplied)?;
    let scratch =
        OwnDatabase::create(&Arc::new(live), Purpose::Scratch, Template::Empty).map_err(unmade)?;
    let session = scratch.connect().map_err(unmade)?;
    session.limit(STATEMENT_MAX).map_err(unmade)?;
    let mut applied = AppliedScripts::default();
    let begun = Instant::now();
    for file in &files {
        let shown = file
            .strip_prefix(context.root)
            .unwrap_or(file)
            .display()
            .to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| unapplied(format!("{shown} cannot be read: {error}")))?;
        let text = without_marks_for_psql(&text);
        if let Err(stop) = applied.apply(&session, &text, begun) {
            return Err(match stop {
                ScriptStop::Refused { line, why } => Box::new(
                    not_compared(
                        format!("{shown}:{line}: {why}"),
                        "take it out of the files that `expect` matches, or compare with `sqlalchemy:module:attribute`",
                    )
                    .at(shown, line, 0),
                ),
                ScriptStop::Failed { line, why } => Box::new(
                    unapplied(format!(
                        "{shown} cannot be applied to an empty PostgreSQL database: {why}"
                    ))
                    .at(shown, line, 0),
                ),
            });
        }
    }
    let read = applied.read(&session, &scratch);
    drop(session);
    read.map(Some)
        .map_err(|found: Unreachable| unmade(ServerError::new(found.why)))
}

/// Why the files are not applied to their end.
#[derive(Debug)]
enum ScriptStop {
    /// We do not do it.
    Refused { line: u32, why: String },
    /// The server does not do it.
    Failed { line: u32, why: String },
}

/// What was carried out.
#[derive(Debug, Default)]
struct AppliedScripts {
    /// Statements about a table, in order: its schema, if named, its name, the statement.
    of_tables: Vec<(Option<String>, String, String)>,
    /// A statement that makes a function or the like was left out.
    left_out_code: bool,
}

impl AppliedScripts {
    fn apply(&mut self, session: &Session, text: &str, begun: Instant) -> Result<(), ScriptStop> {
        let refused = |at: usize, why: &str| ScriptStop::Refused {
            line: line_of(text, at),
            why: why.to_owned(),
        };
        for statement in statements(text).map_err(|(at, why)| refused(at, why))? {
            let Some(begin) = statement.first().map(|placed| placed.begin) else {
                continue;
            };
            let runs = match judge(text, &statement) {
                Judged::Skip => continue,
                Judged::SkipCode => {
                    self.left_out_code = true;
                    continue;
                }
                Judged::Refuse(why) => return Err(refused(begin, why)),
                Judged::Run(all) => all,
            };
            for sql in runs {
                if begun.elapsed() > TOTAL_MAX {
                    let why = format!("the files take longer than {} s", TOTAL_MAX.as_secs());
                    return Err(refused(begin, &why));
                }
                if let Err(error) = session.run_one(&sql, STATEMENT_MAX) {
                    let at = error.position.map_or(0, |at| {
                        let chars = usize::try_from(at).unwrap_or(1).saturating_sub(1);
                        sql.char_indices().nth(chars).map_or(0, |(at, _)| at)
                    });
                    if self.left_out_code && error.is_unknown_function() {
                        let why = format!(
                            "it needs a function of the files ({error}), and functions are not made for the comparison"
                        );
                        return Err(refused(begin + at, &why));
                    }
                    return Err(ScriptStop::Failed {
                        line: line_of(text, begin + at),
                        why: error.to_string(),
                    });
                }
                if let Some((schema, name)) = place_of(&sql) {
                    self.of_tables.push((schema, name, sql));
                }
            }
        }
        Ok(())
    }

    /// The tables that came of it, as an expectation.
    fn read(&self, session: &Session, scratch: &OwnDatabase) -> Result<Vec<Table>, Unreachable> {
        let reported = |error: ServerError| Unreachable::other(error.to_string());
        // As the application sees it, not as the files left it.
        session
            .run("RESET search_path", ASK_MAX)
            .map_err(reported)?;
        let column = |row: Vec<Option<String>>| row.into_iter().next().flatten();
        let schemas: Vec<String> = session
            .rows(
                "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'",
                ASK_MAX,
            )
            .map_err(reported)?
            .into_iter()
            .filter_map(column)
            .collect();
        // In the short form, names on the search path stand alone, as in a statement of the application.
        let indexes = session
            .rows(
                "SELECT n.nspname, c.relname, x.relname, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true) \
                 FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                 JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid",
                ASK_MAX,
            )
            .map_err(reported)?;
        let wanted: Vec<&str> = schemas.iter().map(String::as_str).collect();
        let made = Live::postgres(&scratch.url())?.schema(&wanted)?;
        let visible: Vec<String> = made
            .tables
            .iter()
            .filter(|table| !table.is_hidden)
            .map(|table| table.name.clone())
            .collect();
        let mut tables = made.tables;
        tables.retain(|table| !table.is_view);
        for table in &mut tables {
            let of = |row: &&Vec<Option<String>>| {
                row[0] == table.schema && row[1].as_deref() == Some(&table.name)
            };
            for row in indexes.iter().filter(of) {
                let index = table.indexes.iter_mut().find(|index| index.name == row[2]);
                if let Some(index) = index {
                    index.ddl.clone_from(&row[3]);
                }
            }
            self.complete(table, &visible);
        }
        Ok(tables)
    }

    fn complete(&self, table: &mut Table, visible: &[String]) {
        let script: Vec<&str> = self
            .of_tables
            .iter()
            .filter(|(schema, name, _)| {
                *name == table.name && (schema.is_none() || *schema == table.schema)
            })
            .map(|(.., sql)| sql.as_str())
            .collect();
        // One statement is for a fixer, more are for a person.
        table.ddl = (!script.is_empty()).then(|| script.join(";\n"));
        table.indexes.retain(|index| !index.is_implied);
        for at in 0..table.columns.len() {
            let name = table.columns[at].name.clone();
            let sizes = constraint_columns(table, &name);
            let is_bound = table.constraints.iter().any(|constraint| {
                let is_hard = matches!(
                    constraint.rule,
                    Rule::Check { .. } | Rule::ForeignKey { .. }
                );
                is_hard && constraint.rule.columns().contains(&name)
            });
            let column = &mut table.columns[at];
            column.unique = sizes.contains(&1);
            column.checked = is_bound || sizes.iter().any(|n| *n > 1);
            column.quoted = identifier(&name);
        }
        // Where the application's search path leads is for the live database to say.
        for constraint in &mut table.constraints {
            if let Rule::ForeignKey {
                schema, table: to, ..
            } = &mut constraint.rule
                && visible.contains(to)
            {
                *schema = None;
            }
        }
        if !table.is_hidden {
            table.schema = None;
        }
    }
}

#[cfg(test)]
mod tests;
