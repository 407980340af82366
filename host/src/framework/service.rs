//! `/gov/service`: the service as its governance tables describe it.

use std::collections::{BTreeMap, BTreeSet};

use host_core::reply::{JSON, Reply};
use kv::{Json, Raw, Singleton};
use model::member::{MemberInfo, RecoveryRole};
use model::node::{NodeInfo, NodeStatus};
use model::service::{EndpointRow, RECENT_PROPOSALS_DEFAULT, ServiceConfig};
use model::tables::{
    CA_CERT_BUNDLES, CONSTITUTION, ENDPOINTS, JWT_ISSUERS, JWT_KEYS, MEMBER_CERTS, MEMBER_ENCRYPTION_KEYS,
    MEMBER_INFO, MODULES, NODE_ENDORSED_CERTIFICATES, NODE_INFO, SERVICE_CONFIG, SERVICE_INFO, SNP_HOST_DATA,
    SNP_MEASUREMENTS, SNP_TCB_VERSIONS, SNP_UVM_ENDORSEMENTS, USER_CERTS, USER_INFO, VIRTUAL_HOST_DATA,
    VIRTUAL_MEASUREMENTS,
};
use model::{MemberId, NodeId, UserId};
use serde_json::{Map, Value as JsonValue, json};

use super::{Answer, Failure, Query, with};

fn text(pem: Raw) -> JsonValue {
    JsonValue::String(String::from_utf8_lossy(&pem.0).into_owned())
}

fn configuration(config: &ServiceConfig) -> JsonValue {
    json!({
        "recoveryThreshold": config.recovery_threshold,
        "maximumNodeCertificateValidityDays": config.maximum_node_certificate_validity_days,
        "maximumServiceCertificateValidityDays": config.maximum_service_certificate_validity_days,
        "recentCoseProposalsWindowSize":
            config.recent_cose_proposals_window_size.unwrap_or(RECENT_PROPOSALS_DEFAULT),
    })
}

pub(super) fn info(query: &Query<'_>) -> Answer {
    let missing = || Failure::not_found("service");
    let info = SERVICE_INFO.get(query.state, &Singleton)?.ok_or_else(missing)?.0;
    let config = SERVICE_CONFIG
        .get(query.state, &Singleton)?
        .ok_or_else(missing)?
        .0;
    Ok(Reply::json(
        200,
        &json!({
            "status": info.status,
            "certificate": info.cert,
            "recoveryCount": info.recovery_count,
            "creationTransactionId": info.current_service_create_txid,
            "serviceData": info.service_data,
            "configuration": configuration(&config),
        }),
    ))
}

/// The digest of the constitution in force, as a JSON string; the component itself is a module.
pub(super) fn constitution(query: &Query<'_>) -> Answer {
    let digest = CONSTITUTION
        .get(query.state, &Singleton)?
        .ok_or_else(|| Failure::not_found("constitution"))?;
    Ok(Reply::json(200, &digest.0))
}

/// Digests of what decides and what answers, for whoever compares them with a published build.
pub(super) fn measurements(query: &Query<'_>) -> Answer {
    let constitution = CONSTITUTION.get(query.state, &Singleton)?.map(|row| row.0);
    let applications: BTreeSet<String> = ENDPOINTS
        .rows(query.state)?
        .into_iter()
        .map(|row| format!("sha256:{}", row.value.0.component))
        .collect();
    Ok(Reply::json(
        200,
        &json!({
            "constitutionDigest": constitution,
            "appDigest": applications.first(),
        }),
    ))
}

fn member_json(query: &Query<'_>, id: MemberId, info: MemberInfo) -> Result<JsonValue, Failure> {
    let certificate = MEMBER_CERTS.get(query.state, &id)?.map(text);
    let key = MEMBER_ENCRYPTION_KEYS.get(query.state, &id)?.map(text);
    let by_key = if key.is_some() {
        RecoveryRole::Participant
    } else {
        RecoveryRole::NonParticipant
    };
    let body = json!({
        "memberId": id,
        "status": info.status,
        "memberData": info.member_data,
        "certificate": certificate,
        "recoveryRole": info.recovery_role.unwrap_or(by_key),
    });
    Ok(with(body, "publicEncryptionKey", key))
}

pub(super) fn members(query: &Query<'_>) -> Answer {
    let value = MEMBER_INFO
        .rows(query.state)?
        .into_iter()
        .map(|row| member_json(query, row.key, row.value.0))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Reply::json(200, &json!({"value": value})))
}

pub(super) fn member(query: &Query<'_>) -> Answer {
    let id: MemberId = query.id(0)?;
    let info = MEMBER_INFO
        .get(query.state, &id)?
        .ok_or_else(|| Failure::not_found("member"))?;
    Ok(Reply::json(200, &member_json(query, id, info.0)?))
}

fn user_json(query: &Query<'_>, id: UserId, certificate: Raw) -> Result<JsonValue, Failure> {
    let info = USER_INFO.get(query.state, &id)?.unwrap_or_default();
    Ok(json!({
        "userId": id,
        "certificate": text(certificate),
        "userData": info.0.user_data,
    }))
}

pub(super) fn users(query: &Query<'_>) -> Answer {
    let value = USER_CERTS
        .rows(query.state)?
        .into_iter()
        .map(|row| user_json(query, row.key, row.value))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Reply::json(200, &json!({"value": value})))
}

pub(super) fn user(query: &Query<'_>) -> Answer {
    let id: UserId = query.id(0)?;
    let certificate = USER_CERTS
        .get(query.state, &id)?
        .ok_or_else(|| Failure::not_found("user"))?;
    Ok(Reply::json(200, &user_json(query, id, certificate)?))
}

fn node_json(query: &Query<'_>, id: NodeId, info: &NodeInfo) -> Result<JsonValue, Failure> {
    let interfaces: Map<String, JsonValue> = info
        .rpc_interfaces
        .iter()
        .map(|(name, interface)| {
            let body = json!({
                "publishedAddress": interface.published_address,
                "protocol": interface.protocol,
            });
            (name.clone(), body)
        })
        .collect();
    Ok(json!({
        "nodeId": id,
        "status": info.status,
        "nodeData": null,
        "certificate": NODE_ENDORSED_CERTIFICATES.get(query.state, &id)?.map(text),
        "retiredCommitted": info.status == NodeStatus::Retired,
        "quoteInfo": info.quote_info,
        "rpcInterfaces": interfaces,
    }))
}

pub(super) fn nodes(query: &Query<'_>) -> Answer {
    let value = NODE_INFO
        .rows(query.state)?
        .into_iter()
        .map(|row| node_json(query, row.key, &row.value.0))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Reply::json(200, &json!({"value": value})))
}

pub(super) fn node(query: &Query<'_>) -> Answer {
    let id: NodeId = query.id(0)?;
    let info = NODE_INFO
        .get(query.state, &id)?
        .ok_or_else(|| Failure::not_found("node"))?;
    Ok(Reply::json(200, &node_json(query, id, &info.0)?))
}

pub(super) fn join_policy(query: &Query<'_>) -> Answer {
    let state = query.state;
    let keys = |rows: Vec<kv::Entry<String, Json<String>>>| -> Vec<String> {
        rows.into_iter().map(|row| row.key).collect()
    };
    let host_data: Vec<String> = VIRTUAL_HOST_DATA
        .rows(state)?
        .into_iter()
        .map(|row| row.key)
        .collect();
    Ok(Reply::json(
        200,
        &json!({
            "sgx": {"measurements": []},
            "virtual": {"measurements": keys(VIRTUAL_MEASUREMENTS.rows(state)?), "hostData": host_data},
            "snp": {
                "measurements": keys(SNP_MEASUREMENTS.rows(state)?),
                "hostData": by_key(SNP_HOST_DATA.rows(state)?),
                "uvmEndorsements": by_key(SNP_UVM_ENDORSEMENTS.rows(state)?),
                "tcbVersions": by_key(SNP_TCB_VERSIONS.rows(state)?),
            },
        }),
    ))
}

fn by_key<T>(rows: Vec<kv::Entry<String, Json<T>>>) -> BTreeMap<String, T> {
    rows.into_iter().map(|row| (row.key, row.value.0)).collect()
}

pub(super) fn jwk(query: &Query<'_>) -> Answer {
    let issuers: Map<String, JsonValue> = JWT_ISSUERS
        .rows(query.state)?
        .into_iter()
        .map(|row| {
            let issuer = row.value.0;
            let body = json!({
                "autoRefresh": issuer.auto_refresh,
                "caCertBundleName": issuer.ca_cert_bundle_name,
                "audience": issuer.audience,
            });
            let skipped = Some(issuer.skipped_keys).filter(|keys| !keys.is_empty());
            (row.key, with(body, "skippedKeys", skipped))
        })
        .collect();
    let keys: Map<String, JsonValue> = JWT_KEYS
        .rows(query.state)?
        .into_iter()
        .map(|row| {
            let keys = row.value.0.iter().map(|key| {
                json!({
                    "publicKey": model::b64::encode(&key.public_key),
                    "issuer": key.issuer,
                    "constraint": key.constraint,
                })
            });
            (row.key, keys.collect())
        })
        .collect();
    Ok(Reply::json(
        200,
        &json!({
            "issuers": issuers,
            "keys": keys,
            "caCertBundles": by_key(CA_CERT_BUNDLES.rows(query.state)?),
        }),
    ))
}

/// Rows of the endpoint table by path and verb.
fn endpoints(query: &Query<'_>) -> Result<BTreeMap<String, Vec<(String, EndpointRow)>>, Failure> {
    let mut paths: BTreeMap<String, Vec<(String, EndpointRow)>> = BTreeMap::new();
    for row in ENDPOINTS.rows(query.state)? {
        if let Some((verb, path)) = row.key.split_once(' ') {
            paths
                .entry(path.to_owned())
                .or_default()
                .push((verb.to_owned(), row.value.0));
        }
    }
    Ok(paths)
}

/// The application's routes. `case=original` keeps the names of the table's rows.
pub(super) fn application(query: &Query<'_>) -> Answer {
    let original = query.argument("case")?.as_deref() == Some("original");
    let describe = |row: EndpointRow| {
        if original {
            return json!(row);
        }
        json!({
            "mode": row.mode,
            "forwardingRequired": row.forwarding_required,
            "redirectionStrategy": row.redirection_strategy,
            "authnPolicies": row.authn_policies,
            "component": row.component,
            "export": row.export,
            "prepare": row.prepare,
        })
    };
    let paths: Map<String, JsonValue> = endpoints(query)?
        .into_iter()
        .map(|(path, verbs)| {
            let verbs: Map<String, JsonValue> = verbs
                .into_iter()
                .map(|(verb, row)| (verb, describe(row)))
                .collect();
            (path, JsonValue::Object(verbs))
        })
        .collect();
    Ok(Reply::json(200, &json!({"endpoints": paths})))
}

/// Names of the stored components: hex SHA-256 of their bytes.
pub(super) fn modules(query: &Query<'_>) -> Answer {
    let store = &query.state.store;
    let value: Vec<JsonValue> = store
        .scan(MODULES.name(), &[], None)
        .map(|row| json!({"moduleName": String::from_utf8_lossy(row.key)}))
        .collect();
    Ok(Reply::json(200, &json!({"value": value})))
}

/// A stored component's bytes.
pub(super) fn module(query: &Query<'_>) -> Answer {
    let name = query.parameter(0).to_owned();
    let module = MODULES
        .get(query.state, &name)?
        .ok_or_else(|| Failure::not_found("module"))?;
    let mut reply = Reply::empty(200);
    reply.content_type = Some("application/wasm".to_owned());
    reply.body = module.0;
    Ok(reply)
}

/// An OpenAPI 3.1 document of the application's routes, as far as the endpoint table knows them:
/// paths, methods and how callers show who they are.
pub(super) fn application_api(query: &Query<'_>) -> Answer {
    let mut paths = Map::new();
    for (path, verbs) in endpoints(query)? {
        let parameters: Vec<JsonValue> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        let mut item = Map::new();
        for (verb, row) in verbs {
            let operation = json!({
                "parameters": parameters,
                "responses": {"default": {"description": "see the service's documentation"}},
                "x-authn-policies": row.authn_policies,
                "x-mode": row.mode,
            });
            item.insert(verb.to_lowercase(), operation);
        }
        paths.insert(format!("/app{path}"), JsonValue::Object(item));
    }
    let mut reply = Reply::json(
        200,
        &json!({
            "openapi": "3.1.0",
            "info": {"title": "Application", "version": env!("CARGO_PKG_VERSION")},
            "paths": paths,
        }),
    );
    reply.content_type = Some(JSON.to_owned());
    Ok(reply)
}
