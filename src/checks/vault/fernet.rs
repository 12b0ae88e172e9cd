//! Opens a Fernet token: <https://github.com/fernet/spec/blob/master/Spec.md>.
//!
//! The time in the token is not judged: a file of secrets does not expire.

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const VERSION: u8 = 0x80;
const KEY_BYTES: usize = 32;
/// Version and time.
const HEAD_BYTES: usize = 1 + 8;
const IV_BYTES: usize = 16;
const MAC_BYTES: usize = 32;

/// Why a token was not opened; it says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOpened {
    #[error("the key is not a Fernet key (32 bytes in base64url)")]
    Key,
    #[error("it is not a Fernet token")]
    Token,
    #[error("it was not made with this key, or it was changed")]
    Mac,
}

/// The alphabet of URLs, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The plain text of `token`.
pub(super) fn open(token: &[u8], key: &str) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
    let key = Zeroizing::new(BASE64.decode(key.trim()).map_err(|_| NotOpened::Key)?);
    if key.len() != KEY_BYTES {
        return Err(NotOpened::Key);
    }
    let (signing, encryption) = key.split_at(KEY_BYTES / 2);
    let token = BASE64
        .decode(token.trim_ascii())
        .map_err(|_| NotOpened::Token)?;
    if token.first() != Some(&VERSION) || token.len() < HEAD_BYTES + IV_BYTES + MAC_BYTES {
        return Err(NotOpened::Token);
    }
    let (signed, mac) = token.split_at(token.len() - MAC_BYTES);
    let mut hmac = Hmac::<Sha256>::new_from_slice(signing).map_err(|_| NotOpened::Key)?;
    hmac.update(signed);
    hmac.verify_slice(mac).map_err(|_| NotOpened::Mac)?;
    let (iv, cipher_text) = signed[HEAD_BYTES..].split_at(IV_BYTES);
    let mut buffer = Zeroizing::new(cipher_text.to_vec());
    let length = cbc::Decryptor::<Aes128>::new_from_slices(encryption, iv)
        .map_err(|_| NotOpened::Key)?
        .decrypt_padded::<Pkcs7>(&mut buffer)
        .map_err(|_| NotOpened::Mac)?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}
