//! The client: one server, one connection that is kept while it serves, GET and POST.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use super::roots::{certificates_of, system_roots};

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}")]
    Unreachable(String),
    /// The server could not prove who it is.
    #[error("{0}")]
    Untrusted(String),
    /// What it says is not HTTP, or too much of it.
    #[error("{0}")]
    Invalid(String),
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// The path of the address without a slash at its end.
    prefix: String,
}

impl Target {
    /// Reads an address such as `https://vault.example:8200`; the reason never repeats it, because it may
    /// hold a password.
    pub(crate) fn parse(address: &str) -> Result<Self, &'static str> {
        let uri: Uri = address.parse().map_err(|_| "is not a URL")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("is neither an https:// nor an http:// address"),
        };
        let authority = uri.authority().ok_or("names no host")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("names no host");
        }
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The server that a whole URL leads to, and the path with the query that it names there.
    pub(crate) fn of_url(url: &str) -> Result<(Self, String), &'static str> {
        let target = Self::parse(url)?;
        let uri: Uri = url.parse().map_err(|_| "is not a URL")?;
        let path = match uri.query() {
            Some(query) => format!("{}?{query}", uri.path()),
            None => uri.path().to_owned(),
        };
        let prefix = String::new();
        Ok((Self { prefix, ..target }, path))
    }

    /// Whether what is sent stays on this host.
    pub(crate) fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// How much of a body is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BodyLimit {
    /// All of it; more than so many bytes are an error.
    AtMost(usize),
    /// The first so many bytes; the rest is not read.
    First(usize),
}

/// An answer.
pub(crate) struct Answer {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
}

/// A conversation with one server. Its connection ends with it.
pub(crate) struct Client {
    target: Target,
    /// Asked in place of the target's host.
    socket: Option<PathBuf>,
    /// The process that listens on `socket`, as far as that is known.
    peer: Option<u32>,
    tls: Option<TlsConnector>,
    sender: Option<SendRequest<Full<Bytes>>>,
    connections: JoinSet<()>,
}

impl Client {
    /// A client that trusts the authorities in `ca_file`, or those of the system.
    pub(crate) fn new(target: Target, ca_file: Option<&Path>) -> Result<Self, HttpError> {
        let tls = if target.tls {
            Some(TlsConnector::from(tls_config(ca_file)?))
        } else {
            None
        };
        Ok(Self {
            target,
            socket: None,
            peer: None,
            tls,
            sender: None,
            connections: JoinSet::new(),
        })
    }

    /// Asks a socket in the file system in place of the target's host.
    pub(crate) fn over_socket(mut self, socket: Option<PathBuf>) -> Self {
        self.socket = socket;
        self
    }

    /// The process that answered over the socket (`SO_PEERCRED`: the one that began to listen).
    pub(crate) fn peer(&self) -> Option<u32> {
        self.peer
    }

    /// GET of `path`, which begins with `/`, below the path of the address. Nothing is sent but `headers`, the host and
    /// who asks; a header that is given takes the place of ours.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        wanted: BodyLimit,
    ) -> Result<Answer, HttpError> {
        let get = (Method::GET, String::new());
        self.ask(get, path, headers, wanted).await
    }

    /// POST of `body` to a path below the address.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: String,
        wanted: BodyLimit,
    ) -> Result<Answer, HttpError> {
        self.ask((Method::POST, body), path, headers, wanted).await
    }

    async fn ask(
        &mut self,
        (method, body): (Method, String),
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        wanted: BodyLimit,
    ) -> Result<Answer, HttpError> {
        if let Some(sender) = &mut self.sender {
            // An error: the server closed the connection, as it may between two requests.
            if sender.ready().await.is_err() {
                self.sender = None;
            }
        }
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.target.prefix))
            .header("host", self.target.authority())
            .header("user-agent", concat!("ubs/", env!("CARGO_PKG_VERSION")));
        let mut request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| HttpError::Invalid(format!("the request cannot be made: {error}")))?;
        for (name, value) in headers {
            request.headers_mut().insert(name, value.clone());
        }
        let response = sender.send_request(request).await.map_err(http_error)?;
        let status = response.status().as_u16();
        let mut body = Zeroizing::new(Vec::new());
        let mut frames = response.into_body();
        let (BodyLimit::AtMost(bytes_max) | BodyLimit::First(bytes_max)) = wanted;
        loop {
            if matches!(wanted, BodyLimit::First(_)) && body.len() >= bytes_max {
                // The connection still holds the rest.
                return Ok(Answer { status, body });
            }
            let Some(frame) = frames.frame().await else {
                break;
            };
            let Ok(data) = frame.map_err(http_error)?.into_data() else {
                continue;
            };
            if matches!(wanted, BodyLimit::AtMost(_)) && body.len() + data.len() > bytes_max {
                let message = format!("it answers with more than {bytes_max} bytes");
                return Err(HttpError::Invalid(message));
            }
            let room = bytes_max - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
        }
        self.sender = Some(sender);
        Ok(Answer { status, body })
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        if let Some(socket) = &self.socket {
            let stream = UnixStream::connect(socket).await.map_err(refused)?;
            let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
            self.peer = peer.and_then(|pid| u32::try_from(pid).ok());
            return self.talk_over(stream).await;
        }
        let stream = dial(&self.target).await?;
        self.talk_over(stream).await
    }

    async fn talk_over<S>(&mut self, stream: S) -> Result<SendRequest<Full<Bytes>>, HttpError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = &self.tls else {
            return handshake(stream, &mut self.connections).await;
        };
        let stream = secure(tls, &self.target, stream).await?;
        handshake(stream, &mut self.connections).await
    }
}

fn refused(error: std::io::Error) -> HttpError {
    HttpError::Unreachable(format!("cannot connect: {error}"))
}

async fn dial(target: &Target) -> Result<TcpStream, HttpError> {
    let host = (target.host.as_str(), target.port);
    TcpStream::connect(host).await.map_err(refused)
}

/// TLS over what is connected, if the server can prove that it is the target's host.
async fn secure<S>(
    connector: &TlsConnector,
    target: &Target,
    stream: S,
) -> Result<TlsStream<S>, HttpError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let name = ServerName::try_from(target.host.clone())
        .map_err(|_| HttpError::Unreachable("its host is no name and no address".to_owned()))?;
    connector.connect(name, stream).await.map_err(tls_error)
}

/// The certificate that a server shows, in DER, if it is trusted.
///
/// # Errors
/// There is no connection, or it is not trusted.
pub(crate) async fn server_certificate(
    target: &Target,
    ca_file: Option<&Path>,
) -> Result<Vec<u8>, HttpError> {
    let connector = TlsConnector::from(tls_config(ca_file)?);
    let stream = dial(target).await?;
    let stream = secure(&connector, target, stream).await?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().unwrap_or_default();
    shown
        .first()
        .map(|certificate| certificate.to_vec())
        .ok_or_else(|| HttpError::Invalid("it shows no certificate".to_owned()))
}

async fn handshake<S>(
    stream: S,
    connections: &mut JoinSet<()>,
) -> Result<SendRequest<Full<Bytes>>, HttpError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(http_error)?;
    // Ends with the client; what goes wrong in it is reported to the sender.
    connections.spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

fn http_error(error: hyper::Error) -> HttpError {
    let source = std::error::Error::source(&error).map(ToString::to_string);
    let message = match source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if error.is_parse() {
        return HttpError::Invalid(format!("what it answers is not HTTP: {message}"));
    }
    HttpError::Unreachable(message)
}

fn tls_error(error: std::io::Error) -> HttpError {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            HttpError::Untrusted(format!("its certificate is not trusted: {why}"))
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            HttpError::Invalid("what it answers is not TLS".to_owned())
        }
        _ => HttpError::Unreachable(format!("no TLS connection: {error}")),
    }
}

/// What a TLS connection needs. The authorities of the system are read once: a probe asks every second.
fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, HttpError> {
    static OF_THE_SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if ca_file.is_some() {
        return make_tls_config(ca_file).map(Arc::new);
    }
    if let Some(known) = OF_THE_SYSTEM.get() {
        return Ok(Arc::clone(known));
    }
    let made = Arc::new(make_tls_config(None)?);
    Ok(Arc::clone(OF_THE_SYSTEM.get_or_init(|| made)))
}

fn make_tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, HttpError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => drop(roots.add_parsable_certificates(system_roots())),
        Some(file) => {
            let untrusted =
                |why: &str| HttpError::Untrusted(format!("the file of authorities {why}"));
            for certificate in certificates_of(file).map_err(untrusted)? {
                let added = roots.add(certificate);
                added.map_err(|_| untrusted("has a certificate that cannot be read"))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Unreachable(format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_url_is_taken_apart_where_its_authority_ends() {
        for (url, server, wanted) in [
            ("http://h:8000", "http://h:8000", "/"),
            ("http://h/a/b/?c=/d#e", "http://h:80", "/a/b/?c=/d"),
            ("https://h?to=/a", "https://h:443", "/?to=/a"),
            ("http://h#a/b", "http://h:80", "/"),
        ] {
            let (target, path) = Target::of_url(url).unwrap();
            assert_eq!(
                (target.to_string().as_str(), path.as_str()),
                (server, wanted)
            );
        }
        assert!(Target::of_url("ftp://h/a").is_err());
    }
}
