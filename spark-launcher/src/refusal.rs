//! What the launcher answers when it does not do what it was asked.
//!
//! The ledger's refusals pass through with code, message, details and status: whoever reads them
//! should see who has not agreed, in the ledger's own words.

use client::ClientError;
use serde_json::{Value as JsonValue, json};

/// An answer that is a refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Machine-readable code.
    pub code: String,
    /// For people.
    pub message: String,
    /// For example who has not agreed.
    pub details: Vec<JsonValue>,
}

impl Refusal {
    /// A refusal of our own.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// The same for people who show no credentials: what the ledger said of owners and queries is for
    /// those whom the ledger tells it.
    #[must_use]
    pub fn without_reasons(&self) -> Self {
        let message = if self.status < 500 {
            "the run was refused: its people find on the ledger why"
        } else {
            "there is no answer about the run; try again later"
        };
        Self::new(self.status, &self.code, message)
    }

    /// The error envelope.
    #[must_use]
    pub fn body(&self) -> JsonValue {
        json!({ "error": { "code": self.code, "message": self.message, "details": self.details } })
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        match error {
            // A fault of the ledger is not the caller's.
            ClientError::Api {
                status,
                code,
                message,
                details,
            } => {
                let status = if (400..500).contains(&status) { status } else { 502 };
                Self {
                    status,
                    code,
                    message,
                    details,
                }
            }
            ClientError::Unreachable { .. } => Self::new(503, "LedgerUnreachable", error.to_string()),
            ClientError::Forked(_) => Self::new(409, "ServiceForked", error.to_string()),
            other => Self::new(502, "LedgerError", other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledgers_refusals_pass_through_whole() {
        for (status, expected) in [(400, 400), (403, 403), (409, 409), (500, 502), (503, 502)] {
            let details = vec![json!({ "approverId": "bob" })];
            let error = ClientError::Api {
                status,
                code: "QueryMissingApprovalsFromDatasetOwners".to_owned(),
                message: "query q has not been accepted by [bob]".to_owned(),
                details: details.clone(),
            };
            let refusal = Refusal::from(error);
            assert_eq!((refusal.status, &refusal.details), (expected, &details));
            let shown = refusal.without_reasons();
            assert_eq!((shown.status, &shown.code), (expected, &refusal.code));
            assert!(!shown.body().to_string().contains("bob"));
            assert_eq!(
                refusal.body().pointer("/error/code"),
                Some(&json!("QueryMissingApprovalsFromDatasetOwners"))
            );
        }
    }
}
