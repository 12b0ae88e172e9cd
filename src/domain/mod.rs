//! The machines: events, boot, mission, findings, health.
//!
//! Pure: no I/O, no clock, no randomness, no async. Moments, ids and random numbers come in as
//! data, so the same functions run live, in replay, in recovery after a crash and in tests.

pub mod backoff;
pub mod boot;
pub mod code;
pub mod event;
pub mod finding;
pub mod health;
pub mod ids;
pub mod mission;
pub mod redact;
pub mod remedy;
pub mod signature;
pub(crate) mod words;
