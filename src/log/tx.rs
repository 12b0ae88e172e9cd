//! One write transaction: what the work inside it sees and appends.

use rusqlite::OptionalExtension;

use super::error::LogError;
use super::ledger::{Ledger, Prepared};
use super::record::NewEvent;
use super::tables;
use crate::domain::boot::BootState;
use crate::domain::ids::{At, BootId, MissionId, Seq, Signature};
use crate::domain::mission::MissionState;

/// Inside one write transaction.
#[derive(Debug)]
pub struct Tx<'a> {
    pub(super) ledger: &'a mut Ledger,
    /// An append failed.
    pub(super) incomplete: bool,
}

impl<'a> Tx<'a> {
    pub(super) fn new(ledger: &'a mut Ledger) -> Self {
        Self {
            ledger,
            incomplete: false,
        }
    }

    /// The boot as this transaction sees it; `None` if it has not begun.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn boot(&mut self, boot: BootId) -> Result<Option<BootState>, LogError> {
        self.ledger
            .read(|projector, conn, path| projector.boot(conn, path, boot))
    }

    /// The mission as this transaction sees it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn mission(&mut self, mission: MissionId) -> Result<Option<MissionState>, LogError> {
        self.ledger
            .read(|projector, conn, path| projector.mission(conn, path, mission))
    }

    /// The mission with that signature that is not closed.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn open_mission_by_signature(
        &mut self,
        signature: &Signature,
    ) -> Result<Option<MissionState>, LogError> {
        let condition = "signature = ?1 AND status <> 'closed'";
        let open = self.missions_where(condition, [&signature.0])?;
        Ok(open.into_iter().next())
    }

    /// Every mission that is not closed, oldest first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn missions_open(&mut self) -> Result<Vec<MissionState>, LogError> {
        self.missions_where("status <> 'closed'", [])
    }

    /// The running boot that filed or met the mission, so that what happens to it reaches that boot.
    pub(super) fn boot_concerned(
        &mut self,
        mission: MissionId,
    ) -> Result<Option<BootId>, LogError> {
        self.ledger.flush()?;
        let running = self
            .ledger
            .read(|_, conn, path| tables::unfinished_boots(conn, path))?;
        for boot in running {
            let met = self
                .boot(boot)?
                .is_some_and(|state| state.missions.iter().any(|known| known.id == mission));
            if met {
                return Ok(Some(boot));
            }
        }
        Ok(None)
    }

    /// When the mission was last claimed.
    pub(super) fn last_claimed_at(&mut self, mission: MissionId) -> Result<Option<At>, LogError> {
        self.ledger.flush()?;
        self.ledger.read(|_, conn, path| {
            let sql = "SELECT at FROM events WHERE mission_id = ?1 AND kind = 'mission_claimed' \
                 ORDER BY seq DESC LIMIT 1";
            let found = conn.query_row(sql, [mission.0.as_bytes()], |row| row.get(0).map(At));
            found.optional().map_err(|error| LogError::of(path, error))
        })
    }

    /// Missions selected by the table's columns, oldest first.
    pub(super) fn missions_where(
        &mut self,
        condition: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<MissionState>, LogError> {
        self.ledger.flush()?;
        self.ledger
            .read(|_, conn, path| tables::load_missions(conn, path, condition, values))
    }

    /// Appends one event.
    ///
    /// # Errors
    /// It was not appended; the transaction is rolled back, whatever the work gives.
    pub fn append(&mut self, event: NewEvent) -> Result<Seq, LogError> {
        let appended = Prepared::new(event).and_then(|event| self.ledger.insert(&event));
        self.incomplete |= appended.is_err();
        appended
    }
}
