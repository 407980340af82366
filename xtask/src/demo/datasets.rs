//! Step 4: owners encrypt and publish their data, the analyst publishes the query.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use model::b64;
use serde_json::{Value as JsonValue, json};

use super::story::{AUDIENCE, CONTRACT, FLIGHTS_MIN, GROUP_MIN, ORGANISATIONS, QUERY, SINK, SQL, Story};
use crate::cli::offline;
use crate::sandbox::field;

/// Encrypts the three tables, stores their keys as secrets and publishes the dataset documents.
pub(crate) fn publish(story: &Story, clear: &Path, relying_party: &JsonValue) -> Result<((), String)> {
    let mut rows = Vec::new();
    for (name, table) in ORGANISATIONS {
        let folder = story.dir.join("organisations").join(name);
        let store = folder.join("store").join(table);
        std::fs::create_dir_all(&store)?;
        let key = folder.join(format!("{table}.dek"));
        let source = clear.join(format!("{table}.csv"));
        let sealed = store.join(format!("{table}.csv"));
        offline(&["keys", "dataset", &text(&key)])?;
        offline(&[
            "dataset",
            "encrypt",
            &text(&source),
            &text(&sealed),
            "--key",
            &text(&key),
        ])?;
        let secret = put_key(story, name, &format!("{table}-dek"), &key)?;
        let schema: JsonValue = serde_json::from_str(&std::fs::read_to_string(
            clear.join(format!("{table}.schema.json")),
        )?)?;
        let fields = schema
            .get("fields")
            .cloned()
            .context("the schema has no fields")?;
        let document = document(
            table,
            "read",
            &fields,
            &allowed_fields(table),
            &store,
            &secret,
            None,
        );
        publish_as_owner(story, name, table, "dataset", &document)?;
        rows.push(format!(
            "{table} of {name}: {} rows",
            schema.get("rows").unwrap_or(&JsonValue::Null)
        ));
    }
    publish_sink(story, relying_party)?;
    Ok((
        (),
        format!(
            "{}; each encrypted under its owner's key, the keys are secrets of the contract",
            rows.join(", ")
        ),
    ))
}

fn publish_sink(story: &Story, relying_party: &JsonValue) -> Result<()> {
    let folder = story.dir.join("organisations/airline");
    let store = folder.join("store").join(SINK);
    std::fs::create_dir_all(&store)?;
    let key = folder.join(format!("{SINK}.dek"));
    offline(&["keys", "dataset", &text(&key)])?;
    let secret = put_key(story, "airline", &format!("{SINK}-dek"), &key)?;
    let fields = json!([
        { "fieldName": "manufacturer", "fieldType": "string" },
        { "fieldName": "visibility", "fieldType": "string" },
        { "fieldName": "mean_dep_delay", "fieldType": "number" },
        { "fieldName": "planes", "fieldType": "long" },
    ]);
    let identity = json!({
        "name": "airline-storage",
        "clientId": "airline-report-writer",
        "tenantId": "airline",
        "tokenIssuer": {
            "issuerType": "FederatedIdentityBasedTokenIssuer",
            "issuer": { "protocol": "Concordat", "url": super::consortium::issuer_url(story) },
            "federatedIdentity": {
                "audience": AUDIENCE,
                "tokenEndpoint": relying_party.get("endpoint"),
                "certificate": relying_party.get("certificate"),
            },
        },
    });
    let allowed: Vec<&str> = vec!["manufacturer", "visibility", "mean_dep_delay", "planes"];
    let document = document(SINK, "write", &fields, &allowed, &store, &secret, Some(identity));
    publish_as_owner(story, "airline", SINK, "dataset", &document)
}

fn put_key(story: &Story, owner: &str, name: &str, key: &Path) -> Result<String> {
    let stored = story.cli().run(
        &story.steward(owner),
        &["secret", "put", CONTRACT, name, "--file", &text(key)],
    )?;
    field(&stored, "secretId")
}

fn publish_as_owner(story: &Story, owner: &str, id: &str, kind: &str, document: &JsonValue) -> Result<()> {
    let file = story
        .dir
        .join("organisations")
        .join(owner)
        .join(format!("{id}.document.json"));
    std::fs::write(&file, document.to_string())?;
    let approver = format!("user={}", story.steward_id(owner)?);
    let label = format!("type={kind}");
    let who = story.steward(owner);
    let put = [
        "document",
        "put",
        CONTRACT,
        id,
        "--data",
        &text(&file),
        "--label",
        &label,
        "--approver",
        &approver,
    ];
    story.cli().run(&who, &put)?;
    story.cli().run(&who, &["document", "accept", CONTRACT, id])?;
    ensure!(
        story.document_state(&who, id)? == "Accepted",
        "{id} is not Accepted after its only approver accepted"
    );
    Ok(())
}

/// What the query needs of each table, and nothing else.
fn allowed_fields(table: &str) -> Vec<&'static str> {
    match table {
        "flights" => vec!["tailnum", "origin", "time_hour", "dep_delay"],
        "weather" => vec!["origin", "time_hour", "visib"],
        _ => vec!["tailnum", "manufacturer"],
    }
}

fn document(
    name: &str,
    mode: &str,
    fields: &JsonValue,
    allowed: &[&str],
    store: &Path,
    secret: &str,
    identity: Option<JsonValue>,
) -> JsonValue {
    let access = if mode == "write" {
        "Volume_ReadWrite"
    } else {
        "Volume_ReadOnly"
    };
    let configuration = json!({ "KeyType": "DEK", "EncryptionMode": "CSE" }).to_string();
    json!({
        "name": name,
        "datasetSchema": { "format": "csv", "fields": fields },
        "datasetAccessPolicy": { "accessMode": mode, "allowedFields": allowed },
        "datasetAccessPoint": {
            "name": name,
            "type": access,
            "path": "",
            "subdirectory": "",
            "store": {
                "name": name,
                "type": "Local_FileSystem",
                "provider": { "protocol": "Local_FileSystem", "url": format!("file://{}", text(store)) },
            },
            "identity": identity,
            "protection": {
                "proxyMode": "Secure",
                "privacyPolicy": null,
                "configuration": b64::encode(configuration.as_bytes()),
                "encryptionSecrets": {
                    "dek": { "type": "Cgs", "name": secret, "provider": { "protocol": "Cgs_Secret" } },
                },
            },
        },
    })
}

/// The analyst publishes the query; two of its three approvers accept.
pub(crate) fn query(story: &Story) -> Result<((), String)> {
    let query = json!({ "segments": [{
        "executionSequence": 1,
        "data": SQL,
        "preConditions": [{ "viewName": "flights", "minRowCount": FLIGHTS_MIN }],
        "postFilters": [{ "columnName": "planes", "value": GROUP_MIN }],
    }]});
    let inputs: Vec<JsonValue> = ORGANISATIONS
        .iter()
        .map(|(_, table)| json!({ "specification": table, "view": table }))
        .collect();
    let document = json!({ "name": QUERY, "application": {
        "applicationType": "Spark-SQL",
        "inputDataset": inputs,
        "outputDataset": { "specification": SINK, "view": "output" },
        "query": b64::encode(query.to_string().as_bytes()),
    }});
    let file = story.path("query.document.json");
    std::fs::write(&file, document.to_string())?;
    let approvers = ORGANISATIONS
        .iter()
        .map(|(name, _)| Ok(format!("user={}", story.steward_id(name)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut put = vec![
        "document",
        "put",
        CONTRACT,
        QUERY,
        "--data",
        &file,
        "--label",
        "type=spark-application",
    ];
    for approver in &approvers {
        put.extend(["--approver", approver]);
    }
    let analyst = story.steward("airline");
    story.cli().run(&analyst, &put)?;
    ensure!(
        story.document_state(&analyst, QUERY)? == "Draft",
        "the query is not a draft before any approval"
    );
    for name in ["airline", "airport"] {
        story
            .cli()
            .run(&story.steward(name), &["document", "accept", CONTRACT, QUERY])?;
    }
    ensure!(
        story.document_state(&analyst, QUERY)? == "Proposed",
        "the query is not Proposed after two of three"
    );
    Ok((
        (),
        "airline and airport accepted: Proposed; registry's steward has not decided yet".to_owned(),
    ))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
