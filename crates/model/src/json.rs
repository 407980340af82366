//! JSON as people and other programs send it: texts in which no object has a key twice, and texts
//! behind a byte order mark.
//!
//! Of a repeated key one reader takes the first value and another the last. Members would vote on
//! what they read, and the service would carry out something else.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The text behind a UTF-8 byte order mark, which programs of one vendor put in front and which
/// RFC 8259 §8.1 lets a reader skip.
#[must_use]
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Checks a text and keeps nothing of it.
///
/// # Errors
///
/// The parser's, or one that names the repeated key and where it is.
pub fn check_unique_keys(text: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<UniqueKeys>(text).map(|UniqueKeys| ())
}

/// A number that readers here would round.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the number {0} would be rounded; write it as text")]
pub struct Rounded(String);

/// Checks that every number of a JSON text keeps its value in 64 bits: what its author wrote is
/// what others vote on and what is carried out. The text itself is not judged.
///
/// # Errors
///
/// [`Rounded`] with the first number that does not.
pub fn check_numbers(text: &[u8]) -> Result<(), Rounded> {
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = match first {
            b'"' => after_string(tail),
            b'-' | b'0'..=b'9' => {
                let end = tail.iter().position(|b| !b"+-.eE0123456789".contains(b));
                let length = end.unwrap_or(tail.len()).saturating_add(1);
                let (number, behind) = rest.split_at_checked(length).unwrap_or((rest, b""));
                let number = String::from_utf8_lossy(number);
                if !is_exact(&number) {
                    return Err(Rounded(number.chars().take(64).collect()));
                }
                behind
            }
            _ => tail,
        };
    }
    Ok(())
}

fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some((first, tail)) = rest.split_first() {
        rest = match first {
            b'"' => return tail,
            b'\\' => tail.split_first().map_or(tail, |(_, tail)| tail),
            _ => tail,
        };
    }
    rest
}

fn is_exact(number: &str) -> bool {
    if !number.contains(['.', 'e', 'E']) {
        return number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
    }
    // The digits that count, without the point and zeros around them.
    let digits = |text: &str| -> String {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        digits.trim_matches('0').to_owned()
    };
    // The shortest text that means this very double has the same ones.
    number
        .parse::<f64>()
        .is_ok_and(|value| value.is_finite() && digits(&format!("{value:e}")) == digits(number))
}

struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_i64<E>(self, _: i64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_u64<E>(self, _: u64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_f64<E>(self, _: f64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_str<E>(self, _: &str) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_unit<E>(self) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<UniqueKeys, A::Error> {
        while items.next_element::<UniqueKeys>()?.is_some() {}
        Ok(UniqueKeys)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<UniqueKeys, A::Error> {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            if seen.contains(&key) {
                let shown: String = key.chars().take(64).collect();
                return Err(A::Error::custom(format!("the key {shown:?} occurs twice")));
            }
            seen.insert(key);
            fields.next_value::<UniqueKeys>()?;
        }
        Ok(UniqueKeys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_occur_once_in_each_object() {
        check_unique_keys(br#"{"a":[{"a":1.5,"b":null},{"a":true}],"b":{"a":"x\n"},"c":-7}"#).unwrap();
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"[{"x":{"b":1,"c":2,"b":3}}]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let error = check_unique_keys(twice.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("occurs twice"), "{twice}: {error}");
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_are_named() {
        for good in [
            "0",
            "-1",
            "18446744073709551615",
            "-9223372036854775808",
            "1.50",
            "1e2",
            "-0.0",
            "0.30000000000000004",
            "1.7976931348623157e308",
            r#"{"a":"12345678901234567890123","b\"9e999":[1]}"#,
        ] {
            assert_eq!(check_numbers(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "18446744073709551616",
            "-9223372036854775809",
            "12345678901234567890123",
            "0.1234567890123456789",
            "1e999",
            "1e-999",
        ] {
            let text = format!(r#"{{"a\\":[1,{{"b":{bad}}}]}}"#);
            assert_eq!(
                check_numbers(text.as_bytes()),
                Err(Rounded(bad.to_owned())),
                "{bad}"
            );
        }
    }

    #[test]
    fn one_byte_order_mark_is_skipped_and_no_more() {
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), b"{}");
        assert_eq!(without_mark(b"{}"), b"{}");
        assert_eq!(without_mark(b"\xef\xbb\xbf\xef\xbb\xbf{}"), b"\xef\xbb\xbf{}");
    }
}
