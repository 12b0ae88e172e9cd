//! Reads a proposal that a program or a person wrote as JSON.
//!
//! What the writer need not or may not say is filled in: who proposes (the worker that holds the
//! mission), the risk (`open`), and the digest of a file as it is now (`before`). Everything is checked again later, whoever wrote it.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::apply::{ApplyError, read_file};
use crate::domain::ids::Digest;
use crate::domain::mission::{Change, Proposal, Risk};

/// Longest text of a proposal, bytes.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// The text is no proposal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// Too long.
    #[error("the proposal has {0} bytes (at most {TEXT_BYTES_MAX})")]
    TooLong(usize),
    /// Not JSON, or not of this shape.
    #[error(
        "the text is no proposal: {0}; it is {{\"summary\": \"...\", \"changes\": [...]}} with changes such as \
         {{\"write\": {{\"path\": \"a.py\", \"text\": \"...\"}}}}, {{\"insert\": {{\"path\", \"offset\", \"text\"}}}}, \
         {{\"set_variable\": {{\"path\", \"name\", \"value\"}}}}, {{\"sql\": {{\"schema\", \"statements\"}}}}"
    )]
    Shape(#[from] serde_json::Error),
    /// A file that it changes cannot be read.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProposal {
    summary: String,
    risk: Option<Risk>,
    changes: Vec<Map<String, Value>>,
}

/// The proposal that `text` describes, made by `fixer` for the workspace at `root`.
///
/// # Errors
/// The text is too long or of another shape, or a file that it changes cannot be read.
pub fn parse_proposal(text: &str, fixer: &str, root: &Path) -> Result<Proposal, ProposalError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ProposalError::TooLong(text.len()));
    }
    let written: WrittenProposal = serde_json::from_str(text)?;
    let changes = written
        .changes
        .into_iter()
        .map(|change| read_change(change, root))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Proposal {
        fixer: fixer.to_owned(),
        summary: written.summary,
        risk: written.risk.unwrap_or(Risk::Open),
        changes,
    })
}

fn read_change(mut change: Map<String, Value>, root: &Path) -> Result<Change, ProposalError> {
    for kind in ["insert", "write"] {
        let Some(Value::Object(fields)) = change.get_mut(kind) else {
            continue;
        };
        let path = fields.get("path").and_then(Value::as_str);
        if let (None, Some(path)) = (fields.get("before"), path) {
            let before = read_file(root, path)?.map(|bytes| Digest::of(&bytes).to_string());
            fields.insert(
                "before".to_owned(),
                before.map_or(Value::Null, Value::String),
            );
        }
    }
    Ok(serde_json::from_value(Value::Object(change))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_writer_need_not_know_is_filled_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.py"), "x = 1\n").unwrap();
        let text = r#"{"summary": "say 2", "changes": [
            {"write": {"path": "a.py", "text": "x = 2\n"}},
            {"write": {"path": "b.py", "text": "y = 1\n"}},
            {"sql": {"schema": "main", "statements": ["CREATE TABLE t (x)"]}}]}"#;
        let proposal = parse_proposal(text, "ann", dir.path()).unwrap();
        assert_eq!(
            (proposal.fixer.as_str(), proposal.risk),
            ("ann", Risk::Open)
        );
        let before = |index: usize| match &proposal.changes[index] {
            Change::Write { before, .. } => *before,
            other => panic!("{other:?}"),
        };
        assert_eq!(before(0), Some(Digest::of(b"x = 1\n")));
        assert_eq!(before(1), None);
    }

    #[test]
    fn other_shapes_and_other_places_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in [
            "",
            "[]",
            r#"{"summary": "x"}"#,
            r#"{"summary": "x", "changes": [{"remove": {"path": "a"}}]}"#,
            r#"{"summary": "x", "changes": [], "sudo": true}"#,
            r#"{"summary": "x", "changes": [{"write": {"path": "../a", "text": ""}}]}"#,
        ] {
            assert!(parse_proposal(text, "ann", dir.path()).is_err(), "{text}");
        }
    }
}
