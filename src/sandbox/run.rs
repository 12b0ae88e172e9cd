//! Runs one command under isolation and limits, and says what it could not isolate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::domain::event::ExitKind;
use crate::manifest::SandboxLimits;

/// One command to run in the sandbox. The environment is exactly `env`; standard input is empty.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The only directories that may be written, where the host can enforce it; they must exist.
    pub writable: Vec<PathBuf>,
    /// The network is reachable.
    pub network: bool,
    /// Limits.
    pub limits: SandboxLimits,
    /// Wall time, milliseconds.
    pub timeout_ms: u64,
    /// Bytes given on standard input.
    pub stdin: Vec<u8>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct SandboxOutcome {
    /// How the process ended.
    pub exit: ExitKind,
    /// It was killed because its time was up.
    pub timed_out: bool,
    /// First bytes of standard output and standard error, at most 256 KiB each; more is read and dropped.
    pub stdout: Vec<u8>,
    /// See `stdout`.
    pub stderr: Vec<u8>,
    /// What was written to file descriptor 3 (named in `UBS_RESULT_FD`), at most 16 MiB.
    pub result: Vec<u8>,
    /// `result` was longer.
    pub result_truncated: bool,
    /// Wall time.
    pub duration_ms: u64,
    /// What was isolated.
    pub isolation: Isolation,
}

/// What the host isolates, and what not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// One line each: `network: isolated (own namespace)`, `processes: not isolated (...)`.
    pub lines: Vec<String>,
    /// Names of what is isolated: `network`, `filesystem`, `environment`, `memory`, `time`.
    pub isolated: Vec<String>,
}

/// The command could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The program does not exist or cannot be executed.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// What was to be run.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// Runs the command and waits for it. Blocking; leaves no process of it behind.
///
/// # Errors
/// The command could not be started.
pub fn run_sandboxed(_spec: &SandboxSpec) -> Result<SandboxOutcome, SandboxError> {
    todo!()
}
