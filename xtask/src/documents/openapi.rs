//! The application's OpenAPI document, made from the endpoint list that the component reports.

use anyhow::{Context as _, Result};
use cleanroom_model::endpoints::Endpoint;
use cleanroom_model::error_codes::ErrorCode;
use model::endpoint::{CallerKind, Method, Mode, Spec};
use model::error_body::FrameworkError;
use model::evidence::Platform;
use serde_json::{Map, Value as JsonValue, json};

/// `docs/openapi/cleanroom.json`.
pub(super) fn document() -> Result<String> {
    let mut paths: Map<String, JsonValue> = Map::new();
    for endpoint in Endpoint::ALL {
        let spec = endpoint.spec();
        let path = paths
            .entry(format!("/app{}", spec.path))
            .or_insert_with(|| json!({}));
        let operations = path.as_object_mut().context("a path is an object")?;
        operations.insert(
            spec.method.as_str().to_ascii_lowercase(),
            operation(&format!("{endpoint:?}"), &spec),
        );
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Concordat clean room",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The application's endpoints. A reply to a write means committed; its x-ms-ccf-transaction-id \
                            names the entry. Made by `cargo xtask documents`.",
        },
        "paths": paths,
        "components": components(),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn operation(name: &str, spec: &Spec) -> JsonValue {
    let mut operation = json!({
        "operationId": name,
        "summary": words(name),
        "x-mode": match spec.mode { Mode::Query => "query", Mode::Update => "update" },
        "responses": {
            "2XX": { "description": "done" },
            "default": {
                "description": "refused or failed",
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
            },
        },
    });
    let Some(fields) = operation.as_object_mut() else {
        return operation;
    };
    let parameters: Vec<JsonValue> = spec
        .path
        .split(['{', '}'])
        .skip(1)
        .step_by(2)
        .map(|name| {
            json!({
                "name": name, "in": "path", "required": true,
                "schema": { "$ref": "#/components/schemas/Identifier" },
            })
        })
        .collect();
    if !parameters.is_empty() {
        fields.insert("parameters".into(), parameters.into());
    }
    let security: Vec<JsonValue> = spec.callers.iter().map(|caller| security(*caller)).collect();
    if !nobody_known(spec) {
        fields.insert("security".into(), security.into());
    }
    if takes_evidence(spec) {
        let schema = json!({ "$ref": "#/components/schemas/AttestedRequest" });
        let required = nobody_known(spec);
        fields.insert(
            "requestBody".into(),
            json!({ "required": required, "content": { "application/json": { "schema": schema } } }),
        );
    } else if spec.method == Method::Put {
        let body = json!({ "required": true, "content": { "application/json": { "schema": { "type": "object" } } } });
        fields.insert("requestBody".into(), body);
    }
    operation
}

/// Nobody shows credentials here: the endpoint is public, or evidence in the body takes their place.
fn nobody_known(spec: &Spec) -> bool {
    spec.callers.iter().all(|caller| *caller == CallerKind::Anonymous)
}

/// Evidence is used up, so whatever takes it is an update that anonymous callers may ask for.
fn takes_evidence(spec: &Spec) -> bool {
    let anonymous = nobody_known(spec) || spec.callers.contains(&CallerKind::Anonymous);
    anonymous && spec.mode == Mode::Update
}

fn security(caller: CallerKind) -> JsonValue {
    match caller {
        // Evidence in the body takes the place of credentials.
        CallerKind::Anonymous => json!({}),
        known => json!({ known.policy(): [] }),
    }
}

fn components() -> JsonValue {
    let ours = FrameworkError::InternalError;
    let told = ErrorCode::ALL.iter().map(|code| (code.as_str(), code.status()));
    let told: Vec<(&str, u16)> = told.chain([(ours.code(), ours.status())]).collect();
    let codes: Vec<&str> = told.iter().map(|(code, _)| *code).collect();
    let statuses: Map<String, JsonValue> = told
        .iter()
        .map(|(code, status)| ((*code).to_owned(), json!(status)))
        .collect();
    let base64 = |what: &str| json!({ "type": "string", "contentEncoding": "base64", "description": what });
    let key = base64("PEM text of an RSA public key");
    json!({
        "securitySchemes": {
            CallerKind::Member.policy(): { "type": "mutualTLS", "description": "a member's certificate" },
            CallerKind::User.policy(): { "type": "mutualTLS", "description": "a user's certificate" },
            CallerKind::Jwt.policy(): { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
        },
        "schemas": {
            "Identifier": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$" },
            "Error": {
                "type": "object",
                "required": ["error"],
                "properties": { "error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": { "type": "string" },
                        "message": { "type": "string", "description": "for people; never branched on" },
                        "details": { "type": "array", "items": { "type": "object" } },
                    },
                }},
            },
            "ApplicationErrorCode": { "enum": codes, "x-status": statuses },
            "AttestedRequest": {
                "type": "object",
                "properties": {
                    "platform": {
                        "enum": Platform::ALL.map(Platform::as_str),
                        "default": Platform::default().as_str(),
                    },
                    "attestation": { "type": "object", "description": "the platform's evidence" },
                    "nonce": base64("from /app/attestation/nonce; absent with static evidence"),
                    "encrypt": { "type": "object", "properties": { "publicKey": key } },
                    "sign": {
                        "type": "object",
                        "properties": { "publicKey": key, "signature": base64("RSA-PSS, SHA-256, salt 32") },
                    },
                    "data": base64("signed payload, JSON"),
                    "timestamp": { "type": "string", "description": "Unix milliseconds" },
                    "runId": { "$ref": "#/components/schemas/Identifier" },
                },
            },
        },
    })
}

/// `ReadContract` as `Read contract`.
fn words(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
            text.push(letter.to_ascii_lowercase());
        } else {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_in_the_document_once() {
        let document: JsonValue = serde_json::from_str(&document().unwrap()).unwrap();
        let paths = document.pointer("/paths").and_then(JsonValue::as_object).unwrap();
        let count: usize = paths
            .values()
            .filter_map(JsonValue::as_object)
            .map(Map::len)
            .sum();
        assert_eq!(count, Endpoint::ALL.len());
    }

    #[test]
    fn a_release_takes_evidence_and_no_credentials() {
        let release = operation("ReleaseSecret", &Endpoint::ReleaseSecret.spec());
        assert_eq!(release.pointer("/requestBody/required"), Some(&json!(true)));
        assert_eq!(release.pointer("/security"), None);
        assert_eq!(release.pointer("/parameters/1/name"), Some(&json!("secretName")));
    }
}
