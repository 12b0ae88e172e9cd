//! The fixer for packages that are missing, or of a version that does not do.

use std::path::Path;

use super::Fixer;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::remedy::{NEEDS_APPROVAL, Remedy};

/// Installs packages; which versions exactly, the worker asks pip before it proposes them.
pub(super) struct InstallPackages;

impl Fixer for InstallPackages {
    fn name(&self) -> &'static str {
        "install_packages"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::Packages {
            environment,
            requirements,
            what,
            ..
        }) = failure.fix.clone()
        else {
            return None;
        };
        let asks = failure.facts.contains_key(NEEDS_APPROVAL);
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: what,
            risk: if asks { Risk::Guarded } else { Risk::Additive },
            changes: vec![Change::Packages {
                environment,
                install: requirements,
            }],
        })
    }
}
