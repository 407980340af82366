//! The least firmware of each processor, which members vote for the whole service: beneath every
//! policy, and judged where policies are, so that a refusal leaves its trace.

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::tcb::TcbFloor;
use model::evidence::Platform;
use model::tables::SNP_TCB_VERSIONS;
use serde_json::{Value as JsonValue, json};

use crate::host_services::VerifiedEvidence;
use crate::matching::Mismatch;
use crate::reply::{Fault, Refused};
use crate::request::Call;

const CPUID: &str = "x-ms-sevsnpvm-cpuid";
/// What stands for the alternative in verdicts.
const NAME: &str = "set_snp_minimum_tcb_version";

/// What keeps SNP evidence below the floor of its processor. Without any row there is no floor;
/// with rows, a processor that none names is below it.
pub(crate) fn unmet(
    call: &Call<'_>,
    platform: Platform,
    evidence: &VerifiedEvidence,
) -> Result<Option<Mismatch>, Fault> {
    match platform {
        Platform::SnpCaci | Platform::SnpCvm => {}
        Platform::Virtual => return Ok(None),
    }
    let got = |claim: &str| evidence.claims.get(claim);
    let missed = |claim: &str, expected: Vec<JsonValue>| {
        Mismatch::of_claim(NAME, claim, expected, got(claim).cloned())
    };
    let rows = SNP_TCB_VERSIONS.rows(call.state)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let cpuid = got(CPUID).and_then(JsonValue::as_str);
    let Some(row) = rows.iter().find(|row| Some(row.key.as_str()) == cpuid) else {
        let known = rows.iter().map(|row| json!(row.key)).collect();
        return Ok(Some(missed(CPUID, known)));
    };
    let floor: TcbFloor = serde_json::from_value(row.value.0.clone())
        .map_err(|e| Fault::new(format!("the minimum TCB of {} cannot be read: {e}", row.key)))?;
    Ok(floor
        .unmet(got)
        .map(|(claim, least)| missed(claim, vec![json!({ "min": least })])))
}

/// The refusal of evidence that is below the floor.
pub(crate) fn refused(unmet: &Mismatch) -> Refused {
    Refused::new(
        ErrorCode::VerifySnpAttestationFailed,
        "The platform's firmware is below the service's minimum TCB version.",
    )
    .with_details(vec![unmet.detail()])
}
