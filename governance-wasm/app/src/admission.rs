//! From evidence and policy to [`Admitted`]: the first half of the way to anything that is released;
//! `permit.rs` is the second.
//!
//! A contract's policy is a set of alternatives; a workload must satisfy one completely. A
//! delegate, where the endpoint has one, extends access for that purpose alone, and only beside
//! an existing policy.

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, Identifier, RunId};
use cleanroom_model::policy::PolicyType;
use cleanroom_model::tables::{Delegate, USED_NONCES};
use kv::{Unit, Write};
use model::evidence::Role;
use serde_json::Value as JsonValue;

use crate::alternatives::{self, AdmittedBy, Asked, Chosen, Placed};
use crate::contracts;
use crate::floors;
use crate::matching::{CHIP_ID, HOST_DATA, Presented};
use crate::proof::{self, Body, Proof};
use crate::releases::{self, Purpose, Subject};
use crate::reply::{Failure, Fault, Refused, judged};
use crate::request::{Call, parse_id};

pub(crate) use crate::proof::Binding;

/// A workload whose evidence verified, binds the key that speaks, and satisfies the policy.
/// Made here and nowhere else.
#[derive(Clone)]
pub(crate) struct Admitted {
    pub(crate) contract: ContractId,
    pub(crate) by: AdmittedBy,
    /// The delegate that lets it in for this purpose beside the alternative that does, and its name.
    also: Option<(Delegate, String)>,
    pub(crate) subject: Subject,
    pub(crate) purpose: Purpose,
    /// The run that the path or the workload names.
    pub(crate) run_id: Option<RunId>,
    /// The signed payload, if the request is signed.
    pub(crate) data: Vec<u8>,
    key_pem: Option<String>,
}

impl Admitted {
    /// The key that the evidence binds, PEM: what is released is wrapped to it.
    pub(crate) fn key_pem(&self) -> Option<&str> {
        self.key_pem.as_deref()
    }

    /// The role; delegates are pods of their run, or unrestricted for their one purpose.
    pub(crate) fn role(&self) -> Option<Role> {
        match &self.by {
            AdmittedBy::Alternative(placed) => placed.policy.role,
            AdmittedBy::Delegate(delegate) => delegate.run_id.as_ref().map(|_| Role::Pod),
        }
    }

    /// What `judge` finds by the rule that admits the workload or, if that is not enough, by the
    /// delegate that admits it too: delegates extend access for their purpose and restrict nothing.
    /// `judge` gives reasons on policy grounds; the first leaves its trace.
    pub(crate) fn judged<T>(
        self,
        call: &Call<'_>,
        changes: &mut dyn Write,
        judge: impl Fn(&Self) -> Result<T, Failure>,
    ) -> Result<(Self, T), Failure> {
        let refused = match judged(judge(&self))? {
            Ok(found) => return Ok((self, found)),
            Err(refused) => refused,
        };
        if let Some((delegate, name)) = self.also.clone() {
            let mut other = self.clone();
            other.by = AdmittedBy::Delegate(delegate);
            other.subject.alternative = Some(name);
            if let Ok(found) = judged(judge(&other))? {
                return Ok((other, found));
            }
        }
        Err(self.refuse(call, changes, refused))
    }

    /// A refusal on policy grounds: leaves a trace and uses up the nonce.
    pub(crate) fn refuse(&self, call: &Call<'_>, changes: &mut dyn Write, refused: Refused) -> Failure {
        releases::refused(
            call,
            changes,
            &self.contract,
            &self.subject,
            self.run_id.as_ref(),
            &self.purpose,
            refused,
        )
    }

    /// Records that it let others in for a run, and whom.
    pub(crate) fn delegated(
        &self,
        call: &Call<'_>,
        changes: &mut dyn Write,
        run: &RunId,
        detail: JsonValue,
    ) -> Result<(), Fault> {
        let (contract, subject) = (&self.contract, &self.subject);
        releases::delegated(call, changes, contract, subject, run, &self.purpose, detail)
    }

    /// Refuses roles other than those given; workloads without a role have all rights.
    fn require_role(
        &self,
        call: &Call<'_>,
        changes: &mut dyn Write,
        allowed: &[Role],
    ) -> Result<(), Failure> {
        match self.role() {
            Some(role) if !allowed.contains(&role) => {
                let refusal = Refused::new(
                    ErrorCode::RoleNotAllowed,
                    format!(
                        "workloads of role {} may not do this ({})",
                        role.as_str(),
                        self.purpose.kind
                    ),
                );
                Err(self.refuse(call, changes, refusal))
            }
            _ => Ok(()),
        }
    }
}

/// Both roles, for endpoints that are open to whoever the policy admits.
pub(crate) const EVERY_ROLE: &[Role] = &[Role::Launcher, Role::Pod];

/// What a workload comes for, and what it must be and show for it.
pub(crate) struct Wish<'a> {
    purpose: Purpose,
    roles: &'a [Role],
    binding: Binding,
    delegate: Option<(&'a Identifier, &'a Identifier)>,
}

impl<'a> Wish<'a> {
    /// To have something of this kind and name, as a workload of one of `roles` or of none, wrapped to
    /// the key that its evidence binds.
    pub(crate) fn new(kind: &'static str, name: &str, roles: &'a [Role]) -> Self {
        Self {
            purpose: Purpose {
                kind,
                name: name.to_owned(),
            },
            roles,
            binding: Binding::Encrypt,
            delegate: None,
        }
    }

    /// The same, with evidence that binds this key.
    pub(crate) fn bound_by(mut self, binding: Binding) -> Self {
        self.binding = binding;
        self
    }

    /// The same, open to delegates of this type and id besides.
    pub(crate) fn open_to(mut self, delegate: Option<(&'a Identifier, &'a Identifier)>) -> Self {
        self.delegate = delegate;
        self
    }
}

/// Admits the workload behind a request if it has one of the wish's roles or none, or says why not.
/// Marks the nonce as used either way.
pub(crate) fn admit(
    call: &Call<'_>,
    changes: &mut dyn Write,
    body: &Body,
    wish: Wish<'_>,
) -> Result<Admitted, Failure> {
    let Wish {
        purpose,
        roles,
        binding,
        delegate,
    } = wish;
    let contract: ContractId = call.id("contractId")?;
    proof::evidence(body)?;
    let run_id = named_run(call, body)?;
    let proof = proof::verify(call, body, binding, |platform| {
        let alternatives = alternatives::of_contract(call, &contract)?;
        Ok(alternatives::static_rule(&alternatives, platform))
    })?;
    let alternatives = alternatives::of_contract(call, &contract)?;
    if let Some(nonce) = &proof.nonce {
        use_up(call, changes, &nonce.key)?;
    }
    let subject = subject_of(&proof);
    let asked = Asked {
        contract: &contract,
        platform: proof.platform,
        presented: Presented {
            evidence: &proof.evidence,
            is_static: proof.nonce.is_none(),
            insecure_virtual: call.host.insecure_virtual(),
        },
        run: run_id.as_ref(),
        delegate,
        roles,
    };
    let Chosen { by, name, also } = match judge(call, &alternatives, &asked)? {
        Ok(chosen) => chosen,
        Err(refusal) => {
            if alternatives.is_empty() && contracts::accepted(call, &contract)?.is_none() {
                // Nobody decides about this contract, so nobody would read its events.
                return Err(refusal.into());
            }
            return Err(releases::refused(
                call,
                changes,
                &contract,
                &subject,
                run_id.as_ref(),
                &purpose,
                refusal,
            ));
        }
    };
    let alternative = Some(name);
    let admitted = Admitted {
        contract,
        by,
        also,
        subject: Subject {
            alternative,
            ..subject
        },
        purpose,
        run_id,
        data: proof.data,
        key_pem: proof.key_pem,
    };
    admitted.require_role(call, changes, roles)?;
    Ok(admitted)
}

/// By which rule the workload comes in, or the refusal: the floors of firmware first, which no policy
/// can lower.
fn judge(
    call: &Call<'_>,
    alternatives: &[Placed],
    asked: &Asked<'_>,
) -> Result<Result<Chosen, Refused>, Fault> {
    match floors::unmet(call, asked.platform, asked.presented.evidence)? {
        Some(unmet) => Ok(Err(floors::refused(&unmet))),
        None => alternatives::choose(call, alternatives, asked),
    }
}

/// The run that is spoken of: the path's; else the one a workload names, in the body or, so that
/// signatures cover it, in the query.
fn named_run(call: &Call<'_>, body: &Body) -> Result<Option<RunId>, Refused> {
    if !call.text("runId").is_empty() {
        return call.id("runId").map(Some);
    }
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
    let text = |claim: &str| {
        let value = proof.evidence.claims.get(claim);
        value.and_then(JsonValue::as_str).unwrap_or_default().to_owned()
    };
    Subject {
        policy_type: PolicyType::Evidence(proof.platform),
        alternative: None,
        host_data: text(HOST_DATA),
        chip: text(CHIP_ID),
        evidence_digest: proof.evidence.evidence_digest,
        static_evidence: proof.nonce.is_none(),
    }
}

/// Expired nonces removed with each use; more than one, so that the table shrinks.
const SWEPT_ROWS: u32 = 4;

fn use_up(call: &Call<'_>, changes: &mut dyn Write, key: &str) -> Result<(), Fault> {
    USED_NONCES.put(changes, &key.to_owned(), &Unit)?;
    // To the second below: the next signature carries no finer time, and what is swept here must be
    // refused for its age by whatever comes after that signature.
    let now = format!("{:013}", (call.now_ms() / 1000).saturating_mul(1000));
    for row in call.state.scan(USED_NONCES.name(), &[], None, SWEPT_ROWS)? {
        if row.key.as_slice() < now.as_bytes() {
            changes.remove(USED_NONCES.name(), &row.key)?;
        }
    }
    Ok(())
}
