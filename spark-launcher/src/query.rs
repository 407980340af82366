//! What was asked, parsed once.

use cleanroom_model::RunId;
use cleanroom_model::analytics::{Days, QueryDocument, ViewName};
use cleanroom_model::api::RunRequest;
use serde::Deserialize;

use crate::refusal::Refusal;

/// Body of `POST /queries/{id}/run`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunBody {
    /// Names the run; the same name never runs twice.
    #[serde(default)]
    pub run_id: Option<String>,
    /// First day to read.
    #[serde(default)]
    pub start_date: Option<String>,
    /// Last day to read.
    #[serde(default)]
    pub end_date: Option<String>,
    /// Values of the query's parameters.
    #[serde(default)]
    pub parameters: std::collections::BTreeMap<String, serde_json::Value>,
    /// Only say whether the run would be admitted.
    #[serde(default)]
    pub dry_run: bool,
    /// Accepted for compatibility; there is one way to run.
    #[serde(default)]
    pub use_optimizer: bool,
}

/// A run as it will be asked of the ledger.
#[derive(Debug)]
pub struct Wanted {
    /// The run.
    pub run: RunId,
    /// What goes to the ledger.
    pub request: RunRequest,
    /// Stop before admission.
    pub dry_run: bool,
}

impl Wanted {
    /// Reads a body; empty means all defaults. `fresh` names the run if the caller did not.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with `InvalidInput`, `InvalidDateFormat` or `InvalidDateRange`.
    pub fn parse(body: &[u8], fresh: impl FnOnce() -> String, max_duration_s: u64) -> Result<Self, Refusal> {
        let body: RunBody = if body.is_empty() {
            RunBody::default()
        } else {
            serde_json::from_slice(body).map_err(|e| {
                Refusal::new(400, "InvalidInput", format!("the body is not a run request: {e}"))
            })?
        };
        let days = Days::parse(body.start_date.as_deref(), body.end_date.as_deref())
            .map_err(|e| Refusal::new(400, e.code().as_str(), e.to_string()))?;
        let run = body.run_id.unwrap_or_else(fresh);
        let run = run
            .parse()
            .map_err(|e| Refusal::new(400, "InvalidInput", format!("runId: {e}")))?;
        let request = RunRequest {
            days,
            parameters: body.parameters,
            max_duration_s: Some(max_duration_s),
            ..RunRequest::default()
        };
        Ok(Self {
            run,
            request,
            dry_run: body.dry_run,
        })
    }
}

/// Puts an accepted query before the SQL gate. Owners' floors are the ledger's and the pod's to
/// check: this reads the query alone.
///
/// # Errors
///
/// [`Refusal`] with `QueryRefused` and every rule that is broken.
pub fn check_sql(text: &str) -> Result<(), Refusal> {
    let document = QueryDocument::parse(text)
        .map_err(|e| Refusal::new(400, "InvalidQueryFormat", format!("the query document: {e}")))?;
    let views: Vec<ViewName> = document.inputs.iter().map(|input| input.view.clone()).collect();
    sql_gate::check(&document.query, &views).map(drop).map_err(|errors| Refusal {
        details: errors
            .iter()
            .map(|error| {
                serde_json::json!({ "code": "SqlRule", "segment": error.segment, "message": error.rule.to_string() })
            })
            .collect(),
        ..Refusal::new(400, "QueryRefused", "the query may not run: its SQL breaks the rules in details")
    })
}

/// [`check_sql`] away from the threads that answer requests: it takes its time on large queries.
///
/// # Errors
///
/// As [`check_sql`]; [`Refusal`] with 502 if the check was cut off.
pub async fn check_sql_apart(text: String) -> Result<(), Refusal> {
    tokio::task::spawn_blocking(move || check_sql(&text))
        .await
        .map_err(|_| Refusal::new(502, "QueryRefused", "the query could not be checked"))?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &serde_json::Value) -> Result<Wanted, Refusal> {
        Wanted::parse(body.to_string().as_bytes(), || "fresh".to_owned(), 60)
    }

    #[test]
    fn a_run_without_a_name_gets_one() {
        assert_eq!(
            Wanted::parse(b"", || "fresh".to_owned(), 60)
                .unwrap()
                .run
                .as_str(),
            "fresh"
        );
        assert_eq!(parse(&json!({ "runId": "mine" })).unwrap().run.as_str(), "mine");
    }

    #[test]
    fn bad_requests_are_refused_with_the_code_that_clients_know() {
        for (body, code) in [
            (json!({ "runId": "../x" }), "InvalidInput"),
            (json!({ "jobId": "x" }), "InvalidInput"),
            (json!({ "startDate": "2025-09-01" }), "InvalidDateRange"),
            (
                json!({ "startDate": "2025-09-02", "endDate": "2025-09-01" }),
                "InvalidDateRange",
            ),
            (
                json!({ "startDate": "1.9.2025", "endDate": "2025-09-01" }),
                "InvalidDateFormat",
            ),
        ] {
            let refusal = parse(&body).unwrap_err();
            assert_eq!((refusal.status, refusal.code.as_str()), (400, code), "{body}");
        }
    }

    #[test]
    fn hostile_sql_is_refused_and_good_sql_is_not() {
        let document = |sql: &str| {
            let query = json!({ "segments": [{ "executionSequence": 1, "data": sql }] });
            json!({ "name": "q", "application": {
                "applicationType": "Spark-SQL",
                "inputDataset": [{ "specification": "d", "view": "t" }],
                "outputDataset": { "specification": "o", "view": "output" },
                "query": model::b64::encode(query.to_string().as_bytes()),
            }})
            .to_string()
        };
        assert_eq!(check_sql(&document("SELECT a FROM t")), Ok(()));
        let refusal = check_sql(&document("SELECT a FROM csv.`/etc/passwd`")).unwrap_err();
        assert_eq!(refusal.code, "QueryRefused");
        assert!(!refusal.details.is_empty());
        assert_eq!(check_sql("{}").unwrap_err().code, "InvalidQueryFormat");
    }
}
