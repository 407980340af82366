//! The manifest: what was computed from what, and which files hold it.

use std::collections::BTreeMap;

use model::Digest;
use serde::{Deserialize, Serialize};

/// Name of the manifest beside the result files.
pub(super) const FILE_NAME: &str = "manifest.json";
/// Name of its signature.
pub(super) const SIGNATURE_FILE_NAME: &str = "manifest.sig.json";

/// What a result was computed from.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// Id of the run.
    pub job_id: String,
    /// SHA-256 of the query document's text.
    pub query_digest: Digest,
    /// SHA-256 of each dataset document's text, by view name.
    pub dataset_digests: BTreeMap<String, Digest>,
}

/// One result file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ManifestFile {
    /// Path below the run's directory.
    pub path: String,
    /// SHA-256 of the bytes as stored, that is, after encryption.
    pub sha256: Digest,
    /// Rows in it, where the format can be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// The signed list of a run's output.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// SHA-256 of each dataset document's text, by view name.
    pub dataset_digests: BTreeMap<String, Digest>,
    /// The result files, in order of path.
    pub files: Vec<ManifestFile>,
    /// Id of the run.
    pub job_id: String,
    /// SHA-256 of the query document's text.
    pub query_digest: Digest,
    /// Rows of the whole result.
    pub rows: u64,
}

impl Manifest {
    pub(super) fn new(provenance: Provenance, rows: u64, files: Vec<ManifestFile>) -> Self {
        let Provenance {
            job_id,
            query_digest,
            dataset_digests,
        } = provenance;
        Self {
            dataset_digests,
            files,
            job_id,
            query_digest,
            rows,
        }
    }

    /// The bytes that are stored and signed: JSON with members in order of name.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Declared in order of name; strings, digests, numbers and string-keyed maps always serialise.
        serde_json::to_vec(self).expect("a manifest is always representable as JSON")
    }
}

/// The pod's signature over the manifest's bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestSignature {
    /// JOSE name of the algorithm, for example `PS256`.
    pub algorithm: String,
    /// PEM of the key that the pod's evidence binds.
    pub public_key: String,
    /// The signature.
    #[serde(with = "model::b64")]
    pub signature: Vec<u8>,
}

impl ManifestSignature {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("two strings and bytes are always representable as JSON")
    }
}
