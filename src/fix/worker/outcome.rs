//! What comes of work on a mission.

use std::io::ErrorKind;
use std::path::Path;

use crate::domain::event::{HealOutcome, Verdict};
use crate::domain::mission::MissionState;
use crate::fix::apply::ApplyError;
use crate::fix::promote::PromoteError;
use crate::fix::trial::TrialError;
use crate::kernel::free_bytes;
use crate::log::{LogError, MissionsError};
use crate::sandbox::CopyError;

/// Work on a mission could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// The log or the mission's state says no.
    #[error(transparent)]
    Missions(#[from] MissionsError),
    /// No trial could be made.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// The proposal could not be moved into the workspace.
    #[error(transparent)]
    Promote(#[from] PromoteError),
    /// The proposal is not one that may be tried.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The environment files cannot be read.
    #[error("{0}")]
    Environment(String),
    /// The mission has nothing that could be done now.
    #[error("mission {slug} is {status}: {hint}")]
    NotNow {
        /// What a person calls it.
        slug: String,
        /// Where it stands.
        status: &'static str,
        /// What to do.
        hint: &'static str,
    },
}

/// A disk with less is full: not only too small for this trial.
const FULL_BYTES: u64 = 16 << 20;

impl WorkError {
    /// What keeps work waiting and says nothing of the mission: the log cannot be written, or the disk below
    /// `state_dir`, on which it lies with all trials, is full.
    pub(crate) fn trouble(&self, state_dir: &Path) -> Option<LogError> {
        let (Self::Trial(TrialError::Copy(CopyError::Io { source, .. }))
        | Self::Trial(TrialError::Io { source, .. })) = self
        else {
            return self.log_trouble();
        };
        let is_full = matches!(
            source.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        );
        let has_room = free_bytes(state_dir).is_ok_and(|free| free >= FULL_BYTES);
        (is_full && !has_room).then(|| LogError::Full {
            path: state_dir.to_owned(),
        })
    }

    /// What the log says, if it could not be written.
    fn log_trouble(&self) -> Option<LogError> {
        let (Self::Missions(error) | Self::Promote(PromoteError::Missions(error))) = self else {
            return None;
        };
        match error {
            MissionsError::Log(error) if error.is_trouble() => Some(error.clone()),
            _ => None,
        }
    }
}

/// What came of work on a mission.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Worked {
    /// How it ended.
    pub outcome: HealOutcome,
    /// One sentence.
    pub reason: String,
}

pub(super) fn worked(outcome: HealOutcome, reason: impl Into<String>) -> Worked {
    Worked {
        outcome,
        reason: reason.into(),
    }
}

/// With what the trial showed: whoever is to approve may look nowhere else.
pub(super) fn awaiting(state: &MissionState) -> Worked {
    worked(
        HealOutcome::AwaitingApproval,
        format!(
            "{}; `ubs missions approve {}` applies it",
            state.reason, state.slug
        ),
    )
}

/// The same right after the trial, whose verdict is not a part of the mission's reason unless it runs migrations.
pub(super) fn awaiting_after(state: &MissionState, verdict: &Verdict) -> Worked {
    let mut worked = awaiting(state);
    if !state.reason.contains(&verdict.reason) {
        worked.reason = format!("{} ({})", worked.reason, verdict.reason);
    }
    worked
}

pub(super) fn not_now(state: &MissionState, hint: &'static str) -> WorkError {
    WorkError::NotNow {
        slug: state.slug.clone(),
        status: state.status.as_str(),
        hint,
    }
}
