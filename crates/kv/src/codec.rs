//! How keys and values look as bytes (`ledger-host.md` §1.8).
//!
//! JSON is compact with sorted keys, so that equal values are equal bytes on every node.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tx_id::TxId;

/// Bytes do not decode as the table's type. On a table of ours this is a host bug or corruption.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("stored bytes do not decode: {0}")]
pub struct Malformed(pub String);

/// A key type of a table.
pub trait Key: Sized {
    /// The key's bytes.
    fn to_bytes(&self) -> Vec<u8>;
    /// The key from its bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes were not made by [`Key::to_bytes`].
    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed>;
}

/// A value type of a table.
pub trait Value: Sized {
    /// The value's bytes.
    fn to_bytes(&self) -> Vec<u8>;
    /// The value from its bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes were not made by [`Value::to_bytes`].
    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed>;
}

/// A value stored as canonical JSON.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Json<T>(pub T);

/// Compact JSON with sorted object keys.
///
/// Types of ours always serialise; a failure means a map with non-text keys, which is a bug.
#[must_use]
pub fn canonical_json<T: Serialize>(value: &T) -> Vec<u8> {
    let tree = serde_json::to_value(value).expect("our types have text keys only");
    serde_json::to_vec(&tree).expect("a JSON tree serialises")
}

impl<T: Serialize + DeserializeOwned> Value for Json<T> {
    fn to_bytes(&self) -> Vec<u8> {
        canonical_json(&self.0)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(bytes)
            .map(Json)
            .map_err(|e| Malformed(e.to_string()))
    }
}

/// A value or key stored as it is: PEM text, component bytes, Merkle segments.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Raw(pub Vec<u8>);

impl Value for Raw {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self(bytes.to_vec()))
    }
}

impl Key for Raw {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self(bytes.to_vec()))
    }
}

impl Raw {
    /// The bytes as text.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if they are not UTF-8.
    pub fn into_text(self) -> Result<String, Malformed> {
        String::from_utf8(self.0).map_err(|e| Malformed(e.to_string()))
    }
}

/// The only key of a table with one row: eight zero bytes.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Singleton;

impl Key for Singleton {
    fn to_bytes(&self) -> Vec<u8> {
        vec![0; 8]
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes == [0; 8] {
            Ok(Self)
        } else {
            Err(Malformed("not the singleton key".into()))
        }
    }
}

/// The value of a table that is a set: eight zero bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unit;

impl Value for Unit {
    fn to_bytes(&self) -> Vec<u8> {
        vec![0; 8]
    }

    fn from_bytes(_: &[u8]) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

impl Key for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::from_utf8(bytes.to_vec()).map_err(|e| Malformed(e.to_string()))
    }
}

/// A composite key: two parts joined by `/`, which no identifier contains.
///
/// Longer keys nest: `Pair<A, Pair<B, C>>` is `a/b/c`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pair<A, B>(pub A, pub B);

impl<A: Key, B: Key> Key for Pair<A, B> {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.to_bytes();
        bytes.push(b'/');
        bytes.extend(self.1.to_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let at = bytes
            .iter()
            .position(|b| *b == b'/')
            .ok_or_else(|| Malformed("no separator".into()))?;
        let (first, rest) = bytes.split_at(at);
        let second = rest.get(1..).unwrap_or_default();
        Ok(Self(A::from_bytes(first)?, B::from_bytes(second)?))
    }
}

impl Key for TxId {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Malformed("not a transaction id".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_compact_and_sorted() {
        let value: serde_json::Value = serde_json::from_str(r#"{ "b": 1, "a": {"d":2,"c":3} }"#).unwrap();
        assert_eq!(Json(value).to_bytes(), br#"{"a":{"c":3,"d":2},"b":1}"#);
    }

    #[test]
    fn composite_keys_nest_and_come_back() {
        let key = Pair("c1".to_owned(), Pair("execution".to_owned(), "q/1".to_owned()));
        assert_eq!(key.to_bytes(), b"c1/execution/q/1");
        assert_eq!(Pair::from_bytes(b"c1/execution/q/1"), Ok(key));
    }
}
