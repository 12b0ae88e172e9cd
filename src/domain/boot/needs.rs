//! What services and layers of a boot wait for.

use std::collections::HashMap;

use super::state::{BootState, LayerState, LayerStatus};
use crate::domain::event::Need;
use crate::domain::service::{ServiceState, ServiceStatus, Standing, judge};

/// The services of a boot by their names; made once for many questions.
pub(crate) struct Roster<'s> {
    by_name: HashMap<&'s str, (&'s LayerState, &'s ServiceState)>,
}

impl<'s> Roster<'s> {
    /// Of the boot as it stands.
    pub(crate) fn of(state: &'s BootState) -> Self {
        let any = state.terms.values().any(|terms| !terms.needs.is_empty());
        let layers = state.layers.iter().filter(|_| any);
        Self {
            by_name: layers
                .flat_map(|l| {
                    l.services
                        .iter()
                        .map(move |s| (s.plan.name.as_str(), (l, s)))
                })
                .collect(),
        }
    }

    fn standing(&self, need: &Need) -> Standing {
        // A name that is not in the plan keeps nobody waiting.
        let Some((layer, needed)) = self.by_name.get(need.service.as_str()) else {
            return Standing::Met;
        };
        let unstarted = needed.status == ServiceStatus::Pending;
        if unstarted && layer.status == LayerStatus::Skipped {
            return Standing::Lost(format!("was skipped with layer {}", layer.name));
        }
        judge(need.condition, needed)
    }

    /// What the service still waits for.
    pub(crate) fn waits_for(&self, service: &'s ServiceState) -> Vec<&'s Need> {
        let needs = service.terms.needs.iter();
        needs
            .filter(|need| self.standing(need) != Standing::Met)
            .collect()
    }

    /// All that it needs is there.
    pub(crate) fn has_met(&self, service: &ServiceState) -> bool {
        let mut needs = service.terms.needs.iter();
        needs.all(|need| self.standing(need) == Standing::Met)
    }

    /// Why what it needs cannot be, if so.
    pub(crate) fn why_lost(&self, service: &ServiceState) -> Option<String> {
        let mut needs = service.terms.needs.iter();
        needs.find_map(|need| match self.standing(need) {
            Standing::Lost(why) => Some(format!("it needs {need}, which {why}")),
            Standing::Met | Standing::Open => None,
        })
    }
}

/// The first layer that this one needs and that is not up.
pub(super) fn unmet_layer<'s>(state: &'s BootState, name: &str) -> Option<&'s str> {
    let layer = state.layer(name).filter(|layer| layer.needing)?;
    let before = layer.after.iter().filter_map(|name| state.layer(name));
    before
        .filter(|layer| layer.status != LayerStatus::Up)
        .map(|layer| layer.name.as_str())
        .next()
}
