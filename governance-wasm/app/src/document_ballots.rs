//! What approvers decide about a user document, written in one place for both doors
//! (`governance-api.md` §9.3, §10; decisions 2, 38).

use cleanroom_model::api::{ApproverBallot, ApproverKind, Ballot};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::Identifier;
use cleanroom_model::tables::{DOCUMENT_DECISIONS, DocumentDecision};
use kv::{Json, Write};

use crate::caller::Known;
use crate::document_state::{Loaded, ballot_of};
use crate::frozen;
use crate::reply::{Failure, Refused};
use crate::request::Call;

/// Freezes version and approvers without a ballot: the reference's explicit proposal.
pub(crate) fn propose(
    call: &Call<'_>,
    changes: &mut dyn Write,
    loaded: &Loaded,
    proposal_id: Identifier,
) -> Result<DocumentDecision, Failure> {
    let decision = DocumentDecision {
        version: loaded.version,
        approvers: loaded.approvers(call)?,
        ballots: Vec::new(),
        frozen: frozen::freeze(call, loaded, None)?,
        proposal_id: Some(proposal_id),
    };
    DOCUMENT_DECISIONS.put(changes, &loaded.key, &Json(decision.clone()))?;
    Ok(decision)
}

/// Casts a ballot on `version`, freezing approvers with the first one.
///
/// `not_approver` and `closed` are the codes of the door the ballot came through.
pub(crate) fn cast(
    call: &Call<'_>,
    changes: &mut dyn Write,
    loaded: &Loaded,
    known: &Known,
    sent: &cleanroom_model::api::SubmitBallot,
    not_approver: ErrorCode,
) -> Result<DocumentDecision, Failure> {
    let mut decision = match &loaded.decision {
        Some(decision) => decision.clone(),
        None => DocumentDecision {
            version: loaded.version,
            approvers: loaded.approvers(call)?,
            ballots: Vec::new(),
            frozen: None,
            proposal_id: None,
        },
    };
    if !decision.approvers.contains(&known.person) {
        return Err(Refused::new(not_approver, format!("{} is not an approver", known.person.id())).into());
    }
    if known.person.kind() == ApproverKind::Member {
        known.require_active()?;
    }
    if ballot_of(&decision, &known.person).is_some() {
        return Err(Refused::new(
            ErrorCode::BallotAlreadySubmitted,
            "this approver has voted; ballots are final",
        )
        .into());
    }
    let ballot = match sent.ballot.as_ref().and_then(serde_json::Value::as_str) {
        Some("accepted") => Ballot::Accepted,
        Some("rejected") => Ballot::Rejected,
        _ => {
            return Err(Refused::new(
                ErrorCode::InvalidBallotValue,
                "ballot is \"accepted\" or \"rejected\"",
            )
            .into());
        }
    };
    loaded.require_undecided()?;
    if sent
        .version
        .as_ref()
        .is_some_and(|version| *version != loaded.version.to_string())
    {
        return Err(Refused::new(
            ErrorCode::PreconditionFailed,
            format!(
                "the ballot is about another version; the current one is {}",
                loaded.version
            ),
        )
        .into());
    }
    if ballot == Ballot::Accepted {
        decision.frozen = frozen::freeze(call, loaded, decision.frozen.as_deref())?;
    }
    decision.ballots.push(ApproverBallot {
        approver_id: known.person.id().clone(),
        approver_id_type: known.person.kind(),
        ballot,
    });
    DOCUMENT_DECISIONS.put(changes, &loaded.key, &Json(decision.clone()))?;
    Ok(decision)
}
