//! Applications with migrations: what their history says, and how far the database is.
//!
//! Alembic and SQL folders are read without running anything; Django's graph is built by the
//! application's own interpreter in the sandbox, without a connection. What was applied is read from
//! the tools' own tables.

mod alembic;
mod command;
mod config_file;
mod django;
mod environment;
mod graph;
mod ledger;
mod revision;
mod sql_folder;
pub(super) mod sql_names;
mod sql_tools;
mod text_file;

use std::path::Path;

use crate::checks::python::ProbeError;
use crate::checks::{CheckContext, count};
use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::domain::remedy::{Cause, MigrationTool, Remedy};
use crate::manifest::{Expect, Schema};

pub(crate) use command::{migration_books, migration_command};

/// Migrations that a message names.
const LISTED_MAX: usize = 10;

/// What the migrations say about one database.
#[derive(Debug, Default)]
pub(super) struct Migrated {
    pub findings: Vec<Finding>,
    /// All migrations are applied and nothing is wrong with them: tables may be compared.
    pub at_head: bool,
    /// Nothing is pending, whatever else is wrong.
    is_current: bool,
    /// The history could not be read.
    is_unknown: bool,
}

/// One migration that is not applied.
#[derive(Debug, Clone)]
struct Step {
    name: String,
    file: String,
    line: u32,
}

/// Looks at the migrations that `schema` expects. `None` if it expects none.
///
/// # Errors
/// The application's interpreter could not be run.
pub(super) fn examine(
    context: &CheckContext<'_>,
    schema: &Schema,
) -> Result<Option<Migrated>, ProbeError> {
    Ok(match &schema.expect {
        Expect::Alembic { config, section } => {
            Some(alembic::examine(context, schema, config, section))
        }
        Expect::Django { settings } => Some(django::examine(context, schema, settings)?),
        Expect::Sql { pattern } => sql_folder::examine(context, schema, pattern),
        Expect::SqlAlchemy { .. } => None,
    })
}

/// A database that has migrations is not changed behind their back: what differs needs a new one.
pub(super) fn leave_to_migrations(schema: &Schema, mut finding: Finding) -> Finding {
    if schema.models.is_none() {
        return finding;
    }
    let without_statements = match &finding.fix {
        Some(Remedy::RunStatements { .. }) => Some(None),
        Some(Remedy::ByHand {
            reason,
            statements: Some(_),
        }) => Some(Some(Remedy::ByHand {
            reason: reason.clone(),
            statements: None,
        })),
        _ => None,
    };
    if let Some(fix) = without_statements {
        finding.fix = fix;
        finding.remedy = Some(
            "the models changed without a migration: write one, for example with `alembic revision --autogenerate`"
                .to_owned(),
        );
    }
    finding
}

/// `a, b, and 3 more`.
fn listed(all: &[String]) -> String {
    let more = all.len().saturating_sub(LISTED_MAX);
    let mut text = all[..all.len() - more].join(", ");
    if more > 0 {
        text.push_str(&format!(", and {more} more"));
    }
    text
}

/// Who upgrades a database that is behind.
enum Upgrader {
    /// This tool, when the fixer asks for it, up to this target.
    Tool(MigrationTool, String),
    /// Needs a person, and why, if that is not clear.
    Person(Option<String>),
}

impl Upgrader {
    fn attach(&self, schema: &Schema, mut finding: Finding) -> Finding {
        match self {
            Self::Tool(tool, target) => finding.fix(Remedy::Migrate {
                schema: schema.name.clone(),
                tool: *tool,
                target: target.clone(),
            }),
            Self::Person(None) => finding,
            Self::Person(Some(why)) => {
                finding.remedy = finding
                    .remedy
                    .map(|remedy| format!("{remedy}; not automatically, because {why}"));
                finding.fix(Remedy::ByHand {
                    reason: why.clone(),
                    statements: None,
                })
            }
        }
    }
}

/// The finding with what waits: with other contents of these files, it is another failure.
fn with_pending(finding: Finding, root: &Path, steps: &[Step]) -> Finding {
    let mut hasher = blake3::Hasher::new();
    for step in steps {
        let contents = std::fs::read(root.join(&step.file)).unwrap_or_default();
        hasher.update(blake3::hash(step.name.as_bytes()).as_bytes());
        hasher.update(blake3::hash(&contents).as_bytes());
    }
    let digest = hasher.finalize().to_hex();
    finding.cause(Cause::Pending(digest[..16].to_owned()))
}

/// The database is behind.
fn pending(
    root: &Path,
    schema: &Schema,
    place: &str,
    steps: &[Step],
    command: &str,
    upgrader: &Upgrader,
) -> Finding {
    let names: Vec<String> = steps
        .iter()
        .map(|step| format!("{} ({})", step.name, step.file))
        .collect();
    let mut finding = Finding::of(
        Code::SchemaPendingMigration,
        schema.name.as_str(),
        format!(
            "{place} is {} behind: {}",
            count(steps.len(), "migration"),
            listed(&names)
        ),
    )
    .remedy(format!("run `{command}`"))
    .fact("schema", schema.name.as_str());
    if let Some(first) = steps.first() {
        finding = finding.at(first.file.clone(), first.line, 0);
    }
    with_pending(upgrader.attach(schema, finding), root, steps)
}

#[cfg(test)]
mod tests;
