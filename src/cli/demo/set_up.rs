//! Unpacks the application, makes its virtual environment and its database.
//!
//! Everything is made in the demo's directory. A set-up that fails removes what it made; one that was
//! killed is recognised by its mark, and begun anew.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use include_dir::{Dir, DirEntry, include_dir};

use super::super::context::{CliError, Ui};
use super::step::say;
use crate::kernel::remove_tree;
use crate::manifest::set_variable;

/// The application, as it is in the repository.
static APPLICATION: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/examples/demo");
/// Left while the set-up is under way.
const MARK: &str = ".ubs-demo-is-being-set-up";
/// Statements that make the database as the last release left it.
const SEED: &str = "data/seed.sql";
/// The database.
const DATABASE: &str = "data/app.db";
/// Oldest Python that the pinned packages support.
const PYTHON_MIN: (u32, u32) = (3, 10);

fn cannot(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> CliError {
    let message = format!("cannot {what}");
    move |error| {
        CliError::usage(
            format!("{message}: {error}"),
            "name a writable directory with about 100 MB of free space: `ubs demo DIR`",
        )
    }
}

/// Sets the demo up in `directory`; gives the port that its application will listen on.
pub(super) fn set_up(ui: &Ui, directory: &Path, python: Option<&Path>) -> Result<u16, CliError> {
    let python = find_python(python)?;
    require_empty(directory)?;
    let existed = directory.exists();
    let outcome = fill(ui, directory, &python);
    if outcome.is_err() {
        // Only what was made here: the directory was empty or not there.
        let _ = if existed {
            empty(directory)
        } else {
            remove_tree(directory)
        };
    }
    outcome
}

fn fill(ui: &Ui, directory: &Path, python: &Path) -> Result<u16, CliError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(cannot(format!("make {}", directory.display())))?;
    let mark = directory.join(MARK);
    fs::write(&mark, "").map_err(cannot(format!("write to {}", directory.display())))?;
    say(
        ui,
        &format!("unpack the example application to {}", directory.display()),
    )?;
    unpack(&APPLICATION, directory)?;
    let port = choose_port(directory)?;
    make_database(directory)?;
    say(
        ui,
        &format!("make its virtual environment with {}", python.display()),
    )?;
    make_environment(ui, directory, python)?;
    fs::remove_file(&mark).map_err(cannot(format!("remove {}", mark.display())))?;
    Ok(port)
}

fn require_empty(directory: &Path) -> Result<(), CliError> {
    let entries: Vec<_> = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot(format!("use {}", directory.display()))(error)),
    };
    if entries.is_empty() {
        return Ok(());
    }
    // Only a real file of ours counts as the mark.
    if fs::symlink_metadata(directory.join(MARK)).is_ok_and(|m| m.is_file() && m.len() == 0) {
        return empty(directory).map_err(cannot(format!(
            "remove the demo that was not finished from {}",
            directory.display()
        )));
    }
    Err(CliError::usage(
        format!("{} is not empty", directory.display()),
        format!(
            "boot the demo that is there with `ubs -C {0} boot`, begin anew with `rm -r {0}`, or give another \
             directory with `ubs demo DIR`",
            directory.display()
        ),
    ))
}

/// Removes everything in the directory; the mark goes last, so that this can be interrupted too.
fn empty(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == MARK {
            continue;
        }
        remove_tree(&entry.path())?;
    }
    match fs::remove_file(directory.join(MARK)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn unpack(source: &Dir<'_>, target: &Path) -> Result<(), CliError> {
    for entry in source.entries() {
        let name = entry.path().file_name().unwrap_or_default();
        let path = target.join(name);
        let wrong = || cannot(format!("write {}", path.display()));
        match entry {
            // Left by whoever ran the application in the repository.
            DirEntry::Dir(_) if name == "__pycache__" => {}
            DirEntry::Dir(inner) => {
                fs::create_dir_all(&path).map_err(wrong())?;
                unpack(inner, &path)?;
            }
            DirEntry::File(file) => {
                let secret = name == ".env";
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(if secret { 0o600 } else { 0o644 })
                    .open(&path)
                    .and_then(|mut out| out.write_all(file.contents()))
                    .map_err(wrong())?;
            }
        }
    }
    Ok(())
}

/// A free port of this machine, written to the application's environment file.
fn choose_port(directory: &Path) -> Result<u16, CliError> {
    let port = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(cannot("find a free port on 127.0.0.1"))?
        .port();
    let path = directory.join(".env");
    let text = fs::read_to_string(&path).map_err(cannot(format!("read {}", path.display())))?;
    fs::write(&path, set_variable(&text, "PORT", &port.to_string()))
        .map_err(cannot(format!("write {}", path.display())))?;
    Ok(port)
}

fn make_database(directory: &Path) -> Result<(), CliError> {
    let (seed, database) = (directory.join(SEED), directory.join(DATABASE));
    let sql = fs::read_to_string(&seed).map_err(cannot(format!("read {}", seed.display())))?;
    rusqlite::Connection::open(&database)
        .and_then(|connection| connection.execute_batch(&sql))
        .map_err(|error| {
            CliError::usage(
                format!("cannot make {}: {error}", database.display()),
                "name a writable directory with enough free space: `ubs demo DIR`",
            )
        })
}

/// The Python to make the environment with; asked for its version, so that a stand-in (a launcher
/// that only says how to install Python) is not taken for one.
fn find_python(wanted: Option<&Path>) -> Result<PathBuf, CliError> {
    let candidates = match wanted {
        Some(program) => vec![program.to_owned()],
        None => vec![PathBuf::from("python3"), PathBuf::from("python")],
    };
    let mut tried = Vec::new();
    for program in candidates {
        match python_version(&program) {
            Ok(version) if version >= PYTHON_MIN => return Ok(program),
            Ok((major, minor)) => {
                tried.push(format!("{} is Python {major}.{minor}", program.display()));
            }
            Err(why) => tried.push(format!("{}: {why}", program.display())),
        }
    }
    let (major, minor) = PYTHON_MIN;
    Err(CliError::usage(
        format!(
            "the demo needs Python {major}.{minor} or newer ({})",
            tried.join("; ")
        ),
        "install it (Debian and Ubuntu: apt install python3 python3-venv; Fedora: dnf install python3; \
         macOS: brew install python), or name one with --python PROGRAM",
    ))
}

fn python_version(program: &Path) -> Result<(u32, u32), String> {
    let output = Command::new(program)
        .args(["-I", "-c", "import sys; print(*sys.version_info[:2])"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if output.status.success() => Ok((major, minor)),
        _ => Err("it does not behave like a Python interpreter".to_owned()),
    }
}

fn make_environment(ui: &Ui, directory: &Path, python: &Path) -> Result<(), CliError> {
    let mut venv = Command::new(python);
    venv.args(["-m", "venv", ".venv"]).current_dir(directory);
    run_step(&mut venv).map_err(|said| {
        CliError::usage(
            format!("cannot make a virtual environment: {said}"),
            "install Python's venv module (Debian and Ubuntu: apt install python3-venv)",
        )
    })?;
    say(
        ui,
        "install the packages that it pins (FastAPI, SQLAlchemy, uvicorn, Alembic)",
    )?;
    let mut pip = Command::new(Path::new(".venv/bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--require-virtualenv"])
        .args(["--retries", "2", "-r", "requirements.txt"])
        .current_dir(directory);
    run_step(&mut pip).map_err(|said| {
        CliError::usage(
            format!("cannot install the packages: {said}"),
            "pip needs the network, or a package index that it is configured for; nothing was left behind, try again then",
        )
    })
}

/// Runs a command to its end; if it fails, gives the last lines that it said.
fn run_step(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(crate::domain::redact::Redactor::default().clean(&last, 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_something_in_it_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "x").unwrap();
        assert!(require_empty(dir.path()).is_err());
        assert!(dir.path().join("mine").exists());
    }

    #[test]
    fn a_set_up_that_was_killed_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MARK), "").unwrap();
        fs::create_dir(dir.path().join("backend")).unwrap();
        require_empty(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_unpacked_is_complete_and_private_where_it_must_be() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        unpack(&APPLICATION, dir.path()).unwrap();
        make_database(dir.path()).unwrap();
        let port = choose_port(dir.path()).unwrap();
        let env = dir.path().join(".env");
        assert!(
            fs::read_to_string(&env)
                .unwrap()
                .contains(&format!("PORT={port}"))
        );
        assert_eq!(
            fs::metadata(&env).unwrap().permissions().mode() & 0o777,
            0o600
        );
        for file in ["ubs.toml", "requirements.txt", "backend/main.py"] {
            assert!(dir.path().join(file).is_file(), "{file}");
        }
    }
}
