//! Events of a log, filtered and in order, for whoever walks through them.

use std::collections::VecDeque;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use uuid::Uuid;

use super::error::LogError;
use super::record::Recorded;
use super::row::{COLUMNS, RawEvent};
use crate::domain::ids::{At, BootId, MissionId, Seq};

/// Rows that are read at once.
const PAGE_ROWS: usize = 256;

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

/// Events in order, read page by page; made by [`super::Reader::events`].
///
/// Each page is one query, so a long walk holds no snapshot and keeps no writer's WAL from being
/// recycled. Rows are never changed or removed, so the pages fit together.
#[derive(Debug)]
pub struct Events<'a> {
    conn: &'a Connection,
    path: &'a Path,
    filter: EventFilter,
    page: VecDeque<Recorded>,
    exhausted: bool,
}

impl<'a> Events<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        path: &'a Path,
        filter: EventFilter,
    ) -> Result<Self, LogError> {
        let mut events = Self {
            conn,
            path,
            filter,
            page: VecDeque::new(),
            exhausted: false,
        };
        events.read_page()?;
        Ok(events)
    }

    fn read_page(&mut self) -> Result<(), LogError> {
        let (sql, values) = query_of(&self.filter);
        let error = |source| LogError::of(self.path, source);
        let mut statement = self.conn.prepare_cached(&sql).map_err(error)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(error)?;
        while let Some(row) = rows.next().map_err(error)? {
            let raw = RawEvent::of_row(row).map_err(error)?;
            let raw = raw.map_err(|malformed| LogError::Damaged {
                path: self.path.to_owned(),
                detail: malformed.to_string(),
            })?;
            self.filter.after = Some(Seq(raw.seq));
            self.page.push_back(raw.to_recorded());
        }
        self.exhausted = self.page.len() < PAGE_ROWS;
        Ok(())
    }
}

impl Iterator for Events<'_> {
    type Item = Result<Recorded, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.exhausted
            && let Err(error) = self.read_page()
        {
            self.exhausted = true;
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}

/// The statement and its values. The index is named, because without statistics SQLite would guess.
fn query_of(filter: &EventFilter) -> (String, Vec<Value>) {
    let bound = |seq: Seq| Value::Integer(i64::try_from(seq.0).unwrap_or(i64::MAX));
    let index = match (filter.mission, filter.boot) {
        (Some(_), _) => "INDEXED BY events_of_mission",
        (None, Some(_)) => "INDEXED BY events_of_boot",
        (None, None) => "NOT INDEXED",
    };
    let mut sql = format!("SELECT {COLUMNS} FROM events {index} WHERE seq > ?");
    let mut values = vec![bound(filter.after.unwrap_or_default())];
    let mut also = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value);
        }
    };
    let blob = |id: Uuid| Value::Blob(id.as_bytes().to_vec());
    also(" AND seq <= ?", filter.until.map(bound));
    also(" AND boot_id = ?", filter.boot.map(|id| blob(id.0)));
    also(" AND mission_id = ?", filter.mission.map(|id| blob(id.0)));
    also(
        " AND at <= ?",
        filter.until_at.map(|at| Value::Integer(at.0)),
    );
    sql.push_str(&format!(" ORDER BY seq LIMIT {PAGE_ROWS}"));
    (sql, values)
}
