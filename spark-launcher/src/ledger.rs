//! What the launcher asks of the ledger, under its own attested key, and once per request on
//! behalf of the user whose token it was handed.

use cleanroom_model::api::{PrerequisitesView, RunAdmitted, RunRequest, UserDocument};
use cleanroom_model::runs::{AdmitRun, WaitingRuns};
use cleanroom_model::{ContractId, DocumentId, RunId};
use client::attested::Workload;
use client::{ClientError, Connection};
use http::Method;
use serde_json::json;

use crate::refusal::Refusal;
use crate::requested::Listed;

/// Most pages of requested runs that are read at a time.
const PAGES_MAX: usize = 100;
/// `source` of the launcher's audit events.
const SOURCE: &str = "concordat-launcher";

/// The ledger, as the launcher of one contract sees it.
pub struct Ledger {
    connection: Connection,
    workload: Workload,
    contract: ContractId,
}

impl Ledger {
    /// Speaks for the launcher of `contract`.
    #[must_use]
    pub fn new(connection: Connection, workload: Workload, contract: ContractId) -> Self {
        Self {
            connection,
            workload,
            contract,
        }
    }

    /// The attested key pair and its evidence.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// Whether the token is an active user's (E35). The token goes to the ledger and nowhere else.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the ledger's 401 or 403.
    pub async fn require_active_user(&self, address: &str, token: String) -> Result<(), Refusal> {
        let connection =
            Connection::with_bearer(address, self.connection.service_cert_pem(), None, Some(token))?;
        connection.post_empty("/app/users/identities/self/status").await?;
        Ok(())
    }

    /// The text of a query document, if it has been accepted.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for anything but an absent or unaccepted document.
    pub async fn accepted_query(&self, query: &DocumentId) -> Result<Option<String>, Refusal> {
        let path = format!("/app/contracts/{}/userdocuments/accepted/{query}", self.contract);
        match self
            .workload
            .release(&self.connection.again(), &path, &json!({}))
            .await
        {
            Ok(bytes) => {
                let document: UserDocument = serde_json::from_slice(&bytes)
                    .map_err(|e| Refusal::new(502, "LedgerError", format!("document {query}: {e}")))?;
                Ok(Some(document.data.as_str().unwrap_or_default().to_owned()))
            }
            Err(ClientError::Api { status: 404, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for a run on the ledger in the user's name, by the user's token.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the ledger's code, as when the user is not among the query's runners.
    pub async fn ask(
        &self,
        address: &str,
        token: String,
        query: &DocumentId,
        run: &RunId,
        request: &RunRequest,
    ) -> Result<(), Refusal> {
        let connection =
            Connection::with_bearer(address, self.connection.service_cert_pem(), None, Some(token))?;
        connection.put(&self.run_path(query, run), request).await?;
        Ok(())
    }

    fn run_path(&self, query: &DocumentId, run: &RunId) -> String {
        format!("/app/contracts/{}/queries/{query}/runs/{run}", self.contract)
    }

    /// Asks for admission of what was asked for: one ledger transaction that either records the run or the refusal.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the ledger's code and who has not agreed.
    pub async fn admit(&self, query: &DocumentId, run: &RunId) -> Result<RunAdmitted, Refusal> {
        let path = self.run_path(query, run);
        let data =
            serde_json::to_vec(&AdmitRun {}).map_err(|e| Refusal::new(400, "InvalidInput", e.to_string()))?;
        let connection = self.connection.again();
        let admitted = self
            .workload
            .write(&connection, Method::POST, &path, &data)
            .await?
            .json()?;
        connection.remember().await?;
        Ok(admitted)
    }

    /// Every run that waits for a launcher.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the ledger does not answer, or never comes to an end.
    pub async fn requested(&self) -> Result<Listed, Refusal> {
        let mut path = format!("/app/contracts/{}/runs?state=Requested", self.contract);
        let mut pages = Pages::default();
        loop {
            let reply = self
                .workload
                .post(&self.connection.again(), &path, &json!({}))
                .await?;
            match pages.add(reply.json()?)? {
                Some(next) => path = next,
                None => return Ok(pages.listed),
            }
        }
    }

    /// Whether a run would be admitted now, and if not, why. Without a request: whether the query could be
    /// run at all, whatever values its parameters get.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the ledger does not answer.
    pub async fn prerequisites(
        &self,
        query: &DocumentId,
        request: Option<&RunRequest>,
    ) -> Result<PrerequisitesView, Refusal> {
        let path = format!("/app/contracts/{}/queries/{query}/prerequisites", self.contract);
        let body = request.map_or_else(|| json!({}), |request| json!({ "run": request }));
        Ok(self
            .workload
            .post(&self.connection.again(), &path, &body)
            .await?
            .json()?)
    }

    /// Appends the audit event that a run starts; there is no run without it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if it is not committed.
    pub async fn audit_start(&self, query: &DocumentId, run: &RunId) -> Result<(), Refusal> {
        self.audit(&format!("Starting query {query} | job id: {run}"))
            .await
    }

    /// Appends the audit event that the SQL gate refused a query.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if it is not committed.
    pub async fn audit_denied(&self, query: &DocumentId, run: &RunId, code: &str) -> Result<(), Refusal> {
        self.audit(&format!("Denied query {query}: {code} | job id: {run}"))
            .await
    }

    async fn audit(&self, message: &str) -> Result<(), Refusal> {
        let path = format!("/app/contracts/{}/events", self.contract);
        let data = json!({ "source": SOURCE, "message": message }).to_string();
        self.workload
            .write(&self.connection.again(), Method::PUT, &path, data.as_bytes())
            .await?;
        Ok(())
    }
}

/// A list, page by page.
#[derive(Default)]
struct Pages {
    listed: Listed,
    count: usize,
}

impl Pages {
    /// Adds a page; gives where the next one is.
    fn add(&mut self, page: WaitingRuns) -> Result<Option<String>, Refusal> {
        self.count = self.count.saturating_add(1);
        if self.count > PAGES_MAX {
            return Err(Refusal::new(
                502,
                "LedgerError",
                "the list of requested runs has no end",
            ));
        }
        let runs = page.value.into_iter();
        self.listed.extend(runs.map(|run| (run.run_id, run.query_id)));
        Ok(page.next_link)
    }
}

#[cfg(test)]
mod tests {
    use cleanroom_model::runs::WaitingRun;

    use super::*;

    #[test]
    fn a_list_is_read_to_its_end_and_one_without_end_is_refused() {
        let mut pages = Pages::default();
        let mut add = |number: usize| {
            pages.add(WaitingRuns {
                value: vec![WaitingRun {
                    run_id: format!("r{number}").parse().unwrap(),
                    query_id: "q".parse().unwrap(),
                    asked_on: 1,
                }],
                next_link: Some("next".to_owned()),
            })
        };
        for number in 1..=PAGES_MAX {
            assert_eq!(add(number), Ok(Some("next".to_owned())));
        }
        assert_eq!(add(PAGES_MAX + 1).unwrap_err().status, 502);
        assert_eq!(pages.listed.len(), PAGES_MAX);
    }
}
