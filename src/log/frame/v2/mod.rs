//! Version 2, the one that is written.

mod boot;
mod event;
mod mission;
mod report;

pub(super) use boot::{BootPlan, CheckPhase, ExitKind, Fingerprint, HealOutcome, ProcessRef};
pub(crate) use event::Event;
pub(super) use mission::{Failure, FileChange, Proposal, Verdict};
pub(super) use report::{
    Cause, CheckName, CheckReport, CheckStatus, Decision, Finding, Location, Measured,
    MigrationTool, Remedy, Severity,
};
