//! Fixers for what is no file's content: a directory that is missing, a permission, what a dead process left behind.

use std::path::Path;

use super::Fixer;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::remedy::Remedy;

/// Creates a directory that the application needs.
pub(super) struct MakeDirectory;
/// Lets the owner write what the application has to write.
pub(super) struct AddMode;
/// Moves aside what a process that is gone left behind.
pub(super) struct MoveAside;

impl Fixer for MakeDirectory {
    fn name(&self) -> &'static str {
        "make_directory"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::MakeDirectory { path }) = failure.fix.clone() else {
            return None;
        };
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!("create the directory {path}"),
            risk: Risk::Additive,
            changes: vec![Change::MakeDirectory { path }],
        })
    }
}

impl Fixer for AddMode {
    fn name(&self) -> &'static str {
        "add_mode"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::AddMode { path, bits }) = failure.fix.clone() else {
            return None;
        };
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!("let its owner use {path}"),
            risk: Risk::Edit,
            changes: vec![Change::AddMode { path, bits }],
        })
    }
}

impl Fixer for MoveAside {
    fn name(&self) -> &'static str {
        "move_aside"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::MoveAside { path }) = failure.fix.clone() else {
            return None;
        };
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!("move {path} aside: the process that it belonged to is gone"),
            risk: Risk::Edit,
            changes: vec![Change::MoveAside { path }],
        })
    }
}
