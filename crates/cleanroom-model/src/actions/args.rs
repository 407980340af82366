//! Arguments of every action. Unknown keys are errors: what is voted on must be what is meant.

use model::evidence::Role;
use std::collections::BTreeMap;

use model::member::RecoveryRole;
use model::{Digest, MemberId, TxId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

use crate::governance::OptionStatus;
use crate::ids::{ContractId, Identifier};
use crate::policy::{PolicyType, TokenGrant};
use crate::tcb::TcbFloor;

/// Arguments of an action on one accepted contract.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OfContract {
    /// Which contract.
    pub contract_id: ContractId,
}

/// Arguments of `set_contract`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetContract {
    /// The draft's id.
    pub contract_id: ContractId,
    /// The draft as it was read.
    pub contract: ProposedContract,
}

/// The part of a contract, as read from the service, that is voted on. Clients send the whole
/// answer back; its other fields say nothing about what is decided.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ProposedContract {
    /// Must equal the draft's.
    pub data: JsonValue,
    /// Must be the draft's current version.
    pub version: TxId,
}

/// Whether to add to something or to take from it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Union.
    Add,
    /// Difference.
    Remove,
}

/// Arguments of `set_clean_room_policy`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetCleanRoomPolicy {
    /// Whose policy.
    pub contract_id: ContractId,
    /// Add or remove.
    #[serde(rename = "type")]
    pub change: Change,
    /// Which claims are meant; `snp-caci` if absent.
    #[serde(default)]
    pub policy_type: Option<PolicyType>,
    /// Claim name to a value or a list of values.
    pub claims: BTreeMap<String, JsonValue>,
    /// Which alternative; `default` if absent.
    #[serde(default)]
    pub alternative: Option<Identifier>,
    /// With `add`: what its workloads may do from now on; absent keeps what is there.
    #[serde(default)]
    pub role: Option<Role>,
    /// With `add`: whether evidence without a nonce will do; absent keeps what is there.
    #[serde(default)]
    pub allow_static_evidence: Option<bool>,
    /// With `add` and role `pod`: whether launchers may let other host data in, for one run, on
    /// all other claims of this alternative. Then only measurement, endorsements and TCB bind its
    /// pods: what host data stands for is the launcher's choice. Absent keeps what is there.
    #[serde(default)]
    pub delegable: Option<bool>,
    /// Token subjects and audiences to add or remove. A tenant's address is taken down when this
    /// is applied; one that changed since the proposal was made makes it fail.
    #[serde(default)]
    pub tokens: Vec<TokenGrant>,
}

/// Options of `set_cgs_runtime_options`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ServiceOption {
    /// `set_constitution` by a holder of the role cgsOperator.
    #[serde(rename = "autoapprove-constitution-proposal")]
    Constitution,
    /// `set_wasm_app` by a holder of the role cgsOperator.
    #[serde(rename = "autoapprove-jsapp-proposal")]
    Application,
    /// `set_deployment_spec` by a holder of the role contractOperator.
    #[serde(rename = "autoapprove-deploymentspec-proposal")]
    DeploymentSpec,
    /// `set_deployment_info` by a holder of the role contractOperator.
    #[serde(rename = "autoapprove-deploymentinfo-proposal")]
    DeploymentInfo,
    /// `set_clean_room_policy` by a holder of the role contractOperator.
    #[serde(rename = "autoapprove-cleanroompolicy-proposal")]
    CleanRoomPolicy,
}

impl ServiceOption {
    /// Every option.
    pub const ALL: [Self; 5] = [
        Self::Constitution,
        Self::Application,
        Self::DeploymentSpec,
        Self::DeploymentInfo,
        Self::CleanRoomPolicy,
    ];

    /// The option's name on the wire and its key in `SERVICE_OPTIONS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Constitution => "autoapprove-constitution-proposal",
            Self::Application => "autoapprove-jsapp-proposal",
            Self::DeploymentSpec => "autoapprove-deploymentspec-proposal",
            Self::DeploymentInfo => "autoapprove-deploymentinfo-proposal",
            Self::CleanRoomPolicy => "autoapprove-cleanroompolicy-proposal",
        }
    }

    /// The option's key.
    #[must_use]
    pub fn key(self) -> Identifier {
        self.as_str().parse().expect("option names are identifiers")
    }
}

/// Arguments of `set_cgs_runtime_options`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetServiceOption {
    /// Which option.
    pub option: ServiceOption,
    /// Enabled or disabled.
    pub status: OptionStatus,
}

/// Kinds of token accounts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountType {
    /// Entra and personal accounts: found by `oid` and `tid`.
    Microsoft,
    /// Accounts of any other registered issuer (decision 24).
    Oidc,
}

impl AccountType {
    /// The type's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Microsoft => "microsoft",
            Self::Oidc => "oidc",
        }
    }
}

/// Arguments of `set_user_identity`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetUserIdentity {
    /// `oid` of the user's tokens, else `sub`.
    pub id: Identifier,
    /// Kind of account.
    pub account_type: AccountType,
    /// Invitation to finalize.
    #[serde(default)]
    pub invitation_id: Option<Identifier>,
    /// Where the user's tokens come from.
    pub data: UserIdentityArgs,
}

/// Inner part of [`SetUserIdentity`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UserIdentityArgs {
    /// `tid` of the tokens; for `oidc` the issuer if absent.
    #[serde(default)]
    pub tenant_id: Option<String>,
    /// Issuer of the tokens; mandatory for `oidc`. Of `microsoft`, if absent, the tenant's own.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Display name.
    #[serde(default)]
    pub identifier: Option<String>,
}

/// Arguments of `remove_user_identity`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveUserIdentity {
    /// Which user; one that is not there is no fault.
    pub id: Identifier,
}

/// Arguments of `enable_oidc_issuer`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EnableOidcIssuer {
    /// Key ids start with this.
    pub kid: Identifier,
    /// Whose issuer; absent: the one for contracts that have none of their own.
    #[serde(default)]
    pub contract_id: Option<ContractId>,
}

/// Arguments of `oidc_issuer_enable_rotate_signing_key`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RotateOidcKey {
    /// Whose issuer; absent: the service-wide one.
    #[serde(default)]
    pub contract_id: Option<ContractId>,
    /// After a leak: the keys before leave the set with this vote, and the new one signs at once.
    #[serde(default)]
    pub immediately: bool,
}

/// Arguments of `set_oidc_issuer_url`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetOidcIssuerUrl {
    /// `iss` of tokens, as they will carry it: https, without user, query, fragment and dot segments.
    pub issuer_url: String,
    /// Whose issuer; absent: the service-wide one.
    #[serde(default, rename = "contractId")]
    pub contract_id: Option<ContractId>,
}

/// Arguments of `set_jwt_issuer`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetJwtIssuer {
    /// `iss` of its tokens.
    pub issuer: String,
    /// Required `aud`; `concordat` if absent.
    #[serde(default)]
    pub audience: Option<String>,
    /// Its keys; they replace the ones on record.
    #[serde(default)]
    pub jwks: Option<JwkSet>,
    /// Fetch keys regularly: not carried out yet.
    #[serde(default)]
    pub auto_refresh: Option<bool>,
    /// CA bundle to fetch keys with: not carried out yet.
    #[serde(default)]
    pub ca_cert_bundle_name: Option<String>,
}

/// Audience of tokens where `set_jwt_issuer` names none.
pub const DEFAULT_AUDIENCE: &str = "concordat";

/// A set of public keys (RFC 7517 §5).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct JwkSet {
    /// The keys, as they come.
    pub keys: Vec<JsonValue>,
}

/// Arguments of `remove_jwt_issuer`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveJwtIssuer {
    /// Which issuer; one that is not there is no fault.
    pub issuer: String,
}

/// Arguments of `set_member`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetMember {
    /// Signing certificate, PEM; elliptic curve.
    pub cert: String,
    /// RSA public key that recovery shares are encrypted to, PEM.
    #[serde(default)]
    pub encryption_pub_key: Option<String>,
    /// Free-form object; roles are read from it.
    #[serde(default)]
    pub member_data: Option<JsonValue>,
    /// What the member holds of the recovery key.
    #[serde(default)]
    pub recovery_role: Option<RecoveryRole>,
}

/// Arguments of `reset_service_time`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ResetServiceTime {
    /// Unix seconds. The node's clock must not be more than ten minutes past it when the proposal is
    /// carried out: what members know of the time, against whoever sets the clock.
    pub not_after: u64,
}

/// Arguments of `trigger_ledger_chunk`: none.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EndChunk {}

/// Arguments of `remove_member`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveMember {
    /// Which member; one that is not there is no fault.
    pub member_id: MemberId,
}

/// Arguments of `set_member_data`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetMemberData {
    /// Which member.
    pub member_id: MemberId,
    /// Replaces what is there.
    pub member_data: JsonValue,
}

/// Arguments of `set_user`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetUser {
    /// Certificate, PEM.
    pub cert: String,
    /// Free-form object.
    #[serde(default)]
    pub user_data: Option<JsonValue>,
}

/// Arguments of `remove_user`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveUser {
    /// Which user; one that is not there is no fault.
    pub user_id: UserId,
}

/// Arguments of `set_user_data`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetUserData {
    /// Which user.
    pub user_id: UserId,
    /// Replaces what is there; absent removes it.
    #[serde(default)]
    pub user_data: Option<JsonValue>,
}

/// Arguments of `set_recovery_threshold`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetRecoveryThreshold {
    /// 1 to 254.
    pub recovery_threshold: u16,
}

/// Arguments of `set_constitution`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetConstitution {
    /// The component, base64.
    #[serde(with = "model::b64")]
    pub constitution: Vec<u8>,
    /// Its SHA-256, so that what was reviewed is what is installed.
    pub digest: Digest,
}

/// Arguments of `set_wasm_app`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetWasmApp {
    /// The component, base64.
    #[serde(with = "model::b64")]
    pub component: Vec<u8>,
    /// Its SHA-256.
    pub digest: Digest,
}

/// Arguments of `transition_service_to_open`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OpenService {
    /// The service certificate that members mean, PEM.
    pub next_service_identity: String,
    /// The certificate before a recovery, PEM.
    #[serde(default)]
    pub previous_service_identity: Option<String>,
}

/// Arguments of `assert_service_identity`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssertServiceIdentity {
    /// The service certificate that members mean, PEM.
    pub service_identity: String,
}

/// Arguments of `set_service_configuration`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetServiceConfiguration {
    /// 1 to 254.
    #[serde(default)]
    pub recovery_threshold: Option<u16>,
    /// Proposals remembered against replay: 1 to 10,000.
    #[serde(default)]
    pub recent_cose_proposals_window_size: Option<u32>,
    /// Rows that one caller may keep in one contract: 1 to 1,000,000,000; 1,000,000 if never set.
    #[serde(default)]
    pub quota_rows: Option<u64>,
    /// Bytes that one caller may keep in one contract: 1 to 2^40; 256 MiB if never set.
    #[serde(default)]
    pub quota_bytes: Option<u64>,
}

/// Arguments of `set_snp_minimum_tcb_version`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetMinimumTcb {
    /// CPUID function 1, EAX: 8 lower-case hex digits.
    pub cpuid: String,
    /// The least version of each part.
    pub tcb_version: TcbFloor,
}

/// Arguments of `set_snp_minimum_tcb_version_hex`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetMinimumTcbHex {
    /// CPUID function 1, EAX: 8 lower-case hex digits.
    pub cpuid: String,
    /// The TCB as governance prints it: 16 lower-case hex digits, most significant byte first.
    pub tcb_version: String,
}

/// Arguments of `remove_snp_minimum_tcb_version`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveMinimumTcb {
    /// Which processor; one that is not there is no fault.
    pub cpuid: String,
}
