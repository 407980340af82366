//! Receipts in COSE: the service's signature over a root with an inclusion proof beside it.
//!
//! Source: `ledger-host.md` §2.4; the CCF profile of COSE Receipts (RFC 9942). A transaction is
//! proven under the service's key alone; node certificates have no part in it.

use ciborium::Value;
use crypto::{VerifySignature, cose};
use model::Digest;

use crate::envelope::{self, EnvelopeError, VDP, only};
use crate::limits::PATH_STEPS_MAX;
use crate::merkle::{PathTooLong, Sibling, implied_root};
use crate::receipt::{LeafComponents, ReceiptError, VerifiedReceipt, evidence_tx_id};

/// Label of inclusion proofs among the proofs of a receipt.
const INCLUSION: i64 = -1;
/// Labels inside an inclusion proof.
const LEAF: i64 = 1;
const PATH: i64 = 2;
/// Deepest nesting in an inclusion proof, with room to spare.
const PROOF_DEPTH_MAX: usize = 8;

/// Why a COSE receipt is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CoseReceiptError {
    /// The envelope, its headers or its signature.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// There is not exactly one inclusion proof of the form that the ledger writes.
    #[error("receipt does not hold exactly one well-formed inclusion proof")]
    Proof,
    /// The commit evidence does not name a transaction.
    #[error(transparent)]
    Evidence(#[from] ReceiptError),
    /// Too many steps.
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    /// The signature's own transaction id is missing or before the proven transaction.
    #[error("signature does not name a later transaction than the proven one")]
    TxId,
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}

/// One CBOR item that fills `bytes`.
fn decode(mut bytes: &[u8]) -> Option<Value> {
    let value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, PROOF_DEPTH_MAX).ok()?;
    bytes.is_empty().then_some(value)
}

fn bytes(digest: Digest) -> Value {
    Value::Bytes(digest.0.to_vec())
}

fn digest(value: &Value) -> Option<Digest> {
    let bytes = value.as_bytes()?.as_slice();
    bytes.try_into().ok().map(Digest)
}

/// The inclusion proof of a leaf, as the receipt carries it.
#[must_use]
pub fn inclusion_proof(leaf: &LeafComponents, path: &[Sibling]) -> Vec<u8> {
    let leaf = vec![
        bytes(leaf.write_set_digest),
        leaf.commit_evidence.as_str().into(),
        bytes(leaf.claims_digest),
    ];
    let step = |sibling: &Sibling| match *sibling {
        Sibling::Left(node) => Value::Array(vec![true.into(), bytes(node)]),
        Sibling::Right(node) => Value::Array(vec![false.into(), bytes(node)]),
    };
    encode(&Value::Map(vec![
        (LEAF.into(), Value::Array(leaf)),
        (PATH.into(), Value::Array(path.iter().map(step).collect())),
    ]))
}

/// The receipt of a transaction from the service's signature over a root that covers it
/// (a row of `cose_signatures`) and the path to that root.
///
/// # Errors
///
/// [`EnvelopeError`] if `cose_signature` is not a COSE_Sign1.
pub fn build(
    cose_signature: &[u8],
    leaf: &LeafComponents,
    path: &[Sibling],
) -> Result<Vec<u8>, EnvelopeError> {
    let envelope = envelope::parse(cose_signature)?;
    let proofs = Value::Array(vec![Value::Bytes(inclusion_proof(leaf, path))]);
    let proofs = Value::Map(vec![(INCLUSION.into(), proofs)]);
    let (protected, signature) = (envelope.protected(), envelope.signature());
    Ok(cose::assemble(protected, &[(VDP, proofs)], None, signature))
}

fn parse_proof(proof: &[u8]) -> Result<(LeafComponents, Vec<Sibling>), CoseReceiptError> {
    let parsed = || {
        let Value::Map(map) = decode(proof)? else {
            return None;
        };
        let [write_set, evidence, claims] = only(&map, &LEAF.into())?.as_array()?.as_slice() else {
            return None;
        };
        let leaf = LeafComponents {
            claims_digest: digest(claims)?,
            commit_evidence: evidence.as_text()?.to_owned(),
            write_set_digest: digest(write_set)?,
        };
        Some((leaf, only(&map, &PATH.into())?.as_array()?.clone()))
    };
    let (leaf, steps) = parsed().ok_or(CoseReceiptError::Proof)?;
    if steps.len() > PATH_STEPS_MAX {
        return Err(PathTooLong(steps.len()).into());
    }
    let step = |value: &Value| {
        let [Value::Bool(left), node] = value.as_array()?.as_slice() else {
            return None;
        };
        let node = digest(node)?;
        Some(if *left {
            Sibling::Left(node)
        } else {
            Sibling::Right(node)
        })
    };
    let path: Option<Vec<Sibling>> = steps.iter().map(step).collect();
    Ok((leaf, path.ok_or(CoseReceiptError::Proof)?))
}

/// Verifies a receipt under the service's public key (SPKI, DER). After a recovery an older
/// receipt is under a former key; see [`endorsement`](crate::endorsement).
///
/// # Errors
///
/// [`CoseReceiptError`] naming the first step that does not hold.
///
/// # Source
///
/// `ledger-host.md` §2.4.
pub fn verify(
    receipt: &[u8],
    service_spki: &[u8],
    verifier: &dyn VerifySignature,
) -> Result<VerifiedReceipt, CoseReceiptError> {
    let envelope = envelope::parse(receipt)?;
    let unprotected = envelope.unprotected().map_err(EnvelopeError::from)?;
    let proofs = only(&unprotected, &VDP.into())
        .and_then(Value::as_map)
        .and_then(|proofs| only(proofs, &INCLUSION.into()))
        .and_then(Value::as_array);
    let Some([Value::Bytes(proof)]) = proofs.map(Vec::as_slice) else {
        return Err(CoseReceiptError::Proof);
    };
    let (leaf, path) = parse_proof(proof)?;
    let id = evidence_tx_id(&leaf.commit_evidence)?;
    let root = implied_root(leaf.digest(), &path)?;
    envelope::verify_detached(&envelope, service_spki, &root.0, verifier)?;
    match envelope::ccf_tx_id(&envelope, "txid") {
        Some(signature) if signature.seqno > id.seqno && signature.view >= id.view => {}
        _ => return Err(CoseReceiptError::TxId),
    }
    Ok(VerifiedReceipt::new(root, id, leaf))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_as_deep_as_its_reader_goes_and_no_deeper() {
        let nested = |depth: usize| {
            let value = (0..depth).fold(Value::from(0), |inner, _| Value::Array(vec![inner]));
            decode(&encode(&value))
        };
        assert!(nested(PROOF_DEPTH_MAX).is_some());
        assert!(nested(PROOF_DEPTH_MAX + 1).is_none());
    }
}
