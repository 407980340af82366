//! One file on its way to the store.

use aws_lc_rs::digest::{Context, SHA256};
use model::Digest;
use object_store::WriteMultipart;

use super::files::Written;
use super::{OutputError, Sink};
use crate::rows::RowCounter;
use crate::sealed_file::{BLOCK_SIZE_DEFAULT, Sealer};
use crate::store::StoreError;

/// Parts of a file in flight to the store at once; the writer waits for them.
const PARTS_IN_FLIGHT_MAX: usize = 2;

/// A file being written. Dropping it before [`Upload::finish`] leaves nothing behind.
pub struct Upload<'a> {
    sink: &'a Sink,
    path: String,
    object: String,
    target: WriteMultipart,
    sealer: Option<Sealer>,
    rows: RowCounter,
    digest: Context,
    plain_len: u64,
    stored: Vec<u8>,
}

impl<'a> Upload<'a> {
    pub(super) fn new(
        sink: &'a Sink,
        path: String,
        object: String,
        target: WriteMultipart,
    ) -> Result<Self, OutputError> {
        let sealer = sink
            .key
            .as_ref()
            .map(|key| Sealer::new(key, BLOCK_SIZE_DEFAULT))
            .transpose()?;
        Ok(Self {
            sink,
            path,
            object,
            target,
            sealer,
            rows: RowCounter::new(sink.format),
            digest: Context::new(&SHA256),
            plain_len: 0,
            stored: Vec::new(),
        })
    }

    /// Takes the next plaintext; returns when the store has room for more.
    ///
    /// # Errors
    ///
    /// If the output grows too large, or encryption or the store fails.
    pub async fn push(&mut self, plain: &[u8]) -> Result<(), OutputError> {
        self.sink.count_bytes(plain.len())?;
        self.plain_len = self.plain_len.saturating_add(plain.len() as u64);
        self.rows.push(plain);
        match &mut self.sealer {
            Some(sealer) => sealer.push(plain, &mut self.stored)?,
            None => self.stored.extend_from_slice(plain),
        }
        self.pass_on().await
    }

    /// Ends the file and enters it in the table.
    ///
    /// # Errors
    ///
    /// If encryption or the store fails, or the output was closed meanwhile.
    pub async fn finish(mut self) -> Result<(), OutputError> {
        if let Some(sealer) = self.sealer.take() {
            sealer.finish(&mut self.stored)?;
        }
        self.pass_on().await?;
        self.target.finish().await.map_err(StoreError::from)?;
        let mut sha256 = Digest::ZERO;
        sha256.0.copy_from_slice(self.digest.finish().as_ref());
        let written = Written {
            object: self.object,
            plain_len: self.plain_len,
            sha256,
            rows: self.rows.finish(),
        };
        let replaced = self.sink.files().insert(&self.path, written)?;
        if let Some(replaced) = replaced {
            self.sink
                .store
                .delete(&self.sink.object_path(&replaced.object))
                .await?;
        }
        Ok(())
    }

    async fn pass_on(&mut self) -> Result<(), OutputError> {
        self.target
            .wait_for_capacity(PARTS_IN_FLIGHT_MAX)
            .await
            .map_err(StoreError::from)?;
        self.digest.update(&self.stored);
        self.target.write(&self.stored);
        self.stored.clear();
        Ok(())
    }
}
