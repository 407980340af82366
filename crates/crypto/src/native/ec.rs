//! Elliptic-curve key pairs: node, service, member and user keys.

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _,
};
use zeroize::Zeroizing;

use super::KeyError;
use crate::verify::SignatureAlg;
use crate::{der, pem, spki};

/// A curve we make keys on. It fixes the hash: SHA-256 with P-256, SHA-384 with P-384.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl Curve {
    /// Bytes of one signature half, r or s.
    #[must_use]
    pub fn half_size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// COSE's number for this curve with its hash: ES256 -7, ES384 -35 (RFC 9053 §2.1).
    #[must_use]
    pub fn cose_alg(self) -> i64 {
        match self {
            Self::P256 => -7,
            Self::P384 => -35,
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        }
    }
}

/// An elliptic-curve key pair. Wiped when dropped.
///
/// It cannot be printed:
///
/// ```compile_fail,E0277
/// let key = crypto::native::EcKeyPair::generate(crypto::native::Curve::P256).unwrap();
/// println!("{key:?}");
/// ```
pub struct EcKeyPair {
    curve: Curve,
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl EcKeyPair {
    /// Makes a fresh key pair.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn generate(curve: Curve) -> Result<Self, KeyError> {
        Self::new(curve, EcdsaKeyPair::generate(curve.signing())?)
    }

    /// Reads PKCS#8 DER; the curve is the key's.
    ///
    /// # Errors
    ///
    /// [`KeyError::Rejected`] if it is no P-256 or P-384 key.
    pub fn from_pkcs8_der(pkcs8: &[u8]) -> Result<Self, KeyError> {
        Self::try_curves(|curve| EcdsaKeyPair::from_pkcs8(curve.signing(), pkcs8))
    }

    /// Reads a PEM file: PKCS#8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`, with or without the
    /// parameters block that OpenSSL writes before it).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if there is no such block or it is no P-256 or P-384 key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        const SEC1: &str = "EC PRIVATE KEY";
        if let Some(start) = text.find("-----BEGIN EC PRIVATE KEY-----") {
            let block = text.get(start..).unwrap_or_default();
            let sec1 = Zeroizing::new(pem::read_one(SEC1, block)?);
            return Self::try_curves(|curve| EcdsaKeyPair::from_private_key_der(curve.signing(), &sec1));
        }
        let pkcs8 = Zeroizing::new(pem::read_one(pem::PRIVATE_KEY, text)?);
        Self::from_pkcs8_der(&pkcs8)
    }

    /// The private key as PKCS#8 DER, for sealing.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Ok(Zeroizing::new(self.pair.to_pkcs8v1()?.as_ref().to_vec()))
    }

    /// The private key as PEM (`PRIVATE KEY`), for a member's own key file.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        Ok(Zeroizing::new(pem::encode(
            pem::PRIVATE_KEY,
            &self.to_pkcs8_der()?,
        )))
    }

    /// The key's curve.
    #[must_use]
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// The public key, SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The public key as canonical PEM, no newline at the end.
    #[must_use]
    pub fn public_pem(&self) -> String {
        pem::encode_bare(pem::PUBLIC_KEY, &self.spki)
    }

    /// Lower-case hex of the SHA-256 of the public key.
    #[must_use]
    pub fn key_id(&self) -> String {
        spki::key_id(&self.spki)
    }

    /// The algorithm of [`Self::sign_der`].
    #[must_use]
    pub fn der_alg(&self) -> SignatureAlg {
        match self.curve {
            Curve::P256 => SignatureAlg::EcdsaSha256Der,
            Curve::P384 => SignatureAlg::EcdsaSha384Der,
        }
    }

    /// The algorithm of [`Self::sign_fixed`].
    #[must_use]
    pub fn fixed_alg(&self) -> SignatureAlg {
        match self.curve {
            Curve::P256 => SignatureAlg::EcdsaSha256Fixed,
            Curve::P384 => SignatureAlg::EcdsaSha384Fixed,
        }
    }

    /// Signs `message` with the curve's hash; DER, as certificates have it.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec())
    }

    /// Signs `message` with the curve's hash; r ‖ s, as COSE and JWS have it.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        der::ecdsa_to_fixed(&self.sign_der(message)?, self.curve.half_size()).ok_or(KeyError::Failed)
    }

    /// Signs 32 bytes that already are a SHA-256 digest (the ledger's node signature over a
    /// Merkle root); DER. P-256 only: aws-lc-rs signs a digest only with the curve's own hash.
    ///
    /// # Errors
    ///
    /// [`KeyError::Curve`] for another curve, [`KeyError::Failed`] if the library fails.
    pub fn sign_prehashed_sha256_der(&self, digest: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        if self.curve != Curve::P256 {
            return Err(KeyError::Curve("P-256"));
        }
        let digest = Digest::import_less_safe(digest, &SHA256)?;
        Ok(self.pair.sign_digest(&digest)?.as_ref().to_vec())
    }

    /// The public point, uncompressed (SEC 1 §2.3.3).
    pub(super) fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn new(curve: Curve, pair: EcdsaKeyPair) -> Result<Self, KeyError> {
        let spki = pair.public_key().as_der()?.as_ref().to_vec();
        Ok(Self { curve, pair, spki })
    }

    fn try_curves(
        read: impl Fn(Curve) -> Result<EcdsaKeyPair, aws_lc_rs::error::KeyRejected>,
    ) -> Result<Self, KeyError> {
        match read(Curve::P384) {
            Ok(pair) => Self::new(Curve::P384, pair),
            Err(_) => Self::new(Curve::P256, read(Curve::P256)?),
        }
    }
}
