//! The schema that the code expects: from SQLAlchemy models, by the application's own interpreter, or
//! from SQL files, applied to an empty database in memory.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use serde::Deserialize;

use super::sql_files::sql_files;
use crate::checks::advice::{advise, general_remedy};
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::python::{
    NoAnswer, PROBE_TIMEOUT_MS, ProbeAnswer, ProbeError, ProbeProgram, run_probe,
};
use crate::checks::raised::Raised;
use crate::database::model::{Column, DatabaseSchema, Dialect, Index, Rule, Table};
use crate::database::sql::quote::identifier;
use crate::database::sqlite::live::read_schema;
use crate::database::sqlite::text::{IndexPart, index_part};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::remedy::Cause;

/// Time for all of them.
const SQL_TIME_MAX: Duration = Duration::from_secs(20);
/// Pages of the database in memory: 256 MiB of 4 KiB each.
const SQL_PAGES_MAX: u32 = 65_536;
/// Virtual machine steps between two looks at the clock.
const SQL_STEPS: i32 = 10_000;

/// What the models gave.
pub(super) enum Models {
    Tables(Vec<Table>),
    Raised(Box<Raised>),
    NoAnswer(NoAnswer),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ModelsAnswer {
    tables: Vec<Table>,
    raised: Option<Box<Raised>>,
}

/// Imports the models in the sandbox and reads what they expect.
pub(super) fn read_models(
    context: &CheckContext<'_>,
    module: &str,
    attribute: &str,
    dialect: Dialect,
) -> Result<Models, ProbeError> {
    let input = serde_json::json!({
        "module": module, "attribute": attribute, "dialect": dialect.name(),
    });
    let ran = run_probe::<ModelsAnswer>(
        context,
        &AsRun::of_module(context, module),
        ProbeProgram::Models,
        input,
        PROBE_TIMEOUT_MS,
        false,
    )?;
    Ok(match ran.answer {
        ProbeAnswer::Given(ModelsAnswer {
            raised: Some(raised),
            ..
        }) => Models::Raised(raised),
        ProbeAnswer::Given(mut answer) => {
            let indexes = answer
                .tables
                .iter_mut()
                .flat_map(|table| &mut table.indexes);
            indexes.for_each(|index| tell_parts(index, dialect));
            Models::Tables(answer.tables)
        }
        ProbeAnswer::None(why) => Models::NoAnswer(why),
    })
}

/// Models that raise something else than a duplicate.
pub(super) fn raised_otherwise(
    context: &CheckContext<'_>,
    target: &str,
    raised: &Raised,
) -> Finding {
    let redactor = context.redactor;
    let location = raised.location(redactor);
    let place = location
        .as_ref()
        .map_or_else(String::new, |l| format!(" ({}:{})", l.file, l.line));
    let line = raised.line(redactor);
    let module = target.split(':').next().unwrap_or(target);
    let cause = context.sandbox_cause(raised);
    let (severity, why) = match &cause {
        Some(cause) => (
            Severity::Warning,
            format!("; {}", cause.why("check", redactor)),
        ),
        None => (Severity::Critical, String::new()),
    };
    let of_cause = cause.as_ref().and_then(|cause| cause.remedy("application"));
    let remedy = of_cause.unwrap_or_else(|| {
        let known = match cause {
            Some(_) => None,
            None => advise(context, &AsRun::of_module(context, module), None, raised),
        };
        general_remedy(context, None, raised, module, known.as_ref())
    });
    let mut finding = Finding::new(
        Code::SchemaModelsUnloadable,
        severity,
        target,
        format!("the models {target} cannot be loaded: {line}{place}{why}"),
    )
    .remedy(remedy)
    .cause(Cause::Exception(raised.text(redactor)))
    .fact("module", module);
    finding.location = location;
    finding.detail = raised.detail(redactor);
    finding
}

/// Models that give no answer.
pub(super) fn unanswered(target: &str, why: &NoAnswer) -> Finding {
    let mut finding = Finding::of(
        Code::SchemaModelsUnloadable,
        target,
        format!("loading the models {target} {}", why.why),
    )
    .remedy("models must exist after the import alone, without running anything");
    finding.location = why.location.clone();
    finding.detail = why.output.clone();
    finding
}

/// Text that stands for a column is one (`text("name DESC")`).
fn tell_parts(index: &mut Index, dialect: Dialect) {
    for (column, expression) in index.columns.iter_mut().zip(&mut index.expressions) {
        let text = expression.take().filter(|_| column.is_none());
        match text.map(|text| index_part(dialect, &text)) {
            Some(IndexPart::Column(name)) => *column = Some(name),
            Some(IndexPart::Expression(text)) => *expression = Some(text),
            None => {}
        }
    }
}

/// Applies the SQL files that match `pattern` below the workspace, in the order of their names.
///
/// # Errors
/// A finding that says what is wrong with the files.
pub(super) fn read_sql(
    context: &CheckContext<'_>,
    pattern: &str,
) -> Result<Vec<Table>, Box<Finding>> {
    let fail = |message: String| {
        Box::new(
            Finding::of(Code::SchemaModelsUnloadable, pattern, message)
                .remedy("correct the SQL files, or `expect` in the manifest"),
        )
    };
    let files = sql_files(context.root, pattern).map_err(&fail)?;
    let mut connection = guarded_memory().map_err(|error| fail(error.to_string()))?;
    for file in &files {
        let shown = file.strip_prefix(context.root).unwrap_or(file).display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| fail(format!("{shown} cannot be read: {error}")))?;
        connection.execute_batch(&text).map_err(|error| {
            let (line, why) = place_in(&text, &error);
            fail(format!(
                "{shown} cannot be applied to an empty SQLite database: {why}"
            ))
            .at(shown.to_string(), line, 0)
        })?;
    }
    connection
        .authorizer(None::<fn(AuthContext<'_>) -> Authorization>)
        .map_err(|error| fail(error.to_string()))?;
    let schema = read_schema(&connection).map_err(|error| fail(error.to_string()))?;
    Ok(expected_of(schema))
}

/// Line of the statement that failed, 0 if it is not known, and what SQLite says.
fn place_in(text: &str, error: &rusqlite::Error) -> (u32, String) {
    match error {
        // The offset is within `sql`, which is the rest of the text from the statement on.
        rusqlite::Error::SqlInputError {
            msg, offset, sql, ..
        } => {
            let begin = text.find(sql.as_str()).unwrap_or(0);
            let at = begin + usize::try_from(*offset).unwrap_or(0);
            let before = text.as_bytes().iter().take(at).filter(|b| **b == b'\n');
            (
                u32::try_from(before.count() + 1).unwrap_or(0),
                msg.to_owned(),
            )
        }
        other => (0, other.to_string()),
    }
}

/// An empty database that hostile SQL cannot leave: no other file, no extension, no endless loop.
fn guarded_memory() -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    connection.pragma_update(None, "max_page_count", SQL_PAGES_MAX)?;
    let deadline = Instant::now() + SQL_TIME_MAX;
    connection.progress_handler(SQL_STEPS, Some(move || Instant::now() > deadline))?;
    connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
        AuthAction::Function { function_name } => {
            // `printf` stays: ALTER TABLE calls it inside.
            let refused = ["load_extension", "zeroblob", "randomblob"];
            if refused
                .iter()
                .any(|name| function_name.eq_ignore_ascii_case(name))
            {
                Authorization::Deny
            } else {
                Authorization::Allow
            }
        }
        // `PRAGMA foreign_keys = ON` and the like stand in such files, and mean nothing here.
        AuthAction::Pragma { .. } => Authorization::Ignore,
        _ => Authorization::Allow,
    }))?;
    Ok(connection)
}

/// What SQL files created, as an expectation.
pub(super) fn expected_of(schema: DatabaseSchema) -> Vec<Table> {
    let mut tables: Vec<Table> = schema.tables;
    tables.retain(|table| !table.is_view);
    for table in &mut tables {
        let sizes: Vec<Vec<usize>> = table
            .columns
            .iter()
            .map(|column| constraint_columns(table, &column.name))
            .collect();
        // A constraint of the statement is not told apart by column: a table that has any is extended
        // by a person.
        let is_checked = has_constraint(table.ddl.as_deref().unwrap_or_default());
        for (column, sizes) in table.columns.iter_mut().zip(sizes) {
            let column: &mut Column = column;
            column.unique = sizes.contains(&1);
            column.checked = is_checked || sizes.iter().any(|n| *n > 1);
            column.quoted = identifier(&column.name);
        }
        table.indexes.retain(|index| index.ddl.is_some());
    }
    tables
}

/// How many columns each unique constraint with this column has.
pub(super) fn constraint_columns(table: &Table, column: &str) -> Vec<usize> {
    table
        .constraints
        .iter()
        .filter_map(|constraint| match &constraint.rule {
            Rule::Unique { columns } if columns.iter().any(|c| c == column) => Some(columns.len()),
            _ => None,
        })
        .collect()
}

fn has_constraint(sql: &str) -> bool {
    let upper = sql.to_uppercase();
    ["CHECK", "REFERENCES", "COLLATE"]
        .iter()
        .any(|word| upper.contains(word))
}
