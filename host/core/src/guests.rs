//! What the service asks of the two components, whoever runs them.
//!
//! Implemented by the host on its wasm engine and by native libraries in tests. A transaction is
//! *moved* into every call and handed back by it: nothing else can touch it meanwhile, and a
//! trapped guest never hands it back, so its writes are gone.

use std::sync::Arc;

use kv::store::Store;
use kv::{Singleton, TxId};
use model::error_body::FrameworkError;
use model::proposal::{Moment, Resolution};
use model::tables::{CONSTITUTION, MODULES};
use model::{Digest, MemberId, ProposalId};

use crate::transaction::Transaction;

/// A component's bytes and their SHA-256.
#[derive(Clone, Debug)]
pub struct Component {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// The component, as it lies in `public:ccf.gov.modules`.
    pub bytes: Arc<[u8]>,
}

impl Component {
    /// The component stored under this digest, if there is one.
    #[must_use]
    pub fn stored(store: &Store, digest: Digest) -> Option<Self> {
        let bytes = store.get_shared(MODULES.name(), digest.to_string().as_bytes())?;
        Some(Self { digest, bytes })
    }

    /// The constitution in force.
    #[must_use]
    pub fn constitution(store: &Store) -> Option<Self> {
        let row = store.get(CONSTITUTION.name(), &kv::codec::Key::to_bytes(&Singleton))?;
        let text: String = serde_json::from_slice(row.value).ok()?;
        Self::stored(store, text.strip_prefix("sha256:")?.parse().ok()?)
    }
}

/// Why a guest gave no answer. Nothing it wrote is kept.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GuestFailure {
    /// Fuel or memory ran out, as it would again: 503 `ExecutionLimit`.
    #[error("the component exceeded its limits: {0}")]
    Limit(String),
    /// This machine had no room or no time for it just then: 503 `ExecutionLimit`. It says nothing
    /// about the component, so it never decides what becomes of a proposal.
    #[error("the host was too busy for the component: {0}")]
    Busy(String),
    /// It trapped: 500.
    #[error("the component trapped: {0}")]
    Trap(String),
    /// It says itself that it failed: 500.
    #[error("the component failed: {0}")]
    Fault(String),
    /// It cannot be loaded: 500.
    #[error("the component cannot be loaded: {0}")]
    Unloadable(String),
}

/// A fault of one action of a proposal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invalid {
    /// Zero-based position of the action.
    pub position: u32,
    /// The action's name.
    pub action: String,
    /// What is wrong.
    pub reason: String,
    /// The action is known but not carried out by this build.
    pub unavailable: bool,
}

/// The action that could not be applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failed {
    /// The action's name.
    pub action: String,
    /// Why.
    pub reason: String,
}

/// Which proposal is decided, and why now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResolveContext {
    /// The proposal.
    pub proposal_id: ProposalId,
    /// Who submitted it.
    pub proposer_id: MemberId,
    /// Creation, a ballot, or a change of members.
    pub moment: Moment,
}

/// A caller known by its certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Principal {
    /// Member or user id.
    pub id: String,
    /// `member_data` or `user_data`, JSON; `null` if there is none.
    pub data_json: String,
    /// Whether a member is `Active`; always true for users.
    pub active: bool,
}

/// Who calls the application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Caller {
    /// A member, by its certificate.
    Member(Principal),
    /// A user, by its certificate.
    User(Principal),
    /// The bearer of a token whose signature, times, issuer and audience were checked.
    Token {
        /// Issuer that the key is registered for.
        issuer: String,
        /// The claims, JSON object.
        claims_json: String,
    },
    /// Showed no credentials.
    Anonymous,
}

/// A request for the application; the host has matched the endpoint and authenticated the caller.
#[derive(Clone, Debug)]
pub struct AppRequest {
    /// Index into the component's endpoints.
    pub endpoint: u32,
    /// Values of the path's parameters, percent-decoded once, in the order of the path.
    pub parameters: Vec<(String, String)>,
    /// HTTP method.
    pub method: String,
    /// Path with query, as sent.
    pub target: String,
    /// The query string as sent, without `?`.
    pub query: String,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// Who calls.
    pub caller: Caller,
    /// The body.
    pub body: Vec<u8>,
    /// Unix milliseconds at arrival, as the host believes.
    pub received_at_ms: u64,
    /// Id that the transaction will have if it commits; set by the service for updates. On a
    /// query, the state's id.
    pub transaction: TxId,
    /// Latest committed transaction when the request was taken up.
    pub committed: TxId,
}

/// The application's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppResponse {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// Seconds.
    pub retry_after: Option<u32>,
    /// Keep the writes although the status is 400 or above: a refusal that must leave a trace.
    pub commit_on_error: bool,
    /// Seconds for which anybody may keep the answer.
    pub cache_seconds: Option<u32>,
}

impl AppResponse {
    /// Whether the writes of this call are kept.
    #[must_use]
    pub const fn commits(&self) -> bool {
        self.status < 400 || self.commit_on_error
    }

    /// The answer, unless the application says in it that it failed. That is told to the operator,
    /// not to callers, and keeps no writes, whatever else the answer asks for.
    ///
    /// # Errors
    ///
    /// [`GuestFailure::Fault`] with the beginning of the body for status 500.
    pub fn unless_fault(self) -> Result<Self, GuestFailure> {
        if self.status != FrameworkError::InternalError.status() {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body);
        Err(GuestFailure::Fault(text.chars().take(FAULT_CHARS_MAX).collect()))
    }
}

/// Most of a fault's text in the log, in characters.
const FAULT_CHARS_MAX: usize = 1024;

/// What `validate` says: every fault, or none.
pub type Validation = Result<(), Vec<Invalid>>;

/// Runs the components. Every call gets a fresh, limited instance.
pub trait Guests: Send + Sync {
    /// Checks a proposal's form and arguments.
    ///
    /// # Errors
    ///
    /// [`GuestFailure`] if the constitution gave no answer.
    fn validate(
        &self,
        constitution: &Component,
        tx: Transaction,
        proposal: &[u8],
    ) -> Result<(Transaction, Validation), GuestFailure>;

    /// Decides a proposal on the ballots cast so far.
    ///
    /// # Errors
    ///
    /// [`GuestFailure`] if the constitution gave no answer.
    fn resolve(
        &self,
        constitution: &Component,
        tx: Transaction,
        context: &ResolveContext,
        proposal: &[u8],
        ballots: &[(MemberId, bool)],
    ) -> Result<(Transaction, Resolution), GuestFailure>;

    /// Carries out an accepted proposal. The caller drops the transaction on [`Failed`].
    ///
    /// # Errors
    ///
    /// [`GuestFailure`] if the constitution gave no answer.
    fn apply(
        &self,
        constitution: &Component,
        tx: Transaction,
        context: &ResolveContext,
        proposal: &[u8],
    ) -> Result<(Transaction, Result<(), Failed>), GuestFailure>;

    /// Answers a request that changes nothing.
    ///
    /// # Errors
    ///
    /// [`GuestFailure`] if the application gave no answer.
    fn query(
        &self,
        application: &Component,
        tx: Transaction,
        request: &AppRequest,
    ) -> Result<AppResponse, GuestFailure>;

    /// Answers a request that may write.
    ///
    /// # Errors
    ///
    /// [`GuestFailure`] if the application gave no answer.
    fn update(
        &self,
        application: &Component,
        tx: Transaction,
        request: &AppRequest,
    ) -> Result<(Transaction, AppResponse), GuestFailure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> AppResponse {
        AppResponse {
            status,
            content_type: None,
            body: body.as_bytes().to_vec(),
            retry_after: None,
            commit_on_error: true,
            cache_seconds: None,
        }
    }

    #[test]
    fn an_application_that_fails_is_a_failure_and_its_text_stays_within_bounds() {
        for status in [200, 400, 429, 503] {
            assert!(answered(status, "x").unless_fault().is_ok(), "{status}");
        }
        for length in [FAULT_CHARS_MAX, FAULT_CHARS_MAX + 1] {
            let failure = answered(500, &"x".repeat(length)).unless_fault().unwrap_err();
            assert_eq!(failure, GuestFailure::Fault("x".repeat(FAULT_CHARS_MAX)));
            let told = crate::reply::Reply::guest_failure(&failure);
            assert_eq!(told.status, 500);
            assert!(!String::from_utf8_lossy(&told.body).contains("xx"));
        }
    }
}
