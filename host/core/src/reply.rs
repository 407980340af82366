//! What goes back to a caller, without HTTP: status, media type, body and the few headers that
//! the service itself decides.

use kv::TxId;
use kv::codec::canonical_json;
use model::{ErrorBody, FrameworkError};
use serde::Serialize;
use serde_json::Value as JsonValue;

use crate::guests::{AppResponse, GuestFailure};

/// Media type of JSON bodies.
pub const JSON: &str = "application/json";

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body; `None` if there is no body.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// Further headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
}

impl Reply {
    /// A JSON answer.
    #[must_use]
    pub fn json<T: Serialize>(status: u16, value: &T) -> Self {
        Self {
            status,
            content_type: Some(JSON.to_owned()),
            body: canonical_json(value),
            headers: Vec::new(),
        }
    }

    /// An answer without a body.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            body: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// One of the framework's errors, with a text that says what was wrong.
    #[must_use]
    pub fn error(error: FrameworkError, message: impl Into<String>) -> Self {
        Self::json(error.status(), &ErrorBody::new(error.code(), message))
    }

    /// One of the framework's errors with details.
    #[must_use]
    pub fn error_with(error: FrameworkError, message: impl Into<String>, details: Vec<JsonValue>) -> Self {
        let mut body = ErrorBody::new(error.code(), message);
        body.error.details = details;
        Self::json(error.status(), &body)
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// What a caller learns of a guest that gave no answer; the cause goes to the log.
    #[must_use]
    pub fn guest_failure(failure: &GuestFailure) -> Self {
        match failure {
            GuestFailure::Limit(what) | GuestFailure::Busy(what) => Self::error(
                FrameworkError::ExecutionLimit,
                format!("the request exceeded an execution limit: {what}"),
            )
            .with_header("retry-after", "1"),
            GuestFailure::Trap(_) | GuestFailure::Fault(_) | GuestFailure::Unloadable(_) => Self::error(
                FrameworkError::InternalError,
                "the request failed inside the service; nothing was written",
            ),
        }
    }
}

impl From<AppResponse> for Reply {
    fn from(response: AppResponse) -> Self {
        let reply = Self {
            status: response.status,
            content_type: response.content_type,
            body: response.body,
            headers: Vec::new(),
        };
        let reply = match response.retry_after {
            Some(seconds) => reply.with_header("retry-after", seconds.to_string()),
            None => reply,
        };
        match response.cache_seconds {
            Some(seconds) => reply.with_header("cache-control", format!("public, max-age={seconds}")),
            None => reply,
        }
    }
}

/// The end of one call.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer.
    pub reply: Reply,
    /// The transaction that the call made or, if it wrote nothing, the last one it saw.
    pub tx: TxId,
    /// Whether the call wrote an entry.
    pub wrote: bool,
    /// What failed inside the service, for the log; callers do not see it.
    pub fault: Option<String>,
}
