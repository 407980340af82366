//! Proposals, ballots, withdrawals and acknowledgements.
//!
//! The host keeps the books and asks the constitution: it validates, resolves and applies. Every
//! change is stored together with the signed message that caused it. Source: `ledger-host.md`
//! §3.2–3.4, `governance-api.md` §5 and §6.6; ballots are data (see [`Vote`]).

mod acknowledge;
pub mod replay;

use std::collections::BTreeMap;

use crypto::sha256_parts;
use kv::{Context, Json, Raw, Singleton, TableError};
use model::proposal::{
    Failure, Moment, ProposalEffects, ProposalEvent, ProposalInfo, ProposalState, Resolution, Vote,
};
use model::tables::{
    CONSTITUTION, COSE_HISTORY, MEMBER_CERTS, MEMBER_ENCRYPTION_KEYS, MEMBER_INFO, PROPOSALS,
    PROPOSALS_EFFECTS, PROPOSALS_INFO, SERVICE_TIME_RESET,
};
use model::{Digest, FrameworkError, MemberId, ProposalId, b64, proposal_rows};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use crate::effects::{Reaction, Watched};
use crate::guests::{Component, GuestFailure, Guests, Invalid, ResolveContext};
use crate::identity::LedgerSecrets;
use crate::member_request::{MemberRequest, MessageType};
use crate::reply::Reply;
use crate::shares::Entropy;
use crate::time::SKEW_SECONDS_MAX;
use crate::transaction::Transaction;

/// Open proposals that one member may have: more are in nobody's interest, and each is resolved
/// again whenever members change.
const OPEN_PER_MEMBER_MAX: usize = 100;

/// Why a request changes nothing.
pub(crate) struct Refusal {
    pub(crate) reply: Reply,
    /// For the log, if the service is at fault.
    pub(crate) fault: Option<String>,
}

impl Refusal {
    fn new(error: FrameworkError, message: impl Into<String>) -> Self {
        Self {
            reply: Reply::error(error, message),
            fault: None,
        }
    }

    /// A refusal whose details programs read.
    fn with_details(error: FrameworkError, message: String, details: Vec<JsonValue>) -> Self {
        Self {
            reply: Reply::error_with(error, message, details),
            fault: None,
        }
    }

    fn internal(fault: impl Into<String>) -> Self {
        Self {
            reply: Reply::error(
                FrameworkError::InternalError,
                "the request failed inside the service",
            ),
            fault: Some(fault.into()),
        }
    }
}

impl From<GuestFailure> for Refusal {
    fn from(failure: GuestFailure) -> Self {
        Self {
            reply: Reply::guest_failure(&failure),
            fault: Some(failure.to_string()),
        }
    }
}

impl From<TableError> for Refusal {
    fn from(error: TableError) -> Self {
        match &error {
            // The only denial that the host's own rights leave is size.
            TableError::Denied(denied) => Self::new(FrameworkError::InvalidInput, denied.reason.clone()),
            TableError::Malformed { .. } => Self::internal(error.to_string()),
        }
    }
}

/// One governance request at work.
pub(crate) struct Governing<'a> {
    /// Where everything is written; dropped on a refusal.
    pub(crate) tx: Transaction,
    pub(crate) guests: &'a dyn Guests,
    pub(crate) secrets: &'a LedgerSecrets,
    pub(crate) entropy: &'a mut Entropy,
    /// Last signed root.
    pub(crate) root: Digest,
    /// What follows from this request for the service itself.
    pub(crate) reaction: Reaction,
    /// Members changed: open proposals are to be resolved again.
    pub(crate) members_changed: bool,
    /// The constitution was replaced: open proposals are to be dropped.
    pub(crate) rules_replaced: bool,
    /// What the clock alone said when the request was verified, Unix seconds.
    pub(crate) clock: u64,
    /// Service time was reset by this request.
    pub(crate) time_reset: bool,
    /// Failures of guests that did not fail the request, for the log.
    pub(crate) faults: Vec<String>,
}

impl Governing<'_> {
    /// Carries the request out.
    pub(crate) fn execute(&mut self, request: &MemberRequest) -> Result<Reply, Refusal> {
        request.recheck(&self.tx).map_err(|error| Refusal {
            reply: error.reply(),
            fault: None,
        })?;
        let reply = match (request.kind(), request.proposal()) {
            (MessageType::Proposal, _) => self.propose(request),
            (MessageType::Ballot, Some(id)) => self.ballot(request, id),
            (MessageType::Withdrawal, Some(id)) => self.withdraw(request, id),
            (MessageType::StateDigest, _) => self.update_state_digest(request),
            (MessageType::Ack, _) => self.acknowledge(request),
            (MessageType::Ballot | MessageType::Withdrawal, None) => {
                Err(Refusal::internal("a verified request without its proposal"))
            }
        }?;
        self.resolve_others();
        Ok(reply)
    }

    fn propose(&mut self, request: &MemberRequest) -> Result<Reply, Refusal> {
        self.validate(request.payload())?;
        let id = self.proposal_id(request.signature_digest());
        self.remember(request, id)?;
        self.check_open_count(request.signer())?;
        PROPOSALS.put(&mut self.tx, &id, &Raw(request.payload().to_vec()))?;
        let info = ProposalInfo {
            proposer_id: request.signer(),
            state: ProposalState::Open,
            ballots: BTreeMap::new(),
            final_votes: None,
            vote_failures: None,
            failure: None,
            constitution_digest: Some(constitution(&self.tx)?.digest),
        };
        proposal_rows::put(&mut self.tx, &id, info)?;
        self.record(request)?;
        let info = self.settle(id, Moment::Creation)?;
        self.summary(id, &info)
    }

    /// Asks the constitution whether the proposal is well formed.
    fn validate(&self, proposal: &[u8]) -> Result<(), Refusal> {
        let child = self.tx.child(Context::Decide);
        let constitution = constitution(&child)?;
        let (_, verdict) = self.guests.validate(&constitution, child, proposal)?;
        let Err(faults) = verdict else {
            return Ok(());
        };
        let code = if faults.iter().all(|fault| fault.unavailable) {
            FrameworkError::ActionNotAvailable
        } else {
            FrameworkError::ProposalFailedToValidate
        };
        let texts: Vec<String> = faults.iter().map(describe).collect();
        Err(Refusal::new(
            code,
            format!("the proposal is not valid: {}", texts.join(", ")),
        ))
    }

    fn check_open_count(&self, proposer: MemberId) -> Result<(), Refusal> {
        let open = proposal_rows::open(&self.tx)?;
        let count = open
            .iter()
            .filter(|(_, info)| info.proposer_id == proposer)
            .count();
        if count < OPEN_PER_MEMBER_MAX {
            return Ok(());
        }
        Err(Refusal::new(
            FrameworkError::TooManyOpenProposals,
            format!("{count} proposals of this member are open; withdraw one first"),
        ))
    }

    /// A new proposal's id commits to the state that was read and to the signed request.
    fn proposal_id(&self, signature: Digest) -> ProposalId {
        ProposalId(sha256_parts(&[&self.root.0, &signature.0]))
    }

    /// Keeps the signed message: every change can be traced to it.
    fn record(&mut self, request: &MemberRequest) -> Result<(), Refusal> {
        let text = Json(b64::encode(request.envelope()));
        Ok(COSE_HISTORY.put(&mut self.tx, &request.signer(), &text)?)
    }

    fn ballot(&mut self, request: &MemberRequest, id: ProposalId) -> Result<Reply, Refusal> {
        let mut info = self.proposal(id)?.ok_or_else(|| {
            Refusal::new(
                FrameworkError::ProposalNotFound,
                format!("there is no proposal {id}"),
            )
        })?;
        if info.state != ProposalState::Open {
            return Err(not_open(info.state));
        }
        let vote = self.parse_ballot(request.payload(), id)?;
        if let Some(earlier) = info.ballots.get(&request.signer()) {
            if earlier == vote.script() {
                return self.summary(id, &info);
            }
            return Err(Refusal::new(
                FrameworkError::VoteAlreadyExists,
                "a different ballot by this member is on record",
            ));
        }
        info.ballots.insert(request.signer(), vote.script().to_owned());
        proposal_rows::put(&mut self.tx, &id, info)?;
        self.record(request)?;
        let info = self.settle(id, Moment::Ballot)?;
        self.summary(id, &info)
    }

    fn parse_ballot(&self, payload: &[u8], id: ProposalId) -> Result<Vote, Refusal> {
        #[derive(Deserialize)]
        struct Body {
            ballot: JsonValue,
        }
        let body: Body = serde_json::from_slice(payload)
            .map_err(|e| Refusal::new(FrameworkError::InvalidInput, format!("the ballot's body: {e}")))?;
        let vote = match &body.ballot {
            JsonValue::String(_) | JsonValue::Object(_) => Vote::from_ballot(&body.ballot),
            _ => {
                return Err(Refusal::new(
                    FrameworkError::InvalidInput,
                    "ballot must be a string or an object",
                ));
            }
        };
        let vote = vote.ok_or_else(|| {
            Refusal::new(
                FrameworkError::UnsupportedBallot,
                format!(
                    "a ballot is {{\"vote\":\"accept\"}} or {{\"vote\":\"reject\"}}, or one of the scripts {:?} and {:?}",
                    Vote::Accept.script(),
                    Vote::Reject.script()
                ),
            )
        })?;
        if let Some(digest) = body.ballot.get("proposalDigest") {
            let actual = PROPOSALS
                .get(&self.tx, &id)?
                .map(|Raw(text)| crypto::sha256(&text).to_string());
            if digest.as_str() != actual.as_deref() {
                return Err(Refusal::new(
                    FrameworkError::InvalidInput,
                    "proposalDigest is not the digest of the proposal's text",
                ));
            }
        }
        Ok(vote)
    }

    fn withdraw(&mut self, request: &MemberRequest, id: ProposalId) -> Result<Reply, Refusal> {
        let Some(mut info) = self.proposal(id)? else {
            return Ok(Reply::empty(204));
        };
        if info.proposer_id != request.signer() {
            return Err(Refusal::new(
                FrameworkError::AuthorizationFailed,
                "only its proposer can withdraw a proposal",
            ));
        }
        match info.state {
            ProposalState::Withdrawn => return self.summary(id, &info),
            ProposalState::Open => {}
            other => return Err(not_open(other)),
        }
        close(&mut info, ProposalEvent::Withdrawn)?;
        proposal_rows::put(&mut self.tx, &id, info.clone())?;
        self.record(request)?;
        self.summary(id, &info)
    }

    fn summary(&self, id: ProposalId, info: &ProposalInfo) -> Result<Reply, Refusal> {
        let effects = PROPOSALS_EFFECTS.get(&self.tx, &id)?.map(|row| row.0);
        let summary = proposal_summary(id, info, effects.as_ref());
        Ok(Reply::json(200, &summary))
    }

    fn proposal(&self, id: ProposalId) -> Result<Option<ProposalInfo>, Refusal> {
        Ok(PROPOSALS_INFO.get(&self.tx, &id)?.map(|row| row.0))
    }

    /// Has the constitution decide an open proposal, and carries it out if it is carried.
    fn settle(&mut self, id: ProposalId, moment: Moment) -> Result<ProposalInfo, Refusal> {
        let mut info = self
            .proposal(id)?
            .ok_or_else(|| Refusal::internal(format!("proposal {id} has no row")))?;
        let Raw(text) = PROPOSALS
            .get(&self.tx, &id)?
            .ok_or_else(|| Refusal::internal(format!("proposal {id} has no text")))?;
        let context = ResolveContext {
            proposal_id: id,
            proposer_id: info.proposer_id,
            moment,
        };
        let ballots: Vec<(MemberId, bool)> = votes(&info).into_iter().collect();
        let child = self.tx.child(Context::Decide);
        let constitution = constitution(&child)?;
        let (_, resolution) = self
            .guests
            .resolve(&constitution, child, &context, &text, &ballots)?;
        let event = match resolution {
            Resolution::Open => ProposalEvent::StillOpen,
            Resolution::Rejected => ProposalEvent::Rejected,
            Resolution::Accepted => match self.apply(&constitution, &context, &text)? {
                Ok(()) => ProposalEvent::Applied,
                Err(reason) => {
                    info.failure = Some(Failure { reason, trace: None });
                    ProposalEvent::ApplyFailed
                }
            },
        };
        close(&mut info, event)?;
        proposal_rows::put(&mut self.tx, &id, info.clone())?;
        if std::mem::take(&mut self.rules_replaced) {
            self.drop_open()?;
        }
        Ok(info)
    }

    /// Drops every open proposal: their voters had other rules before them (`governance-api.md`
    /// §6.3, §6.6).
    fn drop_open(&mut self) -> Result<(), Refusal> {
        for (id, mut info) in proposal_rows::open(&self.tx)? {
            close(&mut info, ProposalEvent::Dropped)?;
            proposal_rows::put(&mut self.tx, &id, info)?;
        }
        Ok(())
    }

    /// Applies a carried proposal in a child transaction: all of it, or nothing and a reason.
    ///
    /// A refusal means that this machine could not run the constitution just now. Then the request
    /// that led here is refused as well, and its sender tries again.
    fn apply(
        &mut self,
        constitution: &Component,
        context: &ResolveContext,
        text: &[u8],
    ) -> Result<Result<(), String>, Refusal> {
        let before = Watched::read(&self.tx)?;
        let rules = CONSTITUTION.get(&self.tx, &Singleton)?.map(|row| row.0);
        let clock = self.clock;
        let child = self.tx.child(Context::Apply);
        let mut child = match self.guests.apply(constitution, child, context, text) {
            Ok((child, Ok(()))) => child,
            Ok((_, Err(failed))) => return Ok(Err(format!("{}: {}", failed.action, failed.reason))),
            Err(busy @ GuestFailure::Busy(_)) => return Err(busy.into()),
            Err(failure) => {
                self.faults.push(failure.to_string());
                return Ok(Err(
                    "the constitution failed while applying the proposal".to_owned()
                ));
            }
        };
        let members = [
            MEMBER_INFO.name(),
            MEMBER_CERTS.name(),
            MEMBER_ENCRYPTION_KEYS.name(),
        ];
        let members_changed = members
            .iter()
            .any(|table| child.write_set().table(table).is_some());
        let secrets = self.secrets;
        let entropy = &mut *self.entropy;
        let reaction = child.with_context(Context::Host, |child| before.react(child, secrets, entropy));
        let reaction = match reaction {
            Ok(reaction) => reaction,
            Err(reason) => return Ok(Err(reason)),
        };
        let time_reset = match reset_of(&child, clock) {
            Ok(reset) => reset,
            Err(reason) => return Ok(Err(reason)),
        };
        let rules_replaced = CONSTITUTION.get(&child, &Singleton)?.map(|row| row.0) != rules;
        self.tx.absorb(child);
        self.reaction.opened |= reaction.opened;
        self.reaction.ends_chunk |= reaction.ends_chunk;
        self.time_reset |= time_reset;
        self.rules_replaced |= rules_replaced;
        self.members_changed |= members_changed;
        Ok(Ok(()))
    }

    /// Resolves the open proposals again after members changed, in the order of their ids, until
    /// nothing changes any more. It ends: every round but the last closes a proposal.
    fn resolve_others(&mut self) {
        while std::mem::take(&mut self.members_changed) {
            let open = match proposal_rows::open(&self.tx) {
                Ok(open) => open,
                Err(error) => {
                    self.faults.push(error.to_string());
                    return;
                }
            };
            for (id, _) in open {
                // An earlier one of this round may have closed it.
                if !matches!(self.proposal(id), Ok(Some(info)) if info.state == ProposalState::Open) {
                    continue;
                }
                // A guest that gives no answer leaves this proposal open; the change stands.
                if let Err(refusal) = self.settle(id, Moment::Change) {
                    self.faults.extend(refusal.fault);
                }
            }
        }
    }
}

/// Whether the changes reset service time. An error means that they must not be made: the clock is
/// later than the members say it can be.
fn reset_of(child: &Transaction, clock: u64) -> Result<bool, String> {
    let written = child.write_set().table(SERVICE_TIME_RESET.name()).is_some();
    let Some(Json(reset)) = SERVICE_TIME_RESET
        .get(child, &Singleton)
        .map_err(|e| e.to_string())?
        .filter(|_| written)
    else {
        return Ok(false);
    };
    if clock > reset.not_after.saturating_add(SKEW_SECONDS_MAX) {
        return Err(format!(
            "the node's clock is at {clock}, more than {SKEW_SECONDS_MAX} seconds past notAfter, {}",
            reset.not_after
        ));
    }
    Ok(true)
}

/// The constitution in force in this transaction.
fn constitution(tx: &Transaction) -> Result<Component, Refusal> {
    Component::constitution(tx.snapshot())
        .ok_or_else(|| Refusal::internal("the constitution's component is missing"))
}

/// Moves a proposal on; a proposal that leaves `Open` keeps the votes it had.
fn close(info: &mut ProposalInfo, event: ProposalEvent) -> Result<(), Refusal> {
    info.state = info
        .state
        .after(event)
        .map_err(|error| Refusal::internal(error.to_string()))?;
    if info.state != ProposalState::Open {
        info.final_votes = Some(votes(info));
    }
    Ok(())
}

fn votes(info: &ProposalInfo) -> BTreeMap<MemberId, bool> {
    info.ballots
        .iter()
        .filter_map(|(member, script)| Some((*member, Vote::from_script(script)? == Vote::Accept)))
        .collect()
}

fn not_open(state: ProposalState) -> Refusal {
    Refusal::new(
        FrameworkError::ProposalNotOpen,
        format!("the proposal is {state:?} and takes no further messages"),
    )
}

fn describe(fault: &Invalid) -> String {
    format!(
        "{} at position {}: {}",
        fault.action, fault.position, fault.reason
    )
}

/// A proposal as the API shows it (`governance-api.md` §5.2).
#[must_use]
pub fn proposal_summary(id: ProposalId, info: &ProposalInfo, effects: Option<&ProposalEffects>) -> JsonValue {
    let mut summary = json!({
        "proposalId": id,
        "proposerId": info.proposer_id,
        "proposalState": info.state,
        "ballotCount": info.ballots.len(),
    });
    let mut add = |name: &str, value: JsonValue| {
        if let Some(fields) = summary.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    if let Some(votes) = &info.final_votes {
        add("finalVotes", json!(votes));
    }
    if let Some(failures) = &info.vote_failures {
        add("voteFailures", json!(failures));
    }
    if let Some(failure) = &info.failure {
        add("failure", json!(failure));
    }
    if let Some(digest) = &info.constitution_digest {
        add("constitutionDigest", json!(digest));
    }
    if let Some(effects) = effects {
        add("effects", json!(effects));
    }
    summary
}
