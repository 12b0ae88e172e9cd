//! Fixers that edit source files: an exact insertion, every other byte stays.

use std::path::Path;

use super::Fixer;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::remedy::{NEEDS_APPROVAL, Remedy};

/// Lets the second definition of a table extend the first (`extend_existing`), where the check
/// found the exact place.
pub(super) struct ExtendExisting;

/// Corrects a name, mounts a router, makes a package: the edit that the check found.
pub(super) struct EditText;

impl Fixer for EditText {
    fn name(&self) -> &'static str {
        "edit_text"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::EditText {
            file,
            before,
            edits,
            what,
        }) = failure.fix.clone()
        else {
            return None;
        };
        let approval = failure.facts.get(NEEDS_APPROVAL);
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: match approval {
                Some(why) => format!("in {file}, {what}; {why}: look at it first"),
                None => format!("in {file}, {what}"),
            },
            risk: if approval.is_some() {
                Risk::Guarded
            } else {
                Risk::Edit
            },
            changes: vec![match before {
                Some(before) => Change::Edit {
                    path: file,
                    before,
                    edits,
                },
                None => Change::Write {
                    path: file,
                    before: None,
                    text: edits.into_iter().map(|edit| edit.text).collect(),
                },
            }],
        })
    }
}

impl Fixer for ExtendExisting {
    fn name(&self) -> &'static str {
        "extend_existing"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::InsertText {
            file,
            before,
            offset,
            text,
        }) = failure.fix.clone()
        else {
            return None;
        };
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!(
                "let the second definition of table {} in {file} extend the first",
                failure.subject
            ),
            risk: Risk::Edit,
            changes: vec![Change::Insert {
                path: file,
                before,
                offset,
                text,
            }],
        })
    }
}
