//! One connection of a program: greeted, led to the clone, and served until one side ends it or the trial is
//! over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::handshake::{Opening, STARTUP_BYTES_MAX, Startup, read_opening};
use super::ledger::ConnectionLedger;
use super::message::{ErrorSeverity, Violation, put, put_error, put_text};
use super::recording::Recorder;
use super::tracker::Tracker;
use crate::database::postgres::wire::{Wire, open_wire};

/// How long a program may take to say what it wants.
const GREETING_MAX: Duration = Duration::from_secs(30);
/// Encryption is asked for twice (TLS, GSS) before the login.
const OPENINGS_MAX: usize = 3;
/// How long a program has to read why its connection ends.
const FAREWELL_MAX: Duration = Duration::from_millis(500);
/// How long the server has to end what nobody waits for any more.
const CANCEL_MAX: Duration = Duration::from_secs(1);
/// How long, at the end of the trial, what a program has already sent may be on its way.
const LINGER: Duration = Duration::from_millis(50);
/// How long, at the end of the trial, the server has to do what a program asked for before it left.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// Read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// A longer message is held for one connection at a time.
const LARGE_BYTES: usize = 1 << 20;

/// Where connections lead. No `Debug`: it holds a password.
pub(crate) struct Upstream {
    /// The clone, with the trial role's login. Options in it are not used: the program brings its own.
    pub url: String,
    /// The names under which a program may ask for it.
    pub databases: Vec<String>,
}

/// What all connections of a relay share.
pub(super) struct RelayShared {
    upstream: Upstream,
    recorder: Arc<Mutex<Recorder>>,
    /// For a large message.
    large: Semaphore,
    served: AtomicU64,
}

impl RelayShared {
    pub(super) fn new(upstream: Upstream, recorder: Arc<Mutex<Recorder>>) -> Self {
        Self {
            upstream,
            recorder,
            large: Semaphore::new(1),
            served: AtomicU64::new(0),
        }
    }

    /// The recording is not to be replayed.
    pub(super) fn obstruct(&self, why: &str) {
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.obstruct(why);
    }
}

/// The place of a connection, held as long as it lasts.
pub(super) struct Slot {
    /// It only gets the error that there are too many.
    pub is_over_limit: bool,
    pub _permit: OwnedSemaphorePermit,
}

/// Why a connection is not served further.
struct Refused {
    code: String,
    message: String,
}

fn refused(code: &str, message: impl Into<String>) -> Refused {
    Refused {
        code: code.to_owned(),
        message: message.into(),
    }
}

impl From<Violation> for Refused {
    fn from(violation: Violation) -> Self {
        refused("08P01", format!("{} (ubs)", violation.0))
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    mut client: TcpStream,
    place: Slot,
    shared: Arc<RelayShared>,
    mut stop: watch::Receiver<bool>,
) {
    // Small messages go out at once; without that it only takes longer.
    let _ = client.set_nodelay(true);
    let opened = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return,
        opened = open(&mut client, &place, &shared) => opened,
    };
    match opened {
        Ok(Some((wire, tracker))) => {
            if let Err(why) = relay(&mut client, wire, tracker, &shared, stop).await {
                bid_farewell(&mut client, &why).await;
            }
        }
        Ok(None) => {}
        Err(why) => bid_farewell(&mut client, &why).await,
    }
}

/// Greets a program and leads it to the clone; `None` if it is gone.
async fn open(
    client: &mut TcpStream,
    place: &Slot,
    shared: &RelayShared,
) -> Result<Option<(Wire, Tracker)>, Refused> {
    let startup = match timeout(GREETING_MAX, greet(client)).await {
        Ok(Ok(Some(startup))) => startup,
        Ok(Err(why)) => return Err(why),
        Ok(Ok(None)) | Err(_) => return Ok(None),
    };
    if place.is_over_limit {
        return Err(refused(
            "53300",
            "too many connections: this trial serves 16 at once (ubs)",
        ));
    }
    if startup.replication {
        return Err(refused(
            "0A000",
            "replication is not part of this trial (ubs)",
        ));
    }
    if !shared.upstream.databases.contains(&startup.database) {
        return Err(refused(
            "3D000",
            format!(
                "database \"{}\" is not part of this trial (ubs)",
                startup.database
            ),
        ));
    }
    let wire = open_wire(&shared.upstream.url, &startup.settings)
        .await
        .map_err(|error| refused(&error.code, error.message))?;
    let connection = shared.served.fetch_add(1, Ordering::Relaxed);
    let mut ledger = ConnectionLedger::new(shared.recorder.clone(), connection, startup.settings);
    for (name, value) in &wire.parameters {
        ledger.reported(name, value);
    }
    let welcome = welcome(startup.negotiate.as_deref(), &wire.parameters, connection);
    match client.write_all(&welcome).await {
        Ok(()) => Ok(Some((wire, Tracker::new(ledger)))),
        Err(_) => Ok(None),
    }
}

/// What the program wants; `None` if it is gone, or wants another connection's statement ended.
async fn greet(client: &mut TcpStream) -> Result<Option<Startup>, Refused> {
    for _ in 0..OPENINGS_MAX {
        let Ok(length) = client.read_u32().await else {
            return Ok(None);
        };
        let body = (length as usize).wrapping_sub(size_of::<u32>());
        if body > STARTUP_BYTES_MAX {
            return Err(Violation("the first message has an impossible length").into());
        }
        let mut bytes = vec![0; body];
        if client.read_exact(&mut bytes).await.is_err() {
            return Ok(None);
        }
        match read_opening(&bytes) {
            Ok(Opening::Encrypt) => {
                if client.write_all(b"N").await.is_err() {
                    return Ok(None);
                }
            }
            Ok(Opening::Cancel) => return Ok(None),
            Ok(Opening::Start(startup)) => return Ok(Some(startup)),
            Err(why) => return Err(refused("08P01", format!("{why} (ubs)"))),
        }
    }
    Err(Violation("encryption is asked for again and again").into())
}

/// The login is done, and these are the server's parameters.
fn welcome(
    negotiate: Option<&[String]>,
    parameters: &BTreeMap<String, String>,
    connection: u64,
) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(extensions) = negotiate {
        put(&mut out, b'v', |out| {
            out.extend(0_u32.to_be_bytes());
            let count = u32::try_from(extensions.len()).unwrap_or(u32::MAX);
            out.extend(count.to_be_bytes());
            extensions.iter().for_each(|name| put_text(out, name));
        });
    }
    put(&mut out, b'R', |out| out.extend(0_u32.to_be_bytes()));
    for (name, value) in parameters {
        put(&mut out, b'S', |out| {
            put_text(out, name);
            put_text(out, value);
        });
    }
    // Who cancels with it is not heard.
    put(&mut out, b'K', |out| out.extend(connection.to_be_bytes()));
    put(&mut out, b'Z', |out| out.push(b'I'));
    out
}

/// Says why the connection ends, and lets the program read it.
async fn bid_farewell(client: &mut TcpStream, why: &Refused) {
    let mut out = Vec::new();
    put_error(&mut out, ErrorSeverity::Fatal, &why.code, &why.message);
    let farewell = async {
        if client.write_all(&out).await.is_ok() {
            close(client).await;
        }
    };
    if timeout(FAREWELL_MAX, farewell).await.is_err() {
        tracing::debug!("a program did not wait to hear why its connection ends");
    }
}

/// Closes the connection when the program has read all: closed with something unread in it, it would take with it
/// what was said last.
async fn close(client: &mut TcpStream) {
    let mut rest = [0; 1 << 10];
    if client.shutdown().await.is_ok() {
        while matches!(client.read(&mut rest).await, Ok(1..)) {}
    }
}

/// Why the passing through ended.
enum RelayEnd {
    ClientGone,
    ServerGone,
    Violated(Violation),
}

fn lock(tracker: &Mutex<Tracker>) -> MutexGuard<'_, Tracker> {
    tracker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until the end of the trial, and a little longer.
async fn linger(stop: &mut watch::Receiver<bool>, longer: Duration) {
    // It fails if nobody is left to tell it, which is an end too.
    let _ = stop.wait_for(|stop| *stop).await;
    tokio::time::sleep(longer).await;
}

/// Passes everything through in both directions.
async fn relay(
    client: &mut TcpStream,
    wire: Wire,
    tracker: Tracker,
    shared: &RelayShared,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Refused> {
    let tracker = Mutex::new(tracker);
    let is_writing = AtomicBool::new(false);
    let answered = Notify::new();
    let (mut from_server, mut to_server) = tokio::io::split(wire.stream);
    let ended = {
        let (from_client, to_client) = client.split();
        let down = pass_down(
            &mut from_server,
            to_client,
            &tracker,
            &is_writing,
            &answered,
        );
        tokio::select! {
            ended = pass_up(from_client, &mut to_server, &tracker, &shared.large, &answered) => Some(ended),
            ended = down => Some(ended),
            () = linger(&mut stop, LINGER) => None,
        }
    };
    if let Some(RelayEnd::ClientGone) = ended {
        // What it asked for before it left, the server does.
        let drained = async {
            if to_server.shutdown().await.is_ok() {
                let nobody = tokio::io::sink();
                pass_down(&mut from_server, nobody, &tracker, &is_writing, &answered).await;
            }
        };
        tokio::select! {
            () = drained => return Ok(()),
            () = linger(&mut stop, DRAIN_MAX) => {}
        }
    }
    let (is_idle, is_between) = {
        let tracker = lock(&tracker);
        (tracker.ledger.is_idle(), tracker.is_between_answers())
    };
    if !is_idle && !matches!(ended, Some(RelayEnd::ServerGone)) {
        match timeout(CANCEL_MAX, wire.cancel.cancel()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a statement on a clone goes on"),
            Err(_) => tracing::debug!("a statement on a clone goes on: no answer"),
        }
    }
    match ended {
        Some(RelayEnd::ServerGone) => {
            // Whoever does not read in time has not waited for it.
            let _ = timeout(FAREWELL_MAX, close(client)).await;
            Ok(())
        }
        // In the middle of an answer, nothing can be said.
        Some(RelayEnd::Violated(violation))
            if is_between && !is_writing.load(Ordering::Relaxed) =>
        {
            Err(violation.into())
        }
        _ => Ok(()),
    }
}

/// From the program to the server.
async fn pass_up(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    tracker: &Mutex<Tracker>,
    large: &Semaphore,
    answered: &Notify,
) -> RelayEnd {
    let (mut held, mut out) = (Vec::new(), Vec::new());
    let mut permit = None;
    loop {
        held.reserve(CHUNK_BYTES);
        if !matches!(from.read_buf(&mut held).await, Ok(1..)) {
            return RelayEnd::ClientGone;
        }
        loop {
            let taken = lock(tracker).client_sent(&held, &mut out);
            let taken = match taken {
                Ok(taken) => taken,
                Err(violation) => return RelayEnd::Violated(violation),
            };
            held.drain(..taken);
            if !pass_on(&mut to, &mut out).await {
                return RelayEnd::ServerGone;
            }
            if !lock(tracker).ledger.is_full() {
                break;
            }
            answered.notified().await;
        }
        if held.len() <= LARGE_BYTES {
            held.shrink_to(LARGE_BYTES);
            permit = None;
        } else if permit.is_none() {
            // It is never closed.
            permit = large.acquire().await.ok();
        }
    }
}

/// From the server to the program.
async fn pass_down(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    tracker: &Mutex<Tracker>,
    is_writing: &AtomicBool,
    answered: &Notify,
) -> RelayEnd {
    let (mut held, mut out) = (Vec::new(), Vec::new());
    loop {
        held.reserve(CHUNK_BYTES);
        if !matches!(from.read_buf(&mut held).await, Ok(1..)) {
            return RelayEnd::ServerGone;
        }
        let taken = lock(tracker).server_sent(&held, &mut out);
        held.drain(..taken);
        answered.notify_one();
        is_writing.store(true, Ordering::Relaxed);
        if !pass_on(&mut to, &mut out).await {
            return RelayEnd::ClientGone;
        }
        is_writing.store(false, Ordering::Relaxed);
    }
}

/// Writes all of it; `false` if the other side is gone.
async fn pass_on(to: &mut (impl AsyncWrite + Unpin), out: &mut Vec<u8>) -> bool {
    let is_written = to.write_all(out).await.is_ok() && to.flush().await.is_ok();
    out.clear();
    out.shrink_to(LARGE_BYTES);
    is_written
}
