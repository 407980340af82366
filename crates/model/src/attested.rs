//! Attested requests: what evidence binds, what a workload signs, and the body that carries both.
//!
//! Ledger, pods, launcher, clients and tests share these layouts. Nothing here hashes: components
//! have no digest of their own and hand in their host's. Source: `attestation-secrets-oidc.md`
//! §1.1, decisions 16, 18, 43 and 44.

mod loose;

use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

use crate::evidence::{EncryptTo, SignedBy};
use crate::ids::{Digest, ServiceId};

/// Size of a service nonce, in bytes.
pub const NONCE_BYTES: usize = 32;
/// Size of report data, in bytes.
pub const REPORT_DATA_BYTES: usize = 64;

/// What the second half of report data is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bound<'a> {
    /// An answer to this nonce, for this service and no other (decision 43). A workload takes the
    /// service from what its TLS verifies, the ledger from its own key: whoever carries a nonce
    /// from one service to another gets evidence that neither accepts.
    Nonce {
        /// As minted by the service.
        nonce: &'a [u8; NONCE_BYTES],
        /// Whom the workload speaks to.
        service: &'a ServiceId,
    },
    /// A launcher's certificate, and the ledger that it serves (decision 44).
    Serves(&'a ServiceId),
    /// Nothing but the key: the reference's form, 32 zeros. It names no service, so our programs
    /// never make it; only alternatives with `allowStaticEvidence` take it.
    KeyAlone,
}

impl Bound<'_> {
    fn text(self) -> Option<Vec<u8>> {
        match self {
            Self::Nonce { nonce, service } => {
                Some([b"concordat-bind-v2".as_slice(), nonce, &service.0.0].concat())
            }
            Self::Serves(service) => Some([b"concordat-serves-v1".as_slice(), &service.0.0].concat()),
            Self::KeyAlone => None,
        }
    }
}

/// The report data that binds `pem`, the text of a key or certificate exactly as it is sent, and
/// whatever `bound` names: one digest of each.
pub fn report_data(pem: &str, bound: Bound<'_>, sha256: impl Fn(&[u8]) -> Digest) -> [u8; REPORT_DATA_BYTES] {
    let mut data = [0; REPORT_DATA_BYTES];
    let (first, second) = data.split_at_mut(32);
    first.copy_from_slice(&sha256(pem.as_bytes()).0);
    if let Some(text) = bound.text() {
        second.copy_from_slice(&sha256(&text).0);
    }
    data
}

/// The half of report data that names nonce and service; a TPM quote carries it as its nonce, so
/// that the quote is as fresh and as particular as the report data (decision 43).
#[must_use]
pub fn quote_nonce(report_data: &[u8; REPORT_DATA_BYTES]) -> &[u8] {
    report_data.split_at(32).1
}

/// The text under the signature of an attested write (decision 18). `target` is path and query, as
/// sent; `nonce` is base64, as sent; `timestamp` is Unix milliseconds in decimal; `data` is the
/// digest of the decoded payload.
#[must_use]
pub fn signed_text(method: &str, target: &str, nonce: &str, timestamp: &str, data: &Digest) -> String {
    format!("concordat-request-v1\n{method}\n{target}\n{nonce}\n{timestamp}\n{data}")
}

/// An attested request's body. `E` is the evidence object; the ledger's component keeps it as
/// text, for only the host reads it. A part of another form never fails the body as a whole: each
/// is judged in its turn (§1.2).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AttestedBody<E = JsonValue> {
    /// Platform name; absent or empty means `snp-caci`.
    #[serde(
        default,
        deserialize_with = "loose::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub platform: Option<String>,
    /// The platform's evidence object.
    #[serde(default = "absent", skip_serializing_if = "Option::is_none")]
    pub attestation: Option<E>,
    /// Key that the answer is wrapped to.
    #[serde(
        default,
        deserialize_with = "loose::key",
        skip_serializing_if = "Option::is_none"
    )]
    pub encrypt: Option<EncryptTo>,
    /// Signature over `data`.
    #[serde(
        default,
        deserialize_with = "loose::signature",
        skip_serializing_if = "Option::is_none"
    )]
    pub sign: Option<SignedBy>,
    /// Signed payload: base64 of UTF-8 JSON.
    #[serde(
        default,
        deserialize_with = "loose::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub data: Option<String>,
    /// Unix milliseconds, decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<JsonValue>,
    /// Service nonce, base64 (decision 16).
    #[serde(
        default,
        deserialize_with = "loose::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub nonce: Option<String>,
    /// The run that is asked for.
    #[serde(
        default,
        rename = "runId",
        deserialize_with = "loose::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub run_id: Option<String>,
    /// Of prerequisites: what would be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<JsonValue>,
}

const fn absent<E>() -> Option<E> {
    None
}

impl<E> Default for AttestedBody<E> {
    fn default() -> Self {
        Self {
            platform: None,
            attestation: None,
            encrypt: None,
            sign: None,
            data: None,
            timestamp: None,
            nonce: None,
            run_id: None,
            run: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands in for SHA-256: what was hashed stays legible.
    fn tail(message: &[u8]) -> Digest {
        let mut digest = [0; 32];
        let from = message.len().saturating_sub(32);
        let end = &message[from..];
        digest[..end.len()].copy_from_slice(end);
        Digest(digest)
    }

    const ONE: ServiceId = ServiceId(Digest([1; 32]));
    const OTHER: ServiceId = ServiceId(Digest([2; 32]));

    #[test]
    fn the_second_half_ends_in_the_service() {
        let nonce = &[7; 32];
        let bound = |service| report_data("key", Bound::Nonce { nonce, service }, tail);
        assert_eq!(quote_nonce(&bound(&ONE)), [1; 32]);
        assert_ne!(bound(&ONE), bound(&OTHER));
        assert_eq!(
            quote_nonce(&report_data("key", Bound::Serves(&OTHER), tail)),
            [2; 32]
        );
        assert_eq!(quote_nonce(&report_data("key", Bound::KeyAlone, tail)), [0; 32]);
    }

    #[test]
    fn each_kind_says_what_it_is() {
        let nonce = &[7; 32];
        let fresh = Bound::Nonce { nonce, service: &ONE }.text().unwrap();
        assert_eq!(fresh.len(), 17 + 32 + 32);
        assert_eq!(fresh[..17], *b"concordat-bind-v2");
        assert_eq!(fresh[17..49], [7; 32]);
        let serves = Bound::Serves(&ONE).text().unwrap();
        assert_eq!(serves[..19], *b"concordat-serves-v1");
        assert_eq!(serves[19..], [1; 32]);
    }

    #[test]
    fn the_signed_text_has_six_lines_and_no_more() {
        let text = signed_text(
            "PUT",
            "/app/contracts/c1/events?id=a",
            "bm9uY2U=",
            "1790000000000",
            &Digest([0x44; 32]),
        );
        let lines: Vec<_> = text.split('\n').collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0], "concordat-request-v1");
        assert_eq!(lines[5], "44".repeat(32));
    }

    #[test]
    fn an_empty_body_is_all_absent_and_none_of_it_is_written() {
        let body: AttestedBody = serde_json::from_str("{}").unwrap();
        assert_eq!(serde_json::to_string(&body).unwrap(), "{}");
    }
}
