//! What the application asks of its host: `wit/crypto.wit` and `wit/attestation.wit` as traits.
//!
//! Two implementations of each trait: the component shim and the native double of the tests. An implementation
//! holds the handles of its call, so `generate` and `forget` fail where there is no writer.

use model::evidence::Platform;
use std::collections::BTreeMap;

use kv::TxId;
use model::{Digest, ServiceId};
use serde_json::Value as JsonValue;

/// Kinds of named keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// RSA, 3072 bits.
    Rsa3072,
}

/// Signature schemes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignatureAlg {
    /// RSASSA-PKCS1-v1_5 with SHA-256: tokens.
    RsaPkcs1Sha256,
    /// RSASSA-PSS, SHA-256, salt 32: payloads of workloads.
    RsaPssSha256,
}

/// Why a cryptographic request failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CryptoError {
    /// No key of this name.
    #[error("no such key")]
    NoSuchKey,
    /// The key is not of a kind that does this.
    #[error("unsuitable key")]
    UnsuitableKey,
    /// An argument cannot be read.
    #[error("{0}")]
    Malformed(String),
}

/// What verified evidence says.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedEvidence {
    /// The 64 bytes bound into it.
    pub report_data: Vec<u8>,
    /// Claims by name.
    pub claims: BTreeMap<String, JsonValue>,
    /// SHA-256 of the evidence.
    pub evidence_digest: Digest,
    /// Whether verified endorsements cover the launch measurement.
    pub uvm_endorsed: bool,
    /// Nonce of a TPM quote, else empty.
    pub quote_nonce: Vec<u8>,
}

/// Why evidence was not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EvidenceError {
    /// Unknown here.
    #[error("the platform is not accepted by this node")]
    UnsupportedPlatform,
    /// Malformed, or a check failed.
    #[error("{0}")]
    Failed(String),
}

/// What is wrong with a nonce.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NonceError {
    /// Not of a nonce's form.
    #[error("the nonce is malformed")]
    Malformed,
    /// Another service's.
    #[error("the nonce is not of this service")]
    Foreign,
    /// Too old.
    #[error("the nonce has expired; ask for another")]
    Expired,
}

/// How anything secret leaves. Not among the [`HostServices`], which every handler has: what is
/// wrapped is released, and only a permit releases.
///
/// ```compile_fail,E0599
/// fn released_by_the_way(host: &dyn governance_app::HostServices) {
///     let _ = host.wrap("-----BEGIN PUBLIC KEY-----", b"secret");
/// }
/// ```
pub trait KeyWrapping {
    /// Encrypts to an RSA public key given as PEM (`attestation-secrets-oidc.md` §2.1).
    ///
    /// # Errors
    ///
    /// [`CryptoError`] if the key cannot be used.
    fn wrap(&self, recipient_pem: &str, plain: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

/// The host, as the application's handlers see it.
pub trait HostServices {
    /// Makes a named key and gives its public half, PEM. The private half stays with the host.
    ///
    /// # Errors
    ///
    /// [`CryptoError`] if this call may not write.
    fn generate(&self, name: &str, kind: KeyKind) -> Result<String, CryptoError>;

    /// Removes a named key.
    ///
    /// # Errors
    ///
    /// [`CryptoError`] if this call may not write.
    fn forget(&self, name: &str) -> Result<(), CryptoError>;

    /// Signs with a named key.
    ///
    /// # Errors
    ///
    /// [`CryptoError`] if there is no such key or it does not do this.
    fn sign(&self, name: &str, alg: SignatureAlg, message: &[u8]) -> Result<Vec<u8>, CryptoError>;

    /// Whether a signature verifies under a public key given as PEM.
    ///
    /// # Errors
    ///
    /// [`CryptoError`] if the key cannot be used.
    fn verify_signature(
        &self,
        alg: SignatureAlg,
        public_key_pem: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, CryptoError>;

    /// Modulus length in bits of an RSA public key in canonical PEM.
    ///
    /// # Errors
    ///
    /// [`CryptoError`] if it is something else.
    fn rsa_bits(&self, public_key_pem: &str) -> Result<u32, CryptoError>;

    /// Modulus and exponent, big-endian.
    ///
    /// # Errors
    ///
    /// [`CryptoError`] if the PEM holds something else.
    fn rsa_components(&self, public_key_pem: &str) -> Result<(Vec<u8>, Vec<u8>), CryptoError>;

    /// SHA-256.
    fn sha256(&self, message: &[u8]) -> Digest;

    /// Fresh random bytes, at most 64.
    fn random(&self, length: u32) -> Vec<u8>;

    /// Verifies the `attestation` object of a request.
    ///
    /// # Errors
    ///
    /// [`EvidenceError`] naming the check that failed.
    fn verify_evidence(
        &self,
        platform: Platform,
        evidence_json: &[u8],
    ) -> Result<VerifiedEvidence, EvidenceError>;

    /// A fresh nonce and its expiry in Unix milliseconds.
    fn mint_nonce(&self) -> (Vec<u8>, u64);

    /// Form, origin and age of a nonce; gives its expiry in Unix milliseconds.
    ///
    /// # Errors
    ///
    /// [`NonceError`].
    fn check_nonce(&self, nonce: &[u8]) -> Result<u64, NonceError>;

    /// Whom evidence of fresh requests must name: this service.
    ///
    /// # Errors
    ///
    /// [`CryptoError::Malformed`] if the host gives no digest, which is a fault of the host.
    fn service(&self) -> Result<ServiceId, CryptoError>;

    /// Whether this is a transaction of this ledger, committed in the view that it names.
    fn is_committed(&self, id: TxId) -> bool;

    /// Whether the node was started with `--insecure-virtual`.
    fn insecure_virtual(&self) -> bool;
}
