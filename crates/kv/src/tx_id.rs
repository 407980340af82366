//! Transaction ids: `view.seqno`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Position of a transaction in the ledger. Written `view.seqno` on the wire.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TxId {
    /// Term of the writer, starting at 2 for a new service.
    pub view: u64,
    /// Position in the ledger, starting at 1.
    pub seqno: u64,
}

impl TxId {
    /// An id from its parts.
    #[must_use]
    pub const fn new(view: u64, seqno: u64) -> Self {
        Self { view, seqno }
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.view, self.seqno)
    }
}

/// The text is not `view.seqno` with two positive decimal numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a transaction id is written view.seqno, both positive")]
pub struct InvalidTxId;

impl FromStr for TxId {
    type Err = InvalidTxId;

    fn from_str(text: &str) -> Result<Self, InvalidTxId> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.len() <= 19 && part.bytes().all(|b| b.is_ascii_digit());
            if !digits {
                return Err(InvalidTxId);
            }
            part.parse::<u64>().ok().filter(|n| *n > 0).ok_or(InvalidTxId)
        };
        let (view, seqno) = text.split_once('.').ok_or(InvalidTxId)?;
        Ok(Self {
            view: number(view)?,
            seqno: number(seqno)?,
        })
    }
}

impl Serialize for TxId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TxId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = TxId::new(2, 118);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn zero_signs_and_blanks_are_refused() {
        for text in ["", "2", "2.", ".1", "0.1", "2.0", "+2.1", "2.1 ", "2.1.1", "-2.1"] {
            assert_eq!(text.parse::<TxId>(), Err(InvalidTxId), "{text}");
        }
    }
}
