//! Fixers for the environment file.

use std::path::Path;

use super::Fixer;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::remedy::Remedy;

/// Random bytes of a generated secret: 256 bits.
const SECRET_BYTES: u32 = 32;

/// Writes the manifest's default of a variable that is missing and not secret.
pub(super) struct SetDefault;
/// Writes a random value for a secret whose manifest says `generate = true`.
pub(super) struct GenerateSecret;

impl Fixer for SetDefault {
    fn name(&self) -> &'static str {
        "set_default"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::SetDefault { file, name, value }) = failure.fix.clone() else {
            return None;
        };
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!("write the default of {name} to {file}"),
            risk: Risk::Additive,
            changes: vec![Change::SetVariable {
                path: file,
                name,
                value,
            }],
        })
    }
}

impl Fixer for GenerateSecret {
    fn name(&self) -> &'static str {
        "generate_secret"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::GenerateSecret { file, name }) = failure.fix.clone() else {
            return None;
        };
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!("write a random value for {name} to {file}"),
            risk: Risk::Additive,
            changes: vec![Change::GenerateSecret {
                path: file,
                name,
                bytes: SECRET_BYTES,
            }],
        })
    }
}
