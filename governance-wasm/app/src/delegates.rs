//! Delegate policies: an admitted workload lets others in, for one purpose (`governance-api.md`
//! §14). Launchers may do so only for a run they had admitted.

use std::collections::BTreeSet;

use cleanroom_model::actions::Change;
use cleanroom_model::api::SetDelegate;
use cleanroom_model::claims::{add_claims, parse_claims, remove_claims, union_claims};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, Identifier};
use cleanroom_model::policy::{ALLOW_ALL_HOST_DATA, Claims, PolicyType, WorkloadRole};
use cleanroom_model::tables::{DELEGATES, Delegate};
use kv::{Json, Write};
use serde_json::{Value as JsonValue, json};

use crate::admission::{self, Admitted, Binding};
use crate::alternatives::{self, AdmittedBy};
use crate::caller;
use crate::launcher::Launcher;
use crate::matching::HOST_DATA;
use crate::permit::permit;
use crate::releases::Purpose;
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Call;
use crate::run_state;

/// `GET /contracts/{contractId}/cleanroompolicy/delegates`
pub(crate) fn list(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let contract: ContractId = call.id("contractId")?;
    let distinct: BTreeSet<(Identifier, Identifier)> = DELEGATES
        .rows_with_prefix(call.state, &contract.key_prefix())?
        .into_iter()
        .map(|row| (row.key.1.0, row.key.1.1.0))
        .collect();
    let value: Vec<JsonValue> = distinct
        .into_iter()
        .map(|(kind, id)| json!({ "delegateType": kind, "delegateId": id }))
        .collect();
    Reply::json(&json!({ "value": value }))
}

/// `POST /contracts/{contractId}/cleanroompolicy/delegates/{delegateType}/{delegateId}`
pub(crate) fn read(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let contract: ContractId = call.id("contractId")?;
    let (kind, id): (Identifier, Identifier) = (call.id("delegateType")?, call.id("delegateId")?);
    let mut prefix = contract.key_prefix();
    prefix.extend(kind.key_prefix());
    prefix.extend(id.key_prefix());
    let mut union = Claims::new();
    for row in DELEGATES.rows_with_prefix(call.state, &prefix)? {
        union_claims(&mut union, row.value.0.claims);
    }
    Reply::json(&json!({ "claims": union }))
}

/// `PUT /contracts/{contractId}/cleanroompolicy/delegates/{delegateType}/{delegateId}`
pub(crate) fn put(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let (kind, id): (Identifier, Identifier) = (call.id("delegateType")?, call.id("delegateId")?);
    let name = format!("{kind}/{id}");
    let purpose = Purpose {
        kind: "delegate",
        name: &name,
    };
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Binding::EncryptAndSign,
        None,
        purpose,
        &[WorkloadRole::Launcher],
    )?;
    let sent: SetDelegate = serde_json::from_slice(&admitted.data).map_err(|e| {
        Refusal::new(
            ErrorCode::InvalidInput,
            format!("data is not a delegate policy: {e}"),
        )
    })?;
    let policy_type = sent.policy_type.unwrap_or_default();
    let claims = checked_claims(call, policy_type, &sent)?;
    let key = alternatives::delegate_key(&admitted.contract, &kind, &id, policy_type, sent.run_id.as_ref());
    if admitted.role() == Some(WorkloadRole::Launcher) {
        check_launcher(call, changes, &admitted, purpose, &sent)?;
    }
    let allow_static = matches!(
        &admitted.by, AdmittedBy::Alternative(placed) if placed.policy.allow_static_evidence
    );
    let mut delegate = match DELEGATES.get(call.state, &key)? {
        Some(row) => row.0,
        None => Delegate {
            claims: Claims::new(),
            run_id: sent.run_id,
            audiences: Vec::new(),
            allow_static_evidence: allow_static,
        },
    };
    match sent.change {
        Change::Add => {
            add_claims(&mut delegate.claims, claims);
            // What one set for fresh evidence only, another does not loosen.
            delegate.allow_static_evidence &= allow_static;
            for audience in sent.audiences {
                if !delegate.audiences.contains(&audience) {
                    delegate.audiences.push(audience);
                }
            }
        }
        Change::Remove => {
            remove_claims(&mut delegate.claims, &claims);
            delegate
                .audiences
                .retain(|audience| !sent.audiences.contains(audience));
        }
    }
    if delegate.claims.is_empty() {
        DELEGATES.remove(changes, &key)?;
    } else {
        DELEGATES.put(changes, &key, &Json(delegate))?;
    }
    permit(call, changes, admitted, purpose)?.granted(call, changes)?;
    Ok(Reply::empty())
}

fn checked_claims(call: &Call<'_>, policy_type: PolicyType, sent: &SetDelegate) -> Result<Claims, Refusal> {
    let invalid = |why: String| Refusal::new(ErrorCode::InvalidPolicy, why);
    if policy_type == PolicyType::Jwt {
        return Err(invalid("delegates are for evidence, not for tokens".into()));
    }
    let claims = parse_claims(policy_type, &sent.claims).map_err(|e| invalid(e.to_string()))?;
    if claims.is_empty() {
        return Err(invalid("claims is empty".into()));
    }
    let allow_all = claims
        .get(HOST_DATA)
        .into_iter()
        .flatten()
        .filter_map(JsonValue::as_str);
    if !call.host.insecure_virtual() && allow_all.into_iter().any(|v| ALLOW_ALL_HOST_DATA.contains(&v)) {
        return Err(invalid(
            "this host data is published with its keys and admits anybody".into(),
        ));
    }
    Ok(claims)
}

/// A launcher delegates for its own runs only; what others set for theirs, or for no run, has other
/// keys.
fn check_launcher(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: &Admitted,
    purpose: Purpose<'_>,
    sent: &SetDelegate,
) -> Result<(), Refusal> {
    let refusal = match &sent.run_id {
        None => Refusal::new(
            ErrorCode::RunIdMissing,
            "a launcher's delegate names its run (runId)",
        ),
        Some(run) => match run_state::admitted_run(call, &admitted.contract, run)? {
            Ok(record) if Launcher::of(admitted).has_admitted(&record) => return Ok(()),
            Ok(_) => Refusal::new(ErrorCode::RunNotAdmitted, "another launcher admitted that run"),
            Err(refusal) => refusal,
        },
    };
    Err(admitted.refuse(call, changes, purpose, refusal))
}
