//! Who is trusted to vouch for a server: the system's authorities, or those of one file in PEM form.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys};

use crate::manifest::read_small;

/// Largest file of authorities.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The certificates that the system trusts; those that cannot be read are left out.
pub(crate) fn system_roots() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// The certificates of a file in PEM form, at least one.
///
/// # Errors
/// What is wrong with the file, as the rest of a sentence that begins with it.
pub(crate) fn certificates_of(file: &Path) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let pem = read_small(file, FILE_BYTES_MAX).map_err(|_| "cannot be read")?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| "is not in PEM form")?;
    if certificates.is_empty() {
        return Err("has no certificate to trust");
    }
    Ok(certificates)
}

/// The key of a file is that of the first certificate of another one; so is what cannot be read, or is locked by a
/// password: nothing is known against it.
pub(crate) fn fits(certificate: &Path, key: &Path) -> bool {
    let Ok(chain) = certificates_of(certificate) else {
        return true;
    };
    let pem = read_small(key, FILE_BYTES_MAX).ok();
    let key = pem.and_then(|pem| PrivateKeyDer::from_pem_slice(&pem).ok());
    let Some(key) = key.and_then(|key| any_supported_type(&key).ok()) else {
        return true;
    };
    let found = CertifiedKey::new(chain, Arc::clone(&key)).keys_match();
    !matches!(
        found,
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch))
    )
}
