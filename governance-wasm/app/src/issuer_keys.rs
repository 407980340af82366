//! Life of an issuer's signing keys: published, then signing, then published a while longer, then
//! gone (decision 70).
//!
//! Relying parties may keep discovery and key set for [`CACHE_SECONDS`]. So a new key is published
//! that long before it signs, and an old one for the longest life of a token behind its last
//! signature. An issuer's first key has nobody to wait for; and after a leak members demand a new
//! one at once: then the old ones leave the set with that vote.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::{OIDC_ISSUERS, OidcIssuer};
use cleanroom_model::ids::Identifier;
use cleanroom_model::tables::{OIDC_KEYS, OidcKey};
use kv::{Json, Pair, Write};
use serde_json::json;

use crate::host_services::KeyKind;
use crate::reply::{Answer, Failure, Fault, Refused, Reply};
use crate::request::Call;

/// Longest life of a token, in seconds.
pub(crate) const TOKEN_SECONDS_MAX: u64 = 3600;
/// How long relying parties may keep what they fetched, in seconds.
pub(crate) const CACHE_SECONDS: u32 = 600;
const CACHE_MS: u64 = CACHE_SECONDS as u64 * 1000;

// Whoever has the old set must have fetched the new one before the old key is gone from it.
const _: () = assert!((CACHE_SECONDS as u64) < TOKEN_SECONDS_MAX);

/// The issuer of a scope, if members enabled it.
pub(crate) fn issuer(call: &Call<'_>, scope: &str) -> Result<Option<OidcIssuer>, Fault> {
    Ok(OIDC_ISSUERS.get(call.state, &scope.to_owned())?.map(|row| row.0))
}

pub(crate) fn no_key() -> Refused {
    Refused::new(
        ErrorCode::SigningKeyNotAvailable,
        "the issuer has no signing key; a member must generate one",
    )
}

type Rows = Vec<(Identifier, OidcKey)>;

/// Keys on record that members have not taken out of use, with their ids.
fn rows(call: &Call<'_>, scope: &str) -> Result<Rows, Fault> {
    let first = issuer(call, scope)?.map_or(0, |issuer| issuer.first_request_id);
    let rows = OIDC_KEYS.rows_with_prefix(call.state, format!("{scope}/").as_bytes())?;
    Ok(rows
        .into_iter()
        .map(|row| (row.key.1, row.value.0))
        .filter(|(_, key)| key.request_id >= first)
        .collect())
}

/// Where the host keeps a private half.
pub(crate) fn name(scope: &str, kid: &Identifier) -> String {
    format!("oidc/{scope}/{kid}")
}

/// The keys that relying parties should know now.
pub(crate) fn published(call: &Call<'_>, scope: &str) -> Result<Rows, Fault> {
    let now = call.now_ms();
    let mut keys = rows(call, scope)?;
    keys.retain(|(_, key)| key.published_until.is_none_or(|until| until > now));
    Ok(keys)
}

/// The latest key whose time to sign has come.
fn latest(keys: &Rows, now: u64) -> Option<&(Identifier, OidcKey)> {
    keys.iter()
        .filter(|(_, key)| key.signs_from.is_none_or(|from| from <= now))
        .max_by_key(|(_, key)| key.request_id)
}

/// Id of the key that signs now.
pub(crate) fn signing(call: &Call<'_>, scope: &str) -> Result<Identifier, Failure> {
    let keys = rows(call, scope)?;
    let (kid, _) = latest(&keys, call.now_ms()).ok_or_else(no_key)?;
    Ok(kid.clone())
}

/// Forgets the private halves of keys whose successor signs.
pub(crate) fn forget_retired(call: &Call<'_>, changes: &mut dyn Write, scope: &str) -> Result<(), Fault> {
    let keys = rows(call, scope)?;
    let Some(current) = latest(&keys, call.now_ms()).map(|(_, key)| key.request_id) else {
        return Ok(());
    };
    for (kid, mut key) in keys {
        if key.request_id < current && !key.forgotten {
            call.host.forget(&name(scope, &kid))?;
            key.forgotten = true;
            OIDC_KEYS.put(changes, &Pair(scope.to_owned(), kid), &Json(key))?;
        }
    }
    Ok(())
}

/// Makes the key that members asked for last, unless it is there.
pub(crate) fn generate(call: &Call<'_>, changes: &mut dyn Write, scope: &str, issuer: &OidcIssuer) -> Answer {
    let kid: Identifier = format!("{}-{}", issuer.kid, issuer.request_id)
        .parse()
        .map_err(|_| Fault::new("the issuer's key id is not an identifier"))?;
    let existing = rows(call, scope)?;
    let answer = |signs_from: Option<u64>| {
        let mut answer = json!({ "reqId": issuer.request_id.to_string(), "kid": kid });
        if let (Some(from), Some(fields)) = (signs_from, answer.as_object_mut()) {
            fields.insert("signsFrom".to_owned(), from.into());
        }
        Reply::json(&answer)
    };
    if let Some((_, key)) = existing
        .iter()
        .find(|(_, key)| key.request_id == issuer.request_id)
    {
        return answer(key.signs_from);
    }
    let now = call.now_ms();
    // Nobody knows an older key, or nobody must believe one: there is nothing to wait for.
    let signs_from = (!existing.is_empty()).then(|| now.saturating_add(CACHE_MS));
    let pem = call.host.generate(&name(scope, &kid), KeyKind::Rsa3072)?;
    let (n, e) = call.host.rsa_components(&pem)?;
    let key = OidcKey {
        request_id: issuer.request_id,
        n: URL_SAFE_NO_PAD.encode(n),
        e: URL_SAFE_NO_PAD.encode(e),
        published_until: None,
        signs_from,
        forgotten: false,
    };
    retire(call, changes, scope, issuer, signs_from.unwrap_or(now))?;
    OIDC_KEYS.put(changes, &Pair(scope.to_owned(), kid.clone()), &Json(key))?;
    answer(signs_from)
}

/// Gives the keys before a new one their end, and removes those that have reached it or that
/// members took out of use.
fn retire(
    call: &Call<'_>,
    changes: &mut dyn Write,
    scope: &str,
    issuer: &OidcIssuer,
    successor_signs: u64,
) -> Result<(), Fault> {
    let now = call.now_ms();
    let life = TOKEN_SECONDS_MAX.saturating_mul(1000);
    for row in OIDC_KEYS.rows_with_prefix(call.state, format!("{scope}/").as_bytes())? {
        let mut key = row.value.0;
        let ended = key.published_until.is_some_and(|until| until <= now);
        if ended || key.request_id < issuer.first_request_id {
            if !key.forgotten {
                call.host.forget(&name(scope, &row.key.1))?;
            }
            OIDC_KEYS.remove(changes, &row.key)?;
        } else if key.published_until.is_none() {
            key.published_until = Some(successor_signs.saturating_add(life));
            OIDC_KEYS.put(changes, &row.key, &Json(key))?;
        }
    }
    Ok(())
}
