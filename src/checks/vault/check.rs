//! Asks the vault that the manifest names.

use super::asked::Asked;
use super::{command, file, hashicorp};
use crate::checks::context::CheckContext;
use crate::domain::finding::Finding;
use crate::manifest::{Environment, Origin, Vault, VaultKind};

/// Asks the vault of the manifest; gives what is wrong with it.
pub(in crate::checks) fn check(context: &CheckContext<'_>, vault: &Vault) -> Vec<Finding> {
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
