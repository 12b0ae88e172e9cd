//! The write connection, and what is known of the file without reading it again.
//!
//! What one part of a transaction does wrong is rolled back alone. After anything that failed the
//! states kept in memory are forgotten, because the file is the truth.
//!
//! Where the log ends is what its last row says. The row of `head` is an anchor beside it, which
//! shows that the end was cut off; to update it in every commit would be one more page to log and to
//! sync. So it follows: when the writer had nothing to do for [`ANCHOR_IDLE`], when it ends, in
//! every [`ANCHOR_COMMITS_MAX`]th commit, and in a rebuild. What that leaves open is said in
//! `schema/README.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Row, params};
use uuid::{NoContext, Timestamp, Uuid};

use super::error::LogError;
use super::layout::{BUSY_TIMEOUT, PROJECTION_FORMAT};
use super::projection::{self, Projector};
use super::record::{NewEvent, mission_of};
use super::row::RawEvent;
use super::tables::{from_sql, to_sql};
use super::{chain, codec};
use crate::domain::event::Event;
use crate::domain::ids::{At, BootId, Digest, MissionId, Seq};
use crate::kernel::crash_point_at_event;

/// The anchor follows when the writer had nothing to do for this long.
pub(super) const ANCHOR_IDLE: Duration = Duration::from_millis(50);
/// A writer that is never idle writes the anchor in every commit of this number.
pub(super) const ANCHOR_COMMITS_MAX: u32 = 1_024;
/// The write-ahead log is copied into the file when the writer had nothing to do for this long, so that
/// the file alone is near the truth.
pub(super) const CHECKPOINT_IDLE: Duration = Duration::from_secs(1);
/// How long writing the anchor waits for another process. Whoever writes meanwhile will write the
/// anchor too, and nobody should have to wait for this one.
const ANCHOR_BUSY: Duration = Duration::from_millis(100);

/// A UUIDv7 of that moment. The order of events is that of their places, so ids need no context that
/// keeps them ascending.
fn event_id(at: At) -> Uuid {
    let seconds = u64::try_from(at.0.div_euclid(1_000_000)).unwrap_or(0);
    // Under 10^9, as the remainder is under 10^6.
    let nanos = u32::try_from(at.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, nanos))
}

/// An event with everything that can be made before the transaction, on the thread that appends.
#[derive(Debug)]
pub(super) struct Prepared {
    id: Uuid,
    at: At,
    boot: Option<BootId>,
    mission: Option<MissionId>,
    frame: Vec<u8>,
    event: Event,
}

impl Prepared {
    pub(super) fn new(new: NewEvent) -> Result<Self, LogError> {
        Ok(Self {
            id: event_id(new.at),
            at: new.at,
            boot: new.boot,
            mission: mission_of(new.mission, &new.event),
            frame: codec::encode_frame(&new.event)?,
            event: new.event,
        })
    }
}

/// An event's place and chain value: where the log ends, or where the anchor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    seq: u64,
    chain: Digest,
}

impl Head {
    /// Before the first event.
    fn genesis() -> Self {
        Self {
            seq: 0,
            chain: *chain::GENESIS,
        }
    }

    /// From two columns, the first of which is `at`.
    fn of_row(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: from_sql(row.get(at)?),
            chain: Digest(row.get(at + 1)?),
        })
    }
}

/// What the file says at the beginning of a transaction.
struct FileState {
    last: Head,
    anchor: Head,
    projection_format: i64,
}

/// What undoing a part of a transaction gives back.
#[derive(Clone, Copy)]
pub(super) struct Part {
    head: Head,
    wrote: bool,
    anchoring: Option<Head>,
}

/// The write connection, and what is known of the file without reading it again.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) conn: Connection,
    path: PathBuf,
    /// The end of the log, as the present transaction has it.
    head: Head,
    /// The same, as the last transaction that was committed left it.
    committed: Head,
    /// The anchor in the file.
    anchor: Head,
    /// It is a row of the log. If not, it shows that the log was tampered with, and is left alone.
    anchor_fits: bool,
    /// What the present transaction made of the anchor.
    anchoring: Option<Head>,
    /// Commits since it was written.
    unanchored: u32,
    projector: Projector,
    /// The present transaction changed the file.
    wrote: bool,
    buffer: Vec<u8>,
    commits: Arc<AtomicU64>,
}

impl Ledger {
    /// Takes over an open connection; rebuilds the projections if another program version made them.
    pub(super) fn new(conn: Connection, path: &Path) -> Result<Self, LogError> {
        let mut ledger = Self {
            conn,
            path: path.to_owned(),
            head: Head::genesis(),
            committed: Head::genesis(),
            anchor: Head::genesis(),
            anchor_fits: true,
            anchoring: None,
            unanchored: 0,
            projector: Projector::default(),
            wrote: false,
            buffer: Vec::new(),
            commits: Arc::default(),
        };
        let found = ledger.look()?;
        if found.projection_format == PROJECTION_FORMAT {
            ledger.follow(&found)?;
            return Ok(ledger);
        }
        ledger.execute("BEGIN IMMEDIATE")?;
        let rebuilt = ledger
            .look()
            .and_then(|found| ledger.follow(&found))
            .and_then(|()| ledger.rebuild())
            .and_then(|_| ledger.execute("COMMIT"));
        match rebuilt {
            Ok(()) => ledger.committed(),
            Err(error) => {
                ledger.roll_back();
                return Err(error);
            }
        }
        Ok(ledger)
    }

    /// Counts commits of events, for whoever measures how many appends share one.
    pub(super) fn commits(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.commits)
    }

    fn error(&self, source: rusqlite::Error) -> LogError {
        LogError::of(&self.path, source)
    }

    fn execute(&self, sql: &str) -> Result<(), LogError> {
        let run = || self.conn.prepare_cached(sql)?.execute([]);
        run().map(drop).map_err(|source| self.error(source))
    }

    fn look(&self) -> Result<FileState, LogError> {
        let read = || {
            self.conn
                .prepare_cached(
                    "SELECT projection_format, seq, chain, \
                     (SELECT seq FROM events ORDER BY seq DESC LIMIT 1), \
                     (SELECT chain FROM events ORDER BY seq DESC LIMIT 1) FROM head",
                )?
                .query_row([], |row| {
                    let empty = row.get::<_, Option<i64>>(3)?.is_none();
                    Ok(FileState {
                        projection_format: row.get(0)?,
                        anchor: Head::of_row(row, 1)?,
                        last: if empty {
                            Head::genesis()
                        } else {
                            Head::of_row(row, 3)?
                        },
                    })
                })
        };
        read().map_err(|source| match source {
            rusqlite::Error::QueryReturnedNoRows => self.damaged("its head row is missing"),
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..) => {
                self.damaged("its head row or its last event has a malformed chain value")
            }
            source => self.error(source),
        })
    }

    /// Takes over what another process wrote, if one did, and drops what is kept in memory then.
    fn follow(&mut self, found: &FileState) -> Result<(), LogError> {
        if found.anchor != self.anchor || found.last != self.committed {
            // If the end was cut off, the log goes on after what was there: no place is given
            // twice, and the hole stays for `verify` to find.
            let ends = [found.last, found.anchor, self.committed];
            let end = ends.into_iter().reduce(|end, other| {
                let later = other.seq > end.seq;
                if later { other } else { end }
            });
            let end = end.unwrap_or(found.last);
            if end != self.committed {
                self.committed = end;
                self.projector.forget();
            }
            if found.anchor != self.anchor {
                self.anchor = found.anchor;
                self.unanchored = 0;
            }
            let fits = self.is_event(found.anchor)?;
            if self.anchor_fits && !fits {
                tracing::warn!(
                    log = %self.path.display(),
                    "event {} was anchored and is not in the log; `ubs log verify` tells more",
                    found.anchor.seq
                );
            }
            self.anchor_fits = fits;
        }
        self.head = self.committed;
        Ok(())
    }

    /// Whether there is an event of that place and chain value; the one before the first is.
    fn is_event(&self, head: Head) -> Result<bool, LogError> {
        if head.seq == 0 {
            return Ok(head == Head::genesis());
        }
        let look = || {
            self.conn
                .prepare_cached("SELECT 1 FROM events WHERE seq = ?1 AND chain = ?2")?
                .exists(params![to_sql(head.seq), head.chain.0])
        };
        look().map_err(|source| self.error(source))
    }

    fn damaged(&self, detail: &str) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            detail: detail.to_owned(),
        }
    }

    /// Begins a transaction, and drops what is kept in memory if another process wrote meanwhile.
    pub(super) fn begin(&mut self) -> Result<(), LogError> {
        self.execute("BEGIN IMMEDIATE")?;
        self.wrote = false;
        self.anchoring = None;
        let begun = self.look().and_then(|found| {
            if found.projection_format == PROJECTION_FORMAT {
                return self.follow(&found);
            }
            Err(LogError::Newer {
                path: self.path.clone(),
                found: found.projection_format,
                known: PROJECTION_FORMAT,
            })
        });
        if begun.is_err() {
            self.roll_back();
        }
        begun
    }

    pub(super) fn commit(&mut self, first: u64) -> Result<(), LogError> {
        if !self.wrote {
            return self.execute("ROLLBACK");
        }
        self.projector.flush(&self.conn, &self.path)?;
        if self.unanchored + 1 >= ANCHOR_COMMITS_MAX {
            self.write_anchor()?;
        }
        crash_point_at_event("before_commit", first, self.head.seq);
        self.execute("COMMIT")?;
        crash_point_at_event("after_commit", first, self.head.seq);
        self.unanchored = self.unanchored.saturating_add(1);
        if self.head.seq >= first {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        self.committed();
        Ok(())
    }

    /// After a commit: what it wrote is what the file has now.
    fn committed(&mut self) {
        self.committed = self.head;
        if let Some(anchor) = self.anchoring.take() {
            self.anchor = anchor;
            self.unanchored = 0;
        }
    }

    /// Moves the anchor to the end of the log, within the present transaction.
    fn write_anchor(&mut self) -> Result<(), LogError> {
        if !self.anchor_fits || self.anchor == self.head {
            return Ok(());
        }
        let update = || {
            self.conn
                .prepare_cached("UPDATE head SET seq = ?1, chain = ?2")?
                .execute(params![to_sql(self.head.seq), self.head.chain.0])
        };
        update().map_err(|source| self.error(source))?;
        self.anchoring = Some(self.head);
        Ok(())
    }

    /// The log has events after the anchor.
    pub(super) fn anchor_lags(&self) -> bool {
        self.anchor_fits && self.anchor != self.committed
    }

    /// Moves the anchor to the end of the log, in a commit of its own. If that fails, nobody is
    /// worse off: it is tried again after the next job.
    pub(super) fn anchor(&mut self) {
        if !self.anchor_lags() {
            return;
        }
        // Only sets a number of the connection.
        let _ = self.conn.busy_timeout(ANCHOR_BUSY);
        let anchored = self
            .begin()
            .and_then(|()| self.write_anchor())
            .and_then(|()| self.execute("COMMIT"));
        let _ = self.conn.busy_timeout(BUSY_TIMEOUT);
        match anchored {
            Ok(()) => self.committed(),
            Err(error) => {
                self.roll_back();
                if !matches!(error, LogError::Busy { .. }) {
                    tracing::warn!("the end of the log was not anchored: {error}");
                }
            }
        }
    }

    /// Copies what waits in the write-ahead log into the file, as far as nobody reads what is older. If
    /// that fails, nobody is worse off.
    pub(super) fn checkpoint(&mut self) {
        let copied = self
            .conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = copied {
            tracing::debug!("the write-ahead log was not copied into the log: {error}");
        }
    }

    /// Ends a transaction that failed. SQLite may have ended it already; then this is refused, which
    /// is as good.
    pub(super) fn roll_back(&mut self) {
        let _ = self.execute("ROLLBACK");
        self.projector.forget();
        self.head = self.committed;
        self.anchoring = None;
    }

    /// Appends one event and folds it into the projections.
    pub(super) fn insert(&mut self, new: &Prepared) -> Result<Seq, LogError> {
        self.projector
            .load(&self.conn, &self.path, new.boot, new.mission)?;
        let seq = self.insert_row(RawEvent {
            seq: self.head.seq + 1,
            id: new.id,
            boot: new.boot.map(|boot| boot.0),
            mission: new.mission.map(|mission| mission.0),
            kind: new.event.kind(),
            version: codec::FRAME_VERSION,
            at: new.at.0,
            payload: &new.frame,
            chain: Digest::default(),
        })?;
        self.projector
            .apply(seq.0, new.at, new.boot, new.mission, &new.event);
        Ok(seq)
    }

    /// Appends the row that is next, with its chain value.
    fn insert_row(&mut self, row: RawEvent<'_>) -> Result<Seq, LogError> {
        let chain = chain::link(&self.head.chain, &row, &mut self.buffer);
        let insert = || {
            self.conn
                .prepare_cached(
                    "INSERT INTO events (seq, event_id, boot_id, mission_id, kind, version, at, \
                     payload, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    to_sql(row.seq),
                    row.id.as_bytes(),
                    row.boot.as_ref().map(Uuid::as_bytes),
                    row.mission.as_ref().map(Uuid::as_bytes),
                    row.kind,
                    row.version,
                    row.at,
                    row.payload,
                    chain.0,
                ])
        };
        insert().map_err(|source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => self.damaged(&format!(
                "its end says that event {} is the next, yet that cannot be added: {source}",
                row.seq
            )),
            _ => self.error(source),
        })?;
        self.head = Head {
            seq: row.seq,
            chain,
        };
        self.wrote = true;
        Ok(Seq(row.seq))
    }

    /// Appends a row as a newer program might.
    #[cfg(test)]
    pub(super) fn insert_raw(
        &mut self,
        kind: &str,
        version: u16,
        payload: &[u8],
    ) -> Result<Seq, LogError> {
        self.insert_row(RawEvent {
            seq: self.head.seq + 1,
            id: event_id(At(1)),
            boot: None,
            mission: None,
            kind,
            version,
            at: 1,
            payload,
            chain: Digest::default(),
        })
    }

    /// There is no event, and never was one.
    pub(super) fn is_empty(&self) -> bool {
        self.head == Head::genesis()
    }

    /// Lets the events begin after this place, in an empty log.
    pub(super) fn start_after(&mut self, seq: u64, chain: Digest) {
        self.head = Head { seq, chain };
    }

    /// Appends an event of another log, which has its place already. Gives the chain value that it gets
    /// here.
    pub(super) fn insert_as_it_was(&mut self, row: RawEvent<'_>) -> Result<Digest, LogError> {
        self.insert_row(row)?;
        Ok(self.head.chain)
    }

    /// Chain value of the last event.
    pub(super) fn chain_end(&self) -> Digest {
        self.head.chain
    }

    /// Removes the events up to `last`. Gives the last one's chain value.
    pub(super) fn remove_up_to(&mut self, last: u64) -> Result<Digest, LogError> {
        if !self.anchor_fits {
            return Err(self.damaged("the anchored event is not in it, so nothing is pruned"));
        }
        self.wrote = true;
        remove_up_to(&self.conn, last).map_err(|source| self.error(source))
    }

    /// Makes every projection anew, within the present transaction, and moves the anchor.
    pub(super) fn rebuild(&mut self) -> Result<u64, LogError> {
        self.wrote = true;
        self.projector.forget();
        let events = projection::rebuild(&self.conn, &self.path)?;
        self.write_anchor()?;
        Ok(events)
    }

    /// Place of the next event.
    pub(super) fn next_seq(&self) -> u64 {
        self.head.seq + 1
    }

    /// SQLite gave the transaction up: a full disk or a failed read can make it.
    pub(super) fn has_lost_transaction(&self) -> bool {
        self.conn.is_autocommit()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn flush(&mut self) -> Result<(), LogError> {
        self.projector.flush(&self.conn, &self.path)
    }

    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Projector, &Connection, &Path) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        read(&mut self.projector, &self.conn, &self.path)
    }

    /// Begins a part that can be undone alone. What earlier jobs of the batch left in memory is
    /// written first: then undoing is forgetting.
    pub(super) fn begin_part(&mut self) -> Result<Part, LogError> {
        self.flush()?;
        self.execute("SAVEPOINT job")?;
        Ok(Part {
            head: self.head,
            wrote: self.wrote,
            anchoring: self.anchoring,
        })
    }

    /// Ends the part; undone unless it is to be kept. If that fails, nothing of the batch is kept.
    pub(super) fn end_part(&mut self, before: Part, keep: bool) -> Result<(), LogError> {
        let mut ended = Ok(());
        if !keep {
            self.projector.forget();
            self.head = before.head;
            self.wrote = before.wrote;
            self.anchoring = before.anchoring;
            ended = self.execute("ROLLBACK TO job");
        }
        ended = ended.and_then(|()| self.execute("RELEASE job"));
        if ended.is_err() {
            self.roll_back();
        }
        ended
    }

    /// One statement is atomic by itself, so one event needs no savepoint.
    pub(super) fn append_all(&mut self, events: &[Prepared]) -> Result<Vec<Seq>, LogError> {
        if let [event] = events {
            return Ok(vec![self.insert(event)?]);
        }
        let before = self.begin_part()?;
        let seqs: Result<Vec<_>, _> = events.iter().map(|event| self.insert(event)).collect();
        let ended = self.end_part(before, seqs.is_ok());
        let seqs = seqs?;
        ended.map(|()| seqs)
    }
}

/// Removes the events up to `last`, past the trigger that forbids it. Gives the last one's chain value.
fn remove_up_to(conn: &Connection, last: u64) -> rusqlite::Result<Digest> {
    let chain = conn.query_row(
        "SELECT chain FROM events WHERE seq = ?1",
        [to_sql(last)],
        |row| row.get(0).map(Digest),
    )?;
    let name = "events_are_never_deleted";
    let guard: String = conn.query_row(
        "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?1",
        [name],
        |row| row.get(0),
    )?;
    conn.execute_batch(&format!("DROP TRIGGER {name}"))?;
    conn.execute("DELETE FROM events WHERE seq <= ?1", [to_sql(last)])?;
    conn.execute_batch(&guard)?;
    Ok(chain)
}
