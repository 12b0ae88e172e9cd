//! Runs services: starts, watches, probes and stops processes, and keeps what they print.
//!
//! May rely on `kernel` and the plain types of `manifest` and `domain`. Decides nothing: when to restart
//! and what a failure means is the boot's business. Meant for one tokio current-thread runtime with I/O
//! and time enabled; polls nothing.

mod attribution;
mod command;
mod failure;
mod group;
mod notify;
mod output;
mod ping;
mod probe;
mod process;
#[cfg(test)]
mod tests;

pub(crate) use attribution::{ports_asked, why_not_attributed};
pub(crate) use command::ask_to_end;
pub(crate) use output::{Onlooker, rotate_logs};
pub(crate) use ping::Ping;
pub(crate) use probe::{Asked, Readiness, await_ready, fetch, fetch_up_to, probe_once};
pub(crate) use process::{RunningService, ServiceSpec, Signs, spawn};
