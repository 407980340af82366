//! Strict access to the fields of an evidence object: bounded, typed, `null` is not "absent".

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::Rejected;

/// Longest evidence object that is read at all, in bytes of JSON text.
pub const EVIDENCE_SIZE_MAX: usize = 256 * 1024;

/// Reads JSON text, refusing objects in which a member occurs twice.
///
/// Of two members with one name, which one counts depends on the reader; evidence must not
/// leave room for that.
///
/// # Errors
///
/// [`Rejected::Malformed`] if the text is too long, not JSON, or ambiguous.
pub fn parse_json(text: &[u8]) -> Result<Value, Rejected> {
    let malformed = |problem: String| Rejected::Malformed {
        field: "attestation",
        problem,
    };
    if text.len() > EVIDENCE_SIZE_MAX {
        return Err(malformed(format!("longer than {EVIDENCE_SIZE_MAX} bytes")));
    }
    serde_json::from_slice(text)
        .map(|Unambiguous(value)| value)
        .map_err(|error| malformed(error.to_string()))
}

/// The members of the object `value`.
pub(crate) fn object<'a>(value: &'a Value, field: &'static str) -> Result<&'a Map<String, Value>, Rejected> {
    value
        .as_object()
        .ok_or_else(|| malformed(field, "expected an object"))
}

/// The object that is member `field`.
pub(crate) fn member<'a>(
    map: &'a Map<String, Value>,
    field: &'static str,
) -> Result<&'a Map<String, Value>, Rejected> {
    object(map.get(field).ok_or(Rejected::Missing(field))?, field)
}

/// The text that is member `field`.
pub(crate) fn text<'a>(map: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, Rejected> {
    optional_text(map, field)?.ok_or(Rejected::Missing(field))
}

/// The text that is member `field`, if there is such a member.
pub(crate) fn optional_text<'a>(
    map: &'a Map<String, Value>,
    field: &'static str,
) -> Result<Option<&'a str>, Rejected> {
    map.get(field)
        .map(|value| {
            value
                .as_str()
                .ok_or_else(|| malformed(field, "expected a string"))
        })
        .transpose()
}

/// Bytes from canonical base64 `text`, at most `size_max` of them.
pub(crate) fn bytes(text: &str, field: &'static str, size_max: usize) -> Result<Vec<u8>, Rejected> {
    if text.len() / 4 > size_max.div_ceil(3) {
        return Err(malformed(field, &format!("longer than {size_max} bytes")));
    }
    let decoded = model::b64::decode(text).map_err(|error| malformed(field, &format!("base64: {error}")))?;
    if decoded.len() > size_max {
        return Err(malformed(field, &format!("longer than {size_max} bytes")));
    }
    Ok(decoded)
}

/// The lower-case hex text of exactly `N` bytes.
pub(crate) fn hex_array<const N: usize>(text: &str, field: &'static str) -> Result<[u8; N], Rejected> {
    let mut array = [0; N];
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) || hex::decode_to_slice(text, &mut array).is_err() {
        return Err(malformed(field, &format!("expected {N} bytes in lower-case hex")));
    }
    Ok(array)
}

/// A complaint about `field`.
pub(crate) fn malformed(field: &'static str, problem: &str) -> Rejected {
    Rejected::Malformed {
        field,
        problem: problem.to_owned(),
    }
}

/// A JSON value whose objects have each member once. Depth is bounded by the JSON reader (128).
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnambiguousVisitor).map(Self)
    }
}

struct UnambiguousVisitor;

impl<'de> Visitor<'de> for UnambiguousVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unambiguous(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let Unambiguous(value) = members.next_value()?;
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("member '{name}' occurs twice")));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_that_occurs_twice_is_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"pcrs":{"0":"x","1":"y","0":"z"}}"#,
            r#"[{"a":[{"b":1,"b":2}]}]"#,
        ] {
            assert!(
                matches!(parse_json(text.as_bytes()), Err(Rejected::Malformed { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn unambiguous_text_reads_as_any_json_reader_reads_it() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"\u00e9"],"b":{"a":{}}}"#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse_json(text.as_bytes()), Ok(plain));
    }

    #[test]
    fn null_is_not_absent() {
        let value = json!({ "evidence": null });
        let map = object(&value, "attestation").unwrap();
        assert!(matches!(
            optional_text(map, "evidence"),
            Err(Rejected::Malformed {
                field: "evidence",
                ..
            })
        ));
        assert_eq!(optional_text(map, "endorsed_tcb"), Ok(None));
    }

    #[test]
    fn base64_is_canonical_and_bounded() {
        assert_eq!(bytes("AAA=", "evidence", 2), Ok(vec![0, 0]));
        for bad in ["AAA", "AAB=", "AA==\n", "AA-_", "AAAA", "AAAAAAAA"] {
            assert!(bytes(bad, "evidence", 2).is_err(), "{bad}");
        }
    }
}
