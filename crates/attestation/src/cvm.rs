//! Platform `snp-cvm`: an Azure confidential VM that speaks through its vTPM.
//!
//! The chain of trust: pinned root → VCEK → SNP report → runtime claims → attestation key →
//! quote → registers and nonce. The report says that a paravisor at VMPL 0, launched under
//! Azure's ID key, wrote the claims; the claims name the quote's key. Source: §1.9 with its
//! MUST-BEAT list.

use std::collections::BTreeMap;

use crypto::sha256_parts;
use crypto::x509::jwk_to_spki;
use model::evidence::Platform;
use serde_json::{Map, Value};

use crate::certificate::Certificate;
use crate::hcl::{BLOB_SIZE_MAX, Blob};
use crate::rejected::Link;
use crate::report::{Report, SIZE};
use crate::tpm::{NONCE_SIZE_MAX, QUOTE_SIZE_MAX, Quote};
use crate::{Context, Rejected, Verified, claims, fields, snp};

/// Size of the vTPM index that the certificate is read from.
const AIK_CERTIFICATE_SIZE_MAX: usize = 4096;
/// Registers of a TPM.
const PCR_COUNT: u8 = 24;

/// SHA-384 of the key under which Azure signs the ID blocks of its paravisors, on Milan and on
/// Genoa. The key used until 2023 signed for firmware whose reports are refused by version.
const PARAVISOR_ID_KEY: [u8; 48] = [
    0x94, 0x2F, 0xD9, 0x3E, 0xBD, 0xE6, 0xEA, 0x7A, 0x96, 0xEF, 0xAD, 0xEA, 0xFC, 0x60, 0xF1, 0xC6, 0xB3,
    0xD1, 0x0E, 0x70, 0x3B, 0x1D, 0xAF, 0xD7, 0x55, 0x5B, 0x92, 0xF7, 0xF3, 0xD3, 0x2D, 0x0E, 0x00, 0x67,
    0x67, 0x64, 0x8C, 0xBA, 0x5B, 0x10, 0x2A, 0xF3, 0xD6, 0x57, 0x56, 0xAF, 0x41, 0x77,
];

/// Verifies an `snp-cvm` evidence object.
pub(crate) fn verify(attestation: &Value, context: &Context<'_>) -> Result<Verified, Rejected> {
    let map = fields::object(attestation, "attestation")?;
    let evidence = fields::member(map, "evidence")?;
    let certificates = fields::text(map, "platformCertificates")?;
    let nonce = fields::bytes(fields::text(map, "nonce")?, "nonce", NONCE_SIZE_MAX)?;
    let quote_bytes = fields::bytes(fields::text(evidence, "tpmQuote")?, "tpmQuote", QUOTE_SIZE_MAX)?;
    let blob_bytes = fields::bytes(fields::text(evidence, "hclReport")?, "hclReport", BLOB_SIZE_MAX)?;
    let report = Report::new(&fields::bytes(
        fields::text(evidence, "snpReport")?,
        "snpReport",
        SIZE,
    )?)?;
    let registers = Registers::read(fields::member(evidence, "pcrs")?)?;

    let blob = Blob::parse(&blob_bytes)?;
    if blob.report != report.bytes() {
        return Err(Rejected::HclReportMismatch);
    }
    snp::check_report(&report, certificates, context)?;
    check_paravisor(&report)?;
    if !blob.claims_are_covered_by(&report.report_data()) {
        return Err(Rejected::RuntimeClaimsMismatch);
    }
    let runtime_claims = RuntimeClaims::read(blob.claims)?;
    if let Some(text) = fields::optional_text(evidence, "aikCert")? {
        let padded = fields::bytes(text, "aikCert", AIK_CERTIFICATE_SIZE_MAX)?;
        check_aik(&padded, &runtime_claims.attestation_key)?;
    }
    let quote = Quote::parse(&quote_bytes)?;
    quote.check_signature(&runtime_claims.attestation_key, context.verifier)?;
    if quote.nonce() != nonce {
        return Err(Rejected::QuoteNonce);
    }
    quote.check_registers(&registers.values)?;
    let machine = claims::of_machine(registers.texts.iter().copied(), &runtime_claims.vm_configuration);
    // The paravisor's report last: what it says about the platform nobody else may say.
    let claims = machine.into_iter().chain(claims::of_platform(&report)?).collect();
    Ok(Verified {
        platform: Platform::SnpCvm,
        report_data: runtime_claims.user_data,
        claims,
        evidence_digest: sha256_parts(&[blob.report, blob.claims, &quote_bytes]),
        uvm_endorsed: false,
        quote_nonce: nonce,
    })
}

/// Without this any guest could make up runtime claims, since each chooses its report data.
fn check_paravisor(report: &Report) -> Result<(), Rejected> {
    if report.vmpl() != 0 {
        return Err(Rejected::ParavisorVmpl(report.vmpl()));
    }
    if report.id_key_digest() != PARAVISOR_ID_KEY {
        return Err(Rejected::ParavisorUnknown(hex::encode(report.id_key_digest())));
    }
    Ok(())
}

/// The certificate proves nothing here, the runtime claims do: the report covers them, and they
/// name the key. What is checked is that it is one certificate in DER and of that key, so that
/// evidence that contradicts itself is refused. Its issuer's signature is not, for no root of
/// Azure's vTPMs is pinned, so a byte changed outside key and frame goes unnoticed; nothing is
/// read from there. The index it comes from is longer and padded with zeros.
fn check_aik(padded: &[u8], attestation_key: &[u8]) -> Result<(), Rejected> {
    let end = padded
        .iter()
        .rposition(|byte| *byte != 0)
        .and_then(|last| last.checked_add(1));
    let Some(content) = end.and_then(|end| padded.get(..end)) else {
        return Ok(());
    };
    // A certificate may itself end in zeros, so its own length decides where padding begins.
    let size = match content {
        [0x30, 0x82, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])).checked_add(4),
        _ => None,
    };
    let der = size
        .filter(|size| *size >= content.len())
        .and_then(|size| padded.get(..size));
    let der = der.ok_or_else(|| Rejected::Certificate {
        link: Link::Aik,
        problem: "is not one certificate with zeros behind it".to_owned(),
    })?;
    if Certificate::parse(der, Link::Aik)?.spki() == attestation_key {
        Ok(())
    } else {
        Err(Rejected::AikMismatch)
    }
}

/// What the paravisor says, as far as anybody asks.
struct RuntimeClaims {
    /// `HCLAkPub`, SPKI DER.
    attestation_key: Vec<u8>,
    /// The 64 bytes that the workload had put into the vTPM.
    user_data: [u8; 64],
    vm_configuration: Map<String, Value>,
}

impl RuntimeClaims {
    fn read(text: &[u8]) -> Result<Self, Rejected> {
        let refuse = |problem: &str| Rejected::RuntimeClaims(problem.to_owned());
        let value = fields::parse_json(text).map_err(|error| Rejected::RuntimeClaims(error.to_string()))?;
        let keys = value
            .get("keys")
            .and_then(Value::as_array)
            .ok_or_else(|| refuse("no keys"))?;
        let mut named = keys
            .iter()
            .filter(|key| key.get("kid").is_some_and(|kid| kid == "HCLAkPub"));
        let (Some(key), None) = (named.next(), named.next()) else {
            return Err(refuse("there is not exactly one key HCLAkPub"));
        };
        let attestation_key =
            jwk_to_spki(key).map_err(|error| Rejected::RuntimeClaims(format!("HCLAkPub: {error}")))?;
        let user_data = value
            .get("user-data")
            .and_then(Value::as_str)
            .and_then(|text| hex::decode(text).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| refuse("user-data is not 64 bytes in hex"))?;
        let vm_configuration = match value.get("vm-configuration") {
            None => Map::new(),
            Some(Value::Object(members)) => members.clone(),
            Some(_) => return Err(refuse("vm-configuration is not an object")),
        };
        Ok(Self {
            attestation_key,
            user_data,
            vm_configuration,
        })
    }
}

/// The registers that came along, by index: their values and the text each was sent as.
struct Registers<'a> {
    values: BTreeMap<u8, [u8; 32]>,
    texts: Vec<(u8, &'a str)>,
}

impl<'a> Registers<'a> {
    /// Indices have one spelling each, so that no register can be given twice.
    fn read(members: &'a Map<String, Value>) -> Result<Self, Rejected> {
        let mut registers = Self {
            values: BTreeMap::new(),
            texts: Vec::new(),
        };
        for (name, value) in members {
            let index: u8 = (0..PCR_COUNT)
                .find(|index| index.to_string() == *name)
                .ok_or_else(|| fields::malformed("pcrs", "a member is not named 0 to 23"))?;
            let text = value
                .as_str()
                .ok_or_else(|| fields::malformed("pcrs", "expected strings"))?;
            let value = fields::bytes(text, "pcrs", 32)?
                .try_into()
                .map_err(|_| fields::malformed("pcrs", "a value has not 32 bytes"))?;
            registers.values.insert(index, value);
            registers.texts.push((index, text));
        }
        Ok(registers)
    }
}
