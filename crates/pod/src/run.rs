//! One run from record to result.
//!
//! The order is the promise: the ledger's record first, the SQL gate before any key, the store's
//! identity before any data, a look at consent before the first open of each input, before any other
//! open unless one was taken just before, now and then while Spark works, and once more before the
//! result, audit events committed before anything becomes visible. Whatever fails, no output stays.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cleanroom_model::analytics::{Date, FailureCode, JobEvent};
use cleanroom_model::policy::TokenGrant;
use tokio::sync::{Notify, mpsc};
use zeroize::Zeroizing;

use crate::inputs::Input;
use crate::job::JobSpec;
use crate::ledger::{Audit, Ledger};
use crate::looks::{self, Looks};
use crate::output::{ManifestSignature, OutputError, Provenance, Sink};
use crate::plan::{Part, Plan, RunError};
use crate::sealed_file::DataKey;
use crate::spark::{JobResult, Spark, SparkError};
use crate::webhdfs::{Access, Door, Gate};

/// The event that ends a good run; Spark's own is not passed on, since the run goes on.
const COMPLETED: &str = "QUERY_EXECUTION_COMPLETED";

/// What an operator chooses; nothing here decides what is read or released.
pub struct RunSettings {
    /// How Spark is run. Its time is cut to what the record leaves.
    pub spark: Spark,
    /// Ends the run when notified.
    pub stop: Arc<Notify>,
}

/// Carries the run out. `report` sees every step; the last is the one that says how it ended.
///
/// # Errors
///
/// [`RunError`] with the class of failure; the ledger has it too, if it could be reached.
pub async fn run(
    settings: RunSettings,
    ledger: Arc<Ledger>,
    mut report: impl FnMut(&JobEvent),
) -> Result<JobResult, RunError> {
    let outcome = attempt(settings, &ledger, &mut report).await;
    match &outcome {
        // How much was read is its owners' business, who find it on the ledger.
        Ok(result) => report(&JobEvent {
            rows: Some(result.rows_written),
            ..step(COMPLETED)
        }),
        Err(error) => {
            // The run has failed anyway; a ledger that cannot be told changes nothing.
            if let Err(untold) = ledger
                .audit(Audit::QueryFailed, &format!("query failed: {}", name(error.code)))
                .await
            {
                tracing::warn!(%untold, "the ledger has not been told of the failure");
            }
            report(&JobEvent::failed(error.code, &error.message));
        }
    }
    outcome
}

async fn attempt(
    mut settings: RunSettings,
    ledger: &Arc<Ledger>,
    report: &mut impl FnMut(&JobEvent),
) -> Result<JobResult, RunError> {
    let plan = Plan::new(ledger.contract(), ledger.run(), ledger.read_run().await?)?;
    ledger.require_seen(plan.record.seen).await?;
    report(&step("RUN_RECORD_VERIFIED"));
    settings.spark.timeout = settings.spark.timeout.min(time_left(plan.record.not_after)?);
    let mut keys = Vec::with_capacity(plan.inputs.len());
    for part in &plan.inputs {
        keys.push(fetch_key(ledger, &plan, part).await?);
    }
    let sink_key = fetch_key(ledger, &plan, &plan.sink).await?;
    report(&step("KEYS_RELEASED"));
    for part in plan.inputs.iter().chain([&plan.sink]) {
        show_token(ledger, part, &plan.record.tokens).await?;
    }
    report(&step("STORE_IDENTITIES_CONFIRMED"));
    let inputs = open_inputs(&plan, &keys).await?;
    // Only the openers hold keys from here on.
    drop(keys);
    let job = ledger.run().as_str();
    let parent = format!(
        "{}/{}",
        ledger.contract(),
        Date::of_unix_ms(plan.record.admitted_on)
    );
    let sink = Sink::open(&plan.sink.document, sink_key, &parent, job)
        .await
        .map_err(|e| output_failed(&e))?;
    let sink = Arc::new(sink);
    let outcome = compute(&settings, ledger, &plan, inputs, Arc::clone(&sink), report).await;
    let published = match outcome {
        Ok(result) => publish(ledger, &plan, &sink, result).await,
        Err(error) => Err(error),
    };
    if published.is_err() {
        sink.discard().await.map_err(|e| output_failed(&e))?;
    }
    published
}

fn step(event: &str) -> JobEvent {
    JobEvent {
        event: event.to_owned(),
        view: None,
        segment: None,
        rows_read: None,
        rows: None,
        code: None,
        message: None,
    }
}

/// A class of failure as it is written on the wire.
fn name(code: FailureCode) -> String {
    serde_json::to_value(code)
        .ok()
        .and_then(|value| value.as_str().map(ToOwned::to_owned))
        .unwrap_or_default()
}

#[allow(
    clippy::disallowed_methods,
    reason = "the record's end is compared with the time of day"
)]
fn time_left(not_after_ms: u64) -> Result<Duration, RunError> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Duration::from_millis(not_after_ms)
        .checked_sub(now)
        .filter(|left| !left.is_zero())
        .ok_or_else(|| {
            RunError::new(
                FailureCode::Timeout,
                "the time that the run was admitted for is over",
            )
        })
}

async fn fetch_key(ledger: &Ledger, plan: &Plan, part: &Part) -> Result<Option<DataKey>, RunError> {
    let Some(id) = part.key_id() else { return Ok(None) };
    let failed = |why: &str| RunError::new(FailureCode::KeyRefused, format!("key of {}: {why}", part.view));
    if !plan.record.secret_ids.iter().any(|listed| listed == id) {
        return Err(failed("the run record does not list it"));
    }
    let secret = ledger.secret(id).await?;
    let text = std::str::from_utf8(&secret).map_err(|_| failed("the secret is not text"))?;
    let bytes = model::b64::decode(text.trim()).map_err(|_| failed("the secret is not base64"))?;
    let bytes = Zeroizing::new(bytes);
    DataKey::from_bytes(&bytes)
        .map(Some)
        .map_err(|e| failed(&e.to_string()))
}

/// Gets the token that a store's provider asks for, and shows it there.
async fn show_token(ledger: &Ledger, part: &Part, granted: &[TokenGrant]) -> Result<(), RunError> {
    let Some(identity) = &part.identity else {
        return Ok(());
    };
    let token = ledger
        .token(
            &part.token_subject(ledger.contract(), granted),
            &identity.audience,
        )
        .await?;
    identity.exchange(&token).await
}

async fn open_inputs(plan: &Plan, keys: &[Option<DataKey>]) -> Result<Vec<Input>, RunError> {
    let mut inputs = Vec::with_capacity(plan.inputs.len());
    for (part, key) in plan.inputs.iter().zip(keys) {
        let input = Input::open(
            part.view.clone(),
            &part.document,
            key.as_ref(),
            plan.record.days.0.as_ref(),
        )
        .await
        .map_err(|e| RunError::new(FailureCode::DatasetUnreachable, format!("{}: {e}", part.view)))?;
        inputs.push(input);
    }
    Ok(inputs)
}

/// The refusal that closed the door, so that the run can say why Spark got nothing.
type Closed = Arc<Mutex<Option<RunError>>>;

/// Asks the ledger again before data passes the door.
fn consent_gate(ledger: Arc<Ledger>, looks: Looks, closed: Closed) -> Gate {
    let looks = Arc::new(tokio::sync::Mutex::new(looks));
    Box::new(move |access: Access| {
        let (ledger, closed, looks) = (Arc::clone(&ledger), Arc::clone(&closed), Arc::clone(&looks));
        let answer: Pin<Box<dyn Future<Output = Result<(), String>> + Send>> = Box::pin(async move {
            let mut looks = looks.lock().await;
            let asked = Instant::now();
            if !looks.is_due(&access, asked) {
                return Ok(());
            }
            match ledger.look().await {
                Ok(()) => {
                    looks.confirm(access, asked);
                    Ok(())
                }
                Err(error) => {
                    let reason = error.message.clone();
                    closed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                    Err(reason)
                }
            }
        });
        answer
    })
}

/// Runs Spark behind the door, and writes what it loaded to the ledger while it works.
async fn compute(
    settings: &RunSettings,
    ledger: &Arc<Ledger>,
    plan: &Plan,
    inputs: Vec<Input>,
    sink: Arc<Sink>,
    report: &mut impl FnMut(&JobEvent),
) -> Result<JobResult, RunError> {
    let failed = |why: String| RunError::new(FailureCode::SparkJobFailed, why);
    let job = ledger.run().as_str();
    let closed = Closed::default();
    let looks = Looks::new(plan.record.pod_policy_type);
    let interval = looks.interval();
    let gate = consent_gate(Arc::clone(ledger), looks, Arc::clone(&closed));
    let door = Door::open(inputs, sink, job, gate)
        .await
        .map_err(|e| failed(format!("the data door: {e}")))?;
    let documents: Vec<_> = plan.inputs.iter().map(|part| part.document.clone()).collect();
    let spec = JobSpec::new(
        job,
        &plan.query,
        &plan.checked,
        &documents,
        &plan.sink.document,
        &plan.record.parameters,
        &door,
    )
    .map_err(|e| RunError::new(FailureCode::QueryRefused, e.to_string()))?;
    let (loads, loaded) = mpsc::unbounded_channel();
    let spark = async {
        let watch = move |event: &JobEvent| {
            if event.event != COMPLETED && event.code.is_none() {
                // How much of an owner's data there is is not for those who watch the run.
                let shown = event.view.is_none();
                report(&JobEvent {
                    rows: event.rows.filter(|_| shown),
                    ..event.clone()
                });
            }
            // The receiver is gone only if an event could not be recorded; that ends the run below.
            let _ = loads.send(event.clone());
        };
        settings.spark.run(&spec, door.capability(), watch).await
    };
    let work = async { tokio::join!(spark, record_loads(ledger, plan, loaded)) };
    let (outcome, recorded) = tokio::select! {
        both = work => both,
        () = settings.stop.notified() => {
            return Err(RunError::new(FailureCode::Cancelled, "the run was stopped"));
        }
        refusal = looks::refusal(interval, async || ledger.refusal().await) => return Err(refusal),
    };
    if let Some(refused) = closed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(refused);
    }
    let result = outcome.map_err(|error| spark_failed(&error))?;
    recorded?;
    Ok(result)
}

fn spark_failed(error: &SparkError) -> RunError {
    if let SparkError::Job {
        diagnostics: Some(text),
        ..
    } = error
    {
        tracing::debug!(%text, "what spark said");
    }
    RunError::new(error.code(), client::with_causes(error))
}

/// Audit events of loading, each committed before the next; without them there is no result.
async fn record_loads(
    ledger: &Ledger,
    plan: &Plan,
    mut loaded: mpsc::UnboundedReceiver<JobEvent>,
) -> Result<(), RunError> {
    while let Some(event) = loaded.recv().await {
        let audit = match event.event.as_str() {
            "DATASET_LOAD_COMPLETED" => Audit::DatasetLoadCompleted,
            "DATASET_LOAD_FAILED" => Audit::DatasetLoadFailed,
            _ => continue,
        };
        let view = event.view.as_deref().unwrap_or("a dataset");
        // Everybody sees that data was read; how much of it there is, owners and approvers alone.
        ledger.audit(audit, &format!("dataset {view:.128}")).await?;
        if let (Some(document), Some(rows)) = (plan.document_of(view), event.rows) {
            ledger.tell_rows(document, rows).await?;
        }
    }
    Ok(())
}

/// Consent once more, the ledger's word for it, then the result becomes visible.
async fn publish(
    ledger: &Ledger,
    plan: &Plan,
    sink: &Sink,
    result: JobResult,
) -> Result<JobResult, RunError> {
    ledger.look().await?;
    ledger.audit(Audit::QueryCompleted, "query completed").await?;
    let rows = result.rows_written;
    ledger
        .audit(
            Audit::DatasetWriteCompleted,
            &format!("destination {}, {rows} rows", plan.sink.view),
        )
        .await?;
    let provenance = Provenance {
        job_id: ledger.run().to_string(),
        query_digest: plan.query_digest,
        dataset_digests: plan
            .inputs
            .iter()
            .map(|part| (part.view.to_string(), part.digest))
            .collect(),
    };
    let sign = |bytes: &[u8]| {
        Ok(ManifestSignature {
            algorithm: "PS256".to_owned(),
            public_key: ledger.workload().public_pem().to_owned(),
            signature: ledger.workload().sign(bytes).map_err(|e| e.to_string())?,
        })
    };
    match sink.publish(provenance, rows, sign).await {
        Ok(_) => Ok(result),
        Err(error) => {
            ledger
                .audit(Audit::DatasetWriteFailed, "the result was not made visible")
                .await?;
            Err(output_failed(&error))
        }
    }
}

fn output_failed(error: &OutputError) -> RunError {
    RunError::new(
        FailureCode::DatasetUnreachable,
        format!("output: {}", client::with_causes(error)),
    )
}
