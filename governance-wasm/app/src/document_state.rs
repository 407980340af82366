//! Where a user document stands: draft, decision and ballots, read in one place (`governance-api.md`
//! §9.3, §10; decisions 2, 38).

use cleanroom_model::api::{Approver, ApproverBallot, Ballot, DocumentState, UserDocument};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::person::Person;
use cleanroom_model::tables::{
    DOCUMENT_DECISIONS, DocumentDecision, DocumentKey, USER_DOCUMENTS, UserDocumentDraft,
};
use kv::TxId;

use crate::caller;
use crate::reply::{Failure, Fault, Refused};
use crate::request::Call;

/// A document with what was decided about it.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) key: DocumentKey,
    pub(crate) version: TxId,
    pub(crate) draft: UserDocumentDraft,
    pub(crate) decision: Option<DocumentDecision>,
    pub(crate) state: DocumentState,
}

/// The document under `key`, if there is one.
pub(crate) fn load(call: &Call<'_>, key: &DocumentKey) -> Result<Option<Loaded>, Fault> {
    let Some(row) = USER_DOCUMENTS.get_versioned(call.state, key)? else {
        return Ok(None);
    };
    let decision = DOCUMENT_DECISIONS.get(call.state, key)?.map(|row| row.0);
    let state = match &decision {
        None => DocumentState::Draft,
        Some(decision) => state_of(call, decision)?,
    };
    Ok(Some(Loaded {
        key: key.clone(),
        version: row.version,
        draft: row.value.0,
        decision,
        state,
    }))
}

/// One rejection rejects; so does an approver who is gone before voting, since nobody could ever
/// complete the decision. It stays so if the id is registered again: that is a new registration,
/// perhaps somebody else's, and rejection is final.
fn state_of(call: &Call<'_>, decision: &DocumentDecision) -> Result<DocumentState, Fault> {
    if decision
        .ballots
        .iter()
        .any(|ballot| ballot.ballot == Ballot::Rejected)
    {
        return Ok(DocumentState::Rejected);
    }
    let missing = missing(decision);
    if missing.is_empty() {
        return Ok(DocumentState::Accepted);
    }
    for approver in &missing {
        if !approver.is_registered(call.state)? {
            return Ok(DocumentState::Rejected);
        }
    }
    Ok(DocumentState::Proposed)
}

/// Approvers who have not voted.
fn missing(decision: &DocumentDecision) -> Vec<Person> {
    decision
        .approvers
        .iter()
        .filter(|approver| ballot_of(decision, approver).is_none())
        .cloned()
        .collect()
}

/// Ballots name ids only; approvers are distinct by them, and frozen with their registrations.
pub(crate) fn ballot_of(decision: &DocumentDecision, approver: &Person) -> Option<Ballot> {
    let cast = |b: &&ApproverBallot| b.approver_id == *approver.id() && b.approver_id_type == approver.kind();
    let is_approver = decision.approvers.contains(approver);
    let ballot = decision.ballots.iter().find(cast).filter(|_| is_approver)?;
    Some(ballot.ballot)
}

/// People as the wire names them.
pub(crate) fn named(people: &[Person]) -> Vec<Approver> {
    people.iter().map(|person| person.who.clone()).collect()
}

impl Loaded {
    /// Approvers who have not voted; of a draft, those who will be asked.
    pub(crate) fn missing(&self, call: &Call<'_>) -> Result<Vec<Person>, Failure> {
        match &self.decision {
            Some(decision) => Ok(missing(decision)),
            None => self.approvers(call),
        }
    }

    /// Whether `who` accepted the document.
    pub(crate) fn accepted_by(&self, who: &Person) -> bool {
        let ballot = self
            .decision
            .as_ref()
            .and_then(|decision| ballot_of(decision, who));
        ballot == Some(Ballot::Accepted)
    }

    /// Who decides if the decision began now: those named, else all active regular members.
    pub(crate) fn approvers(&self, call: &Call<'_>) -> Result<Vec<Person>, Failure> {
        if !self.draft.approvers.is_empty() {
            return Ok(self.draft.approvers.clone());
        }
        let members = caller::active_regular_members(call)?;
        if members.is_empty() {
            return Err(Refused::new(
                ErrorCode::ApproversMissing,
                "no approvers are named and no member is active",
            )
            .into());
        }
        Ok(members)
    }

    /// Refuses what changes nothing any more.
    pub(crate) fn require_undecided(&self) -> Result<(), Refused> {
        let (code, what) = match self.state {
            DocumentState::Draft | DocumentState::Proposed => return Ok(()),
            DocumentState::Accepted => (ErrorCode::UserDocumentAlreadyAccepted, "accepted"),
            DocumentState::Rejected => (
                ErrorCode::UserDocumentRejected,
                "rejected; publish it under a new id",
            ),
        };
        Err(Refused::new(
            code,
            format!("user document {} was {what}", self.key.1),
        ))
    }

    /// As it is read.
    pub(crate) fn view(&self) -> UserDocument {
        let creator = &self.draft.creator;
        let decision = self.decision.as_ref();
        UserDocument {
            id: self.key.1.clone(),
            state: self.state,
            version: self.version,
            contract_id: self.key.0.to_string(),
            data: self.draft.data.clone(),
            labels: self.draft.labels.clone(),
            approvers: named(decision.map_or(&self.draft.approvers, |d| &d.approvers)),
            proposal_id: decision
                .and_then(|d| d.proposal_id.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            proposer_id: decision.map(|_| creator.id().to_string()).unwrap_or_default(),
            proposer_id_type: decision.map(|_| creator.kind()),
            final_votes: decision.map(|d| d.ballots.clone()),
            missing_approvers: decision.map(|d| named(&missing(d))),
        }
    }
}
