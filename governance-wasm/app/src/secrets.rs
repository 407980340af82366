//! Secrets: put by members, users and unrestricted workloads; given to admitted workloads only
//! (`attestation-secrets-oidc.md` §2).

use cleanroom_model::api::ApproverKind;
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, IDENTIFIER_LEN_MAX, Identifier};
use cleanroom_model::person::Person;
use cleanroom_model::tables::{OWN_SECRETS, SECRETS, Secret};
use kv::codec::Key as _;
use kv::{Json, Pair, Write};
use model::evidence::Role;
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use crate::admission::{self, Binding, Wish};
use crate::caller;
use crate::contracts::require_exists;
use crate::lists;
use crate::permit::permit_if;
use crate::quotas::{self, Holder};
use crate::reply::{Answer, Fault, Refused, Reply};
use crate::request::{Call, Caller};

/// Longest value, in UTF-16 code units, as clients count.
const VALUE_LEN_MAX: usize = 25_600;
/// Prefix of secrets that workloads put.
const WORKLOAD_PREFIX: &str = "cleanroom";
const DELEGATE_TYPE: &str = "secrets";

#[derive(Deserialize)]
struct PutBody {
    #[serde(default)]
    value: Option<JsonValue>,
}

/// `PUT /contracts/{contractId}/secrets/{secretName}`
pub(crate) fn put(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let contract: ContractId = call.id("contractId")?;
    let name: Identifier = call.id("secretName")?;
    let (owner, holder, body): (Option<Person>, Holder, PutBody) =
        if matches!(call.request.caller, Caller::Anonymous) {
            let admitted = admission::admit(
                call,
                changes,
                &call.body()?,
                Wish::new("secret-put", name.as_str(), &[]).bound_by(Binding::EncryptAndSign),
            )?;
            let body = serde_json::from_slice(&admitted.data).map_err(|_| {
                Refused::new(ErrorCode::InvalidInput, "data is not a JSON object with a value")
            })?;
            (None, Holder::workload(&admitted), body)
        } else {
            let known = caller::known(call)?;
            known.require_active()?;
            // Members prepare contracts, and may put what a draft will need before there is one.
            if known.person.kind() == ApproverKind::User {
                require_exists(call, &contract)?;
            }
            let holder = Holder::person(&known.person);
            (Some(known.person), holder, call.body()?)
        };
    let value = match body.value {
        Some(JsonValue::String(value)) if !value.is_empty() => value,
        None | Some(JsonValue::Null | JsonValue::String(_)) => {
            return Err(Refused::new(ErrorCode::ValueMissing, "value is mandatory and not empty").into());
        }
        Some(_) => return Err(Refused::new(ErrorCode::InvalidInput, "value is a string").into()),
    };
    if value.encode_utf16().count() > VALUE_LEN_MAX {
        return Err(Refused::new(
            ErrorCode::ValueTooLarge,
            format!("value is longer than {VALUE_LEN_MAX} characters"),
        )
        .into());
    }
    let prefix = owner
        .as_ref()
        .map_or(WORKLOAD_PREFIX, |owner| owner.id().as_str());
    let secret_id = format!("{prefix}_{name}");
    let key = Pair(contract, secret_id.clone());
    // Both parts may contain the separator: alice's x_k and alice_x's k are one id. Whoever is
    // registered under the id of somebody who left is another owner too.
    let existing = SECRETS.get(call.state, &key)?;
    if existing.as_ref().is_some_and(|row| row.0.owner != owner) {
        return Err(Refused::new(
            ErrorCode::SecretIdInUse,
            format!("secret {secret_id} was put by somebody else; choose another name"),
        )
        .into());
    }
    let before = existing.map(|row| row.0.value.len());
    quotas::charge(call, changes, &key.0, &holder, before, value.len())?;
    if let Some(owner) = &owner {
        let own = Pair(key.0.clone(), Pair(owner.clone(), secret_id.clone()));
        OWN_SECRETS.put(changes, &own, &kv::Unit)?;
    }
    SECRETS.put(changes, &key, &Json(Secret { value, owner }))?;
    Reply::json(&json!({ "secretId": secret_id }))
}

/// `GET /contracts/{contractId}/secrets`: ids, never values. Members see all, users their own.
pub(crate) fn list(call: &Call<'_>) -> Answer {
    let known = caller::known(call)?;
    let contract: ContractId = call.id("contractId")?;
    let corrupt = |e: kv::codec::Malformed| Fault::new(e.to_string());
    let item = |id: String| json!({ "secretId": id });
    if known.person.kind() == ApproverKind::Member {
        let prefix = contract.key_prefix();
        let page = lists::keys(call, SECRETS.name(), &prefix, lists::after(call, &prefix)?)?;
        let ids = page.rows.iter().map(|row| {
            let key = Pair::<ContractId, String>::from_bytes(&row.key).map_err(corrupt)?;
            Ok(item(key.1))
        });
        let value = ids.collect::<Result<Vec<JsonValue>, Fault>>()?;
        return lists::reply(call, &prefix, value, page.next.as_deref());
    }
    let prefix = [contract.key_prefix(), known.person.to_bytes(), b"/".to_vec()].concat();
    let page = lists::keys(call, OWN_SECRETS.name(), &prefix, lists::after(call, &prefix)?)?;
    let ids = page.rows.iter().map(|row| {
        let key = Pair::<ContractId, Pair<Person, String>>::from_bytes(&row.key).map_err(corrupt)?;
        Ok(item(key.1.1))
    });
    let value = ids.collect::<Result<Vec<JsonValue>, Fault>>()?;
    lists::reply(call, &prefix, value, page.next.as_deref())
}

/// Who put a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum PutBy {
    /// A member or user.
    Principal(Person),
    /// An admitted workload.
    Workload,
}

/// Who put the contract's secret `id`; none if there is no such secret.
pub(crate) fn put_by(call: &Call<'_>, contract: &ContractId, id: &str) -> Result<Option<PutBy>, Fault> {
    let row = SECRETS.get(call.state, &Pair(contract.clone(), id.to_owned()))?;
    Ok(row.map(|row| row.0.owner.map_or(PutBy::Workload, PutBy::Principal)))
}

/// A full secret id: two identifiers joined by `_`.
fn secret_id(text: &str) -> Result<&str, Refused> {
    let fits = (1..=IDENTIFIER_LEN_MAX.saturating_mul(2).saturating_add(1)).contains(&text.len());
    let known = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if fits && known {
        return Ok(text);
    }
    Err(Refused::new(
        ErrorCode::InvalidResourceName,
        "secretName: a secret id is made of A-Z a-z 0-9 . _ -",
    ))
}

/// `POST /contracts/{contractId}/secrets/{secretName}`: the value, wrapped to the attested key.
pub(crate) fn release(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let id = secret_id(call.text("secretName"))?;
    let kind: Identifier = DELEGATE_TYPE.parse().expect("an identifier");
    let delegate_id = id.parse::<Identifier>().ok();
    let delegate = delegate_id.as_ref().map(|id| (&kind, id));
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Wish::new("secret", id, &[Role::Pod]).open_to(delegate),
    )?;
    let permit = permit_if(call, changes, admitted, |_, run| match run {
        Some(record) if !record.secret_ids.iter().any(|listed| listed == id) => {
            Err(Refused::new(ErrorCode::NotInRun, "the run does not use this secret").into())
        }
        _ => Ok(()),
    })?
    .0;
    let key = Pair(permit.admitted().contract.clone(), id.to_owned());
    let secret = SECRETS
        .get(call.state, &key)?
        .ok_or_else(|| Refused::new(ErrorCode::SecretNotFound, "the contract has no such secret"))?
        .0;
    let value = permit.release(call, changes, secret.value.as_bytes(), None)?;
    Reply::json(&json!({ "value": value }))
}
