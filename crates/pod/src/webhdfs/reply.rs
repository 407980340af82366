//! Answers: WebHDFS JSON and the exceptions its client understands.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::output::OutputError;

/// An answer's body.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    BadRequest(&'static str),
    Forbidden(&'static str),
    NotFound,
    Exists,
    Unsupported,
    /// Our side failed; details are in the log.
    Failed,
}

impl Refusal {
    pub(super) fn exception(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "IllegalArgumentException",
            Self::Forbidden(_) => "AccessControlException",
            Self::NotFound => "FileNotFoundException",
            Self::Exists => "FileAlreadyExistsException",
            Self::Unsupported => "UnsupportedOperationException",
            Self::Failed => "IOException",
        }
    }

    /// The exception as Hadoop's client expects it: it rebuilds the Java object from this.
    pub(super) fn into_response(self) -> Response<Body> {
        let (status, package, message) = match self {
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, "java.lang", message),
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, "org.apache.hadoop.security", message),
            Self::NotFound => (StatusCode::NOT_FOUND, "java.io", "no such file or directory"),
            Self::Exists => (StatusCode::FORBIDDEN, "org.apache.hadoop.fs", "the file exists"),
            Self::Unsupported => (
                StatusCode::BAD_REQUEST,
                "java.lang",
                "this operation is not offered",
            ),
            Self::Failed => (
                StatusCode::FORBIDDEN,
                "java.io",
                "the data could not be read or written",
            ),
        };
        let name = self.exception();
        let body = json!({"RemoteException": {
            "exception": name, "javaClassName": format!("{package}.{name}"), "message": message}});
        json_with(status, &body)
    }
}

impl From<OutputError> for Refusal {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Path("it exists") => Self::Exists,
            OutputError::Path(why) => Self::Forbidden(why),
            OutputError::Closed => Self::Forbidden("output is closed"),
            OutputError::TooLarge => Self::Forbidden("output is too large"),
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "output failed");
                Self::Failed
            }
        }
    }
}

/// 200 with JSON.
pub(super) fn json_ok(value: &Value) -> Response<Body> {
    json_with(StatusCode::OK, value)
}

/// A status without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// A body of these bytes.
pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A `FileStatus`; `len` is `None` for a directory.
pub(super) fn file_status(name: &str, len: Option<u64>) -> Value {
    json!({
        "accessTime": 0, "blockSize": if len.is_some() { 128 * 1024 * 1024 } else { 0 }, "childrenNum": 0,
        "fileId": 0, "group": "concordat", "length": len.unwrap_or(0), "modificationTime": 0,
        "owner": "concordat", "pathSuffix": name, "permission": if len.is_some() { "600" } else { "700" },
        "replication": i32::from(len.is_some()), "storagePolicy": 0,
        "type": if len.is_some() { "FILE" } else { "DIRECTORY" },
    })
}

fn json_with(status: StatusCode, value: &Value) -> Response<Body> {
    // No content type on purpose: see the module's head.
    let mut response = Response::new(full(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response
}
