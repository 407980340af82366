//! Recorded evidence of confidential VMs, and everything that an operator might change in it.

use crate::common::{NOW, bytes, confidential_vm, json, milan_chain, text, vector, verify_cvm};
use attestation::{Evidence, Memo, Rejected, Trust, verify_memoised};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use crypto::native::Native;
use crypto::{pem, sha256};
use model::b64;
use model::evidence::Platform;
use serde_json::{Map, Value, json};

/// An `snp-cvm` evidence object of parts recorded by another collector.
fn assembled(hcl: &[u8], chain: &str, quote: &[u8], nonce: &[u8], pcrs: &[Vec<u8>]) -> Value {
    let registers: Map<String, Value> = pcrs
        .iter()
        .enumerate()
        .map(|(index, value)| (index.to_string(), json!(b64::encode(value))))
        .collect();
    json!({
        "evidence": {
            "tpmQuote": b64::encode(quote),
            "hclReport": b64::encode(hcl),
            "snpReport": b64::encode(&hcl[32..1216]),
            "pcrs": registers,
        },
        "nonce": b64::encode(nonce),
        "platformCertificates": chain,
    })
}

/// `size ‖ TPMS_ATTEST ‖ TPMT_SIGNATURE` of an RSA-2048 key.
fn quote(message: &[u8], signature: &[u8]) -> Vec<u8> {
    let sized = |part: &[u8]| [&u16::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    [sized(message), vec![0x00, 0x14, 0x00, 0x0B], sized(signature)].concat()
}

fn hex_texts(value: &Value) -> Vec<Vec<u8>> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|text| hex::decode(text.as_str().unwrap()).unwrap())
        .collect()
}

fn byte_array(value: &Value) -> Vec<u8> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect()
}

/// Milan, recorded by another project.
fn milan_vm() -> Value {
    let recorded = json("trustee/az-snp-vtpm/evidence-v1.json");
    let decode = |name: &str| URL_SAFE.decode(recorded[name].as_str().unwrap()).unwrap();
    let from_hex = |name: &str| hex::decode(recorded["tpm_quote"][name].as_str().unwrap()).unwrap();
    assembled(
        &decode("hcl_report"),
        &milan_chain(&decode("vcek")),
        &quote(&from_hex("message"), &from_hex("signature")),
        b"challenge",
        &hex_texts(&recorded["tpm_quote"]["pcrs"]),
    )
}

/// Genoa, recorded by another project.
fn genoa_vm() -> Value {
    let recorded = json("trustee/az-snp-vtpm/evidence-genoa.json");
    let message = byte_array(&recorded["quote"]["message"]);
    let chain = recorded["vcek"].as_str().unwrap().to_owned()
        + &text("virtee-sev/genoa_ask.pem")
        + &text("virtee-sev/genoa_ark.pem");
    let pcrs: Vec<Vec<u8>> = recorded["quote"]["pcrs"]
        .as_array()
        .unwrap()
        .iter()
        .map(byte_array)
        .collect();
    assembled(
        &byte_array(&recorded["report"]),
        &chain,
        &quote(&message, &byte_array(&recorded["quote"]["signature"])),
        &message[44..92],
        &pcrs,
    )
}

#[test]
fn a_confidential_vm_is_genuine_and_says_what_it_is() {
    let verified = verify_cvm(&confidential_vm()).unwrap();
    let key_text = text("azure-cleanroom/cvm/encryption/pub_key.pem");
    assert_eq!(
        verified.report_data[..32],
        sha256(key_text.trim_end().as_bytes()).0
    );
    assert_eq!(verified.report_data[32..], [0; 32]);
    assert_eq!(verified.quote_nonce, sha256(b"azure-cleanroom").0);
    assert!(!verified.uvm_endorsed);
    assert_eq!(
        verified.claims["pcr0"],
        confidential_vm()["evidence"]["pcrs"]["0"]
    );
    assert_eq!(
        verified
            .claims
            .keys()
            .filter(|name| name.starts_with("pcr"))
            .count(),
        24
    );
    assert_eq!(verified.claims["vm-configuration-secure-boot"], json!(true));
    assert_eq!(verified.claims["vm-configuration-console-enabled"], json!(true));
    assert_eq!(
        verified.claims["vm-configuration-vmUniqueId"],
        json!("BDD43C6F-0B79-4D3F-BE6A-C594AF3BAF6E")
    );
}

#[test]
fn evidence_of_other_collectors_is_genuine_too() {
    assert_eq!(verify_cvm(&milan_vm()).unwrap().quote_nonce, b"challenge");
    let genoa = verify_cvm(&genoa_vm()).unwrap();
    assert_eq!(genoa.quote_nonce.len(), 48);
    assert!(genoa.claims.contains_key("vm-configuration-root-cert-thumbprint"));
    // What the paravisor's report says of the platform.
    assert_eq!(genoa.claims["x-ms-sevsnpvm-product"], json!("Genoa"));
    assert_eq!(genoa.claims["x-ms-sevsnpvm-vmpl"], json!(0));
    assert!(genoa.claims["x-ms-sevsnpvm-snpfw-svn"].is_u64());
    assert!(genoa.claims["x-ms-sevsnpvm-committed-microcode-svn"].is_u64());
}

#[test]
fn an_old_report_is_refused_by_version_though_its_quote_is_right() {
    let recorded = json("trustee/az-snp-vtpm/tpm-quote-v1.json");
    let from_hex = |name: &str| hex::decode(recorded[name].as_str().unwrap()).unwrap();
    let evidence = assembled(
        &vector("trustee/az-snp-vtpm/hcl-report.bin"),
        &text("trustee/az-snp-vtpm/vcek.pem"),
        &quote(&from_hex("message"), &from_hex("signature")),
        b"challenge",
        &hex_texts(&recorded["pcrs"]),
    );
    assert_eq!(verify_cvm(&evidence), Err(Rejected::ReportVersion(2)));
}

#[test]
fn a_quote_of_another_vm_is_refused() {
    let mut evidence = confidential_vm();
    evidence["evidence"]["tpmQuote"] = milan_vm()["evidence"]["tpmQuote"].clone();
    assert_eq!(verify_cvm(&evidence), Err(Rejected::QuoteSignature));
    let partial = quote(
        &vector("trustee/az-snp-vtpm/tpm-quote.msg"),
        &vector("trustee/az-snp-vtpm/tpm-quote.sig"),
    );
    evidence["evidence"]["tpmQuote"] = json!(b64::encode(&partial));
    assert_eq!(verify_cvm(&evidence), Err(Rejected::QuoteSignature));
}

#[test]
fn a_vm_of_another_technology_is_refused() {
    let mut evidence = confidential_vm();
    evidence["evidence"]["hclReport"] = json!(b64::encode(&vector("az-cvm-vtpm/hcl-report-tdx.bin")));
    assert_eq!(verify_cvm(&evidence), Err(Rejected::HclReportType(4)));
}

#[test]
fn a_blob_with_another_report_than_the_evidence_is_refused() {
    let mut evidence = confidential_vm();
    evidence["evidence"]["hclReport"] = milan_vm()["evidence"]["hclReport"].clone();
    assert_eq!(verify_cvm(&evidence), Err(Rejected::HclReportMismatch));
}

#[test]
fn a_chain_of_another_chip_is_refused() {
    let mut evidence = confidential_vm();
    evidence["platformCertificates"] = json!(text("az-cvm-vtpm/certs.pem"));
    assert!(verify_cvm(&evidence).is_err());
    evidence["platformCertificates"] = milan_vm()["platformCertificates"].clone();
    assert_eq!(verify_cvm(&evidence), Err(Rejected::ReportSignature));
}

#[test]
fn runtime_claims_that_the_report_does_not_cover_are_refused() {
    let blob = bytes(&confidential_vm()["evidence"]["hclReport"]);
    let user_data = b"\"user-data\":\"E2F9";
    let position = blob
        .windows(user_data.len())
        .position(|window| window == user_data)
        .unwrap();
    let mut altered = blob;
    altered[position + 13] = b'F';
    let mut evidence = confidential_vm();
    evidence["evidence"]["hclReport"] = json!(b64::encode(&altered));
    assert_eq!(verify_cvm(&evidence), Err(Rejected::RuntimeClaimsMismatch));
}

#[test]
fn a_certificate_of_another_attestation_key_is_refused() {
    let mut evidence = confidential_vm();
    // Any readable certificate of another key will do.
    let other = pem::read_many(pem::CERTIFICATE, &text("ccf/milan_v3_chain.pem"), 3)
        .unwrap()
        .remove(0);
    let mut padded = other;
    padded.resize(4096, 0);
    evidence["evidence"]["aikCert"] = json!(b64::encode(&padded));
    assert_eq!(verify_cvm(&evidence), Err(Rejected::AikMismatch));
    let mut followed = bytes(&confidential_vm()["evidence"]["aikCert"]);
    followed[4095] = 1;
    evidence["evidence"]["aikCert"] = json!(b64::encode(&followed));
    assert!(matches!(verify_cvm(&evidence), Err(Rejected::Certificate { .. })));
}

/// No root of Azure's vTPMs is pinned, so the issuer's signature cannot be verified. What the
/// verdict rests on, the key, is compared; the rest of the certificate changes nothing.
#[test]
fn the_attestation_keys_certificate_adds_nothing_but_its_key() {
    let genuine = confidential_vm();
    let original = bytes(&genuine["evidence"]["aikCert"]);
    let size = usize::from(u16::from_be_bytes([original[2], original[3]])) + 4;
    let altered = |position: usize| {
        let mut certificate = original.clone();
        certificate[position] ^= 1;
        let mut evidence = genuine.clone();
        evidence["evidence"]["aikCert"] = json!(b64::encode(&certificate));
        verify_cvm(&evidence)
    };
    let expected = verify_cvm(&genuine);
    assert!(expected.is_ok());
    // The last byte of the signature: another certificate, the same verdict.
    assert_eq!(altered(size - 1), expected);
    // The first bytes of the modulus are a different key; those of the frame no certificate.
    let key = [0x02, 0x82, 0x01, 0x01, 0x00];
    let modulus = original.windows(5).position(|window| window == key).unwrap();
    assert_eq!(altered(modulus + 20), Err(Rejected::AikMismatch));
    assert!(altered(0).is_err() && altered(3).is_err());
    // Without it: still the same, since nothing is taken from it.
    let mut without = genuine.clone();
    without["evidence"].as_object_mut().unwrap().remove("aikCert");
    assert_eq!(verify_cvm(&without), expected);
}

#[test]
fn the_quotes_nonce_is_the_evidences() {
    let mut evidence = confidential_vm();
    evidence["nonce"] = json!(b64::encode(&[7; 32]));
    assert_eq!(verify_cvm(&evidence), Err(Rejected::QuoteNonce));
    evidence["nonce"] = json!("");
    assert_eq!(verify_cvm(&evidence), Err(Rejected::QuoteNonce));
}

#[test]
fn registers_cannot_be_relabelled_left_out_or_added() {
    let with = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut evidence = confidential_vm();
        change(evidence["evidence"]["pcrs"].as_object_mut().unwrap());
        verify_cvm(&evidence).map(|_| ())
    };
    assert_eq!(with(&|_| ()), Ok(()));
    let swap = |pcrs: &mut Map<String, Value>| {
        let (zero, one) = (pcrs["0"].clone(), pcrs["1"].clone());
        pcrs["0"] = one;
        pcrs["1"] = zero;
    };
    assert_eq!(with(&swap), Err(Rejected::PcrDigest));
    assert_eq!(with(&|pcrs| drop(pcrs.remove("11"))), Err(Rejected::PcrSelection));
    let alter = |pcrs: &mut Map<String, Value>| pcrs["7"] = json!(b64::encode(&[1; 32]));
    assert_eq!(with(&alter), Err(Rejected::PcrDigest));
    for name in ["00", "+1", "01", "24", "-0", " 1", "1 ", "", "0x1", "256", "pcr0"] {
        let extra = |pcrs: &mut Map<String, Value>| {
            let value = pcrs["0"].clone();
            pcrs.insert(name.to_owned(), value);
        };
        assert!(
            matches!(with(&extra), Err(Rejected::Malformed { field: "pcrs", .. })),
            "{name}"
        );
    }
    for value in [
        json!(null),
        json!(0),
        json!(b64::encode(&[0; 31])),
        json!(b64::encode(&[0; 33])),
    ] {
        let wrong = |pcrs: &mut Map<String, Value>| pcrs["0"] = value.clone();
        assert!(
            matches!(with(&wrong), Err(Rejected::Malformed { field: "pcrs", .. })),
            "{value}"
        );
    }
}

#[test]
fn members_that_the_collector_should_have_stripped_are_ignored() {
    let mut evidence = confidential_vm();
    evidence["evidence"]["runtimeClaims"] = json!({ "user-data": "00" });
    evidence["imageReference"] = json!(null);
    assert!(verify_cvm(&evidence).is_ok());
}

#[test]
fn every_flipped_byte_of_blob_report_and_quote_is_noticed() {
    let memo = Memo::new(1);
    let genuine = confidential_vm();
    let verdict = |attestation: &Value| {
        let evidence = Evidence {
            platform: Platform::SnpCvm,
            attestation,
        };
        verify_memoised(&evidence, &Trust::production(), NOW, &Native, &memo).map(|_| ())
    };
    assert_eq!(verdict(&genuine), Ok(()));
    for field in ["hclReport", "snpReport", "tpmQuote"] {
        let original = bytes(&genuine["evidence"][field]);
        for position in 0..original.len() {
            let mut altered = original.clone();
            altered[position] ^= 1 << (position % 8);
            let mut evidence = genuine.clone();
            evidence["evidence"][field] = json!(b64::encode(&altered));
            assert!(verdict(&evidence).is_err(), "{field}, byte {position}");
        }
    }
}
