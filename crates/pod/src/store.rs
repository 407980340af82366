//! Object stores, seen through one prefix: nothing outside the dataset's subdirectory can be named.
//!
//! Only local directories are built so far (decision 39). Other kinds become variants of `Kind`;
//! everything but [`Store::publish`] already speaks the common interface of `object_store`.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cleanroom_model::analytics::{AccessPoint, StoreType};
use futures_util::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, WriteMultipart};

/// Most files in one dataset.
pub const FILE_COUNT_MAX: usize = 100_000;

/// Why a store refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory cannot be used.
    #[error("directory of the dataset cannot be opened: it must exist and be readable")]
    Directory(#[source] std::io::Error),
    /// The store's own error.
    #[error("object store failed")]
    Object(#[from] object_store::Error),
    /// A path the store cannot name.
    #[error("not a usable object path")]
    Path(#[from] object_store::path::Error),
    /// More files than are read.
    #[error("more than {FILE_COUNT_MAX} files: split the dataset")]
    TooManyFiles,
}

/// A file and its stored length in bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredFile {
    /// Path below the prefix.
    pub path: String,
    /// Stored length in bytes.
    pub len: u64,
}

#[derive(Clone)]
enum Kind {
    Local { root: PathBuf },
}

/// One prefix of one object store.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    kind: Kind,
}

impl Store {
    /// Opens a dataset's directory for reading. It must exist.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn open(point: &AccessPoint) -> Result<Self, StoreError> {
        match point.store.kind {
            StoreType::LocalFileSystem => Self::local(local_root(point)),
        }
    }

    /// Opens a sink's directory, making it if need be.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn open_sink(point: &AccessPoint) -> Result<Self, StoreError> {
        match point.store.kind {
            StoreType::LocalFileSystem => {
                let root = local_root(point);
                lockdown::make_like_parent(&root).map_err(StoreError::Directory)?;
                Self::local(root)
            }
        }
    }

    pub(crate) fn local(root: PathBuf) -> Result<Self, StoreError> {
        // The absolute, link-free form: `object_store` compares listed paths with its root.
        let root = root.canonicalize().map_err(StoreError::Directory)?;
        let objects = LocalFileSystem::new_with_prefix(&root)?.with_automatic_cleanup(true);
        Ok(Self {
            objects: Arc::new(objects),
            kind: Kind::Local { root },
        })
    }

    /// Every file, in order of path.
    ///
    /// # Errors
    ///
    /// The store's, or [`StoreError::TooManyFiles`].
    pub async fn list(&self) -> Result<Vec<StoredFile>, StoreError> {
        let mut listing = self.objects.list(None);
        let mut files = Vec::new();
        while let Some(object) = listing.try_next().await? {
            if files.len() == FILE_COUNT_MAX {
                return Err(StoreError::TooManyFiles);
            }
            files.push(StoredFile {
                path: object.location.to_string(),
                len: object.size,
            });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// The bytes of `range`.
    ///
    /// # Errors
    ///
    /// The store's; also if the file has become shorter.
    pub async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        Ok(self.objects.get_range(&Path::parse(path)?, range).await?)
    }

    /// Starts a file that appears when the upload is finished.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn upload(&self, path: &str) -> Result<WriteMultipart, StoreError> {
        Ok(WriteMultipart::new(
            self.objects.put_multipart(&Path::parse(path)?).await?,
        ))
    }

    /// Writes a small file at once.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.objects
            .put(&Path::parse(path)?, PutPayload::from(bytes))
            .await?;
        Ok(())
    }

    /// Moves a file; fails if the target exists.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.objects
            .rename_if_not_exists(&Path::parse(from)?, &Path::parse(to)?)
            .await?;
        Ok(())
    }

    /// Removes a file; a missing one is no error.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.objects.delete(&Path::parse(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes everything below a directory, and the directory.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn delete_tree(&self, directory: &str) -> Result<(), StoreError> {
        let prefix = Path::parse(directory)?;
        let mut listing = self.objects.list(Some(&prefix));
        while let Some(object) = listing.try_next().await? {
            self.objects.delete(&object.location).await?;
        }
        match &self.kind {
            Kind::Local { root } => remove_directory(root.join(prefix.as_ref())).await,
        }
    }

    /// Makes a directory that others may enter exactly if they may enter the dataset's.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn make_folder(&self, directory: &str) -> Result<(), StoreError> {
        let directory = Path::parse(directory)?;
        match &self.kind {
            Kind::Local { root } => {
                let folder = root.join(directory.as_ref());
                blocking(move || lockdown::make_like_parent(&folder)).await
            }
        }
    }

    /// Makes a finished directory visible under its final name, all files at once, to whoever may
    /// enter the folder that it lies in.
    ///
    /// # Errors
    ///
    /// If the final name is taken, or the store's.
    pub async fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (Path::parse(from)?, Path::parse(to)?);
        match &self.kind {
            Kind::Local { root } => {
                // On a file system one rename does it; `rename(2)` refuses a non-empty target.
                let (from, to) = (root.join(from.as_ref()), root.join(to.as_ref()));
                blocking(move || {
                    lockdown::like_its_folder(&from)?;
                    std::fs::rename(from, to)
                })
                .await
            }
        }
    }
}

/// Work on the file system, off the threads that serve.
async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<(), StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)))
        .map_err(StoreError::Directory)
}

async fn remove_directory(directory: PathBuf) -> Result<(), StoreError> {
    match tokio::fs::remove_dir_all(directory).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::Directory(error)),
        _ => Ok(()),
    }
}

fn local_root(point: &AccessPoint) -> PathBuf {
    // The document parser has checked the scheme and refused `..`.
    let root = PathBuf::from(point.store.url.strip_prefix("file://").unwrap_or_default());
    if point.subdirectory.is_empty() {
        root
    } else {
        root.join(&point.subdirectory)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_dataset_of_the_most_files_is_listed_and_one_file_more_is_not() {
        let store = Store {
            objects: Arc::new(InMemory::new()),
            kind: Kind::Local { root: PathBuf::new() },
        };
        for number in 0..FILE_COUNT_MAX {
            store.put(&format!("f{number}"), Vec::new()).await.unwrap();
        }
        assert_eq!(store.list().await.unwrap().len(), FILE_COUNT_MAX);
        store.put("more", Vec::new()).await.unwrap();
        assert!(matches!(store.list().await, Err(StoreError::TooManyFiles)));
    }
}
