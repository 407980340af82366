//! The evidence of a request: form, nonce, verification, bound key, signature. In this order,
//! before any policy is looked at; a failure here writes nothing (decision 23).
//!
//! Source: `attestation-secrets-oidc.md` §1.1, §1.2, §1.7, §1.8; decisions 5, 6, 16, 18, 43.

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::tables::USED_NONCES;
use model::attested::{AttestedBody, Bound, NONCE_BYTES, quote_nonce, report_data, signed_text};
use model::b64;
use model::evidence::Platform;
use serde_json::Value as JsonValue;
use serde_json::value::RawValue;

use crate::host_services::{EvidenceError, SignatureAlg, VerifiedEvidence};
use crate::reply::{Failure, Refused};
use crate::request::Call;

/// The evidence stays text: only the host reads it.
pub(crate) type Body = AttestedBody<Box<RawValue>>;

/// The evidence, which is asked for before anything else is looked at. What the reference takes for
/// false is as good as absent.
pub(crate) fn evidence(body: &Body) -> Result<&RawValue, Refused> {
    body.attestation
        .as_deref()
        .filter(|raw| !matches!(raw.get(), "null" | "false" | "0" | "\"\""))
        .ok_or_else(|| Refused::new(ErrorCode::AttestationMissing, "attestation is missing"))
}

/// Which key the evidence must bind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Binding {
    /// `encrypt.publicKey`: the answer is wrapped to it.
    Encrypt,
    /// `encrypt.publicKey`, which also signed `data`.
    EncryptAndSign,
    /// `sign.publicKey`, which signed `data`; events carry no other.
    Sign,
    /// `encrypt.publicKey` if present; static evidence may bind none, since nothing is given out.
    Optional,
}

impl Binding {
    const fn signed(self) -> bool {
        matches!(self, Self::Sign | Self::EncryptAndSign)
    }
}

/// Whether a contract takes evidence without a nonce.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StaticRule {
    /// Some alternative does.
    Allowed,
    /// None does.
    Refused,
    /// There is no policy at all.
    NoPolicy,
}

/// A nonce that is good and not used yet.
#[derive(Clone, Debug)]
pub(crate) struct FreshNonce {
    /// Key of its row among the used ones.
    pub(crate) key: String,
    text: String,
    bytes: [u8; NONCE_BYTES],
}

/// Evidence that verified, bound to a key and, if fresh, to a nonce.
pub(crate) struct Proof {
    pub(crate) platform: Platform,
    pub(crate) evidence: VerifiedEvidence,
    /// The bound RSA key, PEM; absent only with [`Binding::Optional`].
    pub(crate) key_pem: Option<String>,
    /// Absent with static evidence.
    pub(crate) nonce: Option<FreshNonce>,
    /// The signed payload, decoded; empty if nothing is signed.
    pub(crate) data: Vec<u8>,
}

/// The message that the reference's clients look for.
pub(crate) const POLICY_MISSING: &str =
    "The clean room policy is missing. Please propose a new clean room policy.";

/// Key sizes that may be bound, in bits.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=4096;
/// How far a signed request's time may be off, in milliseconds.
const CLOCK_SKEW_MS_MAX: u64 = 300_000;

/// Checks a request's evidence.
pub(crate) fn verify(
    call: &Call<'_>,
    body: &Body,
    binding: Binding,
    rule: impl FnOnce(Platform) -> Result<StaticRule, Failure>,
) -> Result<Proof, Failure> {
    let attestation = evidence(body)?;
    let form = read_form(body, binding)?;
    let name = body.platform.as_deref().unwrap_or_default();
    let platform = Platform::from_name(name).ok_or_else(|| unsupported(name))?;
    let nonce = read_nonce(call, body)?;
    if nonce.is_some() && form.key_pem.is_none() {
        return Err(Refused::new(
            ErrorCode::EncryptionMissing,
            "evidence with a nonce binds encrypt.publicKey too",
        )
        .into());
    }
    let evidence = call
        .host
        .verify_evidence(platform, attestation.get().as_bytes())
        .map_err(|error| match error {
            EvidenceError::UnsupportedPlatform => unsupported(platform.as_str()),
            EvidenceError::Failed(reason) => Refused::new(
                ErrorCode::VerifySnpAttestationFailed,
                format!("evidence does not verify: {reason}"),
            ),
        })?;
    // What the request alone gives away comes before the first look at state, so that it is refused
    // before the writer sees it (decision 58). Without a nonce there is no more than that.
    if nonce.is_none() {
        check_static(rule(platform)?)?;
    }
    check_binding(call, &form, nonce.as_ref(), platform, &evidence)?;
    check_signature(call, body, &form, nonce.as_ref())?;
    check_unused(call, nonce.as_ref())?;
    Ok(Proof {
        platform,
        evidence,
        key_pem: form.key_pem,
        nonce,
        data: form.data,
    })
}

fn unsupported(name: &str) -> Refused {
    Refused::new(
        ErrorCode::UnsupportedPlatform,
        format!("platform {name:.64} is not accepted here"),
    )
}

/// The request's parts, decoded.
struct Form {
    key_pem: Option<String>,
    data: Vec<u8>,
    signature: Option<Vec<u8>>,
}

fn read_form(body: &Body, binding: Binding) -> Result<Form, Refused> {
    let decode = |what: &str, text: &str| {
        b64::decode(text)
            .map_err(|e| Refused::new(ErrorCode::InvalidInput, format!("{what} is not base64: {e}")))
    };
    let pem = |what: &str, text: &str| {
        String::from_utf8(decode(what, text)?)
            .map_err(|_| Refused::new(ErrorCode::InvalidInput, format!("{what} is not PEM text")))
    };
    let encrypt = body
        .encrypt
        .as_ref()
        .map(|to| pem("encrypt.publicKey", &to.public_key))
        .transpose()?;
    if matches!(binding, Binding::Encrypt | Binding::EncryptAndSign) && encrypt.is_none() {
        return Err(Refused::new(
            ErrorCode::EncryptionMissing,
            "encrypt.publicKey is missing",
        ));
    }
    if !binding.signed() {
        return Ok(Form {
            key_pem: encrypt,
            data: Vec::new(),
            signature: None,
        });
    }
    let sign = body
        .sign
        .as_ref()
        .ok_or_else(|| Refused::new(ErrorCode::SignatureMissing, "sign is missing"))?;
    let signer = pem("sign.publicKey", &sign.public_key)?;
    if encrypt.as_ref().is_some_and(|key| *key != signer) {
        return Err(Refused::new(
            ErrorCode::SignatureMismatch,
            "sign.publicKey is not encrypt.publicKey; the attested key must sign",
        ));
    }
    let data = body
        .data
        .as_deref()
        .ok_or_else(|| Refused::new(ErrorCode::DataMissing, "data is missing"))?;
    Ok(Form {
        key_pem: Some(signer),
        data: decode("data", data)?,
        signature: Some(decode("sign.signature", &sign.signature)?),
    })
}

/// Evidence without a nonce is for contracts that take it.
fn check_static(rule: StaticRule) -> Result<(), Refused> {
    match rule {
        StaticRule::Allowed => Ok(()),
        StaticRule::NoPolicy => Err(Refused::new(
            ErrorCode::VerifySnpAttestationFailed,
            POLICY_MISSING,
        )),
        StaticRule::Refused => Err(Refused::new(
            ErrorCode::NonceMissing,
            "no alternative for this platform takes evidence without a nonce; get one by POST /attestation/nonce",
        )),
    }
}

fn read_nonce(call: &Call<'_>, body: &Body) -> Result<Option<FreshNonce>, Refused> {
    let Some(text) = body.nonce.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let invalid = |why: &str| Refused::new(ErrorCode::NonceInvalid, why.to_owned());
    let bytes = b64::decode(text).map_err(|_| invalid("the nonce is not base64"))?;
    let expiry = call
        .host
        .check_nonce(&bytes)
        .map_err(|e| invalid(&e.to_string()))?;
    let key = format!("{expiry:013}-{}", hex::encode(&bytes));
    Ok(Some(FreshNonce {
        key,
        text: text.to_owned(),
        bytes: bytes.try_into().map_err(|_| invalid("a nonce has 32 bytes"))?,
    }))
}

/// Last of all, since it needs state.
fn check_unused(call: &Call<'_>, nonce: Option<&FreshNonce>) -> Result<(), Failure> {
    match nonce {
        Some(nonce) if USED_NONCES.has(call.state, &nonce.key)? => Err(Refused::new(
            ErrorCode::NonceInvalid,
            "the nonce was used before; every request needs a new one",
        )
        .into()),
        _ => Ok(()),
    }
}

/// Report data must bind the key's text, and the nonce for this very service, or nothing else with
/// static evidence; and the key must be an RSA key, so that reports made for other purposes cannot
/// be used here.
fn check_binding(
    call: &Call<'_>,
    form: &Form,
    nonce: Option<&FreshNonce>,
    platform: Platform,
    evidence: &VerifiedEvidence,
) -> Result<(), Failure> {
    let Some(pem) = &form.key_pem else {
        return Ok(());
    };
    let service = call.host.service()?;
    let bound = nonce.map_or(Bound::KeyAlone, |nonce| Bound::Nonce {
        nonce: &nonce.bytes,
        service: &service,
    });
    let expected = report_data(pem, bound, |message| call.host.sha256(message));
    if evidence.report_data != expected {
        return Err(Refused::new(
            ErrorCode::ReportDataMismatch,
            format!(
                "report data does not bind the key's PEM text and the nonce for service {service}; \
                 evidence made for another service is not taken"
            ),
        )
        .into());
    }
    // Not "if the quote has a nonce": one without could be old, and its registers with it.
    if nonce.is_some() && platform == Platform::SnpCvm && evidence.quote_nonce != quote_nonce(&expected) {
        return Err(Refused::new(
            ErrorCode::NonceInvalid,
            "the quote's nonce is not the second half of report data",
        )
        .into());
    }
    match call.host.rsa_bits(pem) {
        Ok(bits) if RSA_BITS.contains(&bits) => Ok(()),
        Ok(bits) => Err(Refused::new(
            ErrorCode::InvalidInput,
            format!("the bound key has {bits} bits; RSA keys of 2048 to 4096 bits are accepted"),
        )
        .into()),
        Err(error) => Err(Refused::new(
            ErrorCode::InvalidInput,
            format!("the bound key is not an RSA key: {error}"),
        )
        .into()),
    }
}

/// The attested key must have signed this very request; static requests, in the reference's form,
/// sign the payload alone.
fn check_signature(
    call: &Call<'_>,
    body: &Body,
    form: &Form,
    nonce: Option<&FreshNonce>,
) -> Result<(), Refused> {
    let (Some(signature), Some(pem)) = (&form.signature, &form.key_pem) else {
        return Ok(());
    };
    let text;
    let message = match nonce {
        None => form.data.as_slice(),
        Some(nonce) => {
            let timestamp = timestamp_digits(body.timestamp.as_ref())?;
            let at: u64 = timestamp.parse().unwrap_or(u64::MAX);
            if at.abs_diff(call.now_ms()) > CLOCK_SKEW_MS_MAX {
                return Err(Refused::new(
                    ErrorCode::TimestampOutOfRange,
                    "timestamp is more than five minutes off this service's time",
                ));
            }
            let request = call.request;
            let data = call.host.sha256(&form.data);
            text = signed_text(&request.method, &request.target, &nonce.text, &timestamp, &data);
            text.as_bytes()
        }
    };
    let verified = call
        .host
        .verify_signature(SignatureAlg::RsaPssSha256, pem, message, signature);
    if verified == Ok(true) {
        return Ok(());
    }
    Err(Refused::new(
        ErrorCode::SignatureMismatch,
        "the signature is not of this request under the attested key",
    ))
}

/// `timestamp` as digits: a decimal string or a whole number of milliseconds.
pub(crate) fn timestamp_digits(timestamp: Option<&JsonValue>) -> Result<String, Refused> {
    let text = match timestamp {
        None | Some(JsonValue::Null) => String::new(),
        Some(JsonValue::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.is_empty() {
        return Err(Refused::new(ErrorCode::TimestampMissing, "timestamp is missing"));
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refused::new(
            ErrorCode::InvalidInput,
            "timestamp is Unix milliseconds in decimal digits",
        ));
    }
    if text.len() > 13 {
        return Err(Refused::new(
            ErrorCode::TimestampTooLarge,
            "timestamp has more than 13 digits",
        ));
    }
    Ok(text)
}
