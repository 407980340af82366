//! Requests and answers as they travel. Optional members stay optional, so that the
//! application can name what is missing.

use std::collections::BTreeMap;

use kv::TxId;
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

use crate::actions::Change;
use crate::analytics::{Days, DaysError};
use crate::ids::{DocumentId, Identifier, RunId};
use crate::policy::{Claims, PolicyType};
use crate::tables::RunRecord;

/// Kinds of principal that can approve.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ApproverKind {
    /// A member, by certificate.
    Member,
    /// A user, by certificate or token.
    User,
}

impl ApproverKind {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::User => "user",
        }
    }
}

/// A principal that approves, typed: ids of users and members never mix.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Approver {
    /// Member id, user certificate id, or token user id.
    pub approver_id: Identifier,
    /// Which of them.
    pub approver_id_type: ApproverKind,
}

/// An approver's decision.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ballot {
    /// For.
    Accepted,
    /// Against; final for the document.
    Rejected,
}

/// Who decided what.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApproverBallot {
    /// Who.
    pub approver_id: Identifier,
    /// As member or as user.
    pub approver_id_type: ApproverKind,
    /// What.
    pub ballot: Ballot,
}

/// `PUT /contracts/{contractId}`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PutContract {
    /// The current version; absent or empty on creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Anything but null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<JsonValue>,
}

/// `PUT /contracts/{contractId}/userdocuments/{documentId}`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PutUserDocument {
    /// The current version; absent or empty on creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// If present, the path's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract_id: Option<String>,
    /// Anything but null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<JsonValue>,
    /// Names and values for selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Absent, null or empty: all active regular members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Vec<Approver>>,
}

/// `POST /contracts/{contractId}/userdocuments/{documentId}/ballot`, and with `version` optional
/// `POST /users/proposals/{proposalId}/ballots/submit`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SubmitBallot {
    /// The version that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `accepted` or `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ballot: Option<JsonValue>,
}

/// Where a contract or a user document stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum DocumentState {
    /// May be edited.
    Draft,
    /// Being decided.
    Proposed,
    /// Everybody who decides agreed; final.
    Accepted,
    /// Somebody who decides refused; final. User documents only.
    Rejected,
}

impl DocumentState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "Draft",
            Self::Proposed => "Proposed",
            Self::Accepted => "Accepted",
            Self::Rejected => "Rejected",
        }
    }
}

/// A user document as it is read (`governance-api.md` §9.1, decision 38).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserDocument {
    /// The document.
    pub id: DocumentId,
    /// Where it stands.
    pub state: DocumentState,
    /// The draft's version; fixed from the first ballot on.
    pub version: TxId,
    /// Its contract.
    pub contract_id: String,
    /// Its content.
    pub data: JsonValue,
    /// Labels, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Who decides; in Draft, as written.
    pub approvers: Vec<Approver>,
    /// The user proposal it came by, or empty.
    pub proposal_id: String,
    /// The creator, once it has left Draft; before, empty.
    pub proposer_id: String,
    /// The creator's kind, once it has left Draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposer_id_type: Option<ApproverKind>,
    /// Ballots so far; absent in Draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_votes: Option<Vec<ApproverBallot>>,
    /// Approvers who have not voted; absent in Draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_approvers: Option<Vec<Approver>>,
}

/// Signed payload of `PUT …/cleanroompolicy/delegates/{delegateType}/{delegateId}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetDelegate {
    /// `add` or `remove`.
    #[serde(rename = "type")]
    pub change: Change,
    /// Kind of evidence; absent means `snp-caci`, and of a launcher the alternative's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_type: Option<PolicyType>,
    /// Claim name to a value or a list of values; of a launcher, host data and nothing else.
    pub claims: BTreeMap<String, JsonValue>,
    /// Of a launcher: the alternative whose other claims hold. It is the one of the run's pod, and
    /// members said that it is delegable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<Identifier>,
    /// Limits the delegate to one run; mandatory for launchers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// For token subjects: audiences that may be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
}

/// One alternative as `POST …/cleanroompolicy` shows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlternativeView {
    /// Its id.
    pub alternative: Identifier,
    /// Kind of evidence.
    pub policy_type: PolicyType,
    /// Claims.
    pub claims: Claims,
    /// `launcher`, `pod` or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<model::evidence::Role>,
    /// Whether evidence without a nonce is accepted.
    pub allow_static_evidence: bool,
    /// Whether launchers choose the host data of its pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delegable: bool,
    /// Token subjects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<crate::policy::VotedGrant>,
}

/// Body of `PUT /contracts/{contractId}/queries/{queryId}/runs/{runId}`, and body member `run` of
/// `…/prerequisites`. Whatever decides about data is not here: it comes from the documents and the
/// policy. As it is sent; [`RunRequest`] is what it means.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SentRunRequest {
    /// First day, `YYYY-MM-DD`; both dates or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    /// Last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<String>,
    /// Values of the query's parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, JsonValue>,
    /// The alternative of the pod; absent if the policy has exactly one of role `pod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_alternative: Option<Identifier>,
    /// Kind of the pod's evidence, if alternatives of several kinds have that id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_policy_type: Option<PolicyType>,
    /// Longest run in seconds; at most [`RUN_SECONDS_MAX`], absent means [`RUN_SECONDS_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration_s: Option<u64>,
    /// The latest transaction that the asker has seen of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<TxId>,
}

/// A [`SentRunRequest`] whose dates are days.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "SentRunRequest", into = "SentRunRequest")]
pub struct RunRequest {
    /// Days to read.
    pub days: Days,
    /// Values of the query's parameters.
    pub parameters: BTreeMap<String, JsonValue>,
    /// The alternative of the pod; absent if the policy has exactly one of role `pod`.
    pub pod_alternative: Option<Identifier>,
    /// Kind of the pod's evidence, if alternatives of several kinds have that id.
    pub pod_policy_type: Option<PolicyType>,
    /// Longest run in seconds; at most [`RUN_SECONDS_MAX`], absent means [`RUN_SECONDS_DEFAULT`].
    pub max_duration_s: Option<u64>,
    /// The latest transaction that the asker has seen of this service.
    pub seen: Option<TxId>,
}

impl TryFrom<SentRunRequest> for RunRequest {
    type Error = DaysError;

    fn try_from(sent: SentRunRequest) -> Result<Self, DaysError> {
        Ok(Self {
            days: Days::parse(sent.start_date.as_deref(), sent.end_date.as_deref())?,
            parameters: sent.parameters,
            pod_alternative: sent.pod_alternative,
            pod_policy_type: sent.pod_policy_type,
            max_duration_s: sent.max_duration_s,
            seen: sent.seen,
        })
    }
}

impl From<RunRequest> for SentRunRequest {
    fn from(request: RunRequest) -> Self {
        Self {
            start_date: request.days.start_text(),
            end_date: request.days.end_text(),
            parameters: request.parameters,
            pod_alternative: request.pod_alternative,
            pod_policy_type: request.pod_policy_type,
            max_duration_s: request.max_duration_s,
            seen: request.seen,
        }
    }
}

impl RunRequest {
    /// What makes it this request and no other: all but what its asker happened to have seen.
    #[must_use]
    pub fn apart_from_seen(&self) -> Self {
        Self {
            seen: None,
            ..self.clone()
        }
    }
}

/// Longest life of a run's permissions, in seconds.
pub const RUN_SECONDS_MAX: u64 = 86_400;
/// Life of a run's permissions when the request does not say, in seconds.
pub const RUN_SECONDS_DEFAULT: u64 = 7_200;

/// Answer of `POST /contracts/{contractId}/queries/{queryId}/runs/{runId}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RunAdmitted {
    /// The record that the pod will read.
    pub run: RunRecord,
}

/// Wrapped answer of `POST /contracts/{contractId}/runs/{runId}`: record and documents.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RunForPod {
    /// What the pod may do.
    pub run: RunRecord,
    /// The documents that the record lists, in its order.
    pub documents: Vec<UserDocument>,
}

/// Answer of `…/prerequisites`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PrerequisitesView {
    /// Whether a run would be admitted now.
    pub ready: bool,
    /// The first reason against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<PrerequisiteReason>,
}

/// Why a run would be refused.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PrerequisiteReason {
    /// Error code; of the ledger, or of a launcher.
    pub code: String,
    /// For people.
    pub message: String,
    /// Who has not agreed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<JsonValue>,
}
