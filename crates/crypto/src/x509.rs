//! X.509 certificates, read: identity, public key, validity, and who signed it.
//!
//! Chain policy (which names, which extensions, which time) belongs to the callers: a member's
//! certificate is looked up by digest, a node's is endorsed by the service key, and the chains of
//! attestation have rules of their own.

use model::Digest;
use x509_parser::asn1_rs::{Any, Class, FromBer as _, FromDer as _, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

use crate::pem::{self, PemError};
use crate::verify::{BadSignature, SignatureAlg, VerifySignature};
use crate::{der, sha256};

pub use crate::spki::{
    KeyKind, SpkiError, jwk_to_spki, key_id, public_key_from_pem, rsa_components, spki_from_public_key_pem,
    spki_key_kind, spki_to_jwk,
};

/// Longest certificate read, in bytes of DER.
pub const CERTIFICATE_SIZE_MAX: usize = 16 * 1024;

/// A certificate that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CertificateError {
    /// The PEM around it.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Not a certificate, or bytes follow it, or it is too large.
    #[error("not an X.509 certificate")]
    Malformed,
    /// Its dates lie before 1970.
    #[error("the certificate's validity cannot be represented")]
    Validity,
}

/// A certificate is not signed by the key it was checked against.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotIssued {
    /// The algorithm, by its object identifier, is not one we verify.
    #[error("unsupported certificate signature algorithm {0}")]
    Algorithm(String),
    /// The signature or the issuer's key.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// A parsed certificate. Nothing about it has been verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    der: Vec<u8>,
    /// Where in `der` the signed part lies.
    tbs: std::ops::Range<usize>,
    spki: Vec<u8>,
    kind: KeyKind,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    not_before: u64,
    not_after: u64,
    is_ca: bool,
    algorithm: Result<SignatureAlg, String>,
    signature: Vec<u8>,
}

impl Certificate {
    /// Reads the one PEM block labelled `CERTIFICATE`, in any of the spellings that files have.
    /// What is kept of it is the DER, or [`Certificate::to_pem`].
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if the text does not hold exactly one certificate.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        Self::from_der(&pem::read_one(pem::CERTIFICATE, text)?)
    }

    /// The same where the digest of the text is bound, as in a report: one spelling only.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if the text is not canonical or holds no certificate.
    pub fn from_canonical_pem(text: &str) -> Result<Self, CertificateError> {
        Self::from_der(&pem::decode_written(pem::CERTIFICATE, text)?)
    }

    /// Reads a certificate that fills `der` exactly. Serial numbers of any sign are accepted.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if it cannot be read.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_SIZE_MAX {
            return Err(CertificateError::Malformed);
        }
        let Ok(([], parsed)) = X509Certificate::from_der(der) else {
            return Err(CertificateError::Malformed);
        };
        let spki = parsed.public_key().raw.to_vec();
        let signed: &[u8] = parsed.tbs_certificate.as_ref();
        let tbs = position(der, signed).ok_or(CertificateError::Malformed)?;
        strictly_framed(der, signed, &parsed.signature_value.data).ok_or(CertificateError::Malformed)?;
        Ok(Self {
            tbs,
            kind: spki_key_kind(&spki).map_err(|_| CertificateError::Malformed)?,
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            not_before: seconds(parsed.validity().not_before.timestamp())?,
            not_after: seconds(parsed.validity().not_after.timestamp())?,
            is_ca: parsed.is_ca(),
            algorithm: signature_alg(&parsed),
            signature: parsed.signature_value.data.to_vec(),
            spki,
            der: der.to_vec(),
        })
    }

    /// SHA-256 of the DER: member and user ids.
    #[must_use]
    pub fn id(&self) -> Digest {
        sha256(&self.der)
    }

    /// The certificate as it was read.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Canonical PEM, ending in a newline.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    /// The subject's public key, SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Kind of the subject's public key.
    #[must_use]
    pub fn key_kind(&self) -> KeyKind {
        self.kind
    }

    /// DER of the subject's name.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.subject
    }

    /// DER of the issuer's name.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer
    }

    /// First second of validity, Unix time.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// Last second of validity, Unix time.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// Whether `unix_seconds` lies within the validity.
    #[must_use]
    pub fn valid_at(&self, unix_seconds: u64) -> bool {
        (self.not_before..=self.not_after).contains(&unix_seconds)
    }

    /// Whether basic constraints say CA.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Checks the certificate's signature under `issuer_spki`. Names, dates and extensions are
    /// the caller's to check.
    ///
    /// # Errors
    ///
    /// [`NotIssued`] if the signature does not verify or its algorithm is not supported.
    pub fn verify_issued_by(
        &self,
        issuer_spki: &[u8],
        verifier: &dyn VerifySignature,
    ) -> Result<(), NotIssued> {
        let alg = self.algorithm.clone().map_err(NotIssued::Algorithm)?;
        let signed = self.der.get(self.tbs.clone()).unwrap_or_default();
        verifier.verify(alg, issuer_spki, signed, &self.signature)?;
        Ok(())
    }
}

/// Where `part`, a slice of `whole`, begins and ends in it.
fn position(whole: &[u8], part: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let range = start..start.checked_add(part.len())?;
    (whole.get(range.clone()) == Some(part)).then_some(range)
}

fn seconds(timestamp: i64) -> Result<u64, CertificateError> {
    u64::try_from(timestamp).map_err(|_| CertificateError::Validity)
}

/// Checks the bytes around the signed part, which no signature covers and which the parser reads
/// leniently: one encoding only, and the algorithm outside spelled as the one inside (RFC 5280
/// §4.1.1.2). Otherwise two byte strings, hence two ids, were one certificate.
fn strictly_framed(der: &[u8], signed: &[u8], signature: &[u8]) -> Option<()> {
    let tail = der::tlv(0x03, &[&[0], signature]);
    let start = position(der, signed)?;
    let algorithm = der.get(start.end..)?.strip_suffix(tail.as_slice())?;
    let ([], fields) = Any::from_der(signed).ok()? else {
        return None;
    };
    let (mut rest, first) = Any::from_der(fields.data).ok()?;
    if first.class() == Class::ContextSpecific {
        // That was the version; the serial number follows.
        (rest, _) = Any::from_ber(rest).ok()?;
    }
    let whole = der::tlv(0x30, &[signed, algorithm, &tail]);
    (rest.starts_with(algorithm) && whole == der).then_some(())
}

/// The algorithm of the certificate's signature, or its object identifier if unknown.
fn signature_alg(certificate: &X509Certificate<'_>) -> Result<SignatureAlg, String> {
    let algorithm = &certificate.tbs_certificate.signature;
    let oid = &algorithm.algorithm;
    let simple = [
        (OID_SIG_ECDSA_WITH_SHA256, SignatureAlg::EcdsaSha256Der),
        (OID_SIG_ECDSA_WITH_SHA384, SignatureAlg::EcdsaSha384Der),
        (OID_SIG_ECDSA_WITH_SHA512, SignatureAlg::EcdsaSha512Der),
        (OID_PKCS1_SHA256WITHRSA, SignatureAlg::RsaPkcs1Sha256),
        (OID_PKCS1_SHA384WITHRSA, SignatureAlg::RsaPkcs1Sha384),
        (OID_PKCS1_SHA512WITHRSA, SignatureAlg::RsaPkcs1Sha512),
    ];
    if let Some((_, alg)) = simple.into_iter().find(|(known, _)| known == oid) {
        return Ok(alg);
    }
    if *oid == OID_PKCS1_RSASSAPSS {
        return pss_alg(algorithm).ok_or_else(|| format!("{oid} with unusual parameters"));
    }
    Err(oid.to_string())
}

/// RSASSA-PSS with one hash throughout and a salt as long as the hash (RFC 4055 §3.1); all
/// certificates in the field are of this form.
fn pss_alg(algorithm: &AlgorithmIdentifier<'_>) -> Option<SignatureAlg> {
    let params = RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()?;
    let mask = params.mask_gen_algorithm().ok()?;
    if mask.hash != *params.hash_algorithm_oid() || params.trailer_field() != 1 {
        return None;
    }
    let known = [
        (oid!(2.16.840.1.101.3.4.2.1), 32, SignatureAlg::RsaPssSha256),
        (oid!(2.16.840.1.101.3.4.2.2), 48, SignatureAlg::RsaPssSha384),
        (oid!(2.16.840.1.101.3.4.2.3), 64, SignatureAlg::RsaPssSha512),
    ];
    known
        .into_iter()
        .find(|(hash, salt, _)| mask.hash == *hash && params.salt_length() == *salt)
        .map(|(_, _, alg)| alg)
}
