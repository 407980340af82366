//! The host's handles and imports as the traits that the application asks for.

use model::evidence::Platform;
use std::collections::BTreeMap;

use governance_app::{
    CryptoError, EvidenceError, HostServices, KeyKind, KeyWrapping, NonceError, SignatureAlg,
    VerifiedEvidence,
};
use kv::{Denied, Entry, RawEntry, RawKey, Read, TxId, Versioned, Write};
use model::{Digest, ServiceId};

use crate::bindings::concordat::host::{attestation, crypto, history, kv as imports};

/// One call's handles. Queries have no writer.
#[derive(Clone, Copy)]
pub(crate) struct Handles<'a> {
    pub(crate) reader: &'a imports::Reader,
    pub(crate) writer: Option<&'a imports::Writer>,
}

fn denied(given: imports::Denied) -> Denied {
    Denied {
        table: given.table,
        reason: given.reason,
    }
}

const fn version(id: imports::TxId) -> TxId {
    TxId::new(id.view, id.seqno)
}

impl Read for Handles<'_> {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, Denied> {
        let row = self.reader.get(table, key).map_err(denied)?;
        Ok(row.map(|row| Versioned {
            value: row.value,
            version: version(row.version),
        }))
    }

    fn scan(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawEntry>, Denied> {
        let rows = self.reader.scan(table, prefix, after, limit).map_err(denied)?;
        Ok(rows
            .into_iter()
            .map(|row| Entry {
                key: row.key,
                value: row.value,
                version: version(row.version),
            })
            .collect())
    }

    fn keys(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawKey>, Denied> {
        let rows = self.reader.keys(table, prefix, after, limit).map_err(denied)?;
        Ok(rows
            .into_iter()
            .map(|row| Entry {
                key: row.key,
                value: (),
                version: version(row.version),
            })
            .collect())
    }
}

fn no_writer(table: &str) -> Denied {
    Denied {
        table: table.to_owned(),
        reason: "a query changes nothing".to_owned(),
    }
}

impl Write for Handles<'_> {
    fn put(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<(), Denied> {
        match self.writer {
            Some(writer) => writer.put(table, key, value).map_err(denied),
            None => Err(no_writer(table)),
        }
    }

    fn remove(&mut self, table: &str, key: &[u8]) -> Result<(), Denied> {
        match self.writer {
            Some(writer) => writer.remove(table, key).map_err(denied),
            None => Err(no_writer(table)),
        }
    }
}

fn crypto_error(given: crypto::CryptoError) -> CryptoError {
    match given {
        crypto::CryptoError::NoSuchKey => CryptoError::NoSuchKey,
        crypto::CryptoError::UnsuitableKey => CryptoError::UnsuitableKey,
        crypto::CryptoError::Malformed(why) => CryptoError::Malformed(why),
    }
}

const fn signature_alg(alg: SignatureAlg) -> crypto::SignatureAlg {
    match alg {
        SignatureAlg::RsaPkcs1Sha256 => crypto::SignatureAlg::RsaPkcs1Sha256,
        SignatureAlg::RsaPssSha256 => crypto::SignatureAlg::RsaPssSha256,
    }
}

const fn key_kind(kind: KeyKind) -> crypto::KeyKind {
    match kind {
        KeyKind::Rsa3072 => crypto::KeyKind::Rsa3072,
    }
}

impl Handles<'_> {
    fn writer(&self) -> Result<&imports::Writer, CryptoError> {
        self.writer
            .ok_or_else(|| CryptoError::Malformed("a query makes no keys".to_owned()))
    }
}

impl KeyWrapping for Handles<'_> {
    fn wrap(&self, recipient_pem: &str, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        crypto::wrap(recipient_pem, plain).map_err(crypto_error)
    }
}

impl HostServices for Handles<'_> {
    fn generate(&self, name: &str, kind: KeyKind) -> Result<String, CryptoError> {
        crypto::generate(self.writer()?, name, key_kind(kind)).map_err(crypto_error)
    }

    fn forget(&self, name: &str) -> Result<(), CryptoError> {
        crypto::forget(self.writer()?, name).map_err(crypto_error)
    }

    fn sign(&self, name: &str, alg: SignatureAlg, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        crypto::sign(self.reader, name, signature_alg(alg), message).map_err(crypto_error)
    }

    fn verify_signature(
        &self,
        alg: SignatureAlg,
        public_key_pem: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, CryptoError> {
        crypto::verify(signature_alg(alg), public_key_pem, message, signature).map_err(crypto_error)
    }

    fn rsa_bits(&self, public_key_pem: &str) -> Result<u32, CryptoError> {
        crypto::rsa_bits(public_key_pem).map_err(crypto_error)
    }

    fn rsa_components(&self, public_key_pem: &str) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        crypto::rsa_components(public_key_pem).map_err(crypto_error)
    }

    fn sha256(&self, message: &[u8]) -> Digest {
        digest(crypto::sha256(message))
    }

    fn random(&self, length: u32) -> Vec<u8> {
        crypto::random(length)
    }

    fn verify_evidence(
        &self,
        platform: Platform,
        evidence_json: &[u8],
    ) -> Result<VerifiedEvidence, EvidenceError> {
        let verified =
            attestation::verify(platform.as_str(), evidence_json).map_err(|rejected| match rejected {
                attestation::Rejected::UnsupportedPlatform(_) => EvidenceError::UnsupportedPlatform,
                attestation::Rejected::Failed(why) => EvidenceError::Failed(why),
            })?;
        let mut claims = BTreeMap::new();
        for (name, text) in verified.claims {
            let value = serde_json::from_str(&text)
                .map_err(|e| EvidenceError::Failed(format!("the host gave a malformed claim: {e}")))?;
            claims.insert(name, value);
        }
        Ok(VerifiedEvidence {
            report_data: verified.report_data,
            claims,
            evidence_digest: digest(verified.evidence_digest),
            uvm_endorsed: verified.uvm_endorsed,
            quote_nonce: verified.quote_nonce,
        })
    }

    fn mint_nonce(&self) -> (Vec<u8>, u64) {
        attestation::mint_nonce()
    }

    fn check_nonce(&self, nonce: &[u8]) -> Result<u64, NonceError> {
        attestation::check_nonce(nonce).map_err(|error| match error {
            attestation::NonceError::Malformed => NonceError::Malformed,
            attestation::NonceError::Foreign => NonceError::Foreign,
            attestation::NonceError::Expired => NonceError::Expired,
        })
    }

    fn service(&self) -> Result<ServiceId, CryptoError> {
        let digest = attestation::service_id().try_into();
        digest
            .map(|bytes| ServiceId(Digest(bytes)))
            .map_err(|_| CryptoError::Malformed("the host names no service".to_owned()))
    }

    fn is_committed(&self, id: TxId) -> bool {
        history::is_committed(imports::TxId {
            view: id.view,
            seqno: id.seqno,
        })
    }

    fn insecure_virtual(&self) -> bool {
        attestation::insecure_virtual()
    }
}

/// The interface promises 32 bytes; a host that breaks the promise ends the call.
fn digest(bytes: Vec<u8>) -> Digest {
    Digest(bytes.try_into().expect("digests have 32 bytes"))
}
