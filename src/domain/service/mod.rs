//! One service: its process, its readiness, its ends and restarts, as a state machine.
//!
//! [`decide()`] turns what happened to it into events or refuses it, [`evolve()`] folds an event into its state,
//! [`next()`] says what to do with its process now, [`judge()`] says what it is to a service that needs it. Pure,
//! like the boot, which is made of these.
//!
//! ```text
//! Pending ─► Starting ─► Ready ◄─► Unready     (a one-shot: Starting ─► Done)
//!    │  ▲       │           │         │
//!    ▼  │       └───────────┴────┬────┘
//! Skipped            ┌───────────┼──────────┐
//!                    ▼           ▼          ▼
//!            Restarting (waits)  Failed   Done, Stopped
//! ```

mod decide;
mod evolve;
mod needs;
mod next;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use decide::{Context, Late, Report, Surroundings, decide};
pub(crate) use evolve::evolve;
pub(crate) use needs::{Standing, judge};
pub(crate) use next::{ProcessStep, next};
pub use state::{ServiceState, ServiceStatus};
