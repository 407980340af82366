//! What the ledger's COSE_Sign1 messages have in common: signatures over a root, receipts,
//! identity endorsements (`ledger-host.md` §1.10, §1.12, §2.4).

use ciborium::Value;
use crypto::VerifySignature;
use crypto::cose::{CoseError, Label, Sign1, integer, label};
use crypto::spki::key_id;
use kv::TxId;

use crate::limits::RECEIPT_SIZE_MAX;

/// Which verifiable data structure the proofs are of (RFC 9942).
pub(crate) const VDS: i64 = 395;
/// The proofs, in the unprotected header (RFC 9942).
pub(crate) const VDP: i64 = 396;
/// The verifiable data structure that a ledger of this format is.
pub(crate) const VDS_CCF_LEDGER: i64 = 2;
/// Text label of the ledger's own headers.
pub(crate) const CCF: &str = "ccf.v1";

/// Headers that readers of the ledger's messages understand.
pub(crate) const UNDERSTOOD: &[Label<'static>] =
    &[Label::Int(label::CWT_CLAIMS), Label::Int(VDS), Label::Text(CCF)];

/// Why a COSE envelope is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// More bytes than a receipt may have.
    #[error("envelope has {0} bytes, at most {RECEIPT_SIZE_MAX} are allowed")]
    TooLarge(usize),
    /// The envelope or its signature.
    #[error(transparent)]
    Cose(#[from] CoseError),
    /// A header is missing or says something else.
    #[error("header {0} is missing or not what the ledger writes")]
    Header(&'static str),
    /// There is an unprotected header where the ledger writes none.
    #[error("unprotected header is not empty")]
    Unprotected,
}

/// The value under a label that occurs exactly once.
pub(crate) fn only<'a>(map: &'a [(Value, Value)], label: &Value) -> Option<&'a Value> {
    let mut found = map.iter().filter(|(key, _)| key == label);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

/// Reads an envelope of bounded size.
pub(crate) fn parse(bytes: &[u8]) -> Result<Sign1, EnvelopeError> {
    if bytes.len() > RECEIPT_SIZE_MAX {
        return Err(EnvelopeError::TooLarge(bytes.len()));
    }
    Ok(Sign1::parse(bytes)?)
}

/// The text under `name` in the ledger's own header.
pub(crate) fn ccf_text<'a>(envelope: &'a Sign1, name: &str) -> Option<&'a str> {
    only(envelope.text_header(CCF)?.as_map()?, &name.into())?.as_text()
}

/// The transaction id under `name` in the ledger's own header.
pub(crate) fn ccf_tx_id(envelope: &Sign1, name: &str) -> Option<TxId> {
    ccf_text(envelope, name)?.parse().ok()
}

/// Verifies the service's signature over a payload that is detached, and that the header names
/// the service's key and the ledger's data structure.
pub(crate) fn verify_detached(
    envelope: &Sign1,
    service_spki: &[u8],
    payload: &[u8],
    verifier: &dyn VerifySignature,
) -> Result<(), EnvelopeError> {
    // The key id is hex text, not the digest itself (§8, quirk 4).
    if envelope.kid() != Some(key_id(service_spki).as_bytes()) {
        return Err(EnvelopeError::Header("kid"));
    }
    if envelope.int_header(VDS).and_then(integer) != Some(VDS_CCF_LEDGER) {
        return Err(EnvelopeError::Header("vds"));
    }
    Ok(envelope.verify(service_spki, Some(payload), UNDERSTOOD, verifier)?)
}
