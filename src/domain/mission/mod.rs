//! The mission: a durable work order for one failure, as a state machine.
//!
//! Life: filed → claimed (lease) → proposed → verified → (approved) → promoting → applied → closed.
//! A rejected proposal is retried with back-off until the mission is quarantined, which means that it
//! needs a person.
//!
//! `order` is the data that a mission carries, `state` where it stands, `command` what may be asked of
//! it, `machine` the rules.

mod command;
mod machine;
pub mod order;
mod state;

pub use command::{LEASE_MS_MAX, MissionCommand, MissionRefusal};
pub use machine::{
    MISSION_ATTEMPTS_MAX, REJECTION_BACKOFF_MS, REJECTION_BACKOFF_MS_MAX, decide, evolve,
    rejection_backoff_ms,
};
pub use order::{Change, Failure, MigrationTool, Proposal, Risk, SignedFailure, group_failures};
pub use state::{Lease, MissionState, MissionStatus};
