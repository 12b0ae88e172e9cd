//! The engine: the only place that performs the boot machine's steps and feeds outcomes back.
//!
//! It keeps no truth of its own: its state is folded from the log, so what another process adds to
//! the log (a worker that closes a mission) reaches a running boot too.

mod aftercare;
mod application;
mod boot;
mod boot_log;
mod clock;
mod door;
mod error;
mod fingerprint;
mod lock;
mod log_watch;
mod look;
mod mark;
mod orphans;
mod plan;
mod recover;
mod reload;
mod report;
mod run;
mod services;
mod settle;
mod signals;
mod start;
#[cfg(test)]
mod tests;
mod verify;
mod work;

pub(crate) use boot::{Boot, BootEnd, Until, is_settled};
pub(crate) use error::EngineError;
pub(crate) use lock::{last_supervisor, supervisor_of};
pub(crate) use recover::end_interrupted;
