//! Whose tokens are believed (decision 24).

use std::collections::{BTreeMap, BTreeSet};

use cleanroom_model::actions::{DEFAULT_AUDIENCE, RemoveJwtIssuer, SetJwtIssuer};
use kv::{Json, Read, Write};
use model::service::{JwtIssuer, JwtKey, KEYS_TRIED_MAX, NO_KID, SkippedKey};
use model::tables;
use serde_json::Value as JsonValue;

use crate::credentials::{Credentials, TokenKey};
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
    match &args.jwks {
        None => Ok(()),
        Some(set) => keys(credentials, &args.issuer, &set.keys).map(|_| ()),
    }
}

/// What an issuer's set gives: its keys by key id, and those that verify nothing here.
#[derive(Default)]
struct Keys {
    usable: BTreeMap<String, Vec<JwtKey>>,
    skipped: Vec<SkippedKey>,
}

impl Keys {
    /// Judges one key by itself. Keys for other purposes and of other kinds are left out, and an
    /// id may have several.
    fn judge(&mut self, credentials: &impl Credentials, jwk: &JsonValue, issuer: &str) -> Result<(), Fault> {
        let kid = jwk.get("kid");
        let shown = kid.map(|kid| kid.as_str().map_or_else(|| kid.to_string(), str::to_owned));
        let name = shown
            .as_deref()
            .map_or_else(|| "without kid".to_owned(), |kid| format!("{kid:.64}"));
        let judged = credentials
            .token_key(&jwk.to_string())
            .map_err(|e| Fault::refused(format!("key {name} cannot be used: {e}")))?;
        let mut skip = |reason: String| {
            let kid = shown.as_ref().map(|kid| kid.chars().take(64).collect());
            self.skipped.push(SkippedKey { kid, reason });
            Ok(())
        };
        let public_key = match judged {
            TokenKey::Usable(spki) => spki,
            TokenKey::Skipped(reason) => return skip(reason),
        };
        let kid = match kid {
            None => NO_KID,
            Some(JsonValue::String(kid)) if require_text(kid, "kid").is_ok() => kid.as_str(),
            Some(_) => return skip("kid is not printable text without blanks".to_owned()),
        };
        let key = JwtKey {
            public_key,
            issuer: issuer.to_owned(),
            constraint: Some(constraint(jwk, issuer)?),
        };
        let same = self.usable.entry(kid.to_owned()).or_default();
        if same.contains(&key) {
            return skip("the same key stands in the set twice".to_owned());
        }
        if same.len() >= KEYS_TRIED_MAX {
            return skip(format!(
                "{KEYS_TRIED_MAX} keys before it have the same kid, and no more are tried"
            ));
        }
        same.push(key);
        Ok(())
    }
}

/// Reads an issuer's set (RFC 7517 §5). One key that is of no use here never spoils it; a set that
/// has nothing else does.
fn keys(credentials: &impl Credentials, issuer: &str, given: &[JsonValue]) -> Result<Keys, Fault> {
    require(given.len() <= KEYS_MAX, || {
        format!("at most {KEYS_MAX} keys per issuer")
    })?;
    let mut keys = Keys::default();
    for jwk in given {
        keys.judge(credentials, jwk, issuer)?;
    }
    require(!keys.usable.is_empty(), || {
        let reasons: Vec<&str> = keys.skipped.iter().map(|key| key.reason.as_str()).collect();
        format!(
            "the set holds no key that verifies tokens here: {}",
            reasons.join("; ")
        )
    })?;
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
    let keys = match &args.jwks {
        None => None,
        Some(set) => Some(keys(credentials, &args.issuer, &set.keys)?),
    };
    let skipped_keys = match &keys {
        Some(keys) => keys.skipped.clone(),
        None => tables::JWT_ISSUERS
            .get(state, &args.issuer)?
            .map(|row| row.0.skipped_keys)
            .unwrap_or_default(),
    };
    let audience = args.audience.clone();
    let row = JwtIssuer {
        ca_cert_bundle_name: None,
        auto_refresh: false,
        audience: Some(audience.unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned())),
        skipped_keys,
    };
    tables::JWT_ISSUERS.put(state, &args.issuer, &Json(row))?;
    let Some(keys) = keys else {
        return Ok(());
    };
    remove_keys(state, &args.issuer, &keys.usable.keys().cloned().collect())?;
    for (kid, mut keys) in keys.usable {
        // Another issuer may use the same kid: each key is believed for its own issuer only.
        let mut all = tables::JWT_KEYS
            .get(state, &kid)?
            .map(|row| row.0)
            .unwrap_or_default();
        all.retain(|other| other.issuer != args.issuer);
        all.append(&mut keys);
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
