//! A small HTTP client for a vault: one connection, no proxy, no redirect, verified TLS, bounded answers.
//!
//! It has no time limit of its own: who calls it bounds the whole conversation.

use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use crate::manifest::read_small;

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Largest body of an answer.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest file of authorities.
const CA_BYTES_MAX: u64 = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("{0}")]
    Unreachable(String),
    /// The server could not prove who it is.
    #[error("{0}")]
    Untrusted(String),
    /// What it says is not HTTP, or too much of it.
    #[error("{0}")]
    Invalid(String),
}

/// Where a vault is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// What stands before `/v1`.
    prefix: String,
}

impl Target {
    /// Reads an address such as `https://vault.example:8200`; the reason never repeats it, because it may
    /// hold a password.
    pub(super) fn parse(address: &str) -> Result<Self, &'static str> {
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

    /// Whether what is sent stays on this host.
    pub(super) fn is_loopback(&self) -> bool {
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

/// An answer.
pub(super) struct Answer {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
}

/// Who asks.
pub(super) struct Credentials {
    pub token: Zeroizing<String>,
    pub namespace: Option<String>,
}

/// A conversation with one vault.
pub(super) struct Client {
    target: Target,
    tls: Option<TlsConnector>,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl Client {
    /// A client that trusts the authorities in `ca_file`, or those of the system.
    pub(super) fn new(target: Target, ca_file: Option<&Path>) -> Result<Self, NoAnswer> {
        let tls = if target.tls {
            Some(TlsConnector::from(Arc::new(tls_config(ca_file)?)))
        } else {
            None
        };
        Ok(Self {
            target,
            tls,
            sender: None,
        })
    }

    /// GET of `path`, which begins with `/v1/`. `who`: nothing secret is sent without it.
    pub(super) async fn get(
        &mut self,
        path: &str,
        who: Option<&Credentials>,
    ) -> Result<Answer, NoAnswer> {
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
        let mut request = Request::get(format!("{}{path}", self.target.prefix))
            .header("host", self.target.authority())
            .header("user-agent", concat!("ubs/", env!("CARGO_PKG_VERSION")))
            // The servers refuse requests that a browser was tricked into without it.
            .header("x-vault-request", "true");
        if let Some(who) = who {
            let mut token = hyper::header::HeaderValue::from_str(&who.token).map_err(|_| {
                NoAnswer::Invalid("the token has characters that no token has".to_owned())
            })?;
            token.set_sensitive(true);
            request = request.header("x-vault-token", token);
            if let Some(namespace) = &who.namespace {
                request = request.header("x-vault-namespace", namespace);
            }
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| NoAnswer::Invalid(format!("the request cannot be made: {error}")))?;
        let response = sender.send_request(request).await.map_err(http_error)?;
        let status = response.status().as_u16();
        let mut body = Zeroizing::new(Vec::new());
        let mut frames = response.into_body();
        while let Some(frame) = frames.frame().await {
            let Ok(data) = frame.map_err(http_error)?.into_data() else {
                continue;
            };
            if body.len() + data.len() > BODY_BYTES_MAX {
                let message = format!("it answers with more than {BODY_BYTES_MAX} bytes");
                return Err(NoAnswer::Invalid(message));
            }
            body.extend_from_slice(&data);
        }
        self.sender = Some(sender);
        Ok(Answer { status, body })
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, NoAnswer> {
        let stream = TcpStream::connect((self.target.host.as_str(), self.target.port))
            .await
            .map_err(|error| NoAnswer::Unreachable(format!("cannot connect: {error}")))?;
        let Some(tls) = &self.tls else {
            return handshake(stream).await;
        };
        let name = ServerName::try_from(self.target.host.clone())
            .map_err(|_| NoAnswer::Unreachable("its host is no name and no address".to_owned()))?;
        let stream = tls.connect(name, stream).await.map_err(tls_error)?;
        handshake(stream).await
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Empty<Bytes>>, NoAnswer>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(http_error)?;
    // Ends with the runtime at the latest; what goes wrong in it is told to the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

fn http_error(error: hyper::Error) -> NoAnswer {
    let source = std::error::Error::source(&error).map(ToString::to_string);
    let message = match source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if error.is_parse() {
        return NoAnswer::Invalid(format!("what it answers is not HTTP: {message}"));
    }
    NoAnswer::Unreachable(message)
}

fn tls_error(error: std::io::Error) -> NoAnswer {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            NoAnswer::Untrusted(format!("its certificate is not trusted: {why}"))
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            NoAnswer::Invalid("what it answers is not TLS".to_owned())
        }
        _ => NoAnswer::Unreachable(format!("no TLS connection: {error}")),
    }
}

fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, NoAnswer> {
    let roots = match ca_file {
        Some(file) => roots_of(file)?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| NoAnswer::Unreachable(format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn roots_of(file: &Path) -> Result<RootCertStore, NoAnswer> {
    let untrusted = |why: &str| NoAnswer::Untrusted(format!("the file of authorities {why}"));
    let pem = read_small(file, CA_BYTES_MAX).map_err(|_| untrusted("cannot be read"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| untrusted("is not in PEM form"))?;
        roots
            .add(certificate)
            .map_err(|_| untrusted("has a certificate that cannot be read"))?;
    }
    if roots.is_empty() {
        return Err(untrusted("has no certificate"));
    }
    Ok(roots)
}
