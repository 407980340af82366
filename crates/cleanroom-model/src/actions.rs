//! What members can vote on: every action by name, with typed arguments
//! (`governance-api.md` §6.2, §6.3; decisions 17, 24, 25, 31).
//!
//! Parsing checks form only: names, types, ranges that need no state. Whether an action makes
//! sense for the service as it stands is the constitution's to say.

mod args;

use model::proposal::RawAction;
use serde::de::DeserializeOwned;
use serde_json::Value as JsonValue;

pub use args::*;

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
    RotateOidcKey(RotateOidcKey) = "oidc_issuer_enable_rotate_signing_key",
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
    /// Lets service time go back to the node's clock; ends all runs.
    ResetServiceTime(ResetServiceTime) = "reset_service_time",
    /// Sets the least firmware of a processor, part by part.
    SetMinimumTcb(SetMinimumTcb) = "set_snp_minimum_tcb_version",
    /// Sets the least firmware of a processor, as one number.
    SetMinimumTcbHex(SetMinimumTcbHex) = "set_snp_minimum_tcb_version_hex",
    /// Takes a processor out of that table.
    RemoveMinimumTcb(RemoveMinimumTcb) = "remove_snp_minimum_tcb_version",
    /// Changes the service's limits.
    SetServiceConfiguration(SetServiceConfiguration) = "set_service_configuration",
    /// Ends the open chunk of the ledger, so that readers of closed chunks see everything.
    EndChunk(EndChunk) = "trigger_ledger_chunk",
}

/// Actions of the reference that this build knows but does not carry out.
pub const LATER: &[&str] = &[
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
    "set_user_invitation_by_jwt_claims",
    "signing_enable_rotate_signing_key",
    "transition_node_to_trusted",
    "trigger_acme_refresh",
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

#[cfg(test)]
mod tests {
    use super::*;
    use model::TxId;
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
        // (executor code, ACME), and ours: set_wasm_app and reset_service_time.
        assert_eq!(distinct, 21 + 41 + 3 + 2);
        assert!(Action::NAMES.contains(&model::proposal::RESET_SERVICE_TIME));
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
        assert_eq!(action, Action::RotateOidcKey(RotateOidcKey::default()));
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
