//! Datasets and queries as their owners publish them: the JSON inside user documents, parsed once.
//!
//! Documents come from outside, so parsing is bounded and every rule that later code relies on is
//! checked here: after `parse`, field types are known ones, names are unique, the list of allowed
//! fields is not empty and names only fields of the schema. Members this program does not use are
//! ignored, with one exception: a privacy policy with an unknown rule is refused, because a
//! restriction that nobody enforces is worse than an error.
//!
//! Source: spark-analytics §9.1, §9.2, §10; decision 39.

mod dataset;
mod dates;
mod events;
mod query;

pub use dataset::{
    AccessMode, AccessPoint, DatasetDocument, DateFallback, Encryption, FIELD_COUNT_MAX, Field, FieldType,
    Format, PrivacyPolicy, Store, StoreType,
};
pub use dates::{Date, DateRange, Days, DaysError};
pub use events::{FailureCode, JobEvent};
pub use query::{
    DatasetUse, INPUT_COUNT_MAX, InputView, Parameter, ParameterType, PostFilter, PreCondition, Query,
    QueryDocument, SEGMENT_COUNT_MAX, STATEMENT_SIZE_MAX, Segment,
};

use std::fmt;

/// Longest document text accepted, in bytes.
pub const DOCUMENT_SIZE_MAX: usize = 256 * 1024;

/// Why a dataset or query document is unusable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The text is longer than [`DOCUMENT_SIZE_MAX`].
    #[error("document of {0} bytes is longer than {DOCUMENT_SIZE_MAX}")]
    TooLong(usize),
    /// Not JSON, or not of the shape expected.
    #[error("document is not of the expected form: {0}")]
    Json(#[from] serde_json::Error),
    /// A base64 member does not decode.
    #[error("{0} is not base64")]
    Base64(&'static str),
    /// A value breaks a rule.
    #[error("{what}: {why}")]
    Rule {
        /// The member at fault, as a path.
        what: String,
        /// The rule it breaks.
        why: String,
    },
    /// No field would be exposed.
    #[error("datasetAccessPolicy.allowedFields must name at least one field")]
    AllowedFieldsNotSpecified,
}

impl DocumentError {
    fn rule(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Rule {
            what: what.into(),
            why: why.into(),
        }
    }
}

/// The name of a view: an ASCII letter or `_`, then letters, digits and `_`, at most 64.
///
/// Spark compares view names without regard to case, so this type does too. ASCII only, because two
/// programs would otherwise have to agree on Unicode case folding.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(transparent)]
pub struct ViewName(String);

impl ViewName {
    /// Parses a name.
    ///
    /// # Errors
    ///
    /// If a character or the length is not allowed.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let first_ok = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let all_ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if first_ok && all_ok && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(DocumentError::rule(
                "view name",
                "must be 1 to 64 ASCII letters, digits and underscores, not starting with a digit",
            ))
        }
    }

    /// The name as its author wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as Spark compares it.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for ViewName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ViewName {}

impl Ord for ViewName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(&other.folded())
    }
}

impl PartialOrd for ViewName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ViewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for ViewName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Parses JSON after checking its length.
fn bounded<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, DocumentError> {
    if text.len() > DOCUMENT_SIZE_MAX {
        return Err(DocumentError::TooLong(text.len()));
    }
    Ok(serde_json::from_str(text)?)
}
