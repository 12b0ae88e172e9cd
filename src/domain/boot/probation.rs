//! What a boot says about fixes on probation: for how long it was healthy with them, and which one made it worse.
//!
//! Pure. A fix is suspected only of what worked before it: what fails once another failure is out of the way was
//! broken all along.

use super::failures::open_failures;
use super::proof::{CRASH_LOOP_ENDS, is_layer_stable};
use super::state::{BootState, Outcome, Phase};
use crate::domain::finding::Decision;
use crate::domain::ids::{At, BootId, Signature};
use crate::domain::mission::{Failure, Fix};
use crate::domain::service::ServiceStatus;

/// Findings that say that a database is not the one of before.
const OTHER_DATABASE: [&str; 2] = ["schema.database_changed", "schema.foreign_database"];

/// Since when all that is needed is ready and stable, or until its orderly end was.
fn healthy_since(state: &BootState) -> Option<At> {
    let ended = match (state.phase, state.outcome) {
        (Phase::Running, _) => false,
        (Phase::Ended, Some(Outcome::Stopped)) => true,
        _ => return None,
    };
    let mut since = state.up_at?;
    for layer in state.layers.iter().filter(|layer| layer.critical) {
        if ended {
            let was_up = layer.up_at.is_some() && layer.failure.is_none();
            if !was_up {
                return None;
            }
        } else if !is_layer_stable(layer) {
            return None;
        }
        since = since.max(layer.up_at?);
        for service in &layer.services {
            match (service.status, service.ready_at) {
                (ServiceStatus::Done | ServiceStatus::Disabled, _) => {}
                // A person wants it so.
                _ if service.is_held() => {}
                (ServiceStatus::Failed | ServiceStatus::Skipped, _) => return None,
                (_, Some(ready)) => since = since.max(ready.plus_ms(service.rules.stable_after_ms)),
                (_, None) if ended => return None,
                (_, None) => {}
            }
        }
    }
    Some(since)
}

/// All that is needed is ready and stable now.
#[must_use]
pub(crate) fn is_healthy(state: &BootState) -> bool {
    state.phase == Phase::Running && healthy_since(state).is_some()
}

/// For how long this boot, running or ended in order, was healthy with a fix that was applied then.
#[must_use]
pub(crate) fn healthy_ms(state: &BootState, applied_at: At, now: At) -> u64 {
    let until = state.ended_at.unwrap_or(now);
    healthy_since(state).map_or(0, |since| until.ms_since(since.max(applied_at)))
}

/// The newest fix with which something is worse than it was, and what.
///
/// `baseline`: the last boot before this one that was up; `filed`: when a mission for a failure was first filed.
#[must_use]
pub(crate) fn suspect<'f>(
    state: &BootState,
    boot: BootId,
    fixes: &'f [Fix],
    baseline: Option<(BootId, &BootState)>,
    filed: impl Fn(&Signature) -> Option<At>,
) -> Option<(&'f Fix, String)> {
    let failures = open_failures(state);
    fixes.iter().rev().find_map(|fix| {
        let before = baseline.filter(|(id, before)| {
            // It was applied in a boot that never came up: nothing is known of the system with it.
            let knows =
                fix.applied_at < before.updated_at || fix.boot.is_none() || fix.boot == Some(*id);
            knows && fix.boot != Some(boot)
        });
        let failed = failures.iter().find(|signed| {
            let is_new = signed.signature == fix.signature
                || filed(&signed.signature).is_none_or(|at| at > fix.applied_at);
            // What it did to a database is gone with that database: that is not its doing.
            let is_undone = signed.failure.check.is_some()
                && signed.signature == fix.signature
                && fix.files.is_empty()
                && !fix.databases.is_empty();
            is_new
                && !is_undone
                && worked_before(state, before.map(|(_, before)| before), &signed.failure)
        });
        let why = match failed {
            Some(signed) => signed.failure.error.clone(),
            None => crash_loop(state, fix.applied_at)?,
        };
        Some((fix, format!("with it the system got worse: {why}")))
    })
}

/// The failure that a fix was for is back, in what ran with it: the fix did not hold.
///
/// `is_open`: the log says that the failure was seen again after the fix.
#[must_use]
pub(crate) fn came_back(state: &BootState, fix: &Fix, is_open: bool) -> Option<String> {
    let failures = open_failures(state);
    let back = failures
        .iter()
        .find(|signed| signed.signature == fix.signature)?;
    let layer = back.failure.layer.as_deref();
    let started = layer
        .and_then(|name| state.layer(name))
        .and_then(|layer| layer.started_at);
    // What runs may still be what ran before the fix; each attempt tries everything anew. What a check reported before
    // the fix says nothing of a layer that was started with it.
    let is_newer = back.failure.check.is_none() || is_open;
    let ran_with_it = is_newer && started.is_some_and(|started| started > fix.applied_at)
        || is_open && state.phase == Phase::Settling;
    ran_with_it.then(|| format!("its failure came back: {}", back.failure.error))
}

/// What fails now was well before, in this boot or the one before.
fn worked_before(state: &BootState, before: Option<&BootState>, failure: &Failure) -> bool {
    match failure.check {
        // Another database, or an emptied one: no fix does that, and none of them can be put back.
        Some(_) if OTHER_DATABASE.contains(&failure.code.as_str()) => false,
        Some(check) => {
            state.phase == Phase::Settling
                && state.decision == Some(Decision::NoGo)
                && failure.critical
                && before
                    .and_then(|before| before.reports.get(&check))
                    .is_some_and(|report| !report.status.blocks())
        }
        None => {
            let was_up = |state: &BootState| {
                let layer = failure.layer.as_deref().and_then(|name| state.layer(name));
                layer.is_some_and(|layer| layer.up_at.is_some())
            };
            was_up(state) || before.is_some_and(was_up)
        }
    }
}

/// A service that ends again and again since the fix was applied.
fn crash_loop(state: &BootState, applied_at: At) -> Option<String> {
    if state.phase != Phase::Running {
        return None;
    }
    let services = state.layers.iter().flat_map(|layer| &layer.services);
    let mut looping = services.filter(|service| {
        service.ends >= CRASH_LOOP_ENDS
            && service
                .started_at
                .is_some_and(|started| started > applied_at)
    });
    looping.next().map(|service| {
        format!(
            "service {} ended {} times in a row: it {}",
            service.plan.name, service.ends, service.last_end
        )
    })
}

#[cfg(test)]
mod tests;
