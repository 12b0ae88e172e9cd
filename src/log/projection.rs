//! Projections: what the events add up to. Folded by the domain's own `evolve`, so live, replayed and
//! rebuilt states are the same bytes.
//!
//! A boot exists from its `boot_started` on, a mission from its `mission_filed`; events that name one
//! which does not exist change nothing, and neither do opaque ones. States are kept decoded between
//! commits and written once a commit, however many events changed them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rusqlite::Connection;

use super::error::LogError;
use super::layout::PROJECTION_FORMAT;
use super::record::mission_of;
use super::row::{self, RawEvent};
use super::tables::{self, FixCounts, Placed};
use crate::domain::boot::{self, BootState};
use crate::domain::event::Event;
use crate::domain::ids::{At, BootId, MissionId, Signature};
use crate::domain::mission::{self, MissionState, MissionStatus};

/// Decoded states kept; beyond it all are written out and dropped.
const BOOTS_KEPT_MAX: usize = 16;
const MISSIONS_KEPT_MAX: usize = 256;

#[derive(Debug)]
struct Kept<S> {
    /// `None`: there is no such boot or mission.
    row: Option<Placed<S>>,
    dirty: bool,
}

/// Folds events, and keeps the states that it folds into.
#[derive(Debug, Default)]
pub(super) struct Projector {
    boots: HashMap<BootId, Kept<BootState>>,
    missions: HashMap<MissionId, Kept<MissionState>>,
    /// Not yet added to the table.
    memory: BTreeMap<(Signature, String), FixCounts>,
    dirty: bool,
}

/// What one event does to a mission's fixer, seen from the state before it.
fn judge_fixer(before: &MissionState, event: &Event) -> Option<(Signature, String, FixCounts)> {
    use MissionStatus as S;
    let mut counts = FixCounts::default();
    match (event, before.status) {
        (Event::MissionClosed { .. }, S::Applied) => counts.closed = 1,
        // A rejection follows a roll-back too; that proposal is counted already. And a claimed
        // mission carries its last proposal, which is not the one that is declined.
        (
            Event::FixRejected { .. },
            S::Proposed | S::Verified | S::AwaitingApproval | S::Promoting,
        ) => counts.rejected = 1,
        (Event::FixRolledBack { .. } | Event::FixUndone { .. }, S::Applied | S::Closed) => {
            counts.rolled_back = 1;
        }
        _ => return None,
    }
    let signature = before.signature.clone()?;
    let fixer = before.proposal.as_ref()?.fixer.clone();
    Some((signature, fixer, counts))
}

impl Projector {
    /// Reads the states that the event may change, so that [`Self::apply`] cannot fail.
    pub(super) fn load(
        &mut self,
        conn: &Connection,
        path: &Path,
        boot: Option<BootId>,
        mission: Option<MissionId>,
    ) -> Result<(), LogError> {
        if let Some(boot) = boot
            && !self.boots.contains_key(&boot)
        {
            if self.boots.len() >= BOOTS_KEPT_MAX {
                self.flush(conn, path)?;
                self.boots.clear();
            }
            let row = tables::load_boot(conn, path, boot)?;
            self.boots.insert(boot, Kept { row, dirty: false });
        }
        if let Some(mission) = mission
            && !self.missions.contains_key(&mission)
        {
            if self.missions.len() >= MISSIONS_KEPT_MAX {
                self.flush(conn, path)?;
                self.missions.clear();
            }
            let row = tables::load_mission(conn, path, mission)?;
            self.missions.insert(mission, Kept { row, dirty: false });
        }
        Ok(())
    }

    /// Folds an event whose boot and mission are loaded.
    pub(super) fn apply(
        &mut self,
        seq: u64,
        at: At,
        boot: Option<BootId>,
        mission: Option<MissionId>,
        event: &Event,
    ) {
        if let Some(kept) = boot.and_then(|boot| self.boots.get_mut(&boot)) {
            let begins = matches!(event, Event::BootStarted { .. });
            if begins || kept.row.is_some() {
                let (first, state) = match kept.row.take() {
                    Some(row) => (row.seq_first, row.state),
                    None => (seq, BootState::default()),
                };
                kept.row = Some(Placed {
                    seq_first: first,
                    seq_last: seq,
                    state: boot::evolve(state, at, mission, event),
                });
                kept.dirty = true;
                self.dirty = true;
            }
        }
        if !event.is_of_mission() {
            return;
        }
        let Some(kept) = mission.and_then(|mission| self.missions.get_mut(&mission)) else {
            return;
        };
        let begins = matches!(event, Event::MissionFiled { .. });
        if !begins && kept.row.is_none() {
            return;
        }
        let (first, state) = match kept.row.take() {
            Some(row) => (row.seq_first, row.state),
            None => (seq, MissionState::default()),
        };
        if let Some((signature, fixer, counts)) = judge_fixer(&state, event) {
            let known = self.memory.entry((signature, fixer)).or_default();
            known.closed += counts.closed;
            known.rejected += counts.rejected;
            known.rolled_back += counts.rolled_back;
        }
        kept.row = Some(Placed {
            seq_first: first,
            seq_last: seq,
            state: mission::evolve(state, at, boot, event),
        });
        kept.dirty = true;
        self.dirty = true;
    }

    /// [`Self::load`] and [`Self::apply`] for a row that was read.
    pub(super) fn fold(
        &mut self,
        conn: &Connection,
        path: &Path,
        raw: &RawEvent<'_>,
        event: &Event,
    ) -> Result<(), LogError> {
        let (boot, mission) = (raw.boot_id(), mission_of(raw.mission_id(), event));
        if boot.is_none() && mission.is_none() {
            return Ok(());
        }
        self.load(conn, path, boot, mission)?;
        self.apply(raw.seq, At(raw.at), boot, mission, event);
        Ok(())
    }

    /// Writes what changed.
    pub(super) fn flush(&mut self, conn: &Connection, path: &Path) -> Result<(), LogError> {
        if !self.dirty {
            return Ok(());
        }
        for (id, kept) in self.boots.iter_mut().filter(|(_, kept)| kept.dirty) {
            if let Some(row) = &kept.row {
                tables::store_boot(conn, path, *id, row)?;
            }
            kept.dirty = false;
        }
        for (id, kept) in self.missions.iter_mut().filter(|(_, kept)| kept.dirty) {
            if let Some(row) = &kept.row {
                tables::store_mission(conn, path, *id, row)?;
            }
            kept.dirty = false;
        }
        for ((signature, fixer), counts) in std::mem::take(&mut self.memory) {
            tables::add_fix_counts(conn, path, &signature, &fixer, counts)?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Forgets everything that is not written: the file is the truth.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn boot(
        &mut self,
        conn: &Connection,
        path: &Path,
        boot: BootId,
    ) -> Result<Option<BootState>, LogError> {
        self.load(conn, path, Some(boot), None)?;
        let row = self.boots.get(&boot).and_then(|kept| kept.row.as_ref());
        Ok(row.map(|row| row.state.clone()))
    }

    pub(super) fn mission(
        &mut self,
        conn: &Connection,
        path: &Path,
        mission: MissionId,
    ) -> Result<Option<MissionState>, LogError> {
        self.load(conn, path, None, Some(mission))?;
        let row = self
            .missions
            .get(&mission)
            .and_then(|kept| kept.row.as_ref());
        Ok(row.map(|row| row.state.clone()))
    }
}

/// Makes every projection anew from the events that `conn` sees, inside its present transaction.
/// Gives the number of events.
pub(super) fn rebuild(conn: &Connection, path: &Path) -> Result<u64, LogError> {
    let error = |source| LogError::of(path, source);
    tables::clear(conn).map_err(error)?;
    let mut projector = Projector::default();
    let mut events = 0;
    row::scan(conn, 0, error, |row| {
        let raw = row.map_err(|malformed| LogError::Damaged {
            path: path.to_owned(),
            detail: malformed.to_string(),
        })?;
        events += 1;
        match raw.decode() {
            Ok(event) => projector.fold(conn, path, &raw, &event),
            Err(_) => Ok(()),
        }
    })?;
    projector.flush(conn, path)?;
    conn.execute(
        "UPDATE head SET projection_format = ?1",
        [PROJECTION_FORMAT],
    )
    .map_err(error)?;
    Ok(events)
}
