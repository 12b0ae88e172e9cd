//! Accepts connections, keeps each of them within bounds, and gives its requests to the routes.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ask::Asks;
use super::peer::{Peer, own_uid};
use super::routes::{self, Shared, failure};
use super::socket::Socket;
use crate::domain::ids::Seq;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of the body of a request.
const BODY_BYTES_MAX: usize = 64 << 10;
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
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            request: Duration::from_secs(10),
        }
    }
}

/// Where the application of a supervisor is.
pub(crate) struct Place {
    pub state_dir: PathBuf,
    /// The log's file.
    pub log: PathBuf,
}

/// The open door. Closed, and its socket gone, when it is dropped; requests that are being answered are left to
/// their tasks.
pub(crate) struct Door {
    task: JoinHandle<()>,
    seen: watch::Sender<Seq>,
    _socket: Socket,
}

impl Door {
    /// Opens it. What is asked goes to `asks`. To be called in a set of local tasks.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(crate) fn open(place: &Place, asks: Asks) -> io::Result<Self> {
        Self::open_with(place, asks, Bounds::default())
    }

    pub(super) fn open_with(place: &Place, asks: Asks, bounds: Bounds) -> io::Result<Self> {
        let (socket, listener) = Socket::bind(&place.state_dir)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let (seen, head) = watch::channel(Seq::default());
        let router = routes::router(Shared::new(asks, head, Path::new(&place.log)));
        let task = tokio::task::spawn_local(accept(listener, router, own_uid(), bounds));
        Ok(Self {
            task,
            seen,
            _socket: socket,
        })
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
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, router: Router, own: u32, bounds: Bounds) {
    let open = Rc::new(Cell::new(0_usize));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("the control socket cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let peer = Peer::of(&stream);
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
                    "uid {} may not ask this supervisor, which runs as uid {own}; run it as that user",
                    peer.uid
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
                let held = Held::one(&open);
                tokio::task::spawn_local(serve(stream, router.clone(), peer, bounds, held));
            }
            (Some((status, code, message)), _) => refuse(stream, status, code, &message),
            (None, Err(_)) => {}
        }
    }
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
fn refuse(mut stream: UnixStream, status: StatusCode, code: &str, message: &str) {
    let body = routes::error_text(code, message);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len(),
    );
    tokio::task::spawn_local(async move {
        let sent = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // What it still sends is taken, so that its own error does not come before this answer.
            tokio::io::copy(
                &mut stream.take(BODY_BYTES_MAX as u64),
                &mut tokio::io::sink(),
            )
            .await
        };
        let _ = tokio::time::timeout(REFUSED_WITHIN, sent).await;
    });
}

async fn serve(stream: UnixStream, router: Router, peer: Peer, bounds: Bounds, _held: Held) {
    let follows = Rc::new(Cell::new(false));
    let router = TowerToHyperService::new(router);
    let answers = service_fn(|request: Request<Incoming>| {
        let router = router.clone();
        let follows = Rc::clone(&follows);
        async move {
            let response = answer(request, &router, peer, bounds).await;
            follows.set(follows.get() || routes::is_endless(&response));
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answers);
    let mut connection = std::pin::pin!(connection);
    // What goes wrong in a connection is its client's business.
    if tokio::time::timeout(CONNECTION_WITHIN, connection.as_mut())
        .await
        .is_err()
        && follows.get()
    {
        let _ = connection.await;
    }
}

/// One request, within its bounds.
async fn answer(
    request: Request<Incoming>,
    router: &TowerToHyperService<Router>,
    peer: Peer,
    bounds: Bounds,
) -> Response {
    let handled = async {
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return failure(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    format!("a body has at most {BODY_BYTES_MAX} bytes"),
                );
            }
            Err(error) => {
                let message = format!("the body cannot be read: {error}");
                return failure(StatusCode::BAD_REQUEST, "bad_request", message);
            }
        };
        let mut request = Request::from_parts(parts, Body::from(body));
        request.extensions_mut().insert(peer);
        match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    };
    match tokio::time::timeout(bounds.request, handled).await {
        Ok(response) => response,
        Err(_) => failure(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!(
                "the request was not read and answered within {} ms",
                bounds.request.as_millis()
            ),
        ),
    }
}
