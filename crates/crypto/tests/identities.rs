//! Certificates and COSE messages: those of a real ledger, and those we make.
#![cfg(feature = "native")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use ciborium::Value;
use crypto::cose::{CoseError, Sign1, integer, label};
use crypto::native::issue::{
    IssueError, Validity, node_certificate, self_signed_member, self_signed_service,
};
use crypto::native::{Curve, EcKeyPair, Native, RsaBits, RsaKeyPair, sign_governance_message};
use crypto::x509::{Certificate, KeyKind, key_id};
use crypto::{BadSignature, Portable, VerifySignature, sha256, sha256_parts};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/crypto/cose");
const VERIFIERS: [&dyn VerifySignature; 2] = [&Native, &Portable];

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(format!("{VECTORS}/{name}")).unwrap()
}

fn certificate(name: &str) -> Certificate {
    Certificate::from_pem(&String::from_utf8(bytes(name)).unwrap()).unwrap()
}

/// The root a JSON receipt proves, folded here so that the COSE signature has its payload.
fn root_of_receipt(receipt: &serde_json::Value) -> [u8; 32] {
    let digest = |text: &serde_json::Value| hex::decode(text.as_str().unwrap()).unwrap();
    let leaf = &receipt["leaf_components"];
    let evidence = sha256(leaf["commit_evidence"].as_str().unwrap().as_bytes());
    let leaf = sha256_parts(&[
        &digest(&leaf["write_set_digest"]),
        &evidence.0,
        &digest(&leaf["claims_digest"]),
    ]);
    receipt["proof"]
        .as_array()
        .unwrap()
        .iter()
        .fold(leaf, |current, step| match step.get("left") {
            Some(left) => sha256_parts(&[&digest(left), &current.0]),
            None => sha256_parts(&[&current.0, &digest(&step["right"])]),
        })
        .0
}

#[test]
fn the_signature_of_a_real_ledger_verifies_over_its_root_alone() {
    let service = certificate("service_cert_1.pem");
    let receipt: serde_json::Value =
        serde_json::from_slice(&bytes("before_recovery_public_100.receipt.json")).unwrap();
    let root = root_of_receipt(&receipt);
    let cose = bytes("before_recovery_public_100.receipt.cose");
    let sign1 = Sign1::parse(&cose).unwrap();
    assert_eq!(sign1.alg(), Some(-35));
    assert_eq!(sign1.kid(), Some(key_id(service.spki_der()).as_bytes()));
    assert_eq!(sign1.int_header(395).and_then(integer), Some(2));
    assert!(sign1.text_header("ccf.v1").is_some_and(Value::is_map));
    assert!(
        sign1
            .unprotected()
            .unwrap()
            .iter()
            .any(|(name, _)| *name == Value::from(396))
    );
    for verifier in VERIFIERS {
        assert_eq!(
            sign1.verify(service.spki_der(), Some(&root), &[], verifier),
            Ok(())
        );
        assert_eq!(
            sign1.verify(service.spki_der(), None, &[], verifier),
            Err(CoseError::Payload)
        );
        let other = certificate("service_cert_2.pem");
        assert_eq!(
            sign1.verify(other.spki_der(), Some(&root), &[], verifier),
            Err(CoseError::Signature(BadSignature::Mismatch))
        );
        assert!(
            sign1
                .verify(service.spki_der(), Some(&sha256(&root).0), &[], verifier)
                .is_err()
        );
    }
    // The node's own signature over the same root, as a ready digest, under its endorsed key.
    let node = Certificate::from_pem(receipt["cert"].as_str().unwrap()).unwrap();
    assert_eq!(key_id(node.spki_der()), receipt["node_id"]);
    for verifier in VERIFIERS {
        assert_eq!(node.verify_issued_by(service.spki_der(), verifier), Ok(()));
        assert!(node.verify_issued_by(node.spki_der(), verifier).is_err());
    }
}

#[test]
fn any_flipped_byte_of_what_is_signed_breaks_a_message() {
    let service = certificate("service_cert_2.pem");
    let cose = bytes("previous_service_endorsement_seqno_63.cose");
    let sign1 = Sign1::parse(&cose).unwrap();
    assert_eq!(sign1.verify(service.spki_der(), None, &[], &Native), Ok(()));
    assert_eq!(
        sign1.payload(),
        Some(certificate("service_cert_1.pem").spki_der())
    );
    for index in 0..cose.len() {
        let mut bad = cose.clone();
        bad[index] ^= 1;
        let verdict = Sign1::parse(&bad).and_then(|s| s.verify(service.spki_der(), None, &[], &Native));
        assert!(verdict.is_err(), "byte {index}");
    }
}

#[test]
fn a_member_signs_requests_that_verify_under_its_certificate() {
    for (curve, alg, other) in [(Curve::P384, -35, Curve::P256), (Curve::P256, -7, Curve::P384)] {
        let key = EcKeyPair::generate(curve).unwrap();
        let validity = Validity {
            not_before: 1_700_000_000,
            days: 365,
        };
        let certificate =
            Certificate::from_pem(&self_signed_member(&key, "airline", validity).unwrap()).unwrap();
        let id = certificate.id().to_string();
        let body =
            sign_governance_message(&key, &id, "ballot", 1_700_000_001, Some("ab"), br#"{"ballot":1}"#)
                .unwrap();
        let sign1 = Sign1::parse(&body).unwrap();
        assert_eq!(sign1.alg(), Some(alg));
        assert_eq!(
            sign1.int_header(label::KID).and_then(Value::as_bytes),
            Some(&id.into_bytes())
        );
        assert_eq!(
            sign1.text_header("ccf.gov.msg.type").and_then(Value::as_text),
            Some("ballot")
        );
        assert_eq!(
            sign1.text_header("ccf.gov.msg.created_at").and_then(integer),
            Some(1_700_000_001)
        );
        assert_eq!(
            sign1
                .text_header("ccf.gov.msg.proposal_id")
                .and_then(Value::as_text),
            Some("ab")
        );
        for verifier in VERIFIERS {
            assert_eq!(sign1.verify(certificate.spki_der(), None, &[], verifier), Ok(()));
            let stranger = EcKeyPair::generate(curve).unwrap();
            assert!(sign1.verify(stranger.spki_der(), None, &[], verifier).is_err());
            let foreign = EcKeyPair::generate(other).unwrap();
            assert!(matches!(
                sign1.verify(foreign.spki_der(), None, &[], verifier),
                Err(CoseError::Algorithm { .. })
            ));
        }
    }
}

#[test]
fn a_node_certificate_chains_to_the_service_identity() {
    let validity = Validity {
        not_before: 1_700_000_000,
        days: 90,
    };
    let service_key = EcKeyPair::generate(Curve::P384).unwrap();
    let service_pem = self_signed_service(&service_key, "CCF Service", validity).unwrap();
    let service = Certificate::from_pem(&service_pem).unwrap();
    let node_key = EcKeyPair::generate(Curve::P256).unwrap();
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let node = node_certificate(
        node_key.spki_der(),
        "CCF Node",
        &names,
        validity,
        &service_key,
        &service,
    )
    .unwrap();
    let node = Certificate::from_pem(&node).unwrap();
    assert!(service.is_ca() && !node.is_ca());
    assert_eq!(
        (service.key_kind(), node.key_kind()),
        (KeyKind::EcP384, KeyKind::EcP256)
    );
    assert_eq!(node.spki_der(), node_key.spki_der());
    assert_eq!(node.issuer_der(), service.subject_der());
    assert_eq!(
        (node.not_before(), node.not_after()),
        (1_700_000_000, 1_700_000_000 + 90 * 86_400 - 1)
    );
    assert!(node.valid_at(1_700_000_000) && !node.valid_at(1_699_999_999));
    assert_eq!(service.to_pem(), service_pem);
    for verifier in VERIFIERS {
        assert_eq!(service.verify_issued_by(service.spki_der(), verifier), Ok(()));
        assert_eq!(node.verify_issued_by(service.spki_der(), verifier), Ok(()));
        assert!(node.verify_issued_by(node.spki_der(), verifier).is_err());
    }
    // Issued again it is another certificate: serial numbers are random.
    assert_ne!(
        self_signed_service(&service_key, "CCF Service", validity).unwrap(),
        service_pem
    );
}

#[test]
fn dates_and_names_that_no_certificate_can_carry_are_refused() {
    let key = EcKeyPair::generate(Curve::P256).unwrap();
    for validity in [
        Validity {
            not_before: 0,
            days: 0,
        },
        Validity {
            not_before: u64::MAX,
            days: 1,
        },
        Validity {
            not_before: 1_700_000_000,
            days: u32::MAX,
        },
    ] {
        assert!(matches!(
            self_signed_member(&key, "x", validity),
            Err(IssueError::Validity { .. })
        ));
    }
    let validity = Validity {
        not_before: 1_700_000_000,
        days: 1,
    };
    let service = Certificate::from_pem(&self_signed_service(&key, "s", validity).unwrap()).unwrap();
    let bad = ["nö".to_owned()];
    assert!(node_certificate(key.spki_der(), "n", &bad, validity, &key, &service).is_err());
    let rsa = RsaKeyPair::generate(RsaBits::B2048).unwrap();
    assert!(node_certificate(b"junk", "n", &[], validity, &key, &service).is_err());
    assert!(node_certificate(rsa.spki_der(), "n", &[], validity, &key, &service).is_ok());
}

#[test]
fn certificates_that_are_cut_extended_or_altered_are_refused() {
    let service = certificate("service_cert_1.pem");
    let der = service.der();
    for length in 0..der.len() {
        assert!(Certificate::from_der(&der[..length]).is_err(), "{length}");
    }
    assert!(Certificate::from_der(&[der, &[0]].concat()).is_err());
    for index in 0..der.len() {
        let mut bad = der.to_vec();
        bad[index] ^= 1;
        let verdict = Certificate::from_der(&bad).map(|c| c.verify_issued_by(service.spki_der(), &Native));
        assert!(!matches!(verdict, Ok(Ok(()))), "byte {index}");
    }
}

#[test]
fn unusual_serial_numbers_do_not_matter() {
    // Serial 0x40… made negative and zero: a reader that refused them could not read members'
    // certificates of common tools.
    let key = EcKeyPair::generate(Curve::P256).unwrap();
    let validity = Validity {
        not_before: 1_700_000_000,
        days: 1,
    };
    let good = Certificate::from_pem(&self_signed_member(&key, "m", validity).unwrap()).unwrap();
    let at = good.der().windows(2).position(|w| w == [0x02, 0x10]).unwrap() + 2;
    for first in [0x80, 0x00] {
        let mut der = good.der().to_vec();
        der[at] = first;
        if first == 0 {
            der[at + 1..at + 16].fill(0);
        }
        let read = Certificate::from_der(&der).unwrap();
        assert_eq!(read.spki_der(), key.spki_der());
    }
}

#[test]
fn both_signatures_of_a_pair_verify() {
    use crypto::spki::KeyKind;
    for (curve, kind) in [(Curve::P256, KeyKind::EcP256), (Curve::P384, KeyKind::EcP384)] {
        let key = EcKeyPair::generate(curve).unwrap();
        let alg = match curve {
            Curve::P256 => crypto::SignatureAlg::EcdsaSha256Fixed,
            Curve::P384 => crypto::SignatureAlg::EcdsaSha384Fixed,
        };
        let signature = key.sign_fixed(b"message").unwrap();
        let twin = crypto::ecdsa::twin(kind, &signature).unwrap();
        let verifiers: [&dyn VerifySignature; 2] = [&Native, &Portable];
        for (verifier, signature) in verifiers.iter().flat_map(|v| [(v, &signature), (v, &twin)]) {
            verifier
                .verify(alg, key.spki_der(), b"message", signature)
                .unwrap();
        }
    }
}
