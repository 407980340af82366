//! Answers, and the one place where refusals become statuses and bodies.

use cleanroom_model::error_codes::ErrorCode;
use kv::TableError;
use model::error_body::{ErrorBody, ErrorDetail};
use serde::Serialize;
use serde_json::Value as JsonValue;

use crate::host_services::CryptoError;

/// What goes back to the caller.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Media type, if there is a body.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// Commit the writes although the status is 400 or above.
    pub commit_on_error: bool,
    /// Seconds for which anybody may keep the answer; nobody if absent.
    pub cache_seconds: Option<u32>,
}

const JSON: &str = "application/json";

impl Reply {
    /// 200 with a JSON body.
    pub(crate) fn json<T: Serialize>(value: &T) -> Result<Self, Refusal> {
        let body = serde_json::to_vec(value).map_err(|e| {
            Refusal::new(
                ErrorCode::InternalError,
                format!("the answer does not serialise: {e}"),
            )
        })?;
        Ok(Self {
            status: 200,
            content_type: Some(JSON.to_owned()),
            body,
            ..Self::default()
        })
    }

    /// The same answer, which anybody may keep for a while.
    pub(crate) fn cached_for(mut self, seconds: u32) -> Self {
        self.cache_seconds = Some(seconds);
        self
    }

    /// 200 without a body.
    pub(crate) fn empty() -> Self {
        Self {
            status: 200,
            ..Self::default()
        }
    }

    /// 204.
    pub(crate) fn no_content() -> Self {
        Self {
            status: 204,
            ..Self::default()
        }
    }
}

/// Why a request was not carried out.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) details: Vec<JsonValue>,
    /// A refusal on policy grounds: its event and the nonce's use are committed (decision 23).
    pub(crate) keep_writes: bool,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            keep_writes: false,
        }
    }

    pub(crate) fn with_details(mut self, details: Vec<JsonValue>) -> Self {
        self.details = details;
        self
    }

    /// The answer that says so.
    pub(crate) fn into_reply(self) -> Reply {
        let body = ErrorBody {
            error: ErrorDetail {
                code: self.code.as_str().to_owned(),
                message: self.message,
                details: self.details,
            },
        };
        Reply {
            status: self.code.status(),
            content_type: Some(JSON.to_owned()),
            body: serde_json::to_vec(&body).unwrap_or_default(),
            commit_on_error: self.keep_writes,
            cache_seconds: None,
        }
    }
}

/// A table that cannot be read or written is our fault, never the caller's.
impl From<TableError> for Refusal {
    fn from(error: TableError) -> Self {
        Self::new(ErrorCode::InternalError, error.to_string())
    }
}

impl From<kv::Denied> for Refusal {
    fn from(error: kv::Denied) -> Self {
        Self::new(ErrorCode::InternalError, error.to_string())
    }
}

impl From<CryptoError> for Refusal {
    fn from(error: CryptoError) -> Self {
        Self::new(ErrorCode::InternalError, error.to_string())
    }
}

/// What every handler gives.
pub(crate) type Answer = Result<Reply, Refusal>;
