//! What a boot does about fixes after they were applied, and about missions that it leaves to others: it blesses a
//! fix when its probation is over, names the fix that made things worse, and ends an offer that nobody took.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::application::Application;
use super::boot_log::BootLog;
use super::services::Services;
use super::verify::Verifying;
use crate::domain::boot::{self, BootCommand, BootState, Outcome, Phase};
use crate::domain::event::{HealOutcome, Mode};
use crate::domain::ids::{At, BootId, MissionId, Seq, Signature};
use crate::domain::mission::{Fix, FixStatus, MissionCommand, MissionStatus};
use crate::fix::{
    PromoteError, awaited_verify, bless, fixes_on_probation, is_going, recover_take_backs,
};
use crate::log::{Log, LogError, Missions, MissionsError, Reader, now, read_fixes};
use crate::manifest::RestartAfterFix;

/// Least time between two looks at what is on probation or on offer.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Why a service starts again.
const TAKEN_BACK: &str = "without the fix that was taken back";
/// Until the next look after one that failed.
const LOOK_AGAIN_AFTER_MS: u64 = 10_000;
/// Earlier boots that are looked at: a probation of more boots than that is no probation.
const BOOTS_MAX: u32 = 200;

/// The fixes on probation of a running boot.
#[derive(Debug, Default)]
pub(super) struct Aftercare {
    /// Services wait for their turn to start again.
    waits: bool,
    /// The last look was a moment ago: what happened since is not seen yet.
    looks_soon: bool,
    looked: Option<Instant>,
    /// When the next look is due by itself; what others do wakes the engine in any case.
    due: Option<Instant>,
    /// How long earlier boots were healthy with each fix.
    served_ms: BTreeMap<Seq, u64>,
    /// Fixes on probation at the last look.
    known: Vec<Fix>,
    /// Fixes that are gone, for as long as something runs that was started with them, and since when.
    gone: Vec<(Fix, At)>,
    /// Finishes what was interrupted while it was taken back.
    finishing: Option<std::thread::JoinHandle<()>>,
    /// Asks whether what playbooks did has worked.
    verifying: Verifying,
}

impl Aftercare {
    /// Blesses the fixes whose probation is over, and ends the offers that are. Gives what is to be started again,
    /// with the reason. Cheap while there are none.
    pub(super) fn tend(
        &mut self,
        app: &Application,
        log: &BootLog<'_>,
        services: &Services,
    ) -> Vec<BootCommand> {
        if log.state.phase != Phase::Running {
            self.due = None;
            (self.waits, self.looks_soon) = (false, false);
            self.verifying.stop();
            return vec![];
        }
        let soonest = self.looked.map(|looked| looked + LOOK_INTERVAL);
        if let Some(soonest) = soonest.filter(|soonest| *soonest > Instant::now()) {
            self.due = Some(soonest);
            self.looks_soon = true;
            return vec![];
        }
        self.looks_soon = false;
        self.looked = Some(Instant::now());
        let blessing = self.bless_due(app, log).unwrap_or_else(|error| {
            tracing::warn!(%error, "fixes on probation cannot be looked at");
            Some(LOOK_AGAIN_AFTER_MS)
        });
        let offer = end_offers(app, log).unwrap_or_else(|error| {
            tracing::warn!(%error, "missions on offer cannot be looked at");
            Some(LOOK_AGAIN_AFTER_MS)
        });
        let wait_ms = [blessing, offer].into_iter().flatten().min();
        self.due = wait_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms + 1)));
        let commands = self.refresh_affected(app, log).unwrap_or_else(|error| {
            tracing::warn!(%error, "fixes on probation cannot be looked at");
            vec![]
        });
        if commands.is_empty() && !self.waits {
            self.verifying.tend(app, log, services, &self.known);
        }
        if self.verifying.is_going() {
            let again = Instant::now() + LOOK_INTERVAL;
            self.due = Some(self.due.map_or(again, |due| due.min(again)));
        }
        commands
    }

    /// Services still have to start again with a fix, whether it worked is not known, or nobody has looked yet.
    pub(super) fn is_restarting(&self) -> bool {
        self.waits || self.looks_soon || self.verifying.is_going()
    }

    /// The boot ends.
    pub(super) fn stop(&mut self) {
        self.verifying.stop();
    }

    /// Waits until the next look is due; for ever if none is. May be dropped and called again.
    pub(super) async fn wait(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// What runs without a fix that was applied, or with one that was taken back, under it.
    fn refresh_affected(
        &mut self,
        app: &Application,
        log: &BootLog<'_>,
    ) -> Result<Vec<BootCommand>, PromoteError> {
        let missions = Missions::new(log.log.clone());
        let fixes = fixes_on_probation(&app.state_dir, &missions)?;
        for known in std::mem::take(&mut self.known) {
            if fixes.iter().any(|fix| fix.id == known.id) {
                continue;
            }
            let now = read_fixes(&log.reader, Some(known.mission)).map_err(MissionsError::from)?;
            let gone = now.into_iter().find(|fix| fix.id == known.id);
            let gone =
                gone.filter(|fix| matches!(fix.status, FixStatus::TakenBack | FixStatus::Undone));
            self.gone.extend(gone.map(|fix| {
                let since = fix.since;
                (fix, since)
            }));
        }
        self.known = fixes;
        let never = app.manifest.heal.restart == RestartAfterFix::Never;
        let started = |fix: &Fix, since| {
            // What a playbook names starts again in any case.
            let mut services = boot::named(&log.state, fix, since);
            if !never && !boot::only_restarts(fix) {
                services.extend(boot::affected(&log.state, fix, since));
            }
            services
        };
        self.gone
            .retain(|(fix, since)| !boot::only_restarts(fix) && !started(fix, *since).is_empty());
        let gone = self.gone.iter();
        let gone = gone.map(|(fix, since)| (fix, started(fix, *since), TAKEN_BACK));
        let applied = self.known.iter();
        let applied = applied.map(|fix| (fix, started(fix, fix.applied_at), "with the fix"));
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for (fix, services, how) in gone.chain(applied) {
            for service in services {
                let reason = format!("is started again {how}: {} ({})", fix.summary, fix.slug);
                wanted.entry(service).or_insert(reason);
            }
        }
        let names: Vec<String> = wanted.keys().cloned().collect();
        self.waits = !wanted.is_empty();
        let mut commands = Vec::new();
        for service in boot::due(&log.state, &names) {
            if let Some(reason) = wanted.remove(&service) {
                commands.push(BootCommand::Refresh { service, reason });
            }
        }
        if !wanted.is_empty() {
            // Their turn comes when those are ready, which is an event, or cannot be.
            let again = Instant::now() + LOOK_INTERVAL;
            self.due = Some(self.due.map_or(again, |due| due.min(again)));
        }
        Ok(commands)
    }

    /// What was interrupted while a fix was taken back is finished, beside the engine: it may wait for the lock.
    fn finish_take_backs(&mut self, app: &Application, missions: &Missions) {
        if self
            .finishing
            .as_ref()
            .is_some_and(|work| !work.is_finished())
        {
            return;
        }
        let (workspace, state_dir) = (app.manifest.workspace.clone(), app.state_dir.clone());
        let missions = missions.clone();
        self.finishing = Some(std::thread::spawn(move || {
            if let Err(error) = recover_take_backs(&workspace, &state_dir, &missions) {
                tracing::warn!(%error, "a fix cannot be taken back yet");
            }
        }));
    }

    /// Gives how long the next fix that may be blessed lacks, if all goes on as it is.
    fn bless_due(
        &mut self,
        app: &Application,
        log: &BootLog<'_>,
    ) -> Result<Option<u64>, PromoteError> {
        let mut next_ms: Option<u64> = None;
        let missions = Missions::new(log.log.clone()).in_boot(log.boot);
        for fix in fixes_on_probation(&app.state_dir, &missions)? {
            if is_going(&app.state_dir, fix.mission) {
                self.finish_take_backs(app, &missions);
                next_ms =
                    Some(next_ms.map_or(LOOK_AGAIN_AFTER_MS, |ms| ms.min(LOOK_AGAIN_AFTER_MS)));
                continue;
            }
            let served = match self.served_ms.get(&fix.id) {
                Some(served) => *served,
                None => {
                    let served =
                        served_before(&log.reader, log.boot, &fix).map_err(MissionsError::from)?;
                    self.served_ms.insert(fix.id, served);
                    served
                }
            };
            let healthy_ms = served + boot::healthy_ms(&log.state, fix.applied_at, now());
            if !is_over(&log.state, &fix) {
                // What makes it healthy is an event.
                continue;
            }
            if awaited_verify(&app.state_dir, fix.mission).is_some() {
                // That it has passed is an event.
                continue;
            }
            let lacks_ms = app.manifest.heal.probation_ms.saturating_sub(healthy_ms);
            if lacks_ms > 0 {
                next_ms = Some(next_ms.map_or(lacks_ms, |ms| ms.min(lacks_ms)));
                continue;
            }
            match bless(&app.state_dir, &missions, fix.mission, healthy_ms) {
                // Its failure is back, or somebody took it back meanwhile.
                Ok(true) | Err(PromoteError::Missions(MissionsError::Refused(_))) => {}
                Ok(false) => next_ms = Some(0),
                Err(error) => return Err(error),
            }
        }
        Ok(next_ms)
    }
}

/// What is healthy now is what the fix is in: all that is needed is stable in this boot too.
fn is_over(state: &BootState, fix: &Fix) -> bool {
    boot::is_healthy(state) && now() >= fix.applied_at
}

/// How long earlier boots that ended in order were healthy with the fix.
fn served_before(reader: &Reader, boot: BootId, fix: &Fix) -> Result<u64, LogError> {
    let mut served = 0;
    for earlier in reader.boots(BOOTS_MAX)? {
        let ended_before = earlier.ended_at.is_none_or(|ended| ended <= fix.applied_at);
        if earlier.boot_id == boot || ended_before {
            continue;
        }
        if let Some(state) = reader.boot(earlier.boot_id)?
            && state.outcome == Some(Outcome::Stopped)
        {
            served += boot::healthy_ms(&state, fix.applied_at, now());
        }
    }
    Ok(served)
}

/// What nobody claimed for `heal.offer` needs a person. Gives in how long the next offer ends.
fn end_offers(app: &Application, log: &BootLog<'_>) -> Result<Option<u64>, MissionsError> {
    let mut next_ms: Option<u64> = None;
    let missions = Missions::new(log.log.clone()).in_boot(log.boot);
    let left = |outcome| outcome == Some(HealOutcome::NeedsPerson);
    for met in log
        .state
        .missions
        .iter()
        .filter(|m| left(m.outcome) && !m.closed)
    {
        let state = missions.get(met.id)?;
        if state.status != MissionStatus::Filed {
            continue;
        }
        let left_ms = state.offer_ends(app.manifest.heal.offer_ms).ms_since(now());
        if left_ms > 0 {
            next_ms = Some(next_ms.map_or(left_ms, |ms| ms.min(left_ms)));
            continue;
        }
        let reason =
            "no built-in fixer knows this failure, and no other worker has mended it".to_owned();
        match missions.command(met.id, MissionCommand::Quarantine { reason }) {
            Ok(_) | Err(MissionsError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(next_ms)
}

/// The fixes on probation whose failure is back, newest first, and why they go.
pub(super) fn find_failed(
    log: &Log,
    boot: BootId,
    state_dir: &Path,
) -> Result<Vec<(MissionId, String)>, PromoteError> {
    let missions = Missions::new(log.clone());
    let fixes = fixes_on_probation(state_dir, &missions)?;
    if fixes.is_empty() {
        return Ok(vec![]);
    }
    let reader = log.reader().map_err(MissionsError::from)?;
    let state = reader.boot(boot).map_err(MissionsError::from)?;
    let Some(state) = state.filter(|state| state.plan.mode == Mode::Resilient) else {
        return Ok(vec![]);
    };
    let mut failed = Vec::new();
    for fix in fixes.iter().rev() {
        let mission = missions.get(fix.mission)?;
        let is_open = !matches!(
            mission.status,
            MissionStatus::Applied | MissionStatus::Closed
        );
        let back = boot::came_back(&state, fix, is_open);
        failed.extend(back.map(|why| (fix.mission, why)));
    }
    Ok(failed)
}

/// The newest fix on probation with which this boot is worse than the one before, and why it goes.
pub(super) fn find_suspect(
    log: &Log,
    boot: BootId,
    state_dir: &Path,
) -> Result<Option<(MissionId, String)>, PromoteError> {
    let fixes = fixes_on_probation(state_dir, &Missions::new(log.clone()))?;
    if fixes.is_empty() {
        return Ok(None);
    }
    let found = || -> Result<Option<(MissionId, String)>, LogError> {
        let reader = log.reader()?;
        // As it is now, whatever the engine has seen of it. Other modes change nothing.
        let state = reader.boot(boot)?;
        let Some(state) = state.filter(|state| state.plan.mode == Mode::Resilient) else {
            return Ok(None);
        };
        let mut earlier = reader.boots(BOOTS_MAX)?.into_iter();
        let last_up = earlier.find(|one| one.boot_id != boot && one.up_at.is_some());
        let baseline = match last_up {
            Some(last) => reader
                .boot(last.boot_id)?
                .map(|state| (last.boot_id, state)),
            None => None,
        };
        let missions = reader.missions(true)?;
        let filed = |signature: &Signature| -> Option<At> {
            let same = missions
                .iter()
                .filter(|m| m.signature.as_ref() == Some(signature));
            same.map(|m| m.filed_at).min()
        };
        let baseline = baseline.as_ref().map(|(id, state)| (*id, state));
        let suspect = boot::suspect(&state, boot, &fixes, baseline, filed);
        Ok(suspect.map(|(fix, why)| (fix.mission, why)))
    };
    Ok(found().map_err(MissionsError::from)?)
}
