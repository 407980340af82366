//! The host's handles as the traits that the rules ask for.

use constitution_rules::Credentials;
use constitution_rules::credentials::{Certificate, KeyKind, Route, RsaKey, TokenKey};
use kv::{Denied, Entry, RawEntry, RawKey, Read, TxId, Versioned, Write};
use model::Digest;

use crate::bindings::concordat::host::{credentials, kv as imports};

/// Reads through a reader handle.
pub(crate) struct ReadOnly<'a>(pub(crate) &'a imports::Reader);

/// Reads and writes through both handles.
pub(crate) struct ReadWrite<'a>(pub(crate) &'a imports::Reader, pub(crate) &'a imports::Writer);

fn denied(given: imports::Denied) -> Denied {
    Denied {
        table: given.table,
        reason: given.reason,
    }
}

const fn version(id: imports::TxId) -> TxId {
    TxId::new(id.view, id.seqno)
}

impl Read for ReadOnly<'_> {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, Denied> {
        let row = self.0.get(table, key).map_err(denied)?;
        Ok(row.map(|row| Versioned {
            value: row.value,
            version: version(row.version),
        }))
    }

    fn scan(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawEntry>, Denied> {
        let rows = self.0.scan(table, prefix, after, limit).map_err(denied)?;
        Ok(rows
            .into_iter()
            .map(|row| Entry {
                key: row.key,
                value: row.value,
                version: version(row.version),
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
        let rows = self.0.keys(table, prefix, after, limit).map_err(denied)?;
        Ok(rows
            .into_iter()
            .map(|row| Entry {
                key: row.key,
                value: (),
                version: version(row.version),
            })
            .collect())
    }
}

impl Read for ReadWrite<'_> {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, Denied> {
        ReadOnly(self.0).get(table, key)
    }

    fn scan(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawEntry>, Denied> {
        ReadOnly(self.0).scan(table, prefix, after, limit)
    }

    fn keys(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawKey>, Denied> {
        ReadOnly(self.0).keys(table, prefix, after, limit)
    }
}

impl Write for ReadWrite<'_> {
    fn put(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<(), Denied> {
        self.1.put(table, key, value).map_err(denied)
    }

    fn remove(&mut self, table: &str, key: &[u8]) -> Result<(), Denied> {
        self.1.remove(table, key).map_err(denied)
    }
}

/// The world's `credentials`.
pub(crate) struct Imports;

fn digest(hex: &str) -> Result<Digest, String> {
    hex.parse()
        .map_err(|e| format!("the host gave a malformed digest: {e}"))
}

impl Credentials for Imports {
    fn certificate(&self, pem: &str) -> Result<Certificate, String> {
        let read = credentials::read_certificate(pem)?;
        Ok(Certificate {
            id: digest(&read.id)?,
            key_kind: KeyKind::from_name(&read.key_kind),
            pem: read.pem,
        })
    }

    fn rsa_key(&self, public_key_pem: &str) -> Result<RsaKey, String> {
        let read = credentials::read_rsa_key(public_key_pem)?;
        Ok(RsaKey {
            bits: read.bits,
            pem: read.pem,
        })
    }

    fn token_key(&self, jwk_json: &str) -> Result<TokenKey, String> {
        Ok(match credentials::read_token_key(jwk_json)? {
            credentials::TokenKey::Usable(spki) => TokenKey::Usable(spki),
            credentials::TokenKey::Skipped(reason) => TokenKey::Skipped(reason),
        })
    }

    fn inspect_application(&self, component: &[u8]) -> Result<(Digest, Vec<Route>), String> {
        let (hex, routes) = credentials::inspect_application(component)?;
        let routes = routes.into_iter().map(|route| Route {
            method: route.method,
            path: route.path,
            row_json: route.row_json,
        });
        Ok((digest(&hex)?, routes.collect()))
    }

    fn inspect_constitution(&self, component: &[u8]) -> Result<Digest, String> {
        digest(&credentials::inspect_constitution(component)?)
    }
}
