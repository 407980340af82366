//! The two verifiers must agree with each other and with signatures made elsewhere.
#![cfg(feature = "native")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use crypto::native::{Curve, EcKeyPair, KeyError, Native, RsaBits, RsaKeyPair};
use crypto::x509::{KeyKind, jwk_to_spki, rsa_components, spki_key_kind, spki_to_jwk};
use crypto::{BadSignature, Portable, SignatureAlg, VerifySignature, sha256};
use serde_json::{Value, json};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/crypto");

fn vector(name: &str) -> String {
    std::fs::read_to_string(format!("{VECTORS}/{name}")).unwrap()
}

fn hex_of(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn der_alg(hash: &str) -> SignatureAlg {
    match hash {
        "sha256" => SignatureAlg::EcdsaSha256Der,
        "sha384" => SignatureAlg::EcdsaSha384Der,
        "sha512" => SignatureAlg::EcdsaSha512Der,
        "prehashed" => SignatureAlg::EcdsaPrehashedSha256Der,
        other => panic!("unknown hash {other}"),
    }
}

#[test]
fn signatures_by_another_library_verify_in_both_and_altered_ones_in_neither() {
    let vectors: Vec<Value> =
        serde_json::from_str(&vector("keys/ecdsa_by_python_cryptography.json")).unwrap();
    assert_eq!(vectors.len(), 12);
    for case in &vectors {
        let name = format!("{} {}", case["curve"], case["hash"]);
        let (spki, message, signature) = (
            hex_of(&case["spki"]),
            hex_of(&case["message"]),
            hex_of(&case["der"]),
        );
        let alg = der_alg(case["hash"].as_str().unwrap());
        let portable = if case["curve"] == "secp521r1" {
            Err(BadSignature::Unsupported)
        } else {
            Ok(())
        };
        assert_eq!(Native.verify(alg, &spki, &message, &signature), Ok(()), "{name}");
        assert_eq!(
            Portable.verify(alg, &spki, &message, &signature),
            portable,
            "{name}"
        );
        let mut other = message.clone();
        other[0] ^= 1;
        for verifier in [&Native as &dyn VerifySignature, &Portable] {
            assert!(verifier.verify(alg, &spki, &other, &signature).is_err(), "{name}");
            for index in (0..signature.len()).step_by(5) {
                let mut bad = signature.clone();
                bad[index] ^= 0x10;
                assert!(
                    verifier.verify(alg, &spki, &message, &bad).is_err(),
                    "{name} at {index}"
                );
            }
        }
    }
}

#[test]
fn both_verifiers_take_and_refuse_the_same_encodings() {
    for curve in [Curve::P256, Curve::P384] {
        let key = EcKeyPair::generate(curve).unwrap();
        let half = curve.half_size();
        let fixed = key.sign_fixed(b"m").unwrap();
        let der = key.sign_der(b"m").unwrap();
        assert_eq!(fixed.len(), 2 * half);
        let long_length = [&[0x30, 0x81, der[1]], &der[2..]].concat();
        let cases = [
            ("fixed", key.fixed_alg(), fixed.clone(), true),
            ("der", key.der_alg(), der.clone(), true),
            ("der as fixed", key.fixed_alg(), der.clone(), false),
            ("fixed as der", key.der_alg(), fixed.clone(), false),
            ("fixed too short", key.fixed_alg(), fixed[1..].to_vec(), false),
            (
                "fixed too long",
                key.fixed_alg(),
                [&[0], &fixed[..]].concat(),
                false,
            ),
            (
                "fixed padded halves",
                key.fixed_alg(),
                pad_halves(&fixed, half),
                false,
            ),
            ("bytes after der", key.der_alg(), [&der[..], &[0]].concat(), false),
            ("length not minimal", key.der_alg(), long_length, false),
            ("all zero", key.fixed_alg(), vec![0; 2 * half], false),
            ("all ones", key.fixed_alg(), vec![0xff; 2 * half], false),
            ("empty", key.fixed_alg(), Vec::new(), false),
            ("empty der", key.der_alg(), Vec::new(), false),
            ("der zeros", key.der_alg(), vec![0x30, 6, 2, 1, 0, 2, 1, 0], false),
        ];
        for (name, alg, signature, good) in cases {
            for verifier in [&Native as &dyn VerifySignature, &Portable] {
                let verdict = verifier.verify(alg, key.spki_der(), b"m", &signature);
                assert_eq!(verdict.is_ok(), good, "{curve:?} {name}: {verdict:?}");
            }
        }
    }
}

fn pad_halves(fixed: &[u8], half: usize) -> Vec<u8> {
    [&[0], &fixed[..half], &[0], &fixed[half..]].concat()
}

#[test]
fn a_root_is_signed_as_a_ready_digest_by_p256_only() {
    let key = EcKeyPair::generate(Curve::P256).unwrap();
    let root = sha256(b"root").0;
    let signature = key.sign_prehashed_sha256_der(&root).unwrap();
    for verifier in [&Native as &dyn VerifySignature, &Portable] {
        let check = |message: &[u8]| {
            verifier.verify(
                SignatureAlg::EcdsaPrehashedSha256Der,
                key.spki_der(),
                message,
                &signature,
            )
        };
        assert_eq!(check(&root), Ok(()));
        assert!(check(b"root").is_err());
        // A digest prehashed and a message hashed are the same signature, by design.
        assert_eq!(
            verifier.verify(SignatureAlg::EcdsaSha256Der, key.spki_der(), b"root", &signature),
            Ok(())
        );
    }
    let other = EcKeyPair::generate(Curve::P384).unwrap();
    assert_eq!(
        other.sign_prehashed_sha256_der(&root),
        Err(KeyError::Curve("P-256"))
    );
}

#[test]
fn rsa_schemes_are_kept_apart() {
    let key = RsaKeyPair::generate(RsaBits::B2048).unwrap();
    let pss = key.sign_pss_sha256(b"m").unwrap();
    let pkcs1 = key.sign_pkcs1_sha256(b"m").unwrap();
    let check =
        |alg, message: &[u8], signature: &[u8]| Native.verify(alg, key.spki_der(), message, signature);
    assert_eq!(check(SignatureAlg::RsaPssSha256, b"m", &pss), Ok(()));
    assert_eq!(check(SignatureAlg::RsaPkcs1Sha256, b"m", &pkcs1), Ok(()));
    for (alg, message, signature) in [
        (SignatureAlg::RsaPssSha256, &b"m"[..], &pkcs1),
        (SignatureAlg::RsaPkcs1Sha256, b"m", &pss),
        (SignatureAlg::RsaPssSha384, b"m", &pss),
        (SignatureAlg::RsaPkcs1Sha384, b"m", &pkcs1),
        (SignatureAlg::RsaPssSha256, b"n", &pss),
        (SignatureAlg::RsaPkcs1Sha256, b"n", &pkcs1),
    ] {
        assert_eq!(
            check(alg, message, signature),
            Err(BadSignature::Mismatch),
            "{alg:?}"
        );
    }
    assert_eq!(
        Portable.verify(SignatureAlg::RsaPssSha256, key.spki_der(), b"m", &pss),
        Err(BadSignature::Unsupported)
    );
    let ec = EcKeyPair::generate(Curve::P256).unwrap();
    assert!(matches!(
        Native.verify(SignatureAlg::RsaPssSha256, ec.spki_der(), b"m", &pss),
        Err(BadSignature::Key(_))
    ));
    assert!(matches!(
        Native.verify(SignatureAlg::EcdsaSha256Der, key.spki_der(), b"m", &pss),
        Err(BadSignature::Key(_))
    ));
}

#[test]
fn key_files_of_openssl_are_read_and_others_refused() {
    let p384 = EcKeyPair::from_pem(&vector("keys/p384_sec1_with_parameters.pem")).unwrap();
    assert_eq!(p384.curve(), Curve::P384);
    let p256 = EcKeyPair::from_pem(&vector("keys/p256_pkcs8.pem")).unwrap();
    assert_eq!(p256.curve(), Curve::P256);
    let rsa = RsaKeyPair::from_pem(&vector("keys/rsa2048_pkcs1.pem")).unwrap();
    assert_eq!(spki_key_kind(rsa.spki_der()), Ok(KeyKind::Rsa(2048)));
    assert!(EcKeyPair::from_pem(&vector("keys/p521_sec1.pem")).is_err());
    assert!(EcKeyPair::from_pem(&vector("wrap/priv_key.pem")).is_err());
    assert!(RsaKeyPair::from_pem(&vector("keys/rsa1024.pem")).is_err());
    assert!(RsaKeyPair::from_pem(&vector("keys/p256_pkcs8.pem")).is_err());
}

#[test]
fn key_pairs_survive_their_pkcs8() {
    let ec = EcKeyPair::generate(Curve::P384).unwrap();
    let again = EcKeyPair::from_pem(&ec.to_pkcs8_pem().unwrap()).unwrap();
    assert_eq!(again.spki_der(), ec.spki_der());
    let rsa = RsaKeyPair::generate(RsaBits::B3072).unwrap();
    let again = RsaKeyPair::from_pem(&rsa.to_pkcs8_pem().unwrap()).unwrap();
    assert_eq!(again.spki_der(), rsa.spki_der());
    assert_eq!(spki_key_kind(rsa.spki_der()), Ok(KeyKind::Rsa(3072)));
}

#[test]
fn public_keys_survive_their_jwk_and_bad_jwks_are_named() {
    let keys = [
        EcKeyPair::generate(Curve::P256).unwrap().spki_der().to_vec(),
        EcKeyPair::generate(Curve::P384).unwrap().spki_der().to_vec(),
        RsaKeyPair::from_pem(&vector("wrap/priv_key.pem"))
            .unwrap()
            .spki_der()
            .to_vec(),
    ];
    for spki in &keys {
        let jwk = spki_to_jwk(spki).unwrap();
        assert_eq!(jwk_to_spki(&jwk).as_ref(), Ok(spki), "{jwk}");
    }
    let (n, e) = rsa_components(&keys[2]).unwrap();
    assert_eq!((n.len(), e), (256, vec![1, 0, 1]));
    assert!(rsa_components(&keys[0]).is_err());
    let mut off_curve = spki_to_jwk(&keys[0]).unwrap();
    off_curve["y"] = off_curve["x"].clone();
    for bad in [
        off_curve,
        json!({}),
        json!({"kty": "oct", "k": "AA"}),
        json!({"kty": "RSA"}),
        json!({"kty": "RSA", "n": "AA", "e": "AQAB"}),
        json!({"kty": "RSA", "n": "AQ==", "e": "AQAB"}),
        json!({"kty": "RSA", "x5c": ["AAAA"]}),
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
    ] {
        assert!(jwk_to_spki(&bad).is_err(), "{bad}");
    }
}
