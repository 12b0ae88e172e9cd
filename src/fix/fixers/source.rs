//! Fixers that edit source files: an exact insertion, every other byte stays.

use std::path::Path;

use super::{Fixer, fact};
use crate::domain::code::Code;
use crate::domain::mission::{Change, Failure, Proposal, Risk};

/// Lets the second definition of a table extend the first (`extend_existing`), where the check
/// found the exact place.
pub(super) struct ExtendExisting;

impl Fixer for ExtendExisting {
    fn name(&self) -> &'static str {
        "extend_existing"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        if failure.code != Code::SchemaDuplicateTable {
            return None;
        }
        let path = fact(failure, "file")?.to_owned();
        let text = failure
            .facts
            .get("insert_text")
            .filter(|text| !text.is_empty())?
            .clone();
        let offset = fact(failure, "insert_offset")?.parse().ok()?;
        let before = fact(failure, "file_digest")?.parse().ok()?;
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!(
                "let the second definition of table {} in {path} extend the first",
                failure.subject
            ),
            risk: Risk::Edit,
            changes: vec![Change::Insert {
                path,
                before,
                offset,
                text,
            }],
        })
    }
}
