//! The application's own interpreter, and how a probe program runs in it.
//!
//! A probe is one of the programs in `python/`. It runs in the sandbox with the application's import
//! path, takes its input on standard input and answers on a descriptor of its own, in a line that begins
//! with a nonce. So whatever an application prints, closes or replaces, and whatever it writes to
//! descriptors that it guesses, is no answer. What runs in one interpreter can find everything in it:
//! code that looks for the nonce on purpose can find it, and then lie about itself, as it could anyway by
//! behaving well while it is looked at. The answer is therefore hostile: it is bounded, parsed into plain
//! structures, its texts are cleaned before they are shown, and two answers are none.

mod answer;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::CheckContext;
pub(super) use super::question::PROBE_TIMEOUT_MS;
use super::question::frame;
use super::shared::{Host, Hosted};
use crate::domain::finding::Location;
use crate::kernel::ScratchDirectory;
use crate::manifest::{Environment, Manifest};
use crate::sandbox::{Isolation, Overlay, SandboxOutcome, SandboxSpec, run_laid_over};
use answer::{NotAnswered, parse_answer, parse_introduction, parse_marked};
pub(super) use answer::{no_answer, printed};

/// A program that hangs says where at most that long before it is ended.
const HANG_MARGIN_MS_MAX: u64 = 2_000;
/// Where interpreters lie below a workspace.
const VENV_INTERPRETERS: [&str; 2] = [".venv/bin/python", "venv/bin/python"];

const PRELUDE: &str = include_str!("python/prelude.py");
/// Runs the program in a namespace of its own, with builtins of its own, so that `__main__` stays empty.
const BOOT: &str = "exec(compile(__import__('sys').argv.pop(), '<ubs>', 'exec'), \
    {'__name__': '__ubs__', '__builtins__': dict(vars(__import__('builtins')))})";

/// The probe programs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Program {
    /// Imports and calls of one layer.
    Rehearse,
    /// The tables that SQLAlchemy models expect.
    Models,
    /// The routes of an application.
    Routes,
    /// The migrations of a Django project.
    Django,
    /// Insertions that let a table definition extend another one.
    Edit,
    /// Which modules the interpreter would find; imports none.
    Interpreter,
}

impl Program {
    fn text(self) -> &'static str {
        match self {
            Self::Rehearse => include_str!("python/rehearse.py"),
            Self::Models => include_str!("python/models.py"),
            Self::Routes => concat!(
                include_str!("python/routes_asgi.py"),
                "\n",
                include_str!("python/routes_flask.py"),
                "\n",
                include_str!("python/routes_django.py"),
                "\n",
                include_str!("python/routes.py"),
            ),
            Self::Django => include_str!("python/django.py"),
            Self::Edit => include_str!("python/edit.py"),
            Self::Interpreter => include_str!("python/interpreter.py"),
        }
    }
}

/// No interpreter was found.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoInterpreter(pub String);

/// A check's program could not be run at all; the check says nothing about the application.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
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
pub(super) enum Answer<T> {
    /// It answered.
    Given(T),
    /// It did not: it hung, exited, was killed, or said nothing that can be understood.
    None(NoAnswer),
}

/// Why a program gave no answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    /// `exited with exit status 3 before it was done`, cleaned.
    pub why: String,
    /// It was killed because its time was up.
    pub timed_out: bool,
    /// End of its standard error (or output), cleaned.
    pub output: String,
    /// Where it hung, if it said so.
    pub location: Option<Location>,
}

/// How a probe ran.
#[derive(Debug)]
pub(super) struct Ran<T> {
    pub answer: Answer<T>,
    pub duration_ms: u64,
    pub isolation: Isolation,
    /// The interpreter, as it said before it ran any application code.
    pub host: Option<PythonHost>,
    /// What the application printed, standard error first; cleaned, the middle left out if it was long.
    pub printed: String,
}

/// An interpreter, as the prelude introduces it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PythonHost {
    /// `sys.path` with the application's directories.
    pub path: Vec<String>,
    /// It is no virtual environment: what is installed there may be for others.
    pub shared: bool,
    /// Values of the variables in markers (PEP 508).
    pub markers: BTreeMap<String, String>,
}

/// The application's own interpreter: the manifest's, the virtual environment of `root` or of the
/// workspace that it is a copy of, the active virtual environment, or `python3`.
///
/// The path is not resolved: a virtual environment is found by the name of its link.
///
/// # Errors
/// None was found, or what the manifest names cannot be executed.
pub(crate) fn interpreter(
    manifest: &Manifest,
    root: &Path,
    environment: &Environment,
) -> Result<PathBuf, NoInterpreter> {
    let value = |name: &str| {
        environment
            .values
            .get(name)
            .map(|(value, _)| value.as_str())
    };
    let system_path = std::env::var("PATH").ok();
    let search = |name: &str| {
        value("PATH")
            .or(system_path.as_deref())
            .unwrap_or("/usr/local/bin:/usr/bin:/bin")
            .split(':')
            .filter(|dir| !dir.is_empty())
            .map(|dir| Path::new(dir).join(name))
            .find(|file| is_executable(file))
    };
    if let Some(named) = &manifest.python.interpreter {
        if !named.contains('/') {
            return search(named).ok_or_else(|| {
                NoInterpreter(format!(
                    "python.interpreter names {named}, which is not in PATH"
                ))
            });
        }
        let file = manifest.workspace.join(named);
        return match std::fs::metadata(&file) {
            Ok(_) if is_executable(&file) => Ok(file),
            Ok(_) => Err(NoInterpreter(format!(
                "python.interpreter names {named}, which is not an executable file"
            ))),
            Err(error) => Err(NoInterpreter(format!(
                "python.interpreter names {named}, which cannot be used: {error}"
            ))),
        };
    }
    for base in [root, &manifest.workspace] {
        for inside in VENV_INTERPRETERS {
            let file = base.join(inside);
            if is_executable(&file) {
                return Ok(file);
            }
            if file.symlink_metadata().is_ok() {
                return Err(NoInterpreter(format!(
                    "{inside} cannot be executed; make the virtual environment anew, or name another \
                     interpreter as python.interpreter"
                )));
            }
        }
    }
    if let Some(active) = value("VIRTUAL_ENV").filter(|path| !path.is_empty()) {
        let file = Path::new(active).join("bin/python");
        if is_executable(&file) {
            return Ok(file);
        }
    }
    search("python3").ok_or_else(|| {
        NoInterpreter(
            "no Python interpreter: the workspace has no .venv or venv, no virtual environment is \
             active, and python3 is not in PATH; name one as python.interpreter"
                .to_owned(),
        )
    })
}

/// What every service of the application gets: its environment, with the interpreter's directory in front of
/// `PATH`, so that the programs of its packages are found.
#[must_use]
pub(crate) fn service_environment(
    manifest: &Manifest,
    root: &Path,
    environment: &Environment,
) -> BTreeMap<String, String> {
    let mut env = environment.child_env();
    if let Ok(interpreter) = interpreter(manifest, root, environment)
        && let Some(directory) = interpreter.parent().filter(|d| !d.as_os_str().is_empty())
    {
        let path = env.get("PATH").cloned().unwrap_or_default();
        let path = format!("{}:{path}", directory.display());
        env.insert("PATH".to_owned(), path);
    }
    env
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// A private directory for one run; gone when dropped.
pub(super) fn run_directory(context: &CheckContext<'_>) -> Result<ScratchDirectory, ProbeError> {
    ScratchDirectory::new_in(context.scratch, "run-").map_err(|source| ProbeError::Scratch {
        path: context.scratch.to_owned(),
        source,
    })
}

/// The environment of a sandboxed run: what the application declares, with a home of its own.
pub(super) fn run_environment(
    context: &CheckContext<'_>,
    directory: &Path,
) -> BTreeMap<String, String> {
    let mut env = context.environment.declared_env(context.manifest);
    env.extend(context.overrides.clone());
    for name in ["HOME", "TMPDIR"] {
        env.insert(name.to_owned(), directory.display().to_string());
    }
    for name in ["PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"] {
        env.insert(name.to_owned(), "1".to_owned());
    }
    env
}

/// Runs a probe program in the sandbox, or in a dry run that imports the same, and reads its answer.
pub(super) fn run_probe<T: DeserializeOwned>(
    context: &CheckContext<'_>,
    program: Program,
    input: serde_json::Value,
    timeout_ms: u64,
    network: bool,
) -> Result<Ran<T>, ProbeError> {
    let module = match program {
        Program::Models | Program::Routes if !network => input["module"].as_str(),
        _ => None,
    };
    let shared = module
        .and_then(|module| context.shared.host_for(module))
        .and_then(|host| host.ask(program.text(), &input))
        .and_then(|(mark, hosted)| hosted_answer(&hosted, &mark, timeout_ms, context));
    if let Some(ran) = shared {
        return Ok(ran);
    }
    let (outcome, nonce) = execute(context, program, input, timeout_ms, network, None)?;
    Ok(read_run(&outcome, &nonce, timeout_ms, context))
}

/// A probe that also serves others: see [`super::shared`].
pub(super) fn run_hosting_probe<T: DeserializeOwned>(
    context: &CheckContext<'_>,
    program: Program,
    input: serde_json::Value,
    timeout_ms: u64,
    host: &Host,
) -> Result<Ran<T>, ProbeError> {
    let more = host.take_reader();
    let (outcome, nonce) = execute(context, program, input, timeout_ms, false, more)?;
    let mut ran = read_run(&outcome, &nonce, timeout_ms, context);
    let served: Option<Served> = parse_marked(&outcome.result, &nonce, "~").ok();
    ran.duration_ms -= served.map_or(0, |s| s.serving_ms).min(ran.duration_ms);
    host.finish(Some(Arc::new(Hosted { outcome, nonce })));
    Ok(ran)
}

/// The time that a dry run spent for others.
#[derive(Debug, Deserialize)]
struct Served {
    serving_ms: u64,
}

/// An answer out of another's run. If that one did not come to its own answer, this import does not either;
/// if it did and this answer is not there, it has to be sought elsewhere.
fn hosted_answer<T: DeserializeOwned>(
    hosted: &Hosted,
    mark: &str,
    timeout_ms: u64,
    context: &CheckContext<'_>,
) -> Option<Ran<T>> {
    let Hosted { outcome, nonce } = hosted;
    let answer = match parse_answer::<serde::de::IgnoredAny>(&outcome.result, nonce) {
        Err(NotAnswered::Silent) => Answer::None(no_answer(outcome, timeout_ms, context)),
        Err(NotAnswered::Twice) => return None,
        Ok(_) => Answer::Given(parse_marked(&outcome.result, nonce, mark).ok()?),
    };
    Some(Ran {
        answer,
        duration_ms: outcome.duration_ms,
        isolation: outcome.isolation.clone(),
        host: None,
        printed: String::new(),
    })
}

fn execute(
    context: &CheckContext<'_>,
    program: Program,
    input: serde_json::Value,
    timeout_ms: u64,
    network: bool,
    stdin_more: Option<Arc<OwnedFd>>,
) -> Result<(SandboxOutcome, String), ProbeError> {
    let interpreter = interpreter(context.manifest, context.root, context.environment)?;
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
        "root": context.root,
        "path": path,
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
        env: run_environment(context, directory.path()),
        writable: vec![directory.path().to_owned()],
        overlay: overlay(context, directory.path())?,
        network,
        limits: context.manifest.heal.sandbox_limits,
        timeout_ms,
        stdin: frame(&stdin),
        stdin_more,
        loopback: None,
    };
    Ok((run_laid_over(spec)?, nonce))
}

/// The workspace, to be written in memory by way of a directory below the run's own: many an application makes
/// its directories while it is imported, and what else is wrong with it would not show.
fn overlay(context: &CheckContext<'_>, directory: &Path) -> Result<Option<Overlay>, ProbeError> {
    let base = directory.join("overlay");
    Overlay::over(context.root, &base).map_err(|source| ProbeError::Scratch { path: base, source })
}

fn read_run<T: DeserializeOwned>(
    outcome: &SandboxOutcome,
    nonce: &str,
    timeout_ms: u64,
    context: &CheckContext<'_>,
) -> Ran<T> {
    let answer = match parse_answer(&outcome.result, nonce) {
        Ok(answer) => Answer::Given(answer),
        Err(said) => {
            let mut why = no_answer(outcome, timeout_ms, context);
            if said == NotAnswered::Twice {
                why.why =
                    "answered more than once: the application takes part in its own dry run".into();
            }
            Answer::None(why)
        }
    };
    Ran {
        answer,
        duration_ms: outcome.duration_ms,
        host: parse_introduction(&outcome.result, nonce),
        printed: printed(outcome, context),
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
