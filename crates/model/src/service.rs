//! The service's own rows (`ledger-host.md` §1.9).

use kv::TxId;
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

/// Life cycle of the service.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ServiceStatus {
    /// Members are being set up; `/app` answers 404 `FrontendNotOpen`.
    Opening,
    /// Serving.
    Open,
    /// Public state recovered, private state still sealed.
    WaitingForRecoveryShares,
    /// Reading the public ledger of a dead service.
    Recovering,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The row of `service.info`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ServiceInfo {
    /// The service certificate, PEM.
    pub cert: String,
    /// Life-cycle state.
    pub status: ServiceStatus,
    /// Seqno of the previous identity's row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_service_identity_version: Option<u64>,
    /// Disaster recoveries so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recovery_count: u64,
    /// Free-form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_data: Option<JsonValue>,
    /// The transaction that created the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_service_create_txid: Option<TxId>,
}

/// The row of `service.config`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServiceConfig {
    /// Shares needed to recover: 1 to 254.
    pub recovery_threshold: u16,
    /// Longest life of a node certificate, in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_node_certificate_validity_days: Option<u32>,
    /// Longest life of a service certificate, in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_service_certificate_validity_days: Option<u32>,
    /// Recent proposals remembered against replay: 1 to 10,000; absent means 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent_cose_proposals_window_size: Option<u32>,
    /// Rows that one caller may keep in one contract; absent means what the application says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_rows: Option<u64>,
    /// Bytes that one caller may keep in one contract; absent means what the application says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
}

/// Recent proposals remembered when the configuration does not say.
pub const RECENT_PROPOSALS_DEFAULT: u32 = 100;

/// The row of `internal.signatures`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignatureRow {
    /// Certificate of the signing node, PEM.
    pub cert: String,
    /// Always 0.
    pub commit_seqno: u64,
    /// Always 0.
    pub commit_view: u64,
    /// Always 64 zeros.
    pub hashed_nonce: String,
    /// Signing node.
    pub node: crate::NodeId,
    /// Root over leaves `0..seqno`.
    pub root: crate::Digest,
    /// Seqno of the signature transaction.
    pub seqno: u64,
    /// Base64 DER ECDSA over the root as a SHA-256 digest.
    pub sig: String,
    /// View of the signature transaction.
    pub view: u64,
}

/// The row of `internal.recovery_shares`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RecoveryShares {
    /// Latest ledger secret under the wrapping key: tag, zero IV, ciphertext; base64.
    pub wrapped_latest_ledger_secret: String,
    /// Member id to base64 of the share under its encryption key.
    pub encrypted_shares: std::collections::BTreeMap<crate::MemberId, String>,
    /// Seqno at which the previous secret was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret_stored_version: Option<u64>,
}

/// A previous ledger secret under its successor.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PreviousLedgerSecret {
    /// Tag, random IV, ciphertext; base64.
    pub encrypted_data: String,
    /// First seqno under the previous secret.
    pub version: u64,
    /// Seqno at which the one before it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret_stored_version: Option<u64>,
}

/// The row of `internal.historical_encrypted_ledger_secret`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HistoricalLedgerSecret {
    /// The secret that this entry retires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_ledger_secret: Option<PreviousLedgerSecret>,
    /// First seqno under the new secret, if not the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_version: Option<u64>,
}

/// A row of `jwt.issuers`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct JwtIssuer {
    /// CA bundle to fetch keys with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert_bundle_name: Option<String>,
    /// Fetch keys regularly.
    #[serde(default)]
    pub auto_refresh: bool,
    /// Required `aud` of this issuer's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Keys of its set that verify nothing here, so that everybody sees what was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_keys: Vec<SkippedKey>,
}

/// A published key that is not used.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SkippedKey {
    /// Its id, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Why, for people.
    pub reason: String,
}

/// The row of `jwt.public_signing_keys_metadata_v2` that holds keys without a kid: no kid is empty.
pub const NO_KID: &str = "";
/// Most keys that one kid is tried with.
pub const KEYS_TRIED_MAX: usize = 8;

/// One key of a row of `jwt.public_signing_keys_metadata_v2`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct JwtKey {
    /// SPKI DER.
    #[serde(with = "crate::b64")]
    pub public_key: Vec<u8>,
    /// Issuer that registered it.
    pub issuer: String,
    /// Required `iss`; for Entra it may contain `{tenantid}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
}

/// A row of `endpoints`: one route of the application.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndpointRow {
    /// `readwrite` or `readonly`.
    pub mode: String,
    /// `always` or `sometimes`.
    pub forwarding_required: String,
    /// `to_primary` or `none`.
    pub redirection_strategy: String,
    /// Policies tried in order.
    pub authn_policies: Vec<String>,
    /// Hex digest of the component that serves it.
    pub component: String,
    /// Index into the component's own endpoint list.
    pub export: u32,
    /// Runs first as a discarded pass outside the writer.
    #[serde(default)]
    pub prepare: bool,
    /// Largest body it takes, in bytes, if that is less than the node takes anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u32>,
}
/// Members decided that what was signed about the time is wrong. Runs admitted before this row was
/// written have ended, and nonces minted before it are foreign.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTimeReset {
    /// Unix seconds: the clock that service time goes on from must not be later.
    pub not_after: u64,
}
