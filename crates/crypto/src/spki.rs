//! Public keys: SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) and its other spellings, PEM and JWK.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::x509::{Certificate, CertificateError};
use crate::{der, pem, sha256};

/// Longest public key read, in bytes of DER; an RSA key of 16384 bits fits.
pub const SPKI_SIZE_MAX: usize = 4096;

/// What kind of public key it is, and for RSA how many bits its modulus has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// NIST P-256.
    EcP256,
    /// NIST P-384.
    EcP384,
    /// NIST P-521.
    EcP521,
    /// RSA with a modulus of this many bits.
    Rsa(u32),
    /// Anything else; nothing here works with it.
    Other,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcP256 => f.write_str("P-256"),
            Self::EcP384 => f.write_str("P-384"),
            Self::EcP521 => f.write_str("P-521"),
            Self::Rsa(bits) => write!(f, "RSA-{bits}"),
            Self::Other => f.write_str("unknown"),
        }
    }
}

/// A public key that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SpkiError {
    /// Not a SubjectPublicKeyInfo, or bytes follow it.
    #[error("not a public key (SubjectPublicKeyInfo)")]
    Malformed,
    /// The PEM around the key.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// The key is well formed and of the wrong kind.
    #[error("expected {expected}, got {got} key")]
    Kind {
        /// What the operation needs.
        expected: &'static str,
        /// What the key is.
        got: KeyKind,
    },
    /// A JWK member that is missing or unreadable.
    #[error("JWK member {0:?} is missing or malformed")]
    Jwk(&'static str),
    /// The certificate in a JWK's `x5c`.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// DER of a public key given as canonical PEM (label `PUBLIC KEY`), one trailing newline allowed:
/// for keys whose PEM text a report binds.
///
/// # Errors
///
/// [`SpkiError`] if the text is not canonical or holds no public key.
pub fn spki_from_public_key_pem(text: &str) -> Result<Vec<u8>, SpkiError> {
    let der = pem::decode_written(pem::PUBLIC_KEY, text)?;
    spki_key_kind(&der)?;
    Ok(der)
}

/// DER of a public key in a PEM text that a person brought, in any of the spellings that files
/// have.
///
/// # Errors
///
/// [`SpkiError`] if the text does not hold exactly one public key.
pub fn public_key_from_pem(text: &str) -> Result<Vec<u8>, SpkiError> {
    let der = pem::read_one(pem::PUBLIC_KEY, text)?;
    spki_key_kind(&der)?;
    Ok(der)
}

/// The SubjectPublicKeyInfo of `fields`: the content without tag and length, which is how trust
/// anchors keep it (RFC 5280 §4.1).
#[must_use]
pub fn from_fields(fields: &[u8]) -> Vec<u8> {
    der::tlv(0x30, &[fields])
}

/// The kind of the key in `spki_der`.
///
/// # Errors
///
/// [`SpkiError::Malformed`] if the bytes are not exactly one SubjectPublicKeyInfo.
pub fn spki_key_kind(spki_der: &[u8]) -> Result<KeyKind, SpkiError> {
    let spki = parse(spki_der)?;
    if spki.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = spki
            .algorithm
            .parameters
            .as_ref()
            .and_then(|any| any.as_oid().ok());
        return Ok(match curve {
            Some(oid) if oid == OID_EC_P256 => KeyKind::EcP256,
            Some(oid) if oid == OID_NIST_EC_P384 => KeyKind::EcP384,
            Some(oid) if oid == OID_NIST_EC_P521 => KeyKind::EcP521,
            _ => KeyKind::Other,
        });
    }
    if spki.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        let (n, _) = rsa_parts(&spki)?;
        return Ok(KeyKind::Rsa(bit_length(&n)));
    }
    Ok(KeyKind::Other)
}

/// Modulus and exponent of an RSA key, big-endian, without leading zeros.
///
/// # Errors
///
/// [`SpkiError`] if the key cannot be read or is not RSA.
pub fn rsa_components(spki_der: &[u8]) -> Result<(Vec<u8>, Vec<u8>), SpkiError> {
    match spki_key_kind(spki_der)? {
        KeyKind::Rsa(_) => rsa_parts(&parse(spki_der)?),
        got => Err(SpkiError::Kind {
            expected: "an RSA key",
            got,
        }),
    }
}

/// Lower-case hex of the SHA-256 of the key: node ids, and `kid` of the ledger's signatures.
#[must_use]
pub fn key_id(spki_der: &[u8]) -> String {
    sha256(spki_der).to_string()
}

/// The key of a JWK (RFC 7517, RFC 7518 §6): RSA by `n` and `e`, EC by `crv`, `x` and `y`, or
/// the first certificate of `x5c` where those are absent.
///
/// # Errors
///
/// [`SpkiError`] naming the member that is missing or malformed, or a point off its curve.
pub fn jwk_to_spki(jwk: &Value) -> Result<Vec<u8>, SpkiError> {
    let spki = match jwk.get("kty").and_then(Value::as_str) {
        Some("RSA") if jwk.get("n").is_some() => {
            let (n, e) = (jwk_number(jwk, "n")?, jwk_number(jwk, "e")?);
            if n.len() > SPKI_SIZE_MAX / 2
                || e.len() > 8
                || der::trim(&n).is_empty()
                || der::trim(&e).is_empty()
            {
                return Err(SpkiError::Jwk("n"));
            }
            der::rsa_spki(&n, &e)
        }
        Some("EC") if jwk.get("x").is_some() => jwk_ec(jwk)?,
        Some("RSA" | "EC") => {
            let first = jwk
                .get("x5c")
                .and_then(|chain| chain.get(0))
                .and_then(Value::as_str)
                .and_then(|text| STANDARD.decode(text).ok())
                .ok_or(SpkiError::Jwk("x5c"))?;
            Certificate::from_der(&first)?.spki_der().to_vec()
        }
        _ => return Err(SpkiError::Jwk("kty")),
    };
    match spki_key_kind(&spki)? {
        KeyKind::Other => Err(SpkiError::Kind {
            expected: "an RSA, P-256, P-384 or P-521 key",
            got: KeyKind::Other,
        }),
        _ => Ok(spki),
    }
}

/// The public JWK of a key, with `kty` and the key's own members only.
///
/// # Errors
///
/// [`SpkiError`] if the key cannot be read or has no JWK form here (P-521, others).
pub fn spki_to_jwk(spki_der: &[u8]) -> Result<Value, SpkiError> {
    let kind = spki_key_kind(spki_der)?;
    let (crv, width) = match kind {
        KeyKind::Rsa(_) => {
            let (n, e) = rsa_components(spki_der)?;
            return Ok(json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e)}));
        }
        KeyKind::EcP256 => ("P-256", 32),
        KeyKind::EcP384 => ("P-384", 48),
        got @ (KeyKind::EcP521 | KeyKind::Other) => {
            return Err(SpkiError::Kind {
                expected: "an RSA, P-256 or P-384 key",
                got,
            });
        }
    };
    let spki = parse(spki_der)?;
    let point = spki
        .subject_public_key
        .data
        .strip_prefix(&[4])
        .ok_or(SpkiError::Malformed)?;
    let (x, y) = point.split_at_checked(width).ok_or(SpkiError::Malformed)?;
    if y.len() != width {
        return Err(SpkiError::Malformed);
    }
    Ok(json!({"kty": "EC", "crv": crv, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)}))
}

fn jwk_ec(jwk: &Value) -> Result<Vec<u8>, SpkiError> {
    let (x, y) = (jwk_number(jwk, "x")?, jwk_number(jwk, "y")?);
    let point = |width: usize| {
        if x.len() == width && y.len() == width {
            Ok([&[4][..], &x, &y].concat())
        } else {
            Err(SpkiError::Jwk("x"))
        }
    };
    // Both constructors refuse points that are not on the curve.
    let document = match jwk.get("crv").and_then(Value::as_str) {
        Some("P-256") => p256::PublicKey::from_sec1_bytes(&point(32)?)
            .map_err(|_| SpkiError::Jwk("x"))?
            .to_public_key_der(),
        Some("P-384") => p384::PublicKey::from_sec1_bytes(&point(48)?)
            .map_err(|_| SpkiError::Jwk("x"))?
            .to_public_key_der(),
        _ => return Err(SpkiError::Jwk("crv")),
    };
    Ok(document.map_err(|_| SpkiError::Malformed)?.into_vec())
}

fn jwk_number(jwk: &Value, member: &'static str) -> Result<Vec<u8>, SpkiError> {
    jwk.get(member)
        .and_then(Value::as_str)
        .filter(|text| text.len() <= SPKI_SIZE_MAX)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or(SpkiError::Jwk(member))
}

fn parse(spki_der: &[u8]) -> Result<SubjectPublicKeyInfo<'_>, SpkiError> {
    if spki_der.len() > SPKI_SIZE_MAX {
        return Err(SpkiError::Malformed);
    }
    match SubjectPublicKeyInfo::from_der(spki_der) {
        Ok(([], spki)) => Ok(spki),
        _ => Err(SpkiError::Malformed),
    }
}

fn rsa_parts(spki: &SubjectPublicKeyInfo<'_>) -> Result<(Vec<u8>, Vec<u8>), SpkiError> {
    match spki.parsed() {
        Ok(PublicKey::RSA(RSAPublicKey { modulus, exponent })) => {
            Ok((der::trim(modulus).to_vec(), der::trim(exponent).to_vec()))
        }
        _ => Err(SpkiError::Malformed),
    }
}

fn bit_length(number: &[u8]) -> u32 {
    let zeros = number.first().map_or(0, |first| first.leading_zeros());
    u32::try_from(number.len())
        .ok()
        .and_then(|bytes| bytes.checked_mul(8))
        .and_then(|bits| bits.checked_sub(zeros))
        .unwrap_or(0)
}
