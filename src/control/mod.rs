//! The door of a running supervisor: HTTP/1 and JSON on `.ubs/control.sock`, its server and its client.
//!
//! May rely on `domain` and `log`. Knows nothing of the engine: a request becomes an [`Ask`] on a channel, and
//! the engine's loop answers it from its own state. Meant for one tokio current-thread runtime with local tasks.

mod ask;
mod client;
mod events;
mod metrics;
mod peer;
mod routes;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use ask::{Ask, Refused, Snapshot, Steer, Steered};
pub(crate) use client::{Client, ClientError, Reply, poke};
pub(crate) use server::{Door, Place};
pub(crate) use view::{CurrentBoot, service_json, unready_reasons};
