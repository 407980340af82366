//! The OpenID issuer of a contract, or the one that contracts without their own share: address,
//! keys, discovery (`attestation-secrets-oidc.md` §3, decisions 7 and 25).
//!
//! When keys are published, sign and are forgotten is [`crate::issuer_keys`].

use cleanroom_model::api::ApproverKind;
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::issuer_key;
use cleanroom_model::ids::{ContractId, Identifier};
use cleanroom_model::tables::TENANT_ISSUERS;
use kv::{Json, Pair, Write};
use model::address;
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use crate::caller;
use crate::contracts;
use crate::issuer_keys::{self, CACHE_SECONDS, issuer};
use crate::reply::{Answer, Failure, Refused, Reply};
use crate::request::Call;

/// Stands where members have not set an address yet; clients know this literal.
const PLACEHOLDER: &str = "{placeholder}";

fn contract_scope(call: &Call<'_>) -> Result<String, Refused> {
    Ok(issuer_key(Some(&call.id::<ContractId>("contractId")?)))
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
    let issuer = issuer(call, scope)?;
    if issuer.is_none() && scope != issuer_key(None) {
        // The placeholder is for whoever has an issuer and no address yet.
        return Err(not_enabled().into());
    }
    let url = issuer.and_then(|issuer| issuer.issuer_url);
    let url = url.as_deref().unwrap_or(PLACEHOLDER);
    Ok(Reply::json(&json!({
        "issuer": url,
        "jwks_uri": address::below(url, "keys"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))?
    .cached_for(CACHE_SECONDS))
}

fn not_enabled() -> Refused {
    Refused::new(
        ErrorCode::OidcIssuerNotEnabled,
        "members have not enabled this issuer",
    )
}

/// `GET …/keys`, global.
pub(crate) fn keys(call: &Call<'_>) -> Answer {
    keys_of(call, &issuer_key(None))
}

/// The same for a contract.
pub(crate) fn contract_keys(call: &Call<'_>) -> Answer {
    keys_of(call, &contract_scope(call)?)
}

fn keys_of(call: &Call<'_>, scope: &str) -> Answer {
    let keys: Vec<JsonValue> = issuer_keys::published(call, scope)?
        .into_iter()
        .map(|(kid, key)| {
            json!({ "alg": "RS256", "use": "sig", "kty": "RSA", "kid": kid, "e": key.e, "n": key.n })
        })
        .collect();
    if keys.is_empty() {
        return Err(issuer_keys::no_key().into());
    }
    Ok(Reply::json(&json!({ "keys": keys }))?.cached_for(CACHE_SECONDS))
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
    let issuer = issuer(call, scope)?.ok_or_else(not_enabled)?;
    issuer_keys::generate(call, changes, scope, &issuer)
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
    address::check(&url, &["https://", "http://"]).map_err(|e| {
        Refused::new(
            ErrorCode::InvalidUrl,
            format!("url is not an http or https address of an issuer: {e}"),
        )
    })?;
    let tenant = known
        .tenant
        .ok_or_else(|| Refused::new(ErrorCode::NoTenantId, "the caller's data names no tenant"))?;
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
    /// Whose issuer it is.
    pub(crate) scope: String,
    pub(crate) key_name: String,
    pub(crate) kid: Identifier,
    pub(crate) issuer_url: String,
}

/// Whose key signs a contract's tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Issuing {
    /// The contract's own: it speaks for this contract alone.
    Own,
    /// The one that contracts without their own share. Relying parties cannot tell whose token it
    /// is, so it signs what all members agreed to, or nothing.
    Shared,
}

impl Issuing {
    /// The issuer of a contract.
    ///
    /// # Errors
    ///
    /// `OidcIssuerNotEnabled` for a contract without an issuer of its own that only some members
    /// decide: its voters could otherwise sign in everybody's name. A list of all members is a list:
    /// members come and go.
    pub(crate) fn of(call: &Call<'_>, contract: &ContractId) -> Result<Self, Failure> {
        if issuer(call, &issuer_key(Some(contract)))?.is_some() {
            return Ok(Self::Own);
        }
        let decided_by_all =
            contracts::accepted(call, contract)?.is_some_and(|contract| contract.required_members.is_none());
        if decided_by_all {
            return Ok(Self::Shared);
        }
        Err(Refused::new(
            ErrorCode::OidcIssuerNotEnabled,
            "the shared issuer signs only for contracts that all active members decide; enable one for this contract",
        ).into())
    }
}

/// The signer for a contract. `tenant_url` is the address that members voted for a tenant; only
/// the shared issuer has such.
pub(crate) fn signer(
    call: &Call<'_>,
    contract: &ContractId,
    issuing: Issuing,
    tenant_url: Option<String>,
) -> Result<Signer, Failure> {
    let scope = match issuing {
        Issuing::Own => issuer_key(Some(contract)),
        Issuing::Shared => issuer_key(None),
    };
    let issuer = issuer(call, &scope)?;
    let kid = issuer_keys::signing(call, &scope)?;
    let issuer_url = tenant_url
        .filter(|_| issuing == Issuing::Shared)
        .or_else(|| issuer.and_then(|issuer| issuer.issuer_url))
        .ok_or_else(|| {
            Refused::new(
                ErrorCode::IssuerUrlNotSet,
                "members have not set the issuer's address",
            )
        })?;
    Ok(Signer {
        key_name: issuer_keys::name(&scope, &kid),
        scope,
        kid,
        issuer_url,
    })
}
