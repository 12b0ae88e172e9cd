//! The boot machine.

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::ids::{At, MissionId};

/// A boot, as its events tell it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BootState {
    /// When the boot began.
    pub started_at: At,
    /// When something last happened.
    pub updated_at: At,
    /// When it ended.
    pub ended_at: Option<At>,
}

/// The state after `event`, which belongs to this boot; `mission` is the event's mission if it has one.
#[must_use]
pub fn evolve(state: BootState, _at: At, _mission: Option<MissionId>, _event: &Event) -> BootState {
    state
}
