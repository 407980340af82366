//! Which of a contract's alternatives admits a workload, or which delegate does, or what stands in
//! the way (decisions 8, 17, 21, 23).

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::CLEAN_ROOM_POLICIES;
use cleanroom_model::ids::{ContractId, Identifier, RunId};
use cleanroom_model::policy::{PolicyAlternative, PolicyType, WorkloadRole};
use cleanroom_model::tables::{DELEGATES, Delegate, DelegateKey, RUNS, RunVerdict};
use kv::Pair;

use crate::matching::{Mismatch, Presented, Rule, mismatches};
use crate::proof::{POLICY_MISSING, StaticRule};
use crate::reply::Refusal;
use crate::request::Call;

/// An alternative with its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) policy_type: PolicyType,
    pub(crate) id: Identifier,
    pub(crate) policy: PolicyAlternative,
}

/// By which rule a workload came in.
#[derive(Clone, Debug)]
pub(crate) enum AdmittedBy {
    /// An alternative that members voted.
    Alternative(Placed),
    /// A delegate for this purpose.
    Delegate(Delegate),
}

/// All alternatives of a contract.
pub(crate) fn of_contract(call: &Call<'_>, contract: &ContractId) -> Result<Vec<Placed>, Refusal> {
    let rows = CLEAN_ROOM_POLICIES.rows_with_prefix(call.state, &contract.key_prefix())?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let Pair(_, Pair(policy_type, id)) = row.key;
            let policy_type = PolicyType::from_name(policy_type.as_str())?;
            Some(Placed {
                policy_type,
                id,
                policy: row.value.0,
            })
        })
        .collect())
}

/// What a workload asks for, and with what.
pub(crate) struct Asked<'a> {
    pub(crate) contract: &'a ContractId,
    /// Of the evidence.
    pub(crate) policy_type: PolicyType,
    pub(crate) presented: Presented<'a>,
    /// The run it names.
    pub(crate) run: Option<&'a RunId>,
    /// Type and id of the delegates that its purpose is open to.
    pub(crate) delegate: Option<(&'a Identifier, &'a Identifier)>,
    /// Roles that may do this; workloads without a role always may.
    pub(crate) roles: &'a [WorkloadRole],
}

/// The alternatives that evidence can satisfy; those of type `jwt` are for tokens.
fn for_evidence(alternatives: &[Placed]) -> impl Iterator<Item = &Placed> {
    alternatives.iter().filter(|a| a.policy_type != PolicyType::Jwt)
}

/// Whether members let any workload in at all. Without that, delegates let nobody in either.
fn has_evidence_policy(alternatives: &[Placed]) -> bool {
    for_evidence(alternatives).next().is_some()
}

/// Whether some alternative takes evidence of this type without a nonce.
pub(crate) fn static_rule(alternatives: &[Placed], policy_type: PolicyType) -> StaticRule {
    if !has_evidence_policy(alternatives) {
        return StaticRule::NoPolicy;
    }
    if for_evidence(alternatives).any(|a| a.policy_type == policy_type && a.policy.allow_static_evidence) {
        return StaticRule::Allowed;
    }
    StaticRule::Refused
}

/// By which rule the workload comes in and the rule's name, or the refusal with all that stands in
/// the way. The outer error is a failure to read.
pub(crate) fn choose(
    call: &Call<'_>,
    alternatives: &[Placed],
    asked: &Asked<'_>,
) -> Result<Result<(AdmittedBy, String), Refusal>, Refusal> {
    let mut found = match satisfied(alternatives, asked) {
        Ok(satisfied) => {
            let best = best(call, &satisfied, asked)?;
            return Ok(Ok((AdmittedBy::Alternative(best.clone()), best.id.to_string())));
        }
        Err(found) => found,
    };
    if has_evidence_policy(alternatives)
        && let Some((kind, id)) = asked.delegate
    {
        let name = format!("delegate:{kind}/{id}");
        match delegate(call, alternatives, asked, kind, id, &name)? {
            Ok(delegate) => return Ok(Ok((AdmittedBy::Delegate(delegate), name))),
            Err(missed) => found.extend(missed),
        }
    }
    if found.is_empty() {
        let types = for_evidence(alternatives).map(|a| a.policy_type);
        found.push(Mismatch::of_type(asked.policy_type, types));
    }
    Ok(Err(no_match(alternatives, asked.delegate.is_some(), &found)))
}

/// Every alternative that is satisfied, or what stands in the way, nearest miss first.
fn satisfied<'a>(alternatives: &'a [Placed], asked: &Asked<'_>) -> Result<Vec<&'a Placed>, Vec<Mismatch>> {
    let mut satisfied = Vec::new();
    let mut misses: Vec<Vec<Mismatch>> = Vec::new();
    for placed in alternatives
        .iter()
        .filter(|placed| placed.policy_type == asked.policy_type)
    {
        let rule = Rule {
            name: placed.id.to_string(),
            policy_type: placed.policy_type,
            claims: &placed.policy.claims,
            allow_static: placed.policy.allow_static_evidence,
        };
        let found = mismatches(&rule, &asked.presented);
        if found.is_empty() {
            satisfied.push(placed);
        } else {
            misses.push(found);
        }
    }
    if satisfied.is_empty() {
        misses.sort_by_key(Vec::len);
        return Err(misses.into_iter().flatten().collect());
    }
    Ok(satisfied)
}

/// The alternative to act under where several are satisfied: of those whose role may do this the
/// run's own, else the first; and if there is none, the first of all, whose role is then refused.
fn best<'a>(call: &Call<'_>, satisfied: &[&'a Placed], asked: &Asked<'_>) -> Result<&'a Placed, Refusal> {
    let nothing = || Refusal::new(ErrorCode::InternalError, "no alternative to choose from");
    let fitting: Vec<&Placed> = satisfied
        .iter()
        .copied()
        .filter(|placed| placed.policy.role.is_none_or(|role| asked.roles.contains(&role)))
        .collect();
    if let (Some(run), true) = (asked.run, fitting.len() > 1) {
        let key = Pair(asked.contract.clone(), run.clone());
        if let Some(RunVerdict::Admitted(record)) = RUNS.get(call.state, &key)?.map(|row| row.0)
            && let Some(own) = fitting
                .iter()
                .find(|placed| record.is_pod(placed.policy_type, &placed.id))
        {
            return Ok(own);
        }
    }
    fitting.first().or(satisfied.first()).copied().ok_or_else(nothing)
}

/// Key of a delegate; without a run the last part is empty.
pub(crate) fn delegate_key(
    contract: &ContractId,
    kind: &Identifier,
    id: &Identifier,
    policy_type: PolicyType,
    run: Option<&RunId>,
) -> DelegateKey {
    let policy: Identifier = policy_type.as_str().parse().expect("type names are identifiers");
    let run = run.map(ToString::to_string).unwrap_or_default();
    Pair(
        contract.clone(),
        Pair(kind.clone(), Pair(id.clone(), Pair(policy, run))),
    )
}

/// The delegate of the run that is named, else the one that is no run's; or what its claims miss.
fn delegate(
    call: &Call<'_>,
    alternatives: &[Placed],
    asked: &Asked<'_>,
    kind: &Identifier,
    id: &Identifier,
    name: &str,
) -> Result<Result<Delegate, Vec<Mismatch>>, Refusal> {
    let mut missed = Vec::new();
    let runs = asked.run.map(Some).into_iter().chain([None]);
    for run in runs {
        let key = delegate_key(asked.contract, kind, id, asked.policy_type, run);
        let Some(row) = DELEGATES.get(call.state, &key)? else {
            continue;
        };
        let allow_static = row.0.allow_static_evidence
            && static_rule(alternatives, asked.policy_type) == StaticRule::Allowed;
        let rule = Rule {
            name: name.to_owned(),
            policy_type: asked.policy_type,
            claims: &row.0.claims,
            allow_static,
        };
        let found = mismatches(&rule, &asked.presented);
        if found.is_empty() {
            return Ok(Ok(row.0));
        }
        missed.extend(found);
    }
    Ok(Err(missed))
}

/// Most mismatches told to the caller.
const DETAILS_MAX: usize = 16;

fn no_match(alternatives: &[Placed], has_delegate: bool, found: &[Mismatch]) -> Refusal {
    let message = match (has_evidence_policy(alternatives), has_delegate) {
        (false, _) => POLICY_MISSING,
        (true, false) => "Attestation claims do not match the contract policy.",
        (true, true) => "Attestation claims do not match the contract policy, or the delegated policies.",
    };
    Refusal::new(ErrorCode::VerifySnpAttestationFailed, message)
        .with_details(found.iter().take(DETAILS_MAX).map(Mismatch::detail).collect())
}
