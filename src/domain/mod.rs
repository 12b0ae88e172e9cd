//! The machines: events, boot, mission, findings, health.
//!
//! Pure: no I/O, no clock, no randomness, no async. Moments, ids and random numbers come in as
//! data, so the same functions run live, in replay, in recovery after a crash and in tests.

pub(crate) mod backoff;
pub(crate) mod boot;
pub(crate) mod code;
pub(crate) mod event;
pub(crate) mod finding;
pub(crate) mod fingerprint;
pub(crate) mod healing;
pub(crate) mod health;
pub(crate) mod ids;
pub(crate) mod mission;
pub(crate) mod output;
pub(crate) mod plan;
pub(crate) mod probes;
pub(crate) mod process;
pub(crate) mod redact;
pub(crate) mod remedy;
pub(crate) mod service;
pub(crate) mod severity;
pub(crate) mod signature;
pub(crate) mod words;
