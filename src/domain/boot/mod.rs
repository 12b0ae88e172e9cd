//! The boot: one attempt series to bring an application up, as a state machine.
//!
//! [`decide()`] turns what the engine reports into events or refuses it, [`evolve()`] folds an event
//! into the state, [`next()`] says what the engine has to do now. Pure, so the same three functions
//! run live, in replay, in recovery after a crash and in the property tests.
//!
//! ```text
//! New ─► Preflight ─► Settling ─► Starting ─► Running ─► Stopping ─► Ended
//!           ▲            │            │          │           │
//!           │            ▼            └──────────┴─ critical layer failed
//!       BackingOff ◄─ Healing ◄─────────── Settling ◄────────┘
//! ```

mod attempt;
mod clock;
mod command;
mod decide;
mod draft;
mod evolve;
mod failures;
mod held;
mod layers;
mod needs;
mod next;
mod plan_change;
mod probation;
mod proof;
mod refresh;
mod replan;
mod state;
mod steer;
#[cfg(test)]
mod tests;

pub(crate) use crate::domain::service::Context;
pub use crate::domain::service::{ServiceState, ServiceStatus};
pub(crate) use command::{BootCommand, BootRefusal, PlanChange, ValidationPlan};
pub(crate) use decide::{decide, decide_each};
pub(crate) use evolve::evolve;
pub(crate) use failures::{closable, open_failures, regressed_checks};
pub(crate) use needs::Roster;
pub(crate) use next::{Step, next};
pub(crate) use probation::{came_back, healthy_ms, is_healthy, suspect};
pub(crate) use proof::shown_running;
pub(crate) use refresh::{affected, due, is_on_its_way, named, only_restarts, runs_with};
pub use state::{
    AfterStop, BootMission, BootState, LayerFailure, LayerState, LayerStatus, Outcome, Phase,
};
