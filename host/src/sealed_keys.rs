//! The service key and the ledger secrets at rest (decision 34).
//!
//! `sealed_identity` is AES-256-GCM under the platform's sealing key. The only mode there is so
//! far, `insecure-virtual`, keeps that key in a file beside it: whoever can read the directory
//! has everything, which is why the mode needs `--insecure-virtual`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crypto::native::aead::{NotOpened, open_sealed, seal_random_iv};
use crypto::native::random_bytes;
use zeroize::Zeroizing;

use crate::directories::create_synced;
use crate::disk::{Disk, TryLockError};

const IDENTITY: &str = "sealed_identity";
const SEALING_KEY: &str = "insecure_sealing_key";
/// Keeps the file from being taken for anything else sealed under the same key.
const AAD: &[u8] = b"concordat sealed identity v1";
/// Largest sealed identity read: a key and a secret for each of 100,000 starts.
const IDENTITY_BYTES_MAX: u64 = 4 * 1024 * 1024 + 4096;

/// The identity cannot be sealed or unsealed.
#[derive(Debug, thiserror::Error)]
pub enum SealedKeysError {
    /// A file operation failed.
    #[error("{what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The sealing key file has another size.
    #[error("the sealing key {0} does not have 32 bytes")]
    SealingKey(PathBuf),
    /// The file was sealed under another key, or altered.
    #[error("{path} was not sealed by this platform, or was altered")]
    NotOpened {
        /// The file.
        path: PathBuf,
        /// The cipher's word.
        #[source]
        source: NotOpened,
    },
    /// Another process is starting on this directory.
    #[error("the state directory {0} is in use by another process")]
    InUse(PathBuf),
    /// The file is larger than any identity.
    #[error("{0} is too large to be a sealed identity")]
    TooLarge(PathBuf),
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> SealedKeysError + 'a {
    move |source| SealedKeysError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// A directory with a sealed identity, and the key to it. While it lives, no other process uses
/// the directory: two first starts at once would each make a key, and one of them would seal an
/// identity that nobody can open.
pub struct SealedKeys {
    dir: PathBuf,
    key: Zeroizing<[u8; 32]>,
    disk: Arc<dyn Disk>,
    _lock: Box<dyn Send>,
}

impl SealedKeys {
    /// Opens the state directory in the mode `insecure-virtual`; directory and sealing key are
    /// made if they are missing. The caller has checked that the mode is allowed.
    ///
    /// # Errors
    ///
    /// [`SealedKeysError`] if the directory cannot be used, or another process uses it.
    pub fn insecure_virtual(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, SealedKeysError> {
        create_synced(&*disk, dir).map_err(io_error("cannot create", dir))?;
        disk.make_private(dir)
            .map_err(io_error("cannot close to others", dir))?;
        let lock = disk.lock(dir).map_err(|error| match error {
            TryLockError::WouldBlock => SealedKeysError::InUse(dir.to_owned()),
            TryLockError::Error(error) => io_error("cannot lock", dir)(error),
        })?;
        let path = dir.join(SEALING_KEY);
        let key = match disk.read(&path, 33) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let key = bytes.as_slice().try_into();
                Zeroizing::new(key.map_err(|_| SealedKeysError::SealingKey(path.clone()))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Zeroizing::new(random_bytes::<32>());
                replace(&*disk, dir, &path, key.as_slice())?;
                key
            }
            Err(error) => return Err(io_error("cannot read", &path)(error)),
        };
        Ok(Self {
            dir: dir.to_owned(),
            key,
            disk,
            _lock: lock,
        })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(IDENTITY)
    }

    /// The plain identity; `None` if nothing was sealed here yet.
    ///
    /// # Errors
    ///
    /// [`SealedKeysError`] if there is a file that cannot be opened.
    pub fn load(&self) -> Result<Option<Zeroizing<Vec<u8>>>, SealedKeysError> {
        let path = self.path();
        let sealed = match self.disk.read(&path, IDENTITY_BYTES_MAX + 1) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("cannot read", &path)(error)),
        };
        if sealed.len() as u64 > IDENTITY_BYTES_MAX {
            return Err(SealedKeysError::TooLarge(path));
        }
        open_sealed(&self.key, AAD, &sealed)
            .map(Some)
            .map_err(|source| SealedKeysError::NotOpened { path, source })
    }

    /// Seals and syncs the identity, replacing what was there.
    ///
    /// # Errors
    ///
    /// [`SealedKeysError::Io`], or [`SealedKeysError::TooLarge`] for what [`SealedKeys::load`] would
    /// not read; what was there before is then still there.
    pub fn store(&self, plain: &[u8]) -> Result<(), SealedKeysError> {
        let sealed = seal_random_iv(&self.key, AAD, plain);
        if sealed.len() as u64 > IDENTITY_BYTES_MAX {
            return Err(SealedKeysError::TooLarge(self.path()));
        }
        replace(&*self.disk, &self.dir, &self.path(), &sealed)
    }

    /// Keeps an identity that no ledger was found for under another name, so that a new service
    /// never destroys the key of one whose ledger is merely elsewhere. The name is the first free
    /// one of `sealed_identity.set_aside.1`, `….2` and so on.
    ///
    /// # Errors
    ///
    /// [`SealedKeysError::Io`] if the file cannot be renamed.
    pub fn set_aside(&self) -> Result<(), SealedKeysError> {
        let path = self.path();
        if !self.is_there(&path)? {
            return Ok(());
        }
        let mut number = 1_u64;
        let kept = loop {
            let name = self.dir.join(format!("{IDENTITY}.set_aside.{number}"));
            if !self.is_there(&name)? {
                break name;
            }
            number = number.saturating_add(1);
        };
        self.disk
            .rename(&path, &kept)
            .and_then(|()| self.disk.sync_dir(&self.dir))
            .map_err(io_error("cannot rename", &path))
    }

    fn is_there(&self, path: &Path) -> Result<bool, SealedKeysError> {
        self.disk.is_there(path).map_err(io_error("cannot read", path))
    }
}

/// Writes a file that only its owner can read, under a temporary name until it is complete.
fn replace(disk: &dyn Disk, dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), SealedKeysError> {
    let temporary = path.with_extension("tmp");
    let file = disk
        .create_private(&temporary)
        .map_err(io_error("cannot create", &temporary))?;
    file.write_all_at(bytes, 0)
        .and_then(|()| file.sync())
        .map_err(io_error("cannot write", &temporary))?;
    disk.rename(&temporary, path)
        .map_err(io_error("cannot rename", &temporary))?;
    disk.sync_dir(dir).map_err(io_error("cannot sync", dir))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::disk::OsDisk;

    fn keys_in(dir: &Path) -> Result<SealedKeys, SealedKeysError> {
        SealedKeys::insecure_virtual(Arc::new(OsDisk), dir)
    }

    #[test]
    fn an_identity_comes_back_and_its_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys_in(dir.path()).unwrap();
        assert!(keys.load().unwrap().is_none());
        keys.store(b"first").unwrap();
        keys.store(b"second").unwrap();
        drop(keys);
        let again = keys_in(dir.path()).unwrap();
        assert_eq!(again.load().unwrap().unwrap().as_slice(), b"second");
        for name in [IDENTITY, SEALING_KEY] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let sealed = fs::read(dir.path().join(IDENTITY)).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"second"));
    }

    #[test]
    fn an_identity_of_the_most_bytes_comes_back_and_a_larger_one_is_neither_written_nor_read() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys_in(dir.path()).unwrap();
        let most = usize::try_from(IDENTITY_BYTES_MAX).unwrap() - seal_random_iv(&keys.key, AAD, b"").len();
        let largest = vec![7; most];
        keys.store(&largest).unwrap();
        let refused = keys.store(&vec![8; most + 1]).unwrap_err();
        assert!(matches!(refused, SealedKeysError::TooLarge(_)), "{refused}");
        assert_eq!(*keys.load().unwrap().unwrap(), largest, "it is still there");
        // Nor is one read that somebody else wrote.
        let longer = seal_random_iv(&keys.key, AAD, &vec![8; most + 1]);
        fs::write(keys.path(), longer).unwrap();
        let refused = keys.load().map(drop).unwrap_err();
        assert!(matches!(refused, SealedKeysError::TooLarge(_)), "{refused}");
    }

    #[test]
    fn a_state_folder_that_exists_is_closed_to_others_too() {
        let root = tempfile::tempdir().unwrap();
        let mode = |dir: &Path| fs::metadata(dir).unwrap().permissions().mode() & 0o777;
        let old = root.path().join("old");
        fs::create_dir(&old).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
        for dir in [old, root.path().join("new")] {
            keys_in(&dir).unwrap();
            assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        }
    }

    #[test]
    fn an_altered_identity_or_another_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys_in(dir.path()).unwrap();
        keys.store(b"identity").unwrap();
        drop(keys);
        fs::write(dir.path().join(SEALING_KEY), [7; 32]).unwrap();
        let other = keys_in(dir.path()).unwrap();
        assert!(matches!(other.load(), Err(SealedKeysError::NotOpened { .. })));
        drop(other);
        fs::write(dir.path().join(SEALING_KEY), [7; 31]).unwrap();
        assert!(matches!(keys_in(dir.path()), Err(SealedKeysError::SealingKey(_))));
    }

    #[test]
    fn only_one_process_at_a_time_makes_keys() {
        let dir = tempfile::tempdir().unwrap();
        let first = keys_in(dir.path()).unwrap();
        let second = keys_in(dir.path());
        assert!(matches!(second, Err(SealedKeysError::InUse(_))));
        drop(first);
        assert!(keys_in(dir.path()).is_ok());
    }

    #[test]
    fn every_identity_set_aside_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys_in(dir.path()).unwrap();
        keys.set_aside().unwrap();
        let mut kept = Vec::new();
        for number in 1..=3 {
            keys.store(b"identity").unwrap();
            kept.push(fs::read(dir.path().join(IDENTITY)).unwrap());
            keys.set_aside().unwrap();
            assert!(keys.load().unwrap().is_none());
            for (sealed, number) in kept.iter().zip(1..=number) {
                let name = dir.path().join(format!("sealed_identity.set_aside.{number}"));
                assert_eq!(&fs::read(name).unwrap(), sealed);
            }
        }
    }
}
