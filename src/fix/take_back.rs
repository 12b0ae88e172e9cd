//! What becomes of a fix after it was applied: it is blessed, or taken back, by the system or by a person.
//!
//! The journal of its promotion is kept for as long as it is on probation. Order of taking back: the intent, durable
//! → files → databases → the event, durable → the journal goes. After a crash in between the next boot finds the
//! intent and does it again, which finds what is put back already as it should be. Order of blessing: the event,
//! durable → the journal goes; a journal that a crash left is removed by the next look.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::apply::{GONE, read_file};
use super::contents::file_digest;
use super::journal::{Journal, JournalDatabase, JournalPlan, TakeBack};
use super::migrate::replace_contents;
use super::packages::{JournalPackages, refusal};
use super::places::undo_places;
use super::promote::{
    COMPARED_BYTES_MAX, PROMOTION_LOCK, PromoteError, fixes_of, io_error, left_run, on_probation,
    promotion_lock, undo_files,
};
use crate::domain::ids::{Digest, MissionId};
use crate::domain::mission::{Fix, FixStatus, MissionCommand, MissionStatus};
use crate::fix::postgres::server_trial::ServerOutcome;
use crate::kernel::{LockAttempt, LockFile, crash_point};
use crate::log::{Missions, MissionsError};

fn journal_error(verb: &str, journal: &Journal) -> impl FnOnce(std::io::Error) -> PromoteError {
    let place = journal.directory().display().to_string();
    io_error(format!("{verb} the promotion's journal {place}"))
}

/// The fix of the mission that is the next to be blessed or taken back: the newest on probation, else the last.
fn last_fix(missions: &Missions, mission: MissionId) -> Result<Option<Fix>, PromoteError> {
    let mut fixes = fixes_of(missions, mission)?;
    let top = fixes
        .iter()
        .rposition(|fix| fix.status == FixStatus::Probation);
    Ok(match top {
        Some(top) => Some(fixes.swap_remove(top)),
        None => fixes.pop(),
    })
}

/// The journal of the newest fix of the mission that is on probation.
fn top_journal(
    state_dir: &Path,
    missions: &Missions,
    mission: MissionId,
) -> Result<Journal, PromoteError> {
    let reader = missions.log().reader().map_err(MissionsError::from)?;
    let below = on_probation(&reader, mission)?.len().saturating_sub(1);
    Ok(Journal::of(state_dir, mission, below))
}

/// Of each mission the newest fix on probation that can still be taken back, oldest first. What a crash left of others
/// is removed.
///
/// # Errors
/// The log or the state directory cannot be read.
pub(crate) fn fixes_on_probation(
    state_dir: &Path,
    missions: &Missions,
) -> Result<Vec<Fix>, PromoteError> {
    let all = all_on_probation(state_dir, missions)?;
    let mut fixes: Vec<Fix> = all.into_values().filter_map(|mut own| own.pop()).collect();
    fixes.sort_by_key(|fix| fix.id);
    Ok(fixes)
}

/// By mission, oldest first.
fn all_on_probation(
    state_dir: &Path,
    missions: &Missions,
) -> Result<BTreeMap<MissionId, Vec<Fix>>, PromoteError> {
    let kept = Journal::kept(state_dir).map_err(io_error(format!(
        "list the promotions' journals in {}",
        state_dir.join("journal").display()
    )))?;
    let mut fixes = BTreeMap::new();
    if kept.is_empty() {
        return Ok(fixes);
    }
    // It sees what is written meanwhile.
    let reader = missions.log().reader().map_err(MissionsError::from)?;
    for (mission, below) in kept {
        // Asked first: what is promoted meanwhile has a fix on probation then.
        let is_settled = !is_promoting(missions, mission);
        let own = on_probation(&reader, mission)?;
        if below < own.len() {
            fixes.insert(mission, own);
        } else if is_settled {
            // Also of a promotion that never began: its images may hold secrets.
            let journal = Journal::of(state_dir, mission, below);
            journal
                .remove()
                .map_err(journal_error("remove", &journal))?;
        }
    }
    Ok(fixes)
}

/// Somebody is just writing a new journal, or it waits for its recovery.
fn is_promoting(missions: &Missions, mission: MissionId) -> bool {
    missions
        .get(mission)
        .map_or(true, |state| state.status.is_held())
}

/// Removes the journal of a mission that is closed, unless its fix is on probation.
pub(super) fn forget_if_settled(
    state_dir: &Path,
    missions: &Missions,
    mission: MissionId,
) -> Result<(), PromoteError> {
    match last_fix(missions, mission)? {
        Some(fix) if fix.status == FixStatus::Probation => Ok(()),
        _ => forget(state_dir, mission),
    }
}

/// Removes what was kept of fixes that nobody takes back any more: its images may hold secrets.
fn forget(state_dir: &Path, mission: MissionId) -> Result<(), PromoteError> {
    Journal::remove_all(state_dir, mission).map_err(io_error("remove the promotion's journal"))
}

/// Finishes what a crash interrupted: each fix that was being taken back.
///
/// # Errors
/// A file cannot be read or written; the next call tries again.
pub(crate) fn recover_take_backs(
    workspace: &Path,
    state_dir: &Path,
    missions: &Missions,
) -> Result<(), PromoteError> {
    for fix in fixes_on_probation(state_dir, missions)? {
        let journal = top_journal(state_dir, missions, fix.mission)?;
        let begun = journal.intent().map_err(journal_error("read", &journal))?;
        let Some(intent) = begun else { continue };
        let _lock = promotion_lock(state_dir)?;
        if let Err(why) = require_on_probation(missions, fix.mission)? {
            tracing::info!(slug = fix.slug, why, "a fix is not taken back any more");
            continue;
        }
        carry_out(workspace, state_dir, missions, fix.mission, &intent)?;
    }
    Ok(())
}

/// Under the lock: what somebody else did meanwhile counts, and nothing changes that the log will not take.
fn require_on_probation(
    missions: &Missions,
    mission: MissionId,
) -> Result<Result<Fix, String>, PromoteError> {
    let Some(fix) = last_fix(missions, mission)? else {
        return Ok(Err("its mission has no fix".to_owned()));
    };
    Ok(match fix.status {
        FixStatus::Probation if missions.get(mission)?.status == MissionStatus::Promoting => {
            Err("another fix for its mission is just being applied".to_owned())
        }
        FixStatus::Probation => Ok(fix),
        FixStatus::Blessed => Err(format!(
            "it is blessed since {}, and what was there before it is no longer kept; change it by hand",
            fix.since
        )),
        status => Err(format!(
            "it is {} already",
            status.as_str().replace('_', " ")
        )),
    })
}

/// The intent, durable → what is put back → the event, durable → the journal goes.
fn carry_out(
    workspace: &Path,
    state_dir: &Path,
    missions: &Missions,
    mission: MissionId,
    intent: &TakeBack,
) -> Result<String, PromoteError> {
    let journal = top_journal(state_dir, missions, mission)?;
    let plan = journal.read().map_err(journal_error("read", &journal))?;
    let reason = match plan {
        Some(plan) => {
            journal
                .intend(intent)
                .map_err(journal_error("write", &journal))?;
            crash_point("take_back.begun");
            put_back(workspace, &journal, &plan, &intent.why)?
        }
        None => format!(
            "{}; nothing is put back, because the promotion's journal is gone",
            intent.why
        ),
    };
    let command = match intent.by.clone() {
        Some(by) => MissionCommand::Undo {
            by,
            reason: reason.clone(),
        },
        None => MissionCommand::RollBack {
            reason: reason.clone(),
        },
    };
    missions.command(mission, command)?;
    crash_point("take_back.recorded");
    journal
        .remove()
        .map_err(journal_error("remove", &journal))?;
    Ok(reason)
}

/// Somebody is taking the fix back, or was when a crash or a full disk came in between.
pub(crate) fn is_going(state_dir: &Path, mission: MissionId) -> bool {
    // What cannot be read says that it was begun.
    let Ok(kept) = Journal::kept(state_dir) else {
        return true;
    };
    kept.iter().any(|(of, below)| {
        *of == mission && !matches!(Journal::of(state_dir, mission, *below).intent(), Ok(None))
    })
}

/// The system was healthy with the fix for long enough: it stays, and what was kept to take it back goes. False if
/// that has to wait, because somebody is promoting or taking something back.
///
/// # Errors
/// The log cannot be written, or the fix is not on probation any more.
pub(crate) fn bless(
    state_dir: &Path,
    missions: &Missions,
    mission: MissionId,
    healthy_ms: u64,
) -> Result<bool, PromoteError> {
    let path = state_dir.join(PROMOTION_LOCK);
    let lock = LockFile::try_take(&path).map_err(io_error(format!("lock {}", path.display())))?;
    let LockAttempt::Taken(_lock) = lock else {
        return Ok(false);
    };
    if is_going(state_dir, mission) {
        return Ok(false);
    }
    crash_point("bless.begun");
    missions.command(mission, MissionCommand::Bless { healthy_ms })?;
    crash_point("bless.recorded");
    forget(state_dir, mission)?;
    Ok(true)
}

/// Takes an applied fix back because the system is worse with it: files that are still as it left them get their old
/// content, databases to which nobody has written since get their backup. The reason says what stays, and why.
///
/// # Errors
/// A file cannot be read or written, or the mission has no fix on probation any more.
pub(crate) fn roll_back(
    workspace: &Path,
    state_dir: &Path,
    missions: &Missions,
    mission: MissionId,
    why: &str,
) -> Result<String, PromoteError> {
    let _lock = promotion_lock(state_dir)?;
    if let Err(why) = require_on_probation(missions, mission)? {
        return Err(PromoteError::NotUndone(why));
    }
    let intent = TakeBack {
        by: None,
        why: why.to_owned(),
    };
    carry_out(workspace, state_dir, missions, mission, &intent)
}

/// A person takes a fix on probation back: all of its files, or nothing.
///
/// # Errors
/// It is not on probation, a file was changed since, a later fix changed the same file, or something cannot be read
/// or written.
pub(crate) fn undo_fix(
    workspace: &Path,
    state_dir: &Path,
    missions: &Missions,
    fix: &Fix,
    by: &str,
    why: &str,
) -> Result<String, PromoteError> {
    let _lock = promotion_lock(state_dir)?;
    let refuse = |why: String| Err(PromoteError::NotUndone(why));
    match require_on_probation(missions, fix.mission)? {
        Ok(now) if now.id == fix.id => {}
        Ok(now) if now.id > fix.id => {
            return refuse(format!(
                "fix {} of the same mission ({}) was made on top of it; undo that one first",
                now.id, fix.slug
            ));
        }
        Ok(_) => {
            let known = fixes_of(missions, fix.mission)?;
            let known = known.iter().find(|known| known.id == fix.id);
            let status = known.map_or(fix.status, |known| known.status);
            return refuse(format!(
                "it is {} already",
                status.as_str().replace('_', " ")
            ));
        }
        Err(why) => return refuse(why),
    }
    let journal = top_journal(state_dir, missions, fix.mission)?;
    let plan = journal.read().map_err(journal_error("read", &journal))?;
    let Some(plan) = plan else {
        return refuse("its journal is gone, so what was there before it is not known".to_owned());
    };
    let mut later: Vec<Fix> = all_on_probation(state_dir, missions)?
        .into_values()
        .flatten()
        .collect();
    later.sort_by_key(|fix| fix.id);
    for file in &plan.files {
        let path = &file.change.path;
        let covers =
            |later: &&Fix| later.id > fix.id && later.files.iter().any(|other| other.path == *path);
        if let Some(later) = later.iter().rev().find(covers) {
            return refuse(format!(
                "the later fix {} ({}) changed {path} too; undo that one first",
                later.id, later.slug
            ));
        }
        let found = read_file(workspace, path)?.map(|bytes| Digest::of(&bytes));
        if found.unwrap_or(GONE) != file.change.after && found != file.change.before {
            return refuse(format!(
                "{path} was changed since; put it back by hand (`ubs fixes show {}` says what the fix did)",
                fix.id
            ));
        }
    }
    for packages in &plan.packages {
        if !packages.is_unchanged(workspace, journal.directory()) {
            return refuse(format!(
                "other packages were installed into {} since; change it by hand",
                packages.environment
            ));
        }
    }
    let intent = TakeBack {
        by: Some(by.to_owned()),
        why: why.to_owned(),
    };
    carry_out(workspace, state_dir, missions, fix.mission, &intent)
}

/// Puts back what can be. Idempotent. Gives the reason with what stays, and why.
fn put_back(
    workspace: &Path,
    journal: &Journal,
    plan: &JournalPlan,
    why: &str,
) -> Result<String, PromoteError> {
    let mut reason = why.to_owned();
    for path in changed_since(workspace, plan)? {
        reason.push_str(&format!("; {path} stays, because it was changed since"));
    }
    undo_files(workspace, journal, plan)?;
    for packages in &plan.packages {
        let environment = &packages.environment;
        let is_done = JournalPackages::is_done(journal.directory());
        if is_done && !packages.is_unchanged(workspace, journal.directory()) {
            reason.push_str(&format!(
                "; the packages of {environment} stay, because others were installed since"
            ));
            continue;
        }
        packages
            .put_back(workspace, journal.directory())
            .map_err(|why| refusal(environment, why))?;
        reason.push_str(&format!("; the packages of {environment} are as they were"));
    }
    for stays in undo_places(workspace, &plan.places) {
        reason.push_str(&format!("; {stays}"));
    }
    for stays in left_run(journal, &plan.steps) {
        reason.push_str(&format!("; {stays}"));
    }
    crash_point("take_back.files");
    for (index, database) in plan.databases.iter().enumerate() {
        let said = match put_database_back(journal, index, database) {
            Ok(()) => format!("; database {} is as it was", database.schema),
            Err(why) => {
                let backup = database.backup.as_ref();
                let backup =
                    backup.map_or_else(|| "none".to_owned(), |path| path.display().to_string());
                format!(
                    "; what was done to database {} stays, because {why} (backup from before: {backup})",
                    database.schema
                )
            }
        };
        reason.push_str(&said);
    }
    crash_point("take_back.databases");
    for server in &plan.servers {
        let what = match server.outcome {
            ServerOutcome::Added(_) => "was added",
            ServerOutcome::Changed(_) => "was done",
            ServerOutcome::Migrated(..) => "the migrations did",
        };
        reason.push_str(&format!(
            "; what {what} to database {} stays",
            server.schema
        ));
    }
    Ok(reason)
}

/// Files that are neither as the fix left them nor as they were before.
fn changed_since(workspace: &Path, plan: &JournalPlan) -> Result<Vec<String>, PromoteError> {
    let mut changed = Vec::new();
    for file in &plan.files {
        let now = read_file(workspace, &file.change.path)?.map(|bytes| Digest::of(&bytes));
        if now.unwrap_or(GONE) != file.change.after && now != file.change.before {
            changed.push(file.change.path.clone());
        }
    }
    Ok(changed)
}

/// The backup comes back only if nobody has written since: rows that came with the fix are worth more than its end.
fn put_database_back(
    journal: &Journal,
    index: usize,
    database: &JournalDatabase,
) -> Result<(), String> {
    let Some(backup) = &database.backup else {
        return Err("there was none before".to_owned());
    };
    let bytes = fs::metadata(&database.path).map_err(|error| error.to_string())?;
    if bytes.len() > COMPARED_BYTES_MAX {
        return Err("it is too large to be compared".to_owned());
    }
    let Some(left) = journal.contents(index) else {
        return Err("what the fix made of it was not noted".to_owned());
    };
    let now = file_digest(&database.path).map_err(|error| error.to_string())?;
    let before = file_digest(backup).map_err(|error| error.to_string())?;
    if now == before {
        return Ok(());
    }
    if now.to_string() != left {
        return Err("it was written to since".to_owned());
    }
    replace_contents(&database.path, backup, now, before).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
