//! Finds out which tool a database has its migrations from, and asks it.

use super::status::Migrated;
use super::{alembic, django, sql_folder};
use crate::checks::context::CheckContext;
use crate::checks::python::ProbeError;
use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::domain::remedy::{BROUGHT_BY, Remedy};
use crate::manifest::{Expect, Schema};

/// Looks at the migrations that `schema` expects. `None` if it expects none.
///
/// # Errors
/// The application's interpreter could not be run.
pub(in crate::checks::schema) fn examine(
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
pub(in crate::checks::schema) fn leave_to_migrations(
    schema: &Schema,
    mut finding: Finding,
) -> Finding {
    // How far a sequence has come is no migration's affair.
    if schema.models.is_none()
        || finding.code == Code::SchemaSequenceBehind
        || finding.facts.contains_key(BROUGHT_BY)
    {
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
