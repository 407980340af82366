//! The error envelope and the framework's own codes.

use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

/// `{"error":{"code","message","details"?}}`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// Inside of the envelope.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ErrorDetail {
    /// Machine-readable; part of the API.
    pub code: String,
    /// For people; never branched on.
    pub message: String,
    /// One object per policy tried, or the claim that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<JsonValue>,
}

impl ErrorBody {
    /// An envelope without details.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error: ErrorDetail {
                code: code.into(),
                message: message.into(),
                details: Vec::new(),
            },
        }
    }
}

macro_rules! framework_errors {
    ($($(#[$doc:meta])* $name:ident = $status:literal,)*) => {
        /// The framework's error codes; their texts are API.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum FrameworkError {
            $($(#[$doc])* $name,)*
        }

        impl FrameworkError {
            /// The code on the wire.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The HTTP status it is answered with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

framework_errors! {
    /// Malformed JSON, base64 or argument.
    InvalidInput = 400,
    /// An id in the path is malformed.
    InvalidResourceName = 400,
    /// A query parameter is malformed.
    InvalidQueryParameterValue = 400,
    /// `api-version` is missing.
    MissingApiVersionParameter = 400,
    /// `api-version` is not one we speak.
    UnsupportedApiVersionValue = 400,
    /// The constitution found the proposal malformed.
    ProposalFailedToValidate = 400,
    /// The same signed proposal again.
    ProposalReplay = 400,
    /// Older than every remembered proposal of its signer.
    ProposalCreatedTooLongAgo = 400,
    /// `created_at` is ahead of service time, or before the member's latest request.
    InvalidCreatedAt = 400,
    /// The member has as many open proposals as one may have.
    TooManyOpenProposals = 400,
    /// The proposal is closed.
    ProposalNotOpen = 400,
    /// A different ballot by this member is on record.
    VoteAlreadyExists = 400,
    /// A ballot that is neither constant script nor native form.
    UnsupportedBallot = 400,
    /// The acknowledged digest is not the one on record.
    StateDigestMismatch = 400,
    /// A known action that this build does not carry out yet.
    ActionNotAvailable = 400,
    /// No caller authentication policy succeeded.
    InvalidAuthenticationInfo = 401,
    /// Authenticated, but not allowed.
    AuthorizationFailed = 403,
    /// The service does not wait for shares.
    ServiceNotWaitingForRecoveryShares = 403,
    /// No such route or object.
    ResourceNotFound = 404,
    /// The service is not open yet.
    FrontendNotOpen = 404,
    /// No such proposal.
    ProposalNotFound = 404,
    /// No ballot by that member.
    VoteNotFound = 404,
    /// Not committed here, or never was.
    TransactionPendingOrUnknown = 404,
    /// Rolled back.
    TransactionInvalid = 404,
    /// The path exists, the method does not.
    UnsupportedHttpVerb = 405,
    /// The body arrives too slowly, or not in time.
    RequestTimeout = 408,
    /// The body exceeds its limit.
    RequestBodyTooLarge = 413,
    /// The body has the wrong media type.
    UnsupportedContentType = 415,
    /// Headers exceed their limit.
    RequestHeaderTooLarge = 431,
    /// Ours; the text names the request.
    InternalError = 500,
    /// A guest ran out of fuel, memory or time.
    ExecutionLimit = 503,
    /// The writer's queue is full.
    TooManyPendingTransactions = 503,
    /// The state is as large as this node may let it become; only governance goes on.
    StateFull = 503,
    /// The node's clock is behind what the service has signed; nothing is written.
    ClockBehind = 503,
    /// The node's clock leapt ahead; nothing is written.
    ClockAhead = 503,
    /// The node's memory for bodies is in use.
    BodyMemoryExhausted = 503,
    /// Too many connections.
    SessionCapExhausted = 503,
}
