//! Which of a contract's alternatives admits a workload, or which delegate does, or what stands in
//! the way (decisions 8, 17, 21, 23).

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::CLEAN_ROOM_POLICIES;
use cleanroom_model::ids::{ContractId, Identifier, RunId};
use cleanroom_model::policy::{PolicyAlternative, PolicyType, VotedGrant};
use cleanroom_model::tables::{DELEGATES, Delegate, DelegateKey, RUN_DELEGATES, RUNS, RunVerdict};
use kv::Pair;
use model::evidence::{Platform, Role};

use crate::matching::{HOST_DATA, Mismatch, Presented, Rule, mismatches};
use crate::proof::{POLICY_MISSING, StaticRule};
use crate::reply::{Fault, Refused};
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
pub(crate) fn of_contract(call: &Call<'_>, contract: &ContractId) -> Result<Vec<Placed>, Fault> {
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

/// What members granted tokens for, in any alternative.
pub(crate) fn voted_grants(call: &Call<'_>, contract: &ContractId) -> Result<Vec<VotedGrant>, Fault> {
    let alternatives = of_contract(call, contract)?;
    Ok(alternatives
        .into_iter()
        .flat_map(|placed| placed.policy.tokens)
        .collect())
}

/// What a workload asks for, and with what.
pub(crate) struct Asked<'a> {
    pub(crate) contract: &'a ContractId,
    /// Of the evidence.
    pub(crate) platform: Platform,
    pub(crate) presented: Presented<'a>,
    /// The run it names.
    pub(crate) run: Option<&'a RunId>,
    /// Type and id of the delegates that its purpose is open to.
    pub(crate) delegate: Option<(&'a Identifier, &'a Identifier)>,
    /// Roles that may do this; workloads without a role always may.
    pub(crate) roles: &'a [Role],
}

impl Asked<'_> {
    const fn policy_type(&self) -> PolicyType {
        PolicyType::Evidence(self.platform)
    }
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
pub(crate) fn static_rule(alternatives: &[Placed], platform: Platform) -> StaticRule {
    let policy_type = PolicyType::Evidence(platform);
    if !has_evidence_policy(alternatives) {
        return StaticRule::NoPolicy;
    }
    if for_evidence(alternatives).any(|a| a.policy_type == policy_type && a.policy.allow_static_evidence) {
        return StaticRule::Allowed;
    }
    StaticRule::Refused
}

/// By which rule a workload comes in.
pub(crate) struct Chosen {
    pub(crate) by: AdmittedBy,
    /// The rule's name.
    pub(crate) name: String,
    /// The delegate of its purpose that lets it in beside that rule, and its name.
    pub(crate) also: Option<(Delegate, String)>,
}

/// By which rule the workload comes in, or the refusal with all that stands in
/// the way. The outer error is a failure to read.
pub(crate) fn choose(
    call: &Call<'_>,
    alternatives: &[Placed],
    asked: &Asked<'_>,
) -> Result<Result<Chosen, Refused>, Fault> {
    let delegated = match asked.delegate.filter(|_| has_evidence_policy(alternatives)) {
        Some((kind, id)) => {
            let name = format!("delegate:{kind}/{id}");
            delegate(call, alternatives, asked, kind, id, &name)?.map(|delegate| (delegate, name))
        }
        None => Err(Vec::new()),
    };
    let mut found = match satisfied(alternatives, asked) {
        Ok(satisfied) => {
            let best = best(call, &satisfied, asked)?;
            return Ok(Ok(Chosen {
                by: AdmittedBy::Alternative(best.clone()),
                name: best.id.to_string(),
                also: delegated.ok(),
            }));
        }
        Err(found) => found,
    };
    match delegated {
        Ok((delegate, name)) => {
            return Ok(Ok(Chosen {
                by: AdmittedBy::Delegate(delegate),
                name,
                also: None,
            }));
        }
        Err(missed) => found.extend(missed),
    }
    if found.is_empty() {
        let types = for_evidence(alternatives).map(|a| a.policy_type);
        found.push(Mismatch::of_type(asked.policy_type(), types));
    }
    Ok(Err(no_match(alternatives, asked.delegate.is_some(), &found)))
}

/// Every alternative that is satisfied, or what stands in the way, nearest miss first.
fn satisfied<'a>(alternatives: &'a [Placed], asked: &Asked<'_>) -> Result<Vec<&'a Placed>, Vec<Mismatch>> {
    let mut satisfied = Vec::new();
    let mut misses: Vec<Vec<Mismatch>> = Vec::new();
    for placed in alternatives
        .iter()
        .filter(|placed| placed.policy_type == asked.policy_type())
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
fn best<'a>(call: &Call<'_>, satisfied: &[&'a Placed], asked: &Asked<'_>) -> Result<&'a Placed, Fault> {
    let nothing = || Fault::new("no alternative to choose from");
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
) -> Result<Result<Delegate, Vec<Mismatch>>, Fault> {
    let mut missed = Vec::new();
    if let Some(run) = asked.run {
        match run_delegate(call, alternatives, asked, run, (kind, id), name)? {
            Ok(delegate) => return Ok(Ok(delegate)),
            Err(found) => missed.extend(found),
        }
    }
    let runs = asked.run.map(Some).into_iter().chain([None]);
    for run in runs {
        let key = delegate_key(asked.contract, kind, id, asked.policy_type(), run);
        let Some(row) = DELEGATES.get(call.state, &key)? else {
            continue;
        };
        let allow_static =
            row.0.allow_static_evidence && static_rule(alternatives, asked.platform) == StaticRule::Allowed;
        let rule = Rule {
            name: name.to_owned(),
            policy_type: asked.policy_type(),
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

/// The alternative of role `pod` that members let launchers choose host data for, if this is one.
pub(crate) fn delegable<'a>(
    alternatives: &'a [Placed],
    policy_type: PolicyType,
    id: &Identifier,
) -> Option<&'a Placed> {
    alternatives.iter().find(|placed| {
        let is_named = placed.policy_type == policy_type && placed.id == *id;
        is_named && placed.policy.role == Some(Role::Pod) && placed.policy.delegable
    })
}

/// Whether an alternative of role `launcher` is about this host data.
pub(crate) fn is_launchers(alternatives: &[Placed], host_data: &str) -> bool {
    alternatives
        .iter()
        .filter(|placed| placed.policy.role == Some(Role::Launcher))
        .filter_map(|placed| placed.policy.claims.get(HOST_DATA))
        .flatten()
        .any(|value| value.as_str() == Some(host_data))
}

/// What the run's launcher let in for this purpose: its host data on the claims that the
/// alternative has now.
fn run_delegate(
    call: &Call<'_>,
    alternatives: &[Placed],
    asked: &Asked<'_>,
    run: &RunId,
    (kind, id): (&Identifier, &Identifier),
    name: &str,
) -> Result<Result<Delegate, Vec<Mismatch>>, Fault> {
    let purpose = Pair(run.clone(), Pair(kind.clone(), id.clone()));
    let Some(row) = RUN_DELEGATES.get(call.state, &Pair(asked.contract.clone(), purpose))? else {
        return Ok(Err(Vec::new()));
    };
    let delegated = row.0;
    let named = delegable(alternatives, delegated.policy_type, &delegated.alternative);
    let Some(placed) = named.filter(|placed| placed.policy_type == asked.policy_type()) else {
        return Ok(Err(Vec::new()));
    };
    let mut claims = placed.policy.claims.clone();
    let host_data = delegated.host_data.into_iter();
    let host_data = host_data.filter(|value| !is_launchers(alternatives, value));
    claims.insert(HOST_DATA.to_owned(), host_data.map(Into::into).collect());
    let rule = Rule {
        name: name.to_owned(),
        policy_type: placed.policy_type,
        claims: &claims,
        allow_static: placed.policy.allow_static_evidence,
    };
    let missed = mismatches(&rule, &asked.presented);
    if !missed.is_empty() {
        return Ok(Err(missed));
    }
    Ok(Ok(Delegate {
        claims,
        run_id: Some(run.clone()),
        audiences: delegated.audiences,
        allow_static_evidence: placed.policy.allow_static_evidence,
    }))
}

/// Most mismatches told to the caller.
const DETAILS_MAX: usize = 16;

fn no_match(alternatives: &[Placed], has_delegate: bool, found: &[Mismatch]) -> Refused {
    let message = match (has_evidence_policy(alternatives), has_delegate) {
        (false, _) => POLICY_MISSING,
        (true, false) => "Attestation claims do not match the contract policy.",
        (true, true) => "Attestation claims do not match the contract policy, or the delegated policies.",
    };
    Refused::new(ErrorCode::VerifySnpAttestationFailed, message)
        .with_details(found.iter().take(DETAILS_MAX).map(Mismatch::detail).collect())
}
