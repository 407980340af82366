//! Who must agree to what: one function, run when a proposal is made, at each ballot, and for every
//! open proposal after members change (`governance-api.md` §6.8, contract voters §6.7).

use std::collections::{BTreeMap, BTreeSet};

use cleanroom_model::ContractId;
use cleanroom_model::actions::{Action, SetContract};
use cleanroom_model::governance::{ACCEPTED_CONTRACTS, required_members};
use kv::{Read, TableError};
use model::proposal::{Moment, Resolution};
use model::{MemberId, proposal_rows, tables};

use crate::actions::policies;
use crate::credentials::Credentials;
use crate::electorate::{ContractVoters, Electorate, contract_voters};
use crate::proposal::{contracts_to_accept, parse};
use crate::roles::{Roles, normalised_member_data, passes_at_creation};
use crate::{Ballot, ProposalContext};

/// Decides a proposal on the ballots cast so far.
///
/// # Errors
///
/// [`TableError`] if a table cannot be read. No decision follows from that.
pub fn resolve(
    state: &impl Read,
    credentials: &impl Credentials,
    context: &ProposalContext,
    proposal: &[u8],
    ballots: &[Ballot],
) -> Result<Resolution, TableError> {
    // The rules may have been replaced since it was validated: what they cannot read cannot pass.
    let Ok(actions) = parse(proposal) else {
        return Ok(Resolution::Rejected);
    };
    if is_impossible(state, context, &actions)? {
        return Ok(Resolution::Rejected);
    }
    let members = Electorate::read(state)?;
    if context.moment == Moment::Creation
        && passes_at_creation(&actions, &context.proposer_id, &members, state, credentials)?
    {
        return Ok(Resolution::Accepted);
    }
    Ok(match voters(state, &members, &actions)? {
        Some(voters) => count(&voters, &members, ballots),
        None => Resolution::Rejected,
    })
}

/// Step 1: a mixed proposal, or a contract named twice, already accepted, or named by another open
/// proposal.
fn is_impossible(
    state: &impl Read,
    context: &ProposalContext,
    actions: &[Action],
) -> Result<bool, TableError> {
    let mut named: BTreeSet<&ContractId> = BTreeSet::new();
    let mut contract_actions = 0_usize;
    for action in actions {
        if let Action::SetContract(args) = action {
            contract_actions = contract_actions.saturating_add(1);
            let twice = !named.insert(&args.contract_id);
            if twice || ACCEPTED_CONTRACTS.has(state, &args.contract_id)? {
                return Ok(true);
            }
        }
    }
    if contract_actions == 0 {
        return Ok(false);
    }
    if contract_actions != actions.len() {
        return Ok(true);
    }
    // Whichever came second was refused when it came, so there is nothing to find later.
    if context.moment != Moment::Creation {
        return Ok(false);
    }
    for (id, _) in proposal_rows::open(state)? {
        if id == context.proposal_id {
            continue;
        }
        let Some(text) = tables::PROPOSALS.get(state, &id)? else {
            continue;
        };
        let others = contracts_to_accept(&text.0);
        if named
            .iter()
            .any(|id| others.iter().any(|other| other == id.as_str()))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Step 3 and 7: everyone whose vote is needed, or `None` if the proposal can never pass: a draft
/// lists somebody who cannot vote, or it adds to a contract whose voters have all left.
fn voters(
    state: &impl Read,
    members: &Electorate,
    actions: &[Action],
) -> Result<Option<BTreeSet<MemberId>>, TableError> {
    let mut voters = BTreeSet::new();
    for action in actions {
        match scope(action) {
            Scope::Draft(args) => match required_members(&args.contract.data) {
                Ok(Some(list)) if list.iter().all(|id| members.is_regular(id)) => voters.extend(list),
                Ok(Some(_)) | Err(_) => return Ok(None),
                // Everybody, also those who have not acknowledged yet.
                Ok(None) => voters.extend(members.regular()),
            },
            Scope::Contract(id) => match contract_voters(state, members, id)? {
                ContractVoters::Named(named) => voters.extend(named),
                ContractVoters::All => voters.extend(members.active_regular()),
                ContractVoters::Gone if takes_away(state, action)? => {
                    voters.extend(members.active_regular());
                }
                ContractVoters::Gone => return Ok(None),
            },
            Scope::Service => voters.extend(service_voters(members, action)),
        }
    }
    Ok(Some(voters))
}

/// Whether an action only takes something away from its contract.
fn takes_away(state: &impl Read, action: &Action) -> Result<bool, TableError> {
    match action {
        Action::SetCleanRoomPolicy(args) => policies::only_takes_away(state, args),
        Action::DisableLogging(_) | Action::DisableTelemetry(_) => Ok(true),
        _ => Ok(false),
    }
}

/// All active members, but nobody decides about losing his own vote. Of two, one would then remove
/// the other alone, so both decide.
fn service_voters(members: &Electorate, action: &Action) -> BTreeSet<MemberId> {
    let mut voters: BTreeSet<MemberId> = members.active_regular().collect();
    if let Some(id) = loses_vote(members, action)
        && voters.len() > 2
    {
        voters.remove(id);
    }
    voters
}

/// The member whose vote an action takes.
fn loses_vote<'a>(members: &Electorate, action: &'a Action) -> Option<&'a MemberId> {
    match action {
        Action::RemoveMember(args) => Some(&args.member_id),
        Action::SetMemberData(args) => {
            let data = normalised_member_data(&args.member_data).ok()?;
            let taken = members.is_regular(&args.member_id) && !Roles::of(Some(&data)).is_regular();
            taken.then_some(&args.member_id)
        }
        _ => None,
    }
}

/// Whose business an action is.
enum Scope<'a> {
    /// A contract that is being accepted.
    Draft(&'a SetContract),
    /// An accepted contract.
    Contract(&'a ContractId),
    /// The whole service.
    Service,
}

fn scope(action: &Action) -> Scope<'_> {
    let contract = match action {
        Action::SetContract(args) => return Scope::Draft(args),
        Action::SetCleanRoomPolicy(args) => Some(&args.contract_id),
        Action::EnableLogging(args)
        | Action::DisableLogging(args)
        | Action::EnableTelemetry(args)
        | Action::DisableTelemetry(args) => Some(&args.contract_id),
        Action::EnableOidcIssuer(args) => args.contract_id.as_ref(),
        Action::RotateOidcKey(args) => args.contract_id.as_ref(),
        Action::SetOidcIssuerUrl(args) => args.contract_id.as_ref(),
        Action::SetServiceOption(_)
        | Action::SetUserIdentity(_)
        | Action::RemoveUserIdentity(_)
        | Action::SetJwtIssuer(_)
        | Action::RemoveJwtIssuer(_)
        | Action::SetMember(_)
        | Action::RemoveMember(_)
        | Action::SetMemberData(_)
        | Action::SetUser(_)
        | Action::RemoveUser(_)
        | Action::SetUserData(_)
        | Action::SetRecoveryThreshold(_)
        | Action::SetConstitution(_)
        | Action::SetMinimumTcb(_)
        | Action::SetMinimumTcbHex(_)
        | Action::RemoveMinimumTcb(_)
        | Action::SetWasmApp(_)
        | Action::OpenService(_)
        | Action::AssertServiceIdentity(_)
        | Action::ResetServiceTime(_)
        | Action::SetServiceConfiguration(_)
        | Action::EndChunk(_) => None,
    };
    contract.map_or(Scope::Service, Scope::Contract)
}

/// Steps 4 to 6 and 8. Votes of others, and of members who are not Active now, are not looked at.
fn count(voters: &BTreeSet<MemberId>, members: &Electorate, ballots: &[Ballot]) -> Resolution {
    let votes: BTreeMap<MemberId, bool> = ballots
        .iter()
        .copied()
        .filter(|(id, _)| voters.contains(id) && members.is_active(id))
        .collect();
    if votes.values().any(|accept| !accept) {
        return Resolution::Rejected;
    }
    // An electorate of nobody accepts nothing (O7).
    if !voters.is_empty() && votes.len() == voters.len() {
        return Resolution::Accepted;
    }
    Resolution::Open
}
