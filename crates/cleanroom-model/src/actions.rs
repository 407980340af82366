//! What members can vote on: every action by name, with typed arguments
//! (`governance-api.md` §6.2, §6.3; decisions 17, 24, 25, 31).
//!
//! Parsing checks form only: names, types, ranges that need no state. Whether an action makes
//! sense for the service as it stands is the constitution's to say.

use std::collections::BTreeMap;

use model::member::RecoveryRole;
use model::proposal::RawAction;
use model::{Digest, MemberId, TxId, UserId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

use crate::governance::OptionStatus;
use crate::ids::{ContractId, Identifier};
use crate::policy::{PolicyType, TokenGrant, WorkloadRole};

/// Most actions in one proposal.
pub const ACTIONS_MAX: usize = 128;

/// Largest component that `set_wasm_app` and `set_constitution` carry, in bytes (decision 31).
pub const COMPONENT_SIZE_MAX: usize = 4 << 20;

/// Declares [`Action`] from one list, so that name, arguments and parsing cannot disagree.
macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident($args:ty) = $name:literal,)*) => {
        /// An action with its arguments.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Action {
            $($(#[$doc])* $variant($args),)*
        }

        impl Action {
            /// Names of the actions that this build carries out.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The action's name on the wire.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Reads an action's arguments.
            ///
            /// # Errors
            ///
            /// [`InvalidAction`]: no such action, one that this build does not carry out, or
            /// arguments that do not have its form.
            pub fn parse(raw: RawAction) -> Result<Self, InvalidAction> {
                match raw.name.as_str() {
                    $($name => arguments(raw.args).map(Self::$variant),)*
                    other => Err(not_carried_out(other)),
                }
            }
        }
    };
}

actions! {
    /// Makes a draft an accepted contract.
    SetContract(SetContract) = "set_contract",
    /// Adds to or takes from one alternative of a contract's policy.
    SetCleanRoomPolicy(SetCleanRoomPolicy) = "set_clean_room_policy",
    /// Lets the code inside a contract's pods write logs to the outside.
    EnableLogging(OfContract) = "set_contract_runtime_options_enable_logging",
    /// Takes that back.
    DisableLogging(OfContract) = "set_contract_runtime_options_disable_logging",
    /// Lets a contract's pods send telemetry.
    EnableTelemetry(OfContract) = "set_contract_runtime_options_enable_telemetry",
    /// Takes that back.
    DisableTelemetry(OfContract) = "set_contract_runtime_options_disable_telemetry",
    /// Lets role holders approve some of their own proposals, or not.
    SetServiceOption(SetServiceOption) = "set_cgs_runtime_options",
    /// Registers a token user.
    SetUserIdentity(SetUserIdentity) = "set_user_identity",
    /// Forgets a token user.
    RemoveUserIdentity(RemoveUserIdentity) = "remove_user_identity",
    /// Starts an OpenID issuer.
    EnableOidcIssuer(EnableOidcIssuer) = "enable_oidc_issuer",
    /// Asks an issuer for a new signing key.
    RotateOidcKey(OfIssuer) = "oidc_issuer_enable_rotate_signing_key",
    /// Sets the address that an issuer's tokens carry.
    SetOidcIssuerUrl(SetOidcIssuerUrl) = "set_oidc_issuer_url",
    /// Registers a token issuer and its keys.
    SetJwtIssuer(SetJwtIssuer) = "set_jwt_issuer",
    /// Forgets a token issuer and its keys.
    RemoveJwtIssuer(RemoveJwtIssuer) = "remove_jwt_issuer",
    /// Adds a member, or registers one anew.
    SetMember(SetMember) = "set_member",
    /// Removes a member.
    RemoveMember(RemoveMember) = "remove_member",
    /// Replaces a member's data, roles included.
    SetMemberData(SetMemberData) = "set_member_data",
    /// Adds a user with a certificate.
    SetUser(SetUser) = "set_user",
    /// Removes such a user.
    RemoveUser(RemoveUser) = "remove_user",
    /// Replaces a user's data.
    SetUserData(SetUserData) = "set_user_data",
    /// Sets how many shares recover the service.
    SetRecoveryThreshold(SetRecoveryThreshold) = "set_recovery_threshold",
    /// Replaces these rules.
    SetConstitution(SetConstitution) = "set_constitution",
    /// Replaces the application.
    SetWasmApp(SetWasmApp) = "set_wasm_app",
    /// Opens the service to users.
    OpenService(OpenService) = "transition_service_to_open",
    /// Fails unless the service has this certificate.
    AssertServiceIdentity(AssertServiceIdentity) = "assert_service_identity",
    /// Changes the service's limits.
    SetServiceConfiguration(SetServiceConfiguration) = "set_service_configuration",
}

/// Actions of the reference that this build knows but does not carry out.
const LATER: &[&str] = &[
    "add_executor_node_code",
    "add_node_code",
    "add_snp_host_data",
    "add_snp_measurement",
    "add_snp_uvm_endorsement",
    "ca_enable_rotate_signing_key",
    "enable_ca",
    "enable_signing",
    "refresh_js_app_bytecode_cache",
    "remove_ca_cert_bundle",
    "remove_executor_node_code",
    "remove_js_app",
    "remove_node",
    "remove_node_code",
    "remove_snp_host_data",
    "remove_snp_measurement",
    "remove_snp_minimum_tcb_version",
    "remove_snp_uvm_endorsement",
    "remove_user_invitation_by_jwt_claims",
    "set_all_nodes_certificate_validity",
    "set_ca_cert_bundle",
    "set_deployment_info",
    "set_deployment_spec",
    "set_js_app",
    "set_js_runtime_options",
    "set_jwt_public_signing_keys",
    "set_member_document",
    "set_node_certificate_validity",
    "set_node_data",
    "set_service_certificate_validity",
    "set_snp_minimum_tcb_version",
    "set_snp_minimum_tcb_version_hex",
    "set_user_invitation_by_jwt_claims",
    "signing_enable_rotate_signing_key",
    "transition_node_to_trusted",
    "trigger_acme_refresh",
    "trigger_ledger_chunk",
    "trigger_ledger_rekey",
    "trigger_recovery_shares_refresh",
    "trigger_snapshot",
];

/// Why an action cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAction {
    /// No service has it.
    #[error("{0}: no such action")]
    Unknown(String),
    /// The reference has it; this build does not carry it out.
    #[error("this service does not carry out {name} yet{hint}")]
    NotAvailable {
        /// The action.
        name: &'static str,
        /// What to do instead, starting with `; `, or empty.
        hint: &'static str,
    },
    /// Its arguments do not have the right form.
    #[error("invalid arguments: {0}")]
    Arguments(String),
}

/// Longest unknown name quoted back, in characters.
const QUOTED_CHARS_MAX: usize = 80;

fn not_carried_out(name: &str) -> InvalidAction {
    match LATER.iter().find(|known| **known == name) {
        Some(known) => InvalidAction::NotAvailable {
            name: known,
            hint: match *known {
                "set_js_app" | "remove_js_app" | "set_js_runtime_options" => {
                    "; applications are components here, install one with set_wasm_app"
                }
                "set_jwt_public_signing_keys" => "; send the keys with set_jwt_issuer",
                _ => "",
            },
        },
        None => InvalidAction::Unknown(name.chars().take(QUOTED_CHARS_MAX).collect()),
    }
}

fn arguments<T: DeserializeOwned>(args: JsonValue) -> Result<T, InvalidAction> {
    let object = match args {
        // Some actions take none, and clients leave them out.
        JsonValue::Null => JsonValue::Object(serde_json::Map::new()),
        JsonValue::Object(_) => args,
        _ => return Err(InvalidAction::Arguments("args is not an object".into())),
    };
    serde_json::from_value(object).map_err(|e| InvalidAction::Arguments(e.to_string()))
}

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
    pub role: Option<WorkloadRole>,
    /// With `add`: whether evidence without a nonce will do; absent keeps what is there.
    #[serde(default)]
    pub allow_static_evidence: Option<bool>,
    /// Token subjects and audiences to add or remove.
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
    /// Issuer of the tokens; mandatory for `oidc`.
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

/// Names an OpenID issuer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OfIssuer {
    /// Whose issuer; absent: the service-wide one.
    #[serde(default)]
    pub contract_id: Option<ContractId>,
}

/// Arguments of `set_oidc_issuer_url`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetOidcIssuerUrl {
    /// `iss` of tokens: https, without query and fragment.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(name: &str, args: JsonValue) -> Result<Action, InvalidAction> {
        Action::parse(RawAction {
            name: name.into(),
            args,
        })
    }

    #[test]
    fn the_names_are_those_of_the_reference_and_set_wasm_app() {
        let mut all: Vec<&str> = Action::NAMES.iter().chain(LATER).copied().collect();
        all.sort_unstable();
        let distinct = all.len();
        all.dedup();
        assert_eq!(all.len(), distinct, "no name twice");
        // 21 of the clean room, 41 of the platform's present sample, 3 that older samples have
        // (executor code, ACME), and ours.
        assert_eq!(distinct, 21 + 41 + 3 + 1);
    }

    #[test]
    fn unknown_and_later_actions_are_told_apart() {
        assert!(matches!(
            parse("set_contracts", json!({})),
            Err(InvalidAction::Unknown(_))
        ));
        let later = parse("set_js_app", json!({"bundle": {}})).unwrap_err();
        assert!(later.to_string().contains("set_wasm_app"), "{later}");
        assert!(matches!(
            parse("enable_ca", json!({})),
            Err(InvalidAction::NotAvailable {
                name: "enable_ca",
                ..
            })
        ));
    }

    #[test]
    fn extra_arguments_and_wrong_types_are_refused() {
        for (name, args) in [
            ("enable_oidc_issuer", json!({"kid": "k", "kidd": 1})),
            ("enable_oidc_issuer", json!(["k"])),
            ("enable_oidc_issuer", json!(null)),
            ("set_contract", json!({"contractId": "a/b", "contract": {}})),
            (
                "set_contract",
                json!({"contractId": "c1", "contract": {"version": "2.1"}}),
            ),
            (
                "set_contract",
                json!({"contractId": "c1", "contract": {"data": 1, "version": ""}}),
            ),
            ("remove_member", json!({"member_id": "AB"})),
            (
                "set_cgs_runtime_options",
                json!({"option": "other", "status": "enabled"}),
            ),
            (
                "set_cgs_runtime_options",
                json!({"option": "autoapprove-jsapp-proposal", "status": "on"}),
            ),
            ("set_service_configuration", json!({"consensus": "CFT"})),
            (
                "set_wasm_app",
                json!({"component": "AA=", "digest": "00".repeat(32)}),
            ),
        ] {
            assert!(
                matches!(parse(name, args.clone()), Err(InvalidAction::Arguments(_))),
                "{name} {args}"
            );
        }
    }

    #[test]
    fn actions_without_arguments_may_leave_them_out() {
        let action = parse("oidc_issuer_enable_rotate_signing_key", JsonValue::Null).unwrap();
        assert_eq!(action, Action::RotateOidcKey(OfIssuer { contract_id: None }));
    }

    #[test]
    fn a_contract_as_read_back_is_accepted_whole() {
        let contract = json!({"id":"c1","state":"Draft","version":"2.118","data":"hello","proposalId":""});
        let Action::SetContract(args) =
            parse("set_contract", json!({"contractId":"c1","contract":contract})).unwrap()
        else {
            panic!("another action");
        };
        assert_eq!(args.contract.version, TxId::new(2, 118));
    }

    #[test]
    fn option_names_agree_with_their_serde_form() {
        for option in ServiceOption::ALL {
            assert_eq!(serde_json::to_value(option).unwrap(), json!(option.as_str()));
            assert_eq!(option.key().as_str(), option.as_str());
        }
    }
}
