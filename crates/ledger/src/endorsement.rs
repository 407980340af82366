//! A service identity vouching for its predecessor's key, after a disaster recovery.
//!
//! Source: `ledger-host.md` §1.12, table `previous_service_identity_endorsement`. Who trusts only
//! today's service certificate learns from it which earlier key signed which transactions.

use crypto::VerifySignature;
use crypto::cose::CoseError;
use kv::TxId;
use kv::codec::{Malformed, canonical_json};
use serde::{Deserialize, Serialize};

use crate::envelope::{self, EnvelopeError};

/// The row of `previous_service_identity_endorsement`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndorsementRow {
    /// The COSE_Sign1.
    #[serde(with = "model::b64")]
    pub endorsement: Vec<u8>,
    /// SPKI of the key that made it.
    #[serde(with = "model::b64")]
    pub endorsing_key: Vec<u8>,
    /// First transaction under the endorsed key.
    pub endorsement_epoch_begin: TxId,
    /// Last transaction under the endorsed key; absent while it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement_epoch_end: Option<TxId>,
    /// Seqno of the previous such row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<u64>,
}

impl EndorsementRow {
    /// The row's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// The row from its bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] saying what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(bytes).map_err(|e| Malformed(e.to_string()))
    }
}

/// A verified endorsement: this key, for these transactions. Only [`verify`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endorsed {
    spki: Vec<u8>,
    from: TxId,
    to: Option<TxId>,
}

impl Endorsed {
    /// The endorsed public key: SPKI, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Whether the endorsed key was the service's at this transaction.
    #[must_use]
    pub fn covers(&self, id: TxId) -> bool {
        let within = |low: TxId, high: TxId| low.view <= high.view && low.seqno <= high.seqno;
        within(self.from, id) && self.to.is_none_or(|to| within(id, to))
    }
}

/// Verifies an endorsement under the newer service key.
///
/// # Errors
///
/// [`EnvelopeError`] naming the first thing that is not as it must be.
pub fn verify(
    endorsement: &[u8],
    endorsing_spki: &[u8],
    verifier: &dyn VerifySignature,
) -> Result<Endorsed, EnvelopeError> {
    let envelope = envelope::parse(endorsement)?;
    envelope.verify(endorsing_spki, None, envelope::UNDERSTOOD, verifier)?;
    let from = envelope::ccf_tx_id(&envelope, "epoch.start.txid");
    let to = match envelope::ccf_text(&envelope, "epoch.end.txid") {
        Some(text) => Some(
            text.parse()
                .map_err(|_| EnvelopeError::Header("epoch.end.txid"))?,
        ),
        None => None,
    };
    Ok(Endorsed {
        spki: envelope.payload().ok_or(CoseError::Payload)?.to_vec(),
        from: from.ok_or(EnvelopeError::Header("epoch.start.txid"))?,
        to,
    })
}
