//! Signature verification on aws-lc-rs: every algorithm and curve of [`SignatureAlg`].

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
};

use crate::der;
use crate::spki::{self, KeyKind};
use crate::verify::{BadSignature, SignatureAlg, VerifySignature};

/// Verification by aws-lc-rs. RSA moduli of 2048 to 8192 bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl VerifySignature for Native {
    fn verify(
        &self,
        alg: SignatureAlg,
        spki_der: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let kind = spki::spki_key_kind(spki_der).map_err(|error| BadSignature::Key(error.to_string()))?;
        match alg {
            SignatureAlg::RsaPkcs1Sha256 => {
                rsa(&RSA_PKCS1_2048_8192_SHA256, kind, spki_der, message, signature)
            }
            SignatureAlg::RsaPkcs1Sha384 => {
                rsa(&RSA_PKCS1_2048_8192_SHA384, kind, spki_der, message, signature)
            }
            SignatureAlg::RsaPkcs1Sha512 => {
                rsa(&RSA_PKCS1_2048_8192_SHA512, kind, spki_der, message, signature)
            }
            SignatureAlg::RsaPssSha256 => rsa(&RSA_PSS_2048_8192_SHA256, kind, spki_der, message, signature),
            SignatureAlg::RsaPssSha384 => rsa(&RSA_PSS_2048_8192_SHA384, kind, spki_der, message, signature),
            SignatureAlg::RsaPssSha512 => rsa(&RSA_PSS_2048_8192_SHA512, kind, spki_der, message, signature),
            SignatureAlg::EcdsaSha256Fixed => fixed(Hash::Sha256, kind, spki_der, message, signature),
            SignatureAlg::EcdsaSha384Fixed => fixed(Hash::Sha384, kind, spki_der, message, signature),
            SignatureAlg::EcdsaSha512Fixed => fixed(Hash::Sha512, kind, spki_der, message, signature),
            SignatureAlg::EcdsaSha256Der => asn1(Hash::Sha256, kind, spki_der, message, signature),
            SignatureAlg::EcdsaSha384Der => asn1(Hash::Sha384, kind, spki_der, message, signature),
            SignatureAlg::EcdsaSha512Der => asn1(Hash::Sha512, kind, spki_der, message, signature),
            SignatureAlg::EcdsaPrehashedSha256Der => {
                let digest =
                    Digest::import_less_safe(message, &SHA256).map_err(|_| BadSignature::Mismatch)?;
                let alg = ecdsa(kind, Hash::Sha256)?;
                UnparsedPublicKey::new(alg, spki_der)
                    .verify_digest(&digest, signature)
                    .map_err(|_| BadSignature::Mismatch)
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

fn ecdsa(kind: KeyKind, hash: Hash) -> Result<&'static EcdsaVerificationAlgorithm, BadSignature> {
    Ok(match (kind, hash) {
        (KeyKind::EcP256, Hash::Sha256) => &ECDSA_P256_SHA256_ASN1,
        (KeyKind::EcP256, Hash::Sha384) => &ECDSA_P256_SHA384_ASN1,
        (KeyKind::EcP256, Hash::Sha512) => &ECDSA_P256_SHA512_ASN1,
        (KeyKind::EcP384, Hash::Sha256) => &ECDSA_P384_SHA256_ASN1,
        (KeyKind::EcP384, Hash::Sha384) => &ECDSA_P384_SHA384_ASN1,
        (KeyKind::EcP384, Hash::Sha512) => &ECDSA_P384_SHA512_ASN1,
        (KeyKind::EcP521, Hash::Sha256) => &ECDSA_P521_SHA256_ASN1,
        (KeyKind::EcP521, Hash::Sha384) => &ECDSA_P521_SHA384_ASN1,
        (KeyKind::EcP521, Hash::Sha512) => &ECDSA_P521_SHA512_ASN1,
        (KeyKind::Rsa(_) | KeyKind::Other, _) => {
            return Err(BadSignature::Key(format!("{kind} key for an ECDSA signature")));
        }
    })
}

fn asn1(
    hash: Hash,
    kind: KeyKind,
    spki_der: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    UnparsedPublicKey::new(ecdsa(kind, hash)?, spki_der)
        .verify(message, signature)
        .map_err(|_| BadSignature::Mismatch)
}

fn fixed(
    hash: Hash,
    kind: KeyKind,
    spki_der: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let width: usize = match kind {
        KeyKind::EcP256 => 64,
        KeyKind::EcP384 => 96,
        KeyKind::EcP521 => 132,
        KeyKind::Rsa(_) | KeyKind::Other => {
            return Err(BadSignature::Key(format!("{kind} key for an ECDSA signature")));
        }
    };
    if signature.len() != width {
        return Err(BadSignature::Mismatch);
    }
    let signature = der::ecdsa_from_fixed(signature).ok_or(BadSignature::Mismatch)?;
    asn1(hash, kind, spki_der, message, &signature)
}

fn rsa(
    params: &'static RsaParameters,
    kind: KeyKind,
    spki_der: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    match kind {
        KeyKind::Rsa(2048..=8192) => UnparsedPublicKey::new(params, spki_der)
            .verify(message, signature)
            .map_err(|_| BadSignature::Mismatch),
        KeyKind::Rsa(bits) => Err(BadSignature::Key(format!("RSA modulus of {bits} bits"))),
        _ => Err(BadSignature::Key(format!("{kind} key for an RSA signature"))),
    }
}
