//! What a run reports while it goes on: the pod's program to the pod, the pod to the launcher.

use serde::{Deserialize, Serialize};

/// What ended a run badly (spark-analytics §16). Carries no data values.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureCode {
    /// A view has fewer rows than an owner or the query demands.
    KMinNotMet,
    /// Files or result do not have the agreed columns and types.
    SchemaMismatch,
    /// An input could not be read.
    DatasetUnreachable,
    /// The second gate found something the query may not do.
    QueryRefused,
    /// An owner withdrew consent during the run.
    ConsentRevoked,
    /// A key was not released.
    KeyRefused,
    /// The run took too long.
    Timeout,
    /// The run was stopped on request.
    Cancelled,
    /// The node lacks what the run's asker had seen: an older copy, or another branch.
    ServiceForked,
    /// Anything else that Spark reports.
    SparkJobFailed,
}

/// The event that ends a good run.
const COMPLETED: &str = "QUERY_EXECUTION_COMPLETED";

/// A step of a run (names of spark-analytics §17), one JSON object per line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobEvent {
    /// For example `DATASET_LOAD_COMPLETED`.
    pub event: String,
    /// The view it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// Place of the segment it is about, in the query document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u32>,
    /// Rows of all inputs together, in the last event of a good run; Spark's program tells its pod,
    /// and the pod tells nobody but the owners (decision 45).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_read: Option<u64>,
    /// Rows read or written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<FailureCode>,
    /// For people; without data values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl JobEvent {
    /// The event that ends a run badly.
    #[must_use]
    pub fn failed(code: FailureCode, message: &str) -> Self {
        Self {
            event: "QUERY_EXECUTION_FAILED".to_owned(),
            view: None,
            segment: None,
            rows_read: None,
            rows: None,
            code: Some(code),
            message: Some(message.to_owned()),
        }
    }

    /// Whether this event ends a good run.
    #[must_use]
    pub fn ended_well(&self) -> bool {
        self.code.is_none() && self.event == COMPLETED
    }

    /// Rows read and rows written, if this event ends a good run.
    #[must_use]
    pub fn success(&self) -> Option<(u64, u64)> {
        match (self.rows_read, self.rows) {
            (Some(read), Some(written)) if self.ended_well() => Some((read, written)),
            _ => None,
        }
    }
}
