//! Any command, in the world of a trial: a copy of the workspace with clones of its databases and dummies in the place
//! of secrets.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{TrialError, make_directory};
use super::stage::Stage;
use crate::checks::{application_view, service_environment};
use crate::domain::event::ExitKind;
use crate::domain::mission::{Change, Proposal};
use crate::fix::dummies::replace_secrets;
use crate::fix::run::{RUN_MAX, command_text};
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
    run_in_stage(&stage, &environment, directory, argv, timeout_ms)
}

fn run_in_stage(
    stage: &Stage,
    environment: &Environment,
    directory: &Path,
    argv: Vec<String>,
    timeout_ms: u64,
) -> Result<SandboxOutcome, TrialError> {
    // Its `workspace` is the live one.
    let manifest = &stage.manifest;
    let root = stage.copy.root().to_owned();
    let mut env = environment.declared_env(manifest);
    let with_path = service_environment(manifest, &manifest.workspace, environment);
    if let Some(path) = with_path.get("PATH") {
        env.insert("PATH".to_owned(), path.clone());
    }
    env.extend(stage.overrides.clone());
    let home = directory.join("home");
    make_directory(&home)?;
    let view = application_view(manifest, &root, environment, Some(&stage.state));
    run_sandboxed(&SandboxSpec {
        argv,
        cwd: root,
        env,
        view: Some(view),
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

/// Runs the commands of a proposal on the copy. Gives what the trial does not show of them: a command that asks for
/// the network, or for what lies outside of the workspace, cannot work here.
pub(super) fn try_commands(
    stage: &Stage,
    environment: &Environment,
    proposal: &Proposal,
    directory: &Path,
) -> Result<Vec<String>, TrialError> {
    let timeout_ms = u64::try_from(RUN_MAX.as_millis()).unwrap_or(u64::MAX);
    let mut unseen = Vec::new();
    for change in &proposal.changes {
        let Change::Run { command } = change else {
            continue;
        };
        let text = command_text(command);
        let ran = run_in_stage(stage, environment, directory, command.clone(), timeout_ms);
        unseen.push(match ran {
            Ok(outcome) if outcome.timed_out => format!("`{text}` did not end in the sandbox"),
            Ok(outcome) if outcome.exit == ExitKind::Code(0) => {
                format!("`{text}` ended well in the sandbox, and what it does outside of it is not shown")
            }
            Ok(outcome) => format!("`{text}` ended in the sandbox with {}", outcome.exit),
            Err(TrialError::Command(why)) => format!("`{text}` cannot run in the sandbox: {why}"),
            Err(error) => return Err(error),
        });
    }
    Ok(unseen)
}
