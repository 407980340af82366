//! Identifiers of contracts, documents, runs and the like.
//!
//! One alphabet for all: `[A-Za-z0-9._-]{1,128}`, case-sensitive, and neither `.` nor `..`, since
//! ids become path segments (decision 29). None contains `/`, which joins composite keys.

use std::fmt;
use std::str::FromStr;

use kv::codec::{Key, Malformed};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest identifier, in bytes.
pub const IDENTIFIER_LEN_MAX: usize = 128;

/// Why a text is not an identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidIdentifier {
    /// Empty or too long.
    #[error("an identifier has 1 to {IDENTIFIER_LEN_MAX} characters, this has {0} bytes")]
    Length(usize),
    /// A byte outside the alphabet.
    #[error("an identifier consists of A-Z a-z 0-9 . _ - only, found byte {0:#04x}")]
    Byte(u8),
    /// `.` or `..`.
    #[error("an identifier must not be . or ..")]
    Dots,
}

fn check(text: &str) -> Result<(), InvalidIdentifier> {
    if text.is_empty() || text.len() > IDENTIFIER_LEN_MAX {
        return Err(InvalidIdentifier::Length(text.len()));
    }
    if let Some(byte) = text
        .bytes()
        .find(|b| !b.is_ascii_alphanumeric() && !b"._-".contains(b))
    {
        return Err(InvalidIdentifier::Byte(byte));
    }
    if text == "." || text == ".." {
        return Err(InvalidIdentifier::Dots);
    }
    Ok(())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(String);

        impl $name {
            /// The identifier's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Prefix of composite keys that start with this identifier: the text and a `/`.
            #[must_use]
            pub fn key_prefix(&self) -> Vec<u8> {
                format!("{}/", self.0).into_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidIdentifier;

            fn from_str(text: &str) -> Result<Self, InvalidIdentifier> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Key for $name {
            fn to_bytes(&self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
                std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| Malformed("not an identifier".into()))
            }
        }
    };
}

identifier!(
    /// A contract.
    ContractId
);
identifier!(
    /// A member or user document, unique within its contract.
    DocumentId
);
identifier!(
    /// One execution of a query, chosen by whoever asks for it.
    RunId
);
identifier!(
    /// Any other name in a key: a secret, an option, a policy alternative, an event series, a user.
    Identifier
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_and_the_length_are_enforced() {
        for good in ["a", "A-1_b.c", "...", &"x".repeat(128)] {
            assert!(good.parse::<ContractId>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a%2f", &"x".repeat(129)] {
            assert!(bad.parse::<ContractId>().is_err(), "{bad}");
        }
    }
}
