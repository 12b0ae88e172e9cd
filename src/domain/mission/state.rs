//! Where a mission stands, folded from its events.

use serde::{Deserialize, Serialize};

use super::order::{Failure, Proposal};
use crate::domain::ids::{At, BootId, MissionId, Signature};

/// A worker's hold on a mission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lease {
    /// Who holds it.
    pub worker: String,
    /// When it ends unless it is extended.
    pub until: At,
}

/// Where a mission stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissionStatus {
    /// Nothing happened yet: only `File` is allowed.
    #[default]
    Unfiled,
    /// Waits for a worker.
    Filed,
    /// A worker holds it.
    Claimed,
    /// A worker proposed a fix.
    Proposed,
    /// The fix was proved in the sandbox.
    Verified,
    /// The fix was proved, and policy wants a person to approve it.
    AwaitingApproval,
    /// The fix is being moved into the workspace.
    Promoting,
    /// The fix is in the workspace; that what failed is up and stable shows whether it holds.
    Applied,
    /// The last fix was no good; waits before it may be claimed again.
    Rejected,
    /// Needs a person.
    Quarantined,
    /// Done.
    Closed,
}

impl MissionStatus {
    /// The stable name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unfiled => "unfiled",
            Self::Filed => "filed",
            Self::Claimed => "claimed",
            Self::Proposed => "proposed",
            Self::Verified => "verified",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Promoting => "promoting",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Quarantined => "quarantined",
            Self::Closed => "closed",
        }
    }

    /// A worker holds the mission.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(
            self,
            Self::Claimed | Self::Proposed | Self::Verified | Self::Promoting
        )
    }
}

/// A mission, folded from its events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MissionState {
    /// Which one; `None` only before it is filed.
    pub id: Option<MissionId>,
    /// Same cause, same signature.
    pub signature: Option<Signature>,
    /// The name a person calls it by.
    pub slug: String,
    /// The boot that filed it.
    pub boot: Option<BootId>,
    /// Where it stands.
    pub status: MissionStatus,
    /// What failed.
    pub failure: Option<Failure>,
    /// When it was filed.
    pub filed_at: At,
    /// When something last happened.
    pub updated_at: At,
    /// Not claimable before this moment.
    pub not_before: At,
    /// Who holds it.
    pub lease: Option<Lease>,
    /// Claims so far.
    pub attempts: u32,
    /// How often the failure was seen again while the mission was open.
    pub recurrences: u32,
    /// The proposal in hand, or the last one.
    pub proposal: Option<Proposal>,
    /// Why it stands where it stands: the rejection, the quarantine, the resolution.
    pub reason: String,
    /// Fixers whose proposal was rejected, so that the next claim tries another.
    pub fixers_failed: Vec<String>,
}

impl MissionState {
    /// Until when a mission that no built-in fixer knows is left to other workers: for so long since it was filed or
    /// put back into the queue.
    #[must_use]
    pub(crate) fn offer_ends(&self, offer_ms: u64) -> At {
        self.filed_at.max(self.not_before).plus_ms(offer_ms)
    }
}
