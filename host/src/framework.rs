//! The endpoints that every service on this host has: transactions, receipts, the node, and the
//! members' governance (`ledger-host.md` §2.2, §3.3, §4.4).
//!
//! Reads are functions over the last signed state. Signed requests are verified here, on the
//! reader's side, and go to the writer.

mod governance;
mod node;
mod proposals;
mod service;
mod transactions;

use host_core::State;
use host_core::reply::Reply;
use model::{FrameworkError, percent};
use serde_json::{Value as JsonValue, json};

pub(crate) use self::governance::{Signed, verify};
pub(crate) use self::transactions::{ReceiptForm, asked_for, no_receipt, receipt};
use crate::clock::Now;
use crate::https::Request;
use crate::router::{Parameters, Router};

/// A framework endpoint, by what it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    Read(Read),
    Receipt(ReceiptForm),
    Signed(Signed),
}

/// The reads, answered from the last signed state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Read {
    Commit,
    Transaction,
    ApplicationApi,
    NodeState,
    NodeVersion,
    Network,
    Nodes,
    SelfNode,
    Node,
    ReadyApp,
    ReadyGov,
    ServiceConfiguration,
    Proposals,
    Proposal,
    ProposalActions,
    Ballot,
    StateDigest,
    EncryptedShare,
    Info,
    Constitution,
    Measurements,
    Members,
    Member,
    Users,
    User,
    GovNodes,
    GovNode,
    JoinPolicy,
    Jwk,
    Application,
    Modules,
    Module,
    GovCommit,
    GovTransaction,
}

/// Every path of the framework. Literals stand before the templates that they overlap with.
const ENDPOINTS: &[(&str, &str, Endpoint)] = &[
    ("GET", "/app/commit", Endpoint::Read(Read::Commit)),
    ("GET", "/app/tx", Endpoint::Read(Read::Transaction)),
    ("GET", "/app/receipt", Endpoint::Receipt(ReceiptForm::Json)),
    ("GET", "/app/receipt/cose", Endpoint::Receipt(ReceiptForm::Cose)),
    ("GET", "/app/api", Endpoint::Read(Read::ApplicationApi)),
    ("GET", "/node/commit", Endpoint::Read(Read::Commit)),
    ("GET", "/node/tx", Endpoint::Read(Read::Transaction)),
    ("GET", "/node/receipt", Endpoint::Receipt(ReceiptForm::Json)),
    ("GET", "/node/receipt/cose", Endpoint::Receipt(ReceiptForm::Cose)),
    ("GET", "/node/state", Endpoint::Read(Read::NodeState)),
    ("GET", "/node/version", Endpoint::Read(Read::NodeVersion)),
    ("GET", "/node/network", Endpoint::Read(Read::Network)),
    ("GET", "/node/network/nodes", Endpoint::Read(Read::Nodes)),
    ("GET", "/node/network/nodes/self", Endpoint::Read(Read::SelfNode)),
    (
        "GET",
        "/node/network/nodes/primary",
        Endpoint::Read(Read::SelfNode),
    ),
    ("GET", "/node/network/nodes/{nodeId}", Endpoint::Read(Read::Node)),
    ("GET", "/node/ready/app", Endpoint::Read(Read::ReadyApp)),
    ("GET", "/node/ready/gov", Endpoint::Read(Read::ReadyGov)),
    (
        "GET",
        "/node/service/configuration",
        Endpoint::Read(Read::ServiceConfiguration),
    ),
    ("GET", "/gov/commit", Endpoint::Read(Read::Commit)),
    ("GET", "/gov/tx", Endpoint::Read(Read::Transaction)),
    (
        "POST",
        "/gov/members/proposals:create",
        Endpoint::Signed(Signed::Propose),
    ),
    ("GET", "/gov/members/proposals", Endpoint::Read(Read::Proposals)),
    (
        "POST",
        "/gov/members/proposals/{proposalId}:withdraw",
        Endpoint::Signed(Signed::Withdraw),
    ),
    (
        "GET",
        "/gov/members/proposals/{proposalId}",
        Endpoint::Read(Read::Proposal),
    ),
    (
        "GET",
        "/gov/members/proposals/{proposalId}/actions",
        Endpoint::Read(Read::ProposalActions),
    ),
    (
        "POST",
        "/gov/members/proposals/{proposalId}/ballots/{memberId}:submit",
        Endpoint::Signed(Signed::Vote),
    ),
    (
        "GET",
        "/gov/members/proposals/{proposalId}/ballots/{memberId}",
        Endpoint::Read(Read::Ballot),
    ),
    (
        "POST",
        "/gov/members/state-digests/{memberId}:update",
        Endpoint::Signed(Signed::UpdateDigest),
    ),
    (
        "POST",
        "/gov/members/state-digests/{memberId}:ack",
        Endpoint::Signed(Signed::Acknowledge),
    ),
    (
        "GET",
        "/gov/members/state-digests/{memberId}",
        Endpoint::Read(Read::StateDigest),
    ),
    (
        "GET",
        "/gov/recovery/encrypted-shares/{memberId}",
        Endpoint::Read(Read::EncryptedShare),
    ),
    ("GET", "/gov/service/info", Endpoint::Read(Read::Info)),
    (
        "GET",
        "/gov/service/constitution",
        Endpoint::Read(Read::Constitution),
    ),
    (
        "GET",
        "/gov/service/measurements",
        Endpoint::Read(Read::Measurements),
    ),
    ("GET", "/gov/service/members", Endpoint::Read(Read::Members)),
    (
        "GET",
        "/gov/service/members/{memberId}",
        Endpoint::Read(Read::Member),
    ),
    ("GET", "/gov/service/users", Endpoint::Read(Read::Users)),
    ("GET", "/gov/service/users/{userId}", Endpoint::Read(Read::User)),
    ("GET", "/gov/service/nodes", Endpoint::Read(Read::GovNodes)),
    (
        "GET",
        "/gov/service/nodes/{nodeId}",
        Endpoint::Read(Read::GovNode),
    ),
    (
        "GET",
        "/gov/service/join-policy",
        Endpoint::Read(Read::JoinPolicy),
    ),
    ("GET", "/gov/service/jwk", Endpoint::Read(Read::Jwk)),
    (
        "GET",
        "/gov/service/javascript-app",
        Endpoint::Read(Read::Application),
    ),
    (
        "GET",
        "/gov/service/javascript-modules",
        Endpoint::Read(Read::Modules),
    ),
    (
        "GET",
        "/gov/service/javascript-modules/{name}",
        Endpoint::Read(Read::Module),
    ),
    ("GET", "/gov/service/js-modules", Endpoint::Read(Read::Modules)),
    (
        "GET",
        "/gov/service/js-modules/{name}",
        Endpoint::Read(Read::Module),
    ),
    (
        "GET",
        "/gov/service/transactions/commit",
        Endpoint::Read(Read::GovCommit),
    ),
    (
        "GET",
        "/gov/service/transactions/{transactionId}",
        Endpoint::Read(Read::GovTransaction),
    ),
];

/// The framework's routes.
pub(crate) fn router() -> Router<Endpoint> {
    let mut router = Router::new();
    for (method, template, endpoint) in ENDPOINTS {
        router.add(method, template, *endpoint);
    }
    router
}

/// What the reads need to know besides the state.
pub(crate) struct Facts {
    pub(crate) insecure_virtual: bool,
}

/// A read's input.
pub(crate) struct Query<'a> {
    pub(crate) now: Now,
    pub(crate) state: &'a State,
    pub(crate) facts: &'a Facts,
    pub(crate) request: &'a Request,
    pub(crate) parameters: &'a Parameters,
}

impl Query<'_> {
    /// The path's only parameter, or the one at `index`.
    fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", |(_, value)| value)
    }

    /// The path's parameter at `index` as an id of 64 hex digits.
    fn id<T: std::str::FromStr>(&self, index: usize) -> Result<T, Reply> {
        self.parameter(index)
            .parse()
            .map_err(|_| bad_id(self.parameter(index)))
    }

    /// A parameter of the query string; given twice it is refused.
    fn argument(&self, name: &str) -> Result<Option<String>, Reply> {
        argument(self.request, name)
    }
}

pub(crate) fn bad_id(text: &str) -> Reply {
    let shown: String = text.chars().take(80).collect();
    Reply::error(
        FrameworkError::InvalidResourceName,
        format!("{shown:?} is not an id: 64 lower-case hex digits are expected"),
    )
}

/// A parameter of the query string, decoded.
pub(crate) fn argument(request: &Request, name: &str) -> Result<Option<String>, Reply> {
    let invalid = |text: String| Reply::error(FrameworkError::InvalidQueryParameterValue, text);
    let pairs =
        percent::pairs(request.uri.query().unwrap_or_default()).map_err(|e| invalid(e.to_string()))?;
    let mut values = pairs.into_iter().filter(|(key, _)| key == name);
    let first = values.next().map(|(_, value)| value);
    if values.next().is_some() {
        return Err(invalid(format!("the query parameter {name} occurs twice")));
    }
    Ok(first)
}

/// Every escape of path and query is well formed, whatever is asked for (RFC 3986 §2.1).
pub(crate) fn check_escapes(request: &Request) -> Result<(), Reply> {
    percent::decode_path(request.uri.path())
        .map_err(|e| Reply::error(FrameworkError::InvalidResourceName, e.to_string()))?;
    percent::pairs(request.uri.query().unwrap_or_default())
        .map_err(|e| Reply::error(FrameworkError::InvalidQueryParameterValue, e.to_string()))?;
    Ok(())
}

/// Versions of the governance API that are spoken.
const API_VERSIONS: &[&str] = &["2024-07-01", "2023-06-01-preview"];

/// Checks `api-version`, which every `/gov` path but the two aliases of transaction status needs.
pub(crate) fn check_api_version(request: &Request) -> Result<(), Reply> {
    let path = request.uri.path();
    if !path.starts_with("/gov/") || path == "/gov/tx" || path == "/gov/commit" {
        return Ok(());
    }
    match argument(request, "api-version")?.as_deref() {
        None => Err(Reply::error(
            FrameworkError::MissingApiVersionParameter,
            format!(
                "the query parameter api-version is missing; use {}",
                API_VERSIONS.join(" or ")
            ),
        )),
        Some(version) if API_VERSIONS.contains(&version) => Ok(()),
        Some(_) => Err(Reply::error(
            FrameworkError::UnsupportedApiVersionValue,
            format!(
                "this api-version is not spoken; use {}",
                API_VERSIONS.join(" or ")
            ),
        )),
    }
}

/// Answers a read.
pub(crate) fn read(read: Read, query: &Query<'_>) -> Reply {
    let answered = match read {
        Read::Commit => transactions::commit(query),
        Read::Transaction => transactions::status(query),
        Read::GovCommit => transactions::gov_commit(query),
        Read::GovTransaction => transactions::gov_status(query),
        Read::ApplicationApi => service::application_api(query),
        Read::NodeState => node::state(query),
        Read::NodeVersion => node::version(query),
        Read::Network => node::network(query),
        Read::Nodes => node::nodes(query),
        Read::SelfNode => node::this(query),
        Read::Node => node::one(query),
        Read::ReadyApp => node::ready_app(query),
        Read::ReadyGov => node::ready_gov(query),
        Read::ServiceConfiguration => node::service_configuration(query),
        Read::Proposals => proposals::all(query),
        Read::Proposal => proposals::one(query),
        Read::ProposalActions => proposals::actions(query),
        Read::Ballot => proposals::ballot(query),
        Read::StateDigest => governance::state_digest(query),
        Read::EncryptedShare => governance::encrypted_share(query),
        Read::Info => service::info(query),
        Read::Constitution => service::constitution(query),
        Read::Measurements => service::measurements(query),
        Read::Members => service::members(query),
        Read::Member => service::member(query),
        Read::Users => service::users(query),
        Read::User => service::user(query),
        Read::GovNodes => service::nodes(query),
        Read::GovNode => service::node(query),
        Read::JoinPolicy => service::join_policy(query),
        Read::Jwk => service::jwk(query),
        Read::Application => service::application(query),
        Read::Modules => service::modules(query),
        Read::Module => service::module(query),
    };
    answered.unwrap_or_else(|failure| failure.into_reply())
}

/// Adds a field that appears only when it has a value.
fn with<T: serde::Serialize>(mut body: JsonValue, name: &str, value: Option<T>) -> JsonValue {
    if let (Some(fields), Some(value)) = (body.as_object_mut(), value) {
        fields.insert(name.to_owned(), json!(value));
    }
    body
}

/// Why a read has no answer.
pub(crate) enum Failure {
    /// The caller's mistake, already worded.
    Refused(Reply),
    /// A table does not decode: ours, and for the log.
    Table(kv::TableError),
}

impl Failure {
    fn into_reply(self) -> Reply {
        match self {
            Self::Refused(reply) => reply,
            Self::Table(error) => {
                tracing::error!(%error, "the state cannot be read");
                Reply::error(
                    FrameworkError::InternalError,
                    "the service's state cannot be read",
                )
            }
        }
    }

    fn not_found(what: &str) -> Self {
        Self::Refused(Reply::error(
            FrameworkError::ResourceNotFound,
            format!("no such {what}"),
        ))
    }
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Self {
        Self::Refused(reply)
    }
}

impl From<kv::TableError> for Failure {
    fn from(error: kv::TableError) -> Self {
        Self::Table(error)
    }
}

type Answer = Result<Reply, Failure>;
