//! A decision in the making: the events so far, and the state that they lead to.

use super::command::BootRefusal;
use super::evolve::evolve;
use super::state::{BootState, LayerState};
use crate::domain::event::Event;
use crate::domain::service::{Context, ServiceState};

/// Collects events and keeps the state that they lead to.
pub(super) struct BootDraft {
    pub state: BootState,
    pub events: Vec<Event>,
    pub context: Context,
}

impl BootDraft {
    pub(super) fn of(state: &BootState, context: Context) -> Self {
        Self {
            state: state.clone(),
            events: Vec::new(),
            context,
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        let state = std::mem::take(&mut self.state);
        self.state = evolve(state, self.context.at, None, &event);
        self.events.push(event);
    }

    /// Forgets all but the first `kept` events, which `from` leads from.
    pub(super) fn go_back(&mut self, from: &BootState, kept: usize) {
        self.events.truncate(kept);
        self.state = self.events.iter().fold(from.clone(), |state, event| {
            evolve(state, self.context.at, None, event)
        });
    }
}

pub(super) fn late(state: &BootState, what: &'static str) -> BootRefusal {
    BootRefusal::Late {
        what,
        phase: state.phase.as_str(),
    }
}

pub(super) fn find_service<'a>(
    state: &'a BootState,
    name: &str,
) -> Result<(&'a LayerState, &'a ServiceState), BootRefusal> {
    state.service(name).ok_or_else(|| BootRefusal::Unknown {
        what: "service",
        name: name.to_owned(),
    })
}
