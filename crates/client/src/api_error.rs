//! What can go wrong between us and the service, and whose fault it is.

use model::ErrorBody;
use serde_json::Value as JsonValue;

/// Why a call did not give an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection, or it broke.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Where we tried.
        address: String,
        /// What the system or TLS said.
        reason: String,
    },
    /// The service refused.
    #[error("{code}: {message} (HTTP {status})")]
    Api {
        /// HTTP status.
        status: u16,
        /// Machine-readable code.
        code: String,
        /// For people.
        message: String,
        /// Details such as the claim that failed.
        details: Vec<JsonValue>,
    },
    /// The answer is not what the API promises.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// A proof did not hold. Never to be ignored.
    #[error("verification failed: {0}")]
    Verification(String),
    /// The node lacks what was seen of its service before: an older copy, or a fork. Never to be
    /// ignored.
    #[error("ServiceForked: {0}")]
    Forked(String),
    /// Our own arguments or keys cannot be used.
    #[error("{0}")]
    Usage(String),
}

impl ClientError {
    /// The service's error code, if it was the service that refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the node lacks what was seen of its service: noticed here, or admitted by itself.
    #[must_use]
    pub fn is_fork(&self) -> bool {
        matches!(self, Self::Forked(_)) || self.code() == Some("ServiceForked")
    }

    /// The error in an answer with this status; a body that is no error envelope is quoted.
    #[must_use]
    pub fn from_answer(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(ErrorBody { error }) => Self::Api {
                status,
                code: error.code,
                message: error.message,
                details: error.details,
            },
            Err(_) => Self::Api {
                status,
                code: "Unknown".to_owned(),
                message: String::from_utf8_lossy(body).chars().take(300).collect(),
                details: Vec::new(),
            },
        }
    }
}
