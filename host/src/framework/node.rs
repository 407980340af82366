//! `/node`: this node, its peers (none yet) and the service it belongs to.

use host_core::reply::Reply;
use kv::Singleton;
use model::NodeId;
use model::node::{NodeInfo, NodeStatus};
use model::service::ServiceStatus;
use model::tables::{NODE_INFO, SERVICE_CONFIG, SERVICE_INFO};
use serde_json::{Value as JsonValue, json};

use super::{Answer, Failure, Query};
use crate::clock::ClockFault;

/// Generation of the reference host whose ledgers and APIs we are compatible with; its tools
/// parse this text.
const COMPATIBLE_WITH: &str = "ccf-6.0.0";

pub(super) fn state(query: &Query<'_>) -> Answer {
    let state = query.state;
    Ok(Reply::json(
        200,
        &json!({
            "node_id": state.node_id,
            "state": "PartOfNetwork",
            "last_signed_seqno": state.committed.seqno,
            "startup_seqno": state.startup_seqno,
            "stop_notice": false,
            "service_time": query.now.time.seconds(),
            "clock": query.now.fault.map_or("Ok", ClockFault::code),
        }),
    ))
}

pub(super) fn version(query: &Query<'_>) -> Answer {
    let insecure = query.facts.insecure_virtual;
    Ok(Reply::json(
        200,
        &json!({
            "version": concat!("concordat-", env!("CARGO_PKG_VERSION")),
            "ccf_version": COMPATIBLE_WITH,
            "quickjs_version": "none",
            "unsafe": insecure,
            "insecureVirtual": insecure,
        }),
    ))
}

pub(super) fn network(query: &Query<'_>) -> Answer {
    let state = query.state;
    let info = SERVICE_INFO
        .get(state, &Singleton)?
        .ok_or_else(|| Failure::not_found("service"))?
        .0;
    Ok(Reply::json(
        200,
        &json!({
            "service_status": info.status,
            "service_certificate": info.cert,
            "current_view": state.committed.view,
            "primary_id": state.node_id,
            "recovery_count": info.recovery_count,
            "service_data": info.service_data,
            "current_service_create_txid": info.current_service_create_txid,
        }),
    ))
}

fn node_json(query: &Query<'_>, id: NodeId, info: &NodeInfo) -> JsonValue {
    let this = id == query.state.node_id;
    json!({
        "node_id": id,
        "status": info.status,
        "primary": this,
        "rpc_interfaces": info.rpc_interfaces,
        "node_data": null,
        "last_written": null,
    })
}

pub(super) fn nodes(query: &Query<'_>) -> Answer {
    let wanted = query.argument("status")?;
    let nodes: Vec<JsonValue> = NODE_INFO
        .rows(query.state)?
        .into_iter()
        .filter(|row| {
            let status = status_text(row.value.0.status);
            wanted.as_ref().is_none_or(|wanted| wanted == status)
        })
        .map(|row| node_json(query, row.key, &row.value.0))
        .collect();
    Ok(Reply::json(200, &json!({"nodes": nodes})))
}

const fn status_text(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Pending => "Pending",
        NodeStatus::Trusted => "Trusted",
        NodeStatus::Retired => "Retired",
    }
}

pub(super) fn this(query: &Query<'_>) -> Answer {
    by_id(query, query.state.node_id)
}

pub(super) fn one(query: &Query<'_>) -> Answer {
    by_id(query, query.id(0)?)
}

fn by_id(query: &Query<'_>, id: NodeId) -> Answer {
    let info = NODE_INFO
        .get(query.state, &id)?
        .ok_or_else(|| Failure::not_found("node"))?;
    Ok(Reply::json(200, &node_json(query, id, &info.0)))
}

/// 204 once the application can be called, else 503.
pub(super) fn ready_app(query: &Query<'_>) -> Answer {
    let open = SERVICE_INFO
        .get(query.state, &Singleton)?
        .is_some_and(|info| info.0.status == ServiceStatus::Open);
    Ok(Reply::empty(if open { 204 } else { 503 }))
}

/// Governance answers as soon as the node does.
pub(super) fn ready_gov(_: &Query<'_>) -> Answer {
    Ok(Reply::empty(204))
}

pub(super) fn service_configuration(query: &Query<'_>) -> Answer {
    let config = SERVICE_CONFIG
        .get(query.state, &Singleton)?
        .ok_or_else(|| Failure::not_found("service configuration"))?;
    Ok(Reply::json(200, &config.0))
}
