//! Answers as the tests compare them: status and code.

use anyhow::{Result, bail, ensure};
use client::{ClientError, Reply};
use serde_json::Value as JsonValue;

/// A refusal: what the service said no with.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Error code.
    pub code: String,
    /// For people.
    pub message: String,
    /// Details, such as the claim that failed.
    pub details: Vec<JsonValue>,
}

/// Expects a refusal with this status and code.
///
/// # Errors
///
/// If the call succeeded, failed otherwise, or was refused for another reason.
pub fn refused<T: std::fmt::Debug>(
    result: Result<T, ClientError>,
    status: u16,
    code: &str,
) -> Result<Refusal> {
    let refusal = any_refusal(result)?;
    ensure!(
        refusal.status == status && refusal.code == code,
        "expected {status} {code}, got {} {}: {}",
        refusal.status,
        refusal.code,
        refusal.message
    );
    Ok(refusal)
}

/// Expects a refusal of any kind, in the error envelope.
///
/// # Errors
///
/// If the call succeeded, or the service did not answer.
pub fn any_refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Result<Refusal> {
    match result {
        Err(ClientError::Api {
            status,
            code,
            message,
            details,
        }) => Ok(Refusal {
            status,
            code,
            message,
            details,
        }),
        Err(other) => bail!("expected a refusal, got: {other}"),
        Ok(answer) => bail!("expected a refusal, got {answer:?}"),
    }
}

/// The JSON of an answer.
///
/// # Errors
///
/// If the call failed or the body is not JSON.
pub fn json(result: Result<Reply, ClientError>) -> Result<JsonValue> {
    Ok(result?.json()?)
}
