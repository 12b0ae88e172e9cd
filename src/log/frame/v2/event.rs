//! The event: one variant a kind.

use uuid::Uuid;

use super::boot::{
    BootPlan, CheckPhase, ExitKind, Fingerprint, HealOutcome, LayerPlan, ProcessRef, ServiceOrder,
    ServiceRules, ServiceTerms,
};
use super::mission::{Failure, FileChange, Proposal, Verdict};
use super::report::{CheckName, CheckReport, Decision};

mirror! {
    enum Event of event {
        BootStarted {
            app: String,
            plan: BootPlan,
            supervisor: ProcessRef,
            fingerprint: Fingerprint,
        },
        AttemptStarted {
            attempt: u32,
        },
        CheckStarted {
            check: CheckName,
            phase: CheckPhase,
        },
        CheckFinished {
            report: CheckReport,
            phase: CheckPhase,
        },
        DecisionMade {
            decision: Decision,
            because: Vec<String>,
            skipped_layers: Vec<String>,
        },
        MissionsSettled {
            open: u32,
            closed: u32,
        },
        HealFinished {
            mission: Uuid,
            outcome: HealOutcome,
            reason: String,
        },
        Retried {
            attempt: u32,
            at: i64,
            reason: String,
        },
        LayerStarted {
            layer: String,
        },
        LayerUp {
            layer: String,
        },
        LayerFailed {
            layer: String,
            service: String,
            critical: bool,
            error: String,
            output: String,
        },
        ServiceStarted {
            service: String,
            process: ProcessRef,
        },
        ServiceReady {
            service: String,
        },
        ServiceExited {
            service: String,
            exit: ExitKind,
            expected: bool,
        },
        ServiceRestarting {
            service: String,
            restart: u32,
            at: i64,
            reason: String,
        },
        ServiceFailed {
            service: String,
            error: String,
        },
        BootUp {
            degraded: bool,
        },
        ValidationStarted {
            validation: u32,
        },
        ValidationFinished {
            validation: u32,
            decision: Decision,
        },
        BreakerTripped {
            signature: String,
            seen: u32,
        },
        StopRequested {
            by: String,
        },
        BootStopped,
        BootFailed {
            reason: String,
        },
        BootInterrupted {
            reason: String,
            reaped: u32,
        },
        MissionFiled {
            mission: Uuid,
            slug: String,
            signature: String,
            failure: Failure,
        },
        MissionRecurred {
            slug: String,
            signature: String,
            failure: Failure,
        },
        MissionClaimed {
            worker: String,
            until: i64,
        },
        LeaseExtended {
            worker: String,
            until: i64,
        },
        LeaseExpired {
            worker: String,
        },
        MissionReleased {
            worker: String,
            reason: String,
        },
        FixProposed {
            worker: String,
            proposal: Proposal,
        },
        FixTried {
            verdict: Verdict,
        },
        FixVerified,
        FixRejected {
            reason: String,
            retry_at: i64,
        },
        ApprovalRequested,
        FixApproved {
            by: String,
        },
        PromotionStarted {
            files: Vec<FileChange>,
            databases: Vec<String>,
        },
        FixApplied {
            fixer: String,
            summary: String,
        },
        PromotionUndone {
            reason: String,
        },
        FixRolledBack {
            reason: String,
        },
        MissionQuarantined {
            reason: String,
        },
        MissionRequeued {
            by: String,
        },
        MissionClosed {
            slug: String,
            resolution: String,
        },
        Note {
            text: String,
        },
        RulesSet {
            rules: Vec<ServiceRules>,
        },
        ServiceUnready {
            service: String,
            reason: String,
        },
        ServiceStable {
            service: String,
        },
        ServiceRecovered {
            service: String,
            ends: u32,
        },
        LayerSkipped {
            layer: String,
            because: String,
        },
        TermsSet {
            terms: Vec<ServiceTerms>,
            needing: Vec<String>,
        },
        ServiceSkipped {
            service: String,
            because: String,
        },
        ServiceSteered {
            service: String,
            order: ServiceOrder,
            by: String,
        },
        AnswerNotAttributed {
            service: String,
            why: String,
        },
        FixBlessed {
            healthy_ms: u64,
        },
        FixUndone {
            by: String,
            reason: String,
        },
        LogGap {
            kept: u64,
            lost: u64,
            from: i64,
            to: i64,
            reason: String,
        },
        LogPruned {
            events: u64,
            last: u64,
            chain: [u8; 32],
            before: i64,
        },
        PlanChanged {
            layers: Vec<LayerPlan>,
            rules: Vec<ServiceRules>,
            terms: Vec<ServiceTerms>,
            needing: Vec<String>,
            removed: Vec<String>,
            by: String,
        },
        ValidationPlanned {
            every_ms: Option<u64>,
            checks: Vec<CheckName>,
            by: String,
        },
        ClockSet {
            from: i64,
            to: i64,
        },
    }
}
