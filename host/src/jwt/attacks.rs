//! Tokens that must not be believed, each beside the one that is: a corpus.
//!
//! Two issuers of one host have a key of the same id, one of them two under one id and one without
//! id. Everything is signed by real keys; what each row tries is its name.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crypto::native::{Curve, EcKeyPair, RsaBits, RsaKeyPair};
use host_core::Transaction;
use kv::store::Store;
use kv::{Context, Json, TxId};
use model::service::JwtIssuer;
use serde_json::{Value as JsonValue, json};

use super::*;

mod forms;

const A: &str = "https://idp.example/a";
const B: &str = "https://idp.example/b";
const ENTRA: &str = "https://idp.example/{tenantid}/v2.0";
const NOW: u64 = 1_800_000_000;

/// Whom a token is signed by.
#[derive(Clone, Copy, Debug)]
enum By {
    /// A's first key of id `k1`.
    A1,
    /// A's second key of id `k1`.
    A2,
    /// A's RSA key `rsa`.
    Rsa,
    /// A's RSA key, by RSASSA-PSS.
    Pss,
    /// A's key without id.
    NoKid,
    /// B's key of id `k1`.
    B1,
    /// The multi-tenant key `t1`.
    Tenant,
    /// Nobody's key.
    Stranger,
    /// HMAC-SHA-256 with the public key of A's `rsa`, or of its PEM.
    HmacSpki,
    HmacPem,
    /// No signature at all.
    Nothing,
}

struct World {
    a1: EcKeyPair,
    a2: EcKeyPair,
    rsa: RsaKeyPair,
    no_kid: EcKeyPair,
    b1: EcKeyPair,
    tenant: EcKeyPair,
    stranger: EcKeyPair,
    state: Transaction,
}

impl World {
    fn new() -> Self {
        let ec = || EcKeyPair::generate(Curve::P256).unwrap();
        let mut world = Self {
            a1: ec(),
            a2: ec(),
            rsa: RsaKeyPair::generate(RsaBits::B2048).unwrap(),
            no_kid: ec(),
            b1: ec(),
            tenant: ec(),
            stranger: ec(),
            state: Transaction::new(Store::default(), Context::Host, TxId::new(2, 1)),
        };
        let row = |spki: &[u8], issuer: &str| JwtKey {
            public_key: spki.to_vec(),
            issuer: issuer.to_owned(),
            constraint: Some(issuer.to_owned()),
        };
        let rows = [
            (
                "k1",
                vec![
                    row(world.a1.spki_der(), A),
                    row(world.a2.spki_der(), A),
                    row(world.b1.spki_der(), B),
                ],
            ),
            ("rsa", vec![row(world.rsa.spki_der(), A)]),
            (NO_KID, vec![row(world.no_kid.spki_der(), A)]),
            ("t1", vec![row(world.tenant.spki_der(), ENTRA)]),
        ];
        for (kid, keys) in rows {
            JWT_KEYS
                .put(&mut world.state, &kid.to_owned(), &Json(keys))
                .unwrap();
        }
        for issuer in [A, B, ENTRA] {
            JWT_ISSUERS
                .put(&mut world.state, &issuer.to_owned(), &Json(JwtIssuer::default()))
                .unwrap();
        }
        world
    }

    fn sign(&self, by: By, input: &str) -> Vec<u8> {
        let ec = |key: &EcKeyPair| key.sign_fixed(input.as_bytes()).unwrap();
        match by {
            By::A1 => ec(&self.a1),
            By::A2 => ec(&self.a2),
            By::NoKid => ec(&self.no_kid),
            By::B1 => ec(&self.b1),
            By::Tenant => ec(&self.tenant),
            By::Stranger => ec(&self.stranger),
            By::Rsa => self.rsa.sign_pkcs1_sha256(input.as_bytes()).unwrap(),
            By::Pss => self.rsa.sign_pss_sha256(input.as_bytes()).unwrap(),
            By::HmacSpki => crypto::hmac_sha256(self.rsa.spki_der(), input.as_bytes()).to_vec(),
            By::HmacPem => {
                let pem = self.rsa.public_pem();
                crypto::hmac_sha256(pem.as_bytes(), input.as_bytes()).to_vec()
            }
            By::Nothing => Vec::new(),
        }
    }

    fn token(&self, by: By, header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let input = format!("{}.{}", part(header), part(claims));
        let signature = self.sign(by, &input);
        crypto::jws::compact(&input, &signature)
    }

    fn verify(&self, token: &str) -> Result<String, TokenError> {
        match Tokens::new().verify(&self.state, token, NOW)? {
            Caller::Token { claims_json, .. } => Ok(claims_json),
            other => panic!("{other:?}"),
        }
    }
}

/// `base` with members replaced; `null` in `change` takes one away.
fn changed(mut base: JsonValue, change: JsonValue) -> String {
    for (name, value) in change.as_object().unwrap() {
        match value {
            JsonValue::Null => drop(base.as_object_mut().unwrap().remove(name)),
            value => base[name] = value.clone(),
        }
    }
    base.to_string()
}

fn header(change: JsonValue) -> String {
    changed(json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}), change)
}

fn claims(change: JsonValue) -> String {
    let base = json!({"iss": A, "aud": "concordat", "sub": "ann", "exp": NOW + 600, "nbf": NOW - 5});
    changed(base, change)
}

#[test]
fn what_an_issuer_signed_for_us_is_believed() {
    let world = World::new();
    let good = [
        (By::A1, header(json!({})), claims(json!({}))),
        (By::A2, header(json!({})), claims(json!({}))),
        (
            By::Rsa,
            header(json!({"alg": "RS256", "kid": "rsa"})),
            claims(json!({})),
        ),
        (By::NoKid, header(json!({"kid": null})), claims(json!({}))),
        (By::B1, header(json!({})), claims(json!({"iss": B}))),
        (
            By::Tenant,
            header(json!({"kid": "t1"})),
            claims(json!({"iss": "https://idp.example/x/v2.0", "tid": "x"})),
        ),
        (
            By::A1,
            header(json!({})),
            claims(json!({"aud": ["x", "concordat"]})),
        ),
        (By::A1, header(json!({})), claims(json!({"exp": 1_800_000_600.5}))),
        (
            By::A1,
            header(json!({})),
            claims(json!({"sub": null, "oid": "ann"})),
        ),
        (
            By::A1,
            header(json!({"typ": null, "cty": "x"})),
            claims(json!({"nbf": null})),
        ),
    ];
    for (by, header, claims) in good {
        let token = world.token(by, &header, &claims);
        assert_eq!(world.verify(&token).as_ref(), Ok(&claims), "{by:?} {header}");
    }
}

#[test]
fn headers_that_try_to_choose_key_or_algorithm_are_refused() {
    let world = World::new();
    let own = spki_jwk(&world.stranger);
    let attacks: Vec<(&str, By, JsonValue, TokenError)> = vec![
        ("none", By::Nothing, json!({"alg": "none"}), TokenError::Algorithm),
        ("None", By::Nothing, json!({"alg": "None"}), TokenError::Algorithm),
        (
            "none with a good signature",
            By::A1,
            json!({"alg": "none"}),
            TokenError::Algorithm,
        ),
        ("no alg", By::A1, json!({"alg": null}), TokenError::Algorithm),
        ("empty alg", By::A1, json!({"alg": ""}), TokenError::Algorithm),
        (
            "alg of another case",
            By::A1,
            json!({"alg": "es256"}),
            TokenError::Algorithm,
        ),
        (
            "alg as a list",
            By::A1,
            json!({"alg": ["ES256"]}),
            TokenError::Algorithm,
        ),
        (
            "HS256 with the public key as secret",
            By::HmacSpki,
            json!({"alg": "HS256", "kid": "rsa"}),
            TokenError::Algorithm,
        ),
        (
            "HS256 with the PEM as secret",
            By::HmacPem,
            json!({"alg": "HS256", "kid": "rsa"}),
            TokenError::Algorithm,
        ),
        (
            "HMAC under RS256's name",
            By::HmacSpki,
            json!({"alg": "RS256", "kid": "rsa"}),
            TokenError::Signature,
        ),
        (
            "PS256",
            By::Pss,
            json!({"alg": "PS256", "kid": "rsa"}),
            TokenError::Algorithm,
        ),
        (
            "PSS under RS256's name",
            By::Pss,
            json!({"alg": "RS256", "kid": "rsa"}),
            TokenError::Signature,
        ),
        (
            "RS256 with an elliptic key",
            By::A1,
            json!({"alg": "RS256"}),
            TokenError::KeyAlgorithm,
        ),
        (
            "ES256 with an RSA key",
            By::Rsa,
            json!({"kid": "rsa"}),
            TokenError::KeyAlgorithm,
        ),
        ("ES384", By::A1, json!({"alg": "ES384"}), TokenError::Algorithm),
        (
            "RSA-OAEP, as of a key for encryption",
            By::Rsa,
            json!({"alg": "RSA-OAEP", "kid": "rsa"}),
            TokenError::Algorithm,
        ),
        (
            "a key in the header",
            By::Stranger,
            json!({"jwk": own}),
            TokenError::Signature,
        ),
        (
            "a key in the header and no kid",
            By::Stranger,
            json!({"jwk": own, "kid": null}),
            TokenError::Signature,
        ),
        (
            "a key set elsewhere",
            By::Stranger,
            json!({"jku": "https://evil.example/keys"}),
            TokenError::Signature,
        ),
        (
            "a certificate elsewhere",
            By::Stranger,
            json!({"x5u": "https://evil.example/c"}),
            TokenError::Signature,
        ),
        (
            "a certificate in the header",
            By::Stranger,
            json!({"x5c": ["AAAA"]}),
            TokenError::Signature,
        ),
        ("a stranger's key", By::Stranger, json!({}), TokenError::Signature),
        (
            "an unknown kid",
            By::A1,
            json!({"kid": "k9"}),
            TokenError::UnknownKey,
        ),
        (
            "a kid with a path",
            By::A1,
            json!({"kid": "../k1"}),
            TokenError::UnknownKey,
        ),
        (
            "an empty kid meant for keys without",
            By::NoKid,
            json!({"kid": ""}),
            TokenError::UnknownKey,
        ),
        (
            "another key's kid",
            By::A1,
            json!({"kid": "rsa", "alg": "ES256"}),
            TokenError::KeyAlgorithm,
        ),
        (
            "a kid for a key without",
            By::NoKid,
            json!({}),
            TokenError::Signature,
        ),
        (
            "no kid for a key that has one",
            By::A1,
            json!({"kid": null}),
            TokenError::Signature,
        ),
        (
            "no kid under another algorithm",
            By::Rsa,
            json!({"kid": null, "alg": "RS256"}),
            TokenError::KeyAlgorithm,
        ),
    ];
    for (name, by, change, expected) in attacks {
        let token = world.token(by, &header(change), &claims(json!({})));
        assert_eq!(world.verify(&token), Err(expected), "{name}");
    }
}

#[test]
fn claims_for_others_or_for_other_times_are_refused() {
    let world = World::new();
    let audience = || TokenError::Audience("concordat".to_owned());
    let attacks: Vec<(&str, By, JsonValue, TokenError)> = vec![
        ("no iss", By::A1, json!({"iss": null}), TokenError::Issuer),
        (
            "another host's iss",
            By::A1,
            json!({"iss": "https://evil.example"}),
            TokenError::Issuer,
        ),
        (
            "iss with a slash more",
            By::A1,
            json!({"iss": "https://idp.example/a/"}),
            TokenError::Issuer,
        ),
        (
            "iss in another case",
            By::A1,
            json!({"iss": "https://IDP.example/a"}),
            TokenError::Issuer,
        ),
        ("iss as a list", By::A1, json!({"iss": [A]}), TokenError::Issuer),
        (
            "one key id, the other issuer's name",
            By::A1,
            json!({"iss": B}),
            TokenError::Signature,
        ),
        (
            "the same the other way round",
            By::B1,
            json!({}),
            TokenError::Signature,
        ),
        ("no aud", By::A1, json!({"aud": null}), audience()),
        ("another aud", By::A1, json!({"aud": "other"}), audience()),
        (
            "aud as an object",
            By::A1,
            json!({"aud": {"concordat": 1}}),
            audience(),
        ),
        (
            "aud inside another",
            By::A1,
            json!({"aud": "concordat.example"}),
            audience(),
        ),
        (
            "aud in a list in a list",
            By::A1,
            json!({"aud": [["concordat"]]}),
            audience(),
        ),
        ("no exp", By::A1, json!({"exp": null}), TokenError::NoExpiry),
        (
            "exp as text",
            By::A1,
            json!({"exp": "9999999999"}),
            TokenError::NoExpiry,
        ),
        (
            "exp as a list",
            By::A1,
            json!({"exp": [NOW + 600]}),
            TokenError::NoExpiry,
        ),
        (
            "exp in the past",
            By::A1,
            json!({"exp": NOW - 600}),
            TokenError::Expired,
        ),
        ("exp below zero", By::A1, json!({"exp": -1}), TokenError::Expired),
        (
            "nbf to come",
            By::A1,
            json!({"nbf": NOW + 600}),
            TokenError::NotYetValid,
        ),
        (
            "nbf as text",
            By::A1,
            json!({"nbf": "0"}),
            TokenError::NotYetValid,
        ),
        ("nobody", By::A1, json!({"sub": ""}), TokenError::Anonymous),
        (
            "sub as a number",
            By::A1,
            json!({"sub": 7}),
            TokenError::Anonymous,
        ),
    ];
    for (name, by, change, expected) in attacks {
        let token = world.token(by, &header(json!({})), &claims(change));
        assert_eq!(world.verify(&token), Err(expected), "{name}");
    }
    let tenants: Vec<(&str, JsonValue)> = vec![
        (
            "another tenant's tid",
            json!({"iss": "https://idp.example/x/v2.0", "tid": "y"}),
        ),
        ("no tid", json!({"iss": "https://idp.example/x/v2.0"})),
        (
            "a tid that is a path",
            json!({"iss": "https://idp.example/x/y/v2.0", "tid": "x/y"}),
        ),
        ("the template itself", json!({"iss": ENTRA})),
    ];
    for (name, change) in tenants {
        let token = world.token(By::Tenant, &header(json!({"kid": "t1"})), &claims(change));
        assert_eq!(world.verify(&token), Err(TokenError::Issuer), "{name}");
    }
}

#[test]
fn texts_that_readers_would_understand_differently_are_refused() {
    let world = World::new();
    let twice = |claims: &str| claims.replacen('{', r#"{"sub":"bob","#, 1);
    let (good_header, good_claims) = (header(json!({})), claims(json!({})));
    let attacks = [
        (
            "crit",
            header(json!({"crit": ["exp"], "exp": 1})),
            good_claims.clone(),
        ),
        (
            "crit of nothing",
            header(json!({"crit": []})),
            good_claims.clone(),
        ),
        (
            "b64",
            header(json!({"b64": false, "crit": ["b64"]})),
            good_claims.clone(),
        ),
        ("b64 alone", header(json!({"b64": false})), good_claims.clone()),
        ("zip", header(json!({"zip": "DEF"})), good_claims.clone()),
        ("kid as a number", header(json!({"kid": 1})), good_claims.clone()),
        (
            "kid as a list",
            header(json!({"kid": ["k1"]})),
            good_claims.clone(),
        ),
        ("doubled sub", good_header.clone(), twice(&good_claims)),
        (
            "doubled by an escape",
            good_header.clone(),
            good_claims.replacen('{', r#"{"\u0073ub":"bob","#, 1),
        ),
        (
            "doubled alg",
            good_header.replacen('{', r#"{"alg":"none","#, 1),
            good_claims.clone(),
        ),
        (
            "doubled deep inside",
            good_header.clone(),
            good_claims.replacen('{', r#"{"x":[{"a":1,"a":2}],"#, 1),
        ),
        ("claims that are a list", good_header.clone(), "[]".to_owned()),
        (
            "claims behind a mark",
            good_header.clone(),
            format!("\u{feff}{good_claims}"),
        ),
        (
            "more behind the claims",
            good_header.clone(),
            format!("{good_claims}{{}}"),
        ),
        (
            "a number that is none",
            good_header,
            good_claims.replacen('{', "{\"exp2\":NaN,", 1),
        ),
    ];
    for (name, header, claims) in attacks {
        let token = world.token(By::A1, &header, &claims);
        let refusal = world.verify(&token);
        assert!(
            matches!(refusal, Err(TokenError::Malformed(_))),
            "{name}: {refusal:?}"
        );
    }
}

fn spki_jwk(key: &EcKeyPair) -> JsonValue {
    crypto::spki::spki_to_jwk(key.spki_der()).unwrap()
}
