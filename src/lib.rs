//! Unbreakable Boot System: checks an application before it boots, boots it layer by layer, heals
//! what fails, and remembers everything as events in one SQLite log.
//!
//! The library is for programs that look back, ask for health, or fix missions:
//!
//! - [`log::Log`] and [`log::Reader`]: the event log and its projections;
//! - [`log::Replay`]: a past boot, event by event, with the state after each;
//! - [`domain::health::Health`]: the health projection, also of a past moment;
//! - [`log::Missions`] and [`fix::Worker`]: the durable queue, and the worker that tries a proposal
//!   in a sandbox and promotes what holds.
//!
//! `examples/` has one short program for each. The direction of imports is
//! `manifest → domain → log → checks, sandbox, supervise → fix → engine → cli`; `source` stands beside
//! `manifest`: it imports nothing of the rest but how names of secrets sound.

pub mod checks;
pub mod cli;
pub(crate) mod database;
pub mod domain;
pub mod engine;
pub mod fix;
pub mod init;
pub mod kernel;
pub mod log;
pub mod manifest;
pub mod sandbox;
pub mod source;
pub mod supervise;
#[doc(hidden)]
pub mod testing;
