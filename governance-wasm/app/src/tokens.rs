//! Identity tokens for admitted workloads (`attestation-secrets-oidc.md` §3.1, decisions 7 and 25).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::Identifier;
use cleanroom_model::policy::TokenGrant;
use cleanroom_model::tables::RunRecord;
use kv::Write;
use model::evidence::Role;
use serde_json::{Value as JsonValue, json};

use crate::admission::{self, Admitted, Wish};
use crate::alternatives::{self, AdmittedBy};
use crate::host_services::SignatureAlg;
use crate::issuer::{self, Issuing, Signer};
use crate::issuer_keys::{self, TOKEN_SECONDS_MAX};
use crate::permit::permit_if;
use crate::policies;
use crate::reply::{Answer, Failure, Fault, Refused, Reply, judged};
use crate::request::Call;

/// Life of a token when the request does not say, in seconds.
const TOKEN_SECONDS_DEFAULT: u64 = 600;
/// Longest subject, audience, tenant or token id, in bytes.
const CLAIM_BYTES_MAX: usize = 512;
const DELEGATE_TYPE: &str = "oauth-federation-subjects";

/// What is asked for, within bounds.
struct TokenRequest {
    subject: String,
    audience: String,
    tenant: Option<String>,
    token_id: Option<String>,
    /// Unix seconds.
    issued_at: u64,
    expires_at: u64,
}

fn token_request(call: &Call<'_>) -> Result<TokenRequest, Refused> {
    let query = call.query()?;
    let invalid = |name: &str, value: &str| {
        Refused::new(
            ErrorCode::InvalidInput,
            format!("Value for {name} '{value:.128}' is invalid."),
        )
    };
    let text = |name: &str| -> Result<Option<String>, Refused> {
        match query.get(name).filter(|value| !value.is_empty()) {
            Some(value) if value.len() > CLAIM_BYTES_MAX || value.chars().any(char::is_control) => {
                Err(invalid(name, value))
            }
            other => Ok(other.cloned()),
        }
    };
    let time = |name: &str| -> Result<Option<u64>, Refused> {
        text(name)?
            .map(|value| value.parse().map_err(|_| invalid(name, &value)))
            .transpose()
    };
    // The caller's clock is a hint: it can shorten a token's life, nothing else.
    let issued_at = call.now_ms() / 1000;
    time("iat")?;
    time("nbf")?;
    let latest = issued_at.saturating_add(TOKEN_SECONDS_MAX);
    let expires_at = time("exp")?
        .unwrap_or(issued_at.saturating_add(TOKEN_SECONDS_DEFAULT))
        .min(latest);
    if expires_at <= issued_at {
        return Err(invalid("exp", query.get("exp").map_or("", String::as_str)));
    }
    Ok(TokenRequest {
        subject: text("sub")?.ok_or_else(|| invalid("sub", ""))?,
        audience: text("aud")?.ok_or_else(|| invalid("aud", ""))?,
        tenant: text("tid")?,
        token_id: text("jti")?,
        issued_at,
        expires_at,
    })
}

/// `POST /contracts/{contractId}/oauth/token`
pub(crate) fn issue(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let body: crate::proof::Body = call.body()?;
    check_form(&body)?;
    let asked = token_request(call)?;
    let kind: Identifier = DELEGATE_TYPE.parse().expect("an identifier");
    let delegate_id = asked.subject.parse::<Identifier>().ok();
    let delegate = delegate_id.as_ref().map(|id| (&kind, id));
    let admitted = admission::admit(
        call,
        changes,
        &body,
        Wish::new("token", &asked.subject, &[Role::Pod]).open_to(delegate),
    )?;
    let issuing = match judged(Issuing::of(call, &admitted.contract))? {
        Ok(issuing) => issuing,
        Err(refused) => return Err(admitted.refuse(call, changes, refused)),
    };
    let (permit, tenant_url) = permit_if(call, changes, admitted, |admitted, run| {
        granted(call, admitted, run, &asked, issuing)
    })?;
    let admitted = permit.admitted();
    let signer = issuer::signer(call, &admitted.contract, issuing, tenant_url)?;
    issuer_keys::forget_retired(call, changes, &signer.scope)?;
    let token = sign(call, admitted, &signer, &asked)?;
    let value = permit.release(call, changes, token.as_bytes(), Some(&asked.audience))?;
    Reply::json(&json!({ "value": value }))
}

/// Missing evidence is told before malformed parameters, as clients expect.
fn check_form(body: &crate::proof::Body) -> Result<(), Refused> {
    crate::proof::evidence(body)?;
    if body.encrypt.is_none() {
        return Err(Refused::new(
            ErrorCode::EncryptionMissing,
            "encrypt.publicKey is missing",
        ));
    }
    Ok(())
}

/// The address in which the token is signed if it is not the issuer's own, or that nothing allows
/// such a token.
fn granted(
    call: &Call<'_>,
    admitted: &Admitted,
    record: Option<&RunRecord>,
    asked: &TokenRequest,
    issuing: Issuing,
) -> Result<Option<String>, Failure> {
    // A run is the limit of whoever acts for it; a delegate may be allowed less, never more.
    let in_run = record.is_none_or(|record| {
        let listed = |grant: &TokenGrant| grant.sub == asked.subject && grant.aud.contains(&asked.audience);
        record.tokens.iter().any(listed)
    });
    let all;
    let (allowed, voted) = match &admitted.by {
        AdmittedBy::Alternative(placed) => (true, placed.policy.tokens.as_slice()),
        AdmittedBy::Delegate(delegate) => {
            all = alternatives::voted_grants(call, &admitted.contract)?;
            (delegate.audiences.contains(&asked.audience), all.as_slice())
        }
    };
    let covering = || {
        voted
            .iter()
            .filter(|grant| grant.covers(&asked.subject, &asked.audience))
    };
    // The tenant that is asked for, if a grant names it; else the issuer's own address.
    let in_tenant = covering().find(|grant| grant.tid.is_some() && grant.tid == asked.tenant);
    let grant = in_tenant.or_else(|| covering().find(|grant| grant.tid.is_none()));
    let by_vote = match (issuing, &admitted.by, record) {
        (Issuing::Shared, ..) => grant.is_some(),
        (Issuing::Own, AdmittedBy::Alternative(_), None) => covering().next().is_some(),
        (Issuing::Own, ..) => true,
    };
    if !(in_run && allowed && by_vote) {
        return Err(Refused::new(
            ErrorCode::TokenNotAllowed,
            match issuing {
                Issuing::Own => {
                    "neither the policy, a delegate nor the run allows a token for this subject and audience"
                }
                Issuing::Shared => {
                    "the shared issuer signs only for subjects and audiences that the policy's tokens list"
                }
            },
        )
        .into());
    }
    Ok(grant.and_then(|grant| grant.issuer_url.clone()))
}

fn sign(
    call: &Call<'_>,
    admitted: &Admitted,
    signer: &Signer,
    asked: &TokenRequest,
) -> Result<String, Fault> {
    let token_id = asked
        .token_id
        .clone()
        .unwrap_or_else(|| hex::encode(call.host.random(16)));
    let mut claims = json!({
        "iss": signer.issuer_url,
        "sub": asked.subject,
        "aud": asked.audience,
        "iat": asked.issued_at,
        "nbf": asked.issued_at,
        "exp": asked.expires_at,
        "jti": token_id,
        "contract_id": admitted.contract,
        "policy_digest": policies::digest(call, &admitted.contract)?,
        "release_txid": call.request.transaction,
    });
    if let (Some(run), Some(claims)) = (&admitted.run_id, claims.as_object_mut()) {
        claims.insert("run_id".into(), JsonValue::String(run.to_string()));
    }
    let header = json!({ "alg": "RS256", "kid": signer.kid, "typ": "JWT" });
    let part = |value: &JsonValue| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(&header), part(&claims));
    let signature = call
        .host
        .sign(&signer.key_name, SignatureAlg::RsaPkcs1Sha256, input.as_bytes())?;
    Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
