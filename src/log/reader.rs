//! stub
use super::{LogError, Recorded};
use crate::domain::boot::BootState;
use crate::domain::health::Health;
use crate::domain::ids::{At, BootId, Digest, MissionId, Seq};
use crate::domain::mission::MissionState;
use serde::Serialize;
use std::path::Path;

/// The log, open for reading.
#[derive(Debug)]
pub struct Reader {
    _p: (),
}

/// Which events are wanted; the default is all.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of this boot.
    pub boot: Option<BootId>,
    /// Of this mission.
    pub mission: Option<MissionId>,
    /// With a greater place than this.
    pub after: Option<Seq>,
    /// Up to and with this place.
    pub until: Option<Seq>,
    /// Up to and with this moment.
    pub until_at: Option<At>,
}

/// One boot in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BootSummary {
    /// Which boot.
    pub boot_id: BootId,
    /// Name of the application.
    pub app: String,
    /// `fast`, `layered`, `resilient`.
    pub mode: String,
    /// Where it stands.
    pub phase: String,
    /// How it ended.
    pub outcome: Option<String>,
    /// The newest decision.
    pub decision: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// Something optional is missing.
    pub degraded: bool,
    /// When it began.
    pub started_at: At,
    /// When the system was first up.
    pub up_at: Option<At>,
    /// When it ended.
    pub ended_at: Option<At>,
    /// Why it stands where it stands.
    pub reason: String,
    /// Its first event.
    pub seq_first: Seq,
    /// Its last event.
    pub seq_last: Seq,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Events looked at.
    pub events: u64,
    /// Events of a kind or version that this program does not know.
    pub opaque: u64,
    /// Chain value of the last event.
    pub head: Digest,
    /// Where the chain breaks or a row is wrong, worst first; empty if all is well.
    pub problems: Vec<String>,
}

/// Size of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogStats {
    /// Events.
    pub events: u64,
    /// Boots.
    pub boots: u64,
    /// Missions.
    pub missions: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Version of the file's layout.
    pub schema_version: u32,
    /// First event.
    pub first_at: Option<At>,
    /// Last event.
    pub last_at: Option<At>,
    /// Events of each kind.
    pub kinds: std::collections::BTreeMap<String, u64>,
}

impl Reader {
    /// Opens an existing log for reading only.
    ///
    /// # Errors
    /// It cannot be.
    pub fn open(_path: &Path) -> Result<Self, LogError> {
        todo!()
    }
    /// Place of the newest event; 0 if there is none.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn head(&self) -> Result<Seq, LogError> {
        todo!()
    }
    /// Events in order.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn events(
        &self,
        _filter: EventFilter,
    ) -> Result<Box<dyn Iterator<Item = Result<Recorded, LogError>> + '_>, LogError> {
        todo!()
    }
    /// The boot's state now.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn boot(&self, _boot: BootId) -> Result<Option<BootState>, LogError> {
        todo!()
    }
    /// The newest boot.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn last_boot(&self) -> Result<Option<BootId>, LogError> {
        todo!()
    }
    /// Boots, newest first, at most `limit`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn boots(&self, _limit: u32) -> Result<Vec<BootSummary>, LogError> {
        todo!()
    }
    /// Boots that have begun and not ended.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn unfinished_boots(&self) -> Result<Vec<(BootId, BootState)>, LogError> {
        todo!()
    }
    /// Missions, oldest first; the closed ones too if `all`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn missions(&self, _all: bool) -> Result<Vec<MissionState>, LogError> {
        todo!()
    }
    /// Missions that are open, and those of them that need a person.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn mission_counts(&self) -> Result<(u64, u64), LogError> {
        todo!()
    }
    /// Health now. `supervisor_alive` is asked whether the newest boot's supervisor still runs.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn health(&self, _alive: impl FnOnce(&BootState) -> bool) -> Result<Health, LogError> {
        todo!()
    }
    /// Health as it was at that moment.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn health_at(&self, _at: At) -> Result<Health, LogError> {
        todo!()
    }
    /// Reads every event and checks the chain and the projections.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn verify(&self) -> Result<Verification, LogError> {
        todo!()
    }
    /// Size of the log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn stats(&self) -> Result<LogStats, LogError> {
        todo!()
    }
}
