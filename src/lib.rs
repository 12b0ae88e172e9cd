//! Unbreakable Boot System: checks an application before it boots, boots it layer by layer, heals
//! what fails, and remembers everything as events in one SQLite log.
//!
//! The library is for programs that look back, ask for health, or fix missions:
//!
//! - [`Log`] and [`Reader`]: the event log and its projections;
//! - [`Replay`]: a past boot, event by event, with the state after each;
//! - [`Health`]: the health projection, also of a past moment;
//! - [`Missions`] and [`Worker`]: the durable queue, and the worker that tries a proposal in a sandbox and
//!   promotes what holds;
//! - [`Event`], [`Finding`] and the types that they are made of.
//!
//! `examples/` has one short program for each. All else is the program's own: `docs/architecture.md` has its rooms and
//! which may import which.

mod checks;
mod cli;
mod control;
mod database;
mod domain;
mod engine;
mod fix;
mod http;
mod init;
mod kernel;
mod log;
mod manifest;
mod notify;
mod sandbox;
mod source;
mod supervise;
#[doc(hidden)]
pub mod testing;

// What the library promises. Anything else is private: the compiler holds this list, a test compares it with
// `docs/public-api.txt`.

/// The program `ubs`: does what the command line of the process says.
pub use cli::run;

// The log, and what is derived from it.
pub use domain::health::{CheckHealth, Health, HealthStatus, LayerHealth, ServiceHealth};
pub use domain::ids::{At, BadDigest, BootId, Digest, MissionId, Seq, Signature};
pub use log::{
    Body, BootSummary, EventFilter, Events, FixRecord, Log, LogError, LogStats, NewEvent, Reader,
    Recorded, Replay, Tx, Verification, now,
};

// Events, and the state of a boot that they fold into.
pub use domain::boot::{
    AfterStop, BootMission, BootState, LayerFailure, LayerState, LayerStatus, Outcome, Phase,
    ServiceState, ServiceStatus,
};
pub use domain::event::{
    BootPlan, CheckChange, CheckPhase, DatabasePrint, Event, ExitKind, FileChange, Fingerprint,
    HealOutcome, LayerPlan, Mode, Need, NeedCondition, OnEnd, OnFailure, ProcessRef, RestartPolicy,
    ServiceOrder, ServicePlan, ServiceRules, ServiceTerms, Verdict,
};

// Findings, and what follows from them.
pub use checks::ExpectedSchema;
pub use domain::code::Code;
pub use domain::finding::{
    CheckName, CheckReport, CheckStatus, Decision, DeclaredRun, DryRun, Finding, LayerRehearsal,
    Location, Measured, ModuleTime, RehearsalOutcome, Severity, SideEffect,
};
pub use domain::remedy::{Cause, MigrationTool, Remedy};

// Missions, and who works on them.
pub use domain::mission::{
    Change, Failure, Lease, MissionCommand, MissionRefusal, MissionState, MissionStatus, Proposal,
    Risk, SignedFailure,
};
pub use fix::{PromoteError, ProposalError, TrialError, WorkError, Worked, Worker, parse_proposal};
pub use log::{Missions, MissionsError};
pub use manifest::{InvalidManifest, Manifest, ManifestError, Problem};
