//! The launcher's HTTP surface (spark-analytics §6): path → handler, and the order of admission.
//!
//! Runs are asked for on the ledger. The launcher gets the run id alone, from anybody: a known run
//! id, the ledger's list of requested runs, room in the queue, then the queue, and admission when the
//! run's turn has come. If nothing is before it, that is now, and the answer is the ledger's verdict.
//!
//! Nothing here asks who calls, and nothing is shown but state, code and times. The reference's form,
//! a user's token with parameters in the body, is answered only behind `--accept-user-tokens`, which
//! is measured: whoever gives a launcher a token must know that it takes them (decision 45).

use std::sync::Arc;

use cleanroom_model::{ContractId, DocumentId, RunId};
use crypto::native::random_bytes;
use http::{HeaderMap, Method};
use serde_json::{Value as JsonValue, json};
use tokio::sync::mpsc::OwnedPermit;

use crate::identity;
use crate::jobs::{Job, Jobs, Submitted, Waiting};
use crate::ledger::Ledger;
use crate::query::{Wanted, check_sql_apart};
use crate::refusal::Refusal;
use crate::requested::Requested;
use crate::worker::unix_now_ms;

/// The interface as OpenAPI describes it; a test holds it against [`ROUTES`].
const DOCUMENT: &str = include_str!("../../docs/openapi/launcher.json");
/// All that is answered: method and path, with names in braces for what callers choose.
pub const ROUTES: [(&str, &str); 9] = [
    ("GET", "/api"),
    ("GET", "/ready"),
    ("GET", "/report"),
    ("GET", "/show"),
    ("POST", "/runs/{runId}"),
    ("GET", "/status/{runId}"),
    ("GET", "/queries/{queryId}/runs"),
    ("POST", "/queries/{queryId}/run"),
    ("GET", "/queries/{queryId}/prerequisites"),
];
/// The header that carries the user's token.
pub const TOKEN_HEADER: &str = "x-ms-cleanroom-authorization";
/// Longest token, in bytes.
const TOKEN_LEN_MAX: usize = 16 * 1024;

/// Everything that handlers need.
pub struct Launcher {
    /// The ledger, under our own key.
    pub ledger: Arc<Ledger>,
    /// Its address; shown, and used for the users' own calls.
    pub address: String,
    /// The contract; shown.
    pub contract: ContractId,
    /// All jobs.
    pub jobs: Arc<Jobs>,
    /// The TLS certificate, PEM.
    pub certificate_pem: String,
    /// Longest run, in seconds.
    pub run_seconds_max: u64,
    /// Runs that wait on the ledger.
    pub requested: Requested,
    /// Whether the reference's form, with a user's token, is answered; measured.
    pub accept_user_tokens: bool,
}

/// An answer: status and JSON.
pub type Answer = Result<JsonValue, Refusal>;

impl Launcher {
    /// Answers one request.
    ///
    /// # Errors
    ///
    /// [`Refusal`], to be sent as it is.
    pub async fn answer(&self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            (&Method::GET, ["api"]) => {
                serde_json::from_str(DOCUMENT).map_err(|e| Refusal::new(500, "InternalError", e.to_string()))
            }
            (&Method::GET, ["ready"]) => Ok(json!({ "status": "up" })),
            (&Method::GET, ["report"]) => {
                Ok(identity::report(self.ledger.workload(), &self.certificate_pem)?)
            }
            (&Method::GET, ["show"]) => Ok(self.show()),
            (&Method::POST, ["runs", run]) => self.run(identifier(run)?, body).await,
            (&Method::POST, ["queries", query, "run"]) => {
                self.require_user(headers).await?;
                self.run_for_user(bearer(headers)?, &identifier(query)?, body)
                    .await
            }
            (&Method::GET, ["queries", query, "prerequisites"]) => {
                self.require_user(headers).await?;
                self.prerequisites(&identifier(query)?).await
            }
            (&Method::GET, ["queries", query, "runs"]) => {
                let query: DocumentId = identifier(query)?;
                self.jobs
                    .history(&query)
                    .ok_or_else(|| not_found(format!("query {query} has no runs here")))
            }
            (&Method::GET, ["status", job]) => {
                let run: RunId = identifier(job)?;
                let job = self
                    .jobs
                    .get(&run)
                    .ok_or_else(|| not_found(format!("there is no job {run}")))?;
                Ok(job.view())
            }
            (_, parts) if ROUTES.iter().any(|(_, path)| fits(path, parts)) => Err(Refusal::new(
                405,
                "UnsupportedHttpVerb",
                format!("{method} is not answered here"),
            )),
            _ => Err(Refusal::new(
                404,
                "ResourceNotFound",
                "there is nothing at this path",
            )),
        }
    }

    /// Configuration that gives nothing away.
    fn show(&self) -> JsonValue {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ledger": self.address,
            "contractId": self.contract,
            "backEnd": "local",
            "runSecondsMax": self.run_seconds_max,
            "acceptsUserTokens": self.accept_user_tokens,
        })
    }

    /// The token is not even looked at where none is taken.
    async fn require_user(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.accept_user_tokens {
            return Err(Refusal::new(
                403,
                "UserTokensNotAccepted",
                "this launcher takes no user tokens: ask for the run on the ledger, then POST /runs/{runId}",
            ));
        }
        let token = bearer(headers)?;
        self.ledger.require_active_user(&self.address, token).await
    }

    /// A run that somebody asked for on the ledger, by its id.
    async fn run(&self, run: RunId, body: &[u8]) -> Answer {
        if !body.is_empty() {
            return Err(Refusal::new(
                400,
                "InvalidInput",
                "a run id is all that is taken; the rest stands on the ledger",
            ));
        }
        if let Some(known) = self.jobs.get(&run) {
            return shown(&known);
        }
        let ask = || {
            let ledger = Arc::clone(&self.ledger);
            async move { ledger.requested().await }
        };
        let without_reasons = |refusal: Refusal| refusal.without_reasons();
        let found = self.requested.find(&run, ask).await.map_err(without_reasons)?;
        let Some(query) = found else {
            return Err(Refusal::new(
                404,
                "RunNotRequested",
                format!("run {run} waits for no launcher on the ledger"),
            ));
        };
        let place = self.jobs.reserve()?;
        let answer = self.launch(run, &query, place).await;
        answer.map_err(without_reasons)
    }

    /// The reference's form: asked for on the ledger in the user's name, by the user's token.
    async fn run_for_user(&self, token: String, query: &DocumentId, body: &[u8]) -> Answer {
        let fresh = || format!("run-{}", hex::encode(random_bytes::<16>()));
        let wanted = Wanted::parse(body, fresh, self.run_seconds_max)?;
        if let Some(known) = self.jobs.get(&wanted.run) {
            return same_query(&known, query);
        }
        if wanted.dry_run {
            return self.dry_run(query, &wanted).await;
        }
        let place = self.jobs.reserve()?;
        let Wanted { run, request, .. } = wanted;
        self.ledger
            .ask(&self.address, token, query, &run, &request)
            .await?;
        self.launch(run, query, place).await
    }

    /// Puts a run into the queue, and waits for the verdict if nothing is before it.
    async fn launch(&self, run: RunId, query: &DocumentId, place: OwnedPermit<Waiting>) -> Answer {
        let job = Job::new(run.clone(), query.clone(), unix_now_ms());
        match self.jobs.submit(place, job)? {
            Submitted::Known(job) => return same_query(&job, query),
            Submitted::Next(verdict) => {
                let stopped = |_| Refusal::new(503, "InternalError", "the launcher is stopping");
                verdict.await.map_err(stopped)??;
            }
            Submitted::Behind => {}
        }
        Ok(json!({ "status": "success", "id": run }))
    }

    async fn dry_run(&self, query: &DocumentId, wanted: &Wanted) -> Answer {
        if let Some(text) = self.ledger.accepted_query(query).await? {
            check_sql_apart(text).await?;
        }
        let view = self.ledger.prerequisites(query, Some(&wanted.request)).await?;
        Ok(
            json!({ "status": "success", "id": "none", "dryRun": true, "jobId": wanted.run, "prerequisites": view }),
        )
    }

    async fn prerequisites(&self, query: &DocumentId) -> Answer {
        let view = self.ledger.prerequisites(query, None).await?;
        let sql = match self.ledger.accepted_query(query).await? {
            None => json!({ "name": "sql", "outcome": "pending" }),
            Some(text) => match check_sql_apart(text).await {
                Ok(()) => json!({ "name": "sql", "outcome": "pass" }),
                Err(refusal) => json!({ "name": "sql", "outcome": "fail", "details": refusal.details }),
            },
        };
        let agreements = match &view.reason {
            None => json!({ "name": "agreements", "outcome": "pass" }),
            Some(reason) => json!({ "name": "agreements", "outcome": "fail", "reason": reason }),
        };
        let ready = view.ready && sql.get("outcome") == Some(&json!("pass"));
        Ok(json!({ "queryId": query, "ready": ready, "checks": [agreements, sql] }))
    }
}

/// Whether a path is one of this form.
fn fits(form: &str, parts: &[&str]) -> bool {
    let form: Vec<&str> = form.trim_matches('/').split('/').collect();
    let fits_one = |(form, part): (&&str, &&str)| form.starts_with('{') || form == part;
    form.len() == parts.len() && form.iter().zip(parts).all(fits_one)
}

/// A known run as it stands; one that was refused is refused again.
fn shown(job: &Job) -> Answer {
    match &job.refused {
        Some(refused) => Err(Refusal::new(refused.status, &refused.code, "").without_reasons()),
        None => Ok(job.view()),
    }
}

/// A known run is answered to whoever asks for the query it belongs to.
fn same_query(job: &Job, query: &DocumentId) -> Answer {
    if job.query_id != *query {
        let message = format!(
            "run {} belongs to query {}; choose another id",
            job.run_id, job.query_id
        );
        return Err(Refusal::new(409, "RunIdInUse", message));
    }
    shown(job)
}

fn not_found(message: String) -> Refusal {
    Refusal::new(404, "ResourceNotFound", message)
}

fn identifier<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Refusal> {
    text.parse()
        .map_err(|e| Refusal::new(400, "InvalidResourceName", format!("{text:.128}: {e}")))
}

/// The user's token.
fn bearer(headers: &HeaderMap) -> Result<String, Refusal> {
    let missing = || {
        Refusal::new(
            401,
            "InvalidAuthenticationInfo",
            format!("{TOKEN_HEADER}: Bearer <user token> is mandatory"),
        )
    };
    let value = headers
        .get(TOKEN_HEADER)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(missing)?;
    let token = value.strip_prefix("Bearer ").map(str::trim).ok_or_else(missing)?;
    if token.is_empty() || token.len() > TOKEN_LEN_MAX {
        return Err(missing());
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_bearer_token_is_nobodys() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers).unwrap_err().status, 401);
        headers.insert(TOKEN_HEADER, "Basic x".parse().unwrap());
        assert_eq!(bearer(&headers).unwrap_err().status, 401);
        headers.insert(TOKEN_HEADER, "Bearer a.b.c".parse().unwrap());
        assert_eq!(bearer(&headers).unwrap(), "a.b.c");
    }

    #[test]
    fn the_interface_document_names_every_route_and_no_other() {
        let document: JsonValue = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(
            document.pointer("/info/version"),
            Some(&json!(env!("CARGO_PKG_VERSION")))
        );
        let paths = document.get("paths").and_then(JsonValue::as_object).unwrap();
        let mut described: Vec<(String, &str)> = paths
            .iter()
            .flat_map(|(path, operations)| {
                let methods = operations.as_object().unwrap().keys();
                methods.map(|method| (method.to_ascii_uppercase(), path.as_str()))
            })
            .collect();
        let mut answered = ROUTES.map(|(method, path)| (method.to_owned(), path)).to_vec();
        described.sort();
        answered.sort();
        assert_eq!(described, answered);
    }

    #[test]
    fn a_run_id_answers_for_its_own_query_only() {
        let job = Job::new("r".parse().unwrap(), "q".parse().unwrap(), 1);
        assert!(same_query(&job, &"q".parse().unwrap()).is_ok());
        let refusal = same_query(&job, &"other".parse().unwrap()).unwrap_err();
        assert_eq!((refusal.status, refusal.code.as_str()), (409, "RunIdInUse"));
    }

    #[test]
    fn a_token_of_the_most_bytes_is_passed_on_and_a_longer_one_is_nobodys() {
        let of_len = |len: usize| {
            let mut headers = HeaderMap::new();
            let value = format!("Bearer {}", "x".repeat(len));
            headers.insert(TOKEN_HEADER, value.parse().unwrap());
            bearer(&headers).map(|token| token.len())
        };
        assert_eq!(of_len(TOKEN_LEN_MAX).unwrap(), TOKEN_LEN_MAX);
        assert_eq!(of_len(TOKEN_LEN_MAX + 1).unwrap_err().status, 401);
    }
}
