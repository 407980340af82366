//! Every framework table (`ledger-host.md` §1.9), declared once.
//!
//! Governance tables are written by `apply` of accepted proposals and by the host for members'
//! own signed requests; internal tables by the host alone.

use kv::{Category, Json, Pair, Raw, Singleton, Table, Unit};
use serde_json::Value as JsonValue;

use crate::ids::{Digest, MemberId, NodeId, ProposalId, UserId};
use crate::member::{MemberAck, MemberInfo, UserInfo};
use crate::node::NodeInfo;
use crate::proposal::{ProposalEffects, ProposalInfo};
use crate::service::{
    EndpointRow, HistoricalLedgerSecret, JwtIssuer, JwtKey, RecoveryShares, ServiceConfig, ServiceInfo,
    ServiceTimeReset, SignatureRow,
};

macro_rules! declared {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $value:ty = $table:literal;)*) => {
        $($(#[$doc])* pub const $name: Table<$key, $value> = Table::new($table);)*

        /// Every framework table's name.
        pub const ALL: &[&str] = &[$($table,)*];
    };
}

declared! {
    /// Digest of the constitution component in force: the JSON string `"sha256:<hex>"`.
    CONSTITUTION: Singleton => Json<String> = "public:ccf.gov.constitution";
    /// Member certificates, PEM. Written by `set_member`, removed by `remove_member`.
    MEMBER_CERTS: MemberId => Raw = "public:ccf.gov.members.certs";
    /// Members' RSA encryption keys, PEM.
    MEMBER_ENCRYPTION_KEYS: MemberId => Raw = "public:ccf.gov.members.encryption_public_keys";
    /// Members' status, data and recovery role.
    MEMBER_INFO: MemberId => Json<MemberInfo> = "public:ccf.gov.members.info";
    /// State digests to acknowledge, and the acknowledgements.
    MEMBER_ACKS: MemberId => Json<MemberAck> = "public:ccf.gov.members.acks";
    /// User certificates, PEM.
    USER_CERTS: UserId => Raw = "public:ccf.gov.users.certs";
    /// Users' data.
    USER_INFO: UserId => Json<UserInfo> = "public:ccf.gov.users.info";
    /// Nodes.
    NODE_INFO: NodeId => Json<NodeInfo> = "public:ccf.gov.nodes.info";
    /// Node certificates signed by the service, PEM.
    NODE_ENDORSED_CERTIFICATES: NodeId => Raw = "public:ccf.gov.nodes.endorsed_certificates";
    /// Trusted virtual host data.
    VIRTUAL_HOST_DATA: String => Unit = "public:ccf.gov.nodes.virtual.host_data";
    /// Trusted virtual measurements.
    VIRTUAL_MEASUREMENTS: String => Json<String> = "public:ccf.gov.nodes.virtual.measurements";
    /// Trusted SNP host data with its security policy.
    SNP_HOST_DATA: String => Json<String> = "public:ccf.gov.nodes.snp.host_data";
    /// Trusted SNP measurements.
    SNP_MEASUREMENTS: String => Json<String> = "public:ccf.gov.nodes.snp.measurements";
    /// Trusted UVM endorsers: DID to feed to SVN.
    SNP_UVM_ENDORSEMENTS: String => Json<JsonValue> = "public:ccf.gov.nodes.snp.uvm_endorsements";
    /// Lowest TCB per CPUID.
    SNP_TCB_VERSIONS: String => Json<JsonValue> = "public:ccf.gov.nodes.snp.tcb_versions";
    /// The service's certificate and status.
    SERVICE_INFO: Singleton => Json<ServiceInfo> = "public:ccf.gov.service.info";
    /// Recovery threshold and limits.
    SERVICE_CONFIG: Singleton => Json<ServiceConfig> = "public:ccf.gov.service.config";
    /// Certificate before a recovery.
    PREVIOUS_SERVICE_IDENTITY: Singleton => Json<String> = "public:ccf.gov.service.previous_service_identity";
    /// The latest reset of service time; the row's version is its transaction.
    SERVICE_TIME_RESET: Singleton => Json<ServiceTimeReset> = "public:ccf.gov.service.time_reset";
    /// The proposal that last asked for the end of a ledger chunk; the host ends it.
    CHUNK_REQUESTS: Singleton => Json<ProposalId> = "public:ccf.gov.ledger_chunk";
    /// Submitted proposals, byte for byte.
    PROPOSALS: ProposalId => Raw = "public:ccf.gov.proposals";
    /// Where each proposal stands; closed ones stay.
    PROPOSALS_INFO: ProposalId => Json<ProposalInfo> = "public:ccf.gov.proposals_info";
    /// The ids of open proposals; written with `proposals_info`, see [`crate::proposal_rows`].
    OPEN_PROPOSALS: ProposalId => Unit = "public:ccf.gov.open_proposals";
    /// What carrying out a proposal brought with it, for its reply; written by the constitution.
    PROPOSALS_EFFECTS: ProposalId => Json<ProposalEffects> = "public:ccf.gov.proposals_effects";
    /// Each member's latest signed request: base64 of the COSE envelope.
    COSE_HISTORY: MemberId => Json<String> = "public:ccf.gov.cose_history";
    /// Replay window: `<created_at>:<digest>` to proposal id.
    COSE_RECENT_PROPOSALS: String => Json<String> = "public:ccf.gov.cose_recent_proposals";
    /// The replay window by signer: (member, key of `cose_recent_proposals`). It outlives its member.
    PROPOSAL_WINDOWS: Pair<MemberId, String> => Unit = "public:ccf.internal.proposal_windows";
    /// The application's routes: `<VERB> <path>`.
    ENDPOINTS: String => Json<EndpointRow> = "public:ccf.gov.endpoints";
    /// Component bytes by hex digest.
    MODULES: String => Raw = "public:ccf.gov.modules";
    /// CA bundles for fetching token keys.
    CA_CERT_BUNDLES: String => Json<String> = "public:ccf.gov.tls.ca_cert_bundles";
    /// Token issuers.
    JWT_ISSUERS: String => Json<JwtIssuer> = "public:ccf.gov.jwt.issuers";
    /// Token keys by kid.
    JWT_KEYS: String => Json<Vec<JwtKey>> = "public:ccf.gov.jwt.public_signing_keys_metadata_v2";
    /// Latest node signature over the root.
    SIGNATURES: Singleton => Json<SignatureRow> = "public:ccf.internal.signatures";
    /// Latest service signature over the root: base64 COSE_Sign1.
    COSE_SIGNATURES: Singleton => Json<String> = "public:ccf.internal.cose_signatures";
    /// Merkle segment of the latest signature.
    TREE: Singleton => Raw = "public:ccf.internal.tree";
    /// Shares of the recovery key.
    RECOVERY_SHARES: Singleton => Json<RecoveryShares> = "public:ccf.internal.recovery_shares";
    /// Chain of previous ledger secrets.
    HISTORICAL_LEDGER_SECRET: Singleton => Json<HistoricalLedgerSecret> = "public:ccf.internal.historical_encrypted_ledger_secret";
    /// Ledger secrets wrapped to nodes.
    ENCRYPTED_LEDGER_SECRETS: Singleton => Json<JsonValue> = "public:ccf.internal.encrypted_ledger_secrets";
    /// Endorsement of the service identity.
    PREVIOUS_IDENTITY_ENDORSEMENT: Singleton => Json<JsonValue> = "public:ccf.internal.previous_service_identity_endorsement";
    /// How the last recovery obtained the secrets.
    LAST_RECOVERY_TYPE: Singleton => Json<String> = "public:ccf.internal.last_recovery_type";
    /// The application's named keys, PKCS#8; no guest context can open it.
    APP_KEYS: String => Raw = "ccf.internal.app_keys";
}

const _: () = assert!(matches!(PROPOSALS.category(), Category::Governance));
const _: () = assert!(matches!(APP_KEYS.category(), Category::Internal));

/// Digest text as stored in [`CONSTITUTION`].
#[must_use]
pub fn constitution_reference(digest: &Digest) -> String {
    format!("sha256:{digest}")
}
