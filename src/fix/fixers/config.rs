//! Fixers for the environment file.

use std::path::Path;

use super::Fixer;
use crate::domain::code::Code;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::remedy::{IN_USE, NEEDS_APPROVAL, Remedy};

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
            summary: match failure.facts.get(NEEDS_APPROVAL) {
                Some(why) => {
                    format!("write the default of {name} to {file}; {why}: look at it first")
                }
                None => format!("write the default of {name} to {file}"),
            },
            // The class that policy never lets through by itself.
            risk: if failure.facts.contains_key(NEEDS_APPROVAL) {
                Risk::Destructive
            } else {
                Risk::Additive
            },
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
        // A value that works is not replaced because it looks weak.
        let is_placeholder = failure.code == Code::ConfigPlaceholder;
        let is_missing = failure.code == Code::ConfigMissing;
        let replaces = !(is_missing || is_placeholder) || failure.facts.contains_key(IN_USE);
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: if replaces && is_missing {
                format!(
                    "write a random value for {name} to {file}; the last boot that was up had another one, and what was \
                     signed or encrypted with that still needs it: look at it first"
                )
            } else if replaces {
                format!(
                    "replace the value of {name} in {file} by a random one; what was signed or encrypted with the \
                     old one still needs that (it is kept in the state directory, below replaced/)"
                )
            } else {
                format!("write a random value for {name} to {file}")
            },
            risk: if replaces {
                Risk::Destructive
            } else {
                Risk::Additive
            },
            changes: vec![Change::GenerateSecret {
                path: file,
                name,
                bytes: SECRET_BYTES,
            }],
        })
    }
}
