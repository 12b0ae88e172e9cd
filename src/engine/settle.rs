//! Files missions for what is broken, and closes those whose failure is gone: one transaction.

use std::collections::BTreeSet;

use crate::domain::boot::{self, BootCommand, BootState, Context};
use crate::domain::event::Event;
use crate::domain::ids::{BootId, MissionId};
use crate::domain::mission::{self, MissionCommand, MissionState, SignedFailure};
use crate::log::{Log, LogError, NewEvent, Tx, name_apart};

/// What settling did.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    /// Missions that were closed.
    pub closed: Vec<MissionId>,
}

/// Settles the failures of `boot` as they are now. `unverified`: missions that stay open, because something has still to
/// pass with their fix.
pub(super) fn settle(
    log: &Log,
    boot: BootId,
    context: Context,
    unverified: BTreeSet<MissionId>,
) -> Result<Settled, LogError> {
    log.transact(move |tx| settle_in(tx, boot, context, &unverified))?
}

/// What had to pass with the fix of `mission` has passed: says so, and closes it if its failure is gone.
pub(super) fn settle_verified(
    log: &Log,
    boot: BootId,
    context: Context,
    mission: MissionId,
    text: String,
) -> Result<(), LogError> {
    log.transact(move |tx| {
        tx.append(NewEvent {
            at: context.at,
            boot: Some(boot),
            mission: Some(mission),
            event: Event::Note { text },
        })?;
        let Some(state) = tx.boot(boot)? else {
            return Ok(());
        };
        let failures = boot::open_failures(&state);
        let open = tx.missions_open()?;
        let known = open.into_iter().find(|known| known.id == Some(mission));
        if let Some(known) = known
            && let Some(resolution) = boot::closable(&state, &failures, &known)
        {
            let command = MissionCommand::Close { resolution };
            append_mission(tx, boot, context, mission, &known, command)?;
        }
        Ok(())
    })?
}

fn settle_in(
    tx: &mut Tx<'_>,
    boot: BootId,
    context: Context,
    unverified: &BTreeSet<MissionId>,
) -> Result<Settled, LogError> {
    let Some(state) = tx.boot(boot)? else {
        return Ok(Settled::default());
    };
    let failures = boot::open_failures(&state);
    let mut open = 0;
    for signed in &failures {
        open += 1;
        match tx.open_mission_by_signature(&signed.signature)? {
            Some(known) => {
                let id = known.id.filter(|id| !state.has_met(*id));
                if let Some(id) = id {
                    let command = MissionCommand::Recur {
                        failure: signed.failure.clone(),
                    };
                    append_mission(tx, boot, context, id, &known, command)?;
                }
            }
            // The report is older than what closed the mission.
            None if is_closed_since(&state, signed) => open -= 1,
            None => {
                let id = MissionId(uuid::Uuid::now_v7());
                let command = MissionCommand::File {
                    id,
                    signature: signed.signature.clone(),
                    failure: signed.failure.clone(),
                };
                append_mission(tx, boot, context, id, &MissionState::default(), command)?;
            }
        }
    }
    let mut settled = Settled::default();
    let missions = tx.missions_open()?;
    let is_unverified = |known: &MissionState| known.id.is_some_and(|id| unverified.contains(&id));
    // That a layer is up with a fix that has still to pass something shows nothing about its other failures either.
    let layer_of = |known: &MissionState| known.failure.as_ref().and_then(|f| f.layer.clone());
    let unverified_layers: BTreeSet<String> = missions
        .iter()
        .filter(|known| is_unverified(known))
        .filter_map(layer_of)
        .collect();
    for known in &missions {
        let (Some(id), Some(resolution)) = (known.id, boot::closable(&state, &failures, known))
        else {
            continue;
        };
        let waits = layer_of(known).is_some_and(|layer| unverified_layers.contains(&layer));
        if waits || is_unverified(known) {
            continue;
        }
        append_mission(
            tx,
            boot,
            context,
            id,
            known,
            MissionCommand::Close { resolution },
        )?;
        settled.closed.push(id);
    }
    let closed = u32::try_from(settled.closed.len()).unwrap_or(u32::MAX);
    let state = tx.boot(boot)?.unwrap_or(state);
    // Too late is harmless: the boot went on meanwhile, the missions are filed all the same.
    if let Ok(events) = boot::decide(&state, context, BootCommand::Settled { open, closed }) {
        append_boot(tx, boot, context, events)?;
    }
    Ok(settled)
}

/// A mission for what a check found was closed since that check ran.
fn is_closed_since(state: &BootState, signed: &SignedFailure) -> bool {
    signed.failure.check.is_some()
        && state.missions.iter().any(|met| {
            met.closed
                && met.signature == signed.signature
                && met.attempt == state.attempt
                && met.validation == state.validations
        })
}

fn append_mission(
    tx: &mut Tx<'_>,
    boot: BootId,
    context: Context,
    id: MissionId,
    state: &MissionState,
    command: MissionCommand,
) -> Result<(), LogError> {
    // Refused: another worker was faster; what it did is as good.
    let mut events = mission::decide(state, context.at, command).unwrap_or_default();
    name_apart(tx, &mut events)?;
    for event in events {
        tx.append(NewEvent {
            at: context.at,
            boot: Some(boot),
            mission: Some(id),
            event,
        })?;
    }
    Ok(())
}

/// Appends events of the boot itself.
pub(super) fn append_boot(
    tx: &mut Tx<'_>,
    boot: BootId,
    context: Context,
    events: Vec<Event>,
) -> Result<(), LogError> {
    for event in events {
        tx.append(NewEvent {
            at: context.at,
            boot: Some(boot),
            mission: None,
            event,
        })?;
    }
    Ok(())
}
