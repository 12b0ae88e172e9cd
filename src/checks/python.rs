//! The application's own interpreter, and how a probe program runs in it.
//!
//! A probe is one of the programs in `python/`. It runs in the sandbox with the application's import
//! path, takes its input on standard input and answers on a descriptor that the application does not
//! know, in a line that begins with a nonce the application never saw. The answer is still hostile: it
//! is bounded, parsed into plain structures, and every text of it is cleaned before it is shown.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::CheckContext;
use super::raised::{DETAIL_BYTES_MAX, clean_whole, clip_middle};
use crate::domain::event::ExitKind;
use crate::domain::finding::Location;
use crate::manifest::{Environment, Manifest};
use crate::sandbox::{Isolation, SandboxOutcome, SandboxSpec, run_sandboxed};

/// Wall time of a probe whose time the manifest does not set.
pub(super) const PROBE_TIMEOUT_MS: u64 = 30_000;
/// Where the sandbox cuts an output stream.
const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// A program that hangs says where at most that long before it is ended.
const HANG_MARGIN_MS_MAX: u64 = 2_000;
/// Where interpreters lie below a workspace.
const VENV_INTERPRETERS: [&str; 2] = [".venv/bin/python", "venv/bin/python"];

const PRELUDE: &str = include_str!("python/prelude.py");

/// The probe programs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Program {
    /// Imports and calls of one layer.
    Rehearse,
    /// The tables that SQLAlchemy models expect.
    Models,
    /// The routes of an application.
    Routes,
    /// Definitions in the source; runs none of it.
    Scan,
    /// The migrations of a Django project.
    Django,
    /// Insertions that let a table definition extend another one.
    Edit,
}

impl Program {
    fn text(self) -> &'static str {
        match self {
            Self::Rehearse => include_str!("python/rehearse.py"),
            Self::Models => include_str!("python/models.py"),
            Self::Routes => include_str!("python/routes.py"),
            Self::Scan => include_str!("python/scan.py"),
            Self::Django => include_str!("python/django.py"),
            Self::Edit => include_str!("python/edit.py"),
        }
    }
}

/// No interpreter was found.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoInterpreter(pub String);

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
}

/// The application's own interpreter: the manifest's, the virtual environment of `root` or of the
/// workspace that it is a copy of, the active virtual environment, or `python3`.
///
/// The path is not resolved: a virtual environment is found by the name of its link.
///
/// # Errors
/// None was found, or what the manifest names cannot be executed.
pub fn interpreter(
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

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// A private directory for one run; gone when dropped.
pub(super) fn run_directory(context: &CheckContext<'_>) -> Result<tempfile::TempDir, ProbeError> {
    tempfile::Builder::new()
        .prefix("run-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(context.scratch)
        .map_err(|source| ProbeError::Scratch {
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

/// Runs a probe program in the sandbox and reads its answer.
pub(super) fn run_probe<T: DeserializeOwned>(
    context: &CheckContext<'_>,
    program: Program,
    input: serde_json::Value,
    timeout_ms: u64,
    network: bool,
) -> Result<Ran<T>, ProbeError> {
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
    let outcome = run_sandboxed(&SandboxSpec {
        argv: [
            interpreter.display().to_string().as_str(),
            "-I",
            "-B",
            "-u",
            "-c",
            &format!("{PRELUDE}\n{}", program.text()),
        ]
        .map(str::to_owned)
        .to_vec(),
        cwd: context.root.to_owned(),
        env: run_environment(context, directory.path()),
        writable: vec![directory.path().to_owned()],
        network,
        limits: context.manifest.heal.sandbox_limits,
        timeout_ms,
        stdin: stdin.to_string().into_bytes(),
    })?;
    let answer = match parse_answer(&outcome.result, &nonce) {
        Some(answer) => Answer::Given(answer),
        None => Answer::None(no_answer(&outcome, timeout_ms, context)),
    };
    Ok(Ran {
        answer,
        duration_ms: outcome.duration_ms,
        isolation: outcome.isolation,
    })
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

/// The last line that begins with the nonce.
fn parse_answer<T: DeserializeOwned>(result: &[u8], nonce: &str) -> Option<T> {
    result
        .rsplit(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(nonce.as_bytes()))
        .and_then(|json| serde_json::from_slice(json).ok())
}

/// Why a sandboxed program is not done, in words.
pub(super) fn no_answer(
    outcome: &SandboxOutcome,
    timeout_ms: u64,
    context: &CheckContext<'_>,
) -> NoAnswer {
    let why = if outcome.timed_out {
        format!("was not done after {timeout_ms} ms and was ended")
    } else if outcome.result_truncated {
        "answered more than is read".to_owned()
    } else {
        match outcome.exit {
            ExitKind::Code(code) => format!("exited with status {code} before it was done"),
            ExitKind::Signal(signal) => format!("was killed by {}", signal_words(signal)),
            ExitKind::Unknown => "ended in an unknown way".to_owned(),
        }
    };
    let raw = if outcome.stderr.is_empty() {
        &outcome.stdout
    } else {
        &outcome.stderr
    };
    let text = String::from_utf8_lossy(raw);
    let location = if outcome.timed_out || matches!(outcome.exit, ExitKind::Signal(_)) {
        hang_location(&text, context)
    } else {
        None
    };
    NoAnswer {
        why,
        timed_out: outcome.timed_out,
        output: clip_middle(
            &clean_whole(context.redactor, &text, raw.len() >= OUTPUT_BYTES_MAX),
            DETAIL_BYTES_MAX / 2,
        ),
        location,
    }
}

fn signal_words(signal: i32) -> String {
    let meaning = match signal {
        libc::SIGSEGV => " (SIGSEGV: a crash in native code)",
        libc::SIGABRT => " (SIGABRT: native code gave up)",
        libc::SIGBUS => " (SIGBUS: a crash in native code)",
        libc::SIGILL => " (SIGILL: a crash in native code)",
        libc::SIGFPE => " (SIGFPE: a crash in native code)",
        libc::SIGKILL => " (SIGKILL: a limit of memory or processor time, or somebody)",
        libc::SIGXCPU => " (SIGXCPU: its processor time was up)",
        libc::SIGXFSZ => " (SIGXFSZ: a file grew too large)",
        libc::SIGTERM => " (SIGTERM: somebody ended it)",
        _ => "",
    };
    format!("signal {signal}{meaning}")
}

/// The innermost frame of the application in what `faulthandler` wrote: `File "...", line N in f`.
fn hang_location(stderr: &str, context: &CheckContext<'_>) -> Option<Location> {
    let root = context.root.canonicalize().ok()?;
    stderr.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("File \"")?;
        let (file, rest) = rest.split_once("\", line ")?;
        let inside = Path::new(file)
            .strip_prefix(&root)
            .or_else(|_| Path::new(file).strip_prefix(context.root))
            .ok()?;
        let is_package = inside.components().any(|part| {
            matches!(
                part.as_os_str().to_str(),
                Some("site-packages" | "dist-packages" | ".venv" | "venv" | "node_modules")
            )
        });
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!is_package).then(|| Location {
            file: context.redactor.clean(&inside.display().to_string(), 512),
            line: digits.parse().unwrap_or(0),
            column: 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_with_the_nonce_is_an_answer() {
        let parse = |bytes: &[u8]| parse_answer::<u32>(bytes, "abc");
        assert_eq!(parse(b"\nabc 7\n"), Some(7));
        assert_eq!(parse(b"5\n{}\nabc 7\nrubbish\xff"), Some(7));
        assert_eq!(parse(b"7\n"), None);
        assert_eq!(parse(b"\nabd 7\n"), None);
        assert_eq!(parse(b"\nabc 7"), Some(7));
        assert_eq!(parse(b""), None);
    }
}
