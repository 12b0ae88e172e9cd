//! The worker: claims a mission, asks the fixers for a proposal, tries it, and promotes what holds
//! and policy allows.

mod outcome;
mod risk;
mod search;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::apply::{ApplyError, require_sound};
use super::earlier::read_earlier;
use super::fixers::FIXERS;
use super::places::plan_places;
use super::playbooks::{of_kept, of_manifest, playbook_of};
use super::promote::{PromoteError, PromotionPlace, finish_promotion, promote};
use super::sandboxes::{HeldSandbox, sandbox_directory};
use super::shown::{changed_meanwhile, forget_shown};
use super::take_back::forget_if_settled;
use super::trial::{
    Baseline, CheckPlace, Databases, Trial, TrialError, checks_of, databases, is_reported,
    run_checks, still_there, try_proposal,
};
use crate::checks::Earlier;
use crate::database::summary::PendingSummary;
use crate::domain::boot::{BootState, shown_running};
use crate::domain::event::{HealOutcome, Verdict};
use crate::domain::finding::{CheckName, CheckReport};
use crate::domain::healing::{OFFERED, UNVERIFIED};
use crate::domain::ids::{At, MissionId, Signature};
use crate::domain::mission::{
    Change, Failure, MissionCommand, MissionRefusal, MissionState, MissionStatus, Proposal, Risk,
};
use crate::domain::redact::{Redactor, sanitise};
use crate::domain::remedy::Remedy;
use crate::fix::postgres::side_effects::is_reported_in;
use crate::log::{Missions, MissionsError, now};
use crate::manifest::{Environment, Manifest, Policy};

pub use outcome::{WorkError, Worked};
use outcome::{awaiting, awaiting_after, not_now, worked};
use risk::{Author, effective_risk, policy_of};

/// How long a worker holds a mission while it tries a proposal.
const LEASE_MS: u64 = 10 * 60 * 1_000;
/// How long a database is asked whether it is empty.
const SUMMARY_WITHIN: Duration = Duration::from_secs(5);
/// Why a mission is given back that nothing was found out about.
const CUT_SHORT: &str = "the trial was cut short";
/// As a promotion names it that came too late.
const APPLIED: &str = MissionStatus::Applied.as_str();

/// A worker on one workspace.
///
/// Blocking: a trial copies the workspace and runs every check in the copy.
#[derive(Debug, Clone)]
pub struct Worker {
    manifest: Manifest,
    state_dir: PathBuf,
    missions: Missions,
    name: String,
    process_env: BTreeMap<String, String>,
    overrides: BTreeMap<String, String>,
    baseline: Option<Baseline>,
    cancelled: Arc<AtomicBool>,
}

/// A proposal that may be tried, for this failure.
struct Sound {
    failure: Failure,
    signature: Signature,
    databases: Databases,
    proposal: Proposal,
}

/// The services that a proposal lets the running boot start again.
fn restarted(proposal: &Proposal) -> Vec<&str> {
    let services = proposal.changes.iter().flat_map(Change::restarts);
    services.map(String::as_str).collect()
}

/// What a trial showed that changed nothing.
#[derive(Debug)]
pub(crate) struct Rehearsed {
    pub verdict: Verdict,
    /// As measured.
    pub risk: Risk,
    /// What policy would do with it.
    pub policy: Policy,
}

impl Worker {
    /// A worker called `name` for the application of `manifest`, whose missions are `missions`.
    ///
    /// `process_env` is the environment that the application would inherit.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        manifest: Manifest,
        state_dir: &Path,
        missions: Missions,
        process_env: BTreeMap<String, String>,
    ) -> Self {
        Self {
            manifest,
            state_dir: state_dir.to_owned(),
            missions,
            name: name.into(),
            process_env,
            overrides: BTreeMap::new(),
            baseline: None,
            cancelled: Arc::default(),
        }
    }

    /// With what each check just reported, which saves running it again.
    #[must_use]
    pub fn with_baseline(mut self, baseline: Baseline) -> Self {
        self.baseline = Some(baseline);
        self
    }

    /// With this variable set in everything that the worker runs.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.process_env.insert(name.to_owned(), value.to_owned());
        self.overrides.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a flag that makes it give a mission back instead of judging a trial that was cut short.
    #[must_use]
    pub fn cancelled_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancelled = flag;
        self
    }

    /// Works on a mission with the built-in fixers, from claim to promotion.
    ///
    /// # Errors
    /// The log cannot be written, or the trial or the promotion could not be made at all. That a
    /// fix does not hold is an outcome, not an error.
    pub fn work(&self, mission: MissionId) -> Result<Worked, WorkError> {
        let state = self.missions.get(mission)?;
        let Some(failure) = state.failure.clone() else {
            return Ok(worked(HealOutcome::Closed, "the mission was never filed"));
        };
        match state.status {
            MissionStatus::Closed | MissionStatus::Unfiled => {
                return Ok(worked(HealOutcome::Closed, state.reason));
            }
            MissionStatus::AwaitingApproval => return Ok(awaiting(&state)),
            MissionStatus::Applied => {
                return Ok(worked(HealOutcome::Applied, state.reason));
            }
            MissionStatus::Promoting => {
                return self.finish_promotion(mission);
            }
            // Approved while nobody held it.
            MissionStatus::Verified if state.lease.is_none() => {
                return self.promote_approved(mission, &failure);
            }
            MissionStatus::Quarantined => {
                // The failure may carry more than when everybody had given up.
                if self.propose(&state, &failure)?.is_none() {
                    return Ok(worked(HealOutcome::NeedsPerson, state.reason));
                }
                let by = format!("{}: a fixer knows it now", self.name);
                self.missions
                    .command(mission, MissionCommand::Requeue { by })?;
            }
            _ => {}
        }
        // Nobody else could take it while this worker finds out again that it knows nothing.
        if let Some(until) = self.offered_until(&state, &failure)?
            && now() < until
        {
            let moment = until.to_string();
            // In UTC; the day is this one or the next.
            let minute = moment.get(11..16).unwrap_or(&moment);
            let reason = format!(
                "{OFFERED}{minute} UTC, because no built-in fixer knows this failure; then it needs a person"
            );
            return Ok(worked(HealOutcome::NeedsPerson, reason));
        }
        let claim = MissionCommand::Claim {
            worker: self.name.clone(),
            lease_ms: LEASE_MS,
        };
        let state = match self.missions.command(mission, claim) {
            Ok(state) => state,
            Err(MissionsError::Refused(refusal @ MissionRefusal::TooEarly { .. })) => {
                return Ok(worked(HealOutcome::Rejected, refusal.to_string()));
            }
            Err(MissionsError::Refused(refusal)) => {
                return Ok(worked(HealOutcome::HeldElsewhere, refusal.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        if state.status == MissionStatus::Quarantined {
            return Ok(worked(HealOutcome::NeedsPerson, state.reason));
        }
        self.work_on_claimed(mission, &state, &failure)
            .inspect_err(|error| self.give_back(mission, error))
    }

    /// Until when a mission that no built-in fixer knows, and never did, is left to other workers: since it was filed
    /// or put back into the queue.
    fn offered_until(
        &self,
        state: &MissionState,
        failure: &Failure,
    ) -> Result<Option<At>, WorkError> {
        let is_ours = state.lease.is_some()
            || !state.fixers_failed.is_empty()
            || matches!(failure.fix, Some(Remedy::ByHand { .. }))
            || !matches!(state.status, MissionStatus::Filed | MissionStatus::Rejected);
        if is_ours || self.propose(state, failure)?.is_some() {
            return Ok(None);
        }
        Ok(Some(state.offer_ends(self.manifest.heal.offer_ms)))
    }

    /// What this worker holds and could not work on, another one may have at once.
    fn give_back(&self, mission: MissionId, error: &WorkError) {
        let is_ours = |state: &MissionState| {
            let mut lease = state.lease.iter();
            lease.any(|lease| lease.worker == self.name)
        };
        if !self
            .missions
            .get(mission)
            .is_ok_and(|state| is_ours(&state))
        {
            return;
        }
        let release = MissionCommand::Release {
            worker: self.name.clone(),
            reason: error.to_string(),
        };
        if let Err(error) = self.missions.command(mission, release) {
            tracing::warn!(%mission, %error, "the mission could not be given back");
        }
    }

    fn work_on_claimed(
        &self,
        mission: MissionId,
        state: &MissionState,
        failure: &Failure,
    ) -> Result<Worked, WorkError> {
        let Some((proposal, author)) = self.propose(state, failure)? else {
            let reason = if let Some(Remedy::ByHand { reason, .. }) = &failure.fix {
                format!("not automatic, because {reason}")
            } else if state.fixers_failed.is_empty() {
                "no built-in fixer knows this failure".to_owned()
            } else {
                let last = match state.reason.as_str() {
                    "" => String::new(),
                    reason => format!(", at last because: {reason}"),
                };
                format!(
                    "every fixer that knows it has failed ({}){last}; `ubs missions requeue {}` lets them try again",
                    state.fixers_failed.join(", "),
                    state.slug
                )
            };
            self.missions.command(
                mission,
                MissionCommand::Quarantine {
                    reason: reason.clone(),
                },
            )?;
            return Ok(worked(HealOutcome::NeedsPerson, reason));
        };
        let mut worker = self.clone();
        let found = match &state.signature {
            Some(signature) => worker.with_versions(mission, signature, failure, proposal)?,
            None => Ok(proposal),
        };
        if let Some(worked) = self.give_back_if_cancelled(mission)? {
            return Ok(worked);
        }
        let proposal = match found {
            Ok(proposal) => proposal,
            Err(why) => {
                let reason = format!("not automatic, because {why}");
                let quarantine = MissionCommand::Quarantine {
                    reason: reason.clone(),
                };
                self.missions.command(mission, quarantine)?;
                return Ok(worked(HealOutcome::NeedsPerson, reason));
            }
        };
        worker
            .offer_as(mission, proposal, author)
            .map(|(worked, _)| worked)
    }

    /// Proposes a fix for a mission that this worker has claimed, tries it, and promotes it if it
    /// holds and policy allows. Gives what came of it, and the trial's verdict.
    ///
    /// # Errors
    /// The worker does not hold the mission, the proposal is not sound, or nothing could be tried.
    pub fn offer(
        &self,
        mission: MissionId,
        proposal: Proposal,
    ) -> Result<(Worked, Option<Verdict>), WorkError> {
        // Whatever the proposal calls itself: its record and its risk are this worker's.
        let fixer = self.name.clone();
        self.offer_as(mission, Proposal { fixer, ..proposal }, Author::Other)
    }

    /// Tries a proposal and only says what came of it: nothing is recorded, and nothing moves into the workspace. Who
    /// holds the mission does not matter.
    ///
    /// # Errors
    /// The proposal is not sound, or nothing could be tried.
    pub(crate) fn rehearse(
        &self,
        mission: MissionId,
        proposal: Proposal,
    ) -> Result<Rehearsed, WorkError> {
        let fixer = self.name.clone();
        let proposal = Proposal { fixer, ..proposal };
        let Sound {
            failure,
            signature,
            proposal,
            ..
        } = self.require_sound(mission, proposal, Author::Other)?;
        if proposal.changes.is_empty() {
            return Err(MissionsError::from(MissionRefusal::EmptyProposal).into());
        }
        let _held = self.hold_sandbox(mission)?;
        let trial = self.try_on_a_copy(mission, &signature, &failure, &proposal)?;
        Ok(Rehearsed {
            policy: policy_of(&self.manifest.heal.policy, trial.risk),
            risk: trial.risk,
            verdict: trial.verdict,
        })
    }

    /// The proposal with the risk that it really has, if it may be tried.
    fn require_sound(
        &self,
        mission: MissionId,
        proposal: Proposal,
        author: Author,
    ) -> Result<Sound, WorkError> {
        let state = self.missions.get(mission)?;
        let (Some(failure), Some(signature)) = (state.failure.clone(), state.signature.clone())
        else {
            return Err(not_now(&state, "it was never filed"));
        };
        let environment = self.environment()?;
        let redactor = Redactor::new(environment.secret_values(&self.manifest));
        let databases = databases(&self.manifest, &environment, &self.manifest.workspace);
        let mut risk = effective_risk(&proposal, author, &databases, &self.manifest);
        // Also a mission of before, and whatever another worker proposes: the check would be content with any table.
        if self.fills_another_database(&proposal, &environment) {
            risk = risk.max(Risk::Destructive);
        }
        let proposal = Proposal { risk, ..proposal };
        let workspace = &self.manifest.workspace;
        require_sound(workspace, &proposal, &redactor)?;
        let names = restarted(&proposal);
        if let Some(unknown) = names.into_iter().find(|name| {
            let service = self.manifest.service(name);
            service.is_none_or(|(_, service)| service.oneshot)
        }) {
            let unknown = unknown.escape_debug().to_string();
            return Err(ApplyError::UnknownService(unknown).into());
        }
        if author == Author::Other {
            plan_places(workspace, &self.state_dir, mission, &proposal)?;
        }
        if author == Author::Other
            && let Some((path, difference)) =
                changed_meanwhile(workspace, &self.state_dir, mission, &proposal)
        {
            let difference = redactor.redact(&sanitise(&difference));
            return Err(ApplyError::Meanwhile { path, difference }.into());
        }
        Ok(Sound {
            failure,
            signature,
            databases,
            proposal,
        })
    }

    fn offer_as(
        &self,
        mission: MissionId,
        proposal: Proposal,
        author: Author,
    ) -> Result<(Worked, Option<Verdict>), WorkError> {
        let Sound {
            failure,
            signature,
            databases,
            proposal,
        } = self.require_sound(mission, proposal, author)?;
        if policy_of(&self.manifest.heal.policy, proposal.risk) == Policy::Report {
            let reason = format!(
                "policy for {} changes is report; proposed: {}",
                proposal.risk.as_str(),
                proposal.summary
            );
            self.missions.command(
                mission,
                MissionCommand::Quarantine {
                    reason: reason.clone(),
                },
            )?;
            return Ok((worked(HealOutcome::NeedsPerson, reason), None));
        }
        let _held = self.hold_sandbox(mission)?;
        self.missions.command(
            mission,
            MissionCommand::Propose {
                worker: self.name.clone(),
                proposal: proposal.clone(),
            },
        )?;
        let trial = self.try_on_a_copy(mission, &signature, &failure, &proposal);
        let trial = match trial {
            Ok(trial) => trial,
            // Not the proposal's fault: whoever comes next may try it again at once.
            Err(error) => {
                let release = MissionCommand::Release {
                    worker: self.name.clone(),
                    reason: format!("no trial could be made: {error}"),
                };
                self.missions.command(mission, release)?;
                return Err(error.into());
            }
        };
        if let Some(worked) = self.give_back_if_cancelled(mission)? {
            return Ok((worked, None));
        }
        let verdict = trial.verdict.clone();
        let state = self.missions.command(
            mission,
            MissionCommand::Judge {
                worker: self.name.clone(),
                verdict: verdict.clone(),
                // The trial may show more risk than the proposal: `report` then waits too.
                needs_approval: policy_of(&self.manifest.heal.policy, trial.risk) != Policy::Auto,
            },
        )?;
        let outcome = match state.status {
            MissionStatus::Verified => self.promote(mission, &proposal, &databases, trial)?,
            MissionStatus::AwaitingApproval => awaiting_after(&state, &verdict),
            MissionStatus::Quarantined => worked(HealOutcome::NeedsPerson, state.reason),
            _ => worked(HealOutcome::Rejected, verdict.reason.clone()),
        };
        Ok((outcome, Some(verdict)))
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// What a stop cut short says nothing about the failure, and is not judged.
    fn give_back_if_cancelled(&self, mission: MissionId) -> Result<Option<Worked>, WorkError> {
        if !self.is_cancelled() {
            return Ok(None);
        }
        let release = MissionCommand::Release {
            worker: self.name.clone(),
            reason: CUT_SHORT.to_owned(),
        };
        self.missions.command(mission, release)?;
        Ok(Some(worked(HealOutcome::HeldElsewhere, CUT_SHORT)))
    }

    fn try_on_a_copy(
        &self,
        mission: MissionId,
        signature: &Signature,
        failure: &Failure,
        proposal: &Proposal,
    ) -> Result<Trial, TrialError> {
        let baseline = match &self.baseline {
            Some(baseline) => baseline.clone(),
            None => self.reports_now(mission, &checks_of(&self.manifest))?,
        };
        let (end, ended) = crossbeam_channel::bounded::<()>(0);
        std::thread::scope(|scope| {
            scope.spawn(|| self.keep_lease(mission, ended));
            let trial = try_proposal(
                &self.manifest,
                &self.process_env,
                &self.overrides,
                &self.earlier(),
                &self.sandbox_dir(mission),
                &self.state_dir,
                signature,
                failure,
                proposal,
                &baseline,
            );
            drop(end);
            trial
        })
    }

    /// Extends our lease for as long as a trial takes, each time before half of it is over; `ended` closes with the
    /// trial. A trial that was judged after its lease had run out would be lost.
    fn keep_lease(&self, mission: MissionId, ended: Receiver<()>) {
        loop {
            let lease = self
                .missions
                .get(mission)
                .ok()
                .and_then(|state| state.lease);
            let Some(lease) = lease.filter(|lease| lease.worker == self.name) else {
                // A person approved it: nobody else can take it.
                return;
            };
            let left_ms = lease.until.ms_since(now());
            let wait = Duration::from_millis((left_ms / 2).min(LEASE_MS / 2));
            if ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let heartbeat = MissionCommand::Heartbeat {
                worker: self.name.clone(),
                lease_ms: LEASE_MS,
            };
            if let Err(error) = self.missions.command(mission, heartbeat) {
                tracing::warn!(%mission, %error, "the lease could not be extended");
                return;
            }
        }
    }

    /// A person approves the mission's verified proposal: it is tried once more on what the
    /// workspace is now, and moved into it.
    ///
    /// # Errors
    /// The mission does not wait for approval, or nothing could be tried.
    pub fn approve(&self, mission: MissionId, by: &str) -> Result<Worked, WorkError> {
        let state = self
            .missions
            .command(mission, MissionCommand::Approve { by: by.to_owned() })?;
        match &state.failure {
            Some(failure) => self.promote_approved(mission, failure),
            None => Err(not_now(&state, "it was never filed")),
        }
    }

    fn promote_approved(&self, mission: MissionId, failure: &Failure) -> Result<Worked, WorkError> {
        let state = self.missions.get(mission)?;
        let (Some(proposal), Some(signature)) = (state.proposal.clone(), state.signature.clone())
        else {
            return Err(not_now(&state, "it has no proposal"));
        };
        if let Err(why) = playbook_of(&self.manifest, &proposal) {
            return self.withdraw(mission, &why);
        }
        // What holds now is what counts, not what held when the fix was proposed.
        let _held = self.hold_sandbox(mission)?;
        let reports = self.reports_now(mission, &checks_of(&self.manifest))?;
        // The code of migrations lies in the workspace, and is not a part of what was approved by name.
        let runs_code = proposal.runs_migrations();
        if runs_code && failure.check.is_some() && !is_reported(&signature, &reports) {
            let why = "other migrations wait now than were approved, or none";
            return self.withdraw(mission, why);
        }
        let worker = Self {
            baseline: Some(reports),
            ..self.clone()
        };
        let trial = worker.try_on_a_copy(mission, &signature, failure, &proposal)?;
        if !trial.verdict.holds {
            let reason = trial.verdict.reason;
            self.missions.command(
                mission,
                MissionCommand::Decline {
                    by: "the trial after the approval".to_owned(),
                    reason: reason.clone(),
                },
            )?;
            return Ok(worked(HealOutcome::Rejected, reason));
        }
        let reader = self.missions.log().reader().map_err(MissionsError::from)?;
        let approved = reader.last_verdict(mission).map_err(MissionsError::from)?;
        let approved = approved.map_or_else(String::new, |verdict| verdict.reason);
        let mut unreported = trial
            .side_effects
            .iter()
            .filter(|one| !is_reported_in(&state.reason, one))
            .chain(trial.doubts.iter().filter(|one| !approved.contains(*one)));
        if let Some(unreported) = unreported.next() {
            let notice = format!("now also, which nobody approved: {unreported}");
            let mut verdict = trial.verdict;
            verdict.reason = format!("{notice}; {}", verdict.reason);
            let asked = self
                .missions
                .command(mission, MissionCommand::AskAgain { verdict })?;
            let slug = &asked.slug;
            let reason = format!(
                "{notice}; nothing is applied (`ubs missions show {slug}` shows all of it, `ubs missions approve {slug}` applies it)"
            );
            return Ok(worked(HealOutcome::AwaitingApproval, reason));
        }
        let environment = self.environment()?;
        let databases = databases(&self.manifest, &environment, &self.manifest.workspace);
        self.promote(mission, &proposal, &databases, trial)
    }

    /// An approval that is no longer about what is there: the mission begins anew.
    fn withdraw(&self, mission: MissionId, why: &str) -> Result<Worked, WorkError> {
        let by = "the trial after the approval".to_owned();
        let reason = format!("{why}; `ubs worker --once` or the next boot tries what is there now");
        self.missions.command(
            mission,
            MissionCommand::Decline {
                by: by.clone(),
                reason: reason.clone(),
            },
        )?;
        self.missions
            .command(mission, MissionCommand::Requeue { by })?;
        Ok(worked(HealOutcome::Rejected, reason))
    }

    /// Closes a mission that was fixed outside of the sandbox, if its failure is really gone: the
    /// check that found it runs again, and what failed while it ran must be ready and stable in the running boot.
    ///
    /// # Errors
    /// Somebody else holds the mission, it cannot be closed, or the check could not be run. That
    /// the failure is still there is an outcome ([`HealOutcome::Rejected`]), and changes nothing.
    pub fn complete(&self, mission: MissionId, resolution: &str) -> Result<Worked, WorkError> {
        let state = self.missions.get(mission)?;
        let (Some(failure), Some(signature)) = (&state.failure, &state.signature) else {
            return Err(not_now(&state, "it was never filed"));
        };
        let held = state
            .lease
            .as_ref()
            .is_some_and(|lease| lease.worker != self.name && now() < lease.until);
        if held {
            return Err(not_now(
                &state,
                "another worker holds it; wait for its lease to end",
            ));
        }
        let mut resolution = resolution.to_owned();
        if let Some(check) = failure.check {
            let _held = self.hold_sandbox(mission)?;
            let reports = self.reports_now(mission, &[check])?;
            if let Some(why) = still_there(signature, failure, &reports) {
                return Ok(worked(HealOutcome::Rejected, why));
            }
            resolution = format!("{resolution} (the {check} check no longer reports it)");
        } else {
            match self.shown_by_running_system(failure)? {
                Ok(shown) => resolution = format!("{resolution} ({shown})"),
                Err(why) => return Ok(worked(HealOutcome::Rejected, why)),
            }
        }
        self.missions.command(
            mission,
            MissionCommand::Close {
                resolution: resolution.clone(),
            },
        )?;
        self.forget(mission);
        Ok(worked(HealOutcome::Closed, resolution))
    }

    fn running_boot(&self) -> Result<Option<BootState>, WorkError> {
        let reader = self.missions.log().reader().map_err(MissionsError::from)?;
        let running = reader.unfinished_boots().map_err(MissionsError::from)?;
        let mut running = running.into_iter().rev().map(|(_, state)| state);
        Ok(running.find(|state| {
            let supervisor = state.supervisor.as_ref();
            supervisor.is_some_and(crate::kernel::is_alive)
        }))
    }

    /// What is still to be done about a proposal that is applied, each after a semicolon: nothing of it is claimed yet.
    fn to_come(&self, proposal: &Proposal, has_verify: bool) -> String {
        let services = restarted(proposal);
        let mut text = String::new();
        if services.is_empty() && !has_verify {
            return text;
        }
        let is_running = self.running_boot().is_ok_and(|boot| boot.is_some());
        let services = services.join(", ");
        match (services.is_empty(), is_running) {
            (true, _) => {}
            (false, true) => text.push_str(&format!("; the boot starts {services} again, if it runs")),
            (false, false) => text.push_str(&format!(
                "; no boot is running, so {services} is not started again, and gets it when it starts"
            )),
        }
        if has_verify {
            let when = match is_running {
                true => "once the system runs with it",
                false => "in the next boot",
            };
            text.push_str(&format!(
                "; {UNVERIFIED} {when}, and it is taken back if not"
            ));
        }
        text
    }

    /// What shows that a service that failed while it ran is well now, or why nothing does.
    fn shown_by_running_system(
        &self,
        failure: &Failure,
    ) -> Result<Result<String, String>, WorkError> {
        let Some(state) = self.running_boot()? else {
            return Ok(Err(format!(
                "nothing shows that {} works, because no boot is running; `ubs boot` closes the mission once it is \
                 ready and stable",
                failure.subject
            )));
        };
        Ok(shown_running(&state, failure))
    }

    /// Removes what the worker keeps of a mission that is closed; what takes its fix back stays while the fix is on
    /// probation.
    pub fn forget(&self, mission: MissionId) {
        if let Err(error) = forget_if_settled(&self.state_dir, &self.missions, mission) {
            tracing::warn!(%mission, %error, "cannot remove the promotion's journal");
        }
        if let Err(error) = forget_shown(&self.state_dir, mission) {
            tracing::warn!(%mission, %error, "cannot remove the copies of what a claim showed");
        }
    }

    fn promote(
        &self,
        mission: MissionId,
        proposal: &Proposal,
        databases: &Databases,
        trial: Trial,
    ) -> Result<Worked, WorkError> {
        let place = PromotionPlace {
            workspace: &self.manifest.workspace,
            state_dir: &self.state_dir,
            missions: &self.missions,
        };
        let playbook = playbook_of(&self.manifest, proposal).ok().flatten();
        let verify = playbook.filter(|playbook| playbook.verify.is_some());
        let verify = verify.map(|playbook| playbook.name.clone());
        let has_verify = verify.is_some();
        match promote(place, mission, proposal, databases, trial, verify) {
            Ok(()) => {
                let to_come = self.to_come(proposal, has_verify);
                let reason = format!("{}{to_come}", proposal.summary);
                Ok(worked(HealOutcome::Applied, reason))
            }
            Err(error @ (PromoteError::Missions(_) | PromoteError::Io { .. })) => Err(error.into()),
            Err(PromoteError::Elsewhere {
                status: APPLIED, ..
            }) => Ok(worked(
                HealOutcome::Applied,
                "somebody else has applied its fix",
            )),
            Err(error @ PromoteError::Elsewhere { .. }) => {
                Ok(worked(HealOutcome::HeldElsewhere, error.to_string()))
            }
            // The workspace changed between trial and promotion: it is as it was.
            Err(error) => {
                let state = self.missions.get(mission)?;
                if state.status == MissionStatus::Verified {
                    let decline = MissionCommand::Decline {
                        by: "the promotion".to_owned(),
                        reason: error.to_string(),
                    };
                    self.missions.command(mission, decline)?;
                }
                Ok(worked(HealOutcome::Rejected, error.to_string()))
            }
        }
    }

    /// What a log that could not be written left half-done, unless somebody is at it.
    fn finish_promotion(&self, mission: MissionId) -> Result<Worked, WorkError> {
        let environment = self.environment()?;
        let databases = databases(&self.manifest, &environment, &self.manifest.workspace);
        let place = PromotionPlace {
            workspace: &self.manifest.workspace,
            state_dir: &self.state_dir,
            missions: &self.missions,
        };
        Ok(
            match finish_promotion(place, mission, &databases.servers)? {
                None => worked(HealOutcome::HeldElsewhere, "its fix is being applied"),
                Some(recovery) if recovery.finished => {
                    worked(HealOutcome::Applied, recovery.reason)
                }
                Some(recovery) => worked(HealOutcome::Rejected, recovery.reason),
            },
        )
    }

    /// The first proposal of the fixers that have not failed yet, those with the better record for
    /// this signature first.
    fn propose(
        &self,
        state: &MissionState,
        failure: &Failure,
    ) -> Result<Option<(Proposal, Author)>, WorkError> {
        let (root, failed) = (&self.manifest.workspace, &state.fixers_failed);
        // What a person wrote down or kept for this failure comes first.
        let kept = state.signature.as_ref().zip(state.id);
        let kept = kept.and_then(|(signature, mission)| {
            of_kept(&self.state_dir, root, signature, mission, failed)
        });
        if let Some(proposal) = kept {
            return Ok(Some((proposal, Author::Other)));
        }
        if let Some(proposal) = of_manifest(&self.manifest, failure, failed) {
            return Ok(Some((proposal, Author::BuiltIn)));
        }
        let memory = match &state.signature {
            Some(signature) => self.missions.fix_memory(signature)?,
            None => vec![],
        };
        let score = |name: &str| {
            memory
                .iter()
                .find(|record| record.fixer == name)
                .map_or(0, |record| {
                    i64::from(record.closed)
                        - i64::from(record.rejected)
                        - i64::from(record.rolled_back)
                })
        };
        let mut fixers: Vec<_> = FIXERS
            .iter()
            .filter(|fixer| {
                !state
                    .fixers_failed
                    .iter()
                    .any(|failed| failed == fixer.name())
            })
            .collect();
        // Stable: among equals the built-in order stays.
        fixers.sort_by_key(|fixer| std::cmp::Reverse(score(fixer.name())));
        Ok(fixers
            .into_iter()
            .find_map(|fixer| fixer.propose(failure, &self.manifest.workspace))
            .map(|proposal| (proposal, Author::BuiltIn)))
    }

    /// What the last boot that was up ran on. A log that cannot be read now has no past to compare with; that it
    /// cannot is found where the mission is read.
    fn earlier(&self) -> Earlier {
        let reader = self.missions.log().reader();
        reader
            .and_then(|reader| read_earlier(&reader, &self.state_dir))
            .unwrap_or_default()
    }

    /// The proposal fills a database that is empty, and that was not in the last boot that was up.
    fn fills_another_database(&self, proposal: &Proposal, environment: &Environment) -> bool {
        let earlier = self.earlier();
        proposal.changes.iter().any(|change| {
            let (Change::Sql { schema: name, .. } | Change::Migrate { schema: name, .. }) = change
            else {
                return false;
            };
            let mut schemas = self.manifest.schemas.iter();
            let url = schemas
                .find(|schema| schema.name == *name)
                .and_then(|schema| environment.expand_url(&schema.database).ok());
            let was_not_empty = |url: &String| {
                let before = earlier.database(name, url);
                before.is_some_and(|before| before.was_not_empty())
            };
            let Some(url) = url.filter(was_not_empty) else {
                return false;
            };
            let asked = PendingSummary::ask(&url, &self.manifest.workspace);
            let summary = asked.by(Instant::now() + SUMMARY_WITHIN);
            summary.is_some_and(|found| found.tables <= u32::from(found.revision.is_some()))
        })
    }

    fn environment(&self) -> Result<Environment, WorkError> {
        Environment::load(
            &self.manifest,
            &self.manifest.workspace,
            self.process_env.clone().into_iter(),
        )
        .map_err(|error| WorkError::Environment(error.to_string()))
    }

    /// What checks say of the workspace as it is.
    fn reports_now(
        &self,
        mission: MissionId,
        checks: &[CheckName],
    ) -> Result<Vec<CheckReport>, TrialError> {
        let scratch = self.sandbox_dir(mission).join("now");
        let reports = run_checks(
            &CheckPlace {
                manifest: &self.manifest,
                root: &self.manifest.workspace,
                scratch: &scratch,
                state: Some(&self.state_dir),
                process_env: &self.process_env,
                overrides: self.overrides.clone(),
                before_boot: false,
                is_live: false,
                earlier: &self.earlier(),
            },
            checks,
        )?;
        let _ = crate::kernel::remove_tree(&scratch);
        Ok(reports)
    }

    fn sandbox_dir(&self, mission: MissionId) -> PathBuf {
        sandbox_directory(&self.state_dir, mission)
    }

    /// Until the result is dropped, what lies in the mission's sandbox is no left-over.
    fn hold_sandbox(&self, mission: MissionId) -> Result<HeldSandbox, TrialError> {
        HeldSandbox::hold(&self.state_dir, mission).map_err(|source| TrialError::Io {
            path: self.sandbox_dir(mission),
            source,
        })
    }
}
