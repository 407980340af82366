//! Clean-room policies as they are read (`governance-api.md` §14, decision 17), and their digest.

use cleanroom_model::api::AlternativeView;
use cleanroom_model::claims::union_claims;
use cleanroom_model::ids::ContractId;
use cleanroom_model::policy::Claims;
use kv::codec::canonical_json;
use serde_json::json;

use crate::alternatives;
use crate::caller;
use crate::proposals;
use crate::reply::{Answer, Fault, Reply};
use crate::request::Call;

/// `POST /contracts/{contractId}/cleanroompolicy`
pub(crate) fn read(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let contract: ContractId = call.id("contractId")?;
    let views = views(call, &contract)?;
    let mut union = Claims::new();
    for view in &views {
        union_claims(&mut union, view.claims.clone());
    }
    Reply::json(&json!({
        "proposalIds": proposals::open_for_contract(call, &contract, &["set_clean_room_policy"])?,
        "policy": union,
        "alternatives": views,
    }))
}

/// All alternatives of a contract, by type and id.
fn views(call: &Call<'_>, contract: &ContractId) -> Result<Vec<AlternativeView>, Fault> {
    Ok(alternatives::of_contract(call, contract)?
        .into_iter()
        .map(|placed| AlternativeView {
            alternative: placed.id,
            policy_type: placed.policy_type,
            claims: placed.policy.claims,
            role: placed.policy.role,
            allow_static_evidence: placed.policy.allow_static_evidence,
            delegable: placed.policy.delegable,
            tokens: placed.policy.tokens,
        })
        .collect())
}

/// Hex SHA-256 of the canonical JSON of `alternatives` as [`read`] shows them; tokens carry it,
/// so a relying party can tell under which policy they were issued.
pub(crate) fn digest(call: &Call<'_>, contract: &ContractId) -> Result<String, Fault> {
    Ok(call
        .host
        .sha256(&canonical_json(&views(call, contract)?))
        .to_string())
}
