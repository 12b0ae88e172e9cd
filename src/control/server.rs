//! Accepts connections, keeps each of them within bounds, and gives its requests to the routes.

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::answer::{bad_request, error_text, failure, is_endless};
use super::ask::Asks;
use super::gate::{Gate, Tcp};
use super::patience::Patient;
use super::peer::{Peer, own_uid};
use super::routes::{self, FOLLOWERS_MAX, Shared};
use super::socket::Socket;
use crate::domain::ids::Seq;

/// Connections at a time: as many as may follow, and some for others.
pub(super) const CONNECTIONS_MAX: usize = FOLLOWERS_MAX + 64;
/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of a refused request that are taken.
const REFUSED_BYTES_MAX: u64 = 64 << 10;
/// A refusal has to be taken after so long.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// A connection is closed after so long, unless it follows events.
const CONNECTION_WITHIN: Duration = Duration::from_secs(60);
/// Before the next try, if the system cannot accept a connection now.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// A request's head has to be there after so long; a connection without a request is closed then.
    pub head: Duration,
    /// A request has to be read and answered after so long.
    pub request: Duration,
    /// Who takes nothing of what is sent for so long is let go.
    pub taken: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            request: Duration::from_secs(10),
            taken: Duration::from_secs(300),
        }
    }
}

/// Where the application of a supervisor is.
pub(crate) struct Place {
    pub state_dir: PathBuf,
    /// Where the output of services is kept.
    pub output_dir: PathBuf,
    /// The log's file.
    pub log: PathBuf,
    /// This program, and the options that lead it here.
    pub program: Vec<OsString>,
    /// Where to listen beside the socket.
    pub tcp: Option<Tcp>,
}

/// The open door. Closed, and its socket gone, when it is dropped; requests that are being answered are left to
/// their tasks.
pub(crate) struct Door {
    tasks: Vec<JoinHandle<()>>,
    seen: watch::Sender<Seq>,
    _socket: Option<Socket>,
}

/// A door, or what there is of it.
pub(crate) struct Opened {
    pub door: Door,
    /// Why it is not there on the socket.
    pub no_socket: Option<io::Error>,
    /// Why it is not there over TCP.
    pub no_tcp: Option<io::Error>,
    /// Where it listens over TCP.
    #[cfg_attr(not(test), allow(dead_code))]
    pub tcp: Option<SocketAddr>,
}

impl Door {
    /// Opens it, as far as it can be opened. What is asked goes to `asks`. To be called in a set of local tasks.
    pub(crate) fn open(place: &Place, asks: Asks) -> Opened {
        Self::open_with(place, asks, Bounds::default())
    }

    pub(super) fn open_with(place: &Place, asks: Asks, bounds: Bounds) -> Opened {
        let (seen, head) = watch::channel(Seq::default());
        let program = place.program.clone();
        let shared = Shared::new(asks, head, &place.log, &place.output_dir, program);
        let router = routes::router(shared);
        let mut tasks = Vec::new();
        let mut listen = |listener: Listener, gate: Option<Gate>| {
            let gate = gate.map(Rc::new);
            let accepting = accept(listener, router.clone(), gate, bounds);
            tasks.push(tokio::task::spawn_local(accepting));
        };
        let (socket, no_socket) = match bind_socket(&place.state_dir) {
            Ok((socket, listener)) => {
                listen(Listener::Unix(listener), None);
                (Some(socket), None)
            }
            Err(error) => (None, Some(error)),
        };
        let bound = place.tcp.as_ref().map(|tcp| {
            let (listener, at) = bind_tcp(tcp.listen)?;
            listen(Listener::Tcp(listener), Some(Gate::new(tcp, at)));
            Ok(at)
        });
        let (tcp, no_tcp) = match bound {
            None => (None, None),
            Some(Ok(at)) => (Some(at), None),
            Some(Err(error)) => (None, Some(error)),
        };
        Opened {
            door: Self {
                tasks,
                seen,
                _socket: socket,
            },
            no_socket,
            no_tcp,
            tcp,
        }
    }

    /// The log's newest event is this one: those who follow are told.
    pub(crate) fn tell(&self, newest: Seq) {
        self.seen.send_if_modified(|seen| {
            let is_newer = newest > *seen;
            *seen = newest.max(*seen);
            is_newer
        });
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn bind_socket(dir: &Path) -> io::Result<(Socket, UnixListener)> {
    let (socket, listener) = Socket::bind(dir)?;
    listener.set_nonblocking(true)?;
    Ok((socket, UnixListener::from_std(listener)?))
}

fn bind_tcp(at: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    // The standard library sets SO_REUSEADDR: the connections of a boot before are in nobody's way.
    let listener = std::net::TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, bound))
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Both kinds of connections.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Listener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, io::Result<Peer>)> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = Peer::of(&stream);
                Ok((Box::new(stream), peer))
            }
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // An event is sent when it is there.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), Ok(Peer::Remote { from })))
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Unix(_) => "the control socket",
            Self::Tcp(_) => "the address of [api]",
        }
    }
}

/// Each listener has its own connections: those of one are not in the way of the other's.
async fn accept(listener: Listener, router: Router, gate: Option<Rc<Gate>>, bounds: Bounds) {
    let (open, own) = (Rc::new(Cell::new(0_usize)), own_uid());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                let name = listener.name();
                tracing::warn!("{name} cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let refusal = match &peer {
            _ if open.get() >= CONNECTIONS_MAX => Some((
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_connections",
                format!("{CONNECTIONS_MAX} connections are open already; close one, or try again"),
            )),
            Ok(peer) if peer.may_ask(own) => None,
            Ok(peer) => Some((
                StatusCode::FORBIDDEN,
                "other_user",
                format!(
                    "{} may not ask this supervisor, which runs as uid {own}; run it as that user",
                    peer.name()
                ),
            )),
            Err(error) => Some((
                StatusCode::FORBIDDEN,
                "unknown_user",
                format!("the system does not say who asks: {error}"),
            )),
        };
        match (refusal, peer) {
            (None, Ok(peer)) => {
                let entry = Entry {
                    router: TowerToHyperService::new(router.clone()),
                    gate: gate.clone(),
                    peer,
                    bounds,
                };
                tokio::task::spawn_local(serve(stream, Rc::new(entry), Held::one(&open)));
            }
            (Some((status, code, message)), _) => refuse(stream, status, code, &message),
            (None, Err(_)) => {}
        }
    }
}

/// What a connection's requests go through.
struct Entry {
    router: TowerToHyperService<Router>,
    /// Over TCP.
    gate: Option<Rc<Gate>>,
    peer: Peer,
    bounds: Bounds,
}

/// One of the connections, counted for as long as this lives.
struct Held(Rc<Cell<usize>>);

impl Held {
    fn one(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Answers without looking at the request, and closes. What does not fit into the socket's buffer is not sent.
fn refuse(mut stream: Box<dyn Stream>, status: StatusCode, code: &str, message: &str) {
    let body = error_text(code, message);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len(),
    );
    tokio::task::spawn_local(async move {
        let sent = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // What it still sends is taken, so that its own error does not come before this answer.
            tokio::io::copy(&mut stream.take(REFUSED_BYTES_MAX), &mut tokio::io::sink()).await
        };
        let _ = tokio::time::timeout(REFUSED_WITHIN, sent).await;
    });
}

async fn serve(stream: Box<dyn Stream>, entry: Rc<Entry>, _held: Held) {
    let stream = Patient::new(stream, entry.bounds.taken);
    let follows = Rc::new(Cell::new(false));
    // Requests that are being answered.
    let at_work = Rc::new(Cell::new(0_usize));
    let head = entry.bounds.head;
    let answers = service_fn(|request: Request<Incoming>| {
        let (entry, follows) = (Rc::clone(&entry), Rc::clone(&follows));
        let working = Held::one(&at_work);
        async move {
            let response = answer(request, &entry).await;
            follows.set(follows.get() || is_endless(&response));
            drop(working);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answers);
    let mut connection = std::pin::pin!(connection);
    // What goes wrong in a connection is its client's business.
    if tokio::time::timeout(CONNECTION_WITHIN, connection.as_mut())
        .await
        .is_err()
        && (follows.get() || at_work.get() > 0)
    {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// One request, within its bounds.
async fn answer(request: Request<Incoming>, entry: &Entry) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(refusal) = entry.gate.as_ref().and_then(|gate| gate.refusal(&parts)) {
        return refusal;
    }
    let within = entry.bounds.request;
    let late = || {
        let ms = within.as_millis();
        let message = format!("the request was not read and answered within {ms} ms");
        failure(StatusCode::REQUEST_TIMEOUT, "timeout", message)
    };
    let most = routes::body_bytes_max(&parts);
    let body = match tokio::time::timeout(within, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return failure(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("a body has at most {most} bytes here"),
            );
        }
        Ok(Err(error)) => return bad_request(format!("the body cannot be read: {error}")),
        Err(_) => return late(),
    };
    let may_take_long = routes::may_take_long(&parts);
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(entry.peer);
    let handled = async {
        match entry.router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    };
    if may_take_long {
        return handled.await;
    }
    let timed = tokio::time::timeout(within, handled).await;
    timed.unwrap_or_else(|_| late())
}
