//! From findings to failures: one for each signature. Tables of one database that are missing together are one
//! failure too: one cause, one mission, one proposal.
//!
//! Pure. A single missing table stays what it is, with the signature that it always had.

use std::borrow::Cow;

use super::order::{Failure, SignedFailure};
use crate::domain::code::Code;
use crate::domain::finding::{CheckName, Finding};
use crate::domain::ids::Digest;
use crate::domain::remedy::{Cause, NEEDS_APPROVAL, PROPOSED, Remedy, one_script};
use crate::domain::signature::sign_finding;

/// Fact of a failure that stands for several: the subjects of their findings.
const TABLES: &str = "tables";
/// Tables that a message names.
const LISTED_MAX: usize = 10;

/// The failures that the findings of one pre-flight describe: one for each signature, and one for all tables that
/// one database lacks. The finding with a remedy, then that with the most facts, describes it, since a fixer can do
/// most with that one; among equals the first.
pub(crate) fn group_failures<'a>(
    findings: impl IntoIterator<Item = (CheckName, &'a Finding)>,
) -> Vec<SignedFailure> {
    let mut failures: Vec<SignedFailure> = Vec::new();
    for (check, finding) in gather(findings) {
        let signature = sign_finding(&finding);
        let failure = Failure::of_finding(check, &finding);
        match failures.iter_mut().find(|f| f.signature == signature) {
            None => failures.push(SignedFailure { signature, failure }),
            Some(known) => {
                let critical = known.failure.critical || failure.critical;
                let helps = |failure: &Failure| (failure.fix.is_some(), failure.facts.len());
                if helps(&failure) > helps(&known.failure) {
                    known.failure = failure;
                }
                known.failure.critical = critical;
            }
        }
    }
    failures
}

/// The findings, with those about missing tables of one database as one where the same is to be done about them.
fn gather<'a>(
    findings: impl IntoIterator<Item = (CheckName, &'a Finding)>,
) -> Vec<(CheckName, Cow<'a, Finding>)> {
    let mut gathered: Vec<(CheckName, Vec<&'a Finding>)> = Vec::new();
    for (check, finding) in findings {
        let same = |(other, members): &&mut (CheckName, Vec<&Finding>)| {
            *other == check
                && members
                    .first()
                    .is_some_and(|first| are_alike(first, finding))
        };
        match gathered.iter_mut().find(same) {
            Some((_, members)) => members.push(finding),
            None => gathered.push((check, vec![finding])),
        }
    }
    gathered
        .into_iter()
        .filter_map(|(check, members)| {
            let finding = match members.as_slice() {
                [] => return None,
                [one] => Cow::Borrowed(*one),
                [first, ..] => Cow::Owned(together(first, &members)),
            };
            Some((check, finding))
        })
        .collect()
}

/// The same is to be done about both.
fn are_alike(one: &Finding, other: &Finding) -> bool {
    let is_table =
        |finding: &Finding| finding.code == Code::SchemaMissingTable && finding.cause.is_none();
    if !is_table(one) || !is_table(other) || one.facts.get("schema") != other.facts.get("schema") {
        return false;
    }
    match (&one.fix, &other.fix) {
        (Some(Remedy::RunStatements { .. }), Some(Remedy::RunStatements { .. })) => true,
        (Some(Remedy::ByHand { reason: a, .. }), Some(Remedy::ByHand { reason: b, .. })) => a == b,
        _ => false,
    }
}

fn together(first: &Finding, members: &[&Finding]) -> Finding {
    let schema = first.facts.get("schema").cloned().unwrap_or_default();
    let subjects: Vec<&str> = members
        .iter()
        .map(|finding| finding.subject.as_str())
        .collect();
    let more = subjects.len().saturating_sub(LISTED_MAX);
    let mut listed = subjects[..subjects.len() - more].join(", ");
    if more > 0 {
        listed.push_str(&format!(", and {more} more"));
    }
    let place = first.message.split_once(" is missing in ");
    let place = place.map_or_else(
        || format!("database {schema}"),
        |(_, place)| place.to_owned(),
    );
    // In the order of the findings, which is that of the references; what several of them need comes once.
    let mut statements: Vec<String> = Vec::new();
    let mut scripts: Vec<&str> = Vec::new();
    for finding in members {
        match &finding.fix {
            Some(Remedy::RunStatements {
                statements: own, ..
            }) => {
                for statement in own {
                    if !statements.contains(statement) {
                        statements.push(statement.clone());
                    }
                }
            }
            Some(Remedy::ByHand {
                statements: Some(script),
                ..
            }) if !scripts.contains(&script.as_str()) => scripts.push(script),
            _ => {}
        }
    }
    let mut finding = first.clone();
    finding.message = format!("{} tables are missing in {place}: {listed}", subjects.len());
    finding.fix = match &first.fix {
        Some(Remedy::ByHand { reason, .. }) => {
            finding.remedy.clone_from(&first.remedy);
            Some(Remedy::ByHand {
                reason: reason.clone(),
                statements: (!scripts.is_empty()).then(|| one_script(scripts.iter().copied())),
            })
        }
        _ => {
            finding.remedy = Some(format!("create the {} tables", subjects.len()));
            Some(Remedy::RunStatements {
                schema: schema.clone(),
                statements,
            })
        }
    };
    finding.facts.remove("table");
    // What asks for one of them asks for all: they are made together.
    for name in [NEEDS_APPROVAL, PROPOSED] {
        if let Some(asked) = members.iter().find_map(|member| member.facts.get(name)) {
            finding.facts.insert(name.to_owned(), asked.clone());
        }
    }
    finding.facts.insert(TABLES.to_owned(), subjects.join(", "));
    // Other tables are another failure: what could not be done for these may be done for those.
    let mut sorted = subjects;
    sorted.sort_unstable();
    let digest = Digest::of(sorted.join("\u{1f}").as_bytes()).to_string();
    finding.cause = Some(Cause::Pending(digest[..16].to_owned()));
    finding.subject = schema;
    finding
}

impl Failure {
    /// Tables that are missing together; none for any other failure.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &str> {
        let is_gathered = self.code == Code::SchemaMissingTable;
        let tables = self.facts.get(TABLES).filter(|_| is_gathered);
        tables.into_iter().flat_map(|tables| tables.split(", "))
    }

    /// A table that this failure is about is missing in `other` too, alone or with others.
    pub(crate) fn shares_table_with(&self, other: &Self) -> bool {
        let is_missing = |failure: &Self| failure.code == Code::SchemaMissingTable;
        let names = |failure: &Self, table: &str| {
            failure.subject == table || failure.tables().any(|name| name == table)
        };
        is_missing(self)
            && is_missing(other)
            && self.check == other.check
            && self.facts.get("schema") == other.facts.get("schema")
            && (self.tables().any(|table| names(other, table))
                || other.tables().any(|table| names(self, table)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(table: &str) -> Finding {
        Finding::of(
            Code::SchemaMissingTable,
            table,
            format!("table {table} is missing in database main (app.db)"),
        )
        .fact("schema", "main")
        .fix(Remedy::RunStatements {
            schema: "main".into(),
            statements: vec!["CREATE TYPE mood".into(), format!("CREATE TABLE {table}")],
        })
    }

    fn failures(findings: &[Finding]) -> Vec<crate::domain::mission::SignedFailure> {
        group_failures(findings.iter().map(|finding| (CheckName::Schema, finding)))
    }

    #[test]
    fn many_missing_tables_are_one_failure_and_a_single_one_is_what_it_was() {
        let all: Vec<Finding> = (0..50).map(|n| missing(&format!("t{n}"))).collect();
        let one = failures(&all[..1]);
        assert_eq!(one[0].signature, sign_finding(&all[0]));
        let together = failures(&all);
        assert_eq!(together.len(), 1);
        let failure = &together[0].failure;
        assert_eq!(failure.subject, "main");
        assert!(
            failure
                .error
                .starts_with("50 tables are missing in database main (app.db): t0, t1,")
        );
        assert!(failure.error.ends_with("and 40 more"), "{}", failure.error);
        let Some(Remedy::RunStatements { statements, .. }) = &failure.fix else {
            panic!("{failure:?}");
        };
        // The type that all need is created once, first.
        assert_eq!(statements.len(), 51);
        assert_eq!(statements[..2], ["CREATE TYPE mood", "CREATE TABLE t0"]);
        // The order does not matter, the set does.
        let mut turned = all.clone();
        turned.reverse();
        assert_eq!(failures(&turned)[0].signature, together[0].signature);
        let fewer = failures(&all[1..]);
        assert_ne!(fewer[0].signature, together[0].signature);
        assert!(failure.shares_table_with(&fewer[0].failure));
        assert!(failure.shares_table_with(&one[0].failure));
        assert!(one[0].failure.shares_table_with(failure));
        assert!(!one[0].failure.shares_table_with(&fewer[0].failure));
    }

    #[test]
    fn another_database_or_another_remedy_is_another_failure() {
        let elsewhere = missing("audit:a").fact("schema", "audit");
        let by_hand = missing("b").fix(Remedy::ByHand {
            reason: "a circle".into(),
            statements: None,
        });
        assert_eq!(failures(&[missing("a"), elsewhere, by_hand]).len(), 3);
    }
}
