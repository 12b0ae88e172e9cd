//! Fixers that edit source files: an exact insertion, every other byte stays.

use std::path::Path;

use super::Fixer;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::remedy::Remedy;

/// Lets the second definition of a table extend the first (`extend_existing`), where the check
/// found the exact place.
pub(super) struct ExtendExisting;

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
