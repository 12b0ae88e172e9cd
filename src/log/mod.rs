//! The event log: one SQLite file that only grows, and the projections derived from it.
//!
//! [`Log`] appends (one writer thread a process, one sync for many appends, any number of
//! processes), [`Reader`] looks without changing anything, [`Replay`] walks a past boot,
//! [`Missions`] is the durable queue. The layout is `schema/NNNN_name.sql`, frames are
//! `codec`'s, the tamper-evident chain is `chain`'s.
//!
//! May rely on `domain`. Knows nothing of checks, fixers or the engine.

mod chain;
mod codec;
mod error;
mod frame;
mod handoff;
mod ledger;
mod migrate;
mod projection;
mod queue;
mod reader;
mod record;
mod replay;
mod row;
mod store;
mod tables;
mod verify;

#[cfg(test)]
mod tests;

pub use codec::{FRAME_BYTES_MAX, FRAME_VERSION, decode_frame, encode_frame};
pub use error::{LogError, MissionsError};
pub use migrate::{APPLICATION_ID, BUSY_TIMEOUT, SCHEMA_VERSION};
pub use queue::{FixRecord, Missions};
pub use reader::{BootSummary, EventFilter, LogStats, Reader};
pub use record::{Body, NewEvent, Recorded, now};
pub use replay::Replay;
pub use row::Events;
pub use store::{Log, Tx};
pub use verify::Verification;
