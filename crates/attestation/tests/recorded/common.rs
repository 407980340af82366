//! Recorded evidence, in the shape in which requests carry it.

use std::fs;
use std::path::PathBuf;

use attestation::{Evidence, Rejected, Trust, Verified, verify};
use crypto::native::Native;
use crypto::pem;
use model::b64;
use model::evidence::Platform;
use serde_json::{Value, json};

/// 2026-07-01 00:00 UTC: every VCEK that must verify is valid, and no leaf certificate of the UVM
/// endorsements is.
pub(crate) const NOW: u64 = 1_782_864_000;

/// A recorded file.
pub(crate) fn vector(path: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/attestation");
    fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A recorded text file.
pub(crate) fn text(path: &str) -> String {
    String::from_utf8(vector(path)).unwrap()
}

/// A recorded JSON file.
pub(crate) fn json(path: &str) -> Value {
    serde_json::from_slice(&vector(path)).unwrap()
}

/// An `snp-caci` evidence object of a report and a PEM chain.
pub(crate) fn caci(report: &[u8], chain: &str) -> Value {
    json!({ "evidence": b64::encode(report), "endorsements": b64::encode(chain.as_bytes()) })
}

/// A PEM chain of a VCEK (DER) and the Milan certificates above it.
pub(crate) fn milan_chain(vcek: &[u8]) -> String {
    pem::encode(pem::CERTIFICATE, vcek)
        + &text("virtee-sev/milan_ask.pem")
        + &text("virtee-sev/milan_ark.pem")
}

/// The complete evidence of a container group: report, chain, endorsements.
pub(crate) fn container_group(kind: &str) -> Value {
    let recorded = json(&format!("azure-cleanroom/caci/{kind}/attestation.json"));
    let report = &recorded["report"]["snpCACI"];
    json!({
        "evidence": report["attestation"],
        "endorsements": report["platformCertificates"],
        "uvm_endorsements": report["uvmEndorsements"],
    })
}

/// The complete evidence of a confidential VM.
pub(crate) fn confidential_vm() -> Value {
    json("azure-cleanroom/cvm/encryption/attestation.json")["report"]["snpCvm"].clone()
}

/// The bytes of a base64 member.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    b64::decode(value.as_str().unwrap()).unwrap()
}

/// What a production verifier says of `snp-caci` evidence.
pub(crate) fn verify_caci(attestation: &Value) -> Result<Verified, Rejected> {
    let evidence = Evidence {
        platform: Platform::SnpCaci,
        attestation,
    };
    verify(&evidence, &Trust::production(), NOW, &Native)
}

/// What a production verifier says of `snp-cvm` evidence.
pub(crate) fn verify_cvm(attestation: &Value) -> Result<Verified, Rejected> {
    let evidence = Evidence {
        platform: Platform::SnpCvm,
        attestation,
    };
    verify(&evidence, &Trust::production(), NOW, &Native)
}
