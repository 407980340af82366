//! Contracts: drafts by members, acceptance by vote (`governance-api.md` §7).

use std::collections::BTreeMap;

use cleanroom_model::api::DocumentState;
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::{
    ACCEPTED_CONTRACTS, AcceptedContract, CONTRACTS, InvalidRequiredMembers, required_members,
};
use cleanroom_model::ids::ContractId;
use kv::codec::Key as _;
use kv::{TxId, Write};
use model::{MemberId, ProposalId};
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;
use serde_json::value::RawValue;

use crate::caller;
use crate::lists;
use crate::nesting::require_shallow;
use crate::proposals;
use crate::reply::{Answer, Failure, Fault, Refused, Reply};
use crate::request::Call;

/// `PUT` body; `data` stays text, since only its metadata is ever looked at.
#[derive(Deserialize)]
struct PutBody<'a> {
    #[serde(default)]
    version: Option<String>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// `PUT /contracts/{contractId}`
pub(crate) fn put(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    caller::active_member(call)?;
    let id: ContractId = call.id("contractId")?;
    if ACCEPTED_CONTRACTS.has(call.state, &id)? {
        return Err(Refused::new(
            ErrorCode::ContractAlreadyAccepted,
            "an accepted contract cannot be changed",
        )
        .into());
    }
    call.require_one_meaning()?;
    let body: PutBody<'_> = serde_json::from_slice(call.json()).map_err(|e| {
        Refused::new(
            ErrorCode::InvalidInput,
            format!("the body is not of the expected form: {e}"),
        )
    })?;
    let Some(data) = body.data.filter(|data| data.get() != "null") else {
        return Err(Refused::new(ErrorCode::DataMissing, "data is mandatory").into());
    };
    let data: JsonValue = serde_json::from_str(data.get())
        .map_err(|e| Refused::new(ErrorCode::InvalidInput, format!("data is not JSON: {e}")))?;
    require_shallow("data", &data)?;
    let key = id.to_bytes();
    let current = call.state.get(CONTRACTS.name(), &key)?.map(|row| row.version);
    check_version(current, body.version.as_deref(), ErrorCode::ContractAlreadyExists)?;
    if current.is_some() && proposal_of(call, &id)?.is_some() {
        return Err(Refused::new(
            ErrorCode::ContractProposed,
            "the contract is being voted on; withdraw the proposal before changing it",
        )
        .into());
    }
    check_required_members(call, &data)?;
    // Trees keep their keys sorted, so this text is canonical without another pass.
    let row = serde_json::to_vec(&Draft { data: &data }).map_err(|e| Fault::new(e.to_string()))?;
    changes.put(CONTRACTS.name(), &key, &row)?;
    Ok(Reply::empty())
}

#[derive(Serialize)]
struct Draft<'a> {
    data: &'a JsonValue,
}

/// Optimistic concurrency: nothing there and no version, or the version that is there.
pub(crate) fn check_version(
    current: Option<TxId>,
    sent: Option<&str>,
    exists: ErrorCode,
) -> Result<(), Refused> {
    let sent = sent.filter(|version| !version.is_empty());
    match (current, sent) {
        (None, None) => Ok(()),
        (Some(current), Some(sent)) if current.to_string() == sent => Ok(()),
        (Some(current), None) => Err(Refused::new(
            exists,
            format!("it exists with version {current}; send that version to change it"),
        )),
        (Some(current), Some(_)) => Err(Refused::new(
            ErrorCode::PreconditionFailed,
            format!("the current version is {current}; read it again before changing it"),
        )),
        (None, Some(_)) => Err(Refused::new(
            ErrorCode::PreconditionFailed,
            "a version was sent for something that does not exist",
        )),
    }
}

/// The members that `data` names must be regular members (`governance-api.md` §6.7 V2).
fn check_required_members(call: &Call<'_>, data: &JsonValue) -> Result<(), Failure> {
    let invalid = |e: InvalidRequiredMembers| Refused::new(ErrorCode::InvalidRequiredMembers, e.to_string());
    for member in required_members(data).map_err(invalid)?.unwrap_or_default() {
        let info = caller::member_info(call, &member)?;
        if !info.is_some_and(|info| caller::is_regular(&info)) {
            return Err(invalid(InvalidRequiredMembers::NotEligible(member)).into());
        }
    }
    Ok(())
}

/// The open proposal that names the contract.
fn proposal_of(call: &Call<'_>, id: &ContractId) -> Result<Option<ProposalId>, Fault> {
    Ok(proposals::open_for_contract(call, id, &["set_contract"])?
        .into_iter()
        .next())
}

#[derive(Deserialize)]
struct StoredDraft<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredAccepted<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    proposal_id: ProposalId,
    final_votes: BTreeMap<MemberId, bool>,
    #[serde(default)]
    required_members: Option<Vec<MemberId>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    id: &'a ContractId,
    state: DocumentState,
    version: TxId,
    data: &'a RawValue,
    proposal_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    final_votes: Option<Vec<VoteView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_members: Option<Vec<MemberId>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VoteView {
    member_id: MemberId,
    vote: bool,
}

fn corrupt(error: &serde_json::Error) -> Fault {
    Fault::new(format!("a contract's row does not decode: {error}"))
}

/// `POST /contracts/{contractId}`
pub(crate) fn read(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let id: ContractId = call.id("contractId")?;
    let key = id.to_bytes();
    if let Some(row) = call.state.get(ACCEPTED_CONTRACTS.name(), &key)? {
        let stored: StoredAccepted<'_> = serde_json::from_slice(&row.value).map_err(|e| corrupt(&e))?;
        let votes = stored
            .final_votes
            .into_iter()
            .map(|(member_id, vote)| VoteView { member_id, vote });
        return Reply::json(&View {
            id: &id,
            state: DocumentState::Accepted,
            version: row.version,
            data: stored.data,
            proposal_id: stored.proposal_id.to_string(),
            final_votes: Some(votes.collect()),
            required_members: stored.required_members,
        });
    }
    let row = call
        .state
        .get(CONTRACTS.name(), &key)?
        .ok_or_else(|| not_found(&id))?;
    let stored: StoredDraft<'_> = serde_json::from_slice(&row.value).map_err(|e| corrupt(&e))?;
    let proposal = proposal_of(call, &id)?;
    Reply::json(&View {
        id: &id,
        state: if proposal.is_some() {
            DocumentState::Proposed
        } else {
            DocumentState::Draft
        },
        version: row.version,
        data: stored.data,
        proposal_id: proposal.map(|p| p.to_string()).unwrap_or_default(),
        final_votes: None,
        required_members: None,
    })
}

fn not_found(id: &ContractId) -> Refused {
    Refused::new(ErrorCode::ContractNotFound, format!("there is no contract {id}"))
}

/// `GET /contracts`
pub(crate) fn list(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let query = call.query()?;
    let filter = match query.get("state").map_or("", String::as_str) {
        "" => None,
        "Draft" => Some(DocumentState::Draft),
        "Proposed" => Some(DocumentState::Proposed),
        "Accepted" => Some(DocumentState::Accepted),
        other => {
            return Err(Refused::new(
                ErrorCode::InvalidParameter,
                format!("state is Draft, Proposed or Accepted, not {other:.64}"),
            )
            .into());
        }
    };
    let after = lists::after(call, &[])?;
    let drafts = lists::keys(call, CONTRACTS.name(), &[], after.clone())?;
    let accepted = lists::keys(call, ACCEPTED_CONTRACTS.name(), &[], after)?;
    // What lies behind the first page to end is for the next one, or something between would be left out.
    let end = [drafts.next, accepted.next].into_iter().flatten().min();
    let proposed = proposals::proposed_contracts(call)?;
    let mut items: BTreeMap<Vec<u8>, (bool, TxId)> = BTreeMap::new();
    for (is_accepted, rows) in [(false, drafts.rows), (true, accepted.rows)] {
        let shown = rows
            .into_iter()
            .filter(|row| end.as_ref().is_none_or(|end| row.key <= *end));
        items.extend(shown.map(|row| (row.key, (is_accepted, row.version))));
    }
    let cut = items.keys().nth(lists::LIST_ROWS_MAX).cloned();
    let more = end.is_some() || cut.is_some();
    if let Some(cut) = cut {
        items.split_off(&cut);
    }
    let next = more.then(|| items.keys().next_back().cloned()).flatten();
    let mut value = Vec::new();
    for (key, (is_accepted, version)) in items {
        let id = ContractId::from_bytes(&key).map_err(|e| Fault::new(e.to_string()))?;
        let state = match (is_accepted, proposed.contains(&id)) {
            (true, _) => DocumentState::Accepted,
            (false, true) => DocumentState::Proposed,
            (false, false) => DocumentState::Draft,
        };
        if filter.is_none_or(|wanted| wanted == state) {
            value.push(ListItem { id, state, version });
        }
    }
    lists::reply(call, &[], value, next.as_deref())
}

#[derive(Serialize)]
struct ListItem {
    id: ContractId,
    state: DocumentState,
    version: TxId,
}

/// The accepted contract, if it is accepted.
pub(crate) fn accepted(call: &Call<'_>, id: &ContractId) -> Result<Option<AcceptedContract>, Fault> {
    Ok(ACCEPTED_CONTRACTS.get(call.state, id)?.map(|row| row.0))
}

/// Refuses names that are neither a draft nor an accepted contract.
pub(crate) fn require_exists(call: &Call<'_>, id: &ContractId) -> Result<(), Failure> {
    if CONTRACTS.has(call.state, id)? || ACCEPTED_CONTRACTS.has(call.state, id)? {
        return Ok(());
    }
    Err(not_found(id).into())
}
