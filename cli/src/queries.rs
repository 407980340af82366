//! Queries: asked for, cancelled and looked at on the ledger, by whoever may run them; then a launcher
//! whose certificate is believed because of its evidence is told the run id, and nothing else.

use clap::{Args, Subcommand};
use cleanroom_model::api::{PrerequisiteReason, PrerequisitesView, RUN_SECONDS_MAX, SentRunRequest};
use cleanroom_model::policy::PolicyType;
use cleanroom_model::runs::{RunState, RunView};
use cleanroom_model::{ContractId, DocumentId, Identifier, RunId};
use client::discovery::{Expected, Trust, discover, launchers_in_force};
use client::{ClientError, Connection};
use crypto::native::random_bytes;
use model::Digest;
use serde_json::{Value as JsonValue, json};

use crate::answer::{Answer, Failure};
use crate::session::Session;
use crate::sql;

/// Which launcher, and why it is believed.
#[derive(Args)]
pub(crate) struct Launcher {
    /// Address of the launcher, https://host:port
    #[arg(long)]
    launcher: String,
    /// Digest of the launcher's launch document, as voted; may be repeated. Absent: those that the
    /// contract's policy has in force for launchers
    #[arg(long)]
    launcher_host_data: Vec<Digest>,
    /// Trust evidence of a software attester with this root; development only
    #[arg(long)]
    attester_root: Vec<Digest>,
    /// Launch measurement, 96 hexadecimal digits, that counts without UVM endorsements; may be
    /// repeated
    #[arg(long, value_parser = measurement)]
    measurement: Vec<String>,
}

/// 48 bytes in hexadecimal, as claims hold them.
fn measurement(text: &str) -> Result<String, &'static str> {
    if text.len() == 96 && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("must be 96 hexadecimal digits")
    }
}

/// A contract and a query of it.
#[derive(Args)]
pub(crate) struct Query {
    /// Contract id
    contract: ContractId,
    /// The query document
    query: DocumentId,
}

/// What is asked for.
#[derive(Args)]
pub(crate) struct Wanted {
    /// First day to read, YYYY-MM-DD
    #[arg(long, requires = "end_date")]
    start_date: Option<String>,
    /// Last day to read
    #[arg(long, requires = "start_date")]
    end_date: Option<String>,
    /// Value of a parameter, NAME=JSON; may be repeated
    #[arg(long = "parameter", value_parser = parameter)]
    parameters: Vec<(String, JsonValue)>,
    /// Longest run in seconds, counted from its admission, which is when its turn has come
    /// [default: 7200]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=RUN_SECONDS_MAX))]
    max_duration_s: Option<u64>,
    /// The policy's alternative of the pod, if there is more than one of role pod
    #[arg(long)]
    pod_alternative: Option<Identifier>,
    /// Kind of the pod's evidence, if alternatives of several kinds have that id
    #[arg(long, value_parser = policy_type)]
    pod_policy_type: Option<PolicyType>,
}

fn parameter(text: &str) -> Result<(String, JsonValue), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=JSON")?;
    let value = serde_json::from_str(value).map_err(|e| format!("{value} is not JSON: {e}"))?;
    Ok((name.to_owned(), value))
}

fn policy_type(text: &str) -> Result<PolicyType, String> {
    serde_json::from_value(json!(text)).map_err(|e| e.to_string())
}

impl Wanted {
    fn request(self) -> SentRunRequest {
        SentRunRequest {
            start_date: self.start_date,
            end_date: self.end_date,
            parameters: self.parameters.into_iter().collect(),
            max_duration_s: self.max_duration_s,
            pod_alternative: self.pod_alternative,
            pod_policy_type: self.pod_policy_type,
            seen: None,
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum QueryCommand {
    /// Ask for a run on the ledger, then tell a launcher its id
    ///
    /// The launcher's evidence is verified before anything is asked. It gets the run id alone; the
    /// token of the user who acts goes to the ledger and nowhere else.
    Run {
        #[command(flatten)]
        query: Query,
        #[command(flatten)]
        launcher: Launcher,
        /// Name of the run, never used before; drawn at random if absent. The same request again
        /// under the same name starts nothing
        #[arg(long)]
        run_id: Option<RunId>,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// End a run, as its asker, or as owner or approver of something it uses
    Cancel {
        #[command(flatten)]
        query: Query,
        /// The run
        run: RunId,
    },
    /// What the ledger knows of a run that was asked for
    Request {
        #[command(flatten)]
        query: Query,
        /// The run
        run: RunId,
    },
    /// What a run would need, and what is missing, as the ledger sees it
    Prerequisites {
        #[command(flatten)]
        query: Query,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Where a launcher's job stands
    Status {
        /// Contract id
        contract: ContractId,
        /// The job
        job: RunId,
        #[command(flatten)]
        launcher: Launcher,
    },
    /// A launcher's runs of a query so far
    Runs {
        #[command(flatten)]
        query: Query,
        #[command(flatten)]
        launcher: Launcher,
    },
}

pub(crate) async fn run(command: QueryCommand, session: &Session) -> Result<Answer, Failure> {
    let answer: JsonValue = match command {
        QueryCommand::Run {
            query,
            launcher,
            run_id,
            wanted,
        } => {
            let run = match run_id {
                Some(run) => run,
                None => fresh()?,
            };
            ask(&query, &launcher, &run, &wanted.request(), session).await?
        }
        QueryCommand::Cancel { query, run } => {
            let path = format!("{}/cancel", on_ledger(&query, &run));
            session.connection()?.post_empty(&path).await?;
            json!({ "id": run, "state": RunState::Cancelled })
        }
        QueryCommand::Request { query, run } => {
            let path = on_ledger(&query, &run);
            session.connection()?.get(&path).await?.json()?
        }
        QueryCommand::Prerequisites { query, wanted } => {
            let sql = sql::rules_broken(&session.connection()?, &query.contract, &query.query).await?;
            let view = prerequisites(&query, &wanted.request(), session).await?;
            let ready = view.ready && sql.is_empty();
            json!({ "ready": ready, "reason": view.reason, "sql": sql })
        }
        QueryCommand::Status {
            contract,
            job,
            launcher,
        } => {
            let launcher = connect(&launcher, &contract, session).await?;
            launcher.get(&format!("/status/{job}")).await?.json()?
        }
        QueryCommand::Runs { query, launcher } => {
            let launcher = connect(&launcher, &query.contract, session).await?;
            let path = format!("/queries/{}/runs", query.query);
            launcher.get(&path).await?.json()?
        }
    };
    Ok(Answer::tree(answer))
}

/// A name that nobody can have used before.
fn fresh() -> Result<RunId, Failure> {
    format!("run-{:032x}", u128::from_be_bytes(random_bytes()))
        .parse()
        .map_err(|_| Failure::Ours("cannot make up a run id".to_owned()))
}

fn on_ledger(query: &Query, run: &RunId) -> String {
    let Query { contract, query } = query;
    format!("/app/contracts/{contract}/queries/{query}/runs/{run}")
}

/// The order is the promise: who the launcher is, then the ledger, then the launcher gets the id.
async fn ask(
    query: &Query,
    launcher: &Launcher,
    run: &RunId,
    request: &SentRunRequest,
    session: &Session,
) -> Result<JsonValue, Failure> {
    let launcher = connect(launcher, &query.contract, session).await?;
    let ledger = session.connection()?;
    // What was answered up to now is seen, also by who asks for the first time.
    ledger.remember().await?;
    let request = &SentRunRequest {
        seen: ledger.seen()?,
        ..request.clone()
    };
    let asked: RunView = ledger.put(&on_ledger(query, run), request).await?.json()?;
    // From here on there is a run: whatever happens, its id must be known.
    let told = launcher
        .post_empty(&format!("/runs/{run}"))
        .await
        .and_then(|reply| reply.json::<JsonValue>());
    match told {
        Ok(answer) => Ok(json!({ "id": run, "requested": asked.state, "launcher": answer })),
        Err(ClientError::Api {
            status,
            code,
            message,
            ..
        }) => {
            let (message, details) = match why(query, request, &code, session).await {
                Some(reason) => (reason.message, reason.details),
                None => (message, Vec::new()),
            };
            Err(Failure::Client(ClientError::Api {
                status,
                code,
                message: format!("run {run}: {message}"),
                details,
            }))
        }
        Err(ClientError::Unreachable { address, reason }) => Err(Failure::Client(ClientError::Unreachable {
            address,
            reason: format!("run {run} is on the ledger, but the launcher was not told: {reason}"),
        })),
        Err(other) => Err(other.into()),
    }
}

/// Launchers tell nobody why a run was refused; the ledger tells those whose run it is.
async fn why(
    query: &Query,
    request: &SentRunRequest,
    code: &str,
    session: &Session,
) -> Option<PrerequisiteReason> {
    if code == sql::REFUSED {
        let connection = session.connection().ok()?;
        let details = sql::rules_broken(&connection, &query.contract, &query.query).await;
        return Some(PrerequisiteReason {
            code: code.to_owned(),
            message: "the query may not run: its SQL breaks the rules in details".to_owned(),
            details: details.ok()?,
        });
    }
    let view = prerequisites(query, request, session).await.ok()?;
    view.reason.filter(|reason| reason.code == code)
}

/// With nothing chosen: whether the query could be run at all, whatever its parameters get.
async fn prerequisites(
    query: &Query,
    request: &SentRunRequest,
    session: &Session,
) -> Result<PrerequisitesView, Failure> {
    let Query { contract, query } = query;
    let path = format!("/app/contracts/{contract}/queries/{query}/prerequisites");
    let body = if *request == SentRunRequest::default() {
        json!({})
    } else {
        json!({ "run": request })
    };
    Ok(session.connection()?.post(&path, &body).await?.json()?)
}

/// Verifies the launcher's evidence, then talks to that launcher and no other, without credentials.
async fn connect(
    launcher: &Launcher,
    contract: &ContractId,
    session: &Session,
) -> Result<Connection, Failure> {
    let ledger = session.connection()?;
    let host_data = match launcher.launcher_host_data.as_slice() {
        [] => launchers_in_force(&ledger, contract).await?,
        named => named.to_vec(),
    };
    let expected = Expected {
        service: ledger.service()?,
        host_data,
        measurements: launcher.measurement.clone(),
        trust: Trust {
            extra_arks: launcher.attester_root.clone(),
            allow_virtual: false,
        },
    };
    let certificate = discover(&launcher.launcher, &expected).await?;
    Ok(Connection::pinned(&launcher.launcher, &certificate, None)?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Asked {
        #[command(flatten)]
        wanted: Wanted,
    }

    #[test]
    fn what_is_asked_for_is_what_was_said_and_no_longer_than_a_run_may_take() {
        let asked = |seconds: u64| {
            let parameters = ["asked", "--parameter", "n=7", "--max-duration-s"];
            let seconds = seconds.to_string();
            Asked::try_parse_from(parameters.into_iter().chain([seconds.as_str()]))
        };
        let request = asked(RUN_SECONDS_MAX).unwrap().wanted.request();
        assert_eq!(request.max_duration_s, Some(RUN_SECONDS_MAX));
        assert_eq!(request.parameters.get("n"), Some(&json!(7)));
        assert!(asked(RUN_SECONDS_MAX + 1).is_err());
        assert!(Asked::try_parse_from(["asked", "--start-date", "2025-09-01"]).is_err());
        let kind = ["asked", "--pod-policy-type", "snp-cvm"];
        let request = Asked::try_parse_from(kind).unwrap().wanted.request();
        assert_eq!(
            request.pod_policy_type,
            Some(PolicyType::Evidence(model::evidence::Platform::SnpCvm))
        );
    }
}
