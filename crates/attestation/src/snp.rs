//! Platform `snp-caci`: an SNP report with its chain, and the utility VM's endorsements.
//!
//! Source: §1.1, §1.4. [`check_report`] is shared with `cvm`, whose report obeys the same rules.

use crypto::{SignatureAlg, sha256};
use model::evidence::Platform;
use serde_json::Value;

use crate::chain::VerifiedChain;
use crate::report::{Report, SIZE, policy};
use crate::{Context, Rejected, Verified, chain, claims, fields, uvm};

/// ECDSA on P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;
/// The guest's highest privilege level number.
const VMPL_MAX: u32 = 3;

/// Verifies an `snp-caci` evidence object.
pub(crate) fn verify(attestation: &Value, context: &Context<'_>) -> Result<Verified, Rejected> {
    let map = fields::object(attestation, "attestation")?;
    let report = Report::new(&fields::bytes(fields::text(map, "evidence")?, "evidence", SIZE)?)?;
    let bundle = fields::bytes(
        fields::text(map, "endorsements")?,
        "endorsements",
        chain::BUNDLE_SIZE_MAX,
    )?;
    let bundle =
        std::str::from_utf8(&bundle).map_err(|_| fields::malformed("endorsements", "expected PEM text"))?;
    let uvm_document = fields::optional_text(map, "uvm_endorsements")?
        .map(|text| fields::bytes(text, "uvm_endorsements", uvm::DOCUMENT_SIZE_MAX))
        .transpose()?;
    let endorsed_tcb = fields::optional_text(map, "endorsed_tcb")?;

    check_report(&report, bundle, context)?;
    if let Some(endorsed) = endorsed_tcb {
        check_endorsed_tcb(&report, endorsed)?;
    }
    let endorsement = uvm_document
        .map(|document| uvm::verify(&document, context))
        .transpose()?;
    if endorsement
        .as_deref()
        .is_some_and(|known| *known.launch_measurement() != report.measurement())
    {
        return Err(Rejected::UvmMeasurementMismatch);
    }
    Ok(Verified {
        platform: Platform::SnpCaci,
        report_data: report.report_data(),
        claims: claims::of_report(&report, endorsement.as_deref())?,
        evidence_digest: sha256(report.bytes()),
        uvm_endorsed: endorsement.is_some(),
        quote_nonce: Vec::new(),
    })
}

/// Every check that any SNP report must pass: form, state of guest and platform, chain,
/// signature, and that the chain is this very chip's.
pub(crate) fn check_report(report: &Report, bundle: &str, context: &Context<'_>) -> Result<(), Rejected> {
    check_state(report)?;
    let chain = chain::verify(bundle, report.product()?, context)?;
    check_signature(report, &chain, context)?;
    chain.check_chip(report)
}

/// The checks that need the report alone. They come first because they are cheap; what they
/// read is not known to be genuine until [`check_signature`].
fn check_state(report: &Report) -> Result<(), Rejected> {
    report.check_layout()?;
    if report.signature_algorithm() != ECDSA_P384_SHA384 {
        return Err(Rejected::ReportSignatureAlgorithm(report.signature_algorithm()));
    }
    if report.signing_key() != 0 {
        return Err(Rejected::SigningKey(report.signing_key()));
    }
    if report.chip_key_is_masked() {
        return Err(Rejected::ChipKeyMasked);
    }
    if report.vmpl() > VMPL_MAX {
        return Err(Rejected::Vmpl(report.vmpl()));
    }
    if report.policy_has(policy::DEBUG) {
        return Err(Rejected::DebugAllowed);
    }
    if report.policy_has(policy::MIGRATE_MA) {
        return Err(Rejected::MigrationAllowed);
    }
    Ok(())
}

fn check_signature(report: &Report, chain: &VerifiedChain, context: &Context<'_>) -> Result<(), Rejected> {
    let signature = report.signature_fixed().ok_or(Rejected::ReportSignature)?;
    context
        .verifier
        .verify(
            SignatureAlg::EcdsaSha384Fixed,
            chain.vcek_spki(),
            report.signed(),
            &signature,
        )
        .map_err(|_| Rejected::ReportSignature)
}

/// `endorsed_tcb` is the TCB that the evidence's collector fetched the chain for.
fn check_endorsed_tcb(report: &Report, endorsed: &str) -> Result<(), Rejected> {
    let reported = report.reported_tcb().to_string();
    if fields::hex_array::<8>(endorsed, "endorsed_tcb").is_err() || endorsed != reported {
        return Err(Rejected::EndorsedTcbMismatch {
            reported,
            endorsed: endorsed.chars().take(16).collect(),
        });
    }
    Ok(())
}
