//! Proposals and ballots.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

use crate::ids::{Digest, MemberId};

/// Where a proposal stands. All states but `Open` are final.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ProposalState {
    /// Collects ballots.
    Open,
    /// Passed, and its actions were applied in the same transaction.
    Accepted,
    /// Voted down, or malformed against the current state; never applied.
    Rejected,
    /// Taken back by its proposer.
    Withdrawn,
    /// Passed, but applying it failed; nothing of it was written.
    Failed,
    /// Was open when the rules changed under it.
    Dropped,
}

/// What the constitution says of a proposal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// Not decided yet.
    Open,
    /// Carried.
    Accepted,
    /// Can never be carried.
    Rejected,
}

/// Why a proposal is being resolved; some rules hold at creation only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// It has just been submitted.
    Creation,
    /// A ballot arrived.
    Ballot,
    /// Members or their data changed.
    Change,
}

/// What happened to a proposal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProposalEvent {
    /// The constitution left it open.
    StillOpen,
    /// Carried and applied.
    Applied,
    /// Carried, but applying failed.
    ApplyFailed,
    /// Voted down.
    Rejected,
    /// Taken back.
    Withdrawn,
    /// The rules were replaced.
    Dropped,
}

/// The proposal is closed and takes no further events.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("proposal is {0:?} and takes no further events")]
pub struct AlreadyClosed(pub ProposalState);

impl ProposalState {
    /// The state after `event`.
    ///
    /// # Errors
    ///
    /// [`AlreadyClosed`] for every event on a final state.
    pub fn after(self, event: ProposalEvent) -> Result<Self, AlreadyClosed> {
        if self != Self::Open {
            return Err(AlreadyClosed(self));
        }
        Ok(match event {
            ProposalEvent::StillOpen => Self::Open,
            ProposalEvent::Applied => Self::Accepted,
            ProposalEvent::ApplyFailed => Self::Failed,
            ProposalEvent::Rejected => Self::Rejected,
            ProposalEvent::Withdrawn => Self::Withdrawn,
            ProposalEvent::Dropped => Self::Dropped,
        })
    }
}

/// Why a carried proposal could not be applied.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// In words, naming the action.
    pub reason: String,
    /// Where, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// A row of `proposals_info`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProposalInfo {
    /// Who submitted it.
    pub proposer_id: MemberId,
    /// Where it stands.
    pub state: ProposalState,
    /// Ballot text by member; native ballots are stored as the constant scripts.
    #[serde(default)]
    pub ballots: BTreeMap<MemberId, String>,
    /// Votes when it left `Open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_votes: Option<BTreeMap<MemberId, bool>>,
    /// Ballots that could not be evaluated; ours are data, so there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote_failures: Option<BTreeMap<MemberId, Failure>>,
    /// Why applying failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Component digest of the rules under which it was submitted. Rows of earlier builds have
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constitution_digest: Option<Digest>,
}

/// A row of `proposals_effects`: what voters should hear of a proposal that was carried out.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalEffects {
    /// Ids of what a removed member had a say in, by that member: its remaining voters decide now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contracts_concerned: BTreeMap<MemberId, Vec<String>>,
}

/// The constant accepting script (`governance-api.md` §5.3), byte for byte.
pub const ACCEPT_SCRIPT: &str = "export function vote (proposal, proposerId) { return true }";
/// The constant rejecting script, byte for byte.
pub const REJECT_SCRIPT: &str = "export function vote (proposal, proposerId) { return false }";

/// A member's decision. Ballots are data, not programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Vote {
    /// For.
    Accept,
    /// Against.
    Reject,
}

impl Vote {
    /// Recognises `"accept"`-form objects and the two constant scripts; anything else is `None`.
    #[must_use]
    pub fn from_ballot(ballot: &JsonValue) -> Option<Self> {
        match ballot {
            JsonValue::String(text) if text == ACCEPT_SCRIPT => Some(Self::Accept),
            JsonValue::String(text) if text == REJECT_SCRIPT => Some(Self::Reject),
            JsonValue::Object(fields) => match fields.get("vote").and_then(JsonValue::as_str) {
                Some("accept") => Some(Self::Accept),
                Some("reject") => Some(Self::Reject),
                _ => None,
            },
            _ => None,
        }
    }

    /// The script stored for this vote, so that public readers agree.
    #[must_use]
    pub const fn script(self) -> &'static str {
        match self {
            Self::Accept => ACCEPT_SCRIPT,
            Self::Reject => REJECT_SCRIPT,
        }
    }

    /// The vote that a stored script stands for.
    #[must_use]
    pub fn from_script(script: &str) -> Option<Self> {
        [Self::Accept, Self::Reject]
            .into_iter()
            .find(|vote| vote.script() == script)
    }
}

/// The action that lets service time go back. The one thing that is taken while the clock and what
/// was signed do not agree, with its ballots.
pub const RESET_SERVICE_TIME: &str = "reset_service_time";

/// Whether a proposal consists of [`RESET_SERVICE_TIME`] and nothing else.
#[must_use]
pub fn only_resets_service_time(proposal: &[u8]) -> bool {
    serde_json::from_slice::<ProposalBody>(proposal)
        .is_ok_and(|body| matches!(body.actions.as_slice(), [action] if action.name == RESET_SERVICE_TIME))
}

/// One action of a proposal, before its arguments are typed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RawAction {
    /// Which action.
    pub name: String,
    /// Its arguments.
    #[serde(default)]
    pub args: JsonValue,
}

/// The body of a proposal.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ProposalBody {
    /// Applied in order, atomically.
    pub actions: Vec<RawAction>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_proposal_takes_no_event() {
        for state in [
            ProposalState::Accepted,
            ProposalState::Rejected,
            ProposalState::Withdrawn,
        ] {
            assert_eq!(state.after(ProposalEvent::Applied), Err(AlreadyClosed(state)));
        }
    }

    #[test]
    fn rows_of_earlier_builds_decode_and_stay_as_they_were() {
        let row = format!(
            r#"{{"proposer_id":"{}","state":"Open","ballots":{{}}}}"#,
            "0a".repeat(32)
        );
        let info: ProposalInfo = serde_json::from_str(&row).unwrap();
        assert_eq!(info.constitution_digest, None);
        assert_eq!(serde_json::to_string(&info).unwrap(), row);
    }

    #[test]
    fn nothing_rides_along_with_a_reset_of_time() {
        let reset = r#"{"name":"reset_service_time","args":{"notAfter":1}}"#;
        let of = |actions: &str| only_resets_service_time(format!(r#"{{"actions":[{actions}]}}"#).as_bytes());
        assert!(of(reset));
        for other in [
            "",
            r#"{"name":"set_constitution"}"#,
            &format!("{reset},{reset}"),
            &format!(r#"{reset},{{"name":"remove_member"}}"#),
        ] {
            assert!(!of(other), "{other}");
        }
        assert!(!only_resets_service_time(b"reset_service_time"));
    }

    #[test]
    fn exactly_the_two_scripts_and_the_native_form_are_ballots() {
        let vote = |json: &str| Vote::from_ballot(&serde_json::from_str(json).unwrap());
        assert_eq!(vote(r#"{"vote":"accept"}"#), Some(Vote::Accept));
        assert_eq!(
            vote(r#"{"vote":"reject","proposalDigest":"00"}"#),
            Some(Vote::Reject)
        );
        assert_eq!(vote(&format!("{ACCEPT_SCRIPT:?}")), Some(Vote::Accept));
        assert_eq!(vote(r#""export function vote(p, q) { return true }""#), None);
        assert_eq!(vote("true"), None);
    }
}
