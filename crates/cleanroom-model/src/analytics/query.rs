//! The query document: which datasets it joins under which names, and the SQL segments.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{DocumentError, ViewName, bounded};

/// Most segments in one query.
pub const SEGMENT_COUNT_MAX: usize = 64;
/// Most input datasets in one query.
pub const INPUT_COUNT_MAX: usize = 64;
/// Longest SQL text of one segment, in bytes.
pub const STATEMENT_SIZE_MAX: usize = 64 * 1024;

/// One dataset under the name by which SQL knows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct InputView {
    /// Id of the dataset document.
    pub specification: String,
    /// Its name in SQL.
    pub view: ViewName,
}

/// A dataset used by a query, as input or as sink.
pub type DatasetUse = InputView;

/// A query document, spark-analytics §9.1.
#[derive(Clone, Debug)]
pub struct QueryDocument {
    /// The name its author gave it.
    pub name: String,
    /// The datasets it reads; at least one, names unique.
    pub inputs: Vec<InputView>,
    /// Where the result goes.
    pub output: DatasetUse,
    /// What it computes.
    pub query: Query,
}

/// SQL segments in groups, and the parameters they may mention.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Query {
    /// The segments, in the order of the document.
    pub segments: Vec<Segment>,
    /// Declared named parameters; SQL may use `:name` for these and no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
}

/// One SQL statement and the row counts it depends on.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// Segments of one sequence number form a group; groups run in ascending order.
    pub execution_sequence: u32,
    /// One SQL statement.
    pub data: String,
    /// Least row counts of views, checked before the segment runs.
    #[serde(
        default,
        deserialize_with = "null_as_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pre_conditions: Vec<PreCondition>,
    /// Least values of count columns; rows below are dropped from the segment's result.
    #[serde(
        default,
        deserialize_with = "null_as_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub post_filters: Vec<PostFilter>,
}

/// Input k-min: the view must have this many rows.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreCondition {
    /// An input or an earlier temporary view.
    pub view_name: ViewName,
    /// Rows.
    pub min_row_count: u64,
}

/// Output k-min: only rows with at least this count survive.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostFilter {
    /// A column of the segment's result; must come from a count aggregate.
    pub column_name: String,
    /// The least count.
    pub value: u64,
}

/// A declared parameter and the values it accepts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// The type values are bound as.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// The value when a run gives none; without one, a run must give it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// Least value of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Greatest value of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The only values accepted, if given.
    #[serde(default, rename = "enum", skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Vec<serde_json::Value>>,
}

/// Types of parameters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterType {
    /// Text.
    String,
    /// A 64-bit whole number.
    #[serde(alias = "integer")]
    Long,
    /// A double.
    Number,
    /// True or false.
    Boolean,
}

impl Parameter {
    /// Whether `value` has the declared type and lies within the declared bounds.
    #[must_use]
    pub fn accepts(&self, value: &serde_json::Value) -> bool {
        let typed = match self.kind {
            ParameterType::String => value.is_string(),
            ParameterType::Long => value.is_i64(),
            ParameterType::Number => value.is_number(),
            ParameterType::Boolean => value.is_boolean(),
        };
        let in_bounds = value.as_f64().is_none_or(|number| {
            self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
        });
        typed
            && in_bounds
            && self
                .allowed
                .as_ref()
                .is_none_or(|allowed| allowed.contains(value))
    }
}

fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Wire {
    name: String,
    application: WireApplication,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireApplication {
    application_type: String,
    input_dataset: Vec<InputView>,
    output_dataset: DatasetUse,
    query: String,
}

impl QueryDocument {
    /// Parses the `data` of a query document.
    ///
    /// # Errors
    ///
    /// What breaks the form or a rule of it.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let wire: Wire = bounded(text)?;
        let application = wire.application;
        if application.application_type != "Spark-SQL" {
            return Err(DocumentError::rule(
                "application.applicationType",
                "must be Spark-SQL",
            ));
        }
        let inputs = application.input_dataset;
        if inputs.is_empty() || inputs.len() > INPUT_COUNT_MAX {
            return Err(DocumentError::rule(
                "application.inputDataset",
                format!("must name 1 to {INPUT_COUNT_MAX} datasets"),
            ));
        }
        let mut names = BTreeSet::new();
        for input in &inputs {
            if !names.insert(input.view.folded()) {
                return Err(DocumentError::rule(
                    "application.inputDataset",
                    format!("view {} is named twice", input.view),
                ));
            }
        }
        let query = model::b64::decode(&application.query)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or(DocumentError::Base64("application.query"))?;
        Ok(Self {
            name: wire.name,
            inputs,
            output: application.output_dataset,
            query: Query::parse(&query)?,
        })
    }
}

impl Query {
    /// Parses the JSON inside `application.query`.
    ///
    /// # Errors
    ///
    /// What breaks the form, a size or the rule on groups.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let query: Self = bounded(text)?;
        query.check()?;
        Ok(query)
    }

    /// Segments grouped by sequence number, ascending; each with its place in `segments`.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<(usize, &Segment)>> {
        let mut groups: BTreeMap<u32, Vec<(usize, &Segment)>> = BTreeMap::new();
        for (index, segment) in self.segments.iter().enumerate() {
            groups
                .entry(segment.execution_sequence)
                .or_default()
                .push((index, segment));
        }
        groups.into_values().collect()
    }

    fn check(&self) -> Result<(), DocumentError> {
        if self.segments.is_empty() || self.segments.len() > SEGMENT_COUNT_MAX {
            return Err(DocumentError::rule(
                "segments",
                format!("must be 1 to {SEGMENT_COUNT_MAX}"),
            ));
        }
        if let Some(long) = self
            .segments
            .iter()
            .find(|segment| segment.data.len() > STATEMENT_SIZE_MAX)
        {
            return Err(DocumentError::rule(
                "segments[].data",
                format!(
                    "statement of {} bytes is longer than {STATEMENT_SIZE_MAX}",
                    long.data.len()
                ),
            ));
        }
        if self.groups().last().is_none_or(|group| group.len() != 1) {
            return Err(DocumentError::rule(
                "segments[].executionSequence",
                "the highest sequence must hold exactly one segment: its result is the output",
            ));
        }
        for (name, parameter) in &self.parameters {
            ViewName::parse(name).map_err(|_| {
                DocumentError::rule("parameters", "names are ASCII letters, digits and underscores")
            })?;
            if parameter
                .default
                .as_ref()
                .is_some_and(|default| !parameter.accepts(default))
            {
                return Err(DocumentError::rule(
                    format!("parameters.{name}.default"),
                    "is not a value the parameter accepts",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(inputs: &str, query: &str) -> String {
        let query = model::b64::encode(query.as_bytes());
        format!(
            r#"{{"name":"q","application":{{"applicationType":"Spark-SQL","inputDataset":{inputs},
               "outputDataset":{{"specification":"sink","view":"output"}},"query":"{query}"}}}}"#
        )
    }

    const ONE: &str = r#"[{"specification":"d1","view":"flights"}]"#;

    #[test]
    fn a_query_is_read_in_groups() {
        let text = document(
            ONE,
            r#"{"segments":[{"executionSequence":2,"data":"SELECT 1","postFilters":[{"columnName":"n","value":10}]},
                {"executionSequence":1,"data":"a","preConditions":null},{"executionSequence":1,"data":"b"}]}"#,
        );
        let document = QueryDocument::parse(&text).unwrap();
        let shape: Vec<Vec<usize>> = document
            .query
            .groups()
            .iter()
            .map(|group| group.iter().map(|(index, _)| *index).collect())
            .collect();
        assert_eq!(shape, [vec![1, 2], vec![0]]);
        assert_eq!(document.query.segments[0].post_filters[0].value, 10);
    }

    #[test]
    fn a_document_that_breaks_a_rule_is_refused() {
        let good = r#"{"segments":[{"executionSequence":1,"data":"SELECT 1"}]}"#;
        assert!(QueryDocument::parse(&document(ONE, good)).is_ok());
        let twice = r#"[{"specification":"a","view":"v"},{"specification":"b","view":"V"}]"#;
        let spaced = r#"[{"specification":"a","view":"v v"}]"#;
        let open = r#"{"segments":[{"executionSequence":1,"data":"a"},{"executionSequence":1,"data":"b"}]}"#;
        let negative = r#"{"segments":[{"executionSequence":1,"data":"a","postFilters":[{"columnName":"n","value":-1}]}]}"#;
        let default = r#"{"segments":[{"executionSequence":1,"data":"a"}],"parameters":{"p":{"type":"long","default":"x"}}}"#;
        for (inputs, query) in [
            (twice, good),
            (spaced, good),
            ("[]", good),
            (ONE, open),
            (ONE, negative),
            (ONE, default),
            (ONE, r#"{"segments":[]}"#),
            (ONE, "no json"),
        ] {
            assert!(
                QueryDocument::parse(&document(inputs, query)).is_err(),
                "{inputs} {query}"
            );
        }
        assert!(matches!(
            QueryDocument::parse(&" ".repeat(super::super::DOCUMENT_SIZE_MAX + 1)),
            Err(DocumentError::TooLong(_))
        ));
    }

    #[test]
    fn a_parameter_takes_only_values_of_its_type_and_bounds() {
        let parameter: Parameter =
            serde_json::from_str(r#"{"type":"long","min":1,"max":9,"enum":[1,5,9,12]}"#).unwrap();
        for (value, good) in [
            ("5", true),
            ("2", false),
            ("12", false),
            ("\"5\"", false),
            ("5.0", false),
        ] {
            assert_eq!(
                parameter.accepts(&serde_json::from_str(value).unwrap()),
                good,
                "{value}"
            );
        }
    }
}
