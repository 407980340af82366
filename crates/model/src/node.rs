//! Nodes as the framework stores them (`ledger-host.md` §4.2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whether a node belongs to the network.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum NodeStatus {
    /// Asked to join.
    Pending,
    /// Holds the ledger secrets.
    Trusted,
    /// Left.
    Retired,
}

/// Kind of node evidence.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum QuoteFormat {
    /// Development only.
    #[serde(rename = "Insecure_Virtual")]
    InsecureVirtual,
    /// AMD SEV-SNP.
    #[serde(rename = "AMD_SEV_SNP_v1")]
    AmdSevSnp,
}

/// Node evidence: base64 fields.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct QuoteInfo {
    /// Which kind.
    pub format: QuoteFormat,
    /// The evidence, base64.
    pub quote: String,
    /// Its endorsements, base64.
    pub endorsements: String,
    /// COSE document over the utility-VM measurement, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uvm_endorsements: Option<String>,
}

/// One RPC interface of a node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RpcInterface {
    /// `host:port` it listens on.
    pub bind_address: String,
    /// `host:port` that clients use.
    pub published_address: String,
    /// `tcp` here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// A row of `nodes.info`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NodeInfo {
    /// Where its peers would reach it.
    pub node_to_node_interface: RpcInterface,
    /// Interfaces by name.
    pub rpc_interfaces: BTreeMap<String, RpcInterface>,
    /// The node's evidence.
    pub quote_info: QuoteInfo,
    /// RSA public key that ledger secrets would be wrapped to, PEM.
    pub encryption_pub_key: String,
    /// Pending, Trusted or Retired.
    pub status: NodeStatus,
    /// First entry under the newest ledger secret this node was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_secret_seqno: Option<u64>,
    /// Hex measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_digest: Option<String>,
    /// PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_signing_request: Option<String>,
    /// PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}
