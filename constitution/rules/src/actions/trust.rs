//! Whose tokens are believed (decision 24).

use std::collections::{BTreeMap, BTreeSet};

use cleanroom_model::actions::{DEFAULT_AUDIENCE, RemoveJwtIssuer, SetJwtIssuer};
use kv::{Json, Read, Write};
use model::service::{JwtIssuer, JwtKey};
use model::tables;
use serde_json::Value as JsonValue;

use crate::credentials::Credentials;
use crate::fault::{Fault, require};

/// Most keys of one issuer.
const KEYS_MAX: usize = 64;

/// Longest issuer, audience or key id, in bytes.
const TEXT_LEN_MAX: usize = 1024;

fn require_text(text: &str, what: &str) -> Result<(), Fault> {
    let fits = !text.is_empty() && text.len() <= TEXT_LEN_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    require(fits, || {
        format!("{what} must have 1 to {TEXT_LEN_MAX} printable characters without blanks")
    })
}

/// The issuer's address, its keys by id, and nothing that this build does not do.
pub(crate) fn check_set_jwt_issuer(credentials: &impl Credentials, args: &SetJwtIssuer) -> Result<(), Fault> {
    if args.auto_refresh == Some(true) || args.ca_cert_bundle_name.is_some() {
        return Err(Fault::Unavailable(
            "keys are not fetched yet; leave out auto_refresh and ca_cert_bundle_name and send jwks".into(),
        ));
    }
    require_text(&args.issuer, "issuer")?;
    if let Some(audience) = &args.audience {
        require_text(audience, "audience")?;
    }
    keys(credentials, args).map(|_| ())
}

/// The issuer's keys by key id.
fn keys(credentials: &impl Credentials, args: &SetJwtIssuer) -> Result<BTreeMap<String, JwtKey>, Fault> {
    let mut keys = BTreeMap::new();
    let given = args.jwks.as_ref().map_or(&[][..], |set| &set.keys);
    require(given.len() <= KEYS_MAX, || {
        format!("at most {KEYS_MAX} keys per issuer")
    })?;
    for jwk in given {
        let kid = jwk.get("kid").and_then(JsonValue::as_str).unwrap_or_default();
        require_text(kid, "the kid of each key")?;
        let public_key = credentials
            .jwk_to_spki(&jwk.to_string())
            .map_err(|e| Fault::refused(format!("key {kid} cannot be used: {e}")))?;
        let key = JwtKey {
            public_key,
            issuer: args.issuer.clone(),
            constraint: Some(constraint(jwk, &args.issuer)?),
        };
        require(keys.insert(kid.to_owned(), key).is_none(), || {
            format!("two keys have the kid {kid}")
        })?;
    }
    Ok(keys)
}

fn host(url: &str) -> Option<&str> {
    url.strip_prefix("https://")?.split('/').next()
}

/// Which `iss` a key vouches for: the issuer's own, unless the key names another address at the
/// same host, as multi-tenant key sets do.
fn constraint(jwk: &JsonValue, issuer: &str) -> Result<String, Fault> {
    let own = match jwk.get("issuer") {
        None | Some(JsonValue::Null) => return Ok(issuer.to_owned()),
        Some(own) => own.as_str().unwrap_or_default(),
    };
    require_text(own, "the issuer of each key")?;
    let same_host = own == issuer || host(own).is_some_and(|own| host(issuer) == Some(own));
    require(same_host, || {
        format!("a key of {issuer} names {own}, which is at another host")
    })?;
    Ok(own.to_owned())
}

/// Takes an issuer's keys out of the table.
fn remove_keys<S: Read + Write>(state: &mut S, issuer: &str, but: &BTreeSet<String>) -> Result<(), Fault> {
    for row in tables::JWT_KEYS.rows(state)? {
        let (kid, mut keys) = (row.key, row.value.0);
        let count = keys.len();
        keys.retain(|key| key.issuer != issuer);
        if keys.len() == count || but.contains(&kid) {
            continue;
        }
        if keys.is_empty() {
            tables::JWT_KEYS.remove(state, &kid)?;
        } else {
            tables::JWT_KEYS.put(state, &kid, &Json(keys))?;
        }
    }
    Ok(())
}

/// Registers the issuer. With `jwks` its keys become exactly these; without, they stay.
pub(crate) fn set_jwt_issuer<S: Read + Write>(
    state: &mut S,
    credentials: &impl Credentials,
    args: &SetJwtIssuer,
) -> Result<(), Fault> {
    let row = JwtIssuer {
        ca_cert_bundle_name: None,
        auto_refresh: false,
        audience: Some(
            args.audience
                .clone()
                .unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned()),
        ),
    };
    tables::JWT_ISSUERS.put(state, &args.issuer, &Json(row))?;
    if args.jwks.is_none() {
        return Ok(());
    }
    let keys = keys(credentials, args)?;
    remove_keys(state, &args.issuer, &keys.keys().cloned().collect())?;
    for (kid, key) in keys {
        // Another issuer may use the same kid: each key is believed for its own issuer only.
        let mut all = tables::JWT_KEYS
            .get(state, &kid)?
            .map(|row| row.0)
            .unwrap_or_default();
        all.retain(|other| other.issuer != args.issuer);
        all.push(key);
        all.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        tables::JWT_KEYS.put(state, &kid, &Json(all))?;
    }
    Ok(())
}

/// Forgets the issuer and its keys; its tokens stop working with the next request.
pub(crate) fn remove_jwt_issuer<S: Read + Write>(state: &mut S, args: &RemoveJwtIssuer) -> Result<(), Fault> {
    tables::JWT_ISSUERS.remove(state, &args.issuer)?;
    remove_keys(state, &args.issuer, &BTreeSet::new())
}
