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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::{CheckName, Finding};
    use crate::fix::fixers::FIXERS;

    #[test]
    fn what_a_person_decides_is_proposed_once_and_in_a_class_that_no_policy_lets_through() {
        let finding = Finding::of(Code::SchemaMissingColumn, "t.c", "column c is missing").fix(
            Remedy::RunStatements {
                schema: "main".into(),
                statements: vec!["ALTER TABLE t ADD COLUMN c".into()],
            },
        );
        let proposed = |finding: &Finding| -> Vec<(String, Risk)> {
            let failure = Failure::of_finding(CheckName::Schema, finding);
            let found = FIXERS
                .iter()
                .filter_map(|fixer| fixer.propose(&failure, Path::new(".")));
            found.map(|one| (one.fixer, one.risk)).collect()
        };
        let of = |name: &str, risk| vec![(name.to_owned(), risk)];
        assert_eq!(proposed(&finding), of("add_column", Risk::Additive));
        let asks = finding.fact(NEEDS_APPROVAL, "why").fact(PROPOSED, "add it");
        assert_eq!(proposed(&asks), of("change_schema", Risk::Guarded));
        let rewrites = asks.fact(REWRITES, "true");
        assert_eq!(proposed(&rewrites), of("change_schema", Risk::Destructive));
    }
}
