//! Runs of queries: admission by a launcher in one transaction, the record for the pod, and the
//! check that every later call of the pod goes through (decision 22).

use cleanroom_model::api::{PrerequisiteReason, PrerequisitesView, RunAdmitted, RunForPod, RunRequest};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, DocumentId, RunId};
use cleanroom_model::policy::WorkloadRole;
use cleanroom_model::tables::{RUNS, RunRecord, RunRefusal, RunVerdict};
use kv::{Json, Pair, Write};
use serde_json::json;

use crate::admission::{self, Admitted, AdmittedBy, Binding, Purpose};
use crate::caller;
use crate::document_state;
use crate::launcher::Launcher;
use crate::proof::Body;
use crate::releases;
use crate::reply::{Answer, Refusal, Reply};
use crate::request::{Call, Caller};
use crate::run_rules::{self, Values};

/// What a pod's call is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Check {
    /// Something is given out: the run must be live and every consent on.
    Release,
    /// The pod reports; that is welcome even after the run was stopped.
    Report,
}

/// The run that a pod acts for; `None` for workloads that are not limited to one.
///
/// Runs again on every call: the record's alternative, its time, and every consent.
pub(crate) fn permission(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: &Admitted,
    purpose: Purpose<'_>,
    check: Check,
) -> Result<Option<RunRecord>, Refusal> {
    if admitted.role() != Some(WorkloadRole::Pod) {
        return Ok(None);
    }
    match permitted(call, admitted, check) {
        Ok(record) => Ok(Some(record)),
        Err(refusal) if refusal.code == ErrorCode::InternalError => Err(refusal),
        Err(refusal) => Err(admitted.refuse(call, changes, purpose, refusal)),
    }
}

fn permitted(call: &Call<'_>, admitted: &Admitted, check: Check) -> Result<RunRecord, Refusal> {
    let run = admitted.run_id.as_ref().ok_or_else(|| {
        Refusal::new(
            ErrorCode::RunIdMissing,
            "workloads of role pod name their run (runId) in every call",
        )
    })?;
    let record = admitted_run(call, &admitted.contract, run)??;
    let own = match &admitted.by {
        AdmittedBy::Alternative(placed) => record.is_pod(placed.policy_type, &placed.id),
        AdmittedBy::Delegate(delegate) => delegate.run_id.as_ref() == Some(run),
    };
    if !own {
        return Err(Refusal::new(
            ErrorCode::RunNotAdmitted,
            format!("run {run} is not this workload's"),
        ));
    }
    if check == Check::Release {
        if call.now_ms() > record.not_after {
            return Err(Refusal::new(
                ErrorCode::RunExpired,
                format!("the time of run {run} is over"),
            ));
        }
        run_rules::recheck(call, &admitted.contract, &record)?;
    }
    Ok(record)
}

/// The record of an admitted run; the inner error is a refusal on policy grounds.
pub(crate) fn admitted_run(
    call: &Call<'_>,
    contract: &ContractId,
    run: &RunId,
) -> Result<Result<RunRecord, Refusal>, Refusal> {
    match RUNS
        .get(call.state, &Pair(contract.clone(), run.clone()))?
        .map(|row| row.0)
    {
        Some(RunVerdict::Admitted(record)) => Ok(Ok(*record)),
        Some(RunVerdict::Refused(_)) | None => Ok(Err(Refusal::new(
            ErrorCode::RunNotAdmitted,
            format!("run {run} has not been admitted"),
        ))),
    }
}

/// `POST /contracts/{contractId}/queries/{queryId}/runs/{runId}`
pub(crate) fn admit(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let (query, run): (DocumentId, RunId) = (call.id("queryId")?, call.id("runId")?);
    let purpose = Purpose {
        kind: "admission",
        name: run.as_str(),
    };
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Binding::EncryptAndSign,
        None,
        purpose,
        &[WorkloadRole::Launcher],
    )?;
    let request: RunRequest = serde_json::from_slice(&admitted.data)
        .map_err(|e| Refusal::new(ErrorCode::InvalidInput, format!("data is not a run request: {e}")))?;
    run_rules::check_request(&request)?;
    let key = Pair(admitted.contract.clone(), run.clone());
    if let Some(verdict) = RUNS.get(call.state, &key)? {
        return same_answer(&query, verdict.0)
            .map_err(|refusal| admitted.refuse(call, changes, purpose, refusal));
    }
    let launcher = Launcher::of(&admitted);
    let asked = (&request, Values::Complete);
    match run_rules::evaluate(call, &admitted.contract, &query, &run, asked, &launcher) {
        Ok(record) => {
            RUNS.put(
                changes,
                &key,
                &Json(RunVerdict::Admitted(Box::new(record.clone()))),
            )?;
            releases::released(call, changes, &admitted, purpose, None)?;
            Reply::json(&RunAdmitted { run: record })
        }
        Err(refusal) if refusal.code == ErrorCode::InternalError => Err(refusal),
        Err(refusal) => {
            if releases::has_room(call, &admitted.contract)? {
                let verdict = RunVerdict::Refused(RunRefusal {
                    query_id: query,
                    code: refusal.code.as_str().to_owned(),
                    message: refusal.message.clone(),
                    details: refusal.details.clone(),
                });
                RUNS.put(changes, &key, &Json(verdict))?;
            }
            Err(admitted.refuse(call, changes, purpose, refusal))
        }
    }
}

/// The same run id has the same answer; for another query it has none. Its errors are refusals on
/// policy grounds, each with its trace.
fn same_answer(query: &DocumentId, verdict: RunVerdict) -> Answer {
    let asked_for = match &verdict {
        RunVerdict::Admitted(record) => &record.query_id,
        RunVerdict::Refused(refused) => &refused.query_id,
    };
    if asked_for != query {
        return Err(Refusal::new(
            ErrorCode::RunIdInUse,
            format!("the run id belongs to query {asked_for}; choose another"),
        ));
    }
    match verdict {
        RunVerdict::Admitted(run) => Reply::json(&RunAdmitted { run: *run }),
        RunVerdict::Refused(refused) => {
            let code = ErrorCode::ALL
                .iter()
                .copied()
                .find(|code| code.as_str() == refused.code)
                .unwrap_or(ErrorCode::InternalError);
            Err(Refusal::new(code, refused.message).with_details(refused.details))
        }
    }
}

/// `POST /contracts/{contractId}/queries/{queryId}/prerequisites`: the same rules, nothing
/// recorded but the nonce.
pub(crate) fn prerequisites(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let contract: ContractId = call.id("contractId")?;
    let query: DocumentId = call.id("queryId")?;
    let body: Body = call.body()?;
    let mut launcher = Launcher::default();
    if matches!(call.request.caller, Caller::Anonymous) {
        let purpose = Purpose {
            kind: "prerequisites",
            name: query.as_str(),
        };
        let admitted = admission::admit(
            call,
            changes,
            &body,
            Binding::Encrypt,
            None,
            purpose,
            &[WorkloadRole::Launcher],
        )?;
        launcher = Launcher::of(&admitted);
    } else {
        caller::known(call)?;
    }
    let (request, values): (RunRequest, _) = match body.run {
        Some(run) => {
            let request = serde_json::from_value(run).map_err(|e| {
                Refusal::new(ErrorCode::InvalidInput, format!("run is not a run request: {e}"))
            })?;
            (request, Values::Complete)
        }
        None => (RunRequest::default(), Values::NotChosen),
    };
    run_rules::check_request(&request)?;
    let probe: RunId = "prerequisites".parse().expect("an identifier");
    let reason = match run_rules::evaluate(call, &contract, &query, &probe, (&request, values), &launcher) {
        Ok(_) => None,
        Err(refusal) if refusal.code == ErrorCode::InternalError => return Err(refusal),
        Err(refusal) => Some(PrerequisiteReason {
            code: refusal.code.as_str().to_owned(),
            message: refusal.message,
            details: refusal.details,
        }),
    };
    Reply::json(&PrerequisitesView {
        ready: reason.is_none(),
        reason,
    })
}

/// `POST /contracts/{contractId}/runs/{runId}`: record and documents, wrapped to the pod.
pub(crate) fn read(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let run: RunId = call.id("runId")?;
    let purpose = Purpose {
        kind: "run",
        name: run.as_str(),
    };
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Binding::Encrypt,
        None,
        purpose,
        &[WorkloadRole::Pod],
    )?;
    let record = match permission(call, changes, &admitted, purpose, Check::Release)? {
        Some(record) => record,
        // Workloads without a role may read any run.
        None => admitted_run(call, &admitted.contract, &run)?
            .map_err(|_| Refusal::new(ErrorCode::RunNotFound, format!("there is no admitted run {run}")))?,
    };
    let mut documents = Vec::with_capacity(record.documents.len());
    for used in &record.documents {
        let key = Pair(admitted.contract.clone(), used.id.clone());
        let loaded = document_state::load(call, &key)?.filter(|loaded| loaded.version == used.version);
        let loaded = loaded.ok_or_else(|| {
            Refusal::new(
                ErrorCode::InternalError,
                format!("document {} of the run has changed", used.id),
            )
        })?;
        documents.push(loaded.view());
    }
    let plain = serde_json::to_vec(&RunForPod {
        run: record,
        documents,
    })
    .map_err(|e| Refusal::new(ErrorCode::InternalError, e.to_string()))?;
    let value = admitted.wrap(call, &plain)?;
    releases::released(call, changes, &admitted, purpose, None)?;
    Reply::json(&json!({ "value": value }))
}
