//! What may be asked of a mission, and why it may be refused.

use super::order::{Failure, Proposal};
use crate::domain::event::{FileChange, Verdict};
use crate::domain::ids::{At, MissionId, Signature};

/// Longest lease that a worker may ask for: one day.
pub(crate) const LEASE_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// A command to a mission. Moments and ids come in as data.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MissionCommand {
    /// File it.
    File {
        /// The new mission.
        id: MissionId,
        /// Same cause, same signature.
        signature: Signature,
        /// What failed.
        failure: Failure,
    },
    /// The failure was seen again.
    Recur {
        /// What failed, as seen now: the facts may have changed.
        failure: Failure,
    },
    /// Take it.
    Claim {
        /// Who.
        worker: String,
        /// For how long.
        lease_ms: u64,
    },
    /// Hold it longer.
    Heartbeat {
        /// Who.
        worker: String,
        /// For how long from now.
        lease_ms: u64,
    },
    /// Give it back untouched.
    Release {
        /// Who.
        worker: String,
        /// Why.
        reason: String,
    },
    /// Propose a fix.
    Propose {
        /// Who.
        worker: String,
        /// What.
        proposal: Proposal,
    },
    /// The trial's outcome.
    Judge {
        /// Who.
        worker: String,
        /// What the trial showed.
        verdict: Verdict,
        /// Policy wants a person to approve a fix that holds.
        needs_approval: bool,
    },
    /// A person approves.
    Approve {
        /// Who.
        by: String,
    },
    /// The worker found no fix.
    GiveUp {
        /// Who.
        worker: String,
        /// Why not.
        reason: String,
    },
    /// A person declines, or withdraws the proposal.
    Decline {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The trial after the approval shows what nobody approved.
    AskAgain {
        /// What it shows.
        verdict: Verdict,
    },
    /// The fix is about to be moved into the workspace.
    StartPromotion {
        /// Files that will change.
        files: Vec<FileChange>,
        /// Schemas whose database will change.
        databases: Vec<String>,
    },
    /// The fix is in the workspace.
    FinishPromotion,
    /// The promotion was undone.
    UndoPromotion {
        /// Why.
        reason: String,
    },
    /// The fix was taken back after it had been applied.
    RollBack {
        /// Why.
        reason: String,
    },
    /// The system lived with the fix for long enough.
    Bless {
        /// How long it was healthy with it.
        healthy_ms: u64,
    },
    /// A person takes the fix back.
    Undo {
        /// Who.
        by: String,
        /// What was put back, and what could not be.
        reason: String,
    },
    /// No one can do this but a person.
    Quarantine {
        /// Why.
        reason: String,
    },
    /// Done.
    Close {
        /// How it was shown.
        resolution: String,
    },
    /// A person puts a quarantined mission back into the queue.
    Requeue {
        /// Who.
        by: String,
    },
}

/// A command that the mission's state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MissionRefusal {
    /// Not in this state.
    #[error("a mission that is {status} cannot be {verb}{}", hint_for(.status))]
    WrongStatus {
        /// Where it stands.
        status: &'static str,
        /// What was asked.
        verb: &'static str,
    },
    /// Somebody else holds it.
    #[error("the mission is held by {holder} until {until}")]
    Held {
        /// Who.
        holder: String,
        /// Until when.
        until: At,
    },
    /// The lease ran out, or it was never this worker's.
    #[error("{worker} does not hold the mission (its lease may have run out; claim it again)")]
    NotHolder {
        /// Who asked.
        worker: String,
    },
    /// Back-off.
    #[error("the mission waits until {until} after its last rejection")]
    TooEarly {
        /// When it can be claimed.
        until: At,
    },
    /// The lease asked for is zero or too long.
    #[error("a lease lasts from 1 ms to {max} ms, not {asked} ms", max = LEASE_MS_MAX)]
    BadLease {
        /// What was asked.
        asked: u64,
    },
    /// The proposal changes nothing.
    #[error("the proposal changes nothing")]
    EmptyProposal,
}

/// What to do about a status that keeps workers away.
fn hint_for(status: &str) -> &'static str {
    match status {
        "quarantined" => " (it needs a person; `ubs missions requeue` lets workers try again)",
        "awaiting_approval" => " (`ubs missions approve` or `reject` it first)",
        _ => "",
    }
}
