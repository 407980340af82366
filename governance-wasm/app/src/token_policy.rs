//! Clean rooms that show a token instead of evidence: the contract's `jwt` policy decides
//! (`governance-api.md` §12.2, §15.1).

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::ContractId;
use cleanroom_model::policy::PolicyType;

use crate::alternatives;
use crate::caller;
use crate::matching::{Mismatch, claim_mismatches};
use crate::proof::POLICY_MISSING;
use crate::reply::{Failure, Refused};
use crate::request::Call;

/// The claims must satisfy one alternative of type `jwt`.
///
/// # Errors
///
/// `VerifyJwtAttestationFailed`, with what stands in the way.
pub(crate) fn check(call: &Call<'_>, contract: &ContractId, claims_json: &str) -> Result<(), Failure> {
    let claims = caller::token_claims(claims_json)?;
    let mut details = Vec::new();
    let mut found_policy = false;
    for placed in alternatives::of_contract(call, contract)? {
        found_policy = true;
        if placed.policy_type != PolicyType::Jwt {
            continue;
        }
        let found = claim_mismatches(placed.id.as_str(), &placed.policy.claims, |name| claims.get(name));
        if found.is_empty() {
            return Ok(());
        }
        details.extend(found.iter().map(Mismatch::detail));
    }
    let message = if found_policy {
        "The token's claims do not match the contract policy."
    } else {
        POLICY_MISSING
    };
    Err(Refused::new(ErrorCode::VerifyJwtAttestationFailed, message)
        .with_details(details)
        .into())
}

/// Whose token it is, for counting: its `sub`, within what its issuer says.
///
/// # Errors
///
/// `InvalidAuthenticationInfo` if the claims are not readable.
pub(crate) fn subject(claims_json: &str) -> Result<String, Refused> {
    let claims = caller::token_claims(claims_json)?;
    let claim = |name: &str| {
        claims
            .get(name)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    Ok(format!("{:.200}/{:.200}", claim("iss"), claim("sub")))
}
