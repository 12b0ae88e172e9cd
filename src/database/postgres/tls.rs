//! TLS for the connection to PostgreSQL: with the certificate looked at, or, as libpq does for
//! `sslmode=require`, only encrypted.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::database::postgres::url::{PostgresUrl, TlsMode};
use crate::http::{certificates_of, system_roots};

/// Makes the TLS side of a connection.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// # Errors
    /// The certificates to trust cannot be read.
    pub(crate) fn new(url: &PostgresUrl) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let demanded = match url.tls {
            TlsMode::VerifyCa | TlsMode::VerifyFull => {
                let trusted = trusted(url)?;
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(trusted.iter().cloned());
                if roots.is_empty() {
                    return Err(
                        "there is no certificate to trust; name one with sslrootcert=".to_owned(),
                    );
                }
                Some(Demanded {
                    roots,
                    trusted,
                    is_named: url.tls == TlsMode::VerifyFull,
                })
            }
            _ => None,
        };
        let verifier = Arc::new(Verifier { provider, demanded });
        let config = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// The certificates to trust: those of `sslrootcert`, of libpq's own file, or the system's.
fn trusted(url: &PostgresUrl) -> Result<Vec<CertificateDer<'static>>, String> {
    let own = || {
        let home = std::env::var_os("HOME")?;
        let file = std::path::Path::new(&home).join(".postgresql/root.crt");
        file.exists().then_some(file)
    };
    match url.root_certificate.clone().or_else(own) {
        Some(file) if file.as_os_str() != "system" => {
            certificates_of(&file).map_err(|why| format!("{} {why}", file.display()))
        }
        _ => Ok(system_roots()),
    }
}

/// Takes the certificates that meet what is demanded, or every one; the handshake must be signed by it in any
/// case.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    demanded: Option<Demanded>,
}

/// A certificate that somebody known has signed; with `is_named` it must name the host
/// (postgresql.org/docs/current/libpq-ssl.html, 34.19.1).
#[derive(Debug)]
struct Demanded {
    roots: RootCertStore,
    trusted: Vec<CertificateDer<'static>>,
    is_named: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(demanded) = &self.demanded else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let signed = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &demanded.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        );
        if let Err(error) = signed {
            // A certificate that its owner has signed is trusted by being named itself. That it is valid
            // today is looked at before what it may be used for.
            let is_authority = error.to_string().contains("CaUsedAsEndEntity");
            if !(is_authority && demanded.trusted.contains(end_entity)) {
                return Err(if is_authority {
                    Error::General(UNTRUSTED.to_owned())
                } else {
                    in_words(error)
                });
            }
        }
        if demanded.is_named {
            verify_server_name(&certificate, server_name).map_err(in_words)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

const UNTRUSTED: &str = "the server's certificate is signed by nobody who is trusted; name who signed it with \
                         sslrootcert=";

fn in_words(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Error::General(UNTRUSTED.to_owned()),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Error::General(
            "the server's certificate does not name the host of the URL among its alternative names, and \
             sslmode=verify-full demands it"
                .to_owned(),
        ),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => Error::General("the server's certificate has expired".to_owned()),
        other => other,
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, io::Error> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Handshake(self.0.clone(), name))
    }
}

/// A handshake about to begin.
pub(crate) struct Handshake(Arc<ClientConfig>, ServerName<'static>);

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connector = tokio_rustls::TlsConnector::from(self.0);
        Box::pin(async move { connector.connect(self.1, stream).await.map(Encrypted) })
    }
}

/// An encrypted connection.
pub(crate) struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
