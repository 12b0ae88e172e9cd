//! The fixer for a database that is behind the migrations of its application.

use std::path::Path;

use super::{Fixer, fact};
use crate::domain::code::Code;
use crate::domain::mission::{Change, Failure, MigrationTool, Proposal, Risk};

/// Runs the application's own migrations.
pub(super) struct Migrate;

impl Fixer for Migrate {
    fn name(&self) -> &'static str {
        "migrate"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let codes = [Code::SchemaPendingMigration, Code::SchemaNotMigrated];
        if !codes.contains(&failure.code) {
            return None;
        }
        let schema = fact(failure, "schema")?.to_owned();
        let (tool, shown) = match fact(failure, "migrate")? {
            "alembic" => (MigrationTool::Alembic, "alembic upgrade"),
            "flask" => (MigrationTool::Flask, "flask db upgrade"),
            "django" => (MigrationTool::Django, "migrate"),
            _ => return None,
        };
        // What Django calls the database, if that is not its default one.
        let target = fact(failure, "alias").unwrap_or("heads").to_owned();
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!("bring database {schema} up to date by its migrations ({shown})"),
            // What they really do is measured in the trial.
            risk: Risk::Additive,
            changes: vec![Change::Migrate {
                schema,
                tool,
                target,
            }],
        })
    }
}
