//! stub
use super::{Log, MissionsError};
use crate::domain::ids::{BootId, MissionId, Signature};
use crate::domain::mission::{MissionCommand, MissionState, MissionStatus};
/// The durable queue of missions.
#[derive(Debug, Clone)]
pub struct Missions {
    log: Log,
    boot: Option<BootId>,
}
/// How one fixer fared with one signature.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FixRecord {
    /// Which fixer.
    pub fixer: String,
    /// Missions that it closed.
    pub closed: u32,
    /// Proposals that did not hold.
    pub rejected: u32,
    /// Fixes that were taken back.
    pub rolled_back: u32,
}
impl Missions {
    /// The queue in this log.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self { log, boot: None }
    }
    /// With events that belong to this boot too.
    #[must_use]
    pub fn in_boot(mut self, boot: BootId) -> Self {
        self.boot = Some(boot);
        let _ = &self.log;
        self
    }
    /// One mission.
    ///
    /// # Errors
    /// No such mission.
    pub fn get(&self, _m: MissionId) -> Result<MissionState, MissionsError> {
        todo!()
    }
    /// Gives a command to a mission; decided and recorded in one transaction.
    ///
    /// # Errors
    /// Refused.
    pub fn command(
        &self,
        _m: MissionId,
        _c: MissionCommand,
    ) -> Result<MissionState, MissionsError> {
        todo!()
    }
    /// Files a mission for a failure, or records that its open mission's failure was seen again.
    ///
    /// # Errors
    /// The log.
    pub fn file(
        &self,
        _s: Signature,
        _f: crate::domain::mission::Failure,
    ) -> Result<MissionState, MissionsError> {
        todo!()
    }
    /// Claims the oldest mission that may be claimed now; `None` if there is none.
    ///
    /// # Errors
    /// The log.
    pub fn claim_next(
        &self,
        _worker: &str,
        _lease_ms: u64,
    ) -> Result<Option<MissionState>, MissionsError> {
        todo!()
    }
    /// Finds a mission by its id, the beginning of it, or its slug.
    ///
    /// # Errors
    /// None, or more than one.
    pub fn find(&self, _name: &str) -> Result<MissionState, MissionsError> {
        todo!()
    }
    /// As [`Missions::find`], among missions that were read already.
    ///
    /// # Errors
    /// None, or more than one.
    pub fn find_in(_states: Vec<MissionState>, _name: &str) -> Result<MissionState, MissionsError> {
        todo!()
    }
    /// Every mission that is not closed, oldest first.
    ///
    /// # Errors
    /// The log.
    pub fn open(&self) -> Result<Vec<MissionState>, MissionsError> {
        todo!()
    }
    /// Missions that stand there.
    ///
    /// # Errors
    /// The log.
    pub fn with_status(&self, _s: MissionStatus) -> Result<Vec<MissionId>, MissionsError> {
        todo!()
    }
    /// What is remembered of fixes for this signature.
    ///
    /// # Errors
    /// The log.
    pub fn fix_memory(&self, _s: &Signature) -> Result<Vec<FixRecord>, MissionsError> {
        todo!()
    }
}
