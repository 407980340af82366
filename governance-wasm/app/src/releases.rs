//! The trace of what workloads got and were refused (decisions 3, 23, 42).
//!
//! One row per transaction. Refusals are rows too, at most [`RECORDED_PER_MINUTE_MAX`] a contract
//! and minute, so that nobody can fill the ledger by asking; the rest are counted.

use cleanroom_model::ids::{ContractId, RunId};
use cleanroom_model::policy::PolicyType;
use cleanroom_model::tables::{Outcome, REFUSAL_COUNTS, RELEASES, Release, sequence};
use kv::{Json, Pair, Write};

use crate::reply::Refusal;
use crate::request::Call;

/// Refusals recorded one by one, per contract and minute.
const RECORDED_PER_MINUTE_MAX: u32 = 60;

/// What a workload wants, for the trace: kind and name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'a> {
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
}

/// Who asked, as the evidence says.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) policy_type: PolicyType,
    pub(crate) alternative: Option<String>,
    pub(crate) host_data: String,
    pub(crate) evidence_digest: String,
    pub(crate) static_evidence: bool,
}

fn row(subject: &Subject, run_id: Option<&RunId>, outcome: Outcome, purpose: Purpose<'_>) -> Release {
    Release {
        outcome,
        kind: purpose.kind.to_owned(),
        name: purpose.name.to_owned(),
        audience: None,
        code: None,
        detail: None,
        policy_type: subject.policy_type,
        alternative: subject.alternative.clone(),
        host_data: subject.host_data.clone(),
        evidence_digest: subject.evidence_digest.clone(),
        static_evidence: subject.static_evidence,
        run_id: run_id.cloned(),
    }
}

/// Records that something is given out; for permits, which are what gives.
pub(crate) fn released(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: &ContractId,
    subject: &Subject,
    run_id: Option<&RunId>,
    purpose: Purpose<'_>,
    audience: Option<&str>,
) -> Result<(), Refusal> {
    let mut release = row(subject, run_id, Outcome::Released, purpose);
    release.audience = audience.map(ToOwned::to_owned);
    let key = Pair(contract.clone(), sequence(call.request.transaction.seqno));
    RELEASES.put(changes, &key, &Json(release))?;
    Ok(())
}

/// Records a refusal on policy grounds, and makes its trace outlive the error status.
pub(crate) fn refused(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: &ContractId,
    subject: &Subject,
    run_id: Option<&RunId>,
    purpose: Purpose<'_>,
    refusal: Refusal,
) -> Refusal {
    let mut write = || -> Result<(), Refusal> {
        if count(call, changes, contract)? {
            let mut release = row(subject, run_id, Outcome::Refused, purpose);
            release.code = Some(refusal.code.as_str().to_owned());
            release.detail = refusal.details.first().cloned();
            let key = Pair(contract.clone(), sequence(call.request.transaction.seqno));
            RELEASES.put(changes, &key, &Json(release))?;
        }
        Ok(())
    };
    match write() {
        Ok(()) => Refusal {
            keep_writes: true,
            ..refusal
        },
        Err(failure) => failure,
    }
}

/// Counts a refusal; says whether it is to be recorded.
fn count(call: &Call<'_>, changes: &mut dyn Write, contract: &ContractId) -> Result<bool, Refusal> {
    let minute = call.now_ms() / 60_000;
    let mut counted = REFUSAL_COUNTS.get(call.state, contract)?.unwrap_or_default().0;
    if counted.minute != minute {
        counted.minute = minute;
        counted.recorded = 0;
    }
    let record = counted.recorded < RECORDED_PER_MINUTE_MAX;
    if record {
        counted.recorded = counted.recorded.saturating_add(1);
    } else {
        counted.suppressed = counted.suppressed.saturating_add(1);
    }
    REFUSAL_COUNTS.put(changes, contract, &Json(counted))?;
    Ok(record)
}

/// Whether the next refusal of this minute would be recorded.
pub(crate) fn has_room(call: &Call<'_>, contract: &ContractId) -> Result<bool, Refusal> {
    let counted = REFUSAL_COUNTS.get(call.state, contract)?.unwrap_or_default().0;
    Ok(counted.minute != call.now_ms() / 60_000 || counted.recorded < RECORDED_PER_MINUTE_MAX)
}
