//! Runs of queries: admission by a launcher in one transaction, and the record for the pod
//! (decision 22). The check that every later call of the pod goes through is `permit.rs`.

use cleanroom_model::api::{PrerequisiteReason, PrerequisitesView, RunAdmitted, RunForPod, RunRequest};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, DocumentId, RunId};
use cleanroom_model::runs::{AdmitRun, RunMayGoOn};
use cleanroom_model::tables::{RUNS, RunRecord, RunRefusal, RunVerdict};
use kv::{Json, Pair, Write};
use model::evidence::Role;
use serde_json::json;

use crate::admission::{self, Binding, Wish};
use crate::caller;
use crate::document_state;
use crate::launcher::Launcher;
use crate::permit::{Permit, permit};
use crate::proof::Body;
use crate::reply::{Answer, Failure, Fault, Refused, Reply, judged};
use crate::request::{Call, Caller};
use crate::run_requests;
use crate::run_rules::{self, Values, Wanted};
use crate::run_state;

/// `POST /contracts/{contractId}/queries/{queryId}/runs/{runId}`
pub(crate) fn admit(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let (query, run): (DocumentId, RunId) = (call.id("queryId")?, call.id("runId")?);
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Wish::new("admission", run.as_str(), &[Role::Launcher]).bound_by(Binding::EncryptAndSign),
    )?;
    let _: AdmitRun = serde_json::from_slice(&admitted.data).map_err(|e| {
        let why = format!("all that decides about a run is in its request, so data is {{}}: {e}");
        Refused::new(ErrorCode::InvalidInput, why)
    })?;
    let key = Pair(admitted.contract.clone(), run.clone());
    let asked = match judged(run_requests::asked_for(call, &key, &query))? {
        Ok(asked) => asked,
        Err(refused) => return Err(admitted.refuse(call, changes, refused)),
    };
    if let Some(verdict) = RUNS.get(call.state, &key)? {
        return match same_answer(verdict.0) {
            Ok(run) => Reply::json(&run),
            Err(refused) => Err(admitted.refuse(call, changes, refused)),
        };
    }
    if let Err(refused) = judged(run_requests::require_open(call, &key, &asked))? {
        return Err(admitted.refuse(call, changes, refused));
    }
    let launcher = Launcher::of(&admitted);
    let wanted = Wanted {
        contract: &admitted.contract,
        query: &query,
        run: &run,
        request: &asked.request,
        values: Values::Complete,
        asked_by: Some(&asked.asked_by),
        launcher: &launcher,
    };
    match judged(run_rules::evaluate(call, &wanted))? {
        Ok(record) => {
            RUNS.put(
                changes,
                &key,
                &Json(RunVerdict::Admitted(Box::new(record.clone()))),
            )?;
            run_requests::close(changes, &key, &asked)?;
            permit(call, changes, admitted)?.granted(call, changes)?;
            Reply::json(&RunAdmitted { run: record })
        }
        Err(refused) => {
            // Remembered whether its trace is written or only counted: the answer stays the same.
            let verdict = RunVerdict::Refused(RunRefusal {
                query_id: query,
                code: refused.code,
                message: refused.message.clone(),
                details: refused.details.clone(),
            });
            RUNS.put(changes, &key, &Json(verdict))?;
            run_requests::close(changes, &key, &asked)?;
            Err(admitted.refuse(call, changes, refused))
        }
    }
}

/// The same run id has the same answer. Its errors are refusals on policy grounds, each with its
/// trace.
fn same_answer(verdict: RunVerdict) -> Result<RunAdmitted, Refused> {
    match verdict {
        RunVerdict::Admitted(run) => Ok(RunAdmitted { run: *run }),
        RunVerdict::Refused(refused) => {
            Err(Refused::new(refused.code, refused.message).with_details(refused.details))
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
        let admitted = admission::admit(
            call,
            changes,
            &body,
            Wish::new("prerequisites", query.as_str(), &[Role::Launcher]),
        )?;
        launcher = Launcher::of(&admitted);
    } else {
        caller::known(call)?;
    }
    let (request, values) = match body.run {
        Some(run) => {
            let sent = serde_json::from_value(run).map_err(|e| {
                Refused::new(ErrorCode::InvalidInput, format!("run is not a run request: {e}"))
            })?;
            (run_rules::checked(sent)?, Values::Complete)
        }
        None => (RunRequest::default(), Values::NotChosen),
    };
    let probe: RunId = "prerequisites".parse().expect("an identifier");
    let wanted = Wanted {
        contract: &contract,
        query: &query,
        run: &probe,
        request: &request,
        values,
        asked_by: None,
        launcher: &launcher,
    };
    let reason = judged(run_rules::evaluate(call, &wanted))?
        .err()
        .map(|refused| PrerequisiteReason {
            code: refused.code.as_str().to_owned(),
            message: refused.message,
            details: refused.details,
        });
    Reply::json(&PrerequisitesView {
        ready: reason.is_none(),
        reason,
    })
}

/// `POST /contracts/{contractId}/runs/{runId}`: record and documents, wrapped to the pod.
pub(crate) fn read(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let run: RunId = call.id("runId")?;
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Wish::new("run", run.as_str(), &[Role::Pod]),
    )?;
    let permit = permit(call, changes, admitted)?;
    let contract = &permit.admitted().contract;
    let record = record_of(call, &permit, &run)?;
    let mut documents = Vec::with_capacity(record.documents.len());
    for used in &record.documents {
        let key = Pair(contract.clone(), used.id.clone());
        let loaded = document_state::load(call, &key)?.filter(|loaded| loaded.version == used.version);
        let loaded =
            loaded.ok_or_else(|| Fault::new(format!("document {} of the run has changed", used.id)))?;
        documents.push(loaded.view());
    }
    let plain = serde_json::to_vec(&RunForPod {
        run: record,
        documents,
    })
    .map_err(|e| Fault::new(e.to_string()))?;
    let value = permit.release(call, changes, &plain, None)?;
    Reply::json(&json!({ "value": value }))
}

/// The run that a permit is for.
fn record_of(call: &Call<'_>, permit: &Permit, run: &RunId) -> Result<RunRecord, Failure> {
    match permit.run() {
        Some(record) => Ok(record.clone()),
        // Workloads without a role may read any run.
        None => run_state::admitted_run(call, &permit.admitted().contract, run)?.map_err(|_| {
            Refused::new(ErrorCode::RunNotFound, format!("there is no admitted run {run}")).into()
        }),
    }
}

/// `POST /contracts/{contractId}/runs/{runId}/check`: the checks of a release, and nothing released
/// (decision 76).
pub(crate) fn check(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let run: RunId = call.id("runId")?;
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Wish::new("check", run.as_str(), &[Role::Pod]),
    )?;
    let permit = permit(call, changes, admitted)?;
    let record = record_of(call, &permit, &run)?;
    if permit.run().is_none()
        && let Err(refused) = judged(run_state::require_live(
            call,
            &permit.admitted().contract,
            &record,
        ))?
    {
        return Err(permit.refuse(call, changes, refused));
    }
    permit.looked(call, changes, &run)?;
    Reply::json(&RunMayGoOn {
        not_after: record.not_after,
    })
}
