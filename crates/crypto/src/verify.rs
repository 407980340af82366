//! Signature verification behind one trait, so that proofs can be checked with pure Rust in a
//! browser and with aws-lc-rs on the host (decision 28).

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::pkcs8::DecodePublicKey as _;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::spki::{self, KeyKind};

/// What was signed how. Elliptic-curve signatures come in two encodings: `Der` (certificates,
/// the ledger's node signature) and `Fixed`, r ‖ s (COSE, JWS).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignatureAlg {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384: the certificates that sign UVM endorsements.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512: certificates only.
    RsaPkcs1Sha512,
    /// RSASSA-PSS, SHA-256, MGF1-SHA-256, salt 32.
    RsaPssSha256,
    /// RSASSA-PSS, SHA-384, MGF1-SHA-384, salt 48.
    RsaPssSha384,
    /// RSASSA-PSS, SHA-512, MGF1-SHA-512, salt 64.
    RsaPssSha512,
    /// ECDSA with SHA-256, r ‖ s. The curve is the key's.
    EcdsaSha256Fixed,
    /// ECDSA with SHA-384, r ‖ s.
    EcdsaSha384Fixed,
    /// ECDSA with SHA-512, r ‖ s.
    EcdsaSha512Fixed,
    /// ECDSA with SHA-256, DER.
    EcdsaSha256Der,
    /// ECDSA with SHA-384, DER.
    EcdsaSha384Der,
    /// ECDSA with SHA-512, DER.
    EcdsaSha512Der,
    /// ECDSA, DER, where the "message" is 32 bytes that already are a SHA-256 digest. The
    /// ledger's node signature over a Merkle root; any curve.
    EcdsaPrehashedSha256Der,
}

/// The signature does not verify, or key or algorithm cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSignature {
    /// The signature is not of this message under this key.
    #[error("signature does not verify")]
    Mismatch,
    /// The public key cannot be read or is not of the algorithm's kind.
    #[error("unusable public key: {0}")]
    Key(String),
    /// This implementation does not do this algorithm.
    #[error("unsupported signature algorithm")]
    Unsupported,
}

/// Verifies signatures. Implemented by [`Portable`] and, with feature `native`, by
/// `native::Native` on aws-lc-rs.
pub trait VerifySignature {
    /// Checks `signature` over `message` under the public key in `spki_der`
    /// (SubjectPublicKeyInfo, RFC 5280 §4.1.2.7).
    ///
    /// # Errors
    ///
    /// [`BadSignature`] saying whether signature, key or algorithm is at fault.
    fn verify(
        &self,
        alg: SignatureAlg,
        spki_der: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;
}

/// Pure-Rust verification with p256 and p384. RSA and P-521 are [`BadSignature::Unsupported`]
/// here: callers that need them pass a verifier that has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

impl VerifySignature for Portable {
    fn verify(
        &self,
        alg: SignatureAlg,
        spki_der: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let (hash, encoding) = match alg {
            SignatureAlg::EcdsaSha256Fixed => (Sha256::digest(message).to_vec(), Encoding::Fixed),
            SignatureAlg::EcdsaSha384Fixed => (Sha384::digest(message).to_vec(), Encoding::Fixed),
            SignatureAlg::EcdsaSha512Fixed => (Sha512::digest(message).to_vec(), Encoding::Fixed),
            SignatureAlg::EcdsaSha256Der => (Sha256::digest(message).to_vec(), Encoding::Der),
            SignatureAlg::EcdsaSha384Der => (Sha384::digest(message).to_vec(), Encoding::Der),
            SignatureAlg::EcdsaSha512Der => (Sha512::digest(message).to_vec(), Encoding::Der),
            SignatureAlg::EcdsaPrehashedSha256Der if message.len() == 32 => (message.to_vec(), Encoding::Der),
            SignatureAlg::EcdsaPrehashedSha256Der => return Err(BadSignature::Mismatch),
            SignatureAlg::RsaPkcs1Sha256
            | SignatureAlg::RsaPkcs1Sha384
            | SignatureAlg::RsaPkcs1Sha512
            | SignatureAlg::RsaPssSha256
            | SignatureAlg::RsaPssSha384
            | SignatureAlg::RsaPssSha512 => return Err(BadSignature::Unsupported),
        };
        match spki::spki_key_kind(spki_der).map_err(|error| BadSignature::Key(error.to_string()))? {
            KeyKind::EcP256 => {
                let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki_der)
                    .map_err(|error| BadSignature::Key(error.to_string()))?;
                let signature = match encoding {
                    Encoding::Fixed => p256::ecdsa::Signature::from_slice(signature),
                    Encoding::Der => p256::ecdsa::Signature::from_der(signature),
                };
                signature.and_then(|signature| key.verify_prehash(&hash, &signature))
            }
            KeyKind::EcP384 => {
                let key = p384::ecdsa::VerifyingKey::from_public_key_der(spki_der)
                    .map_err(|error| BadSignature::Key(error.to_string()))?;
                let signature = match encoding {
                    Encoding::Fixed => p384::ecdsa::Signature::from_slice(signature),
                    Encoding::Der => p384::ecdsa::Signature::from_der(signature),
                };
                signature.and_then(|signature| key.verify_prehash(&hash, &signature))
            }
            KeyKind::EcP521 => return Err(BadSignature::Unsupported),
            kind @ (KeyKind::Rsa(_) | KeyKind::Other) => {
                return Err(BadSignature::Key(format!("{kind} key for an ECDSA signature")));
            }
        }
        .map_err(|_| BadSignature::Mismatch)
    }
}

enum Encoding {
    Fixed,
    Der,
}
