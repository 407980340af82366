//! What the ledger holds of a run, and whether it may still be given anything (decision 22).

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, RunId};
use cleanroom_model::tables::{RUN_REQUESTS, RUNS, RunRecord, RunVerdict};
use kv::{Pair, Singleton};
use model::tables::SERVICE_TIME_RESET;

use crate::consent::{self, DocumentOption};
use crate::document_state;
use crate::reply::{Failure, Fault, Refused};
use crate::request::Call;

/// The record of an admitted run; the inner error is a refusal on policy grounds.
pub(crate) fn admitted_run(
    call: &Call<'_>,
    contract: &ContractId,
    run: &RunId,
) -> Result<Result<RunRecord, Refused>, Fault> {
    match RUNS
        .get(call.state, &Pair(contract.clone(), run.clone()))?
        .map(|row| row.0)
    {
        Some(RunVerdict::Admitted(record)) => Ok(Ok(*record)),
        Some(RunVerdict::Refused(_)) | None => Ok(Err(Refused::new(
            ErrorCode::RunNotAdmitted,
            format!("run {run} has not been admitted"),
        ))),
    }
}

/// Whether service time was reset after the run was admitted: nobody knows then how old it is.
fn ended_by_reset(call: &Call<'_>, contract: &ContractId, run: &RunId) -> Result<bool, Fault> {
    let Some(reset) = SERVICE_TIME_RESET.get_versioned(call.state, &Singleton)? else {
        return Ok(false);
    };
    let record = RUNS.get_versioned(call.state, &Pair(contract.clone(), run.clone()))?;
    Ok(record.is_none_or(|record| record.version.seqno < reset.version.seqno))
}

/// Whether service time was reset after the run was asked for: nobody knows then how old that is.
pub(crate) fn asked_before_reset(call: &Call<'_>, key: &Pair<ContractId, RunId>) -> Result<bool, Fault> {
    let Some(reset) = SERVICE_TIME_RESET.get_versioned(call.state, &Singleton)? else {
        return Ok(false);
    };
    let asked = RUN_REQUESTS.get_versioned(call.state, key)?;
    Ok(asked.is_none_or(|asked| asked.version.seqno < reset.version.seqno))
}

/// Whether the run was ended.
pub(crate) fn require_not_cancelled(call: &Call<'_>, key: &Pair<ContractId, RunId>) -> Result<(), Failure> {
    let asked = RUN_REQUESTS.get(call.state, key)?.map(|row| row.0);
    if asked.is_some_and(|asked| asked.cancelled_by.is_some()) {
        return Err(Refused::new(
            ErrorCode::RunCancelled,
            format!("run {} was ended by somebody who may", key.1),
        )
        .into());
    }
    Ok(())
}

/// Time and consent of a run that was admitted, asked again; documents may have been switched off
/// since.
pub(crate) fn require_live(
    call: &Call<'_>,
    contract: &ContractId,
    record: &RunRecord,
) -> Result<(), Failure> {
    require_not_cancelled(call, &Pair(contract.clone(), record.run_id.clone()))?;
    if call.now_ms() > record.not_after {
        return Err(Refused::new(
            ErrorCode::RunExpired,
            format!("the time of run {} is over", record.run_id),
        )
        .into());
    }
    if ended_by_reset(call, contract, &record.run_id)? {
        return Err(Refused::new(
            ErrorCode::RunExpired,
            format!(
                "run {} ended when members reset the service's time",
                record.run_id
            ),
        )
        .into());
    }
    consent::contract_execution(call, contract)?.require()?;
    for used in &record.documents {
        let loaded = document_state::load(call, &Pair(contract.clone(), used.id.clone()))?;
        if loaded
            .as_ref()
            .is_some_and(|loaded| loaded.version != used.version)
        {
            return Err(Refused::new(
                ErrorCode::UserDocumentModified,
                format!("document {} is not the one that was admitted", used.id),
            )
            .into());
        }
        consent::document_consent(call, &used.id, loaded.as_ref(), DocumentOption::Execution)?.require()?;
    }
    Ok(())
}
