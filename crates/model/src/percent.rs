//! Percent escapes of paths and queries (RFC 3986 §2.1), read once, strictly, and everywhere alike.
//!
//! A reader that lets a broken escape stand sees another name than one that refuses it; between the
//! two lies room for requests that mean one thing to a proxy and another to us.

/// An escape that is none, or bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a percent escape is malformed, or what it stands for is not UTF-8")]
pub struct Malformed;

/// The text that a segment of a path stands for. `+` is a plus sign there.
///
/// # Errors
///
/// [`Malformed`] if a `%` is not followed by two hex digits, or the bytes are not UTF-8.
pub fn decode_path(text: &str) -> Result<String, Malformed> {
    decode(text, b'+')
}

/// The text that a name or value in a query stands for. `+` is a blank there, as forms write it
/// (WHATWG URL §5.1).
///
/// # Errors
///
/// As [`decode_path`].
pub fn decode_query(text: &str) -> Result<String, Malformed> {
    decode(text, b' ')
}

/// A query's names and values in their order, decoded; empty parts are harmless. Which names may
/// repeat is the caller's to say.
///
/// # Errors
///
/// As [`decode_path`].
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, Malformed> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode_query(name)?, decode_query(value)?))
        })
        .collect()
}

fn decode(text: &str, plus: u8) -> Result<String, Malformed> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let (digits, tail) = tail.split_at_checked(2).ok_or(Malformed)?;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).map_err(|_| Malformed)?;
                bytes.extend(byte);
                rest = tail;
            }
            b'+' => bytes.push(plus),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_is_a_blank_in_queries_only_and_escapes_are_read_once() {
        for (text, path, query) in [
            ("a+b", "a+b", "a b"),
            ("a%2Bb", "a+b", "a+b"),
            ("a%20b", "a b", "a b"),
            ("%c3%a9", "\u{e9}", "\u{e9}"),
            ("\u{e9}", "\u{e9}", "\u{e9}"),
            ("%2525", "%25", "%25"),
            ("", "", ""),
        ] {
            assert_eq!(decode_path(text).as_deref(), Ok(path), "{text}");
            assert_eq!(decode_query(text).as_deref(), Ok(query), "{text}");
        }
    }

    #[test]
    fn broken_escapes_are_refused_wherever_they_stand() {
        for bad in [
            "%", "%4", "a%", "%zz", "%4g", "%%41", "%-1", "%+1", "% 1", "%ff", "%c3%28", "%u0041",
        ] {
            assert_eq!(decode_path(bad), Err(Malformed), "{bad}");
            assert_eq!(decode_query(bad), Err(Malformed), "{bad}");
            assert_eq!(pairs(&format!("a=1&{bad}=2")), Err(Malformed), "{bad}");
            assert_eq!(pairs(&format!("a={bad}")), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn names_are_decoded_too_and_only_the_first_equals_sign_divides() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs("&&api%2Dversion=1=2&flag&=x&"),
            Ok(vec![pair("api-version", "1=2"), pair("flag", ""), pair("", "x")])
        );
    }
}
