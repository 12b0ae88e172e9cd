//! The fixer for a database that is behind the migrations of its application.

use std::path::Path;

use super::Fixer;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::remedy::MigrationTool;
use crate::domain::remedy::Remedy;

/// Runs the application's own migrations.
pub(super) struct Migrate;

impl Fixer for Migrate {
    fn name(&self) -> &'static str {
        "migrate"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::Migrate {
            schema,
            tool,
            target,
        }) = failure.fix.clone()
        else {
            return None;
        };
        let shown = match tool {
            MigrationTool::Alembic => "alembic upgrade",
            MigrationTool::Flask => "flask db upgrade",
            MigrationTool::Django => "migrate",
        };
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
