//! The host's services natively: aws-lc-rs and the `attestation` crate, without a ledger.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crypto::native::wrap::wrap;
use crypto::native::{Native, RsaBits, RsaKeyPair};
use crypto::verify::VerifySignature as _;
use crypto::{spki, verify};
use governance_app::{
    CryptoError, EvidenceError, HostServices, KeyKind, KeyWrapping, NonceError, SignatureAlg,
    VerifiedEvidence,
};
use kv::TxId;
use model::evidence::Platform;
use model::{Digest, ServiceId};
use serde_json::Value as JsonValue;

/// A node started with or without `--insecure-virtual`; `virtual` evidence is accepted either way,
/// so that policy rules can be seen on their own.
pub struct NativeHost {
    pub insecure_virtual: Cell<bool>,
    pub now_ms: Cell<u64>,
    keys: RefCell<BTreeMap<String, RsaKeyPair>>,
    minted: Cell<u64>,
}

/// This service.
pub const SERVICE: ServiceId = ServiceId(Digest([0x5e; 32]));

/// The last of the transactions that this host's ledger holds; there is one view.
pub const COMMITTED: TxId = TxId::new(2, 1_000_000);

const NONCE_LIFE_MS: u64 = 300_000;

impl NativeHost {
    pub fn new(now_ms: u64) -> Self {
        Self {
            insecure_virtual: Cell::new(true),
            now_ms: Cell::new(now_ms),
            keys: RefCell::default(),
            minted: Cell::new(0),
        }
    }

    pub fn has_key(&self, name: &str) -> bool {
        self.keys.borrow().contains_key(name)
    }
}

fn malformed(error: impl std::fmt::Display) -> CryptoError {
    CryptoError::Malformed(error.to_string())
}

/// A confidential VM as if it had been verified: recorded ones do not bind keys of these tests.
fn pretended_machine(attestation: &JsonValue) -> Option<VerifiedEvidence> {
    let machine = attestation.get("machine")?;
    Some(VerifiedEvidence {
        report_data: hex::decode(machine["userData"].as_str()?).ok()?,
        claims: serde_json::from_value(machine["claims"].clone()).ok()?,
        evidence_digest: Digest::ZERO,
        uvm_endorsed: false,
        quote_nonce: model::b64::decode(machine["nonce"].as_str()?).ok()?,
    })
}

impl KeyWrapping for NativeHost {
    fn wrap(&self, recipient_pem: &str, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        wrap(recipient_pem, plain).map_err(malformed)
    }
}

impl HostServices for NativeHost {
    fn generate(&self, name: &str, kind: KeyKind) -> Result<String, CryptoError> {
        let KeyKind::Rsa3072 = kind;
        let key = RsaKeyPair::generate(RsaBits::B3072).map_err(malformed)?;
        let pem = key.public_pem();
        self.keys.borrow_mut().insert(name.to_owned(), key);
        Ok(pem)
    }

    fn forget(&self, name: &str) -> Result<(), CryptoError> {
        self.keys.borrow_mut().remove(name);
        Ok(())
    }

    fn sign(&self, name: &str, alg: SignatureAlg, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let keys = self.keys.borrow();
        let key = keys.get(name).ok_or(CryptoError::NoSuchKey)?;
        match alg {
            SignatureAlg::RsaPkcs1Sha256 => key.sign_pkcs1_sha256(message),
            SignatureAlg::RsaPssSha256 => key.sign_pss_sha256(message),
        }
        .map_err(malformed)
    }

    fn verify_signature(
        &self,
        alg: SignatureAlg,
        public_key_pem: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, CryptoError> {
        let spki = spki::spki_from_public_key_pem(public_key_pem).map_err(malformed)?;
        let alg = match alg {
            SignatureAlg::RsaPkcs1Sha256 => verify::SignatureAlg::RsaPkcs1Sha256,
            SignatureAlg::RsaPssSha256 => verify::SignatureAlg::RsaPssSha256,
        };
        Ok(Native.verify(alg, &spki, message, signature).is_ok())
    }

    fn rsa_bits(&self, public_key_pem: &str) -> Result<u32, CryptoError> {
        let spki = spki::spki_from_public_key_pem(public_key_pem).map_err(malformed)?;
        match spki::spki_key_kind(&spki).map_err(malformed)? {
            spki::KeyKind::Rsa(bits) => Ok(bits),
            _ => Err(CryptoError::UnsuitableKey),
        }
    }

    fn rsa_components(&self, public_key_pem: &str) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        let spki = spki::spki_from_public_key_pem(public_key_pem).map_err(malformed)?;
        spki::rsa_components(&spki).map_err(malformed)
    }

    fn sha256(&self, message: &[u8]) -> Digest {
        crypto::sha256(message)
    }

    fn random(&self, length: u32) -> Vec<u8> {
        crypto::native::random_vec(length as usize)
    }

    fn verify_evidence(
        &self,
        platform: Platform,
        evidence_json: &[u8],
    ) -> Result<VerifiedEvidence, EvidenceError> {
        let failed = |error: attestation::Rejected| EvidenceError::Failed(error.to_string());
        let attestation = attestation::parse_json(evidence_json).map_err(failed)?;
        if let Some(pretended) = pretended_machine(&attestation) {
            return Ok(pretended);
        }
        let evidence = attestation::Evidence {
            platform,
            attestation: &attestation,
        };
        let trust = attestation::Trust {
            extra_arks: Vec::new(),
            allow_virtual: true,
        };
        let verified =
            attestation::verify(&evidence, &trust, self.now_ms.get() / 1000, &Native).map_err(failed)?;
        Ok(VerifiedEvidence {
            report_data: verified.report_data.to_vec(),
            claims: verified.claims,
            evidence_digest: verified.evidence_digest,
            uvm_endorsed: verified.uvm_endorsed,
            quote_nonce: verified.quote_nonce,
        })
    }

    /// Serial number ‖ expiry ‖ a mark of this host; 32 bytes as the real ones.
    fn mint_nonce(&self) -> (Vec<u8>, u64) {
        let serial = self.minted.get() + 1;
        self.minted.set(serial);
        let expiry = self.now_ms.get() + NONCE_LIFE_MS;
        let mut nonce = vec![0; 8];
        nonce.extend(serial.to_be_bytes());
        nonce.extend(expiry.to_be_bytes());
        nonce.extend(b"our mark");
        (nonce, expiry)
    }

    fn check_nonce(&self, nonce: &[u8]) -> Result<u64, NonceError> {
        let Ok(bytes) = <[u8; 32]>::try_from(nonce) else {
            return Err(NonceError::Malformed);
        };
        if !bytes.ends_with(b"our mark") {
            return Err(NonceError::Foreign);
        }
        let expiry = u64::from_be_bytes(bytes[16..24].try_into().unwrap());
        if expiry <= self.now_ms.get() {
            return Err(NonceError::Expired);
        }
        Ok(expiry)
    }

    fn service(&self) -> Result<ServiceId, CryptoError> {
        Ok(SERVICE)
    }

    fn is_committed(&self, id: TxId) -> bool {
        id.view == COMMITTED.view && id.seqno <= COMMITTED.seqno
    }

    fn insecure_virtual(&self) -> bool {
        self.insecure_virtual.get()
    }
}
