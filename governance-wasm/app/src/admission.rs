//! From evidence and policy to [`Admitted`]: the only way to anything that is released.
//!
//! A contract's policy is a set of alternatives; a workload must satisfy one completely. A
//! delegate, where the endpoint has one, extends access for that purpose alone, and only beside
//! an existing policy.

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::CLEAN_ROOM_POLICIES;
use cleanroom_model::ids::{ContractId, Identifier, RunId};
use cleanroom_model::policy::{PolicyAlternative, PolicyType, TokenGrant, WorkloadRole};
use cleanroom_model::tables::{DELEGATES, Delegate, USED_NONCES};
use kv::{Pair, Unit, Write};
use serde_json::Value as JsonValue;

use crate::contracts;
use crate::matching::{HOST_DATA, Mismatch, Presented, Rule, mismatches};
use crate::proof::{self, Body, POLICY_MISSING, Proof, StaticRule};
use crate::releases::{self, Subject};
use crate::reply::Refusal;
use crate::request::{Call, parse_id};

pub(crate) use crate::proof::Binding;

/// What a workload wants, for the trace: kind and name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'a> {
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
}

/// By which rule a workload came in.
#[derive(Clone, Debug)]
pub(crate) enum AdmittedBy {
    /// An alternative that members voted.
    Alternative {
        id: Identifier,
        role: Option<WorkloadRole>,
        tokens: Vec<TokenGrant>,
    },
    /// A delegate for this purpose.
    Delegate(Delegate),
}

/// A workload whose evidence verified, binds the key that speaks, and satisfies the policy.
/// Made here and nowhere else.
pub(crate) struct Admitted {
    pub(crate) contract: ContractId,
    pub(crate) by: AdmittedBy,
    pub(crate) subject: Subject,
    /// The run that the workload names.
    pub(crate) run_id: Option<RunId>,
    /// The signed payload, if the request is signed.
    pub(crate) data: Vec<u8>,
    key_pem: Option<String>,
}

impl Admitted {
    /// Wraps an answer to the bound key, as base64.
    pub(crate) fn wrap(&self, call: &Call<'_>, plain: &[u8]) -> Result<String, Refusal> {
        let pem = self
            .key_pem
            .as_deref()
            .ok_or_else(|| Refusal::new(ErrorCode::EncryptionMissing, "encrypt.publicKey is missing"))?;
        let wrapped = call.host.wrap(pem, plain).map_err(|e| {
            Refusal::new(
                ErrorCode::InvalidInput,
                format!("cannot wrap to encrypt.publicKey: {e}"),
            )
        })?;
        Ok(model::b64::encode(&wrapped))
    }

    /// The role; delegates are pods of their run, or unrestricted for their one purpose.
    pub(crate) fn role(&self) -> Option<WorkloadRole> {
        match &self.by {
            AdmittedBy::Alternative { role, .. } => *role,
            AdmittedBy::Delegate(delegate) => delegate.run_id.as_ref().map(|_| WorkloadRole::Pod),
        }
    }

    /// A refusal on policy grounds: leaves a trace and uses up the nonce.
    pub(crate) fn refuse(
        &self,
        call: &Call<'_>,
        changes: &mut dyn Write,
        purpose: Purpose<'_>,
        refusal: Refusal,
    ) -> Refusal {
        releases::refused(
            call,
            changes,
            &self.contract,
            &self.subject,
            self.run_id.as_ref(),
            purpose,
            refusal,
        )
    }

    /// Refuses roles other than those given; workloads without a role have all rights.
    pub(crate) fn require_role(
        &self,
        call: &Call<'_>,
        changes: &mut dyn Write,
        purpose: Purpose<'_>,
        allowed: &[WorkloadRole],
    ) -> Result<(), Refusal> {
        match self.role() {
            Some(role) if !allowed.contains(&role) => {
                let name = match role {
                    WorkloadRole::Launcher => "launcher",
                    WorkloadRole::Pod => "pod",
                };
                let refusal = Refusal::new(
                    ErrorCode::RoleNotAllowed,
                    format!("workloads of role {name} may not do this ({})", purpose.kind),
                );
                Err(self.refuse(call, changes, purpose, refusal))
            }
            _ => Ok(()),
        }
    }
}

/// Admits the workload behind a request, or says why not. Marks the nonce as used either way.
pub(crate) fn admit(
    call: &Call<'_>,
    changes: &mut dyn Write,
    body: &Body,
    binding: Binding,
    delegate: Option<(&Identifier, &Identifier)>,
    purpose: Purpose<'_>,
) -> Result<Admitted, Refusal> {
    let contract: ContractId = call.id("contractId")?;
    let run_id = named_run(call, body)?;
    let alternatives = alternatives(call, &contract)?;
    let proof = proof::verify(call, body, binding, |policy_type| {
        Ok(static_rule(&alternatives, policy_type))
    })?;
    if let Some(nonce) = &proof.nonce {
        use_up(call, changes, &nonce.key)?;
    }
    let subject = subject_of(&proof);
    let presented = Presented {
        evidence: &proof.evidence,
        is_static: proof.nonce.is_none(),
        insecure_virtual: call.host.insecure_virtual(),
    };
    let (by, found) = match match_alternatives(&alternatives, proof.policy_type, &presented) {
        Ok(by) => (Some(by), Vec::new()),
        Err(found) => {
            let policy_type = proof.policy_type;
            (
                match_delegate(call, &contract, &alternatives, policy_type, delegate, &presented)?,
                found,
            )
        }
    };
    if let Some(by) = by {
        let name = match (&by, delegate) {
            (AdmittedBy::Delegate(_), Some((kind, id))) => format!("delegate:{kind}/{id}"),
            (AdmittedBy::Alternative { id, .. }, _) => id.to_string(),
            (AdmittedBy::Delegate(_), None) => String::new(),
        };
        let subject = Subject {
            alternative: Some(name),
            ..subject
        };
        return Ok(Admitted {
            contract,
            by,
            subject,
            run_id,
            data: proof.data,
            key_pem: proof.key_pem,
        });
    }
    let refusal = no_match(&alternatives, delegate.is_some(), &found);
    if alternatives.is_empty() && contracts::accepted(call, &contract)?.is_none() {
        // Nobody decides about this contract, so nobody would read its events.
        return Err(refusal);
    }
    Err(releases::refused(
        call,
        changes,
        &contract,
        &subject,
        run_id.as_ref(),
        purpose,
        refusal,
    ))
}

/// The run a workload names, in the body or, so that signatures cover it, in the query.
fn named_run(call: &Call<'_>, body: &Body) -> Result<Option<RunId>, Refusal> {
    let in_query;
    let text = match &body.run_id {
        Some(text) => Some(text.as_str()),
        None => {
            in_query = call.query()?.remove("runId");
            in_query.as_deref()
        }
    };
    text.map(|text| parse_id("runId", text)).transpose()
}

fn subject_of(proof: &Proof) -> Subject {
    let host_data = proof
        .evidence
        .claims
        .get(HOST_DATA)
        .and_then(JsonValue::as_str)
        .unwrap_or_default();
    Subject {
        policy_type: proof.policy_type,
        alternative: None,
        host_data: host_data.to_owned(),
        evidence_digest: hex::encode(&proof.evidence.evidence_digest),
        static_evidence: proof.nonce.is_none(),
    }
}

/// An alternative with its place.
pub(crate) struct Placed {
    pub(crate) policy_type: PolicyType,
    pub(crate) id: Identifier,
    pub(crate) policy: PolicyAlternative,
}

/// All alternatives of a contract.
pub(crate) fn alternatives(call: &Call<'_>, contract: &ContractId) -> Result<Vec<Placed>, Refusal> {
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

fn static_rule(alternatives: &[Placed], policy_type: PolicyType) -> StaticRule {
    let evidence_policies = || alternatives.iter().filter(|a| a.policy_type != PolicyType::Jwt);
    if evidence_policies().next().is_none() {
        return StaticRule::NoPolicy;
    }
    if evidence_policies().any(|a| a.policy_type == policy_type && a.policy.allow_static_evidence) {
        return StaticRule::Allowed;
    }
    StaticRule::Refused
}

/// The first alternative that is satisfied, or what stands in the way, nearest miss first.
fn match_alternatives(
    alternatives: &[Placed],
    policy_type: PolicyType,
    presented: &Presented<'_>,
) -> Result<AdmittedBy, Vec<Mismatch>> {
    let mut misses: Vec<Vec<Mismatch>> = Vec::new();
    for placed in alternatives
        .iter()
        .filter(|placed| placed.policy_type == policy_type)
    {
        let rule = Rule {
            name: placed.id.to_string(),
            policy_type,
            claims: &placed.policy.claims,
            allow_static: placed.policy.allow_static_evidence,
        };
        let found = mismatches(&rule, presented);
        if found.is_empty() {
            return Ok(AdmittedBy::Alternative {
                id: placed.id.clone(),
                role: placed.policy.role,
                tokens: placed.policy.tokens.clone(),
            });
        }
        misses.push(found);
    }
    misses.sort_by_key(Vec::len);
    Err(misses.into_iter().flatten().collect())
}

fn match_delegate(
    call: &Call<'_>,
    contract: &ContractId,
    alternatives: &[Placed],
    policy_type: PolicyType,
    delegate: Option<(&Identifier, &Identifier)>,
    presented: &Presented<'_>,
) -> Result<Option<AdmittedBy>, Refusal> {
    let Some((kind, id)) = delegate.filter(|_| !alternatives.is_empty()) else {
        return Ok(None);
    };
    let policy: Identifier = policy_type.as_str().parse().expect("type names are identifiers");
    let key = Pair(contract.clone(), Pair(kind.clone(), Pair(id.clone(), policy)));
    let Some(row) = DELEGATES.get(call.state, &key)? else {
        return Ok(None);
    };
    let rule = Rule {
        name: format!("delegate:{kind}/{id}"),
        policy_type,
        claims: &row.0.claims,
        allow_static: static_rule(alternatives, policy_type) == StaticRule::Allowed,
    };
    Ok(mismatches(&rule, presented)
        .is_empty()
        .then_some(AdmittedBy::Delegate(row.0)))
}

/// Most mismatches told to the caller.
const DETAILS_MAX: usize = 16;

fn no_match(alternatives: &[Placed], has_delegate: bool, found: &[Mismatch]) -> Refusal {
    let message = match (alternatives.is_empty(), has_delegate) {
        (true, _) => POLICY_MISSING,
        (false, false) => "Attestation claims do not match the contract policy.",
        (false, true) => "Attestation claims do not match the contract policy, or the delegated policies.",
    };
    Refusal::new(ErrorCode::VerifySnpAttestationFailed, message)
        .with_details(found.iter().take(DETAILS_MAX).map(Mismatch::detail).collect())
}

/// Expired nonces removed with each use; more than one, so that the table shrinks.
const SWEPT_ROWS: u32 = 4;

fn use_up(call: &Call<'_>, changes: &mut dyn Write, key: &str) -> Result<(), Refusal> {
    USED_NONCES.put(changes, &key.to_owned(), &Unit)?;
    let now = format!("{:013}", call.now_ms());
    for row in call.state.scan(USED_NONCES.name(), &[], None, SWEPT_ROWS)? {
        if row.key.as_slice() < now.as_bytes() {
            changes.remove(USED_NONCES.name(), &row.key)?;
        }
    }
    Ok(())
}
