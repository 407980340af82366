//! Reading proposals and ballots.

use host_core::reply::{JSON, Reply};
use model::proposal::ProposalInfo;
use model::tables::{PROPOSALS, PROPOSALS_EFFECTS, PROPOSALS_INFO};
use model::{FrameworkError, MemberId, ProposalId};
use serde_json::{Value as JsonValue, json};

use super::{Answer, Failure, Query, with};

/// A proposal's summary; fields appear only when they have a value.
fn summary(query: &Query<'_>, id: &ProposalId, info: &ProposalInfo) -> Result<JsonValue, Failure> {
    let effects = PROPOSALS_EFFECTS.get(query.state, id)?.map(|row| row.0);
    let body = json!({
        "proposalId": id,
        "proposerId": info.proposer_id,
        "proposalState": info.state,
        "ballotCount": info.ballots.len(),
    });
    let body = with(body, "finalVotes", info.final_votes.as_ref());
    let body = with(body, "voteFailures", info.vote_failures.as_ref());
    let body = with(body, "failure", info.failure.as_ref());
    let body = with(body, "constitutionDigest", info.constitution_digest.as_ref());
    Ok(with(body, "effects", effects.as_ref()))
}

fn no_such_proposal() -> Failure {
    Failure::Refused(Reply::error(FrameworkError::ProposalNotFound, "no such proposal"))
}

fn info(query: &Query<'_>) -> Result<(ProposalId, ProposalInfo), Failure> {
    let id: ProposalId = query.id(0)?;
    let info = PROPOSALS_INFO
        .get(query.state, &id)?
        .ok_or_else(no_such_proposal)?;
    Ok((id, info.0))
}

pub(super) fn all(query: &Query<'_>) -> Answer {
    let rows = PROPOSALS_INFO.rows(query.state)?;
    let value: Vec<JsonValue> = rows
        .iter()
        .map(|row| summary(query, &row.key, &row.value.0))
        .collect::<Result<_, _>>()?;
    Ok(Reply::json(200, &json!({"value": value})))
}

pub(super) fn one(query: &Query<'_>) -> Answer {
    let (id, info) = info(query)?;
    Ok(Reply::json(200, &summary(query, &id, &info)?))
}

pub(super) fn actions(query: &Query<'_>) -> Answer {
    let id: ProposalId = query.id(0)?;
    let body = PROPOSALS.get(query.state, &id)?.ok_or_else(no_such_proposal)?;
    let mut reply = Reply::empty(200);
    reply.content_type = Some(JSON.to_owned());
    reply.body = body.0;
    Ok(reply)
}

pub(super) fn ballot(query: &Query<'_>) -> Answer {
    let member: MemberId = query.id(1)?;
    let (_, mut info) = info(query)?;
    let ballot = info.ballots.remove(&member).ok_or_else(|| {
        Failure::Refused(Reply::error(
            FrameworkError::VoteNotFound,
            "this member has not voted on this proposal",
        ))
    })?;
    let mut reply = Reply::empty(200);
    reply.content_type = Some("text/javascript".to_owned());
    reply.body = ballot.into_bytes();
    Ok(reply)
}
