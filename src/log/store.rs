//! The log, open for writing: what the rest of the program holds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};

use super::error::LogError;
use super::ledger::{Ledger, Prepared};
use super::migrate;
use super::reader::Reader;
use super::record::NewEvent;
use super::tx::Tx;
use super::writer::{Job, QUEUE_JOBS_MAX, WorkDone, Writer};
use crate::domain::ids::Seq;

/// The log, open for writing. Cheap to clone; all clones share one writer thread.
///
/// The last clone that is dropped waits for what is queued, and anchors the end of the log. Several
/// processes may have the same file open.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// `None` only while being dropped.
    queue: Option<Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    /// For reads that come through the log, opened by the first of them.
    reader: Mutex<Option<Reader>>,
    commits: Arc<AtomicU64>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Before the writer, so that its connection is the last one and tidies up the WAL.
        if let Ok(reader) = self.reader.get_mut() {
            reader.take();
        }
        self.queue.take();
        let Some(writer) = self.writer.take() else {
            return;
        };
        // A job may hold the last clone; then the writer ends by itself after it.
        if writer.thread().id() != std::thread::current().id() {
            // It catches every panic of a job; one of its own has been printed already.
            let _ = writer.join();
        }
    }
}

impl Log {
    /// Opens the log, making it (mode 0600, in a directory of mode 0700) if it does not exist.
    ///
    /// # Errors
    /// The file is not a log, is of a newer layout, is damaged, or cannot be written; it is not
    /// changed then.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let (conn, path) = migrate::open_writer(path)?;
        let ledger = Ledger::new(conn, &path)?;
        let commits = ledger.commits();
        let (queue, jobs) = bounded(QUEUE_JOBS_MAX);
        let writer = std::thread::Builder::new()
            .name("ubs-log".to_owned())
            .spawn(move || Writer::new(ledger).serve(&jobs))
            .map_err(LogError::io("start the writer thread of", &path))?;
        Ok(Self {
            shared: Arc::new(Shared {
                path,
                queue: Some(queue),
                writer: Some(writer),
                reader: Mutex::new(None),
                commits,
            }),
        })
    }

    /// Where it is: absolute, with the directory's links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Commits of events that this process made through this log, each of which synced the disk once.
    /// What moves the anchor alone is not counted.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Jobs that wait for the writer.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.shared.queue.as_ref().map_or(0, Sender::len)
    }

    fn send(&self, job: Job) -> Result<(), LogError> {
        let (Some(queue), Some(writer)) = (&self.shared.queue, &self.shared.writer) else {
            return Err(LogError::Stopped);
        };
        if writer.thread().id() == std::thread::current().id() {
            return Err(LogError::Reentrant);
        }
        queue.send(job).map_err(|_| LogError::Stopped)
    }

    /// Appends events; durable when this returns.
    ///
    /// # Errors
    /// None of them was appended.
    pub fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Seq>, LogError> {
        if events.is_empty() {
            return Ok(vec![]);
        }
        let events = events
            .into_iter()
            .map(Prepared::new)
            .collect::<Result<_, _>>()?;
        let (reply, answer) = bounded(1);
        self.send(Job::Append { events, reply })?;
        answer.recv().unwrap_or(Err(LogError::Stopped))
    }

    /// Gives events to the writer, and does not wait until they are durable.
    ///
    /// # Errors
    /// They are not even queued.
    pub(crate) fn append_later(&self, events: Vec<NewEvent>) -> Result<Appending, LogError> {
        let events = events
            .into_iter()
            .map(Prepared::new)
            .collect::<Result<_, _>>()?;
        let (reply, answer) = bounded(1);
        let Some(queue) = &self.shared.queue else {
            return Err(LogError::Stopped);
        };
        match queue.try_send(Job::Append { events, reply }) {
            Ok(()) => Ok(Appending { answer }),
            Err(TrySendError::Full(_)) => Err(self.busy(Duration::ZERO)),
            Err(TrySendError::Disconnected(_)) => Err(LogError::Stopped),
        }
    }

    fn busy(&self, waited: Duration) -> LogError {
        LogError::Busy {
            path: self.shared.path.clone(),
            waited_s: waited.as_secs(),
        }
    }

    /// [`Self::transact`] for somebody who cannot wait for another process that holds the log: what has
    /// not begun after `within` never begins, and is [`LogError::Busy`].
    pub(crate) fn transact_within<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let decided = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&decided);
        let busy = self.busy(within);
        let answer = self.transact_later(move |tx| {
            // Whoever sets it first decides.
            match begun.swap(true, Ordering::SeqCst) {
                true => Err(busy),
                false => work(tx),
            }
        })?;
        let answered = match answer.recv_timeout(within) {
            Err(RecvTimeoutError::Timeout) if !decided.swap(true, Ordering::SeqCst) => {
                return Err(self.busy(within));
            }
            // It has begun: the rest is a sync of the disk.
            Err(RecvTimeoutError::Timeout) => answer.recv().map_err(|_| LogError::Stopped),
            answered => answered.map_err(|_| LogError::Stopped),
        };
        answered??
    }

    /// Runs `work` inside one write transaction: all its events or none. Rolled back if it gives `Err`.
    ///
    /// `work` runs on the writer thread and every other append waits for it, so it decides and
    /// appends and does nothing slow. What it sees is the log with everything that was appended
    /// before it, by whatever process.
    ///
    /// # Errors
    /// The outer error: the transaction could not be made or committed, or `work` panicked.
    pub fn transact<T: Send + 'static, E: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, LogError> {
        let answer = self.transact_later(work)?;
        answer.recv().unwrap_or(Err(LogError::Stopped))
    }

    fn transact_later<T: Send + 'static, E: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Receiver<Transacted<T, E>>, LogError> {
        let (reply, answer) = bounded(1);
        let nothing = || WorkDone {
            keep: false,
            deliver: Box::new(|_| {}),
        };
        self.send(Job::Work(Box::new(move |tx| {
            let tx = match tx {
                Ok(tx) => tx,
                Err(error) => {
                    // Whoever asked waits for it, here and below.
                    let _ = reply.send(Err(error));
                    return nothing();
                }
            };
            let outcome = catch_unwind(AssertUnwindSafe(|| work(tx)));
            let outcome = match outcome {
                Ok(Ok(_)) if tx.incomplete => Err(LogError::Incomplete),
                Ok(outcome) => Ok(outcome),
                Err(panic) => Err(LogError::Panicked {
                    message: panic_message(panic.as_ref()),
                }),
            };
            WorkDone {
                keep: matches!(outcome, Ok(Ok(_))),
                deliver: Box::new(move |committed| {
                    let _ = reply.send(committed.and(outcome));
                }),
            }
        })))?;
        Ok(answer)
    }

    /// A reader of the same file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn reader(&self) -> Result<Reader, LogError> {
        Reader::open(&self.shared.path)
    }

    /// Reads through the reader that all clones share.
    pub(super) fn read<T, E: From<LogError>>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, E>,
    ) -> Result<T, E> {
        // A panic while reading leaves a reader that is as good as before.
        let mut shared = match self.shared.reader.lock() {
            Ok(shared) => shared,
            Err(poisoned) => poisoned.into_inner(),
        };
        match &*shared {
            Some(reader) => read(reader),
            None => read(shared.insert(self.reader()?)),
        }
    }

    /// Rebuilds every projection from the events; gives the number of events folded.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn rebuild(&self) -> Result<u64, LogError> {
        self.transact(|tx| tx.ledger.rebuild())?
    }
}

/// What a transaction gave: whether it was made, then what the work said.
type Transacted<T, E> = Result<Result<T, E>, LogError>;

/// An append that nobody waits for.
#[derive(Debug)]
pub(crate) struct Appending {
    answer: Receiver<Result<Vec<Seq>, LogError>>,
}

impl Appending {
    /// What became of it; `None` if that is not decided yet.
    pub(crate) fn outcome(&self) -> Option<Result<Vec<Seq>, LogError>> {
        match self.answer.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(LogError::Stopped)),
        }
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it said nothing".to_owned())
}
