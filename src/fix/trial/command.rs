//! Any command, in the world of a trial: a copy of the workspace with clones of its databases and dummies in the place
//! of secrets.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{TrialError, make_directory};
use super::stage::Stage;
use crate::checks::{application_view, service_environment};
use crate::fix::dummies::replace_secrets;
use crate::manifest::{Environment, Manifest};
use crate::sandbox::{SandboxOutcome, SandboxSpec, run_sandboxed};

/// Runs a command as a trial of a proposal that nobody approved would, and says how it ended. The copy is made below
/// `directory`, which the caller removes; what the command wrote is gone.
///
/// # Errors
/// The copy could not be made, or the command could not be started.
pub(crate) fn run_in_trial(
    manifest: &Manifest,
    process_env: &BTreeMap<String, String>,
    directory: &Path,
    state: &Path,
    argv: Vec<String>,
    timeout_ms: u64,
) -> Result<SandboxOutcome, TrialError> {
    let mut stage = Stage::set_up(manifest, process_env, directory, state)?;
    let root = stage.copy.root().to_owned();
    let environment = Environment::load(&stage.manifest, &root, process_env.clone().into_iter())
        .map_err(|error| TrialError::Environment(error.to_string()))?;
    let dummies = replace_secrets(manifest, &environment, &root)?;
    for (name, dummy) in dummies {
        stage.overrides.entry(name).or_insert(dummy);
    }
    stage.prepare()?;
    let mut env = environment.declared_env(manifest);
    let with_path = service_environment(manifest, &manifest.workspace, &environment);
    if let Some(path) = with_path.get("PATH") {
        env.insert("PATH".to_owned(), path.clone());
    }
    env.extend(stage.overrides.clone());
    let home = directory.join("home");
    make_directory(&home)?;
    run_sandboxed(&SandboxSpec {
        argv,
        cwd: root.clone(),
        env,
        view: Some(application_view(manifest, &root, &environment, Some(state))),
        writable: Vec::new(),
        home: Some(home),
        network: false,
        limits: manifest.heal.sandbox_limits,
        timeout_ms,
        stdin: Vec::new(),
        stdin_more: None,
        loopback: None,
    })
    .map_err(|error| TrialError::Command(error.to_string()))
}
