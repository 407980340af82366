//! Certificates we issue: the service's identity, node certificates under it, and members' own.
//!
//! # Source
//!
//! `ledger-host.md` §4.2. Both key identifiers are always present: strict chain verifiers want them.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{Curve, EcKeyPair, random_bytes};
use crate::pem;
use crate::x509::{Certificate, CertificateError};

/// A certificate that cannot be issued.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssueError {
    /// Dates that a certificate cannot carry.
    #[error("validity of {days} days from {not_before} cannot be represented")]
    Validity {
        /// First second, Unix time.
        not_before: u64,
        /// Length in days.
        days: u32,
    },
    /// The issuer's certificate cannot be read.
    #[error("issuer certificate: {0}")]
    Issuer(#[from] CertificateError),
    /// Anything else: a name that is no name, a key that cannot be certified.
    #[error("certificate: {0}")]
    Other(String),
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// First second, Unix time.
    pub not_before: u64,
    /// Length in days; the last second is one before the end.
    pub days: u32,
}

/// Issues the service's identity: self-signed, CA with path length 1, PEM.
///
/// # Errors
///
/// [`IssueError`] if dates or name cannot be encoded.
pub fn self_signed_service(
    key: &EcKeyPair,
    common_name: &str,
    validity: Validity,
) -> Result<String, IssueError> {
    let mut params = params(common_name, &[], validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    Ok(to_pem(&params.self_signed(&key)?))
}

/// Issues a node's certificate under the service key, PEM. `names` are host names and IP
/// addresses, both as text.
///
/// # Errors
///
/// [`IssueError`] if the issuer cannot be read, or key, dates or names cannot be encoded.
pub fn node_certificate(
    node_spki: &[u8],
    common_name: &str,
    names: &[String],
    validity: Validity,
    service_key: &EcKeyPair,
    service_certificate: &Certificate,
) -> Result<String, IssueError> {
    let mut params = params(common_name, names, validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(service_certificate.der()), service_key)?;
    let subject_key = SubjectPublicKeyInfo::from_der(node_spki)?;
    Ok(to_pem(&params.signed_by(&subject_key, &issuer)?))
}

/// Issues a member's or user's own certificate: self-signed, not a CA, PEM. Its digest is the id.
///
/// # Errors
///
/// [`IssueError`] if dates or name cannot be encoded.
pub fn self_signed_member(
    key: &EcKeyPair,
    common_name: &str,
    validity: Validity,
) -> Result<String, IssueError> {
    let mut params = params(common_name, &[], validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(to_pem(&params.self_signed(&key)?))
}

fn params(common_name: &str, names: &[String], validity: Validity) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = dates(validity).ok_or(IssueError::Validity {
        not_before: validity.not_before,
        days: validity.days,
    })?;
    params.use_authority_key_identifier_extension = true;
    // Positive and never zero (RFC 5280 §4.1.2.2), else random: a renewed certificate is another one.
    let [first, rest @ ..] = random_bytes::<16>();
    params.serial_number = Some(SerialNumber::from_slice(
        &[&[(first & 0x3f) | 0x40][..], &rest].concat(),
    ));
    Ok(params)
}

/// First and last second; the year stays below 10000, which is all a certificate can say.
fn dates(validity: Validity) -> Option<(OffsetDateTime, OffsetDateTime)> {
    let first = i64::try_from(validity.not_before).ok()?;
    let last = i64::from(validity.days)
        .checked_mul(86_400)?
        .checked_sub(1)?
        .checked_add(first)?;
    if last < first {
        return None;
    }
    Some((
        OffsetDateTime::from_unix_timestamp(first).ok()?,
        OffsetDateTime::from_unix_timestamp(last).ok()?,
    ))
}

fn to_pem(certificate: &rcgen::Certificate) -> String {
    pem::encode(pem::CERTIFICATE, certificate.der())
}

impl PublicKeyData for EcKeyPair {
    fn der_bytes(&self) -> &[u8] {
        self.point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.curve() {
            Curve::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Curve::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

impl SigningKey for EcKeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_der(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
