//! The application's own tables. Composite keys are joined by `/`; no identifier is ever part of
//! a table name. Tables that votes write are in [`crate::governance`].

use std::collections::BTreeMap;

use kv::{Json, Pair, Table, TxId, Visibility};
use model::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

use crate::analytics::{Days, ViewName};
use crate::api::ApproverBallot;
use crate::error_codes::ErrorCode;
use crate::governance::OptionStatus;
use crate::ids::{ContractId, DocumentId, Identifier, RunId};
use crate::person::Person;
use crate::policy::{Claims, PolicyType, TokenGrant};
use crate::runs::{AskedRun, OpenRun, RowCount, RunLooks};

macro_rules! declared {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $value:ty = $table:literal;)*) => {
        $($(#[$doc])* pub const $name: Table<$key, $value> = Table::new($table);)*

        /// Every table of the application's own.
        pub const ALL: &[&str] = &[$($table,)*];
    };
}

/// Key of a user document: contract and document.
pub type DocumentKey = Pair<ContractId, DocumentId>;

/// Key of a document's consent switch: contract, document, option, `user` or `member`, id.
pub type DocumentSwitchKey =
    Pair<ContractId, Pair<DocumentId, Pair<Identifier, Pair<Identifier, Identifier>>>>;

/// Key of a delegate policy: contract, type, id, policy type, and the run it is limited to (empty
/// if none), so that launchers of different runs have nothing in common.
pub type DelegateKey = Pair<ContractId, Pair<Identifier, Pair<Identifier, Pair<Identifier, String>>>>;

/// Key of a run's delegate: contract, run, type, id.
pub type RunDelegateKey = Pair<ContractId, Pair<RunId, Pair<Identifier, Identifier>>>;

/// Key of an event: contract, scope (may be empty), series id, [`sequence`].
pub type EventKey = Pair<ContractId, Pair<String, Pair<Identifier, String>>>;

declared! {
    /// Execution switches of members, key (contract, member id). Written by the members
    /// themselves; absent means on.
    EXECUTION_SWITCHES: Pair<ContractId, Identifier> => Json<Switch> = "public:contracts_execution_status";
    /// Drafts of user documents. Their version is the transaction that last wrote the row; the
    /// row is not written again once the document has left Draft.
    USER_DOCUMENTS: DocumentKey => Json<UserDocumentDraft> = "public:user_documents";
    /// Labels of those documents that have any, for lists. Written with the document's row.
    DOCUMENT_LABELS: DocumentKey => Json<BTreeMap<String, String>> = "public:user_document_labels";
    /// What approvers decided about a document. Absent while it is a draft; removed only by a
    /// withdrawal before the first ballot.
    DOCUMENT_DECISIONS: DocumentKey => Json<DocumentDecision> = "public:user_document_decisions";
    /// Consent switches of approvers; absent means on.
    DOCUMENT_SWITCHES: DocumentSwitchKey => Json<Switch> = "public:user_documents_runtime_option_status";
    /// User proposals, the reference's door to document decisions. Never removed.
    USER_PROPOSALS: Identifier => Json<UserProposal> = "public:user_proposals";
    /// Policies that admitted workloads set for others. Removed with their last claim.
    DELEGATES: DelegateKey => Json<Delegate> = "public:cleanroom_delegates";
    /// Host data that launchers let in for one run, key (contract, run, delegate type, id): what a
    /// run's launcher did is listed with the run. Values are added and never taken away.
    RUN_DELEGATES: RunDelegateKey => Json<RunDelegate> = "public:run_delegates";
    /// Events that workloads recorded. Never removed.
    EVENTS: EventKey => Json<EventRow> = "public:events";
    /// The latest event of each series.
    LATEST_EVENTS: Pair<ContractId, Pair<String, Identifier>> => Json<String> = "public:latest_events";
    /// What was released to workloads or refused to them, key (contract, [`sequence`]).
    RELEASES: Pair<ContractId, String> => Json<Release> = "public:releases";
    /// Refusals of the current minute, by contract (decision 23).
    REFUSAL_COUNTS: ContractId => Json<RefusalCount> = "public:refusal_counts";
    /// Refusals of the current minute by who was refused, key (contract, Unix minute in ten digits,
    /// hex SHA-256 of policy type, chip and host data). Rows of earlier minutes are swept.
    REFUSAL_SOURCES: Pair<ContractId, Pair<String, String>> => Json<SourceCount> = "public:refusal_sources";
    /// Verdicts on runs. Never removed: the same run id always has the same answer.
    RUNS: Pair<ContractId, RunId> => Json<RunVerdict> = "public:runs";
    /// Runs that people asked for. Never removed: no run id is used twice.
    RUN_REQUESTS: Pair<ContractId, RunId> => Json<AskedRun> = "public:run_requests";
    /// Those of them that wait for a launcher, by asker. Removed with the verdict, the end, or once
    /// they have lapsed.
    OPEN_RUNS: Pair<ContractId, Pair<Person, RunId>> => Json<OpenRun> = "public:open_runs";
    /// Hex SHA-256 of the attested key (PEM text) that a run belongs to.
    RUN_KEYS: Pair<ContractId, RunId> => Json<String> = "public:run_keys";
    /// First and last look of a run's pod at whether it may go on, and their number.
    RUN_LOOKS: Pair<ContractId, RunId> => Json<RunLooks> = "public:run_looks";
    /// Rows that a run read of a document, key (contract, document, run). For the document's owner
    /// and approvers only.
    ROW_COUNTS: Pair<ContractId, Pair<DocumentId, RunId>> => Json<RowCount> = "run_row_counts";
    /// Public halves of token signing keys, key (issuer, key id). Removed when tokens of a
    /// retired key can no longer be valid.
    OIDC_KEYS: Pair<String, Identifier> => Json<OidcKey> = "public:oidc_keys";
    /// Issuer addresses of tenants, key (`member` or `user`, tenant).
    TENANT_ISSUERS: Pair<Identifier, String> => Json<String> = "public:oidc_tenant_issuers";
    /// What a caller keeps in a contract: key contract, and kind, id and registration (workloads:
    /// `run` and run id, or `workload` and host data). Written with the rows it counts; never removed.
    USAGE: Pair<ContractId, String> => Json<Usage> = "public:usage";
    /// Secrets, key (contract, secret id). Released to admitted workloads only.
    SECRETS: Pair<ContractId, String> => Json<Secret> = "secrets";
    /// Ids of the secrets that a person put, for lists. Written with the secret.
    OWN_SECRETS: Pair<ContractId, Pair<Person, String>> => kv::Unit = "own_secrets";
    /// Nonces in use until they expire: key expiry (13 digits, Unix ms) `-` hex.
    USED_NONCES: String => kv::Unit = "used_nonces";
}

const _: () = assert!(matches!(SECRETS.visibility(), Visibility::Private));
const _: () = assert!(matches!(OWN_SECRETS.visibility(), Visibility::Private));
const _: () = assert!(matches!(ROW_COUNTS.visibility(), Visibility::Private));

/// The issuer address of a tenant and since when it stands: what a member set, else what a user set.
///
/// # Errors
///
/// [`kv::TableError`] if the table cannot be read.
pub fn tenant_issuer(
    state: &(impl kv::Read + ?Sized),
    tenant: &str,
) -> Result<Option<kv::Versioned<String>>, kv::TableError> {
    for kind in ["member", "user"] {
        let kind: Identifier = kind.parse().expect("kinds are identifiers");
        if let Some(row) = TENANT_ISSUERS.get_versioned(state, &Pair(kind, tenant.to_owned()))? {
            return Ok(Some(kv::Versioned {
                value: row.value.0,
                version: row.version,
            }));
        }
    }
    Ok(None)
}

/// Sortable key of the event that a transaction writes: its seqno in 20 digits.
#[must_use]
pub fn sequence(seqno: u64) -> String {
    format!("{seqno:020}")
}

/// Rows and bytes that a caller keeps in a contract, or may keep.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Usage {
    /// Documents, secrets and events.
    pub rows: u64,
    /// Their values as stored, keys not counted.
    pub bytes: u64,
}

/// A user document's draft.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserDocumentDraft {
    /// Opaque here; for datasets and queries, JSON text.
    pub data: JsonValue,
    /// For selection in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Who decides. Empty: all active regular members at the first act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<Person>,
    /// Who wrote it and owns it.
    pub creator: Person,
    /// Of queries: who may ask for runs. Absent: the creator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runners: Option<Vec<Person>>,
}

/// A consent switch.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Switch {
    /// On or off.
    pub status: OptionStatus,
    /// Registration of whoever set it. Of somebody who left since, it counts no more.
    pub registration: TxId,
}

/// What approvers decided about a document, on one version of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentDecision {
    /// The draft's version.
    pub version: TxId,
    /// Who decides, frozen. Whoever is registered later under one of these ids is not the approver
    /// that was meant.
    pub approvers: Vec<Person>,
    /// Ballots so far, in order.
    pub ballots: Vec<ApproverBallot>,
    /// Of a query: the documents that it names, as those who accepted it saw them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Vec<FrozenDocument>>,
    /// The user proposal it came by, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal_id: Option<Identifier>,
}

/// A document as somebody saw it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FrozenDocument {
    /// The document.
    pub id: DocumentId,
    /// The draft's version.
    pub version: TxId,
    /// SHA-256 of the document's data as stored.
    pub digest: Digest,
}

/// A user proposal to accept a document. Its state follows from the document's decision.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserProposal {
    /// The document's contract.
    pub contract_id: ContractId,
    /// The document.
    pub document_id: DocumentId,
    /// The draft's version.
    pub version: TxId,
    /// Who proposed it.
    pub proposer: Person,
    /// Frozen approvers.
    pub approvers: Vec<Person>,
    /// Taken back before the first ballot.
    #[serde(default)]
    pub withdrawn: bool,
}

/// A delegate policy of one policy type.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delegate {
    /// Claims, all of which must be met.
    pub claims: Claims,
    /// The only run that workloads it admits may act for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// For token subjects: audiences that may be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Accept evidence without a service nonce: whoever set it may come with such evidence too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_static_evidence: bool,
}

/// Host data that a launcher lets in for one run and one purpose. Everything else that its workloads
/// must show is in the alternative, as members have it at the time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDelegate {
    /// Kind of evidence.
    pub policy_type: PolicyType,
    /// The alternative of role `pod` that says that it is delegable.
    pub alternative: Identifier,
    /// Hex host data.
    pub host_data: Vec<String>,
    /// For token subjects: audiences that may be asked for, of those that the run lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
}

/// An event.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EventRow {
    /// The writer's time, Unix milliseconds in 13 digits.
    pub timestamp: String,
    /// JSON of the writer's choice.
    pub data: JsonValue,
}

/// Whether something was given or refused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Given.
    Released,
    /// Refused on policy grounds.
    Refused,
}

/// What was given or refused to a workload. Names, never values.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Given or refused.
    pub outcome: Outcome,
    /// `secret`, `token`, `document`, `run`, `admission`, `delegate`, `event`, `consent`.
    pub kind: String,
    /// Secret id, token subject, document id, run id.
    pub name: String,
    /// Of tokens: the audience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Of refusals: the error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// Of refusals: the claim or the consent that failed first. Of a launcher's delegates: whom it
    /// let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<JsonValue>,
    /// Kind of evidence.
    pub policy_type: PolicyType,
    /// The alternative, or `delegate:<type>/<id>`, that admitted the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<String>,
    /// Host data of the evidence, empty if it has none.
    pub host_data: String,
    /// SHA-256 of the evidence.
    pub evidence_digest: Digest,
    /// Whether the evidence carried no service nonce.
    pub static_evidence: bool,
    /// The run that the workload named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// Refusals on policy grounds within one minute.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefusalCount {
    /// Unix minute.
    pub minute: u64,
    /// Refusals recorded as events in it.
    pub recorded: u32,
    /// Refusals that were only counted, since the beginning.
    pub suppressed: u64,
}

/// Refusals of one platform, chip and host data within one minute.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SourceCount {
    /// Recorded as events.
    pub recorded: u32,
    /// Only counted.
    pub suppressed: u32,
}

/// The answer to a run id.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum RunVerdict {
    /// May run.
    Admitted(Box<RunRecord>),
    /// May not run under this id.
    Refused(RunRefusal),
}

/// Why a run was refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRefusal {
    /// The query.
    pub query_id: DocumentId,
    /// Error code.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// Who has not agreed.
    pub details: Vec<JsonValue>,
}

/// What a document is to a run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentUse {
    /// The query itself.
    Query,
    /// A dataset that is read.
    Input,
    /// Where the result goes.
    Output,
}

/// A document that a run uses.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDocument {
    /// The document.
    pub id: DocumentId,
    /// The accepted version.
    pub version: TxId,
    /// What for.
    #[serde(rename = "use")]
    pub used_as: DocumentUse,
    /// The view's name in the query's text; none for the query itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<ViewName>,
    /// SHA-256 of the document's data as stored.
    pub digest: Digest,
}

/// An admitted run: all that its pod may do, until `not_after`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// The run.
    pub run_id: RunId,
    /// The query.
    pub query_id: DocumentId,
    /// Query, inputs, output.
    pub documents: Vec<RunDocument>,
    /// Days that are read.
    #[serde(flatten)]
    pub days: Days,
    /// Values of the query's declared parameters, defaults filled in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, JsonValue>,
    /// Secrets that the pod may fetch.
    pub secret_ids: Vec<String>,
    /// Tokens that the pod may get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenGrant>,
    /// Kind of evidence of the pod.
    #[serde(default)]
    pub pod_policy_type: PolicyType,
    /// The policy alternative, of that kind, that the pod must satisfy.
    pub pod_alternative: Identifier,
    /// Whether every document consents to telemetry.
    pub telemetry: bool,
    /// Unix milliseconds.
    pub admitted_on: u64,
    /// Unix milliseconds; nothing is released afterwards.
    pub not_after: u64,
    /// Who asked for it on the ledger; absent while somebody only asks whether it would be admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<Person>,
    /// The latest transaction that the asker had seen of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<TxId>,
    /// Kind of evidence of the launcher that admitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher_policy_type: Option<PolicyType>,
    /// The policy alternative of that kind by which the launcher came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher_alternative: Option<Identifier>,
    /// Host data of the launcher that admitted it; empty on platforms without.
    pub launcher_host_data: String,
}

impl RunRecord {
    /// Whether this alternative is the one that the run's pod must satisfy.
    #[must_use]
    pub fn is_pod(&self, policy_type: PolicyType, alternative: &Identifier) -> bool {
        self.pod_policy_type == policy_type && self.pod_alternative == *alternative
    }
}

/// The public half of a token signing key.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcKey {
    /// Which request of the members it answers.
    pub request_id: u64,
    /// Modulus, base64url.
    pub n: String,
    /// Exponent, base64url.
    pub e: String,
    /// Unix milliseconds after which it is no longer published; absent for the latest key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_until: Option<u64>,
    /// Unix milliseconds from which it signs, so that relying parties that keep the set for a while
    /// know it by then; absent: from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_from: Option<u64>,
    /// Its private half is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
}

/// A secret. No `Debug`: its value must not reach a log.
#[derive(Deserialize, Serialize)]
pub struct Secret {
    /// The value.
    pub value: String,
    /// The member or user who put it; absent if a workload did. The id alone does not tell: its
    /// parts may contain the `_` that joins them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Person>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_keys_sort_as_their_numbers() {
        assert!(sequence(9) < sequence(10));
        assert!(sequence(99_999) < sequence(u64::MAX));
    }

    #[test]
    fn an_unscoped_series_and_a_scope_never_share_a_key() {
        use kv::codec::Key as _;
        let key = |scope: &str, id: &str| -> Vec<u8> {
            let contract: ContractId = "c".parse().unwrap();
            Pair(
                contract,
                Pair(
                    scope.to_owned(),
                    Pair(id.parse::<Identifier>().unwrap(), sequence(1)),
                ),
            )
            .to_bytes()
        };
        assert_ne!(key("", "a-b"), key("a", "b"));
        assert_eq!(key("", "a"), b"c//a/00000000000000000001");
    }
}
