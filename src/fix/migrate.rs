//! Healing by the application's own migrations: they run on a clone of the database, in the sandbox, and
//! what they made of it is copied over the live database in one transaction.
//!
//! The migrations never reach the live database: what is promoted is, to the byte, what was proved. A
//! database that changed between the trial and the promotion is left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::apply::ApplyError;
use super::contents::{beyond_additions, contents_digest, file_digest};
use super::database::because;
use super::sandboxes::IMAGE;
use crate::checks::{MigrationBooks, interpreter, migration_books, migration_command};
use crate::domain::event::ExitKind;
use crate::domain::ids::Digest;
use crate::domain::mission::MigrationTool;
use crate::domain::redact::Redactor;
use crate::manifest::{Environment, Manifest, WebFramework};
use crate::sandbox::{SandboxSpec, clone_database, host_isolation, run_sandboxed};

/// How long a live database that somebody uses is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// End of what a failed migration said.
const OUTPUT_BYTES_MAX: usize = 2 << 10;

/// Where and with what the migrations run.
pub(super) struct Run<'a> {
    pub manifest: &'a Manifest,
    /// The copy of the workspace.
    pub root: &'a Path,
    /// A private directory outside of the copy that is gone after the trial.
    pub scratch: &'a Path,
    pub environment: &'a Environment,
    pub overrides: &'a BTreeMap<String, String>,
}

/// A database after its migrations.
#[derive(Debug)]
pub(super) struct Migrated {
    /// Its image; gone when dropped.
    pub image: tempfile::TempPath,
    /// Contents of the live database that it was made from.
    pub before: Digest,
    /// Contents of the image.
    pub after: Digest,
    /// What it lost or changed besides what it gained.
    pub beyond: Vec<String>,
}

/// Runs the migrations of `schema` on the clone `database`; leaves an image of the result beside `images`, with a
/// name that begins with it.
pub(super) fn migrate(
    run: &Run<'_>,
    schema: &str,
    tool: MigrationTool,
    target: &str,
    database: &Path,
    images: &Path,
) -> Result<Migrated, ApplyError> {
    let fail = |why: String| ApplyError::Migration {
        schema: schema.to_owned(),
        why,
    };
    let io = |error: std::io::Error| fail(error.to_string());
    let declared = run.manifest.schemas.iter().find(|s| s.name == schema);
    let expect = declared.map(|schema| &schema.expect);
    let books = expect.map_or_else(MigrationBooks::default, |expect| {
        migration_books(expect, run.root)
    });
    let command = expect
        .and_then(|expect| migration_command(expect, tool, target, run.root))
        .ok_or_else(|| fail("the manifest declares no migrations of this kind".to_owned()))?;
    let limits = run.manifest.heal.sandbox_limits;
    // Otherwise, migrations that name their database outright would reach the live one.
    let isolation = host_isolation(limits);
    if !isolation.isolated.iter().any(|name| name == "filesystem") {
        return Err(fail(
            "this host cannot isolate the file system, so the live database would be in reach"
                .to_owned(),
        ));
    }
    let before = run.scratch.join("before-migration.sqlite");
    let _ = std::fs::remove_file(&before);
    if database.exists() {
        clone_database(database, &before).map_err(|error| fail(error.to_string()))?;
    }
    let home = run.scratch.join("migration-home");
    super::trial::make_directory(&home).map_err(|error| fail(error.to_string()))?;
    let directory = database.parent().unwrap_or(run.root).to_owned();
    let python = interpreter(run.manifest, run.root, run.environment)
        .map_err(|error| fail(error.to_string()))?;
    let mut argv = vec![python.display().to_string(), "-B".to_owned()];
    argv.extend(command.arguments.iter().cloned());
    let mut env = run.environment.declared_env(run.manifest);
    env.extend(run.overrides.clone());
    for name in ["HOME", "TMPDIR"] {
        env.insert(name.to_owned(), home.display().to_string());
    }
    // Packages that were installed for the user lie below the real home directory.
    if let Some((home, _)) = run.environment.values.get("HOME") {
        let base = Path::new(home).join(".local").display().to_string();
        env.entry("PYTHONUSERBASE".to_owned()).or_insert(base);
    }
    if tool == MigrationTool::Flask
        && let Some(app) = flask_application(run)
    {
        env.insert("FLASK_APP".to_owned(), app);
    }
    let mut paths: Vec<PathBuf> = run
        .manifest
        .python
        .path
        .iter()
        .map(|p| run.root.join(p))
        .collect();
    paths.push(run.root.to_owned());
    if let Some(path) = env.get("PYTHONPATH") {
        paths.extend(std::env::split_paths(path));
    }
    let joined = std::env::join_paths(paths).map_err(|error| fail(error.to_string()))?;
    env.insert(
        "PYTHONPATH".to_owned(),
        joined.to_string_lossy().into_owned(),
    );
    let outcome = run_sandboxed(&SandboxSpec {
        argv,
        cwd: command.directory,
        env,
        writable: vec![directory, home],
        overlay: None,
        network: false,
        limits,
        timeout_ms: limits.time_ms,
        stdin: Vec::new(),
        stdin_more: None,
        loopback: None,
    })
    .map_err(|error| fail(error.to_string()))?;
    if outcome.timed_out || outcome.exit != ExitKind::Code(0) {
        let redactor = Redactor::new(run.environment.secret_values(run.manifest));
        let text = String::from_utf8_lossy(if outcome.stderr.is_empty() {
            &outcome.stdout
        } else {
            &outcome.stderr
        })
        .into_owned();
        let last: Vec<&str> = text
            .lines()
            .rev()
            .filter(|line| !line.trim().is_empty())
            .take(4)
            .collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let how = if outcome.timed_out {
            "was not done in time".to_owned()
        } else {
            format!("ended with {}", outcome.exit)
        };
        let told = redactor.clean(&last.join(" | "), OUTPUT_BYTES_MAX);
        return Err(fail(format!("`{}` {how}: {told}", command.shown)));
    }
    if !database.exists() {
        let why = "the migrations made no database where the manifest says that it is: they use another one";
        let hint = match tool {
            MigrationTool::Flask => {
                " (Flask-SQLAlchemy takes a relative path from the directory `instance`)"
            }
            _ => "",
        };
        return Err(fail(format!("{why}{hint}")));
    }
    let mut prefix = images.file_name().unwrap_or_default().to_owned();
    prefix.push(IMAGE);
    let image = tempfile::Builder::new()
        .prefix(&prefix)
        .tempfile_in(images.parent().unwrap_or(images))
        .map_err(io)?
        .into_temp_path();
    clone_database(database, &image).map_err(|error| fail(error.to_string()))?;
    crate::kernel::crash_point("trial.migrated");
    Ok(Migrated {
        before: file_digest(&before)?,
        after: file_digest(&image)?,
        beyond: beyond_additions(&before, &image, &books)?,
        image,
    })
}

/// The application that `flask` runs in: the one that is named, or the one that the manifest registers.
fn flask_application(run: &Run<'_>) -> Option<String> {
    if let Some((named, _)) = run.environment.values.get("FLASK_APP") {
        return Some(named.clone());
    }
    let app = run.manifest.registration.as_ref()?.app.as_ref()?;
    let call = if app.factory { "()" } else { "" };
    (app.framework == WebFramework::Flask)
        .then(|| format!("{}:{}{call}", app.module, app.attribute))
}

/// Copies the image over the live database, if that is still what the image was made from. Atomic: a
/// crash leaves one or the other. Idempotent.
pub(super) fn replace_contents(
    live: &Path,
    image: &Path,
    before: Digest,
    after: Digest,
) -> Result<(), ApplyError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let context = || because(format!("cannot change {}", live.display()));
    let mut target = Connection::open_with_flags(live, flags).map_err(context())?;
    target.busy_timeout(BUSY_TIMEOUT).map_err(context())?;
    // Nobody else comes in between the look and the copy: in this mode, the lock of the transaction is
    // kept after its end (sqlite.org/pragma.html, locking_mode).
    target
        .query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))
        .and_then(|()| target.execute_batch("BEGIN EXCLUSIVE"))
        .map_err(context())?;
    let now = contents_digest(&target);
    target.execute_batch("COMMIT").map_err(context())?;
    let now = now?;
    if now == after {
        return Ok(());
    }
    if now != before {
        return Err(ApplyError::Changed {
            path: live.display().to_string(),
        });
    }
    let source = Connection::open_with_flags(image, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(because("cannot open the migrated image"))?;
    {
        let backup = Backup::new(&source, &mut target).map_err(context())?;
        if backup.step(-1).map_err(context())? != StepResult::Done {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
            let busy = rusqlite::Error::SqliteFailure(code, None);
            return Err(context()(busy).into());
        }
    }
    target.close().map_err(|(_, error)| context()(error).into())
}

#[cfg(test)]
#[path = "migrate_tests.rs"]
mod tests;
