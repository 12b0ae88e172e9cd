//! What asking a vault needs, and what every kind of vault says in the same words.

use std::collections::BTreeMap;
use std::path::Path;

use super::names::Names;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::{Environment, EnvironmentError, Vault, VaultKey};

/// What asking a vault needs.
pub(super) struct Asked<'a> {
    pub vault: &'a Vault,
    pub root: &'a Path,
    pub environment: &'a Environment,
    pub manifest_name: String,
}

impl Asked<'_> {
    /// A finding about the vault as a whole.
    pub(super) fn about(&self, code: Code, severity: Severity, message: String) -> Finding {
        Finding::new(code, severity, "vault", message).at(
            self.manifest_name.as_str(),
            self.vault.line,
            0,
        )
    }

    /// `text` with its variables, or what to say about the one that is not set.
    pub(super) fn expand(&self, text: &str, what: &str) -> Result<String, Box<Finding>> {
        self.environment.expand(text).map_err(|error| {
            let finding = match error {
                EnvironmentError::Unset { name } => {
                    let message =
                        format!("{name} is not set, and {what} of the vault is taken from it");
                    let remedy = format!("set {name} in an environment file or in the environment");
                    Finding::new(Code::ConfigMissing, Severity::Critical, name, message)
                        .remedy(remedy)
                }
                error => Finding::new(
                    Code::ConfigInvalid,
                    Severity::Critical,
                    "vault",
                    format!("{what} of the vault cannot be determined: {error}"),
                ),
            };
            Box::new(finding.at(self.manifest_name.as_str(), self.vault.line, 0))
        })
    }

    /// One finding for each key that is not among the names, or has nothing in it.
    pub(super) fn missing_keys(&self, names: &Names, place: &str) -> Vec<Finding> {
        let keys = self.vault.keys.iter();
        keys.filter_map(|key| match names.get(&key.path) {
            Some(true) => None,
            Some(false) => Some(self.missing_key(key, format!("{} is empty in {place}", key.path))),
            None => Some(self.missing_key(key, format!("{} is not in {place}", key.path))),
        })
        .collect()
    }

    pub(super) fn missing_key(&self, key: &VaultKey, message: String) -> Finding {
        let subject = key_name(key);
        let remedy = format!("put {subject} into the vault, or take it out of vault.keys");
        Finding::new(Code::VaultKeyMissing, Severity::Critical, subject, message)
            .at(self.manifest_name.as_str(), key.line, 0)
            .remedy(remedy)
    }
}

pub(super) fn key_name(key: &VaultKey) -> String {
    match &key.field {
        Some(field) => format!("{}#{field}", key.path),
        None => key.path.clone(),
    }
}

/// Runs one future to its end in a runtime of its own, without waiting for what it left behind (a name
/// that is still being looked up).
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(result)
}

/// The environment of a program that the vault needs: that of a service.
pub(super) fn program_environment(asked: &Asked<'_>) -> BTreeMap<String, String> {
    asked.environment.child_env()
}
