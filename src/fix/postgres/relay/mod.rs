//! The relay: lets a program in the sandbox work on a clone of a PostgreSQL database, and records what it did.
//!
//! Towards the program it is a server that asks for no password; towards the real server it is the trial's
//! role on the clone, and nothing else. What passes through is not changed; each statement that took effect is
//! recorded, in the order in which everybody could see its effect, so that it can be replayed elsewhere
//! ([`Recording`]). What cannot be replayed as one transaction is an obstacle, which is said.
//!
//! The program is hostile. Its messages are measured, it cannot name another database, and statements that
//! reach beyond the one database are refused ([`statement`]). That is a second wall: the first is what the
//! trial's role may do, and statements that a statement builds itself (`DO`, functions) meet that one only.
//!
//! Two connections that had transactions open at the same time and both changed something are an obstacle: a
//! transaction is open from its first message on, and changes something unless all of its statements are of
//! a kind that only reads.
//!
//! The door: [`Relay`] and [`Upstream`] start and end it, [`Recording`] with its `RecordedStatement`s,
//! [`Parameter`]s and [`RecordedValue`]s is what comes out. Nothing else of this room is visible outside. The replay of a
//! recording lies beside it (`fix::postgres::replay`): it needs transactions and the catalog, of which the relay knows nothing.

mod connection;
mod expected;
mod handshake;
mod ledger;
mod message;
mod names;
mod recording;
mod statement;
mod tracker;
mod waiting;

pub(crate) use message::read_any;

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

pub(crate) use connection::Upstream;
use connection::{RelayShared, Slot, serve};
#[cfg(test)]
pub(crate) use recording::RecordedStatement;
use recording::Recorder;
pub(crate) use recording::{Parameter, RecordedValue, Recording};

/// Connections at once.
const CONNECTIONS_MAX: usize = 16;
/// More connections than these get an error; still more are closed.
const REFUSED_MAX: usize = 16;
/// How long the end of all connections may take.
const END_MAX: Duration = Duration::from_secs(3);
/// Until the next try where the system gives no connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running relay; ends with this.
pub(crate) struct Relay {
    recorder: Arc<Mutex<Recorder>>,
    thread: Option<JoinHandle<()>>,
    stop: Option<StopSignal>,
}

/// Dropping it ends the waiting for a listener, and what is served.
struct StopSignal {
    _waiting: crossbeam_channel::Sender<Infallible>,
    serving: watch::Sender<bool>,
}

impl Relay {
    /// Serves, in a thread of its own, what arrives at the listener that comes; nothing, if none comes.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(upstream: Upstream, listener: Receiver<TcpListener>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let recorder = Arc::new(Mutex::new(Recorder::default()));
        let shared = Arc::new(RelayShared::new(upstream, recorder.clone()));
        let (waiting, stopped) = crossbeam_channel::bounded(0);
        let (serving, stop) = watch::channel(false);
        let serve_all = move || {
            let listener = crossbeam_channel::select! {
                recv(listener) -> listener => listener.ok(),
                recv(stopped) -> _ => None,
            };
            let Some(listener) = listener else {
                return;
            };
            if let Err(error) = runtime.block_on(accept(listener, shared, stop)) {
                tracing::warn!(%error, "the relay to a clone cannot serve");
            }
        };
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(serve_all)?;
        Ok(Self {
            recorder,
            thread: Some(thread),
            stop: Some(StopSignal {
                _waiting: waiting,
                serving,
            }),
        })
    }

    /// Ends every connection, and gives what took effect.
    pub(crate) fn finish(mut self) -> Recording {
        self.end();
        self.recorder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .close()
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.serving.send_replace(true);
        }
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// Serves connections until it is to stop.
async fn accept(
    listener: TcpListener,
    shared: Arc<RelayShared>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let refused = Arc::new(Semaphore::new(REFUSED_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = connections.join_next() => {
                note_panic(ended, &shared);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Ok((client, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let free = places.clone().try_acquire_owned();
        let is_over_limit = free.is_err();
        let Ok(permit) = free.or_else(|_| refused.clone().try_acquire_owned()) else {
            continue;
        };
        let place = Slot {
            is_over_limit,
            _permit: permit,
        };
        connections.spawn(serve(client, place, shared.clone(), stop.clone()));
    }
    drop(listener);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            note_panic(ended, &shared);
        }
    };
    if tokio::time::timeout(END_MAX, all).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// A connection that ended in a defect of ours may have done anything.
fn note_panic(ended: Result<(), JoinError>, shared: &RelayShared) {
    if ended.is_err_and(|error| error.is_panic()) {
        shared.obstruct("the relay has a defect, and a connection ended with it");
    }
}

#[cfg(test)]
mod tests;
