//! Fixers for a live database that lacks something the code expects.

use std::path::Path;

use super::Fixer;
use crate::domain::code::Code;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::remedy::{NEEDS_APPROVAL, PROPOSED, REWRITES, Remedy};

/// Creates a missing table, with its indexes.
pub(super) struct CreateTable;
/// Adds a missing column, where the database can do it without touching a row.
pub(super) struct AddColumn;
/// Creates a missing index.
pub(super) struct CreateIndex;

/// Changes what a database has, or fills rows with a value that nobody gave: for a person to approve.
pub(super) struct ChangeSchema;

/// The statements that the check measured, as one proposal.
fn propose_ddl(failure: &Failure, code: Code, fixer: &'static str, verb: &str) -> Option<Proposal> {
    if failure.code != code || failure.facts.contains_key(NEEDS_APPROVAL) {
        return None;
    }
    let Some(Remedy::RunStatements { schema, statements }) = failure.fix.clone() else {
        return None;
    };
    if statements.is_empty() {
        return None;
    }
    let tables = failure.tables().count();
    Some(Proposal {
        fixer: fixer.to_owned(),
        summary: if tables > 0 {
            format!("create {tables} tables in database {schema}")
        } else {
            format!("{verb} {} in database {schema}", failure.subject)
        },
        risk: Risk::Additive,
        changes: vec![Change::Sql { schema, statements }],
    })
}

impl Fixer for CreateTable {
    fn name(&self) -> &'static str {
        "create_table"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        propose_ddl(
            failure,
            Code::SchemaMissingTable,
            self.name(),
            "create table",
        )
    }
}

impl Fixer for AddColumn {
    fn name(&self) -> &'static str {
        "add_column"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        propose_ddl(
            failure,
            Code::SchemaMissingColumn,
            self.name(),
            "add column",
        )
    }
}

impl Fixer for CreateIndex {
    fn name(&self) -> &'static str {
        "create_index"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        propose_ddl(
            failure,
            Code::SchemaMissingIndex,
            self.name(),
            "create index",
        )
    }
}

impl Fixer for ChangeSchema {
    fn name(&self) -> &'static str {
        "change_schema"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let why = failure.facts.get(NEEDS_APPROVAL)?;
        let Some(Remedy::RunStatements { schema, statements }) = failure.fix.clone() else {
            return None;
        };
        let what = failure.facts.get(PROPOSED);
        let what = what.map_or_else(|| format!("change {}", failure.subject), Clone::clone);
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!("in database {schema}, {what}; {why}: look at it first"),
            // Neither class lets policy do it by itself.
            risk: match failure.facts.contains_key(REWRITES) {
                true => Risk::Destructive,
                false => Risk::Guarded,
            },
            changes: vec![Change::Sql { schema, statements }],
        })
    }
}
