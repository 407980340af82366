//! One key of a published set (RFC 7517), judged for verifying tokens.
//!
//! Providers publish keys of every sort in one set: for encryption, of types that came last year.
//! Each is judged alone and by all its parameters (RFC 7517 §4, §5), so that a key that is not for
//! us neither spoils the set nor verifies anything.

use serde_json::Value;

use crate::der;
use crate::spki::{self, KeyKind, SpkiError};

/// Sizes of RSA keys whose signatures are verified, in bits.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// What a published key is to us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Judged {
    /// It verifies tokens.
    Usable {
        /// SubjectPublicKeyInfo, DER.
        spki: Vec<u8>,
    },
    /// It is meant for something else, or of a kind not known here: why, in words.
    Skipped(String),
}

/// The only algorithm that tokens under a key of this kind may have, whether the key says so or
/// not; `None` for kinds that verify no tokens. Nothing here ever means HMAC.
#[must_use]
pub fn token_alg(kind: KeyKind) -> Option<&'static str> {
    match kind {
        KeyKind::Rsa(bits) if RSA_BITS.contains(&bits) => Some("RS256"),
        KeyKind::EcP256 => Some("ES256"),
        _ => None,
    }
}

/// Judges one member of `keys`.
///
/// # Errors
///
/// [`SpkiError`] if it is no object, or if it is meant for verifying, of a known type, and
/// malformed.
pub fn judge(jwk: &Value) -> Result<Judged, SpkiError> {
    if !jwk.is_object() {
        return Err(SpkiError::Jwk("kty"));
    }
    if let Some(reason) = meant_for_something_else(jwk) {
        return Ok(Judged::Skipped(reason));
    }
    let spki = spki::jwk_to_spki(jwk)?;
    let kind = spki::spki_key_kind(&spki)?;
    if matches!(kind, KeyKind::Rsa(_)) {
        let (_, exponent) = spki::rsa_components(&spki)?;
        // With an even exponent it is no key; with 1 everybody signs.
        let odd = exponent.last().is_some_and(|last| last & 1 == 1);
        if !odd || der::trim(&exponent) == [1] {
            return Err(SpkiError::Jwk("e"));
        }
    }
    let Some(alg) = token_alg(kind) else {
        return Ok(Judged::Skipped(format!(
            "no token under a {kind} key is taken here"
        )));
    };
    match jwk.get("alg") {
        None => Ok(Judged::Usable { spki }),
        Some(Value::String(named)) if named == alg => Ok(Judged::Usable { spki }),
        Some(named) => Ok(Judged::Skipped(format!(
            "alg is {}, tokens under a {kind} key have {alg}",
            short(named)
        ))),
    }
}

/// Why a key is not one for verifying, or of a type that cannot be looked at.
fn meant_for_something_else(jwk: &Value) -> Option<String> {
    match jwk.get("use") {
        None => {}
        Some(Value::String(purpose)) if purpose == "sig" => {}
        Some(purpose) => return Some(format!("use is {}", short(purpose))),
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(list)) if list.iter().any(|one| one == "verify") => {}
        Some(list) => return Some(format!("key_ops is {}", short(list))),
    }
    match jwk.get("kty") {
        Some(Value::String(kty)) if kty == "RSA" => None,
        Some(Value::String(kty)) if kty == "EC" => match jwk.get("crv") {
            // Without a curve it is known and malformed, or has a certificate.
            None => None,
            Some(Value::String(crv)) if crv == "P-256" || crv == "P-384" => None,
            Some(crv) => Some(format!("crv is {}", short(crv))),
        },
        kty => Some(format!("kty is {}", short(kty.unwrap_or(&Value::Null)))),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rsa(bits: usize) -> Value {
        use base64::Engine as _;
        let mut n = vec![0xb7; bits / 8];
        n[0] = 0x80;
        let n = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(n);
        json!({"kty": "RSA", "n": n, "e": "AQAB"})
    }

    fn ec() -> Value {
        json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    fn with(mut jwk: Value, change: &Value) -> Value {
        for (name, value) in change.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    /// `usable`, `skipped` or `refused`.
    fn verdict(jwk: &Value) -> &'static str {
        match judge(jwk) {
            Ok(Judged::Usable { .. }) => "usable",
            Ok(Judged::Skipped(_)) => "skipped",
            Err(_) => "refused",
        }
    }

    #[test]
    fn a_key_verifies_only_if_every_parameter_allows_it() {
        for (change, expected) in [
            (json!({}), "usable"),
            (
                json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"]}),
                "usable",
            ),
            (json!({"key_ops": ["sign", "verify"]}), "usable"),
            (json!({"use": "enc"}), "skipped"),
            (json!({"use": "SIG"}), "skipped"),
            (json!({"use": null}), "skipped"),
            (json!({"use": ["sig"]}), "skipped"),
            (json!({"key_ops": ["wrapKey"]}), "skipped"),
            (json!({"key_ops": []}), "skipped"),
            (json!({"key_ops": "verify"}), "skipped"),
            (json!({"use": "sig", "key_ops": ["encrypt"]}), "skipped"),
            (json!({"alg": "RSA-OAEP"}), "skipped"),
            (json!({"alg": "HS256"}), "skipped"),
            (json!({"alg": "none"}), "skipped"),
            (json!({"alg": "ES384"}), "skipped"),
            (json!({"alg": "RS256"}), "skipped"),
            (json!({"alg": null}), "skipped"),
            (json!({"crv": "secp256k1"}), "skipped"),
            (json!({"crv": "P-521"}), "skipped"),
            (json!({"kty": "OKP"}), "skipped"),
            (json!({"kty": "AKP"}), "skipped"),
            (json!({"kty": "oct", "k": "AAAA"}), "skipped"),
            (json!({"kty": "ec"}), "skipped"),
            (json!({"kty": 1}), "skipped"),
            (json!({"x": "AAAA"}), "refused"),
            (json!({"x": null}), "refused"),
            // Not on the curve.
            (
                json!({"y": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}),
                "refused",
            ),
            // Malformed, but never meant for us.
            (json!({"x": null, "use": "enc"}), "skipped"),
        ] {
            assert_eq!(verdict(&with(ec(), &change)), expected, "{change}");
        }
    }

    #[test]
    fn rsa_keys_are_judged_by_size_and_exponent_too() {
        for (jwk, expected) in [
            (rsa(2048), "usable"),
            (rsa(2040), "skipped"),
            (rsa(8192), "usable"),
            (rsa(8200), "skipped"),
            (with(rsa(2048), &json!({"alg": "RS256"})), "usable"),
            (with(rsa(2048), &json!({"alg": "PS256"})), "skipped"),
            (with(rsa(2048), &json!({"alg": "RS512"})), "skipped"),
            (with(rsa(2048), &json!({"e": "AQ"})), "refused"),
            (with(rsa(2048), &json!({"e": "Ag"})), "refused"),
            (with(rsa(2048), &json!({"e": ""})), "refused"),
            (json!({"kty": "RSA"}), "refused"),
            (json!({}), "skipped"),
            (json!([]), "refused"),
            (json!("key"), "refused"),
        ] {
            assert_eq!(verdict(&jwk), expected, "{:.60}", jwk.to_string());
        }
    }
}
