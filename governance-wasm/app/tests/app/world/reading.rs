//! Reading through a transaction, as the host does it.

use kv::{Denied, Entry, RawEntry, RawKey, Read, Versioned};

use super::{SCAN_BYTES_MAX, Transaction};

impl Read for Transaction {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, Denied> {
        self.looked.set(true);
        self.check(table, false)?;
        let store = self.merged();
        Ok(store.get(table, key).map(|row| Versioned {
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
    ) -> Result<Vec<RawEntry>, Denied> {
        self.looked.set(true);
        self.check(table, false)?;
        let store = self.merged();
        let rows = store.scan(table, prefix, after).take(limit as usize);
        let mut bytes = 0;
        // Long rows make short pages, as with the host.
        Ok(rows
            .enumerate()
            .take_while(|(index, r)| {
                bytes += r.key.len() + r.value.len();
                *index == 0 || bytes <= SCAN_BYTES_MAX
            })
            .map(|(_, r)| Entry {
                key: r.key.to_vec(),
                value: r.value.to_vec(),
                version: r.version,
            })
            .collect())
    }

    fn keys(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawKey>, Denied> {
        self.looked.set(true);
        self.check(table, false)?;
        let store = self.merged();
        let key = |row: Entry<&[u8], &[u8]>| Entry {
            key: row.key.to_vec(),
            value: (),
            version: row.version,
        };
        let rows = store.scan(table, prefix, after).take(limit as usize);
        Ok(rows.map(key).collect())
    }
}
