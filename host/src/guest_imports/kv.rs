//! `kv`: the call's transaction behind two handles.
//!
//! A handle carries nothing: there is one transaction per call, and what it opens is decided by
//! its context. A guest that was given no writer cannot make one up; if it could, its
//! transaction would still refuse.

use kv::{Read as _, Write as _};
use wasmtime::component::Resource;

use super::costs;
use crate::guests::app_bindings::concordat::host::kv::{
    Denied, Entry, Host, HostReader, HostWriter, RowKey, TxId, Versioned,
};
use crate::guests::{CallState, Reader, Writer};

fn denied(denied: kv::Denied) -> Denied {
    Denied {
        table: denied.table,
        reason: denied.reason,
    }
}

fn tx_id(id: kv::TxId) -> TxId {
    TxId {
        view: id.view,
        seqno: id.seqno,
    }
}

impl Host for CallState {}

impl HostReader for CallState {
    fn get(
        &mut self,
        _: Resource<Reader>,
        table: String,
        key: Vec<u8>,
    ) -> wasmtime::Result<Result<Option<Versioned>, Denied>> {
        self.pay(costs::GET.of(key.len()))?;
        let row = self.transaction()?.get(&table, &key);
        if let Ok(Some(row)) = &row {
            self.pay(costs::GET.bytes(row.value.len()))?;
        }
        Ok(row.map_err(denied).map(|row| {
            row.map(|row| Versioned {
                value: row.value,
                version: tx_id(row.version),
            })
        }))
    }

    fn scan(
        &mut self,
        _: Resource<Reader>,
        table: String,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<Entry>, Denied>> {
        self.pay(costs::SCAN.of(prefix.len()))?;
        let rows = self.transaction()?.scan(&table, &prefix, after.as_deref(), limit);
        for row in rows.iter().flatten() {
            self.pay(costs::ROW.of(row.key.len().saturating_add(row.value.len())))?;
        }
        let entry = |row: kv::Entry<Vec<u8>, Vec<u8>>| Entry {
            key: row.key,
            value: row.value,
            version: tx_id(row.version),
        };
        Ok(rows
            .map_err(denied)
            .map(|rows| rows.into_iter().map(entry).collect()))
    }

    fn keys(
        &mut self,
        _: Resource<Reader>,
        table: String,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<RowKey>, Denied>> {
        self.pay(costs::SCAN.of(prefix.len()))?;
        let rows = self.transaction()?.keys(&table, &prefix, after.as_deref(), limit);
        for row in rows.iter().flatten() {
            self.pay(costs::ROW.of(row.key.len()))?;
        }
        let key = |row: kv::RawKey| RowKey {
            key: row.key,
            version: tx_id(row.version),
        };
        Ok(rows
            .map_err(denied)
            .map(|rows| rows.into_iter().map(key).collect()))
    }

    fn drop(&mut self, _: Resource<Reader>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostWriter for CallState {
    fn put(
        &mut self,
        _: Resource<Writer>,
        table: String,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Denied>> {
        self.pay(costs::PUT.of(key.len().saturating_add(value.len())))?;
        Ok(self.transaction()?.put(&table, &key, &value).map_err(denied))
    }

    fn remove(
        &mut self,
        _: Resource<Writer>,
        table: String,
        key: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Denied>> {
        self.pay(costs::REMOVE.of(key.len()))?;
        Ok(self.transaction()?.remove(&table, &key).map_err(denied))
    }

    fn drop(&mut self, _: Resource<Writer>) -> wasmtime::Result<()> {
        Ok(())
    }
}
