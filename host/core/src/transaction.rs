//! One transaction: a snapshot, what it wrote on top, and for whom it runs.
//!
//! Access is decided by [`kv::access`] on every read and write; sizes are bounded here, so that
//! no entry can outgrow the ledger's frame.

use kv::access::{Access, access, classify};
use kv::store::Store;
use kv::{Context, Denied, Entry, RawKey, Read, TxId, Versioned, Write, WriteSet};
use ledger::limits::{KEY_SIZE_MAX, TABLE_NAME_SIZE_MAX, VALUE_SIZE_MAX, WRITE_SET_SIZE_MAX};

/// Most rows that one scan gives; `Table::rows` pages by the same number.
pub const SCAN_ROWS_MAX: u32 = 1000;
/// Most bytes that one scan gives to a guest, unless the first row alone is longer. Far below a
/// guest's memory, so that it can take a page and work on it.
pub const SCAN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A snapshot of the store with an overlay of writes.
#[derive(Clone, Debug)]
pub struct Transaction {
    store: Store,
    writes: WriteSet,
    written_bytes: usize,
    context: Context,
    id: TxId,
}

impl Transaction {
    /// A transaction on `store` for `context`. `id` is what its writes will carry if it commits.
    #[must_use]
    pub fn new(store: Store, context: Context, id: TxId) -> Self {
        Self {
            store,
            writes: WriteSet::default(),
            written_bytes: 0,
            context,
            id,
        }
    }

    /// For whom it runs.
    #[must_use]
    pub const fn context(&self) -> Context {
        self.context
    }

    /// The id its writes carry.
    #[must_use]
    pub const fn id(&self) -> TxId {
        self.id
    }

    /// The snapshot below its own writes.
    #[must_use]
    pub const fn snapshot(&self) -> &Store {
        &self.store
    }

    /// What it wrote so far.
    #[must_use]
    pub const fn write_set(&self) -> &WriteSet {
        &self.writes
    }

    /// What it wrote.
    #[must_use]
    pub fn into_write_set(self) -> WriteSet {
        self.writes
    }

    /// A transaction that sees these writes and adds to them only through
    /// [`Transaction::absorb`]: dropping it loses what it wrote and nothing else.
    #[must_use]
    pub fn child(&self, context: Context) -> Self {
        let mut store = self.store.clone();
        store.apply(self.id, &self.writes);
        Self::new(store, context, self.id)
    }

    /// Takes over the writes of a child.
    pub fn absorb(&mut self, child: Self) {
        self.writes.extend(child.writes);
        self.written_bytes = self.writes.byte_count();
    }

    /// Runs `f` with the rights of another context: host functions reach the host's own tables
    /// on behalf of a guest that cannot open them.
    pub fn with_context<R>(&mut self, context: Context, f: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.context;
        self.context = context;
        let result = f(self);
        self.context = before;
        result
    }

    fn permission(&self, table: &str) -> Result<Access, Denied> {
        let (visibility, category) =
            classify(table).ok_or_else(|| denied(table, "the name is reserved or empty"))?;
        Ok(access(self.context, visibility, category))
    }

    fn may_read(&self, table: &str) -> Result<(), Denied> {
        if self.permission(table)?.read {
            return Ok(());
        }
        Err(denied(table, "this context may not read it"))
    }

    fn may_write(&self, table: &str) -> Result<(), Denied> {
        if self.permission(table)?.write {
            return Ok(());
        }
        Err(denied(table, "this context may not write it"))
    }

    /// A page of rows; `size` and `view` are what it takes of a value.
    fn page<V>(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
        size: impl Fn(&[u8]) -> usize,
        view: impl Fn(&[u8]) -> V,
    ) -> Result<Vec<Entry<Vec<u8>, V>>, Denied> {
        self.may_read(table)?;
        let bytes_max = match self.context {
            Context::Host => usize::MAX,
            _ => SCAN_BYTES_MAX,
        };
        let limit = usize::try_from(limit.min(SCAN_ROWS_MAX)).unwrap_or(usize::MAX);
        let mut stored = self.store.scan(table, prefix, after).peekable();
        let mut own = self
            .writes
            .table(table)
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_slice() > after))
            .peekable();
        let mut rows = Vec::new();
        let mut bytes = 0_usize;
        while rows.len() < limit {
            let take_own = match (stored.peek(), own.peek()) {
                (None, None) => break,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some(row), Some((key, _))) => {
                    if row.key == key.as_slice() {
                        // The transaction's own write hides the stored row.
                        stored.next();
                        continue;
                    }
                    key.as_slice() < row.key
                }
            };
            let (key, value, version) = if take_own {
                match own.next() {
                    Some((key, Some(value))) => (key.as_slice(), value.as_slice(), self.id),
                    _ => continue,
                }
            } else {
                match stored.next() {
                    Some(row) => (row.key, row.value, row.version),
                    None => break,
                }
            };
            bytes = bytes.saturating_add(key.len()).saturating_add(size(value));
            if bytes > bytes_max && !rows.is_empty() {
                break;
            }
            rows.push(Entry {
                key: key.to_vec(),
                value: view(value),
                version,
            });
        }
        Ok(rows)
    }

    /// Records a change after its size has been counted against the limit.
    fn change(&mut self, table: &str, key: &[u8], value: Option<&[u8]>) -> Result<(), Denied> {
        let size = key.len().saturating_add(value.map_or(0, <[u8]>::len));
        let replaced = self
            .writes
            .get(table, key)
            .map_or(0, |old| key.len().saturating_add(old.map_or(0, <[u8]>::len)));
        let total = self.written_bytes.saturating_sub(replaced).saturating_add(size);
        if total > WRITE_SET_SIZE_MAX {
            return Err(denied(table, "the transaction would write more than 20 MiB"));
        }
        self.written_bytes = total;
        self.writes.set(table, key, value.map(<[u8]>::to_vec));
        Ok(())
    }
}

fn denied(table: &str, reason: &str) -> Denied {
    Denied {
        table: table.to_owned(),
        reason: reason.to_owned(),
    }
}

impl Read for Transaction {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, Denied> {
        self.may_read(table)?;
        if let Some(own) = self.writes.get(table, key) {
            return Ok(own.map(|value| Versioned {
                value: value.to_vec(),
                version: self.id,
            }));
        }
        Ok(self.store.get(table, key).map(|row| Versioned {
            value: row.value.to_vec(),
            version: row.version,
        }))
    }

    fn scan(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<Entry<Vec<u8>, Vec<u8>>>, Denied> {
        self.page(table, prefix, after, limit, <[u8]>::len, <[u8]>::to_vec)
    }

    fn keys(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawKey>, Denied> {
        self.page(table, prefix, after, limit, |_| 0, |_| ())
    }
}

impl Write for Transaction {
    fn put(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<(), Denied> {
        self.may_write(table)?;
        if table.len() > TABLE_NAME_SIZE_MAX {
            return Err(denied(table, "the table's name is longer than 256 bytes"));
        }
        if key.len() > KEY_SIZE_MAX {
            return Err(denied(table, "the key is longer than 64 KiB"));
        }
        if value.len() > VALUE_SIZE_MAX {
            return Err(denied(table, "the value is longer than 8 MiB"));
        }
        self.change(table, key, Some(value))
    }

    fn remove(&mut self, table: &str, key: &[u8]) -> Result<(), Denied> {
        self.may_write(table)?;
        if self.get_own_or_stored(table, key) {
            return self.change(table, key, None);
        }
        Ok(())
    }
}

impl Transaction {
    /// Whether the key has a value now: a removal of nothing leaves no trace in the entry.
    fn get_own_or_stored(&self, table: &str, key: &[u8]) -> bool {
        self.writes.get(table, key).is_some() || self.store.get(table, key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const ID: TxId = TxId::new(2, 7);

    fn stored(rows: &[(&str, &str)]) -> Store {
        let mut writes = WriteSet::default();
        for (key, value) in rows {
            writes.set("t", key.as_bytes(), Some(value.as_bytes().to_vec()));
        }
        let mut store = Store::default();
        store.apply(TxId::new(2, 3), &writes);
        store
    }

    fn keys(tx: &Transaction, prefix: &str, after: Option<&str>, limit: u32) -> Vec<String> {
        tx.scan("t", prefix.as_bytes(), after.map(str::as_bytes), limit)
            .unwrap()
            .into_iter()
            .map(|row| String::from_utf8(row.key).unwrap())
            .collect()
    }

    #[test]
    fn a_scan_gives_the_most_rows_and_not_one_more() {
        let names: Vec<String> = (0..SCAN_ROWS_MAX).map(|n| format!("{n:04}")).collect();
        let rows: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let mut tx = Transaction::new(stored(&rows), Context::Update, ID);
        assert_eq!(keys(&tx, "", None, u32::MAX), names);
        // One that is written meanwhile is the first of the next page.
        tx.put("t", b"9999", b"x").unwrap();
        assert_eq!(keys(&tx, "", None, SCAN_ROWS_MAX + 1), names);
        assert_eq!(
            keys(&tx, "", names.last().map(String::as_str), u32::MAX),
            ["9999"]
        );
    }

    #[test]
    fn a_scan_merges_own_writes_and_removals_in_order() {
        let mut tx = Transaction::new(stored(&[("a", "1"), ("c", "3"), ("d", "4")]), Context::Update, ID);
        tx.put("t", b"b", b"2").unwrap();
        tx.put("t", b"c", b"33").unwrap();
        tx.remove("t", b"d").unwrap();
        assert_eq!(keys(&tx, "", None, 100), ["a", "b", "c"]);
        assert_eq!(keys(&tx, "", Some("a"), 1), ["b"]);
        assert_eq!(keys(&tx, "c", None, 100), ["c"]);
        let row = tx.get("t", b"c").unwrap().unwrap();
        assert_eq!((row.value.as_slice(), row.version), (b"33".as_slice(), ID));
    }

    #[test]
    fn a_dropped_child_leaves_the_parents_writes_alone() {
        let mut parent = Transaction::new(stored(&[]), Context::Host, ID);
        parent.put("t", b"a", b"1").unwrap();
        let mut child = parent.child(Context::Update);
        assert_eq!(child.get("t", b"a").unwrap().unwrap().version, ID);
        child.put("t", b"b", b"2").unwrap();
        drop(child.clone());
        assert!(parent.get("t", b"b").unwrap().is_none());
        parent.absorb(child);
        assert_eq!(parent.get("t", b"b").unwrap().unwrap().value, b"2");
    }

    #[test]
    fn sizes_are_bounded_and_overwriting_frees_room() {
        let mut tx = Transaction::new(Store::default(), Context::Update, ID);
        let big = vec![0; VALUE_SIZE_MAX];
        assert!(tx.put("t", b"k", &vec![0; VALUE_SIZE_MAX + 1]).is_err());
        assert!(tx.put("t", &vec![0; KEY_SIZE_MAX + 1], b"").is_err());
        tx.put("t", b"k", &big).unwrap();
        tx.put("t", b"k", &big).unwrap();
        tx.put("t", b"l", &big).unwrap();
        assert!(
            tx.put("t", b"m", &big).is_err(),
            "three values of 8 MiB exceed 20 MiB"
        );
        tx.put("t", b"k", b"small").unwrap();
        tx.put("t", b"m", &big).unwrap();
    }

    #[test]
    fn long_rows_make_short_pages_and_every_row_is_reached() {
        let mut tx = Transaction::new(Store::default(), Context::Update, ID);
        let long = vec![0; SCAN_BYTES_MAX / 2];
        for key in ["a", "b", "c"] {
            tx.put("t", key.as_bytes(), &long).unwrap();
        }
        tx.put("t", b"d", &vec![0; SCAN_BYTES_MAX + 1]).unwrap();
        assert_eq!(keys(&tx, "", None, 100), ["a"]);
        assert_eq!(keys(&tx, "", Some("a"), 100), ["b"]);
        assert_eq!(
            keys(&tx, "", Some("c"), 100),
            ["d"],
            "a row that is too long comes alone"
        );
        let table: kv::Table<kv::Raw, kv::Raw> = kv::Table::new("t");
        assert_eq!(table.rows(&tx).unwrap().len(), 4);
    }

    #[test]
    fn keys_come_whole_however_long_their_rows_are() {
        let mut tx = Transaction::new(Store::default(), Context::Update, ID);
        for key in ["a", "b", "c"] {
            tx.put("t", key.as_bytes(), &vec![0; SCAN_BYTES_MAX + 1]).unwrap();
        }
        let keys = tx.keys("t", b"", Some(b"a"), 100).unwrap();
        let shown: Vec<&[u8]> = keys.iter().map(|row| row.key.as_slice()).collect();
        assert_eq!(shown, [b"b", b"c"]);
        assert_eq!(keys[0].version, ID);
        assert_eq!(tx.keys("t", b"", None, 1).unwrap().len(), 1);
        assert!(tx.keys("ccf.internal.app_keys", b"", None, 1).is_err());
    }

    #[test]
    fn borrowed_rights_end_with_the_call() {
        let mut tx = Transaction::new(Store::default(), Context::Update, ID);
        assert!(tx.put("ccf.internal.app_keys", b"k", b"v").is_err());
        tx.with_context(Context::Host, |tx| tx.put("ccf.internal.app_keys", b"k", b"v"))
            .unwrap();
        assert!(tx.get("ccf.internal.app_keys", b"k").is_err());
    }

    #[test]
    fn removing_nothing_leaves_no_trace() {
        let mut tx = Transaction::new(Store::default(), Context::Update, ID);
        tx.remove("t", b"k").unwrap();
        assert!(tx.write_set().is_empty());
    }

    /// One or two letters, so that rows and writes often meet and share prefixes.
    fn key() -> impl Strategy<Value = String> {
        "[a-c]{1,2}"
    }

    proptest! {
        #[test]
        fn a_scan_gives_what_a_map_with_the_writes_applied_would(
            rows in prop::collection::btree_map(key(), "[x-z]", 0..8),
            changes in prop::collection::vec((key(), prop::option::of("[x-z]")), 0..8),
            prefix in "[a-c]{0,1}",
            after in prop::option::of(key()),
            limit in 0_u32..8,
        ) {
            let pairs: Vec<_> = rows.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let mut tx = Transaction::new(stored(&pairs), Context::Update, ID);
            let mut model: BTreeMap<String, String> = rows.clone();
            for (key, value) in &changes {
                match value {
                    Some(value) => {
                        tx.put("t", key.as_bytes(), value.as_bytes()).unwrap();
                        model.insert(key.clone(), value.clone());
                    }
                    None => {
                        tx.remove("t", key.as_bytes()).unwrap();
                        model.remove(key);
                    }
                }
            }
            let expected: Vec<_> = model
                .into_iter()
                .filter(|(key, _)| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| key > after))
                .take(limit as usize)
                .collect();
            let got: Vec<_> = tx
                .scan("t", prefix.as_bytes(), after.as_ref().map(String::as_bytes), limit)
                .unwrap()
                .into_iter()
                .map(|row| (String::from_utf8(row.key).unwrap(), String::from_utf8(row.value).unwrap()))
                .collect();
            prop_assert_eq!(got, expected);
        }
    }
}
