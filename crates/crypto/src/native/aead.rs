//! AES-256-GCM: the ledger's private domain, and small things sealed under a key of their own.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::random_bytes;
use crate::hmac_sha256;

/// Bytes of an initialisation vector.
pub const IV_SIZE: usize = 12;
/// Bytes of an authentication tag.
pub const TAG_SIZE: usize = 16;

/// The cipher text is not what this key sealed with this vector and associated data.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("sealed data does not open: wrong key or altered")]
pub struct NotOpened;

/// A ledger secret: 32 random bytes that seal every private domain from one seqno until the next
/// secret. Wiped when dropped, not printable:
///
/// ```compile_fail,E0277
/// println!("{:?}", crypto::native::LedgerSecret::random());
/// ```
pub struct LedgerSecret {
    bytes: Zeroizing<[u8; 32]>,
    key: LessSafeKey,
}

impl LedgerSecret {
    /// A fresh secret.
    #[must_use]
    pub fn random() -> Self {
        Self::from_bytes(&Zeroizing::new(random_bytes()))
    }

    /// A secret that was unsealed or recovered.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self {
            bytes: Zeroizing::new(*bytes),
            key: key(bytes),
        }
    }

    /// The secret itself, for sealing it under another key. Never log it, never store it in clear.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The key of commit evidence: HMAC-SHA-256 of the eight bytes `Commit S` under this secret
    /// (the label's length is frozen by existing ledgers; `ledger-host.md` §1.12).
    #[must_use]
    pub fn commit_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac_sha256(self.bytes.as_slice(), b"Commit S"))
    }

    /// Seals `plain`. The caller never uses one `iv` for two plain texts under one secret.
    #[must_use]
    pub fn seal(&self, iv: [u8; IV_SIZE], aad: &[u8], plain: &[u8]) -> (Vec<u8>, [u8; TAG_SIZE]) {
        seal_with(&self.key, iv, aad, plain)
    }

    /// Opens what [`Self::seal`] gave.
    ///
    /// # Errors
    ///
    /// [`NotOpened`] if secret, vector, associated data, cipher text or tag differ.
    pub fn open(
        &self,
        iv: [u8; IV_SIZE],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_SIZE],
    ) -> Result<Vec<u8>, NotOpened> {
        open_with(&self.key, iv, aad, ciphertext, tag)
    }
}

/// Seals `plain` under `key` with a fresh vector: tag ‖ iv ‖ cipher text. For the previous ledger
/// secret and the sealed identity.
#[must_use]
pub fn seal_random_iv(key_bytes: &[u8; 32], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    tag_iv_ciphertext(key_bytes, random_bytes(), aad, plain)
}

/// Opens tag ‖ iv ‖ cipher text.
///
/// # Errors
///
/// [`NotOpened`] if key or associated data are others, or the bytes were altered or cut.
pub fn open_sealed(key_bytes: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
    let (tag, rest) = sealed.split_first_chunk::<TAG_SIZE>().ok_or(NotOpened)?;
    let (iv, ciphertext) = rest.split_first_chunk::<IV_SIZE>().ok_or(NotOpened)?;
    open_with(&key(key_bytes), *iv, aad, ciphertext, tag).map(Zeroizing::new)
}

/// Wraps a ledger secret under a key that wraps exactly once, so the vector is twelve zero bytes:
/// `wrapped_latest_ledger_secret` (`ledger-host.md` §1.12). Taking the key by value is what keeps
/// it to one use.
#[must_use]
pub fn wrap_ledger_secret(wrapping_key: Zeroizing<[u8; 32]>, secret: &LedgerSecret) -> Vec<u8> {
    tag_iv_ciphertext(&wrapping_key, [0; IV_SIZE], &[], secret.expose())
}

/// Undoes [`wrap_ledger_secret`].
///
/// # Errors
///
/// [`NotOpened`] if the wrapping key is another one or the bytes were altered.
pub fn unwrap_ledger_secret(wrapping_key: &[u8; 32], wrapped: &[u8]) -> Result<LedgerSecret, NotOpened> {
    let plain = open_sealed(wrapping_key, &[], wrapped)?;
    plain
        .as_slice()
        .try_into()
        .map(LedgerSecret::from_bytes)
        .map_err(|_| NotOpened)
}

fn tag_iv_ciphertext(key_bytes: &[u8; 32], iv: [u8; IV_SIZE], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let (ciphertext, tag) = seal_with(&key(key_bytes), iv, aad, plain);
    [&tag[..], &iv, &ciphertext].concat()
}

fn key(bytes: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 takes 32 bytes"))
}

fn seal_with(key: &LessSafeKey, iv: [u8; IV_SIZE], aad: &[u8], plain: &[u8]) -> (Vec<u8>, [u8; TAG_SIZE]) {
    let mut buffer = plain.to_vec();
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), &mut buffer)
        .expect("GCM seals anything below 64 GiB");
    let tag = tag.as_ref().try_into().expect("a GCM tag has 16 bytes");
    (buffer, tag)
}

fn open_with(
    key: &LessSafeKey,
    iv: [u8; IV_SIZE],
    aad: &[u8],
    ciphertext: &[u8],
    tag: &[u8; TAG_SIZE],
) -> Result<Vec<u8>, NotOpened> {
    let mut plain = vec![0; ciphertext.len()];
    key.open_separate_gather(
        Nonce::assume_unique_for_key(iv),
        Aad::from(aad),
        ciphertext,
        tag,
        &mut plain,
    )
    .map_err(|_| NotOpened)?;
    Ok(plain)
}
