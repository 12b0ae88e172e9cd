//! The application's own interpreter: where it is.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::manifest::{Environment, Manifest};

/// Where interpreters lie below a workspace.
pub(super) const VENV_INTERPRETERS: [&str; 2] = [".venv/bin/python", "venv/bin/python"];

/// No interpreter was found.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoInterpreter(pub String);

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
