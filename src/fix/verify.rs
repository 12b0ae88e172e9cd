//! Whether the `verify` of a playbook has passed: noted in the journal of its promotion, which is kept for as long as
//! the fix is on probation. Until then the fix is not blessed, and its mission not closed by itself.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::journal::Journal;
use crate::domain::ids::MissionId;

/// The playbook whose `verify` has to pass before the last fix of the mission counts; `None`: none has to, or it has.
pub(crate) fn awaited_verify(state_dir: &Path, mission: MissionId) -> Option<String> {
    let journal = Journal::newest(state_dir, mission)?;
    let plan = journal.read().ok()??;
    plan.verify.filter(|_| !journal.is_verified())
}

/// The missions of which a fix still has to pass.
pub(crate) fn unverified_missions(state_dir: &Path) -> BTreeSet<MissionId> {
    let kept = Journal::kept(state_dir).unwrap_or_default();
    let missions = kept.into_iter().map(|(mission, _)| mission);
    missions
        .filter(|mission| awaited_verify(state_dir, *mission).is_some())
        .collect()
}

/// Notes that it has passed; durable when this returns.
///
/// # Errors
/// The journal cannot be written.
pub(crate) fn note_verified(state_dir: &Path, mission: MissionId) -> io::Result<()> {
    match Journal::newest(state_dir, mission) {
        Some(journal) => journal.note_verified(),
        None => Ok(()),
    }
}
