//! Wrapping to a caller's RSA key: RSA-OAEP of a fresh AES key, then AES-KWP of the plain text
//! (PKCS#11 `CKM_RSA_AES_KEY_WRAP`). Nothing but the holder of the private half reads it.
//!
//! # Source
//!
//! `attestation-secrets-oidc.md` §2.1; RFC 8017 §7.1; RFC 5649.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use zeroize::Zeroizing;

use super::{RsaKeyPair, random_bytes};
use crate::spki::{self, KeyKind, SpkiError};

/// Largest plain text wrapped, in bytes: above every secret, document and token.
pub const PLAIN_SIZE_MAX: usize = 8 * 1024 * 1024;

/// Nothing was wrapped or unwrapped.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WrapError {
    /// The recipient's key.
    #[error("recipient key: {0}")]
    Recipient(#[from] SpkiError),
    /// The recipient's key is RSA of a size outside 2048 to 8192 bits.
    #[error("recipient key: an RSA modulus of {0} bits is not between 2048 and 8192")]
    Bits(u32),
    /// An empty plain text, or one above the limit.
    #[error("plain text of {0} bytes cannot be wrapped")]
    Size(usize),
    /// What came is not a wrapping for this key, or was altered.
    #[error("not wrapped for this key")]
    NotForThisKey,
    /// The library failed for a reason it does not tell.
    #[error("the cryptographic library failed")]
    Failed,
}

/// Wraps `plain` (1 to [`PLAIN_SIZE_MAX`] bytes) to the RSA key in canonical PEM.
///
/// # Errors
///
/// [`WrapError`] if key or plain text is unsuitable.
pub fn wrap(recipient_public_pem: &str, plain: &[u8]) -> Result<Vec<u8>, WrapError> {
    if plain.is_empty() || plain.len() > PLAIN_SIZE_MAX {
        return Err(WrapError::Size(plain.len()));
    }
    let spki = spki::spki_from_public_key_pem(recipient_public_pem)?;
    let key = Zeroizing::new(random_bytes::<32>());
    let mut out = oaep_encrypt(&spki, key.as_slice())?;
    let kek = AesKek::new(&AES_256, key.as_slice()).map_err(|_| WrapError::Failed)?;
    // RFC 5649: eight bytes of header, and padding to a multiple of eight.
    let mut wrapped = vec![0; plain.len().saturating_add(16)];
    let wrapped = kek
        .wrap_with_padding(plain, &mut wrapped)
        .map_err(|_| WrapError::Failed)?;
    out.extend_from_slice(wrapped);
    Ok(out)
}

/// Undoes [`wrap`].
///
/// # Errors
///
/// [`WrapError::NotForThisKey`] if `wrapped` was made for another key or altered.
pub fn unwrap(key: &RsaKeyPair, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
    let (first, second) = wrapped
        .split_at_checked(key.modulus_size())
        .ok_or(WrapError::NotForThisKey)?;
    let aes = key
        .oaep_sha256_decrypt(first)
        .map_err(|_| WrapError::NotForThisKey)?;
    let kek = AesKek::new(&AES_256, &aes).map_err(|_| WrapError::NotForThisKey)?;
    let mut plain = Zeroizing::new(vec![0; second.len()]);
    let length = kek
        .unwrap_with_padding(second, &mut plain)
        .map_err(|_| WrapError::NotForThisKey)?
        .len();
    plain.truncate(length);
    Ok(plain)
}

/// RSA-OAEP (SHA-256 for hash and mask, no label) of a short plain text, to an RSA key given as
/// SubjectPublicKeyInfo: recovery shares.
///
/// # Errors
///
/// [`WrapError`] if the key is unsuitable or the plain text too long for it.
pub fn oaep_encrypt(recipient_spki: &[u8], plain: &[u8]) -> Result<Vec<u8>, WrapError> {
    match spki::spki_key_kind(recipient_spki)? {
        KeyKind::Rsa(2048..=8192) => {}
        KeyKind::Rsa(bits) => return Err(WrapError::Bits(bits)),
        got => {
            return Err(SpkiError::Kind {
                expected: "an RSA key",
                got,
            }
            .into());
        }
    }
    let key = PublicEncryptingKey::from_der(recipient_spki).map_err(|_| SpkiError::Malformed)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| WrapError::Failed)?;
    if plain.len() > key.max_plaintext_size(&OAEP_SHA256_MGF1SHA256) {
        return Err(WrapError::Size(plain.len()));
    }
    let mut out = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, plain, &mut out, None)
        .map_err(|_| WrapError::Failed)?
        .len();
    out.truncate(length);
    Ok(out)
}
