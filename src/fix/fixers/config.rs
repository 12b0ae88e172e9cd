//! Fixers for the environment file.

use std::path::Path;

use super::{Fixer, fact};
use crate::domain::code::Code;
use crate::domain::mission::{Change, Failure, Proposal, Risk};

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
        if failure.code != Code::ConfigMissing || fact(failure, "secret").is_some() {
            return None;
        }
        let path = fact(failure, "file")?.to_owned();
        let name = fact(failure, "name")?.to_owned();
        let value = failure.facts.get("default")?.clone();
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!("write the default of {name} to {path}"),
            risk: Risk::Additive,
            changes: vec![Change::SetVariable { path, name, value }],
        })
    }
}

impl Fixer for GenerateSecret {
    fn name(&self) -> &'static str {
        "generate_secret"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let about_value = matches!(
            failure.code,
            Code::ConfigMissing | Code::ConfigPlaceholder | Code::ConfigInvalid
        );
        if !about_value || fact(failure, "generate") != Some("true") {
            return None;
        }
        let path = fact(failure, "file")?.to_owned();
        let name = fact(failure, "name")?.to_owned();
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!("write a random value for {name} to {path}"),
            risk: Risk::Additive,
            changes: vec![Change::GenerateSecret {
                path,
                name,
                bytes: SECRET_BYTES,
            }],
        })
    }
}
