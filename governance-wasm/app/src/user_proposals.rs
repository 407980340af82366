//! User proposals: the reference's door to the approvers' decision (`governance-api.md` §10).
//!
//! A proposal freezes a draft's version and approvers. Content and approvers are the draft's, so
//! that nobody can have something else accepted under its name; what the request says of them
//! must agree.

use cleanroom_model::api::{Approver, ApproverBallot, Ballot, DocumentState, SubmitBallot};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{DocumentId, Identifier};
use cleanroom_model::tables::{DOCUMENT_DECISIONS, DocumentDecision, USER_PROPOSALS, UserProposal};
use kv::{Json, Pair, Write};
use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};

use crate::caller;
use crate::document_ballots;
use crate::document_state::{self, Loaded};
use crate::documents;
use crate::reply::{Answer, Failure, Refused, Reply};
use crate::request::{Call, parse_id};

#[derive(Deserialize)]
struct Create {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    approvers: Option<Vec<Approver>>,
    #[serde(default)]
    args: Args,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Args {
    #[serde(default)]
    document_id: Option<String>,
    #[serde(default)]
    document: ProposedDocument,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProposedDocument {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    contract_id: Option<String>,
    #[serde(default)]
    data: Option<JsonValue>,
}

/// Status as it is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    proposer_id: Identifier,
    state: &'static str,
    ballots: Vec<StatusBallot>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusBallot {
    approver_id: Identifier,
    ballot: Ballot,
}

/// Ids are the caller's; 32 hex digits, so that nobody claims speaking names.
fn proposal_id(call: &Call<'_>) -> Result<Identifier, Refused> {
    let id: Identifier = call.id("proposalId")?;
    let digits = id.as_str().bytes().filter(|b| *b != b'-').count();
    if digits == 32 && id.as_str().bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Ok(id);
    }
    Err(Refused::new(
        ErrorCode::InvalidResourceName,
        "proposalId has 32 hex digits, as a random UUID has",
    ))
}

fn require(call: &Call<'_>, id: &Identifier) -> Result<(UserProposal, Loaded), Failure> {
    let not_found = || {
        Refused::new(
            ErrorCode::ProposalNotFound,
            format!("there is no user proposal {id}"),
        )
    };
    let proposal = USER_PROPOSALS.get(call.state, id)?.ok_or_else(not_found)?.0;
    let key = Pair(proposal.contract_id.clone(), proposal.document_id.clone());
    let loaded = document_state::load(call, &key)?.ok_or_else(|| documents::not_found(&key))?;
    Ok((proposal, loaded))
}

/// The decision, if it is this proposal's: a document may be proposed again after a withdrawal.
fn own_decision<'a>(id: &Identifier, loaded: &'a Loaded) -> Option<&'a DocumentDecision> {
    loaded
        .decision
        .as_ref()
        .filter(|decision| decision.proposal_id.as_ref() == Some(id))
}

fn status(id: &Identifier, proposal: &UserProposal, loaded: &Loaded) -> Status {
    let state = if proposal.withdrawn {
        "Withdrawn"
    } else {
        match loaded.state {
            DocumentState::Draft | DocumentState::Proposed => "Open",
            DocumentState::Accepted => "Accepted",
            DocumentState::Rejected => "Rejected",
        }
    };
    let ballots = own_decision(id, loaded).map_or(&[][..], |decision| &decision.ballots);
    Status {
        proposer_id: proposal.proposer.id().clone(),
        state,
        ballots: ballots.iter().map(status_ballot).collect(),
    }
}

fn status_ballot(ballot: &ApproverBallot) -> StatusBallot {
    StatusBallot {
        approver_id: ballot.approver_id.clone(),
        ballot: ballot.ballot,
    }
}

/// `PUT /users/proposals/{proposalId}`
pub(crate) fn put(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let known = caller::known(call)?;
    known.require_active()?;
    let id = proposal_id(call)?;
    if USER_PROPOSALS.has(call.state, &id)? {
        return Err(Refused::new(ErrorCode::ProposalAlreadyExists, "the proposal id is taken").into());
    }
    let body: Create = call.body()?;
    let approvers = body
        .approvers
        .ok_or_else(|| Refused::new(ErrorCode::ApproversMissing, "approvers is missing"))?;
    if approvers.is_empty() {
        return Err(Refused::new(ErrorCode::EmptyApprovers, "approvers is empty").into());
    }
    let name = body.name.unwrap_or_default();
    if name != "set_user_document" {
        return Err(Refused::new(
            ErrorCode::InvalidProposalType,
            format!("there is no proposal type {name:.64}"),
        )
        .into());
    }
    let loaded = proposed_draft(call, &body.args)?;
    check_unchanged(&loaded, &body.args.document, &approvers)?;
    let may_propose = loaded.draft.creator == known.person || loaded.approvers(call)?.contains(&known.person);
    if !may_propose {
        return Err(Refused::new(
            ErrorCode::NotUserDocumentOwner,
            "only the creator or an approver may propose a user document",
        )
        .into());
    }
    let decision = document_ballots::propose(call, changes, &loaded, id.clone())?;
    let proposal = UserProposal {
        contract_id: loaded.key.0,
        document_id: loaded.key.1,
        version: decision.version,
        proposer: known.person,
        approvers: decision.approvers,
        withdrawn: false,
    };
    USER_PROPOSALS.put(changes, &id, &Json(proposal))?;
    Reply::json(&json!({ "proposalId": id }))
}

/// The draft that the arguments name; it must still be one.
fn proposed_draft(call: &Call<'_>, args: &Args) -> Result<Loaded, Failure> {
    let text = args.document_id.as_deref().filter(|text| !text.is_empty());
    let document: DocumentId = text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Refused::new(
            ErrorCode::InvalidUserDocumentId,
            "args.documentId names no document",
        )
    })?;
    let contract = args
        .document
        .contract_id
        .as_deref()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            Refused::new(
                ErrorCode::ContractIdMissing,
                "args.document.contractId is missing",
            )
        })?;
    let key = Pair(parse_id("contractId", contract)?, document);
    let loaded = document_state::load(call, &key)?.ok_or_else(|| documents::not_found(&key))?;
    loaded.require_undecided()?;
    if let Some(decision) = &loaded.decision {
        let ids: Vec<&Identifier> = decision.proposal_id.iter().collect();
        return Err(Refused::new(
            ErrorCode::UserDocumentAlreadyProposed,
            format!(
                "approvers are deciding about it already, proposals {}",
                json!(ids)
            ),
        )
        .into());
    }
    Ok(loaded)
}

fn check_unchanged(loaded: &Loaded, sent: &ProposedDocument, approvers: &[Approver]) -> Result<(), Refused> {
    let modified = |what: &str| {
        Refused::new(
            ErrorCode::UserDocumentModified,
            format!(
                "{what} is not the draft's (version {}); read it again",
                loaded.version
            ),
        )
    };
    if sent.version.as_ref() != Some(&loaded.version.to_string()) {
        return Err(modified("version"));
    }
    if sent.data.as_ref().is_some_and(|data| *data != loaded.draft.data) {
        return Err(modified("data"));
    }
    let named = document_state::named(&loaded.draft.approvers);
    let same = named.len() == approvers.len() && approvers.iter().all(|approver| named.contains(approver));
    if !named.is_empty() && !same {
        return Err(modified("approvers"));
    }
    Ok(())
}

/// `POST /users/proposals/{proposalId}`
pub(crate) fn read(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let id = proposal_id(call)?;
    let (proposal, loaded) = require(call, &id)?;
    Reply::json(&json!({
        "proposalId": id,
        "name": "set_user_document",
        "approvers": document_state::named(&proposal.approvers),
        "args": {
            "documentId": proposal.document_id,
            "document": {
                "version": proposal.version,
                "contractId": proposal.contract_id,
                "data": loaded.draft.data,
                "labels": loaded.draft.labels,
            },
        },
    }))
}

/// `POST /users/proposals/{proposalId}/status`
pub(crate) fn read_status(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let id = proposal_id(call)?;
    let (proposal, loaded) = require(call, &id)?;
    Reply::json(&status(&id, &proposal, &loaded))
}

fn require_open(id: &Identifier, proposal: &UserProposal, loaded: &Loaded) -> Result<(), Refused> {
    let state = status(id, proposal, loaded).state;
    if state == "Open" {
        return Ok(());
    }
    Err(Refused::new(
        ErrorCode::ProposalNotOpen,
        format!("the proposal is {state}"),
    ))
}

/// `POST /users/proposals/{proposalId}/withdraw`
pub(crate) fn withdraw(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let known = caller::known(call)?;
    let id = proposal_id(call)?;
    let (mut proposal, mut loaded) = require(call, &id)?;
    if proposal.proposer != known.person {
        return Err(Refused::new(
            ErrorCode::NotProposalOwner,
            "only its proposer may withdraw a proposal",
        )
        .into());
    }
    require_open(&id, &proposal, &loaded)?;
    if own_decision(&id, &loaded).is_none_or(|decision| !decision.ballots.is_empty()) {
        return Err(Refused::new(
            ErrorCode::ProposalNotOpen,
            "approvers have voted; the decision can no longer be taken back",
        )
        .into());
    }
    DOCUMENT_DECISIONS.remove(changes, &loaded.key)?;
    loaded.decision = None;
    proposal.withdrawn = true;
    USER_PROPOSALS.put(changes, &id, &Json(proposal.clone()))?;
    Reply::json(&status(&id, &proposal, &loaded))
}

/// `POST /users/proposals/{proposalId}/ballots/submit`
pub(crate) fn ballot(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let known = caller::known(call)?;
    let id = proposal_id(call)?;
    let (proposal, loaded) = require(call, &id)?;
    if !proposal.approvers.contains(&known.person) {
        return Err(Refused::new(
            ErrorCode::NotProposalApprover,
            "only approvers of the proposal may vote",
        )
        .into());
    }
    require_open(&id, &proposal, &loaded)?;
    let sent: SubmitBallot = call.body()?;
    document_ballots::cast(
        call,
        changes,
        &loaded,
        &known,
        &sent,
        ErrorCode::NotProposalApprover,
    )?;
    let after = document_state::load(call, &loaded.key)?.unwrap_or(loaded);
    Reply::json(&status(&id, &proposal, &after))
}
