//! Recorded UVM endorsements, and what happens to altered ones.

use crate::common::{NOW, bytes, caci, container_group, text, vector, verify_caci};
use attestation::{Evidence, Memo, Rejected, Trust, verify_memoised};
use crypto::native::Native;
use model::b64;
use model::evidence::Platform;
use serde_json::{Value, json};

/// The container group's evidence with other endorsements.
fn endorsed_by(document: &[u8]) -> Value {
    let mut attestation = container_group("encryption");
    attestation["uvm_endorsements"] = json!(b64::encode(document));
    attestation
}

#[test]
fn an_svn_written_as_integer_counts_like_one_written_as_text() {
    for (path, svn) in [("ccf/int_svn.cose", 102), ("ccf/uvm_0.2.9.cose", 103)] {
        let verified = verify_caci(&endorsed_by(&vector(path))).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert!(verified.uvm_endorsed);
        assert_eq!(verified.claims["uvm_endorsements-svn"], json!(svn), "{path}");
    }
}

#[test]
fn genuine_endorsements_of_another_utility_vm_are_refused() {
    // Its SVN is the lowest trusted one, so the document itself passes.
    let refused = verify_caci(&endorsed_by(&vector("ccf/rsa_test1.cose")));
    assert_eq!(refused, Err(Rejected::UvmMeasurementMismatch));
    let mut other_report = caci(
        &vector("ccf/milan_v3_report.bin"),
        &text("ccf/milan_v3_chain.pem"),
    );
    other_report["uvm_endorsements"] = json!(b64::encode(&vector("ccf/uvm_0.2.9.cose")));
    assert_eq!(verify_caci(&other_report), Err(Rejected::UvmMeasurementMismatch));
}

#[test]
fn remembered_endorsements_are_still_compared_with_the_report() {
    let memo = Memo::new(2);
    let check = |attestation: &Value| {
        let evidence = Evidence {
            platform: Platform::SnpCaci,
            attestation,
        };
        verify_memoised(&evidence, &Trust::production(), NOW, &Native, &memo)
            .map(|verified| verified.uvm_endorsed)
    };
    let document = vector("ccf/uvm_0.2.9.cose");
    let mut other_report = caci(
        &vector("ccf/milan_v3_report.bin"),
        &text("ccf/milan_v3_chain.pem"),
    );
    other_report["uvm_endorsements"] = json!(b64::encode(&document));
    for _ in 0..2 {
        assert_eq!(check(&endorsed_by(&document)), Ok(true));
        assert_eq!(check(&other_report), Err(Rejected::UvmMeasurementMismatch));
    }
}

#[test]
fn what_is_no_endorsement_is_refused() {
    let good = vector("ccf/uvm_0.2.9.cose");
    for bad in [
        Vec::new(),
        vec![0xD2],
        good[1..].to_vec(),
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), &[0]].concat(),
        b"not COSE at all".to_vec(),
    ] {
        assert!(
            matches!(verify_caci(&endorsed_by(&bad)), Err(Rejected::UvmMalformed(_))),
            "{} bytes",
            bad.len()
        );
    }
}

#[test]
fn every_flipped_byte_outside_the_unprotected_header_is_noticed() {
    let document = bytes(&container_group("encryption")["uvm_endorsements"]);
    let unprotected = unprotected_header(&document);
    let attestation = container_group("encryption");
    // The report's chain stays the same and need not be verified five thousand times.
    let memo = Memo::new(1);
    let verdict = |document: &[u8]| {
        let mut attestation = attestation.clone();
        attestation["uvm_endorsements"] = json!(b64::encode(document));
        let evidence = Evidence {
            platform: Platform::SnpCaci,
            attestation: &attestation,
        };
        verify_memoised(&evidence, &Trust::production(), NOW, &Native, &memo).map(|_| ())
    };
    assert_eq!(verdict(&document), Ok(()));
    let signed = (0..document.len()).filter(|position| !unprotected.contains(position));
    for position in signed {
        let mut altered = document.clone();
        altered[position] ^= 1 << (position % 8);
        assert!(verdict(&altered).is_err(), "byte {position}");
    }
}

/// Where the unprotected header lies: after the protected one, before the payload.
fn unprotected_header(document: &[u8]) -> std::ops::Range<usize> {
    // Tag 18, array of four, byte string with a 16-bit length.
    assert_eq!(document[..3], [0xD2, 0x84, 0x59]);
    let start = 5 + usize::from(u16::from_be_bytes([document[3], document[4]]));
    let payload: &[u8] = b"{\n  \"x-ms-sevsnpvm-launchmeasurement\"";
    let payload_at = document
        .windows(payload.len())
        .position(|window| window == payload)
        .unwrap();
    // The payload's own head has two bytes.
    start..payload_at - 2
}
