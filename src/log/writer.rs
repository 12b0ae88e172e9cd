//! The writer thread: the only owner of the write connection in this process.
//!
//! It takes whatever waits in the channel as one batch, runs it inside one `BEGIN IMMEDIATE`
//! transaction, and answers after the commit: so concurrent appends share one sync of the disk
//! (group commit; DeWitt et al., "Implementation techniques for main memory database systems",
//! 1984). What one job of a batch does wrong is rolled back alone.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::error::LogError;
use super::ledger::{ANCHOR_IDLE, CHECKPOINT_IDLE, Ledger, Prepared};
use super::tx::Tx;
use crate::domain::ids::Seq;

/// Jobs that may wait; more make their senders wait.
pub(super) const QUEUE_JOBS_MAX: usize = 1_024;
/// Jobs that share one commit. Beyond this the sync is a small part of the cost, and the first of
/// them would wait long.
const BATCH_JOBS_MAX: usize = 256;
/// Work that ran: whether it is to be kept, and whom to tell when that is decided.
pub(super) struct WorkDone {
    pub keep: bool,
    pub deliver: Deliver,
}

pub(super) type Deliver = Box<dyn FnOnce(Result<(), LogError>) + Send>;
/// Work inside a transaction; given the error if there is none.
pub(super) type Work = Box<dyn FnOnce(Result<&mut Tx<'_>, LogError>) -> WorkDone + Send>;

/// What the writer is asked to do.
pub(super) enum Job {
    Append {
        events: Vec<Prepared>,
        /// Where whoever asked waits, so that giving an answer neither fails nor blocks.
        reply: Sender<Appended>,
    },
    Work(Work),
}

impl Job {
    fn refuse(self, error: LogError) {
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(error))),
            Self::Work(work) => (work(Err(error.clone())).deliver)(Err(error)),
        }
    }
}

type Appended = Result<Vec<Seq>, LogError>;

/// Those who wait for the commit.
#[derive(Default)]
struct Waiting {
    appends: Vec<(Sender<Appended>, Appended)>,
    works: Vec<Deliver>,
}

impl Waiting {
    fn tell(mut self, outcome: &Result<(), LogError>) {
        if let Err(error) = outcome {
            for (_, answer) in &mut self.appends {
                *answer = Err(error.clone());
            }
        }
        for (reply, answer) in self.appends {
            let _ = reply.send(answer);
        }
        for deliver in self.works {
            deliver(outcome.clone());
        }
    }
}

/// The thread's work.
pub(super) struct Writer {
    ledger: Ledger,
}

impl Writer {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    fn run(&mut self, job: Job, waiting: &mut Waiting) {
        match job {
            Job::Append { events, reply } => match self.ledger.append_all(&events) {
                Ok(seqs) => waiting.appends.push((reply, Ok(seqs))),
                Err(error) => drop(reply.send(Err(error))),
            },
            Job::Work(work) => {
                let before = match self.ledger.begin_part() {
                    Ok(before) => before,
                    Err(error) => return Job::Work(work).refuse(error),
                };
                let ran = work(Ok(&mut Tx::new(&mut self.ledger)));
                match self.ledger.end_part(before, ran.keep) {
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
        if let Err(error) = self.ledger.begin() {
            before.into_iter().for_each(Told::tell);
            for job in jobs.drain(..) {
                job.refuse(error.clone());
            }
            return None;
        }
        let first = self.ledger.next_seq();
        let mut waiting = Waiting::default();
        while let Some(job) = jobs.pop_front() {
            self.run(job, &mut waiting);
            // A full disk or a failed read can make SQLite give up the whole transaction. The jobs
            // that did not run yet get another one.
            if self.ledger.has_lost_transaction() {
                self.ledger.roll_back();
                before.into_iter().for_each(Told::tell);
                let outcome = Err(LogError::RolledBack {
                    path: self.ledger.path().to_owned(),
                });
                return Some(Told { waiting, outcome });
            }
        }
        before.into_iter().for_each(Told::tell);
        let outcome = self.ledger.commit(first);
        if outcome.is_err() {
            self.ledger.roll_back();
        }
        Some(Told { waiting, outcome })
    }

    /// Serves jobs until the last sender is gone and the queue is empty. With nothing to do it
    /// writes the anchor, later copies the write-ahead log into the file, and then sleeps until there
    /// is a job.
    pub(super) fn serve(mut self, queue: &Receiver<Job>) {
        let mut jobs = VecDeque::with_capacity(BATCH_JOBS_MAX);
        let mut told: Option<Told> = None;
        let mut idle = Idle::Settled;
        loop {
            jobs.extend(queue.try_iter().take(BATCH_JOBS_MAX));
            if jobs.is_empty() {
                // Nobody to share the time of a sync with.
                told.take().into_iter().for_each(Told::tell);
                let next = match idle {
                    Idle::Unanchored => queue.recv_timeout(ANCHOR_IDLE),
                    Idle::Anchored => queue.recv_timeout(CHECKPOINT_IDLE),
                    Idle::Settled => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                match next {
                    Ok(job) => jobs.push_back(job),
                    Err(RecvTimeoutError::Timeout) if idle == Idle::Unanchored => {
                        self.ledger.anchor();
                        idle = Idle::Anchored;
                        continue;
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        self.ledger.checkpoint();
                        idle = Idle::Settled;
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        self.ledger.anchor();
                        return self.ledger.checkpoint();
                    }
                }
                jobs.extend(queue.try_iter().take(BATCH_JOBS_MAX - 1));
            }
            idle = Idle::Unanchored;
            while !jobs.is_empty() {
                told = self.run_batch(&mut jobs, told.take());
            }
        }
    }
}

/// What a writer without work has left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Idle {
    Unanchored,
    Anchored,
    Settled,
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
