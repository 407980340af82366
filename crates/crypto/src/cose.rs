//! COSE_Sign1 (RFC 9052 §4.2): members' requests, the ledger's signatures, receipts, endorsements.
//!
//! Reading keeps the protected header as it was received and verifies over exactly those bytes;
//! nothing is ever re-encoded to be checked. The unprotected header is unsigned: it is kept as
//! bytes and read only by those who ask. Sizes are bounded by the caller's body limit and by the
//! constants here; no length in the input causes an allocation before the bytes are there.

use ciborium::Value;

use crate::spki::{self, KeyKind};
use crate::verify::{BadSignature, SignatureAlg, VerifySignature};

/// Largest protected or unprotected header read, in bytes: a certificate chain fits.
pub const HEADER_SIZE_MAX: usize = 64 * 1024;
/// Most entries of a protected header.
pub const HEADER_COUNT_MAX: usize = 64;
/// Deepest nesting of values in a header.
const DEPTH_MAX: usize = 16;

/// Header labels registered for COSE (RFC 9052 §3.1, RFC 9597).
pub mod label {
    /// Signature algorithm.
    pub const ALG: i64 = 1;
    /// Headers the receiver must understand.
    pub const CRIT: i64 = 2;
    /// Content type of the payload.
    pub const CONTENT_TYPE: i64 = 3;
    /// Key identifier.
    pub const KID: i64 = 4;
    /// CWT claims.
    pub const CWT_CLAIMS: i64 = 15;
    /// Certificate chain, leaf first.
    pub const X5CHAIN: i64 = 33;
}

/// A header's label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Label<'a> {
    /// A registered number.
    Int(i64),
    /// A name.
    Text(&'a str),
}

impl Label<'_> {
    fn value(self) -> Value {
        match self {
            Self::Int(number) => Value::from(number),
            Self::Text(name) => Value::from(name),
        }
    }
}

/// What every reader of a COSE_Sign1 here understands.
const COMMON: &[Label<'static>] = &[
    Label::Int(label::ALG),
    Label::Int(label::CONTENT_TYPE),
    Label::Int(label::KID),
];

/// A COSE_Sign1 that cannot be read or does not verify.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CoseError {
    /// Not a COSE_Sign1 with tag 18 and definite lengths; says what was expected.
    #[error("not a COSE_Sign1: expected {0}")]
    Malformed(&'static str),
    /// A header above [`HEADER_SIZE_MAX`] bytes or [`HEADER_COUNT_MAX`] entries.
    #[error("a COSE header is too large")]
    HeaderTooLarge,
    /// One label twice in the protected header.
    #[error("a COSE header label occurs twice")]
    DuplicateLabel,
    /// The header demands understanding (`crit`, RFC 9052 §3.1) in a way that is none, or of
    /// something that is absent or that the reader of this message does not know.
    #[error("critical COSE headers: {0}")]
    Critical(String),
    /// No `alg`, or one that does not go with the key.
    #[error("COSE algorithm {alg:?} does not go with a {key} key")]
    Algorithm {
        /// The number in the header.
        alg: Option<i64>,
        /// The key it was to be used with.
        key: KeyKind,
    },
    /// Both an attached and a detached payload, or neither.
    #[error("the COSE payload must be either attached or given separately")]
    Payload,
    /// The signature or the key.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// A parsed COSE_Sign1. Nothing about it has been verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Sign1 {
    protected: Vec<u8>,
    headers: Vec<(Value, Value)>,
    unprotected: Vec<u8>,
    payload: Option<Vec<u8>>,
    signature: Vec<u8>,
}

/// The protected header of a message whose rest may not have arrived yet.
#[derive(Clone, Debug)]
pub struct Sign1Head {
    headers: Vec<(Value, Value)>,
}

impl Sign1Head {
    /// Reads the head of a tagged COSE_Sign1 (RFC 9052 §4.2): tag, array and protected header, complete.
    /// Nothing is known of what follows, and nothing is proved.
    ///
    /// # Errors
    ///
    /// [`CoseError`] if the bytes do not begin like that.
    pub fn parse(begun: &[u8]) -> Result<Self, CoseError> {
        let mut reader = Reader(begun);
        if reader.head()? != (6, 18) {
            return Err(CoseError::Malformed("tag 18"));
        }
        if reader.head()? != (4, 4) {
            return Err(CoseError::Malformed("an array of four"));
        }
        let protected = reader.byte_string("the protected header as a byte string")?;
        Ok(Self {
            headers: parse_protected(protected)?,
        })
    }

    /// `alg`, if present and an integer.
    #[must_use]
    pub fn alg(&self) -> Option<i64> {
        self.int_header(1).and_then(integer)
    }

    /// `kid`, if present and a byte string.
    #[must_use]
    pub fn kid(&self) -> Option<&[u8]> {
        self.int_header(4).and_then(Value::as_bytes).map(Vec::as_slice)
    }

    fn int_header(&self, label: i64) -> Option<&Value> {
        let found = |(known, _): &&(Value, Value)| integer(known) == Some(label);
        self.headers.iter().find(found).map(|(_, value)| value)
    }
}

impl Sign1 {
    /// Reads a tagged COSE_Sign1 that fills `bytes` exactly.
    ///
    /// # Errors
    ///
    /// [`CoseError`] saying what was expected or which bound was exceeded.
    pub fn parse(bytes: &[u8]) -> Result<Self, CoseError> {
        let mut reader = Reader(bytes);
        if reader.head()? != (6, 18) {
            return Err(CoseError::Malformed("tag 18"));
        }
        if reader.head()? != (4, 4) {
            return Err(CoseError::Malformed("an array of four"));
        }
        let protected = reader.byte_string("the protected header as a byte string")?;
        let unprotected = reader.map_bytes()?;
        let payload = match reader.0.split_first() {
            Some((0xf6, rest)) => {
                reader.0 = rest;
                None
            }
            _ => Some(reader.byte_string("a byte string or nil as payload")?.to_vec()),
        };
        let signature = reader.byte_string("the signature as a byte string")?;
        if !reader.0.is_empty() {
            return Err(CoseError::Malformed("nothing after the signature"));
        }
        if unprotected.len() > HEADER_SIZE_MAX {
            return Err(CoseError::HeaderTooLarge);
        }
        Ok(Self {
            headers: parse_protected(protected)?,
            protected: protected.to_vec(),
            unprotected: unprotected.to_vec(),
            payload,
            signature: signature.to_vec(),
        })
    }

    /// The protected header as received: what the signature covers.
    #[must_use]
    pub fn protected(&self) -> &[u8] {
        &self.protected
    }

    /// `alg`, if present and an integer.
    #[must_use]
    pub fn alg(&self) -> Option<i64> {
        integer(self.int_header(label::ALG)?)
    }

    /// `kid`, if present and a byte string.
    #[must_use]
    pub fn kid(&self) -> Option<&[u8]> {
        self.int_header(label::KID)?.as_bytes().map(Vec::as_slice)
    }

    /// The protected header with this integer label.
    #[must_use]
    pub fn int_header(&self, label: i64) -> Option<&Value> {
        self.header(&Value::from(label))
    }

    /// The protected header with this text label.
    #[must_use]
    pub fn text_header(&self, name: &str) -> Option<&Value> {
        self.header(&Value::from(name))
    }

    /// The payload, unless it is detached.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.payload.as_deref()
    }

    /// The signature bytes.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The unprotected header. It is not signed: only what proves itself may be taken from it.
    ///
    /// # Errors
    ///
    /// [`CoseError::Malformed`] if it is not a map, or nested too deeply.
    pub fn unprotected(&self) -> Result<Vec<(Value, Value)>, CoseError> {
        parse_map(&self.unprotected, "the unprotected header as a map")
    }

    /// Verifies the signature with the public key in `spki_der`. `detached` is the payload where
    /// the message carries none.
    ///
    /// The algorithm must be the one that belongs to the key: ES256, ES384 or ES512 by curve, any
    /// of PS256, PS384, PS512 for RSA. `understood` are the headers that the caller reads besides
    /// those that everybody must (RFC 9052 §3.1): a message may call those critical, and no others.
    ///
    /// # Errors
    ///
    /// [`CoseError`] saying whether header, payload, key or signature is at fault.
    pub fn verify(
        &self,
        spki_der: &[u8],
        detached: Option<&[u8]>,
        understood: &[Label<'_>],
        verifier: &dyn VerifySignature,
    ) -> Result<(), CoseError> {
        self.check_critical(understood)?;
        let payload = match (self.payload(), detached) {
            (Some(payload), None) | (None, Some(payload)) => payload,
            _ => return Err(CoseError::Payload),
        };
        let key = spki::spki_key_kind(spki_der).map_err(|error| BadSignature::Key(error.to_string()))?;
        let alg = match (self.alg(), key) {
            (Some(-7), KeyKind::EcP256) => SignatureAlg::EcdsaSha256Fixed,
            (Some(-35), KeyKind::EcP384) => SignatureAlg::EcdsaSha384Fixed,
            (Some(-36), KeyKind::EcP521) => SignatureAlg::EcdsaSha512Fixed,
            (Some(-37), KeyKind::Rsa(_)) => SignatureAlg::RsaPssSha256,
            (Some(-38), KeyKind::Rsa(_)) => SignatureAlg::RsaPssSha384,
            (Some(-39), KeyKind::Rsa(_)) => SignatureAlg::RsaPssSha512,
            (alg, key) => return Err(CoseError::Algorithm { alg, key }),
        };
        verifier.verify(
            alg,
            spki_der,
            &to_be_signed(&self.protected, payload),
            &self.signature,
        )?;
        Ok(())
    }

    /// `crit` lists labels, each of which must be in the protected header and understood; and it
    /// stands in the protected header itself, or it protects nothing.
    fn check_critical(&self, understood: &[Label<'_>]) -> Result<(), CoseError> {
        let fault = |text: &str| Err(CoseError::Critical(text.to_owned()));
        let unprotected = self.unprotected().unwrap_or_default();
        if unprotected
            .iter()
            .any(|(name, _)| *name == Value::from(label::CRIT))
        {
            return fault("crit stands outside the protected header");
        }
        let Some(crit) = self.int_header(label::CRIT) else {
            return Ok(());
        };
        let Some(labels @ [_, ..]) = crit.as_array().map(Vec::as_slice) else {
            return fault("crit is not a list of labels");
        };
        for name in labels {
            let shown = match name {
                Value::Text(text) => format!("{text:.64?}"),
                Value::Integer(number) => i128::from(*number).to_string(),
                _ => return fault("crit is not a list of labels"),
            };
            if self.header(name).is_none() {
                return fault(&format!("{shown} is called critical and absent"));
            }
            let mut known = COMMON.iter().chain(understood).copied().map(Label::value);
            if !known.any(|label| label == *name) {
                return fault(&format!("{shown} is not understood here"));
            }
        }
        Ok(())
    }

    fn header(&self, label: &Value) -> Option<&Value> {
        self.headers
            .iter()
            .find(|(known, _)| known == label)
            .map(|(_, value)| value)
    }
}

/// A protected header being written; entries appear in the order in which they are added, since
/// that order is part of what existing ledgers contain.
#[derive(Clone, Debug, Default)]
pub struct ProtectedHeader(Vec<(Value, Value)>);

impl ProtectedHeader {
    /// Without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry with an integer label.
    #[must_use]
    pub fn int(mut self, label: i64, value: impl Into<Value>) -> Self {
        self.0.push((Value::from(label), value.into()));
        self
    }

    /// Adds an entry with a text label.
    #[must_use]
    pub fn text(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push((Value::from(name), value.into()));
        self
    }

    /// The encoded map: what goes into the message and under the signature.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        encode(&Value::Map(self.0))
    }
}

/// The bytes a COSE_Sign1 signature covers: the `Sig_structure` of RFC 9052 §4.4 without external
/// data.
#[must_use]
pub fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    const CONTEXT: &str = "Signature1";
    let mut out = Vec::with_capacity(protected.len().saturating_add(payload.len()).saturating_add(32));
    write_head(&mut out, 4, 4);
    write_head(&mut out, 3, CONTEXT.len());
    out.extend_from_slice(CONTEXT.as_bytes());
    write_byte_string(&mut out, protected);
    write_byte_string(&mut out, &[]);
    write_byte_string(&mut out, payload);
    out
}

/// A tagged COSE_Sign1 of its parts; `None` as payload means detached (nil).
#[must_use]
pub fn assemble(
    protected: &[u8],
    unprotected: &[(i64, Value)],
    payload: Option<&[u8]>,
    signature: &[u8],
) -> Vec<u8> {
    let mut out = vec![0xd2];
    write_head(&mut out, 4, 4);
    write_byte_string(&mut out, protected);
    let map = unprotected
        .iter()
        .map(|(label, value)| (Value::from(*label), value.clone()))
        .collect();
    out.extend(encode(&Value::Map(map)));
    match payload {
        Some(payload) => write_byte_string(&mut out, payload),
        None => out.push(0xf6),
    }
    write_byte_string(&mut out, signature);
    out
}

/// An integer that fits 64 bits, of a header value.
#[must_use]
pub fn integer(value: &Value) -> Option<i64> {
    i64::try_from(i128::from(value.as_integer()?)).ok()
}

fn parse_protected(bytes: &[u8]) -> Result<Vec<(Value, Value)>, CoseError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if bytes.len() > HEADER_SIZE_MAX {
        return Err(CoseError::HeaderTooLarge);
    }
    let headers = parse_map(bytes, "the protected header as a map")?;
    if headers.len() > HEADER_COUNT_MAX {
        return Err(CoseError::HeaderTooLarge);
    }
    for (index, (label, _)) in headers.iter().enumerate() {
        if !label.is_integer() && !label.is_text() {
            return Err(CoseError::Malformed("integers or texts as header labels"));
        }
        if headers.iter().take(index).any(|(earlier, _)| earlier == label) {
            return Err(CoseError::DuplicateLabel);
        }
    }
    Ok(headers)
}

fn parse_map(mut bytes: &[u8], expected: &'static str) -> Result<Vec<(Value, Value)>, CoseError> {
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, DEPTH_MAX)
        .map_err(|_| CoseError::Malformed(expected))?;
    match value {
        Value::Map(entries) if bytes.is_empty() => Ok(entries),
        _ => Err(CoseError::Malformed(expected)),
    }
}

fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("writing to memory does not fail");
    out
}

fn write_byte_string(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, 2, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes a CBOR head in the shortest form (RFC 8949 §3).
fn write_head(out: &mut Vec<u8>, major: u8, argument: usize) {
    let major = major << 5;
    if let Ok(byte) = u8::try_from(argument) {
        if byte < 24 {
            out.push(major | byte);
        } else {
            out.extend([major | 24, byte]);
        }
    } else if let Ok(short) = u16::try_from(argument) {
        out.push(major | 25);
        out.extend(short.to_be_bytes());
    } else if let Ok(word) = u32::try_from(argument) {
        out.push(major | 26);
        out.extend(word.to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend((argument as u64).to_be_bytes());
    }
}

/// Reads the envelope in place, so that its size costs nothing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Major type and argument of the next item; indefinite lengths are refused.
    fn head(&mut self) -> Result<(u8, u64), CoseError> {
        let first = self.take(1)?.first().copied().unwrap_or_default();
        let size = match first & 0x1f {
            short @ 0..=23 => return Ok((first >> 5, u64::from(short))),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(CoseError::Malformed("definite lengths")),
        };
        let argument = self
            .take(size)?
            .iter()
            .fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte));
        Ok((first >> 5, argument))
    }

    fn take(&mut self, size: u64) -> Result<&'a [u8], CoseError> {
        let (taken, rest) = usize::try_from(size)
            .ok()
            .and_then(|size| self.0.split_at_checked(size))
            .ok_or(CoseError::Malformed("more bytes"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte_string(&mut self, expected: &'static str) -> Result<&'a [u8], CoseError> {
        match self.head()? {
            (2, size) => self.take(size),
            _ => Err(CoseError::Malformed(expected)),
        }
    }

    /// The bytes of a map, without looking inside.
    fn map_bytes(&mut self) -> Result<&'a [u8], CoseError> {
        let start = self.0;
        if start.first().is_none_or(|first| first >> 5 != 5) {
            return Err(CoseError::Malformed("the unprotected header as a map"));
        }
        // Every head consumes a byte, so this ends with the input at the latest.
        let mut pending: u64 = 1;
        while let Some(after) = pending.checked_sub(1) {
            let (major, argument) = self.head()?;
            let children = match major {
                2 | 3 => {
                    self.take(argument)?;
                    0
                }
                4 => argument,
                5 => argument.saturating_mul(2),
                6 => 1,
                _ => 0,
            };
            pending = after.saturating_add(children);
            if pending == 0 {
                break;
            }
        }
        Ok(start.strip_suffix(self.0).unwrap_or(start))
    }
}

#[cfg(test)]
mod tests;
