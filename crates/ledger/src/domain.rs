//! A domain: the maps that one transaction changed, in clear or about to be sealed.
//!
//! Source: `ledger-host.md` §1.6. Written in canonical order (names, then key bytes), read in any.

use std::collections::BTreeMap;

use kv::access::classify;
use kv::write_set::TableChanges;
use kv::{Visibility, WriteSet};

use crate::cursor::{Cursor, Short};

/// Integers of a map besides its name and rows: name length, two reserved, two row counts.
const MAP_INTEGERS: usize = 5;
/// Bytes of a length or count.
const WORD: usize = 8;

/// Why a domain cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DomainError {
    /// A length points outside the domain.
    #[error("domain ends inside a map")]
    Truncated,
    /// A table name is not UTF-8.
    #[error("table name is not UTF-8")]
    NameNotText,
    /// The same table occurs twice.
    #[error("table {0} occurs twice")]
    TableTwice(String),
    /// A key is changed twice by one transaction.
    #[error("table {0} changes a key twice")]
    KeyTwice(String),
    /// Reads are recorded, which no supported writer does.
    #[error("table {0} records reads")]
    ReadsRecorded(String),
    /// A public table in the sealed part or a private one in clear.
    #[error("table {0} is in the wrong domain")]
    WrongDomain(String),
}

impl From<Short> for DomainError {
    fn from(_: Short) -> Self {
        Self::Truncated
    }
}

fn visibility(table: &str) -> Visibility {
    // Reserved names cannot be opened, but a foreign ledger may hold them.
    match classify(table) {
        Some((visibility, _)) => visibility,
        None if table.starts_with("public:") => Visibility::Public,
        None => Visibility::Private,
    }
}

fn tables(writes: &WriteSet, wanted: Visibility) -> impl Iterator<Item = (&str, &TableChanges)> {
    writes
        .tables()
        .map(|(name, changes)| (&**name, changes))
        .filter(move |(name, changes)| !changes.is_empty() && visibility(name) == wanted)
}

/// Bytes that [`encode_maps`] gives.
#[must_use]
pub fn maps_size(writes: &WriteSet, wanted: Visibility) -> usize {
    let row = |key: &Vec<u8>, value: &Option<Vec<u8>>| {
        let value = value.as_ref().map_or(0, |v| WORD.saturating_add(v.len()));
        WORD.saturating_add(key.len()).saturating_add(value)
    };
    tables(writes, wanted)
        .map(|(name, changes)| {
            let rows = changes
                .iter()
                .map(|(k, v)| row(k, v))
                .fold(0, usize::saturating_add);
            (MAP_INTEGERS * WORD)
                .saturating_add(name.len())
                .saturating_add(rows)
        })
        .fold(0, usize::saturating_add)
}

/// Appends the maps of one visibility to `out`.
pub fn encode_maps(writes: &WriteSet, wanted: Visibility, out: &mut Vec<u8>) {
    let prefixed = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(bytes);
    };
    out.reserve(maps_size(writes, wanted));
    for (name, changes) in tables(writes, wanted) {
        let written = changes
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)));
        let removed = changes.iter().filter(|(_, value)| value.is_none());
        prefixed(out, name.as_bytes());
        // Read version and read count: reads are not recorded.
        out.extend([0; 2 * WORD]);
        out.extend((written.clone().count() as u64).to_le_bytes());
        for (key, value) in written {
            prefixed(out, key);
            prefixed(out, value);
        }
        out.extend((removed.clone().count() as u64).to_le_bytes());
        for (key, _) in removed {
            prefixed(out, key);
        }
    }
}

/// Reads maps to the end of `bytes`.
///
/// # Errors
///
/// [`DomainError`] if anything in them is not as §1.6 says; a table of the other visibility is
/// an error too, since it would be readable (or unreadable) against its name.
pub fn decode_maps(bytes: &[u8], wanted: Visibility) -> Result<WriteSet, DomainError> {
    let mut cursor = Cursor(bytes);
    let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
    let mut writes = WriteSet::default();
    while !cursor.is_empty() {
        let name = std::str::from_utf8(cursor.prefixed()?).map_err(|_| DomainError::NameNotText)?;
        if visibility(name) != wanted {
            return Err(DomainError::WrongDomain(name.to_owned()));
        }
        if seen.insert(name, ()).is_some() {
            return Err(DomainError::TableTwice(name.to_owned()));
        }
        // The read version carries nothing; a read count would be followed by reads.
        if (cursor.u64()?, cursor.u64()?) != (0, 0) {
            return Err(DomainError::ReadsRecorded(name.to_owned()));
        }
        let mut set = |key: &[u8], value: Option<&[u8]>| {
            if writes.get(name, key).is_some() {
                return Err(DomainError::KeyTwice(name.to_owned()));
            }
            writes.set(name, key, value.map(<[u8]>::to_vec));
            Ok(())
        };
        // The counts only bound loops that fail at the end of input.
        for _ in 0..cursor.u64()? {
            let key = cursor.prefixed()?;
            set(key, Some(cursor.prefixed()?))?;
        }
        for _ in 0..cursor.u64()? {
            set(cursor.prefixed()?, None)?;
        }
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> WriteSet {
        let mut writes = WriteSet::default();
        writes.set("public:b", b"k2", Some(b"v".to_vec()));
        writes.set("public:b", b"k1", None);
        writes.set("public:a", b"", Some(Vec::new()));
        writes.set("secret", b"s", Some(b"hidden".to_vec()));
        writes
    }

    fn encoded(writes: &WriteSet, wanted: Visibility) -> Vec<u8> {
        let mut out = Vec::new();
        encode_maps(writes, wanted, &mut out);
        assert_eq!(out.len(), maps_size(writes, wanted));
        out
    }

    #[test]
    fn private_tables_never_reach_the_public_domain() {
        let public = encoded(&sample(), Visibility::Public);
        assert!(!public.windows(6).any(|w| w == b"hidden" || w == b"secret"));
        let back = decode_maps(&public, Visibility::Public).unwrap();
        assert_eq!(back.tables().count(), 2);
        assert_eq!(back.get("public:b", b"k1"), Some(None));
    }

    #[test]
    fn a_table_in_the_wrong_domain_is_refused() {
        let private = encoded(&sample(), Visibility::Private);
        assert_eq!(
            decode_maps(&private, Visibility::Public),
            Err(DomainError::WrongDomain("secret".into()))
        );
        let public = encoded(&sample(), Visibility::Public);
        assert_eq!(
            decode_maps(&public, Visibility::Private),
            Err(DomainError::WrongDomain("public:a".into()))
        );
    }

    #[test]
    fn a_table_or_key_that_occurs_twice_is_refused() {
        let once = encoded(&sample(), Visibility::Private);
        assert_eq!(
            decode_maps(&[once.clone(), once].concat(), Visibility::Private),
            Err(DomainError::TableTwice("secret".into()))
        );
        let word = |n: u64| n.to_le_bytes().to_vec();
        let row = [word(1), b"k".to_vec()].concat();
        let twice = [
            word(1),
            b"t".to_vec(),
            word(0),
            word(0),
            word(0),
            word(2),
            row.clone(),
            row,
        ]
        .concat();
        assert_eq!(
            decode_maps(&twice, Visibility::Private),
            Err(DomainError::KeyTwice("t".into()))
        );
    }

    #[test]
    fn recorded_reads_are_refused() {
        let word = |n: u64| n.to_le_bytes().to_vec();
        let bytes = [word(1), b"t".to_vec(), word(0), word(1), word(0), word(0)].concat();
        assert_eq!(
            decode_maps(&bytes, Visibility::Private),
            Err(DomainError::ReadsRecorded("t".into()))
        );
    }

    #[test]
    fn every_proper_prefix_that_cuts_a_map_is_refused() {
        let bytes = encoded(&sample(), Visibility::Private);
        for end in 1..bytes.len() {
            assert_eq!(
                decode_maps(&bytes[..end], Visibility::Private),
                Err(DomainError::Truncated),
                "{end}"
            );
        }
    }

    type Rows = Vec<(u8, Vec<u8>, Option<Vec<u8>>)>;

    proptest! {
        #[test]
        fn maps_come_back_as_they_were(rows: Rows) {
            let mut writes = WriteSet::default();
            for (table, key, value) in rows {
                writes.set(&format!("public:{}", table % 4), &key, value);
            }
            prop_assert_eq!(decode_maps(&encoded(&writes, Visibility::Public), Visibility::Public), Ok(writes));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = decode_maps(&bytes, Visibility::Public);
        }

        #[test]
        fn no_damaged_domain_makes_the_reader_panic(at: prop::sample::Index, with: u8) {
            let mut bytes = encoded(&sample(), Visibility::Public);
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = decode_maps(&bytes, Visibility::Public);
        }
    }
}
