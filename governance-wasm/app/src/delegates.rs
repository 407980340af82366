//! Delegate policies: an admitted workload lets others in, for one purpose (`governance-api.md`
//! §14). Launchers do so for a live run that they had admitted, and choose nothing but host data:
//! all other claims are those of an alternative that members made delegable.

use cleanroom_model::actions::Change;
use cleanroom_model::api::SetDelegate;
use cleanroom_model::claims::{add_claims, parse_claims, remove_claims, union_claims};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, Identifier, RunId};
use cleanroom_model::policy::{ALLOW_ALL_HOST_DATA, Claims, PolicyType};
use cleanroom_model::tables::{DELEGATES, Delegate, DelegateKey, RUN_DELEGATES, RunDelegate, RunDelegateKey};
use kv::codec::{Key as _, Value as _};
use kv::{Json, Pair, Write};
use model::evidence::Role;
use serde_json::{Value as JsonValue, json};

use crate::admission::{self, Admitted, Binding, Wish};
use crate::alternatives::{self, AdmittedBy};
use crate::caller;
use crate::launcher::Launcher;
use crate::lists;
use crate::matching::HOST_DATA;
use crate::permit::permit;
use crate::reply::{Answer, Failure, Fault, Refused, Reply, judged};
use crate::request::Call;
use crate::run_state;

/// `GET /contracts/{contractId}/cleanroompolicy/delegates`: those of no particular launcher by
/// type and id, then what launchers let in, run by run.
pub(crate) fn list(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let contract: ContractId = call.id("contractId")?;
    let prefix = contract.key_prefix();
    let after = lists::after(call, &prefix)?;
    let of_runs = [prefix.as_slice(), RUNS_CURSOR].concat();
    let corrupt = |e: kv::codec::Malformed| Fault::new(e.to_string());
    let mut value: Vec<JsonValue> = Vec::new();
    let behind_runs = match &after {
        Some(after) if after.starts_with(&of_runs) => {
            let row = after.get(of_runs.len()..).unwrap_or_default();
            (!row.is_empty()).then(|| [prefix.as_slice(), row].concat())
        }
        _ => {
            let mut after = after;
            // One row of each: who has many runs has one line here.
            while let Some(row) = call
                .state
                .keys(DELEGATES.name(), &prefix, after.as_deref(), 1)?
                .pop()
            {
                if value.len() == lists::LIST_ROWS_MAX {
                    return lists::reply(call, &prefix, value, after.as_deref());
                }
                let key = DelegateKey::from_bytes(&row.key).map_err(corrupt)?;
                let (kind, id) = (key.1.0, key.1.1.0);
                let last = [prefix.clone(), kind.key_prefix(), id.key_prefix(), b"~".to_vec()].concat();
                after = Some(last);
                value.push(json!({ "delegateType": kind, "delegateId": id }));
            }
            None
        }
    };
    let page = lists::rows(call, RUN_DELEGATES.name(), &prefix, behind_runs)?;
    let mut shown = None;
    let count = page.rows.len();
    for row in page.rows {
        if value.len() == lists::LIST_ROWS_MAX {
            let place = shown.unwrap_or_default();
            return lists::reply(call, &prefix, value, Some(&[of_runs, place].concat()));
        }
        let key = RunDelegateKey::from_bytes(&row.key).map_err(corrupt)?;
        let delegate = Json::<RunDelegate>::from_bytes(&row.value).map_err(corrupt)?.0;
        value.push(run_delegate_view(key.1, &delegate));
        shown = row.key.get(prefix.len()..).map(<[u8]>::to_vec);
    }
    let next = page
        .next
        .filter(|_| count > 0)
        .and(shown)
        .map(|place| [of_runs, place].concat());
    lists::reply(call, &prefix, value, next.as_deref())
}

/// Begins a place in the list among the delegates of runs, which stand behind the others; no identifier can.
const RUNS_CURSOR: &[u8] = b"~";

fn run_delegate_view(
    Pair(run, Pair(kind, id)): Pair<RunId, Pair<Identifier, Identifier>>,
    delegate: &RunDelegate,
) -> JsonValue {
    json!({
        "delegateType": kind, "delegateId": id, "runId": run, "policyType": delegate.policy_type,
        "alternative": delegate.alternative, "hostData": delegate.host_data, "audiences": delegate.audiences,
    })
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
    for row in RUN_DELEGATES.rows_with_prefix(call.state, &contract.key_prefix())? {
        if row.key.1.1 == Pair(kind.clone(), id.clone()) {
            let host_data = row.value.0.host_data.into_iter().map(JsonValue::from);
            union_claims(&mut union, [(HOST_DATA.to_owned(), host_data.collect())].into());
        }
    }
    Reply::json(&json!({ "claims": union }))
}

/// `PUT /contracts/{contractId}/cleanroompolicy/delegates/{delegateType}/{delegateId}`
pub(crate) fn put(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let (kind, id): (Identifier, Identifier) = (call.id("delegateType")?, call.id("delegateId")?);
    let name = format!("{kind}/{id}");
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Wish::new("delegate", &name, &[Role::Launcher]).bound_by(Binding::EncryptAndSign),
    )?;
    let sent: SetDelegate = serde_json::from_slice(&admitted.data).map_err(|e| {
        Refused::new(
            ErrorCode::InvalidInput,
            format!("data is not a delegate policy: {e}"),
        )
    })?;
    if admitted.role() == Some(Role::Launcher) {
        return put_for_run(call, changes, &admitted, Pair(kind, id), sent);
    }
    let policy_type = sent.policy_type.unwrap_or_default();
    if sent.alternative.is_some() {
        return Err(Refused::new(
            ErrorCode::InvalidPolicy,
            "alternative goes with delegates of launchers; name all claims",
        )
        .into());
    }
    let claims = checked_claims(call, policy_type, &sent)?;
    let key = alternatives::delegate_key(&admitted.contract, &kind, &id, policy_type, sent.run_id.as_ref());
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
    permit(call, changes, admitted)?.granted(call, changes)?;
    Ok(Reply::empty())
}

fn checked_claims(call: &Call<'_>, policy_type: PolicyType, sent: &SetDelegate) -> Result<Claims, Refused> {
    let invalid = |why: String| Refused::new(ErrorCode::InvalidPolicy, why);
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

/// Most host data, and most audiences, that a launcher adds to one delegate of a run.
const RUN_DELEGATE_VALUES_MAX: usize = 64;

/// A launcher lets host data in for a live run of its own, for one purpose: on all other claims of
/// the run's alternative, which members made delegable. So whatever it names here is still bound by
/// what they voted, and it can take nothing back that others have seen.
fn put_for_run(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: &Admitted,
    id: Pair<Identifier, Identifier>,
    sent: SetDelegate,
) -> Answer {
    let (run, policy_type, alternative) = match judged(grounds(call, admitted, &sent))? {
        Ok(found) => found,
        Err(refused) => return Err(admitted.refuse(call, changes, refused)),
    };
    let host_data = named_host_data(call, policy_type, &sent)?;
    let alternatives = alternatives::of_contract(call, &admitted.contract)?;
    if host_data
        .iter()
        .any(|value| alternatives::is_launchers(&alternatives, value))
    {
        let refusal = not_delegable("this host data is a launcher's, and launchers get nothing of pods");
        return Err(admitted.refuse(call, changes, refusal));
    }
    let key = Pair(admitted.contract.clone(), Pair(run, id));
    let known = RUN_DELEGATES.get(call.state, &key)?.map(|row| row.0);
    let mut delegate = known.unwrap_or_else(|| RunDelegate {
        policy_type,
        alternative: alternative.clone(),
        host_data: Vec::new(),
        audiences: Vec::new(),
    });
    let detail = json!({
        "alternative": alternative, "policyType": policy_type, "hostData": host_data,
        "audiences": sent.audiences,
    });
    add_new(&mut delegate.host_data, host_data);
    add_new(&mut delegate.audiences, sent.audiences);
    if delegate.host_data.len().max(delegate.audiences.len()) > RUN_DELEGATE_VALUES_MAX {
        return Err(Refused::new(
            ErrorCode::InvalidPolicy,
            format!("a delegate of a run has at most {RUN_DELEGATE_VALUES_MAX} host data and audiences"),
        )
        .into());
    }
    RUN_DELEGATES.put(changes, &key, &Json(delegate))?;
    admitted.delegated(call, changes, &key.1.0, detail)?;
    Ok(Reply::empty())
}

fn add_new(stored: &mut Vec<String>, added: Vec<String>) {
    for value in added {
        if !stored.contains(&value) {
            stored.push(value);
        }
    }
}

fn not_delegable(why: &str) -> Refused {
    Refused::new(ErrorCode::RoleNotAllowed, why.to_owned())
}

/// The run, and the alternative that a launcher's delegate stands on.
fn grounds(
    call: &Call<'_>,
    admitted: &Admitted,
    sent: &SetDelegate,
) -> Result<(RunId, PolicyType, Identifier), Failure> {
    let run = sent.run_id.as_ref().ok_or_else(|| {
        Refused::new(
            ErrorCode::RunIdMissing,
            "a launcher's delegate names its run (runId)",
        )
    })?;
    let record = run_state::admitted_run(call, &admitted.contract, run)??;
    if !Launcher::of(admitted).has_admitted(&record) {
        return Err(Refused::new(ErrorCode::RunNotAdmitted, "another launcher admitted that run").into());
    }
    run_state::require_live(call, &admitted.contract, &record)?;
    if sent.change == Change::Remove {
        return Err(not_delegable(
            "a launcher's delegates are added and end with their run; none is taken away",
        )
        .into());
    }
    let named = sent.alternative.as_ref().ok_or_else(|| {
        not_delegable("a launcher's delegate names the alternative whose claims it takes over")
    })?;
    let policy_type = record.pod_policy_type;
    if !record.is_pod(policy_type, named) || sent.policy_type.is_some_and(|sent| sent != policy_type) {
        return Err(not_delegable("a delegate is of the alternative of its run's pod").into());
    }
    let alternatives = alternatives::of_contract(call, &admitted.contract)?;
    if alternatives::delegable(&alternatives, policy_type, named).is_none() {
        return Err(
            not_delegable("members have not said that this alternative of role pod is delegable").into(),
        );
    }
    Ok((run.clone(), policy_type, named.clone()))
}

/// The host data that a launcher names, and it names nothing else.
fn named_host_data(
    call: &Call<'_>,
    policy_type: PolicyType,
    sent: &SetDelegate,
) -> Result<Vec<String>, Refused> {
    let mut claims = checked_claims(call, policy_type, sent)?;
    let host_data = claims.remove(HOST_DATA).unwrap_or_default();
    if !claims.is_empty() || host_data.is_empty() {
        return Err(Refused::new(
            ErrorCode::InvalidPolicy,
            "a launcher's delegate names host data and takes all other claims over",
        ));
    }
    let texts = host_data.iter().filter_map(JsonValue::as_str);
    Ok(texts.map(ToOwned::to_owned).collect())
}
