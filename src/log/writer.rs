//! The writer thread: the only owner of the write connection in this process.
//!
//! It takes whatever waits in the channel as one batch, runs it inside one `BEGIN IMMEDIATE`
//! transaction, and answers after the commit: so concurrent appends share one sync of the disk
//! (group commit; DeWitt et al., "Implementation techniques for main memory database systems",
//! 1984). What one job of a batch does wrong is rolled back alone. After anything that failed the
//! states kept in memory are forgotten, because the file is the truth.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use crossbeam_channel::Receiver;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::handoff::{Doorbell, Reply, give_all};
use super::projection::{self, PROJECTION_FORMAT, Projector};
use super::record::mission_of;
use super::scan::RawEvent;
use super::tables::{from_sql, to_sql};
use super::{LogError, NewEvent, Tx, chain, codec};
use crate::domain::event::Event;
use crate::domain::ids::{At, BootId, Digest, MissionId, Seq};
use crate::kernel::crash_point_at_event;

/// Jobs that may wait; more make their senders wait.
pub(super) const QUEUE_JOBS_MAX: usize = 1_024;
/// Jobs that share one commit. Beyond this the sync is a small part of the cost, and the first of
/// them would wait long.
const BATCH_JOBS_MAX: usize = 256;

/// A UUIDv7 (RFC 9562, 5.7) of that moment. Its random part is drawn from a keyed hash of a counter,
/// not from the system: that would be a system call for each event.
fn event_id(at: At) -> Uuid {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // A UUIDv4 has 122 random bits, so another process draws from another sequence.
    static KEY: LazyLock<[u8; 32]> =
        LazyLock::new(|| *blake3::hash(Uuid::new_v4().as_bytes()).as_bytes());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    let drawn = blake3::keyed_hash(&KEY, &count);
    let mut random = [0; 10];
    random.copy_from_slice(&drawn.as_bytes()[..10]);
    let ms = u64::try_from(at.0 / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
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

/// Work that ran: whether it is to be kept, and whom to tell when that is decided.
pub(super) struct Ran {
    pub keep: bool,
    pub deliver: Deliver,
}

pub(super) type Deliver = Box<dyn FnOnce(Result<(), LogError>) + Send>;
/// Work inside a transaction; given the error if there is none.
pub(super) type Work = Box<dyn FnOnce(Result<&mut Tx<'_>, LogError>) -> Ran + Send>;

/// What the writer is asked to do.
pub(super) enum Job {
    Append {
        events: Vec<Prepared>,
        reply: Reply<Appended>,
    },
    Work(Work),
}

impl Job {
    fn refuse(self, error: LogError) {
        match self {
            Self::Append { reply, .. } => reply.give(Err(error)),
            Self::Work(work) => (work(Err(error.clone())).deliver)(Err(error)),
        }
    }
}

type Appended = Result<Vec<Seq>, LogError>;

/// Those who wait for the commit.
#[derive(Default)]
struct Waiting {
    appends: Vec<(Reply<Appended>, Appended)>,
    works: Vec<Deliver>,
}

impl Waiting {
    fn tell(mut self, outcome: &Result<(), LogError>) {
        if let Err(error) = outcome {
            for (_, answer) in &mut self.appends {
                *answer = Err(error.clone());
            }
        }
        give_all(self.appends);
        for deliver in self.works {
            deliver(outcome.clone());
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    seq: u64,
    chain: Digest,
}

/// The write connection, and what is known of the file without reading it again.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) conn: Connection,
    path: PathBuf,
    head: Head,
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
            head: Head {
                seq: 0,
                chain: *chain::GENESIS,
            },
            projector: Projector::default(),
            wrote: false,
            buffer: Vec::new(),
            commits: Arc::default(),
        };
        if ledger.read_head()?.1 != PROJECTION_FORMAT {
            ledger.execute("BEGIN IMMEDIATE")?;
            let rebuilt = ledger.rebuild().and_then(|_| ledger.execute("COMMIT"));
            if rebuilt.is_err() {
                ledger.roll_back();
            }
            rebuilt?;
        }
        Ok(ledger)
    }

    /// Counts commits, for whoever measures how many appends share one.
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

    fn read_head(&self) -> Result<(Head, i64), LogError> {
        let read = || {
            self.conn
                .prepare_cached("SELECT seq, chain, projection_format FROM head")?
                .query_row([], |row| {
                    let chain: [u8; 32] = row.get(1)?;
                    let head = Head {
                        seq: from_sql(row.get(0)?),
                        chain: Digest(chain),
                    };
                    Ok((head, row.get(2)?))
                })
        };
        read().map_err(|source| match source {
            rusqlite::Error::QueryReturnedNoRows => self.damaged("its head row is missing"),
            source => self.error(source),
        })
    }

    fn damaged(&self, detail: &str) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            detail: detail.to_owned(),
        }
    }

    /// Begins a transaction, and drops what is kept in memory if another process wrote meanwhile.
    fn begin(&mut self) -> Result<(), LogError> {
        self.execute("BEGIN IMMEDIATE")?;
        self.wrote = false;
        match self.read_head() {
            Ok((head, PROJECTION_FORMAT)) => {
                if head != self.head {
                    self.head = head;
                    self.projector.forget();
                }
                Ok(())
            }
            Ok((_, found)) => {
                self.roll_back();
                Err(LogError::Newer {
                    path: self.path.clone(),
                    found,
                    known: PROJECTION_FORMAT,
                })
            }
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    fn commit(&mut self, first: u64) -> Result<(), LogError> {
        if !self.wrote {
            return self.execute("ROLLBACK");
        }
        self.projector.flush(&self.conn, &self.path)?;
        let update = || {
            self.conn
                .prepare_cached("UPDATE head SET seq = ?1, chain = ?2")?
                .execute(params![to_sql(self.head.seq), self.head.chain.0])
        };
        update().map_err(|source| self.error(source))?;
        crash_point_at_event("before_commit", first, self.head.seq);
        self.execute("COMMIT")?;
        crash_point_at_event("after_commit", first, self.head.seq);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Ends a transaction that failed. SQLite may have ended it already; then this is refused, which
    /// is as good.
    fn roll_back(&mut self) {
        let _ = self.execute("ROLLBACK");
        self.projector.forget();
        // Read again at the next begin; no event has this place.
        self.head.seq = u64::MAX;
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
            version: new.event.version(),
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
                "its head row says that event {} is the next, yet there is one already",
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

    /// Makes every projection anew, within the present transaction.
    pub(super) fn rebuild(&mut self) -> Result<u64, LogError> {
        self.wrote = true;
        self.projector.forget();
        projection::rebuild(&self.conn, &self.path)
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
    fn begin_part(&mut self) -> Result<(Head, bool), LogError> {
        self.flush()?;
        self.execute("SAVEPOINT job")?;
        Ok((self.head, self.wrote))
    }

    /// Ends the part; undone unless it is to be kept. If that fails, nothing of the batch is kept.
    fn end_part(&mut self, before: (Head, bool), keep: bool) -> Result<(), LogError> {
        let mut ended = Ok(());
        if !keep {
            self.projector.forget();
            (self.head, self.wrote) = before;
            ended = self.execute("ROLLBACK TO job");
        }
        ended = ended.and_then(|()| self.execute("RELEASE job"));
        if ended.is_err() {
            self.roll_back();
        }
        ended
    }

    /// One statement is atomic by itself, so one event needs no savepoint.
    fn append_all(&mut self, events: &[Prepared]) -> Result<Vec<Seq>, LogError> {
        if let [event] = events {
            return Ok(vec![self.insert(event)?]);
        }
        let before = self.begin_part()?;
        let seqs: Result<Vec<_>, _> = events.iter().map(|event| self.insert(event)).collect();
        let ended = self.end_part(before, seqs.is_ok());
        let seqs = seqs?;
        ended.map(|()| seqs)
    }

    fn run(&mut self, job: Job, waiting: &mut Waiting) {
        match job {
            Job::Append { events, reply } => match self.append_all(&events) {
                Ok(seqs) => waiting.appends.push((reply, Ok(seqs))),
                Err(error) => reply.give(Err(error)),
            },
            Job::Work(work) => {
                let before = match self.begin_part() {
                    Ok(before) => before,
                    Err(error) => return Job::Work(work).refuse(error),
                };
                let ran = work(Ok(&mut Tx::new(self)));
                match self.end_part(before, ran.keep) {
                    Err(error) if ran.keep => (ran.deliver)(Err(error)),
                    _ if ran.keep => waiting.works.push(ran.deliver),
                    _ => (ran.deliver)(Ok(())),
                }
            }
        }
    }

    /// Runs jobs from the front of `jobs` in one transaction. Gives those that wait for their answer,
    /// with what became of the commit.
    ///
    /// `before` are those of the commit before: they are told when the rows are in and the sync is
    /// about to begin, since those who wake up would take the processor from this thread, and during
    /// the sync it needs none.
    fn run_batch(&mut self, jobs: &mut VecDeque<Job>, before: Option<Told>) -> Option<Told> {
        if let Err(error) = self.begin() {
            before.into_iter().for_each(Told::tell);
            for job in jobs.drain(..) {
                job.refuse(error.clone());
            }
            return None;
        }
        let first = self.head.seq + 1;
        let mut waiting = Waiting::default();
        while let Some(job) = jobs.pop_front() {
            self.run(job, &mut waiting);
            // A full disk or a failed read can make SQLite give up the whole transaction. The jobs
            // that did not run yet get another one.
            if self.conn.is_autocommit() {
                self.roll_back();
                before.into_iter().for_each(Told::tell);
                let outcome = Err(LogError::RolledBack {
                    path: self.path.clone(),
                });
                return Some(Told { waiting, outcome });
            }
        }
        before.into_iter().for_each(Told::tell);
        let outcome = self.commit(first);
        if outcome.is_err() {
            self.roll_back();
        }
        Some(Told { waiting, outcome })
    }

    /// Serves jobs until the last sender is gone and the queue is empty.
    pub(super) fn serve(mut self, queue: &Receiver<Job>, bell: &Doorbell) {
        let mut jobs = VecDeque::with_capacity(BATCH_JOBS_MAX);
        let mut told: Option<Told> = None;
        let mut came_alone = false;
        loop {
            jobs.extend(queue.try_iter().take(BATCH_JOBS_MAX));
            if jobs.is_empty() {
                // Nobody to share the time of a sync with.
                told.take().into_iter().for_each(Told::tell);
                match bell.wait(queue, came_alone) {
                    Some(job) => jobs.push_back(job),
                    None => return,
                }
                jobs.extend(queue.try_iter().take(BATCH_JOBS_MAX - 1));
            }
            came_alone = jobs.len() == 1;
            while !jobs.is_empty() {
                told = self.run_batch(&mut jobs, told.take());
            }
        }
    }
}

/// Those who wait for a commit, and what became of it.
struct Told {
    waiting: Waiting,
    outcome: Result<(), LogError>,
}

impl Told {
    fn tell(self) {
        self.waiting.tell(&self.outcome);
    }
}
