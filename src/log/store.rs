//! stub
use super::{LogError, Reader};
use crate::domain::boot::BootState;
use crate::domain::event::Event;
use crate::domain::ids::{At, BootId, Digest, EventId, MissionId, Seq, Signature};
use crate::domain::mission::MissionState;
use std::path::{Path, PathBuf};

/// Now, by the system's clock.
#[must_use]
pub fn now() -> At {
    At(chrono::Utc::now().timestamp_micros())
}

/// An event to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// When it happened.
    pub at: At,
    /// The boot it belongs to.
    pub boot: Option<BootId>,
    /// The mission it belongs to.
    pub mission: Option<MissionId>,
    /// What happened.
    pub event: Event,
}

/// What an event says, as far as this version understands it.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Understood.
    Known(Box<Event>),
    /// A kind or version that this program does not know: kept and shown as it is.
    Opaque {
        /// Why it could not be read.
        why: String,
        /// The frame.
        payload: Vec<u8>,
    },
}

/// One event of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its place.
    pub seq: Seq,
    /// Its id.
    pub id: EventId,
    /// The boot it belongs to.
    pub boot: Option<BootId>,
    /// The mission it belongs to.
    pub mission: Option<MissionId>,
    /// Its kind, `boot_started`.
    pub kind: String,
    /// Version of the payload.
    pub version: u16,
    /// When it happened.
    pub at: At,
    /// What it says.
    pub body: Body,
    /// The chain value.
    pub chain: Digest,
}

impl Recorded {
    /// The event, if this version understands it.
    #[must_use]
    pub fn event(&self) -> Option<&Event> {
        match &self.body {
            Body::Known(event) => Some(event),
            Body::Opaque { .. } => None,
        }
    }
}

/// The log, open for writing. Cheap to clone; all clones share one writer thread.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
}

/// Inside one write transaction.
#[derive(Debug)]
pub struct Tx<'a> {
    _x: &'a (),
}

impl Log {
    /// Opens the log, making it if it does not exist.
    ///
    /// # Errors
    /// It cannot be.
    pub fn open(_path: &Path) -> Result<Self, LogError> {
        todo!()
    }
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Appends events; durable when this returns.
    ///
    /// # Errors
    /// None of them was appended.
    pub fn append(&self, _events: Vec<NewEvent>) -> Result<Vec<Seq>, LogError> {
        todo!()
    }
    /// Runs `work` inside one write transaction: all its events or none. Rolled back if it gives `Err`.
    ///
    /// # Errors
    /// The outer error: the transaction could not be made or committed.
    pub fn transact<T: Send + 'static, E: Send + 'static>(
        &self,
        _work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, LogError> {
        todo!()
    }
    /// A reader of the same file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn reader(&self) -> Result<Reader, LogError> {
        Reader::open(&self.path)
    }
    /// Rebuilds every projection from the events; gives the number of events folded.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn rebuild(&self) -> Result<u64, LogError> {
        todo!()
    }
}

impl Tx<'_> {
    /// The boot as this transaction sees it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn boot(&mut self, _boot: BootId) -> Result<Option<BootState>, LogError> {
        todo!()
    }
    /// The mission as this transaction sees it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn mission(&mut self, _mission: MissionId) -> Result<Option<MissionState>, LogError> {
        todo!()
    }
    /// The mission with that signature that is not closed.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn open_mission_by_signature(
        &mut self,
        _s: &Signature,
    ) -> Result<Option<MissionState>, LogError> {
        todo!()
    }
    /// Every mission that is not closed, oldest first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn missions_open(&mut self) -> Result<Vec<MissionState>, LogError> {
        todo!()
    }
    /// Appends one event.
    ///
    /// # Errors
    /// It was not appended.
    pub fn append(&mut self, _event: NewEvent) -> Result<Seq, LogError> {
        todo!()
    }
}
