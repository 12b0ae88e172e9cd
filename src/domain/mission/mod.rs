//! The mission: a durable work order for one failure, as a state machine.
//!
//! Life: filed → claimed (lease) → proposed → verified → (approved) → promoting → applied → closed.
//! A rejected proposal is retried with back-off until the mission is quarantined, which means that it
//! needs a person.
//!
//! `order` is the data that a mission carries, `gather` how findings become failures, `state` where it stands,
//! `command` what may be asked of it, `machine` the rules, `fix` what became of the fixes that were applied.

mod command;
mod fix;
mod gather;
mod machine;
pub(crate) mod order;
mod state;

pub(crate) use command::LEASE_MS_MAX;
pub use command::{MissionCommand, MissionRefusal};
pub(crate) use fix::{Fix, FixFold, FixStatus};
pub(crate) use gather::group_failures;
#[cfg(test)]
pub(crate) use machine::MISSION_ATTEMPTS_MAX;
pub(crate) use machine::{decide, evolve};
pub use order::{Change, Failure, Proposal, Risk, SignedFailure};
pub use state::{Lease, MissionState, MissionStatus};
