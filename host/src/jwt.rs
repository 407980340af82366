//! Bearer tokens of registered issuers (decision 24, `ledger-host.md` §5.3).
//!
//! A token is believed if a key registered for its issuer signed it, its times hold and it is
//! meant for this service. Whether the person it names may do anything is the application's
//! question.

use crypto::jwk::token_alg;
use crypto::jws::Jws;
use crypto::native::Native;
use crypto::spki::spki_key_kind;
use host_core::Caller;
use kv::Read;
use model::service::{JwtKey, KEYS_TRIED_MAX, NO_KID};
use model::tables::{JWT_ISSUERS, JWT_KEYS};
use serde_json::Value as JsonValue;

use crate::guest_imports::memo::Memo;

/// Audience of issuers that were registered without one.
const AUDIENCE_DEFAULT: &str = "concordat";
/// Signature checks remembered; a client sends the same token many times.
const CHECKED_MAX: usize = 4096;
/// How far an issuer's clock may be off this service's, in seconds (RFC 7519 §4.1.4, §4.1.5: "no
/// more than a few minutes").
const LEEWAY_SECONDS: f64 = 60.0;

/// Why a token is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token cannot be read: {0}")]
    Malformed(String),
    #[error("the token's algorithm must be RS256 or ES256")]
    Algorithm,
    #[error("no registered key has the token's kid; without a kid, keys that have none are tried")]
    UnknownKey,
    #[error("no key with the token's kid is for its algorithm")]
    KeyAlgorithm,
    #[error("no key with the token's kid verifies its signature")]
    Signature,
    #[error("the token's iss is not an issuer that its key is registered for")]
    Issuer,
    #[error("the token has no numeric exp")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token's aud does not contain {0:?}")]
    Audience(String),
    #[error("the token has neither oid nor sub")]
    Anonymous,
    #[error("the registered keys cannot be read")]
    State,
}

/// Checks tokens and remembers whose signatures it has verified.
pub(crate) struct Tokens {
    checked: Memo<bool>,
}

impl Tokens {
    pub(crate) const fn new() -> Self {
        Self {
            checked: Memo::new(CHECKED_MAX),
        }
    }

    /// The caller that `token` stands for at `now` (Unix seconds).
    pub(crate) fn verify(
        &self,
        state: &(impl Read + ?Sized),
        token: &str,
        now: u64,
    ) -> Result<Caller, TokenError> {
        let jws = Jws::parse(token).map_err(|e| TokenError::Malformed(e.to_string()))?;
        jws.check_header()
            .map_err(|e| TokenError::Malformed(e.to_string()))?;
        let alg = match jws.header().get("alg").and_then(JsonValue::as_str) {
            Some(alg @ ("RS256" | "ES256")) => alg,
            _ => return Err(TokenError::Algorithm),
        };
        let keys = registered(state, &jws)?;
        // Another issuer may have a key of the same id: what it would say of this token is nobody's
        // business, neither the reason nor the time it takes.
        let named: Vec<&JwtKey> = keys
            .iter()
            .filter(|key| check_issuer(jws.claims(), key).is_ok())
            .collect();
        if named.is_empty() {
            return Err(TokenError::Issuer);
        }
        let fits = |key: &&JwtKey| {
            let kind = spki_key_kind(&key.public_key);
            kind.is_ok_and(|kind| token_alg(kind) == Some(alg))
        };
        let fitting: Vec<&JwtKey> = named.into_iter().filter(fits).take(KEYS_TRIED_MAX).collect();
        if fitting.is_empty() {
            return Err(TokenError::KeyAlgorithm);
        }
        let mut failure = None;
        for key in fitting {
            if !self.signed_by(&jws, token, key) {
                continue;
            }
            match check_claims(state, jws.claims(), key, now) {
                Ok(()) => {
                    return Ok(Caller::Token {
                        issuer: key.issuer.clone(),
                        claims_json: jws.claims_text().to_owned(),
                    });
                }
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or(TokenError::Signature))
    }

    fn signed_by(&self, jws: &Jws, token: &str, key: &JwtKey) -> bool {
        let input = crypto::sha256_parts(&[&crypto::sha256(&key.public_key).0, token.as_bytes()]);
        if let Some(valid) = self.checked.get(&input) {
            return valid;
        }
        let valid = jws.verify(&key.public_key, &Native).is_ok();
        self.checked.put(input, valid);
        valid
    }
}

/// The keys that a token's kid names. A token without kid is tried with keys that have none, and
/// with those alone; a kid that no key has is never tried with others.
fn registered(state: &(impl Read + ?Sized), jws: &Jws) -> Result<Vec<JwtKey>, TokenError> {
    let kid = match jws.kid() {
        None => NO_KID,
        Some(NO_KID) => return Err(TokenError::UnknownKey),
        Some(kid) => kid,
    };
    let row = JWT_KEYS
        .get(state, &kid.to_owned())
        .map_err(|_| TokenError::State)?;
    Ok(row.ok_or(TokenError::UnknownKey)?.0)
}

fn check_claims(
    state: &(impl Read + ?Sized),
    claims: &JsonValue,
    key: &JwtKey,
    now: u64,
) -> Result<(), TokenError> {
    check_times(claims, now)?;
    let issuer = JWT_ISSUERS
        .get(state, &key.issuer)
        .map_err(|_| TokenError::State)?
        .ok_or(TokenError::UnknownKey)?
        .0;
    let audience = issuer.audience.as_deref().unwrap_or(AUDIENCE_DEFAULT);
    let meant_for_us = match claims.get("aud") {
        Some(JsonValue::String(one)) => one == audience,
        Some(JsonValue::Array(many)) => many.iter().any(|one| one == audience),
        _ => false,
    };
    if !meant_for_us {
        return Err(TokenError::Audience(audience.to_owned()));
    }
    let named = ["oid", "sub"].iter().any(|name| {
        claims
            .get(name)
            .and_then(JsonValue::as_str)
            .is_some_and(|id| !id.is_empty())
    });
    if named { Ok(()) } else { Err(TokenError::Anonymous) }
}

/// `exp` is required, `nbf` counts if present (RFC 7519 §4.1.4, §4.1.5), both with
/// [`LEEWAY_SECONDS`]: two clocks are never the same.
#[allow(
    clippy::cast_precision_loss,
    reason = "NumericDate may have a fraction; seconds since 1970 are exact in an f64"
)]
fn check_times(claims: &JsonValue, now: u64) -> Result<(), TokenError> {
    let now = now as f64;
    let expiry = claims
        .get("exp")
        .and_then(JsonValue::as_f64)
        .ok_or(TokenError::NoExpiry)?;
    if expiry < now - LEEWAY_SECONDS {
        return Err(TokenError::Expired);
    }
    match claims.get("nbf").map(JsonValue::as_f64) {
        None => Ok(()),
        Some(Some(start)) if start <= now + LEEWAY_SECONDS => Ok(()),
        Some(_) => Err(TokenError::NotYetValid),
    }
}

/// `iss` equals the key's constraint. In a constraint with `{tenantid}` (Entra) that is replaced
/// by the token's `tid`, which must be the first path segment of `iss`.
fn check_issuer(claims: &JsonValue, key: &JwtKey) -> Result<(), TokenError> {
    const TENANT: &str = "{tenantid}";
    let text = |name: &str| claims.get(name).and_then(JsonValue::as_str);
    let issuer = text("iss").ok_or(TokenError::Issuer)?;
    // A key without a constraint is bound to the issuer that registered it.
    let constraint = key.constraint.as_deref().unwrap_or(&key.issuer);
    if !constraint.contains(TENANT) {
        return if issuer == constraint {
            Ok(())
        } else {
            Err(TokenError::Issuer)
        };
    }
    let tenant = text("tid").filter(|tid| !tid.is_empty() && !tid.contains('/'));
    let tenant = tenant.ok_or(TokenError::Issuer)?;
    let first_segment = issuer
        .strip_prefix("https://")
        .and_then(|rest| rest.split('/').nth(1));
    if issuer == constraint.replace(TENANT, tenant) && first_segment == Some(tenant) {
        Ok(())
    } else {
        Err(TokenError::Issuer)
    }
}

#[cfg(test)]
mod attacks;

#[cfg(test)]
mod tests {
    use crypto::native::{Curve, EcKeyPair};
    use host_core::Transaction;
    use kv::store::Store;
    use kv::{Context, Json, TxId};
    use model::service::JwtIssuer;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://idp.example/tenant-a/v2.0";
    const NOW: u64 = 1_800_000_000;

    struct Issuer {
        key: EcKeyPair,
        state: Transaction,
    }

    impl Issuer {
        fn new(constraint: Option<&str>) -> Self {
            let key = EcKeyPair::generate(Curve::P256).unwrap();
            let mut state = Transaction::new(Store::default(), Context::Host, TxId::new(2, 1));
            let row = JwtKey {
                public_key: key.spki_der().to_vec(),
                issuer: ISSUER.to_owned(),
                constraint: constraint.map(str::to_owned),
            };
            JWT_KEYS
                .put(&mut state, &"k1".to_owned(), &Json(vec![row]))
                .unwrap();
            JWT_ISSUERS
                .put(&mut state, &ISSUER.to_owned(), &Json(JwtIssuer::default()))
                .unwrap();
            Self { key, state }
        }

        fn token(&self, header: &JsonValue, claims: &JsonValue) -> String {
            let input = crypto::jws::signing_input(header, claims);
            let signature = self.key.sign_fixed(input.as_bytes()).unwrap();
            crypto::jws::compact(&input, &signature)
        }

        fn check(&self, change: &JsonValue) -> Result<Caller, TokenError> {
            let mut claims = json!({"iss": ISSUER, "aud": "concordat", "sub": "ann", "exp": NOW + 60});
            for (name, value) in change.as_object().unwrap() {
                claims[name] = value.clone();
            }
            let header = json!({"alg": "ES256", "kid": "k1"});
            Tokens::new().verify(&self.state, &self.token(&header, &claims), NOW)
        }
    }

    #[test]
    fn a_token_of_a_registered_issuer_names_its_caller() {
        let caller = Issuer::new(None).check(&json!({"tid": "t1"})).unwrap();
        let Caller::Token { issuer, claims_json } = caller else {
            panic!("not a token caller");
        };
        assert_eq!(issuer, ISSUER);
        assert!(claims_json.contains("\"sub\":\"ann\""));
    }

    #[test]
    fn times_have_a_leeway_of_a_minute_and_no_more() {
        let issuer = Issuer::new(None);
        for (change, expected) in [
            (json!({"exp": NOW - 60}), None),
            (json!({"exp": NOW - 61}), Some(TokenError::Expired)),
            (json!({"nbf": NOW + 60}), None),
            (json!({"nbf": NOW + 61}), Some(TokenError::NotYetValid)),
            (json!({"nbf": NOW + 60, "iat": NOW + 300}), None),
        ] {
            assert_eq!(issuer.check(&change).err(), expected, "{change}");
        }
    }

    #[test]
    fn as_many_keys_of_one_kid_are_tried_as_may_be_and_not_one_more() {
        let behind = |others: usize| {
            let mut issuer = Issuer::new(None);
            let row = |key: &EcKeyPair| JwtKey {
                public_key: key.spki_der().to_vec(),
                issuer: ISSUER.to_owned(),
                constraint: None,
            };
            let other = EcKeyPair::generate(Curve::P256).unwrap();
            let mut rows = vec![row(&other); others];
            rows.push(row(&issuer.key));
            JWT_KEYS
                .put(&mut issuer.state, &"k1".to_owned(), &Json(rows))
                .unwrap();
            issuer.check(&json!({})).map(drop)
        };
        assert_eq!(behind(KEYS_TRIED_MAX - 1), Ok(()));
        assert_eq!(behind(KEYS_TRIED_MAX), Err(TokenError::Signature));
    }

    #[test]
    fn the_most_signatures_are_remembered_and_one_more_takes_the_place_of_the_oldest() {
        let tokens = Tokens::new();
        let digest = |number: usize| crypto::sha256(&number.to_be_bytes());
        for number in 0..=CHECKED_MAX {
            tokens.checked.put(digest(number), true);
        }
        let forgotten: Vec<usize> = (0..=CHECKED_MAX)
            .filter(|number| tokens.checked.get(&digest(*number)).is_none())
            .collect();
        assert_eq!(forgotten, [0]);
    }

    #[test]
    fn an_entra_constraint_binds_issuer_and_tenant() {
        let issuer = Issuer::new(Some("https://idp.example/{tenantid}/v2.0"));
        assert!(issuer.check(&json!({"tid": "tenant-a"})).is_ok());
        assert_eq!(issuer.check(&json!({"tid": "tenant-b"})), Err(TokenError::Issuer));
        assert_eq!(issuer.check(&json!({})), Err(TokenError::Issuer));
    }
}
