//! What a pod asks of the ledger, always for its one run and always under its attested key.
//!
//! Every release re-checks consent of contract, query and datasets in the transaction that answers;
//! a look does the same and releases nothing. Source: decisions 22 and 76, attested calls of
//! `attestation-secrets-oidc.md` §2, §3.

use cleanroom_model::analytics::FailureCode;
use cleanroom_model::api::RunForPod;
use cleanroom_model::{ContractId, RunId};
use client::attested::Workload;
use client::{ClientError, Connection};
use http::Method;
use model::TxId;
use serde_json::{Value as JsonValue, json};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use crate::plan::RunError;

/// `source` of the pod's audit events.
const SOURCE: &str = "concordat-pod";

/// Audit events of a run (spark-analytics §17).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Audit {
    /// A dataset was read.
    DatasetLoadCompleted,
    /// A dataset could not be read.
    DatasetLoadFailed,
    /// The query has a result.
    QueryCompleted,
    /// The run has none.
    QueryFailed,
    /// The result is encrypted in the sink, about to be made visible.
    DatasetWriteCompleted,
    /// The result could not be made visible.
    DatasetWriteFailed,
}

impl Audit {
    const fn name_and_number(self) -> (&'static str, u16) {
        match self {
            Self::DatasetLoadCompleted => ("DATASET_LOAD_COMPLETED", 3001),
            Self::DatasetLoadFailed => ("DATASET_LOAD_FAILED", 3002),
            Self::QueryCompleted => ("QUERY_COMPLETED", 3003),
            Self::QueryFailed => ("QUERY_FAILED", 3004),
            Self::DatasetWriteCompleted => ("DATASET_WRITE_COMPLETED", 3005),
            Self::DatasetWriteFailed => ("DATASET_WRITE_FAILED", 3006),
        }
    }

    /// The payload as auditors know it. `text` holds no data values.
    fn payload(self, text: &str, run: &RunId) -> JsonValue {
        let (name, number) = self.name_and_number();
        json!({
            "source": SOURCE,
            "message": format!("Event_{name}_{number} | {text} | job id: {run}"),
        })
    }
}

/// The ledger, as one run's pod sees it.
pub struct Ledger {
    connection: Connection,
    workload: Workload,
    contract: ContractId,
    run: RunId,
}

impl Ledger {
    /// Speaks for `run` of `contract`.
    #[must_use]
    pub fn new(connection: Connection, workload: Workload, contract: ContractId, run: RunId) -> Self {
        Self {
            connection,
            workload,
            contract,
            run,
        }
    }

    /// The contract.
    #[must_use]
    pub fn contract(&self) -> &ContractId {
        &self.contract
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The attested key pair.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// Spark may work for minutes between two calls, and a server closes idle connections.
    async fn release(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        self.workload
            .release(&self.connection.again(), path, &json!({ "runId": self.run }))
            .await
    }

    /// The run record with its documents. Fails as soon as anybody withdraws consent.
    ///
    /// # Errors
    ///
    /// [`RunError`] with the ledger's reason.
    pub async fn read_run(&self) -> Result<RunForPod, RunError> {
        let path = format!("/app/contracts/{}/runs/{}", self.contract, self.run);
        let bytes = self
            .release(&path)
            .await
            .map_err(|e| refused(&e, FailureCode::SparkJobFailed))?;
        serde_json::from_slice(&bytes).map_err(|e| {
            RunError::new(
                FailureCode::SparkJobFailed,
                format!("the run record is unreadable: {e}"),
            )
        })
    }

    /// Has the node show what the run's asker had seen: no data leaves owners' hands by the word of an
    /// older copy (decision 55).
    ///
    /// # Errors
    ///
    /// [`RunError`] with [`FailureCode::ServiceForked`] if it does not.
    pub async fn require_seen(&self, seen: Option<TxId>) -> Result<(), RunError> {
        match seen {
            Some(seen) => {
                let answer = self.connection.again().require(seen).await;
                answer.map_err(|e| refused(&e, FailureCode::SparkJobFailed))
            }
            None => Ok(()),
        }
    }

    /// Whether the run may go on. Fails as soon as anybody withdraws consent or ends the run.
    ///
    /// # Errors
    ///
    /// [`RunError`] with the ledger's reason.
    pub async fn look(&self) -> Result<(), RunError> {
        self.check()
            .await
            .map_err(|e| refused(&e, FailureCode::SparkJobFailed))
    }

    /// The ledger's word that the run may not go on, if it says so now. Without an answer nothing is
    /// said: the next open asks again.
    pub async fn refusal(&self) -> Option<RunError> {
        match self.check().await {
            Err(error @ ClientError::Api { status: 400..500, .. }) => {
                Some(refused(&error, FailureCode::SparkJobFailed))
            }
            _ => None,
        }
    }

    async fn check(&self) -> Result<(), ClientError> {
        let path = format!("/app/contracts/{}/runs/{}/check", self.contract, self.run);
        self.workload
            .post(&self.connection.again(), &path, &json!({}))
            .await
            .map(drop)
    }

    /// A secret of the run.
    ///
    /// # Errors
    ///
    /// [`RunError`] with the ledger's reason.
    pub async fn secret(&self, id: &str) -> Result<Zeroizing<Vec<u8>>, RunError> {
        let path = format!("/app/contracts/{}/secrets/{id}", self.contract);
        self.release(&path)
            .await
            .map_err(|e| refused(&e, FailureCode::KeyRefused))
    }

    /// An identity token for subject and audience, both listed in the run record.
    ///
    /// # Errors
    ///
    /// [`RunError`] with the ledger's reason.
    pub async fn token(&self, subject: &str, audience: &str) -> Result<Zeroizing<String>, RunError> {
        let (sub, aud) = (query_value(subject), query_value(audience));
        let path = format!("/app/contracts/{}/oauth/token?sub={sub}&aud={aud}", self.contract);
        let bytes = self
            .release(&path)
            .await
            .map_err(|e| refused(&e, FailureCode::KeyRefused))?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| RunError::new(FailureCode::KeyRefused, "the token is not text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Tells how many rows of a dataset the run read: a private row, for its owner and approvers.
    ///
    /// # Errors
    ///
    /// [`RunError`] with the ledger's reason.
    pub async fn tell_rows(&self, document: &str, rows: u64) -> Result<(), RunError> {
        let (contract, run) = (&self.contract, &self.run);
        let path = format!("/app/contracts/{contract}/userdocuments/{document}/runs/{run}");
        let data = json!({ "rows": rows }).to_string();
        self.workload
            .write(&self.connection.again(), Method::PUT, &path, data.as_bytes())
            .await
            .map(drop)
            .map_err(|e| refused(&e, FailureCode::SparkJobFailed))
    }

    /// Appends an audit event; returns once it is committed.
    ///
    /// # Errors
    ///
    /// [`RunError`] with the ledger's reason.
    pub async fn audit(&self, event: Audit, text: &str) -> Result<(), RunError> {
        let path = format!("/app/contracts/{}/events?runId={}", self.contract, self.run);
        let data = event.payload(text, &self.run).to_string();
        self.workload
            .write(&self.connection.again(), Method::PUT, &path, data.as_bytes())
            .await
            .map(drop)
            .map_err(|e| refused(&e, FailureCode::SparkJobFailed))
    }
}

/// The ledger's refusal as a failure of the run: withdrawn consent is told apart.
fn refused(error: &ClientError, otherwise: FailureCode) -> RunError {
    let code = match error.code() {
        Some("ContractDisabled" | "UserDocumentRuntimeOptionDisabled") => FailureCode::ConsentRevoked,
        Some("RunExpired") => FailureCode::Timeout,
        Some("RunCancelled") => FailureCode::Cancelled,
        _ if error.is_fork() => FailureCode::ServiceForked,
        Some(_) => otherwise,
        None => FailureCode::SparkJobFailed,
    };
    RunError::new(code, error.to_string())
}

/// A value in a query string. A blank is `%20`: `+` means a blank in forms only, and the ledger
/// reads it as a plus sign.
fn query_value(text: &str) -> String {
    byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_messages_have_the_form_that_auditors_search_for() {
        let payload = Audit::DatasetLoadCompleted.payload("flights loaded", &"run-1".parse().unwrap());
        assert_eq!(
            payload,
            json!({
                "source": "concordat-pod",
                "message": "Event_DATASET_LOAD_COMPLETED_3001 | flights loaded | job id: run-1",
            })
        );
    }

    #[test]
    fn query_values_read_the_same_for_forms_and_for_the_ledger() {
        assert_eq!(query_value("api://a b+c&d"), "api%3A%2F%2Fa%20b%2Bc%26d");
    }

    #[test]
    fn withdrawn_consent_is_told_apart_from_other_refusals() {
        let forked = ClientError::Forked(String::new());
        assert_eq!(
            refused(&forked, FailureCode::KeyRefused).code,
            FailureCode::ServiceForked
        );
        let api = |code: &str| ClientError::Api {
            status: 400,
            code: code.to_owned(),
            message: String::new(),
            details: Vec::new(),
        };
        for (code, expected) in [
            ("UserDocumentRuntimeOptionDisabled", FailureCode::ConsentRevoked),
            ("ContractDisabled", FailureCode::ConsentRevoked),
            ("RunExpired", FailureCode::Timeout),
            ("RunCancelled", FailureCode::Cancelled),
            ("NotInRun", FailureCode::KeyRefused),
        ] {
            assert_eq!(
                refused(&api(code), FailureCode::KeyRefused).code,
                expected,
                "{code}"
            );
        }
    }
}
