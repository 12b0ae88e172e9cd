//! What the facts of version 1 say in the types of version 2.
//!
//! The names of the facts, and which code each fixer looked at, are those of the programs that wrote
//! version 1. A fact that does not parse gives no remedy, as it gave no proposal then.

use std::collections::BTreeMap;

use crate::domain::ids::Digest;
use crate::log::frame::v2::{Cause, MigrationTool, Remedy};

type Facts = BTreeMap<String, String>;

fn filled(facts: &Facts, key: &str) -> Option<String> {
    facts.get(key).filter(|text| !text.is_empty()).cloned()
}

/// What signed the failure beside code and subject.
pub(super) fn cause_of(facts: &Facts) -> Option<Cause> {
    let exception = facts.get("exception").cloned().map(Cause::Exception);
    exception.or_else(|| facts.get("pending").cloned().map(Cause::Pending))
}

/// What a fixer would have done.
pub(super) fn remedy_of(code: &str, facts: &Facts) -> Option<Remedy> {
    let automatic = match code {
        "schema.pending_migration" | "schema.not_migrated" => migrate(facts),
        "schema.duplicate_table" => insert_text(facts),
        "schema.missing_table" | "schema.missing_column" | "schema.missing_index" => {
            run_statements(facts)
        }
        "config.missing" => set_default(facts).or_else(|| generate_secret(facts)),
        "config.placeholder" | "config.invalid" => generate_secret(facts),
        _ => None,
    };
    automatic.or_else(|| by_hand(facts))
}

fn migrate(facts: &Facts) -> Option<Remedy> {
    let tool = match filled(facts, "migrate")?.as_str() {
        "alembic" => MigrationTool::Alembic,
        "flask" => MigrationTool::Flask,
        "django" => MigrationTool::Django,
        _ => return None,
    };
    Some(Remedy::Migrate {
        schema: filled(facts, "schema")?,
        tool,
        target: filled(facts, "alias").unwrap_or_else(|| "heads".to_owned()),
    })
}

fn insert_text(facts: &Facts) -> Option<Remedy> {
    let before: Digest = filled(facts, "file_digest")?.parse().ok()?;
    Some(Remedy::InsertText {
        file: filled(facts, "file")?,
        before: before.0,
        offset: filled(facts, "insert_offset")?.parse().ok()?,
        text: filled(facts, "insert_text")?,
    })
}

fn run_statements(facts: &Facts) -> Option<Remedy> {
    let statements: Vec<String> = serde_json::from_str(facts.get("ddl")?).ok()?;
    if statements.is_empty() {
        return None;
    }
    Some(Remedy::RunStatements {
        schema: filled(facts, "schema")?,
        statements,
    })
}

fn set_default(facts: &Facts) -> Option<Remedy> {
    if filled(facts, "secret").is_some() {
        return None;
    }
    Some(Remedy::SetDefault {
        file: filled(facts, "file")?,
        name: filled(facts, "name")?,
        value: facts.get("default")?.clone(),
    })
}

fn generate_secret(facts: &Facts) -> Option<Remedy> {
    if facts.get("generate").is_none_or(|fact| fact != "true") {
        return None;
    }
    Some(Remedy::GenerateSecret {
        file: filled(facts, "file")?,
        name: filled(facts, "name")?,
    })
}

fn by_hand(facts: &Facts) -> Option<Remedy> {
    Some(Remedy::ByHand {
        reason: filled(facts, "left_to_a_person")?,
        statements: filled(facts, "statements"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pairs: &[(&str, &str)]) -> Facts {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn facts_that_gave_no_proposal_give_no_remedy() {
        for (code, pairs) in [
            (
                "schema.missing_table",
                &[("ddl", "CREATE TABLE t (x)"), ("schema", "main")][..],
            ),
            ("schema.missing_table", &[("ddl", "[]"), ("schema", "main")]),
            (
                "schema.missing_table",
                &[("ddl", "[\"CREATE TABLE t (x)\"]")],
            ),
            (
                "schema.extra_table",
                &[("ddl", "[\"CREATE TABLE t (x)\"]"), ("schema", "main")],
            ),
            (
                "schema.not_migrated",
                &[("migrate", "flyway"), ("schema", "main")],
            ),
            (
                "config.missing",
                &[
                    ("name", "A"),
                    ("file", ".env"),
                    ("secret", "true"),
                    ("default", "x"),
                ],
            ),
            (
                "config.invalid",
                &[("name", "A"), ("file", ".env"), ("default", "x")],
            ),
            (
                "schema.duplicate_table",
                &[
                    ("file", "a.py"),
                    ("file_digest", "00"),
                    ("insert_offset", "1"),
                    ("insert_text", "x"),
                ],
            ),
        ] {
            assert_eq!(remedy_of(code, &facts(pairs)), None, "{code} {pairs:?}");
        }
    }

    #[test]
    fn an_exception_signs_before_what_waits() {
        let both = facts(&[("exception", "E: x"), ("pending", "0123")]);
        assert_eq!(cause_of(&both), Some(Cause::Exception("E: x".into())));
        assert_eq!(cause_of(&facts(&[])), None);
    }
}
