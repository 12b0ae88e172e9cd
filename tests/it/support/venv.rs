//! Virtual environments for tests that need a real Python application: each is built once and kept by the digest of
//! its requirements, in a cache directory outside of the clone, for all test processes and all clones.
//!
//! The directory is `UBS_TEST_CACHE`, or `ubs-test` in the user's cache directory, or where there is no home, in the
//! target directory. It may be deleted at any time that no test runs.
//!
//! Included with `#[path]` by unit tests and by whole-program tests. Where it cannot be built, a test
//! says so loudly and is skipped; in CI that is a failure.

#![allow(dead_code, unreachable_pub)] // Each includer uses what it needs.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// What the tests' applications are made of; pinned, so that every run sees the same.
pub const PACKAGES: [&str; 4] = [
    "fastapi==0.165.0",
    "sqlalchemy==2.1.9",
    "uvicorn==0.54.0",
    "alembic==1.20.1",
];

/// Older packages whose insides differ: applications that were not brought up to date.
pub const OLD_PACKAGES: [&str; 2] = ["fastapi==0.115.0", "sqlalchemy==1.4.54"];

/// Everything else that a test needs: web frameworks, what is put around applications, migration tools, drivers. One
/// environment, since nothing in it is in the way of anything else.
pub const WIDE_PACKAGES: [&str; 19] = [
    "flask==3.1.3",
    "django==5.2.19",
    "starlette==1.10.0",
    "fastapi==0.165.0",
    "a2wsgi==1.10.10",
    "python-socketio==5.18.1",
    "flask-sqlalchemy==3.1.1",
    "flask-migrate==4.1.0",
    "sqlalchemy==2.1.9",
    "alembic==1.20.1",
    "greenlet==3.5.6",
    "aiosqlite==0.22.1",
    "psycopg2-binary==2.9.13",
    "psycopg[binary]==3.3.9",
    "asyncpg==0.32.0",
    "pg8000==1.31.6",
    "python-dotenv==1.1.1",
    "packaging==24.1",
    "cryptography==45.0.7",
];

/// The interpreter of the environment with [`PACKAGES`], or `None` after saying why the test is skipped.
pub fn application_python() -> Option<PathBuf> {
    python_with(&PACKAGES)
}

/// The interpreter of an environment with these packages; see [`application_python`].
pub fn python_with(packages: &[&str]) -> Option<PathBuf> {
    python_of(Path::new("python3"), packages)
}

/// A program that is this version of Python (`3.12`): in `PATH`, or among the versions of pyenv.
pub fn python_of_version(version: &str) -> Option<PathBuf> {
    let name = format!("python{version}");
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let installed = home.and_then(|versions| fs::read_dir(versions).ok());
    let installed = installed.into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = installed
        .map(|entry| entry.path().join("bin").join(&name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.insert(0, PathBuf::from(name));
    found.into_iter().find(|program| {
        let asked = Command::new(program).arg("-V").output();
        asked.is_ok_and(|output| output.status.success())
    })
}

/// [`python_with`], of another Python than `python3`.
pub fn python_of(program: &Path, packages: &[&str]) -> Option<PathBuf> {
    // What failed once fails again, after as long a time.
    static KNOWN: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let list = format!("{} {}", program.display(), packages.join(" "));
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = known().get(&list).cloned();
    // Not under the lock: others are built meanwhile.
    let built = before.unwrap_or_else(|| build(program, packages));
    known().insert(list, built.clone());
    match built {
        Ok(python) => Some(python),
        Err(why) => {
            skipped("Python environment", &why);
            None
        }
    }
}

/// Says loudly (past the harness, which shows nothing of a test that passes) that a test is skipped for lack of this, and
/// counts it in the file that `UBS_TEST_SKIPPED` names; in CI that is a failure.
#[track_caller]
pub fn skipped(lack: &str, why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("SKIPPED: {test}: no {lack}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(file) = std::env::var_os("UBS_TEST_SKIPPED") {
        let counted = fs::OpenOptions::new().create(true).append(true).open(file);
        let _ = counted.and_then(|mut file| file.write_all(line.as_bytes()));
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must have a {lack}: {why}"
    );
}

fn build(program: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let version =
        run(Command::new(program).args(["-c", "import sys; print(sys.version, sys.base_prefix)"]))?;
    let mut hasher = DefaultHasher::new();
    (packages, &version).hash(&mut hasher);
    let base = cache()?;
    fs::create_dir_all(&base).map_err(|e| format!("{}: {e}", base.display()))?;
    let home = base.join(format!("{:016x}", hasher.finish()));
    let python = home.join("bin/python");
    let ready = home.join("ready");
    if ready.exists() {
        return Ok(python);
    }
    // Test processes run side by side; one builds, the others wait.
    let lock = fs::File::create(home.with_extension("lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    if ready.exists() {
        return Ok(python);
    }
    let _ = fs::remove_dir_all(&home);
    run(Command::new(program).args(["-m", "venv"]).arg(&home))?;
    if packages.is_empty() {
        fs::write(&ready, "").map_err(|e| e.to_string())?;
        return Ok(python);
    }
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(packages))?;
    fs::write(&ready, "").map_err(|e| e.to_string())?;
    Ok(python)
}

/// Where environments are kept.
fn cache() -> Result<PathBuf, String> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let below = |dir: std::ffi::OsString, rest: &str| PathBuf::from(dir).join(rest);
    let own = named("UBS_TEST_CACHE").map(|dir| below(dir, "venv"));
    let own = own.or_else(|| named("XDG_CACHE_HOME").map(|dir| below(dir, "ubs-test/venv")));
    let own = own.or_else(|| named("HOME").map(|dir| below(dir, ".cache/ubs-test/venv")));
    own.map_or_else(target_directory, Ok)
}

/// `target/test-venv`, wherever the target directory of this very program is.
fn target_directory() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    program
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists())
        .map(|target: &Path| target.join("test-venv"))
        .ok_or_else(|| format!("{} lies in no target directory", program.display()))
}

fn run(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .map_err(|e| format!("cannot run {shown}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    Err(format!("{shown} failed: {}", last.unwrap_or_default()))
}
