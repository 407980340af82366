//! Answers, and the one place where refusals become statuses and bodies.

use cleanroom_model::error_codes::ErrorCode;
use kv::TableError;
use model::error_body::{ErrorBody, ErrorDetail, FrameworkError};
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
    pub(crate) fn json<T: Serialize>(value: &T) -> Answer {
        let body = serde_json::to_vec(value)
            .map_err(|e| Fault::new(format!("the answer does not serialise: {e}")))?;
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

/// The request is not carried out, and that is the caller's or the policy's doing: it is told why.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) details: Vec<JsonValue>,
    /// A refusal on policy grounds: its event and the nonce's use are committed (decision 23).
    keep_writes: bool,
}

impl Refused {
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

    /// The same refusal, whose writes outlive its error status.
    pub(crate) fn keeping_writes(mut self) -> Self {
        self.keep_writes = true;
        self
    }

    /// The answer that says so.
    fn into_reply(self) -> Reply {
        let body = ErrorBody {
            error: ErrorDetail {
                code: self.code.as_str().to_owned(),
                message: self.message,
                details: self.details,
            },
        };
        error_reply(self.code.status(), &body, self.keep_writes)
    }
}

/// The request failed, and that is our doing: nothing is written, and callers learn no more than
/// that. The text is for the operator.
#[derive(Clone, Debug)]
pub(crate) struct Fault(String);

impl Fault {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The answer that the host keeps to itself: it writes the text into its log and tells callers
    /// that the request failed.
    fn into_reply(self) -> Reply {
        let error = FrameworkError::InternalError;
        error_reply(error.status(), &ErrorBody::new(error.code(), self.0), false)
    }
}

fn error_reply(status: u16, body: &ErrorBody, commit_on_error: bool) -> Reply {
    Reply {
        status,
        content_type: Some(JSON.to_owned()),
        body: serde_json::to_vec(body).unwrap_or_default(),
        commit_on_error,
        cache_seconds: None,
    }
}

/// A table that cannot be read or written is our fault, never the caller's.
impl From<TableError> for Fault {
    fn from(error: TableError) -> Self {
        Self(error.to_string())
    }
}

impl From<kv::Denied> for Fault {
    fn from(error: kv::Denied) -> Self {
        Self(error.to_string())
    }
}

impl From<CryptoError> for Fault {
    fn from(error: CryptoError) -> Self {
        Self(error.to_string())
    }
}

/// Why a request is not carried out: whose doing it is decides what is told, and whether there is
/// anything to record.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Not ours.
    Refused(Refused),
    /// Ours.
    Fault(Fault),
}

impl Failure {
    /// The answer.
    pub(crate) fn into_reply(self) -> Reply {
        match self {
            Self::Refused(refused) => refused.into_reply(),
            Self::Fault(fault) => fault.into_reply(),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl<E: Into<Fault>> From<E> for Failure {
    fn from(fault: E) -> Self {
        Self::Fault(fault.into())
    }
}

/// What was found, or the refusal that somebody records; a fault ends the request as it is.
pub(crate) fn judged<T>(result: Result<T, Failure>) -> Result<Result<T, Refused>, Fault> {
    match result {
        Ok(found) => Ok(Ok(found)),
        Err(Failure::Refused(refused)) => Ok(Err(refused)),
        Err(Failure::Fault(fault)) => Err(fault),
    }
}

/// What every handler gives.
pub(crate) type Answer = Result<Reply, Failure>;
