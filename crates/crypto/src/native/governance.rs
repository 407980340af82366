//! Members' signed requests (`ledger-host.md` §3.2), as the CLI and tests make them.

use super::{EcKeyPair, KeyError};
use crate::cose::{ProtectedHeader, assemble, label, to_be_signed};

/// Protected header that names the kind of request.
pub const MSG_TYPE: &str = "ccf.gov.msg.type";
/// Protected header with the time of signing, Unix seconds.
pub const MSG_CREATED_AT: &str = "ccf.gov.msg.created_at";
/// Protected header with the proposal a ballot or withdrawal is for.
pub const MSG_PROPOSAL_ID: &str = "ccf.gov.msg.proposal_id";
/// Protected header with the service that the message is for: hex SHA-256 of its certificate's DER.
pub const MSG_SERVICE: &str = "ccf.gov.msg.service";

/// Signs a governance request without saying which service it is for, as the reference's client
/// does. See [`sign_governance_message_for`].
///
/// # Errors
///
/// [`KeyError::Failed`] if the library fails.
pub fn sign_governance_message(
    key: &EcKeyPair,
    kid_hex: &str,
    msg_type: &str,
    created_at: u64,
    proposal_id: Option<&str>,
    payload: &[u8],
) -> Result<Vec<u8>, KeyError> {
    sign_governance_message_for(None, key, kid_hex, msg_type, created_at, proposal_id, payload)
}

/// Signs a governance request: a tagged COSE_Sign1 with `payload` attached. `kid_hex` is the
/// member id, `created_at` Unix seconds. `service` is the hex SHA-256 of the service certificate's
/// DER; with it the message is of no use on another service of which the signer is a member.
///
/// # Errors
///
/// [`KeyError::Failed`] if the library fails.
pub fn sign_governance_message_for(
    service: Option<&str>,
    key: &EcKeyPair,
    kid_hex: &str,
    msg_type: &str,
    created_at: u64,
    proposal_id: Option<&str>,
    payload: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let mut header = ProtectedHeader::new()
        .int(label::ALG, key.curve().cose_alg())
        .int(label::KID, kid_hex.as_bytes().to_vec())
        .text(MSG_TYPE, msg_type)
        .text(MSG_CREATED_AT, created_at);
    if let Some(proposal) = proposal_id {
        header = header.text(MSG_PROPOSAL_ID, proposal);
    }
    if let Some(service) = service {
        header = header.text(MSG_SERVICE, service);
    }
    let protected = header.encode();
    let signature = key.sign_fixed(&to_be_signed(&protected, payload))?;
    Ok(assemble(&protected, &[], Some(payload), &signature))
}
