//! The whole state in memory: persistent ordered maps, so that a snapshot is one pointer copy.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use crate::table::{Entry, Versioned};
use crate::tx_id::TxId;
use crate::write_set::WriteSet;

type Rows = OrdMap<Arc<[u8]>, (Arc<[u8]>, TxId)>;

/// What a row takes beside its key and value, about: two counted allocations, the version, its
/// place in the map. Without it a million empty rows would weigh nothing.
const ROW_BYTES: usize = 128;

/// Size of a row with a key and a value of these lengths, in bytes.
const fn row_size(key: usize, value: usize) -> usize {
    key.saturating_add(value).saturating_add(ROW_BYTES)
}

/// Every table. Cloning is cheap and gives an independent snapshot.
#[derive(Clone, Debug, Default)]
pub struct Store {
    tables: OrdMap<Arc<str>, Rows>,
    /// Kept along with each change, so that asking costs nothing.
    size: usize,
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        let rows = |store: &Self| -> Vec<_> {
            store
                .tables
                .iter()
                .filter(|(_, rows)| !rows.is_empty())
                .map(|(n, r)| (n.clone(), r.clone()))
                .collect()
        };
        rows(self) == rows(other)
    }
}

impl Store {
    /// The value under `key`.
    #[must_use]
    pub fn get(&self, table: &str, key: &[u8]) -> Option<Versioned<&[u8]>> {
        let (value, version) = self.tables.get(table)?.get(key)?;
        Some(Versioned {
            value,
            version: *version,
        })
    }

    /// The value under `key`, shared instead of copied; for component bytes.
    #[must_use]
    pub fn get_shared(&self, table: &str, key: &[u8]) -> Option<Arc<[u8]>> {
        self.tables
            .get(table)?
            .get(key)
            .map(|(value, _)| Arc::clone(value))
    }

    /// Rows of `table` whose key starts with `prefix` and is greater than `after`, ascending.
    pub fn scan<'a>(
        &'a self,
        table: &str,
        prefix: &'a [u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Entry<&'a [u8], &'a [u8]>> + 'a {
        let lower: Bound<Arc<[u8]>> = match after {
            Some(key) if key >= prefix => Bound::Excluded(Arc::from(key)),
            _ => Bound::Included(Arc::from(prefix)),
        };
        self.tables
            .get(table)
            .into_iter()
            .flat_map(move |rows| rows.range((lower.clone(), Bound::Unbounded)))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, (value, version))| Entry {
                key: &**key,
                value: &**value,
                version: *version,
            })
    }

    /// Applies the writes of transaction `id`.
    pub fn apply(&mut self, id: TxId, writes: &WriteSet) {
        for (table, changes) in writes.tables() {
            let rows = self.tables.entry(table.clone()).or_default();
            for (key, value) in changes {
                let before = match value {
                    Some(value) => {
                        self.size = self.size.saturating_add(row_size(key.len(), value.len()));
                        rows.insert(Arc::from(key.as_slice()), (Arc::from(value.as_slice()), id))
                    }
                    None => rows.remove(key.as_slice()),
                };
                if let Some((value, _)) = before {
                    self.size = self.size.saturating_sub(row_size(key.len(), value.len()));
                }
            }
        }
    }

    /// About how much memory all rows take, in bytes: keys, values, and 128 for each row.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Whether `table` is the very same in both, without comparing rows: true means equal, false
    /// means that one of them was written to since they parted.
    #[must_use]
    pub fn same_table(&self, other: &Self, table: &str) -> bool {
        match (self.tables.get(table), other.tables.get(table)) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours.ptr_eq(theirs),
            _ => false,
        }
    }

    /// Names of the tables that have ever held a row.
    pub fn table_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tables.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(changes: &[(&str, &str, Option<&str>)]) -> WriteSet {
        let mut set = WriteSet::default();
        for (table, key, value) in changes {
            set.set(table, key.as_bytes(), value.map(|v| v.as_bytes().to_vec()));
        }
        set
    }

    #[test]
    fn a_snapshot_does_not_see_later_writes() {
        let mut store = Store::default();
        store.apply(TxId::new(2, 1), &writes(&[("t", "a", Some("1"))]));
        let before = store.clone();
        store.apply(
            TxId::new(2, 2),
            &writes(&[("t", "a", None), ("t", "b", Some("2"))]),
        );
        assert_eq!(
            before.get("t", b"a").map(|row| row.version),
            Some(TxId::new(2, 1))
        );
        assert!(store.get("t", b"a").is_none());
        assert_eq!(store.get("t", b"b").map(|row| row.value), Some(b"2".as_slice()));
    }

    #[test]
    fn the_size_follows_new_replaced_and_removed_rows() {
        let mut store = Store::default();
        let mut after = |changes: &[(&str, &str, Option<&str>)]| {
            store.apply(TxId::new(2, 1), &writes(changes));
            store.size()
        };
        assert_eq!(
            after(&[("t", "a", Some("12345")), ("u", "b", Some(""))]),
            7 + 2 * 128
        );
        assert_eq!(after(&[("t", "a", Some("1"))]), 3 + 2 * 128);
        assert_eq!(after(&[("t", "a", None), ("t", "c", None)]), 1 + 128);
        assert_eq!(after(&[("u", "b", None)]), 0);
    }

    #[test]
    fn a_table_stays_the_same_until_it_is_written() {
        let mut store = Store::default();
        store.apply(TxId::new(2, 1), &writes(&[("t", "a", Some("1"))]));
        let before = store.clone();
        store.apply(TxId::new(2, 2), &writes(&[("u", "a", Some("1"))]));
        assert!(store.same_table(&before, "t"));
        assert!(!store.same_table(&before, "u"));
        store.apply(TxId::new(2, 3), &writes(&[("t", "a", Some("1"))]));
        assert!(!store.same_table(&before, "t"));
    }

    #[test]
    fn a_scan_is_ordered_and_stays_in_its_prefix() {
        let mut store = Store::default();
        store.apply(
            TxId::new(2, 1),
            &writes(&[
                ("t", "c1/b", Some("")),
                ("t", "c1/a", Some("")),
                ("t", "c10/a", Some("")),
                ("t", "c0", Some("")),
            ]),
        );
        let keys = |after: Option<&[u8]>| -> Vec<_> {
            store
                .scan("t", b"c1/", after)
                .map(|e| String::from_utf8_lossy(e.key).into_owned())
                .collect()
        };
        assert_eq!(keys(None), ["c1/a", "c1/b"]);
        assert_eq!(keys(Some(b"c1/a")), ["c1/b"]);
        assert_eq!(keys(Some(b"a")), ["c1/a", "c1/b"]);
    }
}
