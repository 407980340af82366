//! The SQL gate on this machine: what launcher and pod will say of a query, before anybody is asked.

use cleanroom_model::analytics::{QueryDocument, ViewName};
use cleanroom_model::{ContractId, DocumentId};
use client::Connection;
use serde_json::{Value as JsonValue, json};

use crate::answer::Failure;

/// Code under which launchers refuse what the gate refuses.
pub(crate) const REFUSED: &str = "QueryRefused";

/// Every rule that a query on the ledger breaks; none if it may run as far as its text allows.
pub(crate) async fn rules_broken(
    connection: &Connection,
    contract: &ContractId,
    query: &DocumentId,
) -> Result<Vec<JsonValue>, Failure> {
    let path = format!("/app/contracts/{contract}/userdocuments/{query}");
    let document: JsonValue = connection.post_empty(&path).await?.json()?;
    let text = document
        .get("data")
        .and_then(JsonValue::as_str)
        .unwrap_or_default();
    Ok(broken(text))
}

fn broken(text: &str) -> Vec<JsonValue> {
    let document = match QueryDocument::parse(text) {
        Ok(document) => document,
        Err(error) => return vec![json!({ "code": "InvalidQueryFormat", "message": error.to_string() })],
    };
    let views: Vec<ViewName> = document.inputs.iter().map(|input| input.view.clone()).collect();
    match sql_gate::check(&document.query, &views) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| json!({ "code": "SqlRule", "segment": error.segment, "message": error.rule.to_string() }))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_named_before_anybody_is_asked() {
        let document = |sql: &str| {
            let query = json!({ "segments": [{ "executionSequence": 1, "data": sql }] });
            json!({ "name": "q", "application": {
                "applicationType": "Spark-SQL",
                "inputDataset": [{ "specification": "d", "view": "t" }],
                "outputDataset": { "specification": "o", "view": "output" },
                "query": model::b64::encode(query.to_string().as_bytes()),
            }})
            .to_string()
        };
        assert_eq!(broken(&document("SELECT a FROM t")), Vec::<JsonValue>::new());
        assert!(!broken(&document("SELECT a FROM csv.`/etc/passwd`")).is_empty());
        assert!(!broken("{}").is_empty());
    }
}
