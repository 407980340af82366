//! Clean-room policies: one alternative at a time, added to or taken from
//! (`governance-api.md` §14 P3–P6, decisions 17, 21, 25).

use cleanroom_model::actions::{Change, SetCleanRoomPolicy};
use cleanroom_model::claims::{self, HOST_DATA_CLAIM, parse_claims};
use cleanroom_model::governance::{CLEAN_ROOM_POLICIES, PolicyKey};
use cleanroom_model::policy::{
    ALLOW_ALL_HOST_DATA, Claims, DEFAULT_ALTERNATIVE, PolicyAlternative, PolicyType, TokenGrant, VotedGrant,
};
use cleanroom_model::tables::tenant_issuer;
use kv::{Json, Pair, Read, TableError, Versioned, Write};
use model::evidence::Role;
use model::{ProposalId, tables};

use super::contracts::require_accepted;
use crate::electorate::{ContractVoters, Electorate, contract_voters};
use crate::fault::{Fault, require};

fn policy_type(args: &SetCleanRoomPolicy) -> PolicyType {
    args.policy_type.unwrap_or_default()
}

fn key(args: &SetCleanRoomPolicy) -> PolicyKey {
    let fixed = |name: &str| name.parse().expect("a constant that is an identifier");
    let alternative = args
        .alternative
        .clone()
        .unwrap_or_else(|| fixed(DEFAULT_ALTERNATIVE));
    Pair(
        args.contract_id.clone(),
        Pair(fixed(policy_type(args).as_str()), alternative),
    )
}

fn given_claims(args: &SetCleanRoomPolicy) -> Result<Claims, Fault> {
    parse_claims(policy_type(args), &args.claims).map_err(|e| Fault::refused(e.to_string()))
}

fn stored(state: &impl Read, args: &SetCleanRoomPolicy) -> Result<PolicyAlternative, Fault> {
    let row = CLEAN_ROOM_POLICIES.get(state, &key(args))?;
    Ok(row.map(|row| row.0).unwrap_or_default())
}

/// The alternative as it would be afterwards.
fn outcome(state: &impl Read, args: &SetCleanRoomPolicy) -> Result<PolicyAlternative, Fault> {
    let mut alternative = stored(state, args)?;
    let given = given_claims(args)?;
    match args.change {
        Change::Add => {
            claims::add_claims(&mut alternative.claims, given);
            alternative.role = args.role.or(alternative.role);
            if let Some(delegable) = args.delegable {
                alternative.delegable = delegable;
            }
            if let Some(allow) = args.allow_static_evidence {
                alternative.allow_static_evidence = allow;
            }
            add_tokens(state, &mut alternative.tokens, &args.tokens)?;
        }
        Change::Remove => {
            claims::remove_claims(&mut alternative.claims, &given);
            remove_tokens(&mut alternative.tokens, &args.tokens);
        }
    }
    Ok(alternative)
}

fn add_tokens(state: &impl Read, stored: &mut Vec<VotedGrant>, added: &[TokenGrant]) -> Result<(), Fault> {
    for grant in added {
        let issuer_url = match &grant.tid {
            Some(tenant) => Some(address_of(state, tenant)?.value),
            None => None,
        };
        match stored.iter_mut().find(|known| is_same(known, grant)) {
            Some(known) => {
                known.issuer_url = issuer_url;
                for audience in &grant.aud {
                    if !known.aud.contains(audience) {
                        known.aud.push(audience.clone());
                    }
                }
            }
            None => stored.push(VotedGrant {
                sub: grant.sub.clone(),
                aud: grant.aud.clone(),
                tid: grant.tid.clone(),
                issuer_url,
            }),
        }
    }
    Ok(())
}

fn is_same(known: &VotedGrant, named: &TokenGrant) -> bool {
    known.sub == named.sub && known.tid == named.tid
}

fn address_of(state: &impl Read, tenant: &str) -> Result<Versioned<String>, Fault> {
    tenant_issuer(state, tenant)?.ok_or_else(|| {
        Fault::refused(format!(
            "tenant {tenant:.80} has no issuer address yet; somebody of it sets one by POST /oidc/setIssuerUrl"
        ))
    })
}

/// A tenant sets its address alone, and could set another one while members vote on the first.
fn check_addresses(
    state: &impl Read,
    proposal_id: &ProposalId,
    args: &SetCleanRoomPolicy,
) -> Result<(), Fault> {
    let tenants = args.tokens.iter().filter_map(|grant| grant.tid.as_deref());
    for tenant in tenants.filter(|_| args.change == Change::Add) {
        let proposal = tables::PROPOSALS
            .get_versioned(state, proposal_id)?
            .ok_or_else(|| Fault::refused(format!("proposal {proposal_id} is not on record")))?;
        require(address_of(state, tenant)?.version < proposal.version, || {
            format!(
                "the issuer address of tenant {tenant:.80} is not the one that was voted on; propose again"
            )
        })?;
    }
    Ok(())
}

fn remove_tokens(stored: &mut Vec<VotedGrant>, removed: &[TokenGrant]) {
    for grant in removed {
        if let Some(known) = stored.iter_mut().find(|known| is_same(known, grant)) {
            known.aud.retain(|audience| !grant.aud.contains(audience));
        }
    }
    stored.retain(|grant| !grant.aud.is_empty());
}

/// Whether the action leaves no more admitted than before: the alternative goes, or each of its
/// claims keeps fewer values. A claim that goes as a whole is a condition less.
pub(crate) fn only_takes_away(state: &impl Read, args: &SetCleanRoomPolicy) -> Result<bool, TableError> {
    if args.change == Change::Add {
        return Ok(false);
    }
    let before = CLEAN_ROOM_POLICIES.get(state, &key(args))?;
    let before = before.map(|row| row.0.claims).unwrap_or_default();
    let Ok(given) = given_claims(args) else {
        return Ok(false);
    };
    let mut after = before.clone();
    claims::remove_claims(&mut after, &given);
    Ok(after.is_empty() || before.keys().all(|name| after.contains_key(name)))
}

/// Refuses more than taking away where nobody is left to speak for the contract. Looked at again
/// when the proposal is carried out: its earlier actions may have left one value of a claim.
fn check_spoken_for(state: &impl Read, args: &SetCleanRoomPolicy) -> Result<(), Fault> {
    let members = Electorate::read(state)?;
    let voters = contract_voters(state, &members, &args.contract_id)?;
    let allowed = voters != ContractVoters::Gone || only_takes_away(state, args)?;
    require(allowed, || {
        format!(
            "every member that contract {} names has left: alternatives, values of claims and grants can be \
             taken away, nothing can be added",
            args.contract_id
        )
    })
}

/// Whether the action gives tokens to somebody, or lets others have those that an alternative
/// gives. Tokens speak to relying parties that know nothing of contracts, so nobody decides this
/// alone, whatever options are on.
pub(crate) fn touches_tokens(state: &impl Read, args: &SetCleanRoomPolicy) -> Result<bool, TableError> {
    let row = CLEAN_ROOM_POLICIES.get(state, &key(args))?;
    Ok(!args.tokens.is_empty() || row.is_some_and(|row| !row.0.tokens.is_empty()))
}

/// Checks form and outcome.
pub(crate) fn check(state: &impl Read, args: &SetCleanRoomPolicy) -> Result<(), Fault> {
    require_accepted(state, &args.contract_id)?;
    require(!args.claims.is_empty() || !args.tokens.is_empty(), || {
        "the action names neither claims nor tokens".into()
    })?;
    if let Some(grant) = args.tokens.iter().find(|grant| {
        let texts = grant.aud.iter().chain([&grant.sub]).chain(&grant.tid);
        grant.aud.is_empty() || texts.into_iter().any(String::is_empty)
    }) {
        return Err(Fault::refused(format!(
            "the token grant for '{}' needs a subject and at least one audience, and nothing in it is empty",
            grant.sub
        )));
    }
    let sets_rights = args.role.is_some() || args.allow_static_evidence.is_some() || args.delegable.is_some();
    require(args.change == Change::Add || !sets_rights, || {
        "role, allowStaticEvidence and delegable go with type add; remove takes claims and tokens".into()
    })?;
    require(
        policy_type(args) != PolicyType::Jwt || (!sets_rights && args.tokens.is_empty()),
        || "a jwt policy admits event writers only: no role, static evidence, delegates or tokens".into(),
    )?;
    check_outcome(args, &outcome(state, args)?)
}

fn check_outcome(args: &SetCleanRoomPolicy, after: &PolicyAlternative) -> Result<(), Fault> {
    if args.change == Change::Add {
        require(!after.claims.is_empty(), || {
            "the alternative would have no claims and admit nobody; add claims".into()
        })?;
    }
    require(
        after.role != Some(Role::Launcher) || after.tokens.is_empty(),
        || "a launcher never gets tokens".into(),
    )?;
    require(!after.delegable || after.role == Some(Role::Pod), || {
        "delegable goes with role pod: a launcher chooses host data of pods alone".into()
    })?;
    // Evidence with these host data is published together with its private keys. The node's own
    // switch is not visible here; the application looks at it again before it admits anybody.
    let host_data = after.claims.get(HOST_DATA_CLAIM).map_or(&[][..], Vec::as_slice);
    let public = host_data
        .iter()
        .filter_map(|value| value.as_str())
        .find(|text| ALLOW_ALL_HOST_DATA.contains(text));
    match public {
        Some(text) if !after.allow_static_evidence => Err(Fault::refused(format!(
            "host data {text} stands for an allow-all policy whose evidence anybody has; it needs \
             allowStaticEvidence, and a node started with --insecure-virtual"
        ))),
        _ => Ok(()),
    }
}

/// At submission a removal must be about something. Later it is harmless if it no longer is.
pub(crate) fn check_removal(state: &impl Read, args: &SetCleanRoomPolicy) -> Result<(), Fault> {
    if args.change == Change::Add {
        return Ok(());
    }
    let present = stored(state, args)?;
    claims::check_removal(&present.claims, &given_claims(args)?)
        .map_err(|e| Fault::refused(e.to_string()))?;
    let missing = args.tokens.iter().find(|grant| {
        let known = present.tokens.iter().find(|known| is_same(known, grant));
        known.is_none_or(|known| grant.aud.iter().any(|audience| !known.aud.contains(audience)))
    });
    match missing {
        Some(grant) => Err(Fault::refused(format!(
            "the policy grants no such tokens for subject '{}'",
            grant.sub
        ))),
        None => Ok(()),
    }
}

/// Writes the outcome. The row goes with its last claim, and what it granted with it.
pub(crate) fn change<S: Read + Write>(
    state: &mut S,
    proposal_id: &ProposalId,
    args: &SetCleanRoomPolicy,
) -> Result<(), Fault> {
    check_addresses(state, proposal_id, args)?;
    check_spoken_for(state, args)?;
    let after = outcome(state, args)?;
    let key = key(args);
    if after.claims.is_empty() {
        Ok(CLEAN_ROOM_POLICIES.remove(state, &key)?)
    } else {
        Ok(CLEAN_ROOM_POLICIES.put(state, &key, &Json(after))?)
    }
}
