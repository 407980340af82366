//! Ids: parsed once, then trusted.

use std::fmt;
use std::str::FromStr;

use kv::codec::{Key, Malformed};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is not 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected 64 lower-case hex digits")]
pub struct InvalidHex;

/// A SHA-256 digest; 64 lower-case hex digits on the wire.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Thirty-two zero bytes: the claims digest of an entry without claims, and leaf 0.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidHex);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidHex)?;
        Ok(Self(bytes))
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidHex;

            fn from_str(text: &str) -> Result<Self, InvalidHex> {
                text.parse().map(Self)
            }
        }

        hex_text!($name);
    };
}

macro_rules! hex_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        impl Key for $name {
            fn to_bytes(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
                std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| Malformed(InvalidHex.to_string()))
            }
        }
    };
}

hex_text!(Digest);
hex_id!(
    /// A member: SHA-256 of its certificate's DER.
    MemberId
);
hex_id!(
    /// A user with a certificate: SHA-256 of the certificate's DER.
    UserId
);
hex_id!(
    /// A node: SHA-256 of its public key's SPKI DER.
    NodeId
);
hex_id!(
    /// A service: SHA-256 of the SPKI DER of its certificate's key. A renewed certificate keeps
    /// it, all nodes share it, a recovery ends it (decision 43).
    ServiceId
);
hex_id!(
    /// A member proposal: SHA-256 over the root that was read and the request's digest.
    ProposalId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_an_id() {
        let good = "ab".repeat(32);
        assert_eq!(
            good.parse::<MemberId>().map(|id| id.to_string()),
            Ok(good.clone())
        );
        for bad in [
            good.to_uppercase(),
            good[1..].to_owned(),
            format!("{good}0"),
            "zz".repeat(32),
        ] {
            assert!(bad.parse::<MemberId>().is_err(), "{bad}");
        }
    }
}
