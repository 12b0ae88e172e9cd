//! The pre-flight checks: each looks at a workspace and says what it saw as findings.
//!
//! May rely on `manifest`, `domain` and `sandbox`. Knows nothing of missions, fixers or boots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::domain::finding::{CheckName, CheckReport};
use crate::domain::redact::Redactor;
use crate::manifest::{Environment, Manifest};

/// What a check looks at.
#[derive(Debug)]
pub struct CheckContext<'a> {
    /// The declaration.
    pub manifest: &'a Manifest,
    /// The workspace, or a copy of it.
    pub root: &'a Path,
    /// The environment that the application would get there.
    pub environment: &'a Environment,
    /// Keeps secrets out of findings.
    pub redactor: &'a Redactor,
    /// A private directory that may be written.
    pub scratch: &'a Path,
    /// Variables of the application that are replaced for this run.
    pub overrides: BTreeMap<String, String>,
}

/// Runs one check.
#[must_use]
pub fn run_check(_check: CheckName, _context: &CheckContext<'_>) -> CheckReport {
    todo!()
}

/// No interpreter was found.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoInterpreter(pub String);

/// The application's own Python interpreter.
///
/// # Errors
/// None was found.
pub fn interpreter(
    _manifest: &Manifest,
    _root: &Path,
    _environment: &Environment,
) -> Result<PathBuf, NoInterpreter> {
    todo!()
}

/// The file that a SQLite URL names, as an application with working directory `root` would open it.
#[must_use]
pub fn sqlite_path(_url: &str, _root: &Path) -> Option<PathBuf> {
    todo!()
}
