//! Members and certificate users as the framework stores them (`ledger-host.md` §1.9, §3.1).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue};

/// Whether a member has acknowledged the state it joined.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum MemberStatus {
    /// Registered, has not acknowledged yet: may not propose or vote.
    Accepted,
    /// Acknowledged a state digest.
    Active,
}

/// What a member holds of the recovery key.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum RecoveryRole {
    /// Nothing: it has no encryption key.
    #[default]
    NonParticipant,
    /// One share.
    Participant,
    /// The whole key.
    Owner,
}

fn is_non_participant(role: &Option<RecoveryRole>) -> bool {
    matches!(role, None | Some(RecoveryRole::NonParticipant))
}

/// A row of `members.info`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MemberInfo {
    /// Accepted or Active.
    pub status: MemberStatus,
    /// Free-form; `isOperator`, `isRecoveryOperator`, `cgsRoles`, `tenantId` have meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_data: Option<JsonValue>,
    /// Absent means: Participant if the member has an encryption key, else NonParticipant.
    #[serde(default, skip_serializing_if = "is_non_participant")]
    pub recovery_role: Option<RecoveryRole>,
}

/// A row of `members.acks`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MemberAck {
    /// Hex of the root to acknowledge; empty before the first signature.
    pub state_digest: String,
    /// The acknowledging message, base64 of the COSE envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cose_sign1_req: Option<String>,
}

/// A row of `users.info`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct UserInfo {
    /// Free-form; `tenantId` has meaning.
    #[serde(default)]
    pub user_data: JsonValue,
}

/// The flags of `member_data` that the service gives meaning to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MemberRoles {
    /// Infrastructure operator.
    pub operator: bool,
    /// Identity of a recovery service.
    pub recovery_operator: bool,
    /// May self-approve constitution and application updates where enabled.
    pub cgs_operator: bool,
    /// May self-approve deployment and policy updates where enabled.
    pub contract_operator: bool,
}

impl MemberRoles {
    /// Reads the flags: booleans, and of `cgsRoles` also the strings `"true"` and `"false"`.
    #[must_use]
    pub fn of(member_data: Option<&JsonValue>) -> Self {
        let at = |pointer: &str| member_data.and_then(|data| data.pointer(pointer));
        let flag = |pointer: &str| at(pointer).and_then(JsonValue::as_bool).unwrap_or(false);
        let role = |pointer: &str| flag(pointer) || at(pointer).is_some_and(|value| value == "true");
        Self {
            operator: flag("/isOperator"),
            recovery_operator: flag("/isRecoveryOperator"),
            cgs_operator: role("/cgsRoles/cgsOperator"),
            contract_operator: role("/cgsRoles/contractOperator"),
        }
    }

    /// A regular member has none of the flags; only regular members are counted.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        *self == Self::default()
    }
}

/// Boolean flags of member data, and of its `cgsRoles`.
const FLAGS: &[&str] = &["isOperator", "isRecoveryOperator"];
const ROLE_FLAGS: &[&str] = &["cgsOperator", "contractOperator"];

/// Member data that would silently mean less, or more, than its author thought.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidMemberData {
    /// The data, or `cgsRoles` in it, has another form.
    #[error("{0} is not an object")]
    NotAnObject(&'static str),
    /// A flag is not boolean, nor, of a role, one of the two strings.
    #[error("member_data.{name} must be true or false, not {got}")]
    Flag {
        /// The flag.
        name: &'static str,
        /// What it is, JSON.
        got: String,
    },
}

/// Member data with its flags as booleans. Of `cgsRoles` the strings `"true"` and `"false"` are
/// understood, because deployed clients send them; `isOperator` and `isRecoveryOperator` never had
/// that form, and the reference takes the string `"false"` for true.
///
/// # Errors
///
/// [`InvalidMemberData`] naming what has the wrong type.
pub fn normalised_flags(data: &JsonValue) -> Result<Map<String, JsonValue>, InvalidMemberData> {
    let mut object = data
        .as_object()
        .cloned()
        .ok_or(InvalidMemberData::NotAnObject("member_data"))?;
    for name in FLAGS {
        match object.get(*name) {
            None | Some(JsonValue::Bool(_)) => {}
            Some(other) => return Err(not_a_flag(name, other)),
        }
    }
    if let Some(roles) = object.get_mut("cgsRoles") {
        let roles = roles
            .as_object_mut()
            .ok_or(InvalidMemberData::NotAnObject("member_data.cgsRoles"))?;
        for name in ROLE_FLAGS {
            normalise_role(roles, name)?;
        }
    }
    Ok(object)
}

fn normalise_role(object: &mut Map<String, JsonValue>, name: &'static str) -> Result<(), InvalidMemberData> {
    let Some(value) = object.get_mut(name) else {
        return Ok(());
    };
    match value {
        JsonValue::Bool(_) => Ok(()),
        JsonValue::String(text) if text == "true" || text == "false" => {
            *value = JsonValue::Bool(text == "true");
            Ok(())
        }
        other => Err(not_a_flag(name, other)),
    }
}

fn not_a_flag(name: &'static str, got: &JsonValue) -> InvalidMemberData {
    InvalidMemberData::Flag {
        name,
        got: got.to_string(),
    }
}
