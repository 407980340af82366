//! Endorsements of a utility VM: a signed statement of which launch measurement is genuine.
//!
//! A report's measurement says which utility VM was launched, and only whoever builds them can
//! say which of them keep a container group's policy. Source: §1.5; did:x509 method
//! specification, version 0; RFC 9052 §4.4.
//!
//! Validity periods of the certificates are ignored, as every known document outlives its leaf.
//! What ends a document's life is the minimum SVN of its feed. The unprotected header (a
//! timestamp token) is dropped unread.

use std::sync::Arc;

use ciborium::Value as Cbor;
use crypto::cose::{Label, Sign1};
use crypto::sha256;
use serde_json::Value;

use crate::certificate::Certificate;
use crate::rejected::Link;
use crate::{Context, Rejected, fields};

/// Longest document read; the known ones have about 11 KiB, half of it the timestamp token.
pub(crate) const DOCUMENT_SIZE_MAX: usize = 64 * 1024;
/// Most certificates read; the known documents have three.
const CHAIN_LENGTH_MAX: usize = 6;

/// RSASSA-PSS and ECDSA with SHA-256, SHA-384 and SHA-512 (RFC 9053 §2.1, RFC 8230 §2).
const ALGORITHMS: [i64; 6] = [-37, -38, -39, -7, -35, -36];
/// COSE header label of the content type (RFC 9052 §3.1).
const CONTENT_TYPE: i64 = 3;
/// COSE header label of the certificate chain, leaf first (RFC 9360 §2).
const X5CHAIN: i64 = 33;
/// Headers read here that a document may call critical.
const UNDERSTOOD: &[Label<'static>] = &[Label::Int(X5CHAIN), Label::Text("iss"), Label::Text("feed")];

/// Who may endorse utility VMs.
struct RootOfTrust {
    /// The issuer, as documents name it.
    did: &'static str,
    /// What the issuer endorses.
    feed: &'static str,
    /// Extended key usage that the issuer's leaf must have; the end of `did`.
    usage: &'static str,
    /// Lowest security version still trusted.
    svn_min: u64,
}

/// SHA-256 of the CA certificate that `did` of both roots of trust names: Microsoft Supply Chain
/// RSA Root CA 2022.
const ROOT_CERTIFICATE: [u8; 32] = [
    0x23, 0xFF, 0xE2, 0xB8, 0xBD, 0xB9, 0xA1, 0x71, 0x15, 0x15, 0xD4, 0xCF, 0xFD, 0xA0, 0x4B, 0xC7, 0xF7,
    0x93, 0xD5, 0x13, 0xC7, 0x6C, 0x24, 0x3F, 0x10, 0x20, 0x50, 0x7D, 0x86, 0x69, 0xB7, 0xDB,
];

const ROOTS_OF_TRUST: [RootOfTrust; 2] = [
    RootOfTrust {
        did: "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2",
        feed: "ContainerPlat-AMD-UVM",
        usage: "1.3.6.1.4.1.311.76.59.1.2",
        svn_min: 100,
    },
    RootOfTrust {
        did: "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.5",
        feed: "ConfAKS-AMD-UVM",
        usage: "1.3.6.1.4.1.311.76.59.1.5",
        svn_min: 1,
    },
];

/// A genuine endorsement by a trusted issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Endorsement {
    did: String,
    feed: String,
    svn: u64,
    launch_measurement: [u8; 48],
}

impl Endorsement {
    /// The issuer.
    pub(crate) fn did(&self) -> &str {
        &self.did
    }

    /// What the issuer endorses under this name.
    pub(crate) fn feed(&self) -> &str {
        &self.feed
    }

    /// Security version of the utility VM.
    pub(crate) const fn svn(&self) -> u64 {
        self.svn
    }

    /// The measurement of the utility VM.
    pub(crate) const fn launch_measurement(&self) -> &[u8; 48] {
        &self.launch_measurement
    }
}

/// Verifies an endorsement: issuer, chain, signature, feed and security version. Whether it is
/// of the report at hand is the caller's to compare.
pub(crate) fn verify(document: &[u8], context: &Context<'_>) -> Result<Arc<Endorsement>, Rejected> {
    let key = sha256(document);
    if let Some(known) = context.memo.endorsement(&key) {
        return Ok(known);
    }
    let endorsement = Arc::new(verify_new(document, context)?);
    context.memo.keep_endorsement(key, Arc::clone(&endorsement));
    Ok(endorsement)
}

fn verify_new(document: &[u8], context: &Context<'_>) -> Result<Endorsement, Rejected> {
    let signed = Sign1::parse(document).map_err(|error| Rejected::UvmMalformed(error.to_string()))?;
    if !signed.alg().is_some_and(|alg| ALGORITHMS.contains(&alg)) {
        return Err(malformed("signature algorithm is not supported"));
    }
    if signed.int_header(CONTENT_TYPE).and_then(Cbor::as_text) != Some("application/json") {
        return Err(malformed("content type is not application/json"));
    }
    let did = text_header(&signed, "iss")?;
    let feed = text_header(&signed, "feed")?;
    let payload = signed.payload().ok_or_else(|| malformed("payload is missing"))?;
    let (svn, launch_measurement) = read_payload(payload)?;
    let endorsement = Endorsement {
        did: did.to_owned(),
        feed: feed.to_owned(),
        svn,
        launch_measurement,
    };
    let root = trusted_root(&endorsement)?;

    let chain = certificates(&signed)?;
    let leaf_spki = check_chain(&chain, root, context)?;
    signed
        .verify(&leaf_spki, None, UNDERSTOOD, context.verifier)
        .map_err(|_| Rejected::UvmSignature)?;
    Ok(endorsement)
}

fn text_header<'a>(signed: &'a Sign1, name: &str) -> Result<&'a str, Rejected> {
    let value = signed.text_header(name).and_then(Cbor::as_text);
    value.ok_or_else(|| malformed(&format!("protected header '{name}' is not a text")))
}

/// The root of trust of a document's issuer and feed.
fn trusted_root(endorsement: &Endorsement) -> Result<&'static RootOfTrust, Rejected> {
    ROOTS_OF_TRUST
        .iter()
        .find(|root| {
            root.did == endorsement.did && root.feed == endorsement.feed && endorsement.svn >= root.svn_min
        })
        .ok_or_else(|| Rejected::UvmNotTrusted {
            did: endorsement.did.chars().take(200).collect(),
            feed: endorsement.feed.chars().take(200).collect(),
            svn: endorsement.svn,
        })
}

/// The certificates in the protected header, leaf first.
fn certificates(signed: &Sign1) -> Result<Vec<&[u8]>, Rejected> {
    let value = signed
        .int_header(X5CHAIN)
        .ok_or_else(|| malformed("certificates are missing"))?;
    let chain: Option<Vec<&[u8]>> = match value {
        Cbor::Bytes(leaf) => Some(vec![leaf.as_slice()]),
        Cbor::Array(chain) if chain.len() <= CHAIN_LENGTH_MAX => chain
            .iter()
            .map(|der| der.as_bytes().map(Vec::as_slice))
            .collect(),
        _ => None,
    };
    chain.ok_or_else(|| malformed("certificates are not a short list of byte strings"))
}

/// Resolves the issuer: each certificate signed by the next, the pinned CA among those above the
/// leaf, the leaf made for this usage. Gives the leaf's key.
fn check_chain(chain: &[&[u8]], root: &RootOfTrust, context: &Context<'_>) -> Result<Vec<u8>, Rejected> {
    let parsed = chain
        .iter()
        .enumerate()
        .map(|(index, der)| Certificate::parse(der, Link::Uvm(index)))
        .collect::<Result<Vec<_>, _>>()?;
    let (Some(leaf), Some(last)) = (parsed.first(), parsed.last()) else {
        return Err(malformed("certificates are missing"));
    };
    for pair in parsed.windows(2) {
        if let [child, issuer] = pair {
            child.check_issued_by(issuer, context.verifier)?;
        }
    }
    last.check_issued_by(last, context.verifier)?;
    let issuers = parsed.get(1..).unwrap_or_default();
    if !issuers.iter().all(|issuer| issuer.signed().is_ca()) {
        return Err(Rejected::UvmIssuer(
            "an issuing certificate is not a CA's".to_owned(),
        ));
    }
    if !issuers
        .iter()
        .any(|issuer| issuer.signed().id().0 == ROOT_CERTIFICATE)
    {
        return Err(Rejected::UvmIssuer(
            "the pinned CA is not in the chain".to_owned(),
        ));
    }
    if !leaf.has_extended_key_usage(root.usage) {
        return Err(Rejected::UvmIssuer(format!(
            "the leaf lacks key usage {}",
            root.usage
        )));
    }
    Ok(leaf.spki().to_vec())
}

/// SVN and launch measurement. The SVN is a decimal string or an unsigned integer.
fn read_payload(payload: &[u8]) -> Result<(u64, [u8; 48]), Rejected> {
    let value = fields::parse_json(payload).map_err(|error| Rejected::UvmMalformed(error.to_string()))?;
    let measurement = value
        .get("x-ms-sevsnpvm-launchmeasurement")
        .and_then(Value::as_str)
        .and_then(|text| hex::decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| malformed("launch measurement is not 48 bytes in hex"))?;
    let svn = match value.get("x-ms-sevsnpvm-guestsvn") {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    Ok((
        svn.ok_or_else(|| malformed("SVN is not an unsigned integer"))?,
        measurement,
    ))
}

fn malformed(problem: &str) -> Rejected {
    Rejected::UvmMalformed(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(svn: &str) -> String {
        let measurement = "ab".repeat(48);
        format!(
            r#"{{"x-ms-sevsnpvm-launchmeasurement":"{measurement}","x-ms-sevsnpvm-guestsvn":{svn},"more":[]}}"#
        )
    }

    #[test]
    fn an_svn_is_a_decimal_string_or_an_unsigned_integer() {
        for (svn, expected) in [("\"100\"", 100), ("102", 102), ("0", 0)] {
            assert_eq!(
                read_payload(payload(svn).as_bytes()),
                Ok((expected, [0xAB; 48])),
                "{svn}"
            );
        }
        for svn in [
            "\"\"",
            "\"+1\"",
            "\"1 \"",
            "-1",
            "1.5",
            "null",
            "\"0x64\"",
            "\"99999999999999999999\"",
        ] {
            assert!(read_payload(payload(svn).as_bytes()).is_err(), "{svn}");
        }
    }

    #[test]
    fn feeds_belong_to_their_issuer_and_have_a_lowest_svn() {
        let [caci, aks] = ROOTS_OF_TRUST;
        let endorsement = |did: &str, feed: &str, svn| Endorsement {
            did: did.to_owned(),
            feed: feed.to_owned(),
            svn,
            launch_measurement: [0; 48],
        };
        assert!(trusted_root(&endorsement(caci.did, caci.feed, 100)).is_ok());
        assert!(trusted_root(&endorsement(aks.did, aks.feed, 1)).is_ok());
        for bad in [
            endorsement(caci.did, caci.feed, 99),
            endorsement(aks.did, caci.feed, 100),
            endorsement(caci.did, aks.feed, 100),
            endorsement("did:x509:0:sha256:other::eku:1.2", caci.feed, 100),
        ] {
            assert!(
                matches!(trusted_root(&bad), Err(Rejected::UvmNotTrusted { .. })),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn each_issuer_ends_in_its_usage() {
        for root in ROOTS_OF_TRUST {
            assert!(root.did.ends_with(&format!("::eku:{}", root.usage)));
        }
    }
}
