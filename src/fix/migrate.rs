//! Healing a SQLite database by the application's own migrations: they run on a clone of it, in the sandbox, and
//! what they made of it is copied over the live database in one transaction.
//!
//! The migrations never reach the live database: what is promoted is, to the byte, what was proved. A
//! database that changed between the trial and the promotion is left alone.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::apply::ApplyError;
use super::contents::{contents_digest, file_digest, side_effects_of};
use super::database::because;
use super::migration_run::{MigrationReach, MigrationRun, Upgrade};
use super::sandboxes::IMAGE;
use crate::domain::ids::Digest;
use crate::domain::remedy::MigrationTool;
use crate::sandbox::clone_database;

/// How long a live database that somebody uses is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A database after its migrations.
#[derive(Debug)]
pub(super) struct MigratedImage {
    /// Its image; gone when dropped.
    pub image: tempfile::TempPath,
    /// Contents of the live database that it was made from.
    pub before: Digest,
    /// Contents of the image.
    pub after: Digest,
    /// What it lost or changed besides what it gained.
    pub side_effects: Vec<String>,
}

/// Runs the migrations on the clone `database`; leaves an image of the result beside `images`, with a name that
/// begins with it.
pub(super) fn migrate(
    run: &MigrationRun<'_>,
    upgrade: Upgrade<'_>,
    database: &Path,
    images: &Path,
) -> Result<MigratedImage, ApplyError> {
    let fail = |why: String| upgrade.failed(why);
    let io = |error: std::io::Error| fail(error.to_string());
    let before = run.scratch.join("before-migration.sqlite");
    let _ = std::fs::remove_file(&before);
    if database.exists() {
        clone_database(database, &before).map_err(|error| fail(error.to_string()))?;
    }
    let directory = database.parent().unwrap_or(run.root).to_owned();
    let reach = MigrationReach {
        writable: vec![directory],
        ..MigrationReach::default()
    };
    upgrade.run(run, reach)?;
    if !database.exists() {
        let why = "the migrations made no database where the manifest says that it is: they use another one";
        let hint = match upgrade.tool {
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
    Ok(MigratedImage {
        before: file_digest(&before)?,
        after: file_digest(&image)?,
        side_effects: side_effects_of(&before, &image, upgrade.tables)?,
        image,
    })
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
mod tests;
