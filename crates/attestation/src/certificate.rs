//! What chains of evidence need of X.509 besides signatures: exact algorithms and named
//! extensions. Reading and verifying are `crypto::x509`'s.
//!
//! Names and key usages of these chains are fixed by whoever issues them and every chain ends in
//! a pinned key, so this is no general path validation and does not try to be.

use crypto::VerifySignature;
use crypto::x509::Certificate as Signed;
use x509_parser::asn1_rs::{Any, FromDer as _, Oid};
use x509_parser::certificate::X509Certificate;

use crate::rejected::{Link, Rejected};

/// RSASSA-PSS with SHA-384, MGF1-SHA-384 and salt 48, the trailer field left to its default.
/// RFC 4055 §3.1.
pub const PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A, 0x30, 0x34, 0xA0, 0x0F,
    0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xA1, 0x1C,
    0x30, 0x1A, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x08, 0x30, 0x0D, 0x06, 0x09,
    0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xA2, 0x03, 0x02, 0x01, 0x30,
];
/// The same with the trailer field spelled out, as in AMD's roots.
const PSS_SHA384_WITH_TRAILER: &[u8] = &[
    0x30, 0x46, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A, 0x30, 0x39, 0xA0, 0x0F,
    0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xA1, 0x1C,
    0x30, 0x1A, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x08, 0x30, 0x0D, 0x06, 0x09,
    0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xA2, 0x03, 0x02, 0x01, 0x30, 0xA3,
    0x03, 0x02, 0x01, 0x01,
];

/// A certificate that parsed. Its signature has not been verified.
pub(crate) struct Certificate<'a> {
    link: Link,
    signed: Signed,
    parsed: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads one certificate that fills `der`.
    pub(crate) fn parse(der: &'a [u8], link: Link) -> Result<Self, Rejected> {
        let refuse = |problem: String| Rejected::Certificate { link, problem };
        let signed = Signed::from_der(der).map_err(|error| refuse(error.to_string()))?;
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| refuse(error.to_string()))?;
        if !frame_is_exact(der, &parsed) {
            return Err(refuse("is not in DER around its signed part".to_owned()));
        }
        Ok(Self { link, signed, parsed })
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn spki(&self) -> &[u8] {
        self.signed.spki_der()
    }

    /// The certificate, for facts that need no evidence.
    pub(crate) const fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Whether the issuer signed with RSASSA-PSS and SHA-384, by the exact encoding: parameters
    /// that AMD doesn't use are refused rather than interpreted.
    pub(crate) fn is_signed_with_pss_sha384(&self) -> bool {
        let encoded = encoded_algorithm(self.signed.der(), self.parsed.tbs_certificate.as_ref());
        encoded == Some(PSS_SHA384) || encoded == Some(PSS_SHA384_WITH_TRAILER)
    }

    /// Whether the certificate lists an extended key usage (dotted decimal).
    pub(crate) fn has_extended_key_usage(&self, oid: &str) -> bool {
        let Ok(Some(usage)) = self.parsed.extended_key_usage() else {
            return false;
        };
        usage.value.other.iter().any(|known| known.to_id_string() == oid)
    }

    /// The content of the extension `oid`, which may be there once.
    pub(crate) fn extension(&self, oid: &Oid<'_>) -> Result<Option<&'a [u8]>, Rejected> {
        let mut found = self
            .parsed
            .extensions()
            .iter()
            .filter(|extension| extension.oid == *oid);
        let first = found.next();
        if found.next().is_some() {
            return Err(self.refuse(format!("extension {oid} occurs twice")));
        }
        Ok(first.map(|extension| extension.value))
    }

    /// Verifies that `issuer` signed this certificate and is named as its issuer.
    pub(crate) fn check_issued_by(
        &self,
        issuer: &Certificate<'_>,
        verifier: &dyn VerifySignature,
    ) -> Result<(), Rejected> {
        let failed = Rejected::NotIssuedBy {
            child: self.link,
            issuer: issuer.link,
        };
        if self.signed.issuer_der() != issuer.signed.subject_der() {
            return Err(failed);
        }
        self.signed
            .verify_issued_by(issuer.spki(), verifier)
            .map_err(|_| failed)
    }

    /// A complaint about this certificate.
    pub(crate) const fn refuse(&self, problem: String) -> Rejected {
        Rejected::Certificate {
            link: self.link,
            problem,
        }
    }
}

/// The algorithm that stands between the signed part of `der` and the signature.
fn encoded_algorithm<'a>(der: &'a [u8], signed: &[u8]) -> Option<&'a [u8]> {
    let (_, outer) = Any::from_der(der).ok()?;
    let after_signed = outer.data.get(signed.len()..)?;
    let (after_algorithm, _) = Any::from_der(after_signed).ok()?;
    after_signed.get(..after_signed.len().checked_sub(after_algorithm.len())?)
}

/// Whether what no signature covers is written in the one way that DER allows. The parser is
/// more liberal (it overlooks the class of some tags), and a certificate shall have one form.
fn frame_is_exact(der: &[u8], parsed: &X509Certificate<'_>) -> bool {
    let signed: &[u8] = parsed.tbs_certificate.as_ref();
    let signature: &[u8] = &parsed.signature_value.data;
    let Some(algorithm) = encoded_algorithm(der, signed) else {
        return false;
    };
    // A bit string starts with the number of bits to ignore, which is none.
    let bits = element(0x03, &[&[0], signature]);
    bits.and_then(|bits| element(0x30, &[signed, algorithm, &bits]))
        .is_some_and(|exact| exact == der)
}

/// DER of an element below 64 KiB: tag, shortest form of the length, content (X.690 §10.1).
fn element(tag: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let content = parts.concat();
    let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
    let head = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    Some([head, content].concat())
}
