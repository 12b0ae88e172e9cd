//! The door of a running supervisor: HTTP/1 and JSON on `.ubs/control.sock` and, if the manifest asks for it, over TCP;
//! its server and its client.
//!
//! May rely on `domain`, `kernel` (what processes use) and `log`. Knows nothing of the engine: a request becomes an [`Ask`] on a channel, and
//! the engine's loop answers it from its own state. Meant for one tokio current-thread runtime with local tasks.

mod answer;
mod ask;
mod client;
mod command;
mod events;
mod gate;
mod logs;
mod metrics;
mod missions;
mod patience;
mod peer;
mod query;
mod routes;
mod server;
mod service_log;
mod socket;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use ask::{
    Ask, Refused, ReloadWanted, Reloaded, SignalWanted, Snapshot, Steer, Steered,
};
pub(crate) use client::{Client, ClientError, Reply, poke};
pub(crate) use gate::Tcp;
pub(crate) use server::{Door, Place};
pub(crate) use service_log::{Entry, ServiceLog, names_in};
pub(crate) use view::{CurrentBoot, service_json, unready_reasons};
