//! The event log: one SQLite file that only grows, and the projections derived from it.
//!
//! May rely on `domain`. Knows nothing of checks, fixers or the engine.

mod error;
mod missions;
mod reader;
mod replay;
mod store;

pub use error::{LogError, MissionsError};
pub use missions::{FixRecord, Missions};
pub use reader::{BootSummary, EventFilter, LogStats, Reader, Verification};
pub use replay::Replay;
pub use store::{Body, Log, NewEvent, Recorded, Tx, now};
