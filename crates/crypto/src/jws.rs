//! JSON Web Signatures in compact form (RFC 7515 §7.1) and JSON Web Key sets (RFC 7517).
//!
//! Which issuer, audience and time are acceptable is the caller's to decide.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::spki::{self, KeyKind, SpkiError};
use crate::verify::{BadSignature, SignatureAlg, VerifySignature};

/// Longest compact token read, in bytes.
pub const TOKEN_SIZE_MAX: usize = 16 * 1024;

/// A token that cannot be read or does not verify.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwsError {
    /// Longer than [`TOKEN_SIZE_MAX`].
    #[error("the token is longer than {TOKEN_SIZE_MAX} bytes")]
    TooLong,
    /// Not three base64url parts separated by dots.
    #[error("the token is not a compact JWS")]
    Shape,
    /// Header or claims are not a JSON object.
    #[error("the token's {0} is not a JSON object")]
    Json(&'static str),
    /// A member of header or claims twice, at any depth: readers would disagree about it.
    #[error("the token's {part} are ambiguous: {problem}")]
    Ambiguous {
        /// Header or claims.
        part: &'static str,
        /// Which member.
        problem: String,
    },
    /// `kid` is there and no text.
    #[error("the token's kid is not text")]
    KeyId,
    /// The header demands understanding of something (`crit`, RFC 7515 §4.1.11), or lists in it
    /// what must not stand there.
    #[error("the token's header: {0}")]
    Critical(String),
    /// The header changes how the payload is read: compressed (`zip`, of JWE only) or not encoded
    /// (`b64`, RFC 7797).
    #[error("the token's header has {0:?}, which is not supported")]
    Transformed(&'static str),
    /// No `alg`, or one that does not go with the key.
    #[error("token algorithm {alg:?} does not go with a {key} key")]
    Algorithm {
        /// The name in the header.
        alg: String,
        /// The key it was to be used with.
        key: KeyKind,
    },
    /// The signature or the key.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// A parsed token. Nothing about it has been verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Jws {
    header: Value,
    claims: Value,
    claims_text: String,
    signing_input: String,
    signature: Vec<u8>,
}

impl Jws {
    /// Reads a compact token. Base64url is strict: no padding, no stray bits. Members that occur
    /// twice are refused, although RFC 7519 §4 lets a reader take the last.
    ///
    /// # Errors
    ///
    /// [`JwsError`] saying which part cannot be read.
    pub fn parse(token: &str) -> Result<Self, JwsError> {
        if token.len() > TOKEN_SIZE_MAX {
            return Err(JwsError::TooLong);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::Shape)?;
        let (header, claims) = signing_input.split_once('.').ok_or(JwsError::Shape)?;
        let (header, _) = object(header, "header")?;
        let (claims, claims_text) = object(claims, "claims")?;
        if header.get("kid").is_some_and(|kid| !kid.is_string()) {
            return Err(JwsError::KeyId);
        }
        Ok(Self {
            header,
            claims,
            claims_text,
            signing_input: signing_input.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwsError::Shape)?,
        })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Value {
        &self.header
    }

    /// `kid` of the header.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.get("kid")?.as_str()
    }

    /// The claims.
    #[must_use]
    pub fn claims(&self) -> &Value {
        &self.claims
    }

    /// The claims as their issuer wrote them: numbers and order are its own.
    #[must_use]
    pub fn claims_text(&self) -> &str {
        &self.claims_text
    }

    /// Refuses a header that this reader would have to understand and does not: `crit`, `zip` and
    /// `b64`.
    ///
    /// # Errors
    ///
    /// [`JwsError::Critical`] and [`JwsError::Transformed`].
    pub fn check_header(&self) -> Result<(), JwsError> {
        /// Of RFC 7515 §4.1; what every reader knows is never an extension.
        const REGISTERED: &[&str] = &[
            "alg", "jku", "jwk", "kid", "x5u", "x5c", "x5t", "x5t#S256", "typ", "cty", "crit",
        ];
        if self.header.get("zip").is_some() {
            return Err(JwsError::Transformed("zip"));
        }
        if self.header.get("b64").is_some() {
            return Err(JwsError::Transformed("b64"));
        }
        let Some(crit) = self.header.get("crit") else {
            return Ok(());
        };
        let names: Option<Vec<&str>> = crit
            .as_array()
            .filter(|list| !list.is_empty())
            .and_then(|list| list.iter().map(Value::as_str).collect());
        let fault = names.map_or_else(
            || "crit is not a list of names".to_owned(),
            |names| match names.iter().find(|name| REGISTERED.contains(name)) {
                Some(name) => format!("crit names {name}, which is no extension"),
                None => match names.iter().find(|name| self.header.get(**name).is_none()) {
                    Some(name) => format!("{name:.64?} is called critical and absent"),
                    None => format!(
                        "critical extensions are not understood: {:.200}",
                        names.join(", ")
                    ),
                },
            },
        );
        Err(JwsError::Critical(fault))
    }

    /// The text the signature covers.
    #[must_use]
    pub fn signing_input(&self) -> &str {
        &self.signing_input
    }

    /// The signature bytes.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Verifies the signature with the public key in `spki_der`: RS256 or PS256 with RSA, ES256
    /// with P-256, ES384 with P-384. Anything else, `none` above all, is refused.
    ///
    /// # Errors
    ///
    /// [`JwsError`] saying whether algorithm, key or signature is at fault.
    pub fn verify(&self, spki_der: &[u8], verifier: &dyn VerifySignature) -> Result<(), JwsError> {
        self.check_header()?;
        let key = spki::spki_key_kind(spki_der).map_err(|error| BadSignature::Key(error.to_string()))?;
        let alg = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let scheme = match (alg, key) {
            ("RS256", KeyKind::Rsa(_)) => SignatureAlg::RsaPkcs1Sha256,
            ("PS256", KeyKind::Rsa(_)) => SignatureAlg::RsaPssSha256,
            ("ES256", KeyKind::EcP256) => SignatureAlg::EcdsaSha256Fixed,
            ("ES384", KeyKind::EcP384) => SignatureAlg::EcdsaSha384Fixed,
            _ => {
                return Err(JwsError::Algorithm {
                    alg: alg.to_owned(),
                    key,
                });
            }
        };
        verifier.verify(scheme, spki_der, self.signing_input.as_bytes(), &self.signature)?;
        Ok(())
    }
}

/// The text to sign for a token with this header and these claims.
#[must_use]
pub fn signing_input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// The compact token of a signing input and its signature.
#[must_use]
pub fn compact(signing_input: &str, signature: &[u8]) -> String {
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The public JWK of a signing key, with `kid`, `use` and `alg`.
///
/// # Errors
///
/// [`SpkiError`] if the key cannot be read or has no JWK form here.
pub fn signing_jwk(spki_der: &[u8], kid: &str, alg: &str) -> Result<Value, SpkiError> {
    let mut jwk = spki::spki_to_jwk(spki_der)?;
    if let Value::Object(members) = &mut jwk {
        members.insert("kid".to_owned(), kid.into());
        members.insert("use".to_owned(), "sig".into());
        members.insert("alg".to_owned(), alg.into());
    }
    Ok(jwk)
}

/// A JWK set.
#[must_use]
pub fn jwks(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

fn object(part: &str, name: &'static str) -> Result<(Value, String), JwsError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Shape)?;
    let text = String::from_utf8(bytes).map_err(|_| JwsError::Json(name))?;
    match serde_json::from_str(&text) {
        Ok(value @ Value::Object(_)) => {
            model::json::check_unique_keys(text.as_bytes()).map_err(|e| JwsError::Ambiguous {
                part: name,
                problem: e.to_string(),
            })?;
            Ok((value, text))
        }
        _ => Err(JwsError::Json(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Portable;

    /// RFC 7515 §A.3: ES256.
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                         cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8IS\
                         lSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn key() -> Vec<u8> {
        spki::jwk_to_spki(&json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }))
        .unwrap()
    }

    #[test]
    fn the_es256_example_of_rfc_7515_verifies_and_no_change_of_it_does() {
        let jws = Jws::parse(TOKEN).unwrap();
        assert_eq!(jws.claims()["iss"], "joe");
        assert_eq!(jws.verify(&key(), &Portable), Ok(()));
        let other = TOKEN.replacen("eyJpc3MiOiJqb2Ui", "eyJpc3MiOiJqb2Ii", 1);
        assert!(Jws::parse(&other).unwrap().verify(&key(), &Portable).is_err());
        let forged = TOKEN.replacen(".DtEh", ".EtEh", 1);
        assert_eq!(
            Jws::parse(&forged).unwrap().verify(&key(), &Portable),
            Err(JwsError::Signature(BadSignature::Mismatch))
        );
    }

    #[test]
    fn the_algorithm_must_belong_to_the_key() {
        let claims = json!({});
        for alg in ["none", "HS256", "RS256", "ES384", "es256", ""] {
            let token = compact(&signing_input(&json!({ "alg": alg }), &claims), &[0; 64]);
            let refusal = Jws::parse(&token).unwrap().verify(&key(), &Portable);
            assert!(
                matches!(refusal, Err(JwsError::Algorithm { .. })),
                "{alg}: {refusal:?}"
            );
        }
    }

    #[test]
    fn headers_that_ask_for_more_than_is_understood_are_refused_before_the_signature() {
        for (header, reason) in [
            (json!({"crit": ["x"], "x": 1}), "not understood: x"),
            (json!({"crit": ["x"]}), "called critical and absent"),
            (json!({"crit": ["b64"], "b64": true}), "\"b64\""),
            (json!({"b64": false}), "\"b64\""),
            (json!({"zip": "DEF"}), "\"zip\""),
            (json!({"zip": null}), "\"zip\""),
            (json!({"crit": []}), "not a list"),
            (json!({"crit": "x"}), "not a list"),
            (json!({"crit": null}), "not a list"),
            (json!({"crit": [1]}), "not a list"),
            (json!({"crit": ["alg"]}), "no extension"),
        ] {
            let mut full = header.clone();
            full["alg"] = "ES256".into();
            let token = compact(&signing_input(&full, &json!({})), &[0; 64]);
            let told = Jws::parse(&token).unwrap().verify(&key(), &Portable).unwrap_err();
            assert!(told.to_string().contains(reason), "{header}: {told}");
        }
    }

    #[test]
    fn doubled_members_are_refused_in_header_and_claims_at_any_depth() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for (header, claims) in [
            (r#"{"alg":"ES256","alg":"none"}"#, "{}"),
            (r#"{"alg":"ES256"}"#, r#"{"sub":"ann","sub":"bob"}"#),
            (r#"{"alg":"ES256"}"#, r#"{"sub":"ann","\u0073ub":"bob"}"#),
            (r#"{"alg":"ES256"}"#, r#"{"a":[{"b":1,"b":1}]}"#),
        ] {
            let refusal = Jws::parse(&format!("{}.{}.AA", part(header), part(claims)));
            assert!(matches!(refusal, Err(JwsError::Ambiguous { .. })), "{refusal:?}");
        }
    }

    #[test]
    fn claims_are_handed_on_as_their_issuer_wrote_them() {
        let text = r#"{"z":12345678901234567890123,"a":1.0}"#;
        let token = format!("e30.{}.AA", URL_SAFE_NO_PAD.encode(text));
        assert_eq!(Jws::parse(&token).unwrap().claims_text(), text);
    }

    #[test]
    fn malformed_tokens_are_refused() {
        for bad in [
            "",
            "a.b",
            "e30.e30.%%",
            "e30=.e30.AA",
            "W10.e30.AA",
            "e30.W10.AA",
            "e30.e30.AA.AA",
            "e30.e31.AA",
            // {"kid":1}
            "eyJraWQiOjF9.e30.AA",
        ] {
            assert!(Jws::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Jws::parse(&"a".repeat(TOKEN_SIZE_MAX + 1)),
            Err(JwsError::TooLong)
        );
    }
}
