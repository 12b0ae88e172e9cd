//! The projection tables: how the rows of boots, missions and fix memory are read and written.
//! SQL only; what the rows mean is [`super::projection`]'s.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use uuid::Uuid;

use super::error::LogError;
use crate::domain::boot::BootState;
use crate::domain::ids::{BootId, MissionId, Signature};
use crate::domain::mission::MissionState;

/// A state with the places of its first and its last event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed<S> {
    pub seq_first: u64,
    pub seq_last: u64,
    pub state: S,
}

/// How one fixer fared with one signature. Each proposal counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FixCounts {
    pub closed: u32,
    pub rejected: u32,
    pub rolled_back: u32,
}

/// SQLite's integers are signed; a place never reaches 2^63.
pub(super) fn to_sql(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// The other way; a negative place is nobody's.
pub(super) fn from_sql(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}

/// The bytes of a state: JSON, which names its fields, since a state is whatever the domain makes of
/// it. No version: the projections are rebuilt when their format changes.
fn encode_state(what: &'static str, state: &impl Serialize) -> Result<Vec<u8>, LogError> {
    serde_json::to_vec(state).map_err(|error| LogError::Encode {
        what,
        why: error.to_string(),
    })
}

pub(super) type RowParts = (i64, i64, Vec<u8>);

/// For rows that begin with `seq_first, seq_last, state`.
pub(super) fn parts(row: &Row<'_>) -> rusqlite::Result<RowParts> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// Decodes what [`parts`] gave; `what` names it in the error.
pub(super) fn placed<S: serde::de::DeserializeOwned>(
    path: &Path,
    what: impl FnOnce() -> String,
    (first, last, bytes): RowParts,
) -> Result<Placed<S>, LogError> {
    let state = serde_json::from_slice(&bytes).map_err(|why| LogError::Damaged {
        path: path.to_owned(),
        detail: format!(
            "the projected state of {} cannot be read ({why}), which `ubs log rebuild` mends",
            what()
        ),
    })?;
    Ok(Placed {
        seq_first: from_sql(first),
        seq_last: from_sql(last),
        state,
    })
}

pub(super) fn load_boot(
    conn: &Connection,
    path: &Path,
    boot: BootId,
) -> Result<Option<Placed<BootState>>, LogError> {
    let error = |source| LogError::of(path, source);
    conn.prepare_cached("SELECT seq_first, seq_last, state FROM boots WHERE boot_id = ?1")
        .map_err(error)?
        .query_row([boot.0.as_bytes()], parts)
        .optional()
        .map_err(error)?
        .map(|row| placed(path, || format!("boot {boot}"), row))
        .transpose()
}

/// The boots that have begun and not ended, newest first.
pub(super) fn unfinished_boots(conn: &Connection, path: &Path) -> Result<Vec<BootId>, LogError> {
    let error = |source| LogError::of(path, source);
    let mut statement = conn
        .prepare_cached("SELECT boot_id FROM boots WHERE phase <> 'ended' ORDER BY seq_first DESC")
        .map_err(error)?;
    let rows = statement
        .query_map([], |row| Ok(BootId(Uuid::from_bytes(row.get(0)?))))
        .map_err(error)?;
    rows.collect::<rusqlite::Result<_>>().map_err(error)
}

pub(super) fn load_mission(
    conn: &Connection,
    path: &Path,
    mission: MissionId,
) -> Result<Option<Placed<MissionState>>, LogError> {
    let error = |source| LogError::of(path, source);
    conn.prepare_cached("SELECT seq_first, seq_last, state FROM missions WHERE mission_id = ?1")
        .map_err(error)?
        .query_row([mission.0.as_bytes()], parts)
        .optional()
        .map_err(error)?
        .map(|row| placed(path, || format!("mission {mission}"), row))
        .transpose()
}

/// Missions selected by `condition` over the table's columns, oldest first.
pub(super) fn load_missions(
    conn: &Connection,
    path: &Path,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<MissionState>, LogError> {
    let error = |source| LogError::of(path, source);
    let sql = format!(
        "SELECT seq_first, seq_last, state FROM missions WHERE {condition} ORDER BY seq_first"
    );
    let mut statement = conn.prepare_cached(&sql).map_err(error)?;
    let rows = statement.query_map(values, parts).map_err(error)?;
    rows.map(|row| {
        let row = row.map_err(error)?;
        let first = row.0;
        placed(path, || format!("the mission filed by event {first}"), row).map(|m| m.state)
    })
    .collect()
}

pub(super) fn store_boot(
    conn: &Connection,
    path: &Path,
    boot: BootId,
    row: &Placed<BootState>,
) -> Result<(), LogError> {
    let error = |source| LogError::of(path, source);
    let state = &row.state;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO boots (seq_first, boot_id, seq_last, app, mode, phase, outcome, \
         decision, attempts, degraded, started_at, up_at, ended_at, reason, state) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )
    .map_err(error)?
    .execute(params![
        to_sql(row.seq_first),
        boot.0.as_bytes(),
        to_sql(row.seq_last),
        state.app,
        state.plan.mode.as_str(),
        state.phase.as_str(),
        state.outcome.map(crate::domain::boot::Outcome::as_str),
        state.decision.map(crate::domain::finding::Decision::as_str),
        state.attempt,
        state.degraded,
        state.started_at.0,
        state.up_at.map(|at| at.0),
        state.ended_at.map(|at| at.0),
        state.reason,
        encode_state("boot's state", state)?,
    ])
    .map_err(error)?;
    Ok(())
}

pub(super) fn store_mission(
    conn: &Connection,
    path: &Path,
    mission: MissionId,
    row: &Placed<MissionState>,
) -> Result<(), LogError> {
    let error = |source| LogError::of(path, source);
    let state = &row.state;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO missions (seq_first, mission_id, seq_last, slug, signature, status, \
         filed_at, updated_at, not_before, lease_until, state) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )
    .map_err(error)?
    .execute(params![
        to_sql(row.seq_first),
        mission.0.as_bytes(),
        to_sql(row.seq_last),
        state.slug,
        state.signature.as_ref().map_or("", |s| s.0.as_str()),
        state.status.as_str(),
        state.filed_at.0,
        state.updated_at.0,
        state.not_before.0,
        state.lease.as_ref().map(|lease| lease.until.0),
        encode_state("mission's state", state)?,
    ])
    .map_err(error)?;
    Ok(())
}

/// Adds to what is remembered of one fixer and one signature.
pub(super) fn add_fix_counts(
    conn: &Connection,
    path: &Path,
    signature: &Signature,
    fixer: &str,
    counts: FixCounts,
) -> Result<(), LogError> {
    let error = |source| LogError::of(path, source);
    conn.prepare_cached(
        "INSERT INTO fix_memory (signature, fixer, closed, rejected, rolled_back) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET closed = closed + excluded.closed, \
         rejected = rejected + excluded.rejected, rolled_back = rolled_back + excluded.rolled_back",
    )
    .map_err(error)?
    .execute(params![
        signature.0,
        fixer,
        counts.closed,
        counts.rejected,
        counts.rolled_back
    ])
    .map_err(error)?;
    Ok(())
}

/// Empties every projection.
pub(super) fn clear(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("DELETE FROM boots; DELETE FROM missions; DELETE FROM fix_memory;")
}
