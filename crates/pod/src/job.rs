//! What Spark is told: the job's specification, one JSON object on standard input, and what it
//! tells back, one JSON object per line on standard output.
//!
//! Addresses in the specification hold the run capability; it is written to the child's standard
//! input and nowhere else (decision 40).

use std::collections::{BTreeMap, BTreeSet};

use cleanroom_model::analytics::{DatasetDocument, Field, Format, Query, QueryDocument, Segment};
pub use cleanroom_model::analytics::{FailureCode, JobEvent};
use serde::Serialize;
use sql_gate::Checked;

use crate::webhdfs::Door;

/// Why a job cannot be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The run gave a value for a parameter the query does not declare.
    #[error("parameter {0} is not declared by the query")]
    UnknownParameter(String),
    /// A value is missing or breaks the declared bounds.
    #[error("parameter {0} needs a value of its declared type and bounds")]
    ParameterValue(String),
    /// The number of datasets and of input views differ.
    #[error("there must be one dataset document for each input view")]
    Inputs,
    /// What the SQL gate found is of another query.
    #[error("the query has other segments than those that were checked")]
    Segments,
}

/// One run, as the fixed Spark program needs to know it. Not `Debug`: it holds the capability.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    run_id: String,
    views: Vec<JobView>,
    segments: Vec<Segment>,
    /// For each segment the views that the SQL gate found in its text; Spark must find the same.
    reads: Vec<BTreeSet<String>>,
    parameters: BTreeMap<String, serde_json::Value>,
    output: JobOutput,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobView {
    name: String,
    url: String,
    format: Format,
    fields: Vec<Field>,
    allowed_fields: Vec<String>,
    /// The owner's floor; the program also checks what the query demands.
    min_rows: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobOutput {
    url: String,
    format: Format,
    fields: Vec<Field>,
    allowed_fields: Vec<String>,
    /// The owners' floor: the result must be filtered by a count of at least this.
    min_group_size: u64,
}

impl JobSpec {
    /// Describes a run over an open door. `checked` is the SQL gate's word on the query; `datasets`
    /// are in the order of the query's inputs.
    ///
    /// # Errors
    ///
    /// If the values given for parameters do not fit their declarations.
    pub fn new(
        run_id: &str,
        query: &QueryDocument,
        checked: &Checked,
        datasets: &[DatasetDocument],
        sink: &DatasetDocument,
        values: &BTreeMap<String, serde_json::Value>,
        door: &Door,
    ) -> Result<Self, JobError> {
        if datasets.len() != query.inputs.len() {
            return Err(JobError::Inputs);
        }
        if checked.segments.len() != query.query.segments.len() {
            return Err(JobError::Segments);
        }
        let views = query.inputs.iter().zip(datasets).map(|(input, dataset)| JobView {
            name: input.view.as_str().to_owned(),
            url: door.input_url(input.view.as_str()),
            format: dataset.format,
            fields: dataset.fields.clone(),
            allowed_fields: dataset.allowed_fields.clone(),
            min_rows: dataset.access_point.privacy.min_input_rows.unwrap_or(0),
        });
        let min_group_size = datasets
            .iter()
            .map(|dataset| dataset.access_point.privacy)
            .map(|floor| {
                floor
                    .min_group_size
                    .unwrap_or(u64::from(floor.require_aggregation))
            })
            .max()
            .unwrap_or(0);
        Ok(Self {
            run_id: run_id.to_owned(),
            views: views.collect(),
            segments: query.query.segments.clone(),
            reads: checked
                .segments
                .iter()
                .map(|segment| segment.reads.clone())
                .collect(),
            parameters: bind(&query.query, values)?,
            output: JobOutput {
                url: door.output_url(),
                format: sink.format,
                fields: sink.fields.clone(),
                allowed_fields: sink.allowed_fields.clone(),
                min_group_size,
            },
        })
    }

    /// The bytes for standard input.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self)
            .expect("names, numbers and string-keyed maps are always representable as JSON")
    }
}

/// Every declared parameter with the run's value or its default.
fn bind(
    query: &Query,
    values: &BTreeMap<String, serde_json::Value>,
) -> Result<BTreeMap<String, serde_json::Value>, JobError> {
    let declared: BTreeSet<&String> = query.parameters.keys().collect();
    if let Some(unknown) = values.keys().find(|name| !declared.contains(name)) {
        return Err(JobError::UnknownParameter(unknown.clone()));
    }
    query
        .parameters
        .iter()
        .map(|(name, parameter)| {
            let value = values.get(name).or(parameter.default.as_ref());
            match value.filter(|value| parameter.accepts(value)) {
                Some(value) => Ok((name.clone(), value.clone())),
                None => Err(JobError::ParameterValue(name.clone())),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_bound_from_values_then_defaults_and_never_undeclared() {
        let query = Query::parse(
            r#"{"segments":[{"executionSequence":1,"data":"SELECT :k"}],
                "parameters":{"k":{"type":"long","min":1,"default":5},"s":{"type":"string"}}}"#,
        )
        .unwrap();
        let bound = |values: serde_json::Value| bind(&query, &serde_json::from_value(values).unwrap());
        let good = bound(serde_json::json!({"s": "x"})).unwrap();
        assert_eq!(
            serde_json::to_value(good).unwrap(),
            serde_json::json!({"k": 5, "s": "x"})
        );
        assert!(matches!(bound(serde_json::json!({})), Err(JobError::ParameterValue(name)) if name == "s"));
        assert!(matches!(
            bound(serde_json::json!({"s": "x", "k": 0})),
            Err(JobError::ParameterValue(_))
        ));
        assert!(matches!(
            bound(serde_json::json!({"s": "x", "z": 0})),
            Err(JobError::UnknownParameter(_))
        ));
    }
}
