//! Promotion: a verified proposal is moved into the workspace, journaled so that a crash at any
//! instant leaves something that can be finished or undone.
//!
//! Order: journal durable → `PromotionStarted` durable → files (each atomically) → databases (each
//! in one transaction, after a backup) → `FixApplied` durable. [`recover_promotions`] runs the same
//! steps again from the journal: what is already as it should be is left alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::apply::{
    ApplyError, GONE, PlannedFile, plan_files, read_file, remove_file, resolve, write_atomically,
};
use super::contents::file_digest;
use super::database::{DatabaseError, apply_statements, definitions_digest};
use super::journal::{
    Journal, JournalDatabase, JournalFile, JournalImage, JournalPlan, JournalServer, name_of,
};
use super::migrate::replace_contents;
use super::packages::{JournalPackages, refusal};
use super::places::{carry_out_places, plan_places, undo_places};
use super::run::{Step, steps_of};
use super::trial::{Databases, Trial};
use crate::domain::event::FileChange;
use crate::domain::ids::{Digest, MissionId};
use crate::domain::mission::{Change, Fix, FixStatus, MissionCommand, MissionStatus, Proposal};
use crate::fix::postgres::statements;
use crate::kernel::{LockAttempt, LockFile};
use crate::log::{Missions, MissionsError, Reader, read_fixes};
use crate::sandbox::{CopyError, clone_database};

/// A promotion, its recovery or its rollback failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromoteError {
    /// The proposal no longer fits the workspace.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A database could not be changed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A database could not be backed up.
    #[error("cannot back up the database: {0}")]
    Backup(#[from] CopyError),
    /// The journal or a file could not be read or written.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else promoted it, or gave it up.
    #[error("mission {slug} is {status} by now: somebody else has worked on it")]
    Elsewhere {
        /// What a person calls it.
        slug: String,
        /// Where it stands.
        status: &'static str,
    },
    /// The fix is not there to be taken back, or something stands on it.
    #[error("the fix cannot be taken back: {0}")]
    NotUndone(String),
    /// The log or the mission's state says no.
    #[error(transparent)]
    Missions(#[from] MissionsError),
}

/// Bytes of a database up to which it is compared, to be put back from its backup.
pub(super) const COMPARED_BYTES_MAX: u64 = 256 << 20;
/// Held while something is promoted or taken back, below the state directory.
pub(super) const PROMOTION_LOCK: &str = "promotion.lock";
/// Where values that a promotion replaced are kept, below the state directory.
const REPLACED: &str = "replaced";

pub(super) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> PromoteError {
    let what = what.into();
    move |source| PromoteError::Io { what, source }
}

/// What became of a promotion that a crash had interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Which mission.
    pub mission: MissionId,
    /// It was finished; otherwise it was undone.
    pub finished: bool,
    /// One sentence.
    pub reason: String,
}

/// Where promotions happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct PromotionPlace<'a> {
    pub workspace: &'a Path,
    pub state_dir: &'a Path,
    pub missions: &'a Missions,
}

/// One promotion at a time in a workspace, across processes; released when dropped.
pub(super) fn promotion_lock(state_dir: &Path) -> Result<LockFile, PromoteError> {
    let path = state_dir.join(PROMOTION_LOCK);
    LockFile::wait_for(&path).map_err(io_error(format!("lock {}", path.display())))
}

/// Moves the verified proposal of `mission` into the workspace.
///
/// `databases`: where they are; `trial`: what the trial made of them; `verify`: the playbook that made it, if something
/// has to pass with it.
///
/// # Errors
/// The workspace is as it was, unless the error is one of the log: then recovery decides.
pub(super) fn promote(
    place: PromotionPlace<'_>,
    mission: MissionId,
    proposal: &Proposal,
    databases: &Databases,
    mut trial: Trial,
    verify: Option<String>,
) -> Result<(), PromoteError> {
    let _lock = promotion_lock(place.state_dir)?;
    // Somebody else may have promoted it while we waited: his journal is still needed.
    let state = place.missions.get(mission)?;
    if state.status != MissionStatus::Verified {
        return Err(PromoteError::Elsewhere {
            slug: state.slug,
            status: state.status.as_str(),
        });
    }
    // What is on probation keeps what takes it back: this one's is beside it.
    let reader = place.missions.log().reader().map_err(MissionsError::from)?;
    let below = on_probation(&reader, mission)?.len();
    let name = name_of(mission, below);
    let files = plan_files(place.workspace, proposal)?;
    let mut plan = JournalPlan {
        files: files.iter().map(journal_file).collect(),
        databases: Vec::new(),
        packages: planned_packages(proposal),
        servers: Vec::new(),
        places: plan_places(place.workspace, place.state_dir, &name, proposal)?,
        steps: steps_of(proposal),
        verify,
    };
    let mut images = Vec::new();
    for change in &proposal.changes {
        let (schema, statements) = match change {
            Change::Sql { schema, statements } => (schema, statements.as_slice()),
            Change::Migrate { schema, .. } => (schema, &[][..]),
            _ => continue,
        };
        if databases.servers.contains_key(schema) {
            plan_server(&mut plan, schema, statements, &trial)?;
            continue;
        }
        if let Some(known) = plan.databases.iter_mut().find(|d| d.schema == *schema) {
            known.statements.extend(statements.iter().cloned());
            continue;
        }
        let path = databases
            .files
            .get(schema)
            .ok_or_else(|| ApplyError::UnknownSchema(schema.clone()))?;
        let migrated = match change {
            Change::Migrate { .. } => {
                let result = trial
                    .migrated
                    .remove(schema)
                    .ok_or_else(|| ApplyError::UnknownSchema(schema.clone()))?;
                let contents = JournalImage {
                    before: result.before,
                    after: result.after,
                };
                images.push((plan.databases.len(), result.image));
                Some(contents)
            }
            _ => None,
        };
        plan.databases.push(JournalDatabase {
            schema: schema.clone(),
            path: path.clone(),
            backup: back_up(place.state_dir, &name, schema, path)?,
            statements: statements.to_vec(),
            risk: proposal.risk,
            before: definitions_digest(path)?,
            after: trial.definitions.get(schema).copied().unwrap_or_default(),
            migrated,
        });
    }
    keep_replaced(place.state_dir, &name, proposal, &files)?;
    let journal = Journal::of(place.state_dir, mission, below);
    let kept = images
        .into_iter()
        .map(|(index, image)| Ok((index, image.keep().map_err(|error| error.error)?)))
        .collect::<io::Result<Vec<_>>>()
        .map_err(io_error("keep the migrated database"))?;
    journal
        .write(&plan, &files, &kept)
        .map_err(io_error("write the promotion's journal"))?;
    for packages in &plan.packages {
        let kept = match &trial.wheels {
            Some(wheels) => packages.keep(place.workspace, journal.directory(), &wheels.0),
            None => Err("the trial left no wheels".to_owned()),
        };
        if let Err(why) = kept {
            journal
                .remove()
                .map_err(io_error("remove the promotion's journal"))?;
            return Err(refusal(&packages.environment, why).into());
        }
    }
    crate::kernel::crash_point("promote.journaled");
    place.missions.command(
        mission,
        MissionCommand::StartPromotion {
            files: plan.files.iter().map(|f| f.change.clone()).collect(),
            databases: changed_databases(&plan).map(str::to_owned).collect(),
        },
    )?;
    match carry_out(place.workspace, &journal, &plan, &databases.servers) {
        Ok(()) => {
            crate::kernel::crash_point("promote.carried_out");
            keep_contents(&journal, &plan);
            place
                .missions
                .command(mission, MissionCommand::FinishPromotion)?;
            Ok(())
        }
        Err(error) => {
            let left = undo(place.workspace, &journal, &plan)?;
            let reason = format!("undone: {error}{left}");
            place
                .missions
                .command(mission, MissionCommand::UndoPromotion { reason })?;
            journal
                .remove()
                .map_err(io_error("remove the promotion's journal"))?;
            Err(error)
        }
    }
}

/// Notes what each database holds now, so that taking the fix back knows whether somebody has written since.
/// Without the note it is taken for written to.
fn keep_contents(journal: &Journal, plan: &JournalPlan) {
    for (index, database) in plan.databases.iter().enumerate() {
        let small = fs::metadata(&database.path).is_ok_and(|file| file.len() <= COMPARED_BYTES_MAX);
        if !small || database.backup.is_none() {
            continue;
        }
        let kept = file_digest(&database.path)
            .map_err(|error| error.to_string())
            .and_then(|now| {
                let kept = journal.keep_contents(index, now);
                kept.map_err(|error| error.to_string())
            });
        if let Err(error) = kept {
            tracing::warn!(schema = database.schema, %error, "a change of the database will not be taken back");
        }
    }
}

/// Databases that were changed before a later step failed: they stay so, since the application may have written to
/// them meanwhile.
fn left_changed(plan: &JournalPlan) -> Vec<String> {
    let changed = plan.databases.iter().filter(|database| {
        database.before != database.after
            && definitions_digest(&database.path).is_ok_and(|now| now == database.after)
    });
    changed
        .map(|database| {
            let backup = match &database.backup {
                Some(backup) => format!("it is kept as it was in {}", backup.display()),
                None => "it did not exist before".to_owned(),
            };
            format!("database {} stays changed ({backup})", database.schema)
        })
        .collect()
}

/// Keeps each environment file of which a value is replaced, as it was: what was signed or encrypted with the old
/// value needs it.
fn keep_replaced(
    state_dir: &Path,
    promotion: &str,
    proposal: &Proposal,
    files: &[PlannedFile],
) -> Result<(), PromoteError> {
    let directory = state_dir.join(REPLACED);
    for change in &proposal.changes {
        let (Change::SetVariable { path, name, .. } | Change::GenerateSecret { path, name, .. }) =
            change
        else {
            continue;
        };
        let file = files.iter().find(|file| file.path == *path);
        let Some(before) = file.and_then(|file| file.before.as_deref()) else {
            continue;
        };
        if !has_value(before, name) {
            continue;
        }
        // The name is a variable's: `plan_files` refuses anything else.
        let kept = directory.join(format!("{name}-{promotion}"));
        fs::create_dir_all(&directory)
            .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)))
            .and_then(|()| super::apply::write_atomically(&kept, before, 0o600))
            .map_err(io_error(format!(
                "keep the old value in {}",
                kept.display()
            )))?;
    }
    Ok(())
}

/// The environment file gives the variable a value, and be it one that nobody reads because a later one wins.
fn has_value(file: &[u8], name: &str) -> bool {
    let text = String::from_utf8_lossy(file);
    text.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        line.strip_prefix(name)
            .and_then(|rest| rest.trim_start().strip_prefix('='))
            .is_some_and(|value| !value.trim().is_empty())
    })
}

fn changed_databases(plan: &JournalPlan) -> impl Iterator<Item = &str> {
    let files = plan.databases.iter().map(|d| d.schema.as_str());
    files.chain(plan.servers.iter().map(|s| s.schema.as_str()))
}

fn plan_server(
    plan: &mut JournalPlan,
    schema: &str,
    statements: &[String],
    trial: &Trial,
) -> Result<(), ApplyError> {
    if let Some(known) = plan.servers.iter_mut().find(|s| s.schema == schema) {
        known.statements.extend(statements.iter().cloned());
        return Ok(());
    }
    let outcome = trial
        .servers
        .get(schema)
        .ok_or_else(|| ApplyError::UnknownSchema(schema.to_owned()))?;
    plan.servers.push(JournalServer {
        schema: schema.to_owned(),
        statements: statements.to_vec(),
        outcome: outcome.clone(),
    });
    Ok(())
}

fn journal_file(file: &PlannedFile) -> JournalFile {
    JournalFile {
        change: FileChange {
            path: file.path.clone(),
            before: file.digest_before(),
            after: file.digest_after(),
        },
        mode_before: file.before.is_some().then_some(file.mode),
        mode: file.mode,
    }
}

fn back_up(
    state_dir: &Path,
    promotion: &str,
    schema: &str,
    path: &Path,
) -> Result<Option<PathBuf>, PromoteError> {
    if !path.exists() {
        return Ok(None);
    }
    let directory = state_dir.join("backups");
    fs::create_dir_all(&directory)
        .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)))
        .map_err(io_error(format!("make {}", directory.display())))?;
    let backup = directory.join(format!("{schema}-{promotion}.sqlite"));
    if backup.exists() {
        // Left by an earlier try: the database has not changed through us since.
        fs::remove_file(&backup).map_err(io_error(format!("replace {}", backup.display())))?;
    }
    clone_database(path, &backup)?;
    fs::set_permissions(&backup, fs::Permissions::from_mode(0o600))
        .map_err(io_error(format!("protect {}", backup.display())))?;
    Ok(Some(backup))
}

/// Brings every file and database to what the journal says. Idempotent.
fn carry_out(
    workspace: &Path,
    journal: &Journal,
    plan: &JournalPlan,
    servers: &BTreeMap<String, String>,
) -> Result<(), PromoteError> {
    for packages in &plan.packages {
        let process_env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        packages
            .carry_out(workspace, journal.directory(), &process_env)
            .map_err(|why| refusal(&packages.environment, why))?;
    }
    carry_out_places(workspace, &plan.places)?;
    for (index, file) in plan.files.iter().enumerate() {
        let now = read_file(workspace, &file.change.path)?.map(|bytes| Digest::of(&bytes));
        if now.unwrap_or(GONE) == file.change.after {
            continue;
        }
        if now != file.change.before {
            return Err(ApplyError::Changed {
                path: file.change.path.clone(),
            }
            .into());
        }
        let bytes = journal
            .after(index)
            .map_err(io_error("read the promotion's journal"))?;
        let full = resolve(workspace, &file.change.path)?;
        if file.change.after == GONE {
            remove_file(&full).map_err(io_error(format!("delete {}", file.change.path)))?;
        } else {
            write_atomically(&full, &bytes, file.mode)
                .map_err(io_error(format!("write {}", file.change.path)))?;
        }
        crate::kernel::crash_point("promote.file_written");
    }
    for (index, database) in plan.databases.iter().enumerate() {
        if let Some(contents) = &database.migrated {
            let image = journal.database(index);
            replace_contents(&database.path, &image, contents.before, contents.after)?;
            crate::kernel::crash_point("promote.database_changed");
            continue;
        }
        let now = definitions_digest(&database.path)?;
        if now == database.after && now != database.before {
            continue;
        }
        if now != database.before {
            return Err(ApplyError::Changed {
                path: database.path.display().to_string(),
            }
            .into());
        }
        apply_statements(&database.path, &database.statements, database.risk)?;
        crate::kernel::crash_point("promote.database_changed");
    }
    for server in &plan.servers {
        let url = servers
            .get(&server.schema)
            .ok_or_else(|| ApplyError::UnknownSchema(server.schema.clone()))?;
        // In a thread of its own: recovery may run inside an event loop, and the connection has another.
        std::thread::scope(|scope| {
            scope
                .spawn(|| statements::promote(url, &server.statements, &server.outcome))
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
        .map_err(ApplyError::from)?;
        crate::kernel::crash_point("promote.database_changed");
    }
    carry_out_steps(workspace, journal, &plan.steps)
}

/// Runs what has not run yet, in order. A command that a crash cut short is not run twice.
fn carry_out_steps(
    workspace: &Path,
    journal: &Journal,
    steps: &[Step],
) -> Result<(), PromoteError> {
    let fail = || io_error("read or write the promotion's journal");
    for (index, step) in steps.iter().enumerate() {
        match journal.step(index).map_err(fail())? {
            Some(true) => continue,
            Some(false) => {
                return Err(ApplyError::Run {
                    command: step.to_string(),
                    why: "was cut short, and whether it took effect is not known".to_owned(),
                }
                .into());
            }
            None => {}
        }
        journal.note_step(index, false).map_err(fail())?;
        crate::kernel::crash_point("promote.step_begun");
        step.carry_out(workspace)?;
        journal.note_step(index, true).map_err(fail())?;
    }
    Ok(())
}

fn planned_packages(proposal: &Proposal) -> Vec<JournalPackages> {
    let of_change = |change: &Change| match change {
        Change::Packages {
            environment,
            install,
        } => Some(JournalPackages {
            environment: environment.clone(),
            install: install.clone(),
        }),
        _ => None,
    };
    proposal.changes.iter().filter_map(of_change).collect()
}

/// Environments are as they were before.
pub(super) fn put_packages_back(
    workspace: &Path,
    journal: &Journal,
    plan: &JournalPlan,
) -> Result<(), PromoteError> {
    for packages in &plan.packages {
        packages
            .put_back(workspace, journal.directory())
            .map_err(|why| refusal(&packages.environment, why))?;
    }
    Ok(())
}

/// Takes back what can be of a promotion that failed. What stays, each after a semicolon.
fn undo(workspace: &Path, journal: &Journal, plan: &JournalPlan) -> Result<String, PromoteError> {
    undo_files(workspace, journal, plan)?;
    put_packages_back(workspace, journal, plan)?;
    let stays = undo_places(workspace, &plan.places);
    let left = left_changed(plan).into_iter().chain(stays);
    let left = left.chain(left_run(journal, &plan.steps));
    Ok(left.map(|left| format!("; {left}")).collect())
}

/// Commands that ran, or may have: nothing takes back what they did.
pub(super) fn left_run(journal: &Journal, steps: &[Step]) -> Vec<String> {
    let began = steps.iter().enumerate().filter(|(index, step)| {
        matches!(step, Step::Run(_)) && !matches!(journal.step(*index), Ok(None))
    });
    began
        .map(|(_, step)| format!("what `{step}` did stays"))
        .collect()
}

/// Puts back the files that are still as the promotion left them.
pub(super) fn undo_files(
    workspace: &Path,
    journal: &Journal,
    plan: &JournalPlan,
) -> Result<(), PromoteError> {
    for (index, file) in plan.files.iter().enumerate().rev() {
        let now = read_file(workspace, &file.change.path)?.map(|bytes| Digest::of(&bytes));
        if now.unwrap_or(GONE) != file.change.after || now == file.change.before {
            continue;
        }
        let full = resolve(workspace, &file.change.path)?;
        match file.mode_before {
            None => {
                fs::remove_file(&full).map_err(io_error(format!("remove {}", file.change.path)))?
            }
            Some(mode) => {
                let bytes = journal
                    .before(index)
                    .map_err(io_error("read the promotion's journal"))?;
                write_atomically(&full, &bytes, mode)
                    .map_err(io_error(format!("restore {}", file.change.path)))?;
            }
        }
    }
    Ok(())
}

/// Finishes or undoes what a crash left half-done: every mission that is `promoting`.
///
/// A promotion that is really going on in another process holds the lock, so this waits for it.
///
/// `servers`: the URL of each `[[schema]]` that is on a server ([`super::server_urls`]); without them, promotions
/// that change such a database are left to who has them.
///
/// # Errors
/// A file cannot be read or written; the mission stays as it is and the next call tries again.
pub(crate) fn recover_promotions(
    workspace: &Path,
    state_dir: &Path,
    missions: &Missions,
    servers: Option<&BTreeMap<String, String>>,
) -> Result<Vec<Recovery>, PromoteError> {
    let _lock = promotion_lock(state_dir)?;
    let place = PromotionPlace {
        workspace,
        state_dir,
        missions,
    };
    let mut recovered = Vec::new();
    for mission in missions.with_status(MissionStatus::Promoting)? {
        recovered.extend(recover(place, mission, servers, "a crash")?);
    }
    Ok(recovered)
}

/// Finishes or undoes the promotion of a mission that a log or a disk in trouble cut short, without a new boot; `None`
/// if somebody is promoting just now.
///
/// # Errors
/// The trouble is not over; the mission stays as it is.
pub(super) fn finish_promotion(
    place: PromotionPlace<'_>,
    mission: MissionId,
    servers: &BTreeMap<String, String>,
) -> Result<Option<Recovery>, PromoteError> {
    let path = place.state_dir.join(PROMOTION_LOCK);
    let lock = LockFile::try_take(&path).map_err(io_error(format!("lock {}", path.display())))?;
    let LockAttempt::Taken(_lock) = lock else {
        return Ok(None);
    };
    if place.missions.get(mission)?.status != MissionStatus::Promoting {
        return Ok(None);
    }
    recover(place, mission, Some(servers), "an interruption")
}

/// `after`: what cut it short.
fn recover(
    place: PromotionPlace<'_>,
    mission: MissionId,
    servers: Option<&BTreeMap<String, String>>,
    after: &str,
) -> Result<Option<Recovery>, PromoteError> {
    let reader = place.missions.log().reader().map_err(MissionsError::from)?;
    let below = on_probation(&reader, mission)?.len();
    let journal = Journal::of(place.state_dir, mission, below);
    let plan = journal
        .read()
        .map_err(io_error("read the promotion's journal"))?;
    let is_on_server = plan.as_ref().is_some_and(|plan| !plan.servers.is_empty());
    if is_on_server && servers.is_none() {
        return Ok(None);
    }
    let servers = servers.unwrap_or(const { &BTreeMap::new() });
    let outcome = match &plan {
        None => Err("the journal is gone".to_owned()),
        Some(plan) => match carry_out(place.workspace, &journal, plan, servers) {
            Ok(()) => Ok(()),
            Err(error) => {
                let left = undo(place.workspace, &journal, plan)?;
                Err(format!("{error}{left}"))
            }
        },
    };
    match outcome {
        Ok(()) => {
            if let Some(plan) = &plan {
                keep_contents(&journal, plan);
            }
            place
                .missions
                .command(mission, MissionCommand::FinishPromotion)?;
            let reason = format!("finished after {after}");
            Ok(Some(Recovery {
                mission,
                finished: true,
                reason,
            }))
        }
        Err(why) => {
            let reason = format!("undone after {after}: {why}");
            place.missions.command(
                mission,
                MissionCommand::UndoPromotion {
                    reason: reason.clone(),
                },
            )?;
            journal
                .remove()
                .map_err(io_error("remove the promotion's journal"))?;
            Ok(Some(Recovery {
                mission,
                finished: false,
                reason,
            }))
        }
    }
}

/// The fixes of the mission that are on probation, oldest first.
pub(super) fn on_probation(reader: &Reader, mission: MissionId) -> Result<Vec<Fix>, PromoteError> {
    let mut fixes = read_fixes(reader, Some(mission)).map_err(MissionsError::from)?;
    fixes.retain(|fix| fix.status == FixStatus::Probation);
    Ok(fixes)
}

/// Every fix of the mission, oldest first.
pub(super) fn fixes_of(missions: &Missions, mission: MissionId) -> Result<Vec<Fix>, PromoteError> {
    let reader = missions.log().reader().map_err(MissionsError::from)?;
    Ok(read_fixes(&reader, Some(mission)).map_err(MissionsError::from)?)
}
