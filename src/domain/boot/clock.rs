//! The clock of the host was set while the boot runs: what is waited for moves with it, so that nothing has proved
//! itself sooner than it did, and nobody waits for hours for what takes seconds.
//!
//! Moments that only tell what was when (the boot's start, a layer's) stay as they were written.

use super::state::{BootState, Phase};
use crate::domain::ids::At;

pub(super) fn set(state: &mut BootState, from: At, to: At) {
    let by_us = to.0.saturating_sub(from.0);
    let shift = |at: &mut At| at.0 = at.0.saturating_add(by_us);
    if let Phase::BackingOff { until } = &mut state.phase {
        shift(until);
    }
    state.validation_due.iter_mut().for_each(shift);
    for service in state.layers.iter_mut().flat_map(|l| &mut l.services) {
        let moments = [
            &mut service.started_at,
            &mut service.ready_at,
            &mut service.restart_at,
        ];
        moments.into_iter().flatten().for_each(shift);
    }
}
