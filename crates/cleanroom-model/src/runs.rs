//! Runs as people ask for them on the ledger, and what pods leave there beside their record
//! (decisions 45, 76).

use kv::TxId;
use serde::{Deserialize, Serialize};

use crate::api::{Approver, RunRequest};
use crate::error_codes::ErrorCode;
use crate::ids::{DocumentId, RunId};
use crate::person::Person;

/// A request that no launcher had admitted within this time lapses, in milliseconds of service time.
pub const REQUEST_LIFE_MS: u64 = 3_600_000;
/// Most requests that one caller may have open in one contract.
pub const OPEN_REQUESTS_MAX: usize = 1_000;
/// Most runs in one page of a list.
pub const RUNS_PAGE_MAX: u32 = 1_000;
/// Most people who may ask for runs of one query.
pub const RUNNERS_MAX: usize = 256;
/// Longest parameters of a request, in bytes of JSON.
pub const PARAMETERS_LEN_MAX: usize = 64 * 1024;

/// A run that somebody asked for. Never removed, so no id is ever used twice.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedRun {
    /// The query.
    pub query_id: DocumentId,
    /// Its version when it was asked for; no other is run.
    pub query_version: TxId,
    /// What was asked for.
    pub request: RunRequest,
    /// Who asked.
    pub asked_by: Person,
    /// Unix milliseconds of service time.
    pub asked_on: u64,
    /// Who ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<Person>,
}

impl AskedRun {
    /// Whether nobody admitted it in time, if nobody has.
    #[must_use]
    pub const fn has_lapsed(&self, now_ms: u64) -> bool {
        has_lapsed(self.asked_on, now_ms)
    }
}

const fn has_lapsed(asked_on: u64, now_ms: u64) -> bool {
    now_ms > asked_on.saturating_add(REQUEST_LIFE_MS)
}

/// A request that waits for a launcher.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenRun {
    /// The query.
    pub query_id: DocumentId,
    /// Unix milliseconds of service time.
    pub asked_on: u64,
}

impl OpenRun {
    /// Whether nobody admitted it in time.
    #[must_use]
    pub const fn has_lapsed(&self, now_ms: u64) -> bool {
        has_lapsed(self.asked_on, now_ms)
    }
}

/// Where a run stands on the ledger.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum RunState {
    /// Waits for a launcher.
    Requested,
    /// Waited too long.
    Lapsed,
    /// Ended by its asker, an owner or an approver.
    Cancelled,
    /// May run, or ran.
    Admitted,
    /// Was refused.
    Refused,
}

/// A run as askers, owners and members read it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// The run.
    pub run_id: RunId,
    /// The query.
    pub query_id: DocumentId,
    /// The query's version.
    pub query_version: TxId,
    /// Where it stands.
    pub state: RunState,
    /// What was asked for.
    pub request: RunRequest,
    /// Who asked.
    pub asked_by: Approver,
    /// Unix milliseconds.
    pub asked_on: u64,
    /// Who ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<Approver>,
    /// Of refused runs: the error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// Of admitted runs: Unix milliseconds; nothing is released afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
}

/// A run in a launcher's list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRun {
    /// The run.
    pub run_id: RunId,
    /// The query.
    pub query_id: DocumentId,
    /// Unix milliseconds.
    pub asked_on: u64,
}

/// Answer of `POST /contracts/{contractId}/runs?state=Requested`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRuns {
    /// Runs that wait.
    pub value: Vec<WaitingRun>,
    /// Where to ask for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}

/// Signed payload of `POST /contracts/{contractId}/queries/{queryId}/runs/{runId}`: all that decides
/// about the run is in its request, so there is nothing for a launcher to add.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AdmitRun {}

/// When a run's pod looked whether it may go on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RunLooks {
    /// Unix milliseconds.
    pub first: u64,
    /// Unix milliseconds.
    pub last: u64,
    /// How often.
    pub count: u64,
}

/// Answer of `POST /contracts/{contractId}/runs/{runId}/check`: the run may go on.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunMayGoOn {
    /// Unix milliseconds; nothing is released afterwards.
    pub not_after: u64,
}

/// How many rows of an input a run read. Private to the input's owner and approvers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RowCount {
    /// Rows.
    pub rows: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_lapses_one_millisecond_after_its_hour() {
        let open = OpenRun {
            query_id: "q".parse().unwrap(),
            asked_on: 7,
        };
        assert!(!open.has_lapsed(7 + REQUEST_LIFE_MS));
        assert!(open.has_lapsed(8 + REQUEST_LIFE_MS));
    }
}
