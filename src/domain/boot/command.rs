//! What the engine reports to a boot or asks of it, and why that may be refused.

use crate::domain::event::{
    BootPlan, CheckPhase, ExitKind, Fingerprint, HealOutcome, LayerPlan, ProcessRef, ServiceOrder,
    ServiceRules, ServiceTerms,
};
use crate::domain::finding::{CheckName, CheckReport};
use crate::domain::ids::{At, MissionId};

/// What is different in the plan of a boot.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PlanChange {
    /// Layers with the services that are new or planned in another way.
    pub layers: Vec<LayerPlan>,
    /// How these are judged.
    pub rules: Vec<ServiceRules>,
    /// What they need, and what follows their ends.
    pub terms: Vec<ServiceTerms>,
    /// Layers of these that need what they come after.
    pub needing: Vec<String>,
    /// Services that are gone.
    pub removed: Vec<String>,
    /// How the running system is validated, if that is different.
    pub validation: Option<ValidationPlan>,
}

/// How a running system is validated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValidationPlan {
    /// Time between two validations; without one there is none.
    pub every_ms: Option<u64>,
    /// The checks of each.
    pub checks: Vec<CheckName>,
}

impl PlanChange {
    /// Nothing is different.
    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty() && self.removed.is_empty() && self.validation.is_none()
    }
}

/// A report of the engine, or a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum BootCommand {
    /// Begin.
    Start {
        /// Name of the application.
        app: String,
        /// What the boot will do.
        plan: BootPlan,
        /// How its services are judged while they run.
        rules: Vec<ServiceRules>,
        /// What they need of each other, and what follows their ends.
        terms: Vec<ServiceTerms>,
        /// Layers that need what they come after to be up.
        needing: Vec<String>,
        /// Who supervises.
        supervisor: ProcessRef,
        /// What it runs on.
        fingerprint: Box<Fingerprint>,
    },
    /// A check begins.
    BeginCheck {
        /// Which.
        check: CheckName,
        /// In the pre-flight, or while the system runs.
        phase: CheckPhase,
    },
    /// A check ended.
    EndCheck {
        /// What it found.
        report: Box<CheckReport>,
        /// In the pre-flight, or while the system runs.
        phase: CheckPhase,
    },
    /// Missions are filed and closed.
    Settled {
        /// Missions filed or seen again.
        open: u32,
        /// Missions closed.
        closed: u32,
    },
    /// Work on a mission ended.
    EndHeal {
        /// Which.
        mission: MissionId,
        /// How.
        outcome: HealOutcome,
        /// One sentence.
        reason: String,
    },
    /// The wait before the next attempt is over.
    BackoffElapsed,
    /// A layer begins to start.
    StartLayer {
        /// Which.
        layer: String,
    },
    /// A service's process runs.
    ServiceStarted {
        /// Which.
        service: String,
        /// Its process.
        process: ProcessRef,
    },
    /// A service is ready.
    ServiceReady {
        /// Which.
        service: String,
    },
    /// A service that was ready no longer answers as ready.
    ServiceUnready {
        /// Which.
        service: String,
        /// What its probe said, redacted.
        reason: String,
    },
    /// Nothing says that a ready service answered its probe itself.
    AnswerNotAttributed {
        /// Which.
        service: String,
        /// Why not.
        why: String,
    },
    /// Time passed: a service may have proved itself, be stable or be recovered.
    TimePassed,
    /// A running service is to be started again, because a fix changed what it may use.
    Refresh {
        /// Which.
        service: String,
        /// Why.
        reason: String,
    },
    /// A service's process ended.
    ServiceExited {
        /// Which.
        service: String,
        /// How.
        exit: ExitKind,
        /// Why, if something is known beyond the exit: a failed liveness probe.
        reason: Option<String>,
        /// Last lines of its output, redacted.
        output: String,
    },
    /// A service could not be started, or was not ready in time.
    ServiceUnstartable {
        /// Which.
        service: String,
        /// Why, redacted.
        error: String,
        /// Last lines of its output, redacted.
        output: String,
    },
    /// A validation of the live system begins.
    BeginValidation,
    /// A person wants something of one service.
    Steer {
        /// Which.
        service: String,
        /// What.
        order: ServiceOrder,
        /// Who.
        by: String,
    },
    /// The manifest was read again, and plans the boot in another way.
    ChangePlan {
        /// What is different.
        change: PlanChange,
        /// Who.
        by: String,
    },
    /// The clock of the host was set, or the host slept.
    SetClock {
        /// What the clock would say without that.
        from: At,
        /// What it says.
        to: At,
    },
    /// Somebody wants the boot to stop.
    RequestStop {
        /// Who or what.
        by: String,
    },
    /// The supervisor is known to be dead.
    Interrupt {
        /// What is known.
        reason: String,
        /// Processes that were ended.
        reaped: u32,
    },
}

/// A report that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BootRefusal {
    /// It comes from work that the boot no longer waits for; the engine drops it.
    #[error("{what} comes too late: the boot is {phase}")]
    Late {
        /// What was reported.
        what: &'static str,
        /// Where the boot stands.
        phase: &'static str,
    },
    /// The plan has no such part.
    #[error("the boot's plan has no {what} named {name}")]
    Unknown {
        /// `layer`, `service`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A person asked for what is not possible now.
    #[error("{why}")]
    Refused {
        /// Why, in one sentence.
        why: String,
    },
    /// A second start.
    #[error("the boot has already begun")]
    AlreadyStarted,
    /// The boot is over.
    #[error("the boot has ended")]
    Ended,
    /// Never allowed here: the engine has a bug.
    #[error("{what} is impossible while the boot is {phase}")]
    Impossible {
        /// What was reported.
        what: &'static str,
        /// Where the boot stands.
        phase: &'static str,
    },
}
