//! The vault: reachable, unsealed, and each named key present.
//!
//! Part of the config check. Values are dropped as they are read and never reach a finding: only names
//! are kept. A vault is outside of the workspace, so a trial on a copy asks the very vault that the
//! workspace has, with the workspace's own environment: what a proposal wrote into the copy can
//! neither send the token elsewhere nor run a program in the vault's name.

mod command;
mod fernet;
mod file;
mod hashicorp;
mod names;

use std::collections::BTreeMap;
use std::path::Path;

use super::CheckContext;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::{Environment, EnvironmentError, Origin, Vault, VaultKey, VaultKind};
use names::Names;

/// What asking a vault needs.
struct Asked<'a> {
    vault: &'a Vault,
    root: &'a Path,
    environment: &'a Environment,
    manifest_name: String,
}

/// Asks the vault of the manifest; gives what is wrong with it.
pub(super) fn check(context: &CheckContext<'_>, vault: &Vault) -> Vec<Finding> {
    let root = context.manifest.workspace.as_path();
    let live;
    let environment = if context.root == root {
        context.environment
    } else {
        let process = context.environment.values.iter();
        let process = process
            .filter(|(_, (_, origin))| *origin == Origin::Process)
            .map(|(name, (value, _))| (name.clone(), value.clone()));
        match Environment::load(context.manifest, root, process) {
            Ok(environment) => {
                live = environment;
                &live
            }
            // The config check of the workspace itself says so.
            Err(_) => return vec![],
        }
    };
    let asked = Asked {
        vault,
        root,
        environment,
        manifest_name: context.manifest_name(),
    };
    match &vault.kind {
        VaultKind::Hashicorp { .. } => hashicorp::check(&asked),
        VaultKind::File { .. } => file::check(&asked),
        VaultKind::Command(argv) => command::check(&asked, argv),
    }
}

impl Asked<'_> {
    /// A finding about the vault as a whole.
    fn about(&self, code: &str, severity: Severity, message: String) -> Finding {
        Finding::new(code, severity, "vault", message).at(
            self.manifest_name.as_str(),
            self.vault.line,
            0,
        )
    }

    /// `text` with its variables, or what to say about the one that is not set.
    fn expand(&self, text: &str, what: &str) -> Result<String, Box<Finding>> {
        self.environment.expand(text).map_err(|error| {
            let finding = match error {
                EnvironmentError::Unset { name } => {
                    let message =
                        format!("{name} is not set, and {what} of the vault is taken from it");
                    let remedy = format!("set {name} in an environment file or in the environment");
                    Finding::new("config.missing", Severity::Critical, name, message).remedy(remedy)
                }
                error => Finding::new(
                    "config.invalid",
                    Severity::Critical,
                    "vault",
                    format!("{what} of the vault cannot be made out: {error}"),
                ),
            };
            Box::new(finding.at(self.manifest_name.as_str(), self.vault.line, 0))
        })
    }

    /// One finding for each key that is not among the names, or has nothing in it.
    fn missing_keys(&self, names: &Names, place: &str) -> Vec<Finding> {
        let keys = self.vault.keys.iter();
        keys.filter_map(|key| match names.get(&key.path) {
            Some(true) => None,
            Some(false) => Some(self.missing_key(key, format!("{} is empty in {place}", key.path))),
            None => Some(self.missing_key(key, format!("{} is not in {place}", key.path))),
        })
        .collect()
    }

    fn missing_key(&self, key: &VaultKey, message: String) -> Finding {
        let subject = key_name(key);
        let remedy = format!("put {subject} into the vault, or take it out of vault.keys");
        Finding::new("vault.key_missing", Severity::Critical, subject, message)
            .at(self.manifest_name.as_str(), key.line, 0)
            .remedy(remedy)
    }
}

fn key_name(key: &VaultKey) -> String {
    match &key.field {
        Some(field) => format!("{}#{field}", key.path),
        None => key.path.clone(),
    }
}

/// Runs one future to its end in a runtime of its own, without waiting for what it left behind (a name
/// that is still being looked up).
fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(result)
}

/// The environment of a program that the vault needs: that of a service.
fn program_environment(asked: &Asked<'_>) -> BTreeMap<String, String> {
    asked.environment.child_env()
}

#[cfg(test)]
mod tests;
