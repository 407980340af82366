//! Members' signed requests, and what they need to read first.

use crypto::native::Native;
use host_core::member_request::{MemberRequest, MessageType};
use host_core::reply::Reply;
use host_core::{ServiceTime, State};
use kv::Singleton;
use model::tables::{MEMBER_ACKS, RECOVERY_SHARES};
use model::{ErrorBody, FrameworkError, MemberId, ProposalId};
use serde_json::json;

use super::{Answer, Failure, Query, bad_id};
use crate::https::Request;
use crate::router::Parameters;

/// What a signed request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signed {
    Propose,
    Withdraw,
    Vote,
    UpdateDigest,
    Acknowledge,
}

impl Signed {
    const fn message_type(self) -> MessageType {
        match self {
            Self::Propose => MessageType::Proposal,
            Self::Withdraw => MessageType::Withdrawal,
            Self::Vote => MessageType::Ballot,
            Self::UpdateDigest => MessageType::StateDigest,
            Self::Acknowledge => MessageType::Ack,
        }
    }

    /// Ids in the path: a proposal, a member, both or none.
    fn ids(self, parameters: &Parameters) -> Result<(Option<ProposalId>, Option<MemberId>), Reply> {
        let text = |index: usize| parameters.get(index).map_or("", |(_, value)| value.as_str());
        let proposal = |index| text(index).parse().map_err(|_| bad_id(text(index)));
        let member = |index| text(index).parse().map_err(|_| bad_id(text(index)));
        Ok(match self {
            Self::Propose => (None, None),
            Self::Withdraw => (Some(proposal(0)?), None),
            Self::Vote => (Some(proposal(0)?), Some(member(1)?)),
            Self::UpdateDigest | Self::Acknowledge => (None, Some(member(0)?)),
        })
    }

    /// A path that names another member than the signer is the caller's mistake, not a failed
    /// authentication; the reference answers with two different codes.
    fn other_member(self) -> Reply {
        let text = "the path names another member than the one who signed";
        match self {
            Self::Vote => Reply::error(FrameworkError::InvalidResourceName, text),
            _ => Reply::json(
                400,
                &ErrorBody::new(FrameworkError::InvalidAuthenticationInfo.code(), text),
            ),
        }
    }
}

/// Verifies a signed request; what comes out may go to the writer.
pub(crate) fn verify(
    signed: Signed,
    state: &State,
    request: &Request,
    parameters: &Parameters,
    time: ServiceTime,
) -> Result<MemberRequest, Reply> {
    if !request.is_of_type("application/cose") {
        return Err(Reply::error(
            FrameworkError::UnsupportedContentType,
            "signed requests have content-type application/cose",
        ));
    }
    let (proposal, member) = signed.ids(parameters)?;
    let verified = MemberRequest::verify(
        state,
        &request.body,
        signed.message_type(),
        proposal.as_ref(),
        &Native,
        time,
    )
    .map_err(|error| error.reply())?;
    match member {
        Some(member) if member != verified.signer() => Err(signed.other_member()),
        _ => Ok(verified),
    }
}

pub(super) fn state_digest(query: &Query<'_>) -> Answer {
    let member: MemberId = query.id(0)?;
    let ack = MEMBER_ACKS
        .get(query.state, &member)?
        .ok_or_else(|| Failure::not_found("member with a state digest"))?;
    Ok(Reply::json(
        200,
        &json!({"memberId": member, "stateDigest": ack.0.state_digest}),
    ))
}

/// A member's recovery share, encrypted to its key: of no use to anyone else.
pub(super) fn encrypted_share(query: &Query<'_>) -> Answer {
    let member: MemberId = query.id(0)?;
    let share = RECOVERY_SHARES
        .get(query.state, &Singleton)?
        .and_then(|mut shares| shares.0.encrypted_shares.remove(&member))
        .ok_or_else(|| Failure::not_found("member with a recovery share"))?;
    Ok(Reply::json(
        200,
        &json!({"memberId": member, "encryptedShare": share}),
    ))
}
