//! The event log: one SQLite file that only grows, and the projections derived from it.
//!
//! [`Log`] appends (one writer thread a process, one sync for many appends, any number of
//! processes), [`Reader`] looks without changing anything, [`Replay`] walks a past boot,
//! [`Missions`] is the durable queue. The layout of the file is `schema/NNNN_name.sql`, that of
//! frames is `frame`'s, the tamper-evident chain is `chain`'s.
//!
//! May rely on `domain`. Knows nothing of checks, fixers or the engine.

mod archive;
mod chain;
mod codec;
mod error;
mod events;
mod find;
mod frame;
mod keep;
mod layout;
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
mod tx;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use archive::{ArchiveError, compact};
#[cfg(test)]
pub(crate) use codec::FRAME_BYTES_MAX;
pub(crate) use codec::FRAME_VERSION;
pub use codec::{decode_frame, encode_frame};
pub use error::{LogError, MissionsError};
pub use events::{EventFilter, Events};
pub(crate) use keep::{Kept, KeptBatch, unwritten};
#[cfg(test)]
pub(crate) use layout::{APPLICATION_ID, SCHEMA_VERSION};
pub use queue::Missions;
pub(crate) use queue::{name_apart, read_fixes};
pub use reader::{BootSummary, FixRecord, LogStats, Reader};
pub use record::{Body, NewEvent, Recorded, now};
pub use replay::Replay;
pub(crate) use store::Appending;
pub use store::Log;
pub use tx::Tx;
pub use verify::Verification;
