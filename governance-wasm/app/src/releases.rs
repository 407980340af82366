//! The trace of what workloads got and were refused (decisions 3, 23, 42).
//!
//! One row per transaction. Refusals are rows too, up to a number a minute for each contract,
//! platform, chip and host data, so that nobody can fill the ledger by asking; the rest are counted.

use cleanroom_model::ids::{ContractId, RunId};
use cleanroom_model::policy::PolicyType;
use cleanroom_model::tables::{Outcome, REFUSAL_COUNTS, REFUSAL_SOURCES, RELEASES, Release, sequence};
use kv::{Json, Pair, Write};
use model::Digest;
use serde_json::Value as JsonValue;

use crate::reply::{Failure, Fault, Refused};
use crate::request::Call;

/// Refusals recorded one by one in a minute, per contract, platform, chip and host data. Host data
/// alone can be had by whoever launches a machine.
const PER_SOURCE_MAX: u32 = 60;
/// Refusals of a contract in a minute above which each of those has one row.
const PER_CONTRACT_MAX: u32 = 600;

/// What a workload wants, for the trace: kind and name.
#[derive(Clone, Debug)]
pub(crate) struct Purpose {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

/// Who asked, as the evidence says.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) policy_type: PolicyType,
    pub(crate) alternative: Option<String>,
    pub(crate) host_data: String,
    /// Empty on platforms that do not name it.
    pub(crate) chip: String,
    pub(crate) evidence_digest: Digest,
    pub(crate) static_evidence: bool,
}

fn row(subject: &Subject, run_id: Option<&RunId>, outcome: Outcome, purpose: &Purpose) -> Release {
    Release {
        outcome,
        kind: purpose.kind.to_owned(),
        name: purpose.name.clone(),
        audience: None,
        code: None,
        detail: None,
        policy_type: subject.policy_type,
        alternative: subject.alternative.clone(),
        host_data: subject.host_data.clone(),
        evidence_digest: subject.evidence_digest,
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
    purpose: &Purpose,
    audience: Option<&str>,
) -> Result<(), Fault> {
    let mut release = row(subject, run_id, Outcome::Released, purpose);
    release.audience = audience.map(ToOwned::to_owned);
    let key = Pair(contract.clone(), sequence(call.request.transaction.seqno));
    RELEASES.put(changes, &key, &Json(release))?;
    Ok(())
}

/// Records that a launcher let others in, and whom.
pub(crate) fn delegated(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: &ContractId,
    subject: &Subject,
    run_id: &RunId,
    purpose: &Purpose,
    detail: JsonValue,
) -> Result<(), Fault> {
    let mut release = row(subject, Some(run_id), Outcome::Released, purpose);
    release.detail = Some(detail);
    let key = Pair(contract.clone(), sequence(call.request.transaction.seqno));
    Ok(RELEASES.put(changes, &key, &Json(release))?)
}

/// Records a refusal on policy grounds, and makes its trace outlive the error status.
pub(crate) fn refused(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: &ContractId,
    subject: &Subject,
    run_id: Option<&RunId>,
    purpose: &Purpose,
    refused: Refused,
) -> Failure {
    let mut write = || -> Result<(), Fault> {
        if count(call, changes, contract, subject)? {
            let mut release = row(subject, run_id, Outcome::Refused, purpose);
            release.code = Some(refused.code);
            release.detail = refused.details.first().cloned();
            let key = Pair(contract.clone(), sequence(call.request.transaction.seqno));
            RELEASES.put(changes, &key, &Json(release))?;
        }
        Ok(())
    };
    match write() {
        Ok(()) => refused.keeping_writes().into(),
        Err(fault) => fault.into(),
    }
}

/// Counts a refusal; says whether it is to be recorded.
///
/// What strangers have for nothing, such as a container group of their own, is counted as theirs:
/// nobody is silenced by somebody else's refusals. Above the contract's bound everybody's first of
/// the minute is still written.
fn count(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: &ContractId,
    subject: &Subject,
) -> Result<bool, Fault> {
    let minute = call.now_ms() / 60_000;
    let mut all = REFUSAL_COUNTS.get(call.state, contract)?.unwrap_or_default().0;
    if all.minute != minute {
        all.minute = minute;
        all.recorded = 0;
    }
    let source = format!(
        "{}\n{}\n{}",
        subject.policy_type.as_str(),
        subject.chip,
        subject.host_data
    );
    let source = call.host.sha256(source.as_bytes()).to_string();
    let key = Pair(contract.clone(), Pair(minute_key(minute), source));
    let mut own = REFUSAL_SOURCES.get(call.state, &key)?.unwrap_or_default().0;
    let most = if all.recorded < PER_CONTRACT_MAX {
        PER_SOURCE_MAX
    } else {
        1
    };
    let record = own.recorded < most;
    if record {
        own.recorded = own.recorded.saturating_add(1);
        all.recorded = all.recorded.saturating_add(1);
    } else {
        own.suppressed = own.suppressed.saturating_add(1);
        all.suppressed = all.suppressed.saturating_add(1);
    }
    REFUSAL_COUNTS.put(changes, contract, &Json(all))?;
    REFUSAL_SOURCES.put(changes, &key, &Json(own))?;
    sweep(call, changes, contract, minute)?;
    Ok(record)
}

/// Minutes as text that sorts as they do.
fn minute_key(minute: u64) -> String {
    format!("{minute:010}")
}

/// Rows of earlier minutes removed with each refusal; more than one, so that the table shrinks.
const SWEPT_ROWS: u32 = 4;

fn sweep(call: &Call<'_>, changes: &mut dyn Write, contract: &ContractId, minute: u64) -> Result<(), Fault> {
    let prefix = contract.key_prefix();
    let mut now = prefix.clone();
    now.extend(minute_key(minute).into_bytes());
    for row in call
        .state
        .scan(REFUSAL_SOURCES.name(), &prefix, None, SWEPT_ROWS)?
    {
        if row.key < now {
            changes.remove(REFUSAL_SOURCES.name(), &row.key)?;
        }
    }
    Ok(())
}
