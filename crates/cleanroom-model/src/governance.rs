//! Tables that accepted proposals write and the application reads, and the one draft table that
//! the constitution compares with.

use std::collections::BTreeMap;

use kv::{Category, Json, Pair, Table, Unit};
use model::{MemberId, ProposalId, TxId};
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

use crate::ids::{ContractId, Identifier};
use crate::policy::PolicyAlternative;

/// A contract's draft.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ContractDraft {
    /// Opaque to the service but for `metadata.voters.requiredMembers`.
    pub data: JsonValue,
}

/// Drafts of contracts. Written by `PUT /contracts/{contractId}`, only while not proposed or
/// accepted; never removed. Its version is the transaction that last wrote the row.
pub const CONTRACTS: Table<ContractId, Json<ContractDraft>> = Table::new("public:contracts");

/// A contract that passed a vote.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedContract {
    /// The draft's data.
    pub data: JsonValue,
    /// The draft's version.
    pub version: TxId,
    /// The proposal that carried it.
    pub proposal_id: ProposalId,
    /// Every ballot cast, also those that were not counted.
    pub final_votes: BTreeMap<MemberId, bool>,
    /// The members who decide this contract, if it names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_members: Option<Vec<MemberId>>,
}

/// Contracts that passed a vote. Written by `set_contract` and by nothing else; never removed.
pub const ACCEPTED_CONTRACTS: Table<ContractId, Json<AcceptedContract>> =
    Table::new("public:ccf.gov.accepted_contracts");

/// Contracts by the members that they name as their voters: (member, contract). Written by
/// `set_contract`; never removed, since the list itself is not.
pub const CONTRACTS_OF_VOTERS: Table<Pair<MemberId, ContractId>, Unit> =
    Table::new("public:ccf.gov.contracts_of_voters");

/// Members that lost their vote by a change of their data, with the transaction of the latest time:
/// they have left the lists of all contracts accepted before. Written by `set_member_data` and
/// `set_member`; never removed.
pub const VOTES_LOST: Table<MemberId, Unit> = Table::new("public:ccf.gov.members.votes_lost");

const _: () = assert!(matches!(ACCEPTED_CONTRACTS.category(), Category::Governance));

/// Key of a policy alternative: contract, policy type, alternative id.
pub type PolicyKey = Pair<ContractId, Pair<Identifier, Identifier>>;

/// Clean-room policies. Written by `set_clean_room_policy`; a row is removed with its last claim.
pub const CLEAN_ROOM_POLICIES: Table<PolicyKey, Json<PolicyAlternative>> =
    Table::new("public:ccf.gov.cleanroom_policies");

/// A registered token user.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserIdentity {
    /// `microsoft` or `oidc`.
    pub account_type: String,
    /// The invitation it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation_id: Option<String>,
    /// Tenant, issuer and display name.
    pub data: UserIdentityData,
}

/// Inner part of [`UserIdentity`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserIdentityData {
    /// Compared with the token's `tid`, or with its issuer where there is none.
    pub tenant_id: String,
    /// Issuer whose tokens may speak for this identity. Always set for `oidc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
}

/// Token users by id (`oid`, else `sub`). Written by `set_user_identity`, removed by
/// `remove_user_identity`.
pub const USER_IDENTITIES: Table<Identifier, Json<UserIdentity>> =
    Table::new("public:ccf.gov.user_identities");

/// Since when token users are registered: the transaction that last wrote the row. Written when
/// an identity is new, not when it is updated; removed with it.
pub const USER_REGISTRATIONS: Table<Identifier, Unit> = Table::new("public:ccf.gov.user_registrations");

/// Runtime options that members vote on: logging and telemetry of a contract.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionStatus {
    /// On.
    Enabled,
    /// Off.
    Disabled,
}

/// A row that holds one status.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StatusRow {
    /// On or off.
    pub status: OptionStatus,
}

/// Logging and telemetry by contract: key (contract, `logging` | `telemetry`).
pub const CONTRACT_OPTIONS: Table<Pair<ContractId, Identifier>, Json<StatusRow>> =
    Table::new("public:ccf.gov.contract_options");

/// Self-approval options of the service. Written by `set_cgs_runtime_options`.
pub const SERVICE_OPTIONS: Table<Identifier, Json<StatusRow>> =
    Table::new("public:ccf.gov.cgs_runtime_options");

/// What members decided about an OpenID issuer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcIssuer {
    /// Key ids start with this.
    pub kid: String,
    /// Counts requested key generations, from 1.
    pub request_id: u64,
    /// Keys of earlier requests are neither published nor used: members demanded a new one at once.
    #[serde(default)]
    pub first_request_id: u64,
    /// `iss` of tokens. Absent until `set_oidc_issuer_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
}

/// OpenID issuers: one per contract, and one for contracts that have none of their own, under
/// [`GLOBAL_ISSUER`]. Written by `enable_oidc_issuer`, `oidc_issuer_enable_rotate_signing_key` and
/// `set_oidc_issuer_url`.
pub const OIDC_ISSUERS: Table<String, Json<OidcIssuer>> = Table::new("public:ccf.gov.oidc_issuers");

/// Key of the service-wide issuer; not an identifier, so no contract can be called so.
pub const GLOBAL_ISSUER: &str = "*";

/// The key of a contract's issuer, or of the service-wide one.
#[must_use]
pub fn issuer_key(contract: Option<&ContractId>) -> String {
    contract.map_or_else(|| GLOBAL_ISSUER.to_owned(), |id| id.as_str().to_owned())
}

/// Members that a contract's data names as its voters: `metadata.voters.requiredMembers`, where
/// `data` is an object or a JSON string (`governance-api.md` §6.7). `Ok(None)`: not named.
///
/// # Errors
///
/// [`InvalidRequiredMembers`] if the list is present but empty, repeats an id, or holds something
/// that is not a member id. Whether those members exist is for the caller to look up.
pub fn required_members(data: &JsonValue) -> Result<Option<Vec<MemberId>>, InvalidRequiredMembers> {
    const POINTER: &str = "/metadata/voters/requiredMembers";
    let parsed;
    let tree = match data {
        JsonValue::String(text) => match serde_json::from_str::<JsonValue>(text) {
            Ok(tree) => {
                parsed = tree;
                &parsed
            }
            // Plain text or YAML carries no metadata.
            Err(_) => return Ok(None),
        },
        other => other,
    };
    let list = match tree.pointer(POINTER) {
        None | Some(JsonValue::Null) => return Ok(None),
        Some(JsonValue::Array(list)) => list,
        Some(_) => return Err(InvalidRequiredMembers::NotAList),
    };
    if list.is_empty() {
        return Err(InvalidRequiredMembers::Empty);
    }
    let mut members = Vec::with_capacity(list.len());
    for item in list {
        let id: MemberId = item
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| InvalidRequiredMembers::NotAnId(item.to_string()))?;
        if members.contains(&id) {
            return Err(InvalidRequiredMembers::Repeated(id));
        }
        members.push(id);
    }
    Ok(Some(members))
}

/// What is wrong with a list of required members.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidRequiredMembers {
    /// Not an array.
    #[error("requiredMembers is not a list")]
    NotAList,
    /// No members.
    #[error("requiredMembers is empty; leave it out to have all active members vote")]
    Empty,
    /// An element is not a member id.
    #[error("requiredMembers holds {0}, which is not a member id (64 lower-case hex digits)")]
    NotAnId(String),
    /// The same member twice.
    #[error("requiredMembers names {0} twice")]
    Repeated(MemberId),
    /// Not a member, or one that does not vote. Found by callers that know the members.
    #[error("requiredMembers names {0}, who is not a regular member of this service")]
    NotEligible(MemberId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_found_in_objects_and_in_json_strings_and_nowhere_else() {
        let id = "ab".repeat(32);
        let tree = serde_json::json!({"metadata": {"voters": {"requiredMembers": [id]}}});
        let expected = Some(vec![id.parse().unwrap()]);
        assert_eq!(required_members(&tree), Ok(expected.clone()));
        assert_eq!(
            required_members(&JsonValue::String(tree.to_string())),
            Ok(expected)
        );
        assert_eq!(
            required_members(&JsonValue::String("purpose: report".into())),
            Ok(None)
        );
        assert_eq!(
            required_members(&serde_json::json!({"voters": {"requiredMembers": [id]}})),
            Ok(None)
        );
    }

    #[test]
    fn empty_repeated_and_malformed_lists_are_refused() {
        let list = |items: JsonValue| {
            required_members(&serde_json::json!({"metadata": {"voters": {"requiredMembers": items}}}))
        };
        let id = "ab".repeat(32);
        assert_eq!(list(serde_json::json!([])), Err(InvalidRequiredMembers::Empty));
        assert!(matches!(
            list(serde_json::json!([id, id])),
            Err(InvalidRequiredMembers::Repeated(_))
        ));
        assert!(matches!(
            list(serde_json::json!(["ann"])),
            Err(InvalidRequiredMembers::NotAnId(_))
        ));
        assert!(matches!(
            list(serde_json::json!("ann")),
            Err(InvalidRequiredMembers::NotAList)
        ));
    }
}
