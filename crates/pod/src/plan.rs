//! What a run consists of, taken from the run record and the documents it lists and from nowhere
//! else. Pure: nothing is fetched, opened or written here.
//!
//! The ledger has decided already. The pod looks again, since it is the one that will hold keys:
//! documents must be the recorded ones, byte for byte, and the query must pass the same SQL gate.

use std::fmt;

use cleanroom_model::analytics::{
    DatasetDocument, Encryption, FailureCode, PrivacyPolicy, QueryDocument, ViewName,
};
use cleanroom_model::api::{DocumentState, RunForPod, UserDocument};
use cleanroom_model::policy::TokenGrant;
use cleanroom_model::tables::{DocumentUse, RunDocument, RunRecord};
use cleanroom_model::{ContractId, RunId};
use model::Digest;
use sql_gate::Checked;

use crate::federated::FederatedIdentity;

/// Why a run ends without a result. Messages hold no data values and no secrets.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    /// The class of failure.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

impl RunError {
    /// A failure of this class.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// A dataset or the sink, as this run uses it.
#[derive(Clone, Debug)]
pub struct Part {
    /// The name that the query knows it by.
    pub view: ViewName,
    /// The document.
    pub document: DatasetDocument,
    /// SHA-256 of the document's text.
    pub digest: Digest,
    /// Who published it.
    pub owner: String,
    /// The identity that its store asks for.
    pub identity: Option<FederatedIdentity>,
}

impl Part {
    /// Secret id of its data key.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        match &self.document.access_point.encryption {
            Encryption::ClientSide { dek_secret } => Some(dek_secret),
            Encryption::StoreSide => None,
        }
    }

    /// Subject of the tokens that its owner's relying party accepts: contract and owner, joined by
    /// what no identifier holds, so that no other pair has the same. The reference joins them by
    /// `-`; that form is asked for only where the run was granted it and not the other.
    #[must_use]
    pub fn token_subject(&self, contract: &ContractId, granted: &[TokenGrant]) -> String {
        let subject = format!("{contract}/{}", self.owner);
        let joined = format!("{contract}-{}", self.owner);
        let is_granted = |wanted: &str| granted.iter().any(|grant| grant.sub == wanted);
        if !is_granted(&subject) && is_granted(&joined) {
            return joined;
        }
        subject
    }
}

/// A run, ready to be carried out.
#[derive(Debug)]
pub struct Plan {
    /// What the ledger allows.
    pub record: RunRecord,
    /// The query.
    pub query: QueryDocument,
    /// SHA-256 of the query document's text.
    pub query_digest: Digest,
    /// What the SQL gate found in it.
    pub checked: Checked,
    /// In the query's order.
    pub inputs: Vec<Part>,
    /// Where the result goes.
    pub sink: Part,
}

impl Plan {
    /// Id of the dataset document that the query knows by the name `view`.
    #[must_use]
    pub fn document_of(&self, view: &str) -> Option<&str> {
        let mut inputs = self.query.inputs.iter();
        let input = inputs.find(|input| input.view.as_str() == view)?;
        Some(&input.specification)
    }

    /// Takes apart what the ledger released for `run`.
    ///
    /// # Errors
    ///
    /// [`RunError`] if record and documents disagree, or the query may not run.
    pub fn new(contract: &ContractId, run: &RunId, released: RunForPod) -> Result<Self, RunError> {
        let RunForPod {
            run: record,
            documents,
        } = released;
        if record.run_id != *run {
            return Err(refused(format!(
                "the record is of run {}, not {run}",
                record.run_id
            )));
        }
        if documents.len() != record.documents.len() {
            return Err(refused("record and documents differ in number"));
        }
        let mut query = None;
        let mut inputs = Vec::new();
        let mut sink = None;
        for (used, document) in record.documents.iter().zip(&documents) {
            let (text, digest) = recorded_text(contract, used, document)?;
            let once = match used.used_as {
                DocumentUse::Query => query
                    .replace((parsed(used, QueryDocument::parse(text))?, digest))
                    .is_none(),
                DocumentUse::Input => {
                    inputs.push((used.id.to_string(), part(used, document, text, digest)?));
                    true
                }
                DocumentUse::Output => sink
                    .replace((used.id.to_string(), part(used, document, text, digest)?))
                    .is_none(),
            };
            if !once {
                return Err(refused("the record lists two queries or two sinks"));
            }
        }
        let (query, query_digest) = query.ok_or_else(|| refused("the record lists no query"))?;
        let sink = sink.ok_or_else(|| refused("the record lists no sink"))?;
        check_uses(&query, &inputs, &sink)?;
        let (inputs, sink) = (
            inputs.into_iter().map(|(_, part)| part).collect::<Vec<_>>(),
            sink.1,
        );
        let checked = check_sql(&query, &inputs)?;
        Ok(Self {
            record,
            query,
            query_digest,
            checked,
            inputs,
            sink,
        })
    }
}

fn refused(message: impl Into<String>) -> RunError {
    RunError::new(FailureCode::QueryRefused, message)
}

fn parsed<T, E: fmt::Display>(used: &RunDocument, result: Result<T, E>) -> Result<T, RunError> {
    result.map_err(|e| refused(format!("document {}: {e}", used.id)))
}

/// The text of a document that is exactly the recorded one.
fn recorded_text<'a>(
    contract: &ContractId,
    used: &RunDocument,
    document: &'a UserDocument,
) -> Result<(&'a str, Digest), RunError> {
    let same = document.id == used.id
        && document.version == used.version
        && document.state == DocumentState::Accepted
        && document.contract_id == contract.as_str();
    let text = document.data.as_str().unwrap_or_default();
    let digest = crypto::sha256(text.as_bytes());
    if same && digest == used.digest {
        return Ok((text, digest));
    }
    Err(refused(format!(
        "document {} is not the accepted version that the run was admitted with",
        used.id
    )))
}

fn part(used: &RunDocument, document: &UserDocument, text: &str, digest: Digest) -> Result<Part, RunError> {
    let view = used.view.clone();
    Ok(Part {
        view: view.ok_or_else(|| refused(format!("document {} has no view in the record", used.id)))?,
        document: parsed(used, DatasetDocument::parse(text))?,
        digest,
        owner: document.proposer_id.clone(),
        identity: parsed(used, FederatedIdentity::of_document(text))?,
    })
}

/// The query's own list of inputs and output is the record's.
fn check_uses(
    query: &QueryDocument,
    inputs: &[(String, Part)],
    sink: &(String, Part),
) -> Result<(), RunError> {
    let named = query.inputs.iter().chain([&query.output]);
    let recorded = inputs.iter().chain([sink]);
    let same = query.inputs.len() == inputs.len()
        && named
            .zip(recorded)
            .all(|(named, (id, part))| named.specification == *id && named.view == part.view);
    if same {
        Ok(())
    } else {
        Err(refused("the query uses other documents than the record lists"))
    }
}

/// The second look at the SQL, with the launcher's own gate.
fn check_sql(query: &QueryDocument, inputs: &[Part]) -> Result<Checked, RunError> {
    let views: Vec<ViewName> = inputs.iter().map(|part| part.view.clone()).collect();
    let checked = sql_gate::check(&query.query, &views).map_err(|errors| {
        let rules: Vec<String> = errors.iter().map(ToString::to_string).collect();
        refused(rules.join("; "))
    })?;
    let floors: Vec<PrivacyPolicy> = inputs
        .iter()
        .map(|part| part.document.access_point.privacy)
        .collect();
    sql_gate::check_floors(&query.query, &floors).map_err(|error| refused(error.to_string()))?;
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as JsonValue, json};

    use super::*;

    fn dataset(name: &str, mode: &str) -> String {
        json!({
            "name": name,
            "datasetSchema": { "format": "csv", "fields": [{ "fieldName": "a", "fieldType": "string" }] },
            "datasetAccessPolicy": { "accessMode": mode, "allowedFields": ["a"] },
            "datasetAccessPoint": { "name": name, "store": { "type": "Local_FileSystem",
                "provider": { "protocol": "Local_FileSystem", "url": "file:///data" } },
                "protection": {} },
        })
        .to_string()
    }

    fn query(sql: &str) -> String {
        let query = json!({ "segments": [{ "executionSequence": 1, "data": sql }] });
        json!({ "name": "q", "application": {
            "applicationType": "Spark-SQL",
            "inputDataset": [{ "specification": "in", "view": "t" }],
            "outputDataset": { "specification": "out", "view": "output" },
            "query": model::b64::encode(query.to_string().as_bytes()),
        }})
        .to_string()
    }

    /// What the ledger would release, as JSON to be spoiled by the tests.
    fn released(sql: &str) -> JsonValue {
        let texts = [
            ("q", "query", query(sql)),
            ("in", "input", dataset("in", "read")),
            ("out", "output", dataset("out", "write")),
        ];
        let used = |(id, used_as, text): &(&str, &str, String)| {
            let view = match *used_as {
                "input" => Some("t"),
                "output" => Some("output"),
                _ => None,
            };
            json!({ "id": id, "version": "2.7", "use": used_as, "view": view,
                "digest": crypto::sha256(text.as_bytes()) })
        };
        let document = |(id, _, text): &(&str, &str, String)| {
            json!({ "id": id, "state": "Accepted", "version": "2.7", "contractId": "c", "data": text,
                "approvers": [], "proposalId": "", "proposerId": "owner" })
        };
        json!({
            "run": { "runId": "r", "queryId": "q", "documents": texts.iter().map(used).collect::<Vec<_>>(),
                "secretIds": [], "podAlternative": "pod", "telemetry": false, "admittedOn": 1, "notAfter": 2,
                "launcherHostData": "" },
            "documents": texts.iter().map(document).collect::<Vec<_>>(),
        })
    }

    fn plan(released: &JsonValue) -> Result<Plan, RunError> {
        let released = serde_json::from_value(released.clone()).unwrap();
        Plan::new(&"c".parse().unwrap(), &"r".parse().unwrap(), released)
    }

    const GOOD: &str = "SELECT a FROM t";

    #[test]
    fn a_run_is_what_record_and_documents_say() {
        let plan = plan(&released(GOOD)).unwrap();
        assert_eq!(plan.inputs.len(), 1);
        let contract: ContractId = "c".parse().unwrap();
        let grants = |subjects: &[&str]| -> Vec<TokenGrant> {
            let grant = |sub: &&str| serde_json::from_value(json!({"sub": sub, "aud": ["a"]})).unwrap();
            subjects.iter().map(grant).collect()
        };
        for (granted, subject) in [
            (&[][..], "c/owner"),
            (&["c/owner", "c-owner"], "c/owner"),
            (&["c-other"], "c/owner"),
            (&["c-owner"], "c-owner"),
        ] {
            assert_eq!(plan.sink.token_subject(&contract, &grants(granted)), subject);
        }
    }

    #[test]
    fn documents_that_are_not_the_recorded_ones_are_refused() {
        for (pointer, value) in [
            ("/documents/1/version", json!("2.8")),
            ("/documents/1/state", json!("Proposed")),
            ("/documents/1/contractId", json!("other")),
            ("/documents/1/data", json!(dataset("other", "read"))),
            ("/documents/1/id", json!("other")),
            ("/run/runId", json!("other")),
            ("/run/documents/1/view", json!("other")),
            ("/run/documents/1/use", json!("output")),
        ] {
            let mut spoiled = released(GOOD);
            *spoiled.pointer_mut(pointer).unwrap() = value;
            assert_eq!(
                plan(&spoiled).unwrap_err().code,
                FailureCode::QueryRefused,
                "{pointer}"
            );
        }
    }

    #[test]
    fn the_pod_refuses_sql_by_itself() {
        let hostile = plan(&released("SELECT a FROM csv.`/etc/passwd`")).unwrap_err();
        assert_eq!(hostile.code, FailureCode::QueryRefused);
    }
}
