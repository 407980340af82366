//! The OpenID issuer of a contract, or the one that contracts without their own share: address,
//! keys, discovery (`attestation-secrets-oidc.md` §3, decisions 7 and 25).
//!
//! A retired key stays published for the longest life of a token signed with it; its private half
//! is forgotten at once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cleanroom_model::api::ApproverKind;
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::{OIDC_ISSUERS, OidcIssuer, issuer_key};
use cleanroom_model::ids::{ContractId, Identifier};
use cleanroom_model::tables::{OIDC_KEYS, OidcKey, TENANT_ISSUERS};
use kv::{Json, Pair, Write};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use crate::caller;
use crate::host_services::KeyKind;
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Call;
use crate::tokens::TOKEN_SECONDS_MAX;

/// Stands where members have not set an address yet; clients know this literal.
const PLACEHOLDER: &str = "{placeholder}";

fn contract_scope(call: &Call<'_>) -> Result<String, Refusal> {
    Ok(issuer_key(Some(&call.id::<ContractId>("contractId")?)))
}

fn issuer(call: &Call<'_>, scope: &str) -> Result<Option<OidcIssuer>, Refusal> {
    Ok(OIDC_ISSUERS.get(call.state, &scope.to_owned())?.map(|row| row.0))
}

/// `GET …/.well-known/openid-configuration`, global.
pub(crate) fn configuration(call: &Call<'_>) -> Answer {
    configuration_of(call, &issuer_key(None))
}

/// The same for a contract.
pub(crate) fn contract_configuration(call: &Call<'_>) -> Answer {
    configuration_of(call, &contract_scope(call)?)
}

fn configuration_of(call: &Call<'_>, scope: &str) -> Answer {
    let url = issuer(call, scope)?.and_then(|issuer| issuer.issuer_url);
    let url = url.as_deref().unwrap_or(PLACEHOLDER);
    Reply::json(&json!({
        "issuer": url,
        "jwks_uri": format!("{url}/keys"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

/// `GET …/keys`, global.
pub(crate) fn keys(call: &Call<'_>) -> Answer {
    keys_of(call, &issuer_key(None))
}

/// The same for a contract.
pub(crate) fn contract_keys(call: &Call<'_>) -> Answer {
    keys_of(call, &contract_scope(call)?)
}

fn rows(call: &Call<'_>, scope: &str) -> Result<Vec<(Identifier, OidcKey)>, Refusal> {
    let rows = OIDC_KEYS.rows_with_prefix(call.state, format!("{scope}/").as_bytes())?;
    Ok(rows.into_iter().map(|row| (row.key.1, row.value.0)).collect())
}

fn keys_of(call: &Call<'_>, scope: &str) -> Answer {
    let now = call.now_ms();
    let keys: Vec<JsonValue> = rows(call, scope)?
        .into_iter()
        .filter(|(_, key)| key.published_until.is_none_or(|until| until > now))
        .map(|(kid, key)| {
            json!({ "alg": "RS256", "use": "sig", "kty": "RSA", "kid": kid, "e": key.e, "n": key.n })
        })
        .collect();
    if keys.is_empty() {
        return Err(no_key());
    }
    Reply::json(&json!({ "keys": keys }))
}

fn no_key() -> Refusal {
    Refusal::new(
        ErrorCode::SigningKeyNotAvailable,
        "the issuer has no signing key; a member must generate one",
    )
}

fn key_name(scope: &str, kid: &Identifier) -> String {
    format!("oidc/{scope}/{kid}")
}

/// `POST /oidc/generateSigningKey`
pub(crate) fn generate(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    caller::active_member(call)?;
    generate_for(call, changes, &issuer_key(None))
}

/// The same for a contract.
pub(crate) fn generate_for_contract(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    caller::active_member(call)?;
    generate_for(call, changes, &contract_scope(call)?)
}

fn generate_for(call: &Call<'_>, changes: &mut dyn Write, scope: &str) -> Answer {
    let issuer = issuer(call, scope)?.ok_or_else(|| {
        Refusal::new(
            ErrorCode::OidcIssuerNotEnabled,
            "members have not enabled this issuer",
        )
    })?;
    let kid: Identifier = format!("{}-{}", issuer.kid, issuer.request_id)
        .parse()
        .map_err(|_| {
            Refusal::new(
                ErrorCode::InternalError,
                "the issuer's key id is not an identifier",
            )
        })?;
    let answer = json!({ "reqId": issuer.request_id.to_string(), "kid": kid });
    let existing = rows(call, scope)?;
    if existing
        .iter()
        .any(|(_, key)| key.request_id == issuer.request_id)
    {
        return Reply::json(&answer);
    }
    let now = call.now_ms();
    for (old, mut key) in existing {
        let row = Pair(scope.to_owned(), old.clone());
        match key.published_until {
            Some(until) if until <= now => OIDC_KEYS.remove(changes, &row)?,
            Some(_) => {}
            None => {
                key.published_until = Some(now.saturating_add(TOKEN_SECONDS_MAX.saturating_mul(1000)));
                OIDC_KEYS.put(changes, &row, &Json(key))?;
                call.host.forget(&key_name(scope, &old))?;
            }
        }
    }
    let pem = call.host.generate(&key_name(scope, &kid), KeyKind::Rsa3072)?;
    let (n, e) = call.host.rsa_components(&pem)?;
    let key = OidcKey {
        request_id: issuer.request_id,
        n: URL_SAFE_NO_PAD.encode(n),
        e: URL_SAFE_NO_PAD.encode(e),
        published_until: None,
    };
    OIDC_KEYS.put(changes, &Pair(scope.to_owned(), kid), &Json(key))?;
    Reply::json(&answer)
}

#[derive(Deserialize)]
struct SetUrl {
    #[serde(default)]
    url: Option<String>,
}

fn tenant_key(kind: ApproverKind, tenant: &str) -> Pair<Identifier, String> {
    Pair(
        kind.as_str().parse().expect("kinds are identifiers"),
        tenant.to_owned(),
    )
}

/// `POST /oidc/setIssuerUrl`: the address for the caller's tenant.
pub(crate) fn set_url(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let known = caller::known(call)?;
    known.require_active()?;
    let body: SetUrl = call.body()?;
    let url = body.url.unwrap_or_default();
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    if url.len() > 2048 || host.is_none_or(|rest| rest.is_empty() || rest.contains([' ', '?', '#'])) {
        return Err(Refusal::new(
            ErrorCode::InvalidUrl,
            "url is an http or https address without query",
        ));
    }
    let tenant = known
        .tenant
        .ok_or_else(|| Refusal::new(ErrorCode::NoTenantId, "the caller's data names no tenant"))?;
    TENANT_ISSUERS.put(changes, &tenant_key(known.person.kind(), &tenant), &Json(url))?;
    Ok(Reply::empty())
}

/// `POST /oidc/issuerInfo`
pub(crate) fn info(call: &Call<'_>) -> Answer {
    let known = caller::known(call)?;
    let issuer = issuer(call, &issuer_key(None))?;
    let mut answer = serde_json::Map::new();
    answer.insert("enabled".into(), json!(issuer.is_some()));
    if let Some(url) = issuer.and_then(|issuer| issuer.issuer_url) {
        answer.insert("issuerUrl".into(), json!(url));
    }
    if let Some(tenant) = known.tenant
        && let Some(url) = TENANT_ISSUERS.get(call.state, &tenant_key(known.person.kind(), &tenant))?
    {
        answer.insert(
            "tenantData".into(),
            json!({ "tenantId": tenant, "issuerUrl": url.0 }),
        );
    }
    Reply::json(&answer)
}

/// What a token is signed with and in whose name.
pub(crate) struct Signer {
    pub(crate) key_name: String,
    pub(crate) kid: Identifier,
    pub(crate) issuer_url: String,
}

/// The signer for a contract: its own issuer, else the shared one, whose address may be a
/// tenant's.
pub(crate) fn signer(
    call: &Call<'_>,
    contract: &ContractId,
    tenant: Option<&str>,
) -> Result<Signer, Refusal> {
    let own = issuer_key(Some(contract));
    let (scope, issuer, shared) = match issuer(call, &own)? {
        Some(issuer) => (own, Some(issuer), false),
        None => (issuer_key(None), issuer(call, &issuer_key(None))?, true),
    };
    let (kid, _) = rows(call, &scope)?
        .into_iter()
        .find(|(_, key)| key.published_until.is_none())
        .ok_or_else(no_key)?;
    let mut url = None;
    if let Some(tenant) = tenant.filter(|_| shared) {
        for kind in [ApproverKind::Member, ApproverKind::User] {
            if url.is_none() {
                url = TENANT_ISSUERS
                    .get(call.state, &tenant_key(kind, tenant))?
                    .map(|row| row.0);
            }
        }
    }
    let issuer_url = url
        .or_else(|| issuer.and_then(|issuer| issuer.issuer_url))
        .ok_or_else(|| {
            Refusal::new(
                ErrorCode::IssuerUrlNotSet,
                "members have not set the issuer's address",
            )
        })?;
    Ok(Signer {
        key_name: key_name(&scope, &kid),
        kid,
        issuer_url,
    })
}
