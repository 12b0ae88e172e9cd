//! Reads a proposal that a program or a person wrote as JSON.
//!
//! What the writer need not or may not say is filled in: who proposes (the worker that holds the mission) and the
//! risk (`open`). The digest of a file as the writer read it (`before`) is not: it is what keeps an edit that somebody
//! made meanwhile. A patch has its context instead, and becomes the files that it leads to. Everything is checked
//! again later, whoever wrote it.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::apply::{ApplyError, read_file, require_carried};
use super::patch::{FilePatch, PatchError, read_patch};
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
         {{\"patch\": \"a unified diff\"}}, {{\"write\": {{\"path\", \"before\", \"text\"}}}}, \
         {{\"insert\": {{\"path\", \"before\", \"offset\", \"text\"}}}}, \
         {{\"set_variable\": {{\"path\", \"name\", \"value\"}}}}, {{\"sql\": {{\"schema\", \"statements\"}}}}"
    )]
    Shape(#[from] serde_json::Error),
    /// A file that it changes cannot be read.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// It would overwrite what it may not have seen.
    #[error(
        "`{kind}` of {path} needs `before`, the digest (BLAKE3) of the file as you read it, so that no edit made \
         meanwhile is lost: `files` of `ubs missions claim --json` and `ubs missions show --json` has it; or propose \
         a `patch`, which needs none"
    )]
    NoBefore {
        /// `write`, `insert`.
        kind: &'static str,
        /// Which file.
        path: String,
    },
    /// Its patch cannot be used.
    #[error(transparent)]
    Patch(#[from] PatchError),
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
    let mut changes = Vec::new();
    for change in written.changes {
        match change.get("patch") {
            Some(Value::String(patch)) if change.len() == 1 => {
                for file in read_patch(patch)? {
                    changes.push(patched(&file, root)?);
                }
            }
            _ => changes.push(read_change(change, root)?),
        }
    }
    Ok(Proposal {
        fixer: fixer.to_owned(),
        summary: written.summary,
        risk: written.risk.unwrap_or(Risk::Open),
        changes,
    })
}

/// The digest of a file of the workspace that a proposal may touch; `None` if it does not exist.
///
/// # Errors
/// The path is not one that a proposal may touch, or the file cannot be read.
pub(crate) fn file_digest(root: &Path, path: &str) -> Result<Option<Digest>, ApplyError> {
    Ok(read_file(root, path)?.as_deref().map(Digest::of))
}

fn read_change(mut change: Map<String, Value>, root: &Path) -> Result<Change, ProposalError> {
    for kind in ["insert", "write", "delete"] {
        let Some(Value::Object(fields)) = change.get_mut(kind) else {
            continue;
        };
        let path = fields.get("path").and_then(Value::as_str);
        if let (None, Some(path)) = (fields.get("before"), path) {
            // What does not exist yet has no digest.
            if kind != "write" || read_file(root, path)?.is_some() {
                return Err(ProposalError::NoBefore {
                    kind,
                    path: path.escape_debug().to_string(),
                });
            }
            fields.insert("before".to_owned(), Value::Null);
        }
    }
    Ok(serde_json::from_value(Value::Object(change))?)
}

/// The file that a patch leads to.
fn patched(patch: &FilePatch, root: &Path) -> Result<Change, ProposalError> {
    let path = &patch.path;
    require_carried(path)?;
    let bytes = read_file(root, path)?;
    let refuse = |why| ApplyError::Path {
        path: path.escape_debug().to_string(),
        why,
    };
    match (&bytes, patch.creates) {
        (Some(_), true) => return Err(refuse("the patch creates it, and it exists").into()),
        (None, false) => return Err(refuse("the patch changes it, and it does not exist").into()),
        _ => {}
    }
    let text = match std::str::from_utf8(bytes.as_deref().unwrap_or_default()) {
        Ok(text) => text,
        Err(_) => return Err(ApplyError::NotText(path.clone()).into()),
    };
    Ok(Change::Write {
        path: path.clone(),
        before: bytes.as_deref().map(Digest::of),
        text: patch.apply(text)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_writer_need_not_know_is_filled_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.py"), "x = 1\n").unwrap();
        let text = r#"{"summary": "say 2", "changes": [
            {"patch": "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"},
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
        assert!(matches!(&proposal.changes[0], Change::Write { text, .. } if text == "x = 2\n"));
    }

    #[test]
    fn a_file_that_exists_is_overwritten_only_by_who_says_what_it_held() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.py"), "x = 1\n").unwrap();
        let parse = |change: &str| {
            let text = format!(r#"{{"summary": "x", "changes": [{change}]}}"#);
            parse_proposal(&text, "ann", dir.path())
        };
        for change in [
            r#"{"write": {"path": "a.py", "text": "x = 2\n"}}"#,
            r#"{"insert": {"path": "a.py", "offset": 0, "text": "x = 2\n"}}"#,
            r#"{"insert": {"path": "new.py", "offset": 0, "text": "x = 2\n"}}"#,
        ] {
            let error = parse(change).unwrap_err().to_string();
            assert!(
                error.contains("needs `before`") && error.contains("claim --json"),
                "{error}"
            );
        }
        let before = Digest::of(b"x = 1\n");
        let write =
            format!(r#"{{"write": {{"path": "a.py", "before": "{before}", "text": "y"}}}}"#);
        assert!(parse(&write).is_ok());
        for (patch, why) in [
            (
                "--- a/a.py\\n+++ b/a.py\\n@@ -1 +1 @@\\n-x = 9\\n+x = 2\\n",
                "does not fit a.py",
            ),
            (
                "--- /dev/null\\n+++ b/a.py\\n@@ -0,0 +1 @@\\n+x\\n",
                "it exists",
            ),
            (
                "--- a/b.py\\n+++ b/b.py\\n@@ -1 +1 @@\\n-x\\n+y\\n",
                "does not exist",
            ),
            (
                "--- a/../b.py\\n+++ b/../b.py\\n@@ -1 +1 @@\\n-x\\n+y\\n",
                "leaves the workspace",
            ),
            (
                "--- /dev/null\\n+++ b/venv/x.py\\n@@ -0,0 +1 @@\\n+y\\n",
                "no trial has it",
            ),
        ] {
            let error = parse(&format!(r#"{{"patch": "{patch}"}}"#))
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{patch}: {error}");
        }
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
