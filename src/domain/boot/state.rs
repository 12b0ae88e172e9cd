//! What is known of a boot: the state that its events fold into.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::event::{
    BootPlan, Fingerprint, HealOutcome, Mode, ProcessRef, ServiceRules, ServiceTerms,
};
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Decision};
use crate::domain::ids::{At, MissionId, Signature};
use crate::domain::service::{ServiceState, ServiceStatus};

/// Where a boot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Nothing happened yet.
    #[default]
    New,
    /// The checks run.
    Preflight,
    /// The missions of this attempt's failures are being filed.
    Settling,
    /// A worker heals what blocks the boot.
    Healing,
    /// Waiting for the next attempt.
    BackingOff {
        /// When it begins.
        until: At,
    },
    /// Layers start.
    Starting,
    /// Everything that will start has started.
    Running,
    /// Services are being stopped.
    Stopping,
    /// Over.
    Ended,
}

impl Phase {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Preflight => "preflight",
            Self::Settling => "settling",
            Self::Healing => "healing",
            Self::BackingOff { .. } => "backing_off",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}

/// How a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Stopped, as somebody asked.
    Stopped,
    /// NO-GO, or a critical layer that did not come up.
    Failed,
    /// The supervisor died.
    Interrupted,
}

impl Outcome {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What follows when every service is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AfterStop {
    /// The boot ends as asked.
    #[default]
    End,
    /// The failure is filed, and healed if the mode heals.
    Settle,
    /// The boot ends as failed.
    Fail {
        /// Why.
        reason: String,
    },
}

/// Where a layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LayerStatus {
    /// Not started yet.
    Pending,
    /// Its services are starting.
    Starting,
    /// All its services are ready.
    Up,
    /// It could not start, or stopped working.
    Failed,
    /// It is not started, because its rehearsal failed or a layer that it needs is not up.
    Skipped,
    /// It was stopped with the boot.
    Stopped,
}

impl LayerStatus {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Stopped => "stopped",
        }
    }

    /// Its services are started, watched and restarted; in a layer that failed, those that did not.
    #[must_use]
    pub(crate) fn is_supervised(self) -> bool {
        matches!(self, Self::Starting | Self::Up | Self::Failed)
    }

    /// Layers that come after it may start.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Up | Self::Failed | Self::Skipped)
    }
}

/// Why a layer failed while it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerFailure {
    /// The service that failed it.
    pub service: String,
    /// What happened.
    pub error: String,
    /// Last lines of its output.
    pub output: String,
}

/// A layer, as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerState {
    /// Its name.
    pub name: String,
    /// If it fails, the boot fails.
    pub critical: bool,
    /// Layers that must be settled first.
    pub after: Vec<String>,
    /// It needs them to be up, and is skipped otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needing: bool,
    /// Where it stands.
    pub status: LayerStatus,
    /// When it began to start.
    pub started_at: Option<At>,
    /// When it was up.
    pub up_at: Option<At>,
    /// Why it failed while it ran.
    pub failure: Option<LayerFailure>,
    /// Why it was skipped.
    pub reason: String,
    /// The layer that failed, and that it waits for.
    pub waits_for: Option<String>,
    /// Its services.
    pub services: Vec<ServiceState>,
}

impl LayerState {
    /// Something in it starts anew: it is up again when all that it has is ready, and what waits for it waits until then.
    pub(crate) fn wait_again(&mut self) {
        let has_failed = |s: &ServiceState| s.status == ServiceStatus::Failed;
        if self.status.is_supervised() && !self.services.iter().any(has_failed) {
            self.status = LayerStatus::Starting;
            self.failure = None;
            self.reason.clear();
        }
    }

    /// Nothing of what failed or was stopped in it runs any more.
    #[must_use]
    pub(crate) fn may_start_again(&self) -> bool {
        match self.status {
            LayerStatus::Failed => !self
                .services
                .iter()
                .any(|s| s.is_alive() && s.status == ServiceStatus::Failed),
            LayerStatus::Skipped => !self.services.iter().any(ServiceState::is_alive),
            _ => false,
        }
    }

    /// Layers that come after it may start: it is up, failed or skipped, or all that can start in it did.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        self.status.is_settled() || self.is_incomplete()
    }

    /// All that can start in it is ready, and what it lacks was skipped.
    #[must_use]
    pub(crate) fn is_incomplete(&self) -> bool {
        let is_skipped = |s: &ServiceState| s.status == ServiceStatus::Skipped;
        self.status == LayerStatus::Starting
            && self.services.iter().any(is_skipped)
            && self
                .services
                .iter()
                .all(|s| is_skipped(s) || s.is_settled() || s.status == ServiceStatus::Unready)
    }
}

/// Missions of warnings that need approval and that one boot works on.
const ASKED_MAX: usize = 5;

/// A mission that this boot filed or met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BootMission {
    /// Which one.
    pub id: MissionId,
    /// What a person calls it.
    pub slug: String,
    /// Same cause, same signature.
    pub signature: Signature,
    /// The boot cannot go on without the fix.
    pub critical: bool,
    /// The layer that waits for it.
    pub layer: Option<String>,
    /// What failed, in one sentence.
    pub error: String,
    /// What a person can do about it, if the check knew.
    pub remedy: Option<String>,
    /// Attempt in which it was last filed or seen.
    pub attempt: u32,
    /// Validations that there had been when it was last filed or seen.
    pub validation: u32,
    /// How work on it ended, since it was last seen.
    pub outcome: Option<HealOutcome>,
    /// One sentence about the outcome.
    pub reason: String,
    /// Its fix was taken back in this attempt.
    pub rolled_back: bool,
    /// It is closed.
    pub closed: bool,
    /// The layer that waited for it was started again after the fix.
    pub layer_restarted: bool,
    /// A fixer can do something about it, and a person has to approve that.
    #[serde(default)]
    pub asks: bool,
    /// A validation of the live system found it: it is healed before the next boot, not under the
    /// running application.
    pub found_live: bool,
}

/// A boot, as its events tell it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BootState {
    /// Name of the application.
    pub app: String,
    /// What the boot will do.
    pub plan: BootPlan,
    /// Who supervises.
    pub supervisor: Option<ProcessRef>,
    /// What it runs on.
    pub fingerprint: Fingerprint,
    /// Where it stands.
    pub phase: Phase,
    /// What follows when every service is stopped.
    pub after_stop: AfterStop,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why it ended, or why it stops.
    pub reason: String,
    /// When the boot began.
    pub started_at: At,
    /// When something last happened.
    pub updated_at: At,
    /// When the system was first up.
    pub up_at: Option<At>,
    /// When it ended.
    pub ended_at: Option<At>,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Checks of the present run (pre-flight or validation) that began.
    pub checks_started: BTreeSet<CheckName>,
    /// Checks of the present run that ended.
    pub checks_finished: BTreeSet<CheckName>,
    /// The newest report of each check.
    pub reports: BTreeMap<CheckName, CheckReport>,
    /// Status of each check in the attempt before.
    pub previous: BTreeMap<CheckName, CheckStatus>,
    /// The newest decision.
    pub decision: Option<Decision>,
    /// How the services are judged, by their names.
    pub rules: BTreeMap<String, ServiceRules>,
    /// What the services need and what follows their ends, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub terms: BTreeMap<String, ServiceTerms>,
    /// Layers that need what they come after.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needing: BTreeSet<String>,
    /// The exit code of the boot, if a service whose end is the boot's decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The layers, in the order of the plan.
    pub layers: Vec<LayerState>,
    /// The missions, in the order of their filing.
    pub missions: Vec<BootMission>,
    /// How often each signature blocked an attempt of this boot.
    pub seen: BTreeMap<Signature, u32>,
    /// Something happened that may file or close missions.
    pub unsettled: bool,
    /// At least one optional layer is missing.
    pub degraded: bool,
    /// Validations so far.
    pub validations: u32,
    /// A validation is going on.
    pub validating: bool,
    /// When the next validation is due.
    pub validation_due: Option<At>,
}

impl BootState {
    /// The layer of that name.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<&LayerState> {
        self.layers.iter().find(|l| l.name == name)
    }

    /// The layer and all that it comes after are settled: those that come after it may start. A
    /// layer that is skipped passes nothing on before its own turn.
    #[must_use]
    pub fn is_passed(&self, name: &str) -> bool {
        let mut wanted = vec![name];
        let mut seen = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            if !seen.insert(name) {
                continue;
            }
            // A name that is not in the plan keeps nobody waiting.
            if let Some(layer) = self.layer(name) {
                if !layer.is_settled() {
                    return false;
                }
                wanted.extend(layer.after.iter().map(String::as_str));
            }
        }
        true
    }

    /// The service of that name, with its layer.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<(&LayerState, &ServiceState)> {
        self.layers.iter().find_map(|l| {
            l.services
                .iter()
                .find(|s| s.plan.name == name)
                .map(|s| (l, s))
        })
    }

    /// When the next service has proved itself, is stable or is recovered; in steps of 50 ms, so that many
    /// services do not wake up the engine one by one.
    #[must_use]
    pub(crate) fn next_moment(&self) -> Option<At> {
        const STEP_US: i64 = 50_000;
        let supervised = self.layers.iter().filter(|l| l.status.is_supervised());
        let services = supervised.flat_map(|l| &l.services);
        let first = services.filter_map(ServiceState::next_moment).min()?;
        let steps = first.0.div_euclid(STEP_US);
        Some(At(steps.saturating_add(1).saturating_mul(STEP_US)))
    }

    /// Every service that is meant to run is ready and stable, or is given up.
    #[must_use]
    pub(crate) fn is_stable(&self) -> bool {
        self.layers
            .iter()
            .filter(|l| l.status.is_supervised())
            .flat_map(|l| &l.services)
            .all(|s| match s.status {
                ServiceStatus::Ready => s.is_stable(),
                ServiceStatus::Done
                | ServiceStatus::Failed
                | ServiceStatus::Stopped
                | ServiceStatus::Disabled => !s.again,
                // They may be so for ever, and are said by the health.
                ServiceStatus::Unready | ServiceStatus::Skipped => true,
                ServiceStatus::Pending | ServiceStatus::Starting | ServiceStatus::Restarting => {
                    false
                }
            })
    }

    /// The system is up, and every service of it has done its work: nothing is left to supervise.
    #[must_use]
    pub(crate) fn is_all_done(&self) -> bool {
        let is_done = |s: &ServiceState| s.status == ServiceStatus::Done;
        let services = || self.layers.iter().flat_map(|l| &l.services);
        self.is_up()
            && services().any(is_done)
            && services().all(|s| is_done(s) || s.status == ServiceStatus::Disabled)
    }

    /// Somebody works on a fix for what failed in the layer: nothing more is given up in it meanwhile.
    #[must_use]
    pub(crate) fn is_fix_in_trial(&self, layer: &str) -> bool {
        self.plan.mode == Mode::Resilient
            && self.is_up()
            && self
                .missions
                .iter()
                .any(|m| !m.closed && m.outcome.is_none() && m.layer.as_deref() == Some(layer))
    }

    /// Processes that should be running now.
    #[must_use]
    pub fn any_alive(&self) -> bool {
        self.layers
            .iter()
            .flat_map(|l| &l.services)
            .any(ServiceState::is_alive)
    }

    /// The first critical layer that failed while it ran, in this attempt.
    #[must_use]
    pub fn critical_layer_failure(&self) -> Option<(&LayerState, &LayerFailure)> {
        self.layers
            .iter()
            .filter(|l| l.critical)
            .find_map(|l| l.failure.as_ref().map(|f| (l, f)))
    }

    /// Something that the application needs was skipped: a critical layer, or a service of one.
    #[must_use]
    pub(crate) fn is_needed_skipped(&self) -> bool {
        let is_skipped = |s: &ServiceState| s.status == ServiceStatus::Skipped;
        let mut critical = self.layers.iter().filter(|layer| layer.critical);
        critical.any(|layer| {
            layer.status == LayerStatus::Skipped || layer.services.iter().any(is_skipped)
        })
    }

    /// The attempt cannot go on: NO-GO, or a critical layer failed.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.decision == Some(Decision::NoGo) && !self.is_up()
            || self.critical_layer_failure().is_some()
    }

    /// The system is up, degraded or not.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Running
    }

    /// The system is up, and nobody looked yet whether what runs is what was meant: only the registration
    /// check, which looks at the running system too, is not done.
    #[must_use]
    pub fn is_look_due(&self) -> bool {
        self.is_up() && !self.validating && self.lacks_only_registration()
    }

    /// Of the present run of checks only the registration check is not done.
    #[must_use]
    pub fn lacks_only_registration(&self) -> bool {
        self.plan
            .checks
            .iter()
            .all(|c| (*c == CheckName::Registration) != self.checks_finished.contains(c))
            && self.plan.checks.contains(&CheckName::Registration)
    }

    /// Over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The mission was filed or seen for what the present reports say.
    #[must_use]
    pub fn has_met(&self, mission: MissionId) -> bool {
        self.missions.iter().any(|m| {
            m.id == mission
                && !m.closed
                && m.attempt == self.attempt
                && m.validation == self.validations
        })
    }

    /// The mission to heal next before the next attempt: one that blocks it; where one of those was healed, so that
    /// everything is tried anew, also one that does not.
    pub(crate) fn to_heal(&self) -> Option<&BootMission> {
        let mut blocking = self.blocking_missions();
        let is_healed = |m: &BootMission| m.outcome == Some(HealOutcome::Applied);
        let others = || {
            let is_due = |m: &&BootMission| !m.closed && m.attempt == self.attempt;
            let others = self.missions.iter().filter(is_due);
            others.filter(|m| m.outcome.is_none())
        };
        blocking.find(|m| m.outcome.is_none()).or_else(|| {
            let retries = self.attempt < self.plan.attempts_max;
            let helps = retries && self.blocking_missions().any(is_healed);
            // What only warns may be the cause of what blocks, and nobody knows what to do about that.
            let is_open = |m: &BootMission| {
                matches!(
                    m.outcome,
                    Some(HealOutcome::NeedsPerson | HealOutcome::Rejected)
                )
            };
            if helps {
                return others().next();
            }
            let is_left = self.blocking_missions().any(is_open);
            is_left
                .then(|| others().find(|m| m.asks && self.may_ask(m)))
                .flatten()
        })
    }

    /// What only warns and needs approval takes a trial, and a boot makes few of those: a database may differ in much.
    pub(super) fn may_ask(&self, mission: &BootMission) -> bool {
        let is_asked = |m: &&BootMission| m.asks && !m.critical && m.outcome.is_some();
        !mission.asks
            || mission.critical
            || self.missions.iter().filter(is_asked).count() < ASKED_MAX
    }

    /// Missions that block the present attempt.
    pub fn blocking_missions(&self) -> impl Iterator<Item = &BootMission> {
        self.missions
            .iter()
            .filter(|m| m.critical && !m.closed && m.attempt == self.attempt)
    }
}
