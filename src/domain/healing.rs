//! What a trial showed, what a promotion changed, and how work on a mission ended.

use serde::{Deserialize, Serialize};

use super::finding::{CheckName, CheckStatus};
use super::ids::Digest;

/// One file of a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileChange {
    /// Relative to the workspace.
    pub path: String,
    /// Before; `None` if the file did not exist.
    pub before: Option<Digest>,
    /// After.
    pub after: Digest,
}

/// What a trial in the sandbox showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verdict {
    /// The failure is gone and nothing else got worse.
    pub holds: bool,
    /// Why, in one sentence.
    pub reason: String,
    /// Status of each check that was run in the sandbox: before and after.
    pub checks: Vec<CheckChange>,
    /// What the sandbox isolated, and what it could not: one line each.
    pub isolation: Vec<String>,
    /// Wall time of the trial.
    pub duration_ms: u64,
}

/// One check before and after a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckChange {
    /// Which check.
    pub check: CheckName,
    /// Before, in the workspace.
    pub before: CheckStatus,
    /// After, in the sandbox.
    pub after: CheckStatus,
}

/// How the reason begins of a mission that is left to other workers for a while, before it needs a person.
pub(crate) const OFFERED: &str = "offered to workers until ";

/// Part of the reason of a fix that is applied, and counts only once its playbook's `verify` has passed.
pub(crate) const UNVERIFIED: &str = "whether it worked is asked";

/// How work on one mission ended, as the boot sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealOutcome {
    /// The fix is in the workspace.
    Applied,
    /// A fix was tried and did not hold.
    Rejected,
    /// A fix holds, and a person has to approve it.
    AwaitingApproval,
    /// Nobody here knows a fix: a person is needed.
    NeedsPerson,
    /// Another worker holds the mission.
    HeldElsewhere,
    /// The mission was closed meanwhile.
    Closed,
}
