//! Contracts and the options that members vote on (`governance-api.md` §6.2, §6.7, §12).

use std::collections::BTreeMap;

use cleanroom_model::actions::{OfContract, SetContract, SetServiceOption};
use cleanroom_model::governance::{
    ACCEPTED_CONTRACTS, AcceptedContract, CONTRACT_OPTIONS, CONTRACTS, CONTRACTS_OF_VOTERS,
    InvalidRequiredMembers, OptionStatus, SERVICE_OPTIONS, StatusRow, required_members,
};
use cleanroom_model::{ContractId, Identifier};
use kv::{Json, Pair, Read, Unit, Write};
use model::proposal::Vote;
use model::{MemberId, ProposalId, tables};

use crate::electorate::Electorate;
use crate::fault::{Fault, require};

/// Key of a contract's logging option.
pub(crate) const LOGGING: &str = "logging";
/// Key of a contract's telemetry option.
pub(crate) const TELEMETRY: &str = "telemetry";

/// Refuses an action on a contract that no vote has accepted.
pub(crate) fn require_accepted(state: &impl Read, id: &ContractId) -> Result<(), Fault> {
    require(ACCEPTED_CONTRACTS.has(state, id)?, || {
        format!("contract {id} is not accepted; this can be proposed once it is")
    })
}

/// What is voted on must be the draft as it stands, and the members it names must be able to vote.
///
/// An accepted contract passes this check: proposing it again is answered as a proposal that is
/// rejected at once, as the reference does.
pub(crate) fn check_set_contract(state: &impl Read, args: &SetContract) -> Result<(), Fault> {
    let id = &args.contract_id;
    if ACCEPTED_CONTRACTS.has(state, id)? {
        return Ok(());
    }
    let draft = CONTRACTS
        .get_versioned(state, id)?
        .ok_or_else(|| Fault::refused(format!("there is no draft of contract {id}")))?;
    require(draft.version == args.contract.version, || {
        format!(
            "contract {id} is at version {}, not {}; read it again and propose what you read",
            draft.version, args.contract.version
        )
    })?;
    require(!args.contract.data.is_null(), || {
        format!("contract {id} has no data")
    })?;
    require(draft.value.0.data == args.contract.data, || {
        format!("the data of contract {id} differ from its draft's")
    })?;
    let listed = required_members(&args.contract.data).map_err(|e| Fault::refused(e.to_string()))?;
    if let Some(listed) = listed {
        let members = Electorate::read(state)?;
        if let Some(stranger) = listed.into_iter().find(|id| !members.is_regular(id)) {
            let fault = InvalidRequiredMembers::NotEligible(stranger);
            return Err(Fault::refused(fault.to_string()));
        }
    }
    Ok(())
}

/// Every ballot cast on a proposal, counted or not.
fn ballots_cast(state: &impl Read, id: &ProposalId) -> Result<BTreeMap<MemberId, bool>, Fault> {
    let Some(info) = tables::PROPOSALS_INFO.get(state, id)? else {
        return Err(Fault::refused(format!("proposal {id} is not on record")));
    };
    if let Some(votes) = info.0.final_votes {
        return Ok(votes);
    }
    let votes = info.0.ballots.into_iter();
    Ok(votes
        .filter_map(|(id, script)| Some((id, Vote::from_script(&script)? == Vote::Accept)))
        .collect())
}

/// Makes the draft an accepted contract.
pub(crate) fn accept<S: Read + Write>(
    state: &mut S,
    proposal_id: &ProposalId,
    args: &SetContract,
) -> Result<(), Fault> {
    let id = &args.contract_id;
    require(!ACCEPTED_CONTRACTS.has(state, id)?, || {
        format!("contract {id} is already accepted")
    })?;
    let required_members =
        required_members(&args.contract.data).map_err(|e| Fault::refused(e.to_string()))?;
    for member in required_members.iter().flatten() {
        CONTRACTS_OF_VOTERS.put(state, &Pair(*member, id.clone()), &Unit)?;
    }
    let contract = AcceptedContract {
        data: args.contract.data.clone(),
        version: args.contract.version,
        proposal_id: *proposal_id,
        final_votes: ballots_cast(state, proposal_id)?,
        required_members,
    };
    Ok(ACCEPTED_CONTRACTS.put(state, id, &Json(contract))?)
}

/// Sets a contract's logging or telemetry.
pub(crate) fn set_option(
    state: &mut impl Write,
    args: &OfContract,
    option: &str,
    status: OptionStatus,
) -> Result<(), Fault> {
    let option: Identifier = option.parse().expect("option names are identifiers");
    let key = Pair(args.contract_id.clone(), option);
    Ok(CONTRACT_OPTIONS.put(state, &key, &Json(StatusRow { status }))?)
}

/// Sets a self-approval option.
pub(crate) fn set_service_option(state: &mut impl Write, args: &SetServiceOption) -> Result<(), Fault> {
    let row = StatusRow { status: args.status };
    Ok(SERVICE_OPTIONS.put(state, &args.option.key(), &Json(row))?)
}
