//! What one transaction changed, in canonical order.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes of one table: key → new value, or `None` for a removal.
pub type TableChanges = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The final writes of a transaction, by table name and then by key bytes.
///
/// Ordered maps, because these bytes are hashed: the same changes always make the same entry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WriteSet {
    tables: BTreeMap<Arc<str>, TableChanges>,
}

impl WriteSet {
    /// Records that `key` of `table` is now `value`, or gone.
    pub fn set(&mut self, table: &str, key: &[u8], value: Option<Vec<u8>>) {
        match self.tables.get_mut(table) {
            Some(changes) => {
                changes.insert(key.to_vec(), value);
            }
            None => {
                self.tables
                    .insert(Arc::from(table), BTreeMap::from([(key.to_vec(), value)]));
            }
        }
    }

    /// The change of `key`, if there is one: `Some(None)` is a removal.
    #[must_use]
    pub fn get(&self, table: &str, key: &[u8]) -> Option<Option<&[u8]>> {
        Some(self.tables.get(table)?.get(key)?.as_deref())
    }

    /// The changes of one table.
    #[must_use]
    pub fn table(&self, table: &str) -> Option<&TableChanges> {
        self.tables.get(table)
    }

    /// Every changed table with its changes, by name.
    pub fn tables(&self) -> impl Iterator<Item = (&Arc<str>, &TableChanges)> {
        self.tables.iter()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Total size of keys and values, in bytes.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.tables
            .values()
            .flatten()
            .map(|(key, value)| key.len().saturating_add(value.as_ref().map_or(0, Vec::len)))
            .fold(0, usize::saturating_add)
    }

    /// Adds the changes of `other`, which win over those already here.
    pub fn extend(&mut self, other: Self) {
        for (table, changes) in other.tables {
            self.tables.entry(table).or_default().extend(changes);
        }
    }
}
