//! Runs of queries: admission by a launcher in one transaction, and the record for the pod
//! (decision 22). The check that every later call of the pod goes through is `permit.rs`.

use cleanroom_model::api::{PrerequisiteReason, PrerequisitesView, RunAdmitted, RunForPod, RunRequest};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, DocumentId, RunId};
use cleanroom_model::policy::WorkloadRole;
use cleanroom_model::tables::{RUNS, RunRefusal, RunVerdict};
use kv::{Json, Pair, Write};
use serde_json::json;

use crate::admission::{self, Binding};
use crate::caller;
use crate::document_state;
use crate::launcher::Launcher;
use crate::permit::permit;
use crate::proof::Body;
use crate::releases::Purpose;
use crate::reply::{Answer, Refusal, Reply};
use crate::request::{Call, Caller};
use crate::run_rules::{self, Values};
use crate::run_state;

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
            permit(call, changes, admitted, purpose)?.granted(call, changes)?;
            Reply::json(&RunAdmitted { run: record })
        }
        Err(refusal) if refusal.code == ErrorCode::InternalError => Err(refusal),
        Err(refusal) => {
            // Remembered whether its trace is written or only counted: the answer stays the same.
            let verdict = RunVerdict::Refused(RunRefusal {
                query_id: query,
                code: refusal.code.as_str().to_owned(),
                message: refusal.message.clone(),
                details: refusal.details.clone(),
            });
            RUNS.put(changes, &key, &Json(verdict))?;
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
    let permit = permit(call, changes, admitted, purpose)?;
    let contract = &permit.admitted().contract;
    let record = match permit.run() {
        Some(record) => record.clone(),
        // Workloads without a role may read any run.
        None => run_state::admitted_run(call, contract, &run)?
            .map_err(|_| Refusal::new(ErrorCode::RunNotFound, format!("there is no admitted run {run}")))?,
    };
    let mut documents = Vec::with_capacity(record.documents.len());
    for used in &record.documents {
        let key = Pair(contract.clone(), used.id.clone());
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
    let value = permit.release(call, changes, &plain, None)?;
    Reply::json(&json!({ "value": value }))
}
