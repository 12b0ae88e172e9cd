//! Everything that `ubs` sees and does, as facts in the past tense.
//!
//! Pure data. How an event lies in the log is `log::frame`'s: a kind or field that is added here
//! does not compile before its layout is decided there. In JSON, kinds and fields are only added.

use serde::{Deserialize, Serialize};

use super::finding::{CheckName, CheckReport, Decision};
use super::ids::{At, Digest, MissionId, Signature};
use super::mission::order::{Failure, Proposal};

pub use super::fingerprint::{DatabasePrint, Fingerprint};
pub use super::healing::{CheckChange, FileChange, HealOutcome, Verdict};
pub use super::plan::{
    BootPlan, LayerPlan, Mode, Need, NeedCondition, OnEnd, OnFailure, RestartPolicy, ServiceOrder,
    ServicePlan, ServiceRules, ServiceTerms,
};
pub use super::process::{ExitKind, ProcessRef};

/// Which run of the checks an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckPhase {
    /// The pre-flight of an attempt.
    Preflight,
    /// A validation of the live system.
    Validation,
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $kind:literal $({ $($(#[$fdoc:meta])* $field:ident : $type:ty),* $(,)? })?),* $(,)?) => {
        /// One fact of the log.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Event {
            $($(#[$doc])* $variant $({ $($(#[$fdoc])* $field: $type),* })?,)*
        }

        impl Event {
            /// Every kind, in the order of the variants.
            pub const KINDS: &'static [&'static str] = &[$($kind),*];

            /// The stable name of the kind, as in the log and in JSON.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {
                    $(events!(@pattern $variant $({ $($field),* })?) => $kind,)*
                }
            }
        }
    };
    (@pattern $variant:ident { $($field:ident),* }) => { Event::$variant { .. } };
    (@pattern $variant:ident) => { Event::$variant };
}

events! {
    // --- the boot ---------------------------------------------------------------------------
    /// A boot began.
    BootStarted = "boot_started" {
        /// Name of the application.
        app: String,
        /// What the boot will do.
        plan: BootPlan,
        /// Who supervises.
        supervisor: ProcessRef,
        /// What it runs on.
        fingerprint: Fingerprint,
    },
    /// An attempt began.
    AttemptStarted = "attempt_started" {
        /// From 1.
        attempt: u32,
    },
    /// A check began.
    CheckStarted = "check_started" {
        /// Which check.
        check: CheckName,
        /// In the pre-flight, or while the system runs.
        phase: CheckPhase,
    },
    /// A check ended.
    CheckFinished = "check_finished" {
        /// What it found.
        report: CheckReport,
        /// In the pre-flight, or while the system runs.
        phase: CheckPhase,
    },
    /// GO or NO-GO.
    DecisionMade = "decision_made" {
        /// The verdict.
        decision: Decision,
        /// Codes and subjects of the findings that decided it.
        because: Vec<String>,
        /// Optional layers that will not start.
        skipped_layers: Vec<String>,
    },
    /// The missions for this attempt's failures are filed.
    MissionsSettled = "missions_settled" {
        /// Missions filed or seen again.
        open: u32,
        /// Missions closed, because their failure is gone.
        closed: u32,
    },
    /// Work on a mission ended, as far as this boot is concerned.
    HealFinished = "heal_finished" {
        /// Which mission.
        mission: MissionId,
        /// How it ended.
        outcome: HealOutcome,
        /// One sentence.
        reason: String,
    },
    /// The boot will try again.
    Retried = "retried" {
        /// Number of the attempt to come.
        attempt: u32,
        /// When it begins.
        at: At,
        /// Why.
        reason: String,
    },
    /// A layer began to start: from here on its services may run.
    LayerStarted = "layer_started" {
        /// Which layer.
        layer: String,
    },
    /// All services of a layer are ready.
    LayerUp = "layer_up" {
        /// Which layer.
        layer: String,
    },
    /// A layer cannot start, or stopped working.
    LayerFailed = "layer_failed" {
        /// Which layer.
        layer: String,
        /// The service that failed it; empty if none did.
        service: String,
        /// The boot fails with it.
        critical: bool,
        /// What happened, redacted.
        error: String,
        /// Last lines of the service's output, redacted.
        output: String,
    },
    /// A service's process runs.
    ServiceStarted = "service_started" {
        /// Which service.
        service: String,
        /// Its process.
        process: ProcessRef,
    },
    /// A service is ready.
    ServiceReady = "service_ready" {
        /// Which service.
        service: String,
    },
    /// A service's process ended.
    ServiceExited = "service_exited" {
        /// Which service.
        service: String,
        /// How.
        exit: ExitKind,
        /// It was asked to.
        expected: bool,
    },
    /// A service will be started again.
    ServiceRestarting = "service_restarting" {
        /// Which service.
        service: String,
        /// Restarts within the window, this one included.
        restart: u32,
        /// When.
        at: At,
        /// Why.
        reason: String,
    },
    /// A service is given up.
    ServiceFailed = "service_failed" {
        /// Which service.
        service: String,
        /// Why, redacted.
        error: String,
    },
    /// Everything that will start has started.
    BootUp = "boot_up" {
        /// At least one optional layer is missing.
        degraded: bool,
    },
    /// A validation of the live system began.
    ValidationStarted = "validation_started" {
        /// From 1.
        validation: u32,
    },
    /// A validation ended.
    ValidationFinished = "validation_finished" {
        /// From 1.
        validation: u32,
        /// What a boot would be told now.
        decision: Decision,
    },
    /// A signature kept failing: no more tries in this boot.
    BreakerTripped = "breaker_tripped" {
        /// Which failure.
        signature: Signature,
        /// How often it was seen.
        seen: u32,
    },
    /// Somebody asked the boot to stop.
    StopRequested = "stop_requested" {
        /// Who or what: `SIGINT`, `SIGTERM`, `ubs stop`, `end of the demo`.
        by: String,
    },
    /// Everything is stopped, as asked.
    BootStopped = "boot_stopped",
    /// The boot ended without the system.
    BootFailed = "boot_failed" {
        /// Why, in one sentence.
        reason: String,
    },
    /// The supervisor died; a later process found out.
    BootInterrupted = "boot_interrupted" {
        /// What was known.
        reason: String,
        /// Processes that were still running and were ended.
        reaped: u32,
    },
    // --- the mission ------------------------------------------------------------------------
    /// A mission was filed.
    MissionFiled = "mission_filed" {
        /// Which mission.
        mission: MissionId,
        /// What a person calls it.
        slug: String,
        /// Same cause, same signature.
        signature: Signature,
        /// What failed.
        failure: Failure,
    },
    /// The failure of an open mission was seen again.
    MissionRecurred = "mission_recurred" {
        /// What a person calls it.
        slug: String,
        /// Same cause, same signature.
        signature: Signature,
        /// What failed, as seen now.
        failure: Failure,
    },
    /// A worker took the mission.
    MissionClaimed = "mission_claimed" {
        /// Who.
        worker: String,
        /// End of the lease.
        until: At,
    },
    /// The worker holds it longer.
    LeaseExtended = "lease_extended" {
        /// Who.
        worker: String,
        /// End of the lease.
        until: At,
    },
    /// The worker was silent too long.
    LeaseExpired = "lease_expired" {
        /// Who.
        worker: String,
    },
    /// The worker gave it back.
    MissionReleased = "mission_released" {
        /// Who.
        worker: String,
        /// Why.
        reason: String,
    },
    /// A fix was proposed.
    FixProposed = "fix_proposed" {
        /// Who.
        worker: String,
        /// What.
        proposal: Proposal,
    },
    /// The fix was tried in the sandbox.
    FixTried = "fix_tried" {
        /// What the trial showed.
        verdict: Verdict,
    },
    /// The fix holds.
    FixVerified = "fix_verified",
    /// The fix does not hold, or was declined.
    FixRejected = "fix_rejected" {
        /// Why.
        reason: String,
        /// When the mission may be claimed again.
        retry_at: At,
    },
    /// A person has to approve the fix.
    ApprovalRequested = "approval_requested",
    /// A person approved the fix.
    FixApproved = "fix_approved" {
        /// Who.
        by: String,
    },
    /// From here on the workspace changes: the journal holds what is needed to finish or undo.
    PromotionStarted = "promotion_started" {
        /// Files that will change.
        files: Vec<FileChange>,
        /// Schemas whose database will change.
        databases: Vec<String>,
    },
    /// The fix is in the workspace.
    FixApplied = "fix_applied" {
        /// Who proposed it.
        fixer: String,
        /// One line.
        summary: String,
    },
    /// The promotion was undone before it was finished.
    PromotionUndone = "promotion_undone" {
        /// Why.
        reason: String,
    },
    /// The fix was taken back after it had been applied.
    FixRolledBack = "fix_rolled_back" {
        /// Why.
        reason: String,
    },
    /// A person is needed.
    MissionQuarantined = "mission_quarantined" {
        /// Why.
        reason: String,
    },
    /// A person put the mission back into the queue.
    MissionRequeued = "mission_requeued" {
        /// Who.
        by: String,
    },
    /// Done.
    MissionClosed = "mission_closed" {
        /// What a person calls it.
        slug: String,
        /// How it was shown.
        resolution: String,
    },
    // --- notes ------------------------------------------------------------------------------
    /// Something worth keeping that changes no state.
    Note = "note" {
        /// The text, redacted.
        text: String,
    },
    // --- the running system -----------------------------------------------------------------
    /// How the services of the plan are judged while they run.
    RulesSet = "rules_set" {
        /// One for each service.
        rules: Vec<ServiceRules>,
    },
    /// A service was ready and no longer answers as ready; its process runs.
    ServiceUnready = "service_unready" {
        /// Which service.
        service: String,
        /// What its probe said, redacted.
        reason: String,
    },
    /// A service was ready for long enough without an end.
    ServiceStable = "service_stable" {
        /// Which service.
        service: String,
    },
    /// A service was ready for so long that its earlier ends are no longer counted.
    ServiceRecovered = "service_recovered" {
        /// Which service.
        service: String,
        /// Ends that were counted.
        ends: u32,
    },
    /// A layer is stopped, or not started, because a layer before it failed; it starts when that is up.
    LayerSkipped = "layer_skipped" {
        /// Which layer.
        layer: String,
        /// The layer that failed.
        because: String,
    },
    /// What the services of the plan need of each other, and what follows their ends.
    TermsSet = "terms_set" {
        /// One for each service that has any.
        terms: Vec<ServiceTerms>,
        /// Layers that need what they come after; the others only come after it.
        needing: Vec<String>,
    },
    /// A service is stopped, or not started, because what it needs cannot be; it starts when that is there.
    ServiceSkipped = "service_skipped" {
        /// Which service.
        service: String,
        /// What it needs and why that cannot be, redacted.
        because: String,
    },
    /// A person asked something of a service.
    ServiceSteered = "service_steered" {
        /// Which service.
        service: String,
        /// What.
        order: ServiceOrder,
        /// Who: `a person (uid 1000)`.
        by: String,
    },
    /// A service is ready, and nothing says that it was itself that answered its probe.
    AnswerNotAttributed = "answer_not_attributed" {
        /// Which service.
        service: String,
        /// Why not.
        why: String,
    },
    // --- what became of a fix -----------------------------------------------------------------
    /// The system lived with the fix for long enough: its probation is over.
    FixBlessed = "fix_blessed" {
        /// How long it was healthy with it.
        healthy_ms: u64,
    },
    /// A person took the fix back.
    FixUndone = "fix_undone" {
        /// Who.
        by: String,
        /// What was put back, and what could not be.
        reason: String,
    },
    // --- the log itself ---------------------------------------------------------------------
    /// The log could not be written for a time: the events after this one were kept in memory
    /// meanwhile, and some may be lost.
    LogGap = "log_gap" {
        /// Events that were kept, and follow.
        kept: u64,
        /// Events that are lost: they were before those that were kept.
        lost: u64,
        /// When the log was first not written.
        from: At,
        /// When it was written again.
        to: At,
        /// Why it could not be written.
        reason: String,
    },
    /// The beginning of the log was removed, as asked.
    LogPruned = "log_pruned" {
        /// Events that were removed.
        events: u64,
        /// Place of the last of them.
        last: u64,
        /// Its chain value, which the first event that is left continues.
        chain: Digest,
        /// What was older than this was to go.
        before: At,
    },
    // --- the boot, once more ----------------------------------------------------------------
    /// A person had the manifest read again, and the plan of the running boot changed with it.
    PlanChanged = "plan_changed" {
        /// Layers as they are from now on, with the services that are new or planned in another way, and these only; a
        /// layer that the plan does not have is new.
        layers: Vec<LayerPlan>,
        /// How these services are judged.
        rules: Vec<ServiceRules>,
        /// What they need, and what follows their ends.
        terms: Vec<ServiceTerms>,
        /// Layers of these that need what they come after.
        needing: Vec<String>,
        /// Services that are gone: they are stopped.
        removed: Vec<String>,
        /// Who: `a person (uid 1000)`.
        by: String,
    },
    /// A person had the manifest read again, and the running system is validated in another way from then on.
    ValidationPlanned = "validation_planned" {
        /// Time between two validations; without one there is none.
        every_ms: Option<u64>,
        /// The checks of each.
        checks: Vec<CheckName>,
        /// Who: `a person (uid 1000)`.
        by: String,
    },
    /// The clock of the host was set, or the host slept: what is waited for moves with it.
    ClockSet = "clock_set" {
        /// What the clock would say without that.
        from: At,
        /// What it says.
        to: At,
    },
}

impl Event {
    /// The event belongs to a mission's stream.
    #[must_use]
    pub fn is_of_mission(&self) -> bool {
        matches!(
            self,
            Self::MissionFiled { .. }
                | Self::MissionRecurred { .. }
                | Self::MissionClaimed { .. }
                | Self::LeaseExtended { .. }
                | Self::LeaseExpired { .. }
                | Self::MissionReleased { .. }
                | Self::FixProposed { .. }
                | Self::FixTried { .. }
                | Self::FixVerified
                | Self::FixRejected { .. }
                | Self::ApprovalRequested
                | Self::FixApproved { .. }
                | Self::PromotionStarted { .. }
                | Self::FixApplied { .. }
                | Self::PromotionUndone { .. }
                | Self::FixRolledBack { .. }
                | Self::FixBlessed { .. }
                | Self::FixUndone { .. }
                | Self::MissionQuarantined { .. }
                | Self::MissionRequeued { .. }
                | Self::MissionClosed { .. }
        )
    }
}
