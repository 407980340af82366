//! The sink of a run: what Spark writes is encrypted on its way to the store, kept under a temporary
//! name, and becomes visible with a signed manifest or not at all.
//!
//! Spark's committer renames files a few times before it is done. Those renames happen in a table
//! here, not in the store: objects get their final names once, when the run publishes. So a rename
//! never costs a copy and never fails half-way.
//!
//! The manifest's digests are of the bytes as stored. A digest of plaintext beside an encrypted file
//! would let whoever operates the store test guesses of a small result.
//!
//! Source: spark-analytics §12; decision 39.

mod files;
mod manifest;
mod upload;

pub use manifest::{Manifest, ManifestFile, ManifestSignature, Provenance};
pub use upload::Upload;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cleanroom_model::analytics::{AccessMode, DatasetDocument, Encryption, Format};

use crate::sealed_file::{DataKey, SealedFileError};
use crate::store::{Store, StoreError};
use files::{Files, Node};

/// Most bytes of plaintext one run may write.
pub const OUTPUT_SIZE_MAX: u64 = 64 * 1024 * 1024 * 1024;

/// Why output is refused or lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The store failed.
    #[error("sink is unreachable")]
    Store(#[from] StoreError),
    /// Encrypting failed.
    #[error("output cannot be encrypted")]
    Sealed(#[from] SealedFileError),
    /// The document is no sink.
    #[error("the output dataset's accessMode must be write")]
    NotASink,
    /// Encryption and key disagree.
    #[error("the sink must have a key exactly if its document says it is encrypted")]
    Key,
    /// There is already output of this run.
    #[error("the sink already holds a result of this run")]
    AlreadyPublished,
    /// Too many files or bytes.
    #[error("output exceeds {OUTPUT_SIZE_MAX} bytes or {} files", files::NODE_COUNT_MAX)]
    TooLarge,
    /// A path that cannot be written.
    #[error("path cannot be written: {0}")]
    Path(&'static str),
    /// Output was already published or given up.
    #[error("output is closed")]
    Closed,
    /// Files and report disagree.
    #[error("spark reported {reported} rows, the files hold {written}")]
    Rows {
        /// By the job.
        reported: u64,
        /// Counted here.
        written: u64,
    },
    /// The manifest could not be signed.
    #[error("the manifest could not be signed: {0}")]
    Sign(String),
}

/// The place a run's output goes to.
pub struct Sink {
    store: Store,
    temporary: String,
    visible: String,
    key: Option<DataKey>,
    format: Format,
    files: Mutex<Files>,
    bytes_written: AtomicU64,
}

impl Sink {
    /// Prepares `<parent>/<job_id>.tmp`. What an interrupted run of the same id left there is removed.
    ///
    /// # Errors
    ///
    /// If the document is no sink, key and document disagree, or the run has already published.
    pub async fn open(
        dataset: &DatasetDocument,
        key: Option<DataKey>,
        parent: &str,
        job_id: &str,
    ) -> Result<Self, OutputError> {
        if dataset.mode != AccessMode::Write {
            return Err(OutputError::NotASink);
        }
        let encrypted = matches!(dataset.access_point.encryption, Encryption::ClientSide { .. });
        if encrypted != key.is_some() {
            return Err(OutputError::Key);
        }
        let store = Store::open_sink(&dataset.access_point)?;
        let visible = format!("{parent}/{job_id}");
        let temporary = format!("{visible}.tmp");
        let manifest = format!("{visible}/{}", manifest::FILE_NAME);
        if store.list().await?.iter().any(|file| file.path == manifest) {
            return Err(OutputError::AlreadyPublished);
        }
        store.delete_tree(&temporary).await?;
        store.make_folder(parent).await?;
        Ok(Self {
            store,
            temporary,
            visible,
            key,
            format: dataset.format,
            files: Mutex::new(Files::default()),
            bytes_written: AtomicU64::new(0),
        })
    }

    /// Bytes of plaintext Spark has written so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// What is at `path`: `Some(None)` for a directory, `Some(Some(len))` for a file.
    pub(crate) fn status(&self, path: &str) -> Option<Option<u64>> {
        self.files().get(path).map(Node::len)
    }

    /// Names and lengths directly below `path`.
    pub(crate) fn list(&self, path: &str) -> Vec<(String, Option<u64>)> {
        self.files().children(path)
    }

    pub(crate) fn make_directory(&self, path: &str) -> Result<bool, OutputError> {
        self.files().make_directory(path)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<bool, OutputError> {
        self.files().rename(from, to)
    }

    pub(crate) async fn delete(&self, path: &str, recursive: bool) -> Result<bool, OutputError> {
        let Some(removed) = self.files().remove(path, recursive)? else {
            return Ok(false);
        };
        for written in removed {
            self.store.delete(&self.object_path(&written.object)).await?;
        }
        Ok(true)
    }

    /// Starts a file. It exists once [`Upload::finish`] has returned.
    pub(crate) async fn create(&self, path: &str, overwrite: bool) -> Result<Upload<'_>, OutputError> {
        let object = self.files().reserve(path, overwrite)?;
        let upload = self.store.upload(&self.object_path(&object)).await?;
        Upload::new(self, path.to_owned(), object, upload)
    }

    /// Publishes: checks the row count, gives files their names, adds the signed manifest, and makes
    /// everything visible in one step. If anything fails, nothing stays.
    ///
    /// # Errors
    ///
    /// If rows disagree, signing fails or the store fails.
    pub async fn publish(
        &self,
        provenance: Provenance,
        rows: u64,
        sign: impl FnOnce(&[u8]) -> Result<ManifestSignature, String>,
    ) -> Result<Manifest, OutputError> {
        let published = self.try_publish(provenance, rows, sign).await;
        if published.is_err() {
            self.discard().await?;
        }
        published
    }

    async fn try_publish(
        &self,
        provenance: Provenance,
        rows: u64,
        sign: impl FnOnce(&[u8]) -> Result<ManifestSignature, String>,
    ) -> Result<Manifest, OutputError> {
        let results = self.files().close()?;
        let written = results.iter().try_fold(0_u64, |sum, (_, file)| {
            file.rows.map(|rows| sum.saturating_add(rows))
        });
        if let Some(written) = written.filter(|written| *written != rows) {
            return Err(OutputError::Rows {
                reported: rows,
                written,
            });
        }
        for (path, file) in &results {
            let target = format!("{}/{path}", self.temporary);
            self.store
                .rename(&self.object_path(&file.object), &target)
                .await?;
        }
        let files = results
            .into_iter()
            .map(|(path, file)| ManifestFile {
                path,
                sha256: file.sha256,
                rows: file.rows,
            })
            .collect();
        let manifest = Manifest::new(provenance, rows, files);
        let bytes = manifest.to_bytes();
        let signature = sign(&bytes).map_err(OutputError::Sign)?;
        let place = |name: &str| format!("{}/{name}", self.temporary);
        self.store.put(&place(manifest::FILE_NAME), bytes).await?;
        self.store
            .put(&place(manifest::SIGNATURE_FILE_NAME), signature.to_bytes())
            .await?;
        self.store.publish(&self.temporary, &self.visible).await?;
        Ok(manifest)
    }

    /// Removes everything written; nothing more can be written.
    ///
    /// # Errors
    ///
    /// If the store fails to delete.
    pub async fn discard(&self) -> Result<(), OutputError> {
        self.files().give_up();
        Ok(self.store.delete_tree(&self.temporary).await?)
    }

    fn object_path(&self, object: &str) -> String {
        format!("{}/{object}", self.temporary)
    }

    fn count_bytes(&self, len: usize) -> Result<(), OutputError> {
        let before = self.bytes_written.fetch_add(len as u64, Ordering::Relaxed);
        if before.saturating_add(len as u64) > OUTPUT_SIZE_MAX {
            return Err(OutputError::TooLarge);
        }
        Ok(())
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // No code panics while holding the lock half-changed, so a poisoned table is still whole.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sink {
        /// A sink without a key in `dir`.
        pub(super) fn in_clear(dir: &std::path::Path, format: Format) -> Self {
            Self {
                store: Store::local(dir.to_owned()).unwrap(),
                temporary: "run.tmp".to_owned(),
                visible: "run".to_owned(),
                key: None,
                format,
                files: Mutex::new(Files::default()),
                bytes_written: AtomicU64::new(0),
            }
        }
    }

    #[test]
    fn an_output_grows_to_the_most_bytes_and_not_by_one_more() {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::in_clear(dir.path(), Format::Csv);
        sink.bytes_written.store(OUTPUT_SIZE_MAX - 10, Ordering::Relaxed);
        assert!(sink.count_bytes(10).is_ok());
        assert!(matches!(sink.count_bytes(1), Err(OutputError::TooLarge)));
        sink.bytes_written.store(OUTPUT_SIZE_MAX, Ordering::Relaxed);
        assert!(matches!(sink.count_bytes(1), Err(OutputError::TooLarge)));
    }
}
