//! Operators, recovery operators, and members with a role: what their data must look like, and
//! what they may do without a vote (`governance-api.md` §3.1, §6.5 after O1–O6, §14 P7).

use cleanroom_model::actions::{Action, ServiceOption, SetMember};
use cleanroom_model::governance::{self, OptionStatus};
use cleanroom_model::{ContractId, Identifier};
use kv::{Read, TableError};
use model::MemberId;
use model::member::{MemberRoles, normalised_flags};
use serde_json::Value as JsonValue;

use crate::actions::policies;
use crate::credentials::Credentials;
use crate::electorate::{Electorate, Standing};
use crate::fault::{Fault, require};

/// The roles in a member's data.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    flags: MemberRoles,
    /// Contracts that a contract operator is limited to; absent: any.
    contract_operator_for: Option<Vec<String>>,
}

impl Roles {
    /// Reads them from member data.
    #[must_use]
    pub fn of(member_data: Option<&JsonValue>) -> Self {
        let list = member_data.and_then(|data| data.pointer("/cgsRoles/contractOperatorFor"));
        Self {
            flags: MemberRoles::of(member_data),
            contract_operator_for: list.map(|list| {
                let items = list.as_array().map_or(&[][..], Vec::as_slice);
                items
                    .iter()
                    .filter_map(|id| Some(id.as_str()?.to_owned()))
                    .collect()
            }),
        }
    }

    /// None of the four flags: counted, and its votes count.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        self.flags.is_regular()
    }

    /// Runs the service's machines.
    #[must_use]
    pub const fn is_operator(&self) -> bool {
        self.flags.operator
    }

    fn operates_contract(&self, contract: &ContractId) -> bool {
        self.flags.contract_operator
            && self
                .contract_operator_for
                .as_ref()
                .is_none_or(|list| list.iter().any(|id| id == contract.as_str()))
    }
}

/// Member data with its flags as booleans ([`normalised_flags`]).
///
/// # Errors
///
/// [`Fault`] if it is not an object, or a flag or the list of contracts has another type: data that
/// silently means less, or more, than its author thought.
pub fn normalised_member_data(data: &JsonValue) -> Result<JsonValue, Fault> {
    let object = normalised_flags(data).map_err(|e| Fault::refused(e.to_string()))?;
    if let Some(list) = object
        .get("cgsRoles")
        .and_then(|roles| roles.get("contractOperatorFor"))
    {
        serde_json::from_value::<Vec<ContractId>>(list.clone()).map_err(|e| {
            Fault::refused(format!(
                "member_data.cgsRoles.contractOperatorFor is not a list of contract ids: {e}"
            ))
        })?;
    }
    Ok(JsonValue::Object(object))
}

/// Whether an operator may carry this out without a vote.
///
/// What could give one operator a voice or a secret, or take one away, is not in the list: token
/// issuers (O5; without their issuer users cannot withdraw a consent), lowered platform requirements (O6), the recovery threshold (O4), existing members (O1).
fn is_operator_class(action: &Action, members: &Electorate, credentials: &impl Credentials) -> bool {
    match action {
        Action::OpenService(_) | Action::EndChunk(_) => true,
        Action::SetMember(args) => adds_plain_operator(args, members, credentials),
        // The id that will be removed is the one that is looked at (O2).
        Action::RemoveMember(args) => members
            .get(&args.member_id)
            .is_some_and(|m| m.roles.is_operator()),
        _ => false,
    }
}

/// A new member that is an operator and nothing else. With a role or a share it would be more than
/// its proposer is.
fn adds_plain_operator(args: &SetMember, members: &Electorate, credentials: &impl Credentials) -> bool {
    let Ok(certificate) = credentials.certificate(&args.cert) else {
        return false;
    };
    let plain_operator = MemberRoles {
        operator: true,
        ..MemberRoles::default()
    };
    members.get(&MemberId(certificate.id)).is_none()
        && args.encryption_pub_key.is_none()
        && MemberRoles::of(args.member_data.as_ref()) == plain_operator
}

/// Whether any member may bring this about by proposing it: turning outward flows off.
const fn is_automatic(action: &Action) -> bool {
    matches!(action, Action::DisableLogging(_) | Action::DisableTelemetry(_))
}

fn option_enabled(state: &impl Read, option: ServiceOption) -> Result<bool, TableError> {
    let key: Identifier = option.key();
    let row = governance::SERVICE_OPTIONS.get(state, &key)?;
    Ok(row.is_some_and(|row| row.0.status == OptionStatus::Enabled))
}

/// Whether `proposer` may approve this itself, by role and option.
///
/// Not for a contract that names its voters: only they decide it. Nor where tokens are given.
fn is_self_approvable(action: &Action, proposer: &Standing, state: &impl Read) -> Result<bool, TableError> {
    let (allowed, option) = match action {
        // Whoever may replace the rules can do this too.
        Action::SetConstitution(_) | Action::ResetServiceTime(_) => {
            (proposer.roles.flags.cgs_operator, ServiceOption::Constitution)
        }
        Action::SetWasmApp(_) => (proposer.roles.flags.cgs_operator, ServiceOption::Application),
        Action::SetCleanRoomPolicy(args) => {
            let contract = governance::ACCEPTED_CONTRACTS.get(state, &args.contract_id)?;
            let open_to_all = contract.is_some_and(|c| c.0.required_members.is_none())
                && !policies::touches_tokens(state, args)?;
            (
                open_to_all && proposer.roles.operates_contract(&args.contract_id),
                ServiceOption::CleanRoomPolicy,
            )
        }
        _ => return Ok(false),
    };
    Ok(allowed && option_enabled(state, option)?)
}

/// Whether the proposal passes by being proposed (§6.8, step 2). Asked at creation only, so that a
/// role granted later does not wake old proposals.
///
/// # Errors
///
/// [`TableError`] if a table cannot be read.
pub fn passes_at_creation(
    actions: &[Action],
    proposer: &MemberId,
    members: &Electorate,
    state: &impl Read,
    credentials: &impl Credentials,
) -> Result<bool, TableError> {
    let Some(proposer) = members.get(proposer).filter(|m| m.active) else {
        return Ok(false);
    };
    if actions.iter().all(is_automatic) {
        return Ok(true);
    }
    if proposer.roles.is_operator()
        && actions
            .iter()
            .all(|action| is_operator_class(action, members, credentials))
    {
        return Ok(true);
    }
    for action in actions {
        if !is_self_approvable(action, proposer, state)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses an operator with a share of the recovery key (O4).
///
/// # Errors
///
/// [`Fault`] if both are given.
pub fn require_no_operator_share(member_data: Option<&JsonValue>, has_key: bool) -> Result<(), Fault> {
    require(!(has_key && MemberRoles::of(member_data).operator), || {
        "an operator must not hold a recovery share: leave out isOperator or the encryption key".into()
    })
}
