//! The manifest was read again, and plans the running boot in another way.

use super::attempt::end_check_run;
use super::command::{BootRefusal, PlanChange, ValidationPlan};
use super::draft::BootDraft;
use super::layers::raise_layer;
use super::state::Phase;
use crate::domain::event::{CheckPhase, Event};

pub(super) fn change_plan(
    draft: &mut BootDraft,
    change: PlanChange,
    by: String,
) -> Result<(), BootRefusal> {
    if draft.state.phase != Phase::Running {
        return Err(BootRefusal::Refused {
            why: format!(
                "the boot is {}: its plan changes while the system runs",
                draft.state.phase.as_str()
            ),
        });
    }
    if change.is_empty() {
        return Ok(());
    }
    let still_there = change.layers.iter().find_map(|layer| {
        let services = layer.services.iter();
        let mut known = services.filter_map(|service| draft.state.service(&service.name));
        known.find(|(other, _)| other.name != layer.name)
    });
    if let Some((layer, service)) = still_there {
        return Err(BootRefusal::Refused {
            why: format!(
                "service {} of layer {} is still being stopped; try again",
                service.plan.name, layer.name
            ),
        });
    }
    let PlanChange {
        layers,
        rules,
        terms,
        needing,
        removed,
        validation,
    } = change;
    if let Some(ValidationPlan { every_ms, checks }) = validation {
        draft.push(Event::ValidationPlanned {
            every_ms,
            checks,
            by: by.clone(),
        });
        // The one that was still awaited may be gone.
        if draft.state.validating {
            end_check_run(draft, CheckPhase::Validation);
        }
    }
    if layers.is_empty() && removed.is_empty() {
        return Ok(());
    }
    draft.push(Event::PlanChanged {
        layers,
        rules,
        terms,
        needing,
        removed,
        by,
    });
    // A layer has to wait no longer for what is gone.
    let names: Vec<String> = draft.state.layers.iter().map(|l| l.name.clone()).collect();
    for layer in names {
        raise_layer(draft, &layer);
    }
    Ok(())
}
