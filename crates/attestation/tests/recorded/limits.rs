//! Each size limit of evidence: the most is looked at, one more is refused for its size before
//! anything is made of the bytes.

use crate::common::{NOW, bytes, confidential_vm, container_group, text, vector, verify_caci, verify_cvm};
use attestation::report::offset;
use attestation::{EVIDENCE_SIZE_MAX, Evidence, Rejected, Trust, parse_json, verify};
use ciborium::Value as Cbor;
use crypto::cose;
use crypto::native::Native;
use crypto::pem;
use model::b64;
use model::evidence::Platform;
use serde_json::{Value, json};

// The limits are the crate's own; said here once more, so that whoever moves one says so twice.
const AIK_CERTIFICATE_SIZE_MAX: usize = 4096;
const BLOB_SIZE_MAX: usize = 8 * 1024;
const BUNDLE_SIZE_MAX: usize = 32 * 1024;
const CHAIN_LENGTH_MAX: usize = 6;
const CHAIN_LENGTH_READ_MAX: usize = 8;
const DOCUMENT_SIZE_MAX: usize = 64 * 1024;
const NONCE_SIZE_MAX: usize = 64;
const QUOTE_SIZE_MAX: usize = 4 * 1024;
const STATEMENT_SIZE_MAX: usize = 4096;
const VMPL_MAX: u8 = 3;

fn too_long(found: &Result<attestation::Verified, Rejected>, size_max: usize) -> bool {
    let expected = format!("longer than {size_max} bytes");
    matches!(found, Err(Rejected::Malformed { problem, .. }) if *problem == expected)
}

/// `attestation` with `content` as its member at `pointer`.
fn with(attestation: &Value, pointer: &str, content: &[u8]) -> Value {
    let mut altered = attestation.clone();
    *altered.pointer_mut(pointer).unwrap() = json!(b64::encode(content));
    altered
}

#[test]
fn each_field_is_looked_at_up_to_its_most_bytes() {
    let (group, machine) = (container_group("encryption"), confidential_vm());
    let caci: fn(&Value) -> _ = verify_caci;
    for (verify, attestation, pointer, size_max) in [
        (caci, &group, "/endorsements", BUNDLE_SIZE_MAX),
        (caci, &group, "/uvm_endorsements", DOCUMENT_SIZE_MAX),
        (verify_cvm, &machine, "/nonce", NONCE_SIZE_MAX),
        (verify_cvm, &machine, "/evidence/tpmQuote", QUOTE_SIZE_MAX),
        (verify_cvm, &machine, "/evidence/hclReport", BLOB_SIZE_MAX),
        (
            verify_cvm,
            &machine,
            "/evidence/aikCert",
            AIK_CERTIFICATE_SIZE_MAX,
        ),
    ] {
        let of_size = |size: usize| verify(&with(attestation, pointer, &vec![0; size]));
        assert!(!too_long(&of_size(size_max), size_max), "{pointer}");
        assert!(too_long(&of_size(size_max + 1), size_max), "{pointer}");
    }
}

/// The vTPM's index is longer than the certificate in it.
#[test]
fn a_padded_certificate_is_good_at_the_most_bytes() {
    let machine = confidential_vm();
    let mut certificate = bytes(&machine["evidence"]["aikCert"]);
    certificate.resize(AIK_CERTIFICATE_SIZE_MAX, 0);
    let padded = with(&machine, "/evidence/aikCert", &certificate);
    assert!(verify_cvm(&padded).is_ok());
}

#[test]
fn a_chain_of_the_most_bytes_is_good_and_one_byte_more_is_not() {
    let padded = |size: usize| {
        let mut machine = confidential_vm();
        let chain = machine["platformCertificates"].as_str().unwrap();
        machine["platformCertificates"] = json!(format!("{chain:\n<size$}"));
        verify_cvm(&machine)
    };
    assert!(padded(BUNDLE_SIZE_MAX).is_ok());
    let refused = padded(BUNDLE_SIZE_MAX + 1).unwrap_err();
    assert_eq!(
        refused,
        Rejected::Malformed {
            field: "certificate chain",
            problem: "too long".to_owned()
        }
    );
}

#[test]
fn no_more_certificates_are_decoded_than_a_wrong_chain_may_have() {
    let chain = |count: usize| {
        let mut group = container_group("encryption");
        let bundle = pem::encode(pem::CERTIFICATE, b"x").repeat(count);
        group["endorsements"] = json!(b64::encode(bundle.as_bytes()));
        verify_caci(&group).unwrap_err()
    };
    assert_eq!(
        chain(CHAIN_LENGTH_READ_MAX),
        Rejected::ChainLength(CHAIN_LENGTH_READ_MAX)
    );
    assert!(matches!(
        chain(CHAIN_LENGTH_READ_MAX + 1),
        Rejected::Malformed {
            field: "certificate chain",
            ..
        }
    ));
}

/// Endorsements as genuine as can be, but for `count` certificates that are none.
fn endorsements_with_chain_of(count: usize) -> Vec<u8> {
    let good = cose::Sign1::parse(&vector("ccf/uvm_0.2.9.cose")).unwrap();
    let text = |name: &str| good.text_header(name).unwrap().clone();
    let header = Cbor::Map(vec![
        (1.into(), (-37).into()),
        (3.into(), "application/json".into()),
        (33.into(), Cbor::Array(vec![Cbor::Bytes(b"x".to_vec()); count])),
        ("iss".into(), text("iss")),
        ("feed".into(), text("feed")),
    ]);
    let mut protected = Vec::new();
    ciborium::into_writer(&header, &mut protected).unwrap();
    cose::assemble(&protected, &[], good.payload(), &[0; 256])
}

#[test]
fn no_more_certificates_of_endorsements_are_read_than_their_most() {
    let refused = |count: usize| {
        let mut group = container_group("encryption");
        group["uvm_endorsements"] = json!(b64::encode(&endorsements_with_chain_of(count)));
        verify_caci(&group).unwrap_err().to_string()
    };
    let too_many = "certificates are not a short list";
    let most = refused(CHAIN_LENGTH_MAX);
    assert!(!most.contains(too_many) && most.contains("certificate"), "{most}");
    assert!(refused(CHAIN_LENGTH_MAX + 1).contains(too_many));
}

#[test]
fn evidence_is_parsed_up_to_its_most_bytes() {
    let of_size = |size: usize| parse_json(format!("\"{}\"", "a".repeat(size - 2)).as_bytes());
    assert!(of_size(EVIDENCE_SIZE_MAX).is_ok());
    let refused = of_size(EVIDENCE_SIZE_MAX + 1).unwrap_err().to_string();
    assert!(refused.contains("longer than 262144 bytes"), "{refused}");
}

#[test]
fn an_unsigned_statement_is_read_up_to_its_most_bytes() {
    let of_size = |size: usize| {
        let mut statement = json!({"measurement": "ab".repeat(48), "host_data": "cd".repeat(32),
            "report_data": "ef".repeat(64)})
        .to_string()
        .into_bytes();
        statement.resize(size, b' ');
        let trust = Trust {
            allow_virtual: true,
            ..Trust::production()
        };
        let evidence = Evidence {
            platform: Platform::Virtual,
            attestation: &json!({ "evidence": b64::encode(&statement) }),
        };
        verify(&evidence, &trust, NOW, &Native)
    };
    assert!(of_size(STATEMENT_SIZE_MAX).is_ok());
    assert!(too_long(&of_size(STATEMENT_SIZE_MAX + 1), STATEMENT_SIZE_MAX));
}

/// The level is looked at before the signature, which an altered report no longer has.
#[test]
fn a_guest_speaks_from_one_of_its_four_levels() {
    let at_level = |level: u8| {
        let mut report = vector("ccf/milan_v3_report.bin");
        report[offset::VMPL] = level;
        verify_caci(&crate::common::caci(&report, &text("ccf/milan_v3_chain.pem"))).unwrap_err()
    };
    assert_eq!(at_level(VMPL_MAX), Rejected::ReportSignature);
    assert_eq!(at_level(VMPL_MAX + 1), Rejected::Vmpl(u32::from(VMPL_MAX) + 1));
}
