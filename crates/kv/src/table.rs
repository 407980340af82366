//! Tables: a name, a key type and a value type, declared once.

use std::marker::PhantomData;

use crate::access::{Category, Visibility, classify};
use crate::codec::{Key, Malformed, Value};
use crate::tx_id::TxId;

/// A value and the transaction that wrote it.
///
/// Inside the transaction that writes, the version of its own writes is its own id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned<V> {
    /// The value.
    pub value: V,
    /// Transaction of the last write.
    pub version: TxId,
}

/// One row of a scan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry<K, V> {
    /// The row's key.
    pub key: K,
    /// The row's value.
    pub value: V,
    /// Transaction of the last write.
    pub version: TxId,
}

/// A row as bytes.
pub type RawEntry = Entry<Vec<u8>, Vec<u8>>;

/// A row's key as bytes, without its value.
pub type RawKey = Entry<Vec<u8>, ()>;

/// The context may not open this table in this way.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("table {table} is closed: {reason}")]
pub struct Denied {
    /// The table's name.
    pub table: String,
    /// Why, in words.
    pub reason: String,
}

/// Why a typed read or write failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TableError {
    /// The context may not open the table.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What is stored does not decode.
    #[error("table {table}: {source}")]
    Malformed {
        /// The table's name.
        table: &'static str,
        /// What was wrong.
        #[source]
        source: Malformed,
    },
}

/// Reads through one transaction: its snapshot and its own writes so far.
pub trait Read {
    /// The value under `key`, or `None` if the key is absent.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the context may not read `table`.
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, Denied>;

    /// Rows whose key starts with `prefix` and is greater than `after`, in ascending key order,
    /// at most `limit`. There may be more even if fewer come, since long rows make short pages;
    /// only an empty page (of a `limit` above 0) is the end.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the context may not read `table`.
    fn scan(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawEntry>, Denied>;

    /// As [`Read::scan`], without the values, however long they are: for lists that show nothing of them.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the context may not read `table`.
    fn keys(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawKey>, Denied>;
}

/// Changes to the store, visible to others all at once and only if the transaction commits.
pub trait Write {
    /// Sets `key`, replacing any value it had.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the context may not write `table`, or key or value are too large.
    fn put(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<(), Denied>;

    /// Deletes `key`; no effect if it is absent.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the context may not write `table`.
    fn remove(&mut self, table: &str, key: &[u8]) -> Result<(), Denied>;
}

/// Rows asked for at a time by [`Table::rows`].
const PAGE_ROWS: u32 = 1000;

/// A table's declaration.
#[derive(Debug)]
pub struct Table<K, V> {
    name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> Table<K, V> {
    /// Declares a table.
    ///
    /// # Panics
    ///
    /// While compiling, if the name is empty or reserved.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(classify(name).is_some(), "a reserved or empty table name");
        Self {
            name,
            types: PhantomData,
        }
    }

    /// The name, `public:` prefix included.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What the table is for.
    #[must_use]
    pub const fn category(&self) -> Category {
        match classify(self.name) {
            Some((_, category)) => category,
            None => panic!("checked by new"),
        }
    }

    /// Whether its rows are in clear on the ledger.
    #[must_use]
    pub const fn visibility(&self) -> Visibility {
        match classify(self.name) {
            Some((visibility, _)) => visibility,
            None => panic!("checked by new"),
        }
    }
}

impl<K: Key, V: Value> Table<K, V> {
    fn malformed(&self, source: Malformed) -> TableError {
        TableError::Malformed {
            table: self.name,
            source,
        }
    }

    /// The value under `key`.
    ///
    /// # Errors
    ///
    /// [`TableError`] if the table is closed to this context or holds something else.
    pub fn get(&self, state: &(impl Read + ?Sized), key: &K) -> Result<Option<V>, TableError> {
        Ok(self.get_versioned(state, key)?.map(|row| row.value))
    }

    /// The value under `key` with the transaction that wrote it.
    ///
    /// # Errors
    ///
    /// As [`Table::get`].
    pub fn get_versioned(
        &self,
        state: &(impl Read + ?Sized),
        key: &K,
    ) -> Result<Option<Versioned<V>>, TableError> {
        let Some(row) = state.get(self.name, &key.to_bytes())? else {
            return Ok(None);
        };
        let value = V::from_bytes(&row.value).map_err(|e| self.malformed(e))?;
        Ok(Some(Versioned {
            value,
            version: row.version,
        }))
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    ///
    /// [`TableError::Denied`] if the table is closed to this context.
    pub fn has(&self, state: &(impl Read + ?Sized), key: &K) -> Result<bool, TableError> {
        Ok(state.get(self.name, &key.to_bytes())?.is_some())
    }

    /// Every row, in ascending order of the keys' bytes.
    ///
    /// # Errors
    ///
    /// As [`Table::get`].
    pub fn rows(&self, state: &(impl Read + ?Sized)) -> Result<Vec<Entry<K, V>>, TableError> {
        self.rows_with_prefix(state, &[])
    }

    /// Every row whose key starts with these bytes. For the rows of one contract give `b"c1/"`.
    ///
    /// # Errors
    ///
    /// As [`Table::get`].
    pub fn rows_with_prefix(
        &self,
        state: &(impl Read + ?Sized),
        prefix: &[u8],
    ) -> Result<Vec<Entry<K, V>>, TableError> {
        let mut rows = Vec::new();
        self.visit(state, prefix, |row| {
            rows.push(Entry {
                key: row.key,
                value: V::from_bytes(&row.value)?,
                version: row.version,
            });
            Ok(())
        })?;
        Ok(rows)
    }

    /// Hands over every row whose key starts with these bytes, with its value as stored. Only a
    /// page of rows is in memory at a time: for lists that need little of large values.
    ///
    /// # Errors
    ///
    /// [`TableError::Denied`] if the table is closed to this context, [`TableError::Malformed`]
    /// if a key does not decode or `visit` says so.
    pub fn visit(
        &self,
        state: &(impl Read + ?Sized),
        prefix: &[u8],
        mut visit: impl FnMut(Entry<K, Vec<u8>>) -> Result<(), Malformed>,
    ) -> Result<(), TableError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = state.scan(self.name, prefix, after.as_deref(), PAGE_ROWS)?;
            // A page may be short because its rows are long; only an empty one is the end.
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.key.clone());
            for row in page {
                let row = Entry {
                    key: K::from_bytes(&row.key).map_err(|e| self.malformed(e))?,
                    value: row.value,
                    version: row.version,
                };
                visit(row).map_err(|e| self.malformed(e))?;
            }
        }
    }

    /// Sets `key`.
    ///
    /// # Errors
    ///
    /// [`TableError::Denied`] if the table is closed to this context.
    pub fn put(&self, changes: &mut (impl Write + ?Sized), key: &K, value: &V) -> Result<(), TableError> {
        Ok(changes.put(self.name, &key.to_bytes(), &value.to_bytes())?)
    }

    /// Deletes `key`; no effect if it is absent.
    ///
    /// # Errors
    ///
    /// [`TableError::Denied`] if the table is closed to this context.
    pub fn remove(&self, changes: &mut (impl Write + ?Sized), key: &K) -> Result<(), TableError> {
        Ok(changes.remove(self.name, &key.to_bytes())?)
    }
}
