//! A connection to PostgreSQL that is logged in and then handed out as it is: whoever has it speaks the
//! protocol himself.
//!
//! The login is that of `tokio-postgres`. It reads through [`MessageStream`], which gives it message by message and
//! ends with the one that says that the login is done: so no byte of what the server says later is lost.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, NoTls};

use crate::database::postgres::connection::{CONNECT_TIMEOUT, beneath, login};
use crate::database::postgres::tls::Tls;
use crate::database::postgres::url::{PostgresUrl, TlsMode};
use crate::database::sql::quote::literal;

/// A server that asks for TLS is asked with these bytes (protocol-message-formats.html, SSLRequest).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// The SQLSTATE of a connection that was not made.
const NO_CONNECTION: &str = "08006";
/// What a server reports about itself and the session (protocol-flow.html, 54.2.7).
const REPORTED: [&str; 15] = [
    "server_version",
    "server_encoding",
    "client_encoding",
    "application_name",
    "default_transaction_read_only",
    "in_hot_standby",
    "is_superuser",
    "session_authorization",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "standard_conforming_strings",
    "scram_iterations",
    "search_path",
];

/// Both directions of a connection.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection after its login.
pub(crate) struct Wire {
    /// Where the protocol goes on: the server waits for a query.
    pub stream: Box<dyn Duplex>,
    /// What the server reported.
    pub parameters: BTreeMap<String, String>,
    /// Ends what the connection does.
    pub cancel: Canceller,
}

/// The server did not let us in.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct WireError {
    /// SQLSTATE.
    pub code: String,
    /// The server's words, or ours; without the URL.
    pub message: String,
}

impl WireError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            code: NO_CONNECTION.to_owned(),
            message: message.into(),
        }
    }

    fn of(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(reported) => Self {
                code: reported.code().code().to_owned(),
                message: reported.message().to_owned(),
            },
            None => Self::new(format!("cannot log in at the server: {}", beneath(error))),
        }
    }
}

/// Ends what a connection does, from outside of it.
#[derive(Clone)]
pub(crate) struct Canceller {
    pub(crate) url: PostgresUrl,
    pub(crate) token: CancelToken,
}

impl Canceller {
    /// Asks the server to end what the connection does. Nothing happens if it does nothing.
    ///
    /// # Errors
    /// The server is out of reach.
    pub(crate) async fn cancel(&self) -> Result<(), WireError> {
        let stream = dial(&self.url).await?;
        self.token
            .cancel_query_raw(stream, NoTls)
            .await
            .map_err(|error| WireError::of(&error))
    }
}

/// Logs in with a URL, and with these settings (names in small letters) instead of those of the URL.
///
/// # Errors
/// The server is out of reach, or refuses.
pub(crate) async fn open_wire(
    url: &str,
    settings: &BTreeMap<String, String>,
) -> Result<Wire, WireError> {
    let url = PostgresUrl::parse(url).map_err(WireError::new)?;
    let connecting = async {
        let mut stream = dial(&url).await?;
        let mut config = login(&url);
        // Whether there is TLS was settled before.
        config.ssl_mode(SslMode::Disable);
        // The protocol's own parameters, which the login sets, would win over options.
        let own = ["client_encoding", "application_name"];
        let options: Vec<String> = settings
            .iter()
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .map(|(name, value)| format!("-c {}={}", escaped(name), escaped(value)))
            .collect();
        let name = settings.get("application_name");
        config.application_name(name.map_or("", String::as_str));
        config.options(options.join(" "));
        let encoding = settings.get("client_encoding");
        let encoding = encoding.map(|value| format!("SET client_encoding TO {}", literal(value)));
        let mut measured = MessageStream::new(&mut *stream, 1 + usize::from(encoding.is_some()));
        let (client, mut connection) = config
            .connect_raw(&mut measured, NoTls)
            .await
            .map_err(|error| WireError::of(&error))?;
        if let Some(set) = encoding {
            let done = tokio::select! {
                done = client.batch_execute(&set) => done,
                ended = &mut connection => ended,
            };
            done.map_err(|error| WireError::of(&error))?;
        }
        let reported = REPORTED.iter().filter_map(|name| {
            let value = connection.parameter(name)?;
            Some(((*name).to_owned(), value.to_owned()))
        });
        let parameters = reported.collect();
        let token = client.cancel_token();
        drop(connection);
        Ok(Wire {
            stream,
            parameters,
            cancel: Canceller {
                url: url.clone(),
                token,
            },
        })
    };
    tokio::time::timeout(CONNECT_TIMEOUT * 2, connecting)
        .await
        .unwrap_or_else(|_| Err(WireError::new("the server does not answer")))
}

/// As it is written in `options` (libpq-connect.html, "options").
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\\' || character.is_ascii_whitespace() {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// A connection, with TLS as the URL wants it.
async fn dial(url: &PostgresUrl) -> Result<Box<dyn Duplex>, WireError> {
    let out_of_reach =
        |error: io::Error| WireError::new(format!("the server is out of reach: {error}"));
    if url.is_socket() {
        let path = format!("{}/.s.PGSQL.{}", url.host, url.port);
        let stream = UnixStream::connect(path).await.map_err(out_of_reach)?;
        return Ok(Box::new(stream));
    }
    let mut stream = TcpStream::connect((url.host.as_str(), url.port))
        .await
        .map_err(out_of_reach)?;
    stream.set_nodelay(true).map_err(out_of_reach)?;
    if url.tls == TlsMode::Disable {
        return Ok(Box::new(stream));
    }
    stream.write_all(&SSL_REQUEST).await.map_err(out_of_reach)?;
    match stream.read_u8().await.map_err(out_of_reach)? {
        b'S' => {
            let mut tls = Tls::new(url).map_err(WireError::new)?;
            let handshake: Result<_, io::Error> =
                MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, &url.host);
            let encrypted = handshake
                .map_err(out_of_reach)?
                .connect(stream)
                .await
                .map_err(out_of_reach)?;
            Ok(Box::new(encrypted))
        }
        _ if url.tls == TlsMode::Prefer => Ok(Box::new(stream)),
        _ => Err(WireError::new("the server does not speak TLS")),
    }
}

/// Type and length of a message.
const HEAD_BYTES: usize = 5;
/// The type of the message that says that the server waits for a query.
const READY: u8 = b'Z';

/// Reads no further than to the end of a message, and nothing more after some that say that the server is ready.
struct MessageStream<'s> {
    stream: &'s mut dyn Duplex,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    body_bytes: usize,
    ready_left: usize,
}

impl<'s> MessageStream<'s> {
    fn new(stream: &'s mut dyn Duplex, ready_left: usize) -> Self {
        Self {
            stream,
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            body_bytes: 0,
            ready_left,
        }
    }

    /// How far it may be read.
    fn wanted(&self) -> usize {
        if self.head_bytes < HEAD_BYTES {
            HEAD_BYTES - self.head_bytes
        } else {
            self.body_bytes
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        if self.head_bytes < HEAD_BYTES {
            self.head[self.head_bytes..self.head_bytes + bytes.len()].copy_from_slice(bytes);
            self.head_bytes += bytes.len();
            if self.head_bytes < HEAD_BYTES {
                return;
            }
            let [_, length @ ..] = self.head;
            // The length counts itself. A senseless one is for the reader to find.
            self.body_bytes = (u32::from_be_bytes(length) as usize).saturating_sub(4);
        } else {
            self.body_bytes -= bytes.len();
        }
        if self.body_bytes == 0 {
            self.head_bytes = 0;
            if self.head[0] == READY {
                self.ready_left -= 1;
            }
        }
    }
}

impl AsyncRead for MessageStream<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ready_left == 0 {
            // Whoever waits has what he needs, and is not woken.
            return Poll::Pending;
        }
        let mut part = [0_u8; 4 << 10];
        let wanted = self.wanted().min(buf.remaining()).min(part.len());
        let mut part = ReadBuf::new(&mut part[..wanted]);
        ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        self.take_in(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MessageStream<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
