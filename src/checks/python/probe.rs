//! Runs a probe program in the sandbox and reads what it answers.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::{
    NoAnswer, NotAnswered, PythonHost, no_answer, parse_answer, parse_introduction, parse_marked,
    printed,
};
use super::program::{BOOT, PRELUDE, ProbeProgram};
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::interpreter::{NoInterpreter, interpreter};
use crate::checks::question::frame;
use crate::checks::shared::{Host, Hosted};
use crate::kernel::ScratchDirectory;
use crate::sandbox::{Isolation, SandboxOutcome, SandboxSpec, run_sandboxed};

/// A program that hangs says where at most that long before it is ended.
const HANG_MARGIN_MS_MAX: u64 = 2_000;

/// A check's program could not be run at all; the check says nothing about the application.
#[derive(Debug, thiserror::Error)]
pub(in crate::checks) enum ProbeError {
    #[error(transparent)]
    Interpreter(#[from] NoInterpreter),
    #[error("{0}")]
    Sandbox(#[from] crate::sandbox::SandboxError),
    #[error("cannot make a directory in {path}: {source}")]
    Scratch {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("no randomness: {0}")]
    Nonce(getrandom::Error),
}

/// What a probe came to.
#[derive(Debug)]
pub(in crate::checks) enum ProbeAnswer<T> {
    /// It answered.
    Given(T),
    /// It did not: it hung, exited, was killed, or said nothing that can be understood.
    None(NoAnswer),
}

/// How a probe ran.
#[derive(Debug)]
pub(in crate::checks) struct ProbeRun<T> {
    pub answer: ProbeAnswer<T>,
    pub duration_ms: u64,
    pub isolation: Isolation,
    /// The interpreter, as it said before it ran any application code.
    pub host: Option<PythonHost>,
    /// What the application printed, standard error first; cleaned, the middle left out if it was long.
    pub printed: String,
    /// It came to the start-up of the application.
    pub has_started: bool,
    /// What it told after its answer, when nobody waited for it any more.
    pub after: Option<serde_json::Value>,
}

/// A private directory for one run; gone when dropped.
pub(in crate::checks) fn run_directory(
    context: &CheckContext<'_>,
) -> Result<ScratchDirectory, ProbeError> {
    ScratchDirectory::new_in(context.scratch, "run-").map_err(|source| ProbeError::Scratch {
        path: context.scratch.to_owned(),
        source,
    })
}

/// The environment of a sandboxed run: what the application declares, and what the service adds.
pub(in crate::checks) fn run_environment(
    context: &CheckContext<'_>,
    as_run: &AsRun,
) -> BTreeMap<String, String> {
    let mut env = if as_run.is_clean {
        let mut env = context.environment.of_all_services().clean_env();
        env.remove("HOME");
        env
    } else {
        context.environment.declared_env(context.manifest)
    };
    env.extend(as_run.env.clone());
    let path = env.remove("PYTHONPATH");
    env.extend(context.overrides.clone());
    // The packages of a trial stand before what the service names itself.
    if let Some(path) = path {
        let named = env.entry("PYTHONPATH".to_owned()).or_default();
        let between = if named.is_empty() { "" } else { ":" };
        named.push_str(&format!("{between}{path}"));
    }
    for name in ["PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"] {
        env.insert(name.to_owned(), "1".to_owned());
    }
    env
}

/// Runs a probe program in the sandbox, or in a dry run that imports the same, and reads its answer.
pub(in crate::checks) fn run_probe<T: DeserializeOwned>(
    context: &CheckContext<'_>,
    as_run: &AsRun,
    program: ProbeProgram,
    input: serde_json::Value,
    timeout_ms: u64,
    network: bool,
) -> Result<ProbeRun<T>, ProbeError> {
    let module = match program {
        ProbeProgram::Models | ProbeProgram::Routes if !network => input["module"].as_str(),
        _ => None,
    };
    let shared = module
        .and_then(|module| context.shared.host_for(module))
        .and_then(|host| host.ask(program.text(), &input))
        .and_then(|(mark, hosted)| hosted_answer(&hosted, &mark, timeout_ms, context));
    if let Some(ran) = shared {
        return Ok(ran);
    }
    let (outcome, nonce) = execute(context, as_run, program, input, timeout_ms, network, None)?;
    Ok(read_run(&outcome, &nonce, timeout_ms, context))
}

/// A probe that also serves others: see [`crate::checks::shared`].
pub(in crate::checks) fn run_hosting_probe<T: DeserializeOwned>(
    context: &CheckContext<'_>,
    as_run: &AsRun,
    program: ProbeProgram,
    input: serde_json::Value,
    timeout_ms: u64,
    host: &Host,
) -> Result<ProbeRun<T>, ProbeError> {
    let more = host.take_reader();
    let (outcome, nonce) = execute(context, as_run, program, input, timeout_ms, false, more)?;
    let mut ran = read_run(&outcome, &nonce, timeout_ms, context);
    let served: Option<ServingTime> = parse_marked(&outcome.result, &nonce, "~").ok();
    ran.duration_ms -= served.map_or(0, |s| s.serving_ms).min(ran.duration_ms);
    host.finish(Some(Arc::new(Hosted { outcome, nonce })));
    Ok(ran)
}

/// The time that a dry run spent for others.
#[derive(Debug, Deserialize)]
struct ServingTime {
    serving_ms: u64,
}

/// An answer out of another's run. If that one did not come to its own answer, this import does not either;
/// if it did and this answer is not there, it has to be sought elsewhere.
fn hosted_answer<T: DeserializeOwned>(
    hosted: &Hosted,
    mark: &str,
    timeout_ms: u64,
    context: &CheckContext<'_>,
) -> Option<ProbeRun<T>> {
    let Hosted { outcome, nonce } = hosted;
    let has_started = parse_marked::<serde::de::IgnoredAny>(&outcome.result, nonce, "+").is_ok();
    let answer = match parse_answer::<serde::de::IgnoredAny>(&outcome.result, nonce) {
        // The import was done; what came after it is not what is asked here.
        Err(NotAnswered::Silent) if has_started => return None,
        Err(NotAnswered::Silent) => ProbeAnswer::None(no_answer(outcome, timeout_ms, context)),
        Err(NotAnswered::Twice) => return None,
        Ok(_) => ProbeAnswer::Given(parse_marked(&outcome.result, nonce, mark).ok()?),
    };
    Some(ProbeRun {
        answer,
        duration_ms: outcome.duration_ms,
        isolation: outcome.isolation.clone(),
        host: None,
        has_started: false,
        after: None,
        printed: String::new(),
    })
}

fn execute(
    context: &CheckContext<'_>,
    as_run: &AsRun,
    program: ProbeProgram,
    input: serde_json::Value,
    timeout_ms: u64,
    network: bool,
    stdin_more: Option<Arc<OwnedFd>>,
) -> Result<(SandboxOutcome, String), ProbeError> {
    let interpreter = match &as_run.interpreter {
        Some(own) => own.clone(),
        None => interpreter(context.manifest, context.root, context.environment)?,
    };
    let directory = run_directory(context)?;
    let nonce = random_nonce()?;
    let path = if context.manifest.python.path.is_empty() {
        vec![".".to_owned()]
    } else {
        context.manifest.python.path.clone()
    };
    // Packages that were installed for the user lie below the real home directory.
    let user_base = context
        .environment
        .values
        .get("HOME")
        .map(|(home, _)| Path::new(home).join(".local"));
    let margin_ms = (timeout_ms / 4).min(HANG_MARGIN_MS_MAX);
    let hang_at_ms = epoch_ms().saturating_add(timeout_ms - margin_ms);
    let stdin = serde_json::json!({
        "nonce": nonce,
        "root": context.seen_root(),
        "path": path,
        "cwd": as_run.cwd,
        "directory": as_run.program.directory,
        "script": as_run.script_of(&input),
        "user_base": user_base.filter(|_| !is_in_venv(&interpreter)),
        "hang_at_ms": hang_at_ms,
        "input": input,
    });
    let spec = SandboxSpec {
        argv: [
            interpreter.display().to_string().as_str(),
            "-I",
            "-B",
            "-u",
            "-c",
            BOOT,
            &format!("{PRELUDE}\n{}", program.text()),
        ]
        .map(str::to_owned)
        .to_vec(),
        cwd: context.root.to_owned(),
        env: run_environment(context, as_run),
        view: Some(context.view()),
        writable: Vec::new(),
        home: Some(directory.path().to_owned()),
        network,
        limits: context.manifest.heal.sandbox_limits,
        timeout_ms,
        stdin: frame(&stdin),
        stdin_more,
        loopback: None,
    };
    Ok((run_sandboxed(&spec)?, nonce))
}

fn read_run<T: DeserializeOwned>(
    outcome: &SandboxOutcome,
    nonce: &str,
    timeout_ms: u64,
    context: &CheckContext<'_>,
) -> ProbeRun<T> {
    let answer = match parse_answer(&outcome.result, nonce) {
        Ok(answer) => ProbeAnswer::Given(answer),
        Err(said) => {
            let mut why = no_answer(outcome, timeout_ms, context);
            if said == NotAnswered::Twice {
                why.why =
                    "answered more than once: the application takes part in its own dry run".into();
            }
            ProbeAnswer::None(why)
        }
    };
    ProbeRun {
        answer,
        duration_ms: outcome.duration_ms,
        host: parse_introduction(&outcome.result, nonce),
        printed: printed(outcome, context),
        has_started: parse_marked::<serde::de::IgnoredAny>(&outcome.result, nonce, "+").is_ok(),
        after: parse_marked(&outcome.result, nonce, "^").ok(),
        isolation: outcome.isolation.clone(),
    }
}

fn epoch_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX / 2))
}

/// The interpreter belongs to a virtual environment, which knows its packages itself.
fn is_in_venv(interpreter: &Path) -> bool {
    interpreter
        .parent()
        .and_then(Path::parent)
        .is_some_and(|base| base.join("pyvenv.cfg").exists())
}

fn random_nonce() -> Result<String, ProbeError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(ProbeError::Nonce)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
