//! Parts of an attested body, read without judging: what is missing, empty or of another form is
//! told in its turn (`attestation-secrets-oidc.md` §1.2), not by the parser ahead of everything.

use serde::{Deserialize, Deserializer};
use serde_json::Value as JsonValue;

use crate::evidence::{EncryptTo, SignedBy};

fn as_text(value: &JsonValue) -> Option<String> {
    match value {
        JsonValue::Null => None,
        JsonValue::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A text; what has another type is kept as its JSON, which no check takes for good.
pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    JsonValue::deserialize(from).map(|value| as_text(&value))
}

/// Whom to encrypt to; without a key it is nobody.
pub(crate) fn key<'de, D: Deserializer<'de>>(from: D) -> Result<Option<EncryptTo>, D::Error> {
    let value = JsonValue::deserialize(from)?;
    let public_key = value.get("publicKey").and_then(as_text);
    Ok(public_key.map(|public_key| EncryptTo { public_key }))
}

/// Who signed; without key or signature it is nobody.
pub(crate) fn signature<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SignedBy>, D::Error> {
    let value = JsonValue::deserialize(from)?;
    let part = |name: &str| value.get(name).and_then(as_text);
    Ok(part("publicKey")
        .zip(part("signature"))
        .map(|(public_key, signature)| SignedBy {
            public_key,
            signature,
        }))
}
