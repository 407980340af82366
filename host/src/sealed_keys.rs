//! The service key and the ledger secrets at rest (decision 34).
//!
//! `sealed_identity` is AES-256-GCM under the platform's sealing key. The only mode there is so
//! far, `insecure-virtual`, keeps that key in a file beside it: whoever can read the directory
//! has everything, which is why the mode needs `--insecure-virtual`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crypto::native::aead::{NotOpened, open_sealed, seal_random_iv};
use crypto::native::random_bytes;
use zeroize::Zeroizing;

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

/// A directory with a sealed identity, and the key to it.
pub struct SealedKeys {
    dir: PathBuf,
    key: Zeroizing<[u8; 32]>,
}

impl SealedKeys {
    /// Opens the state directory in the mode `insecure-virtual`; directory and sealing key are
    /// made if they are missing. The caller has checked that the mode is allowed.
    ///
    /// # Errors
    ///
    /// [`SealedKeysError`] if the directory cannot be used.
    pub fn insecure_virtual(dir: &Path) -> Result<Self, SealedKeysError> {
        fs::create_dir_all(dir).map_err(io_error("cannot create", dir))?;
        let path = dir.join(SEALING_KEY);
        let key = match File::open(&path) {
            Ok(file) => {
                let mut bytes = Zeroizing::new(Vec::with_capacity(64));
                file.take(33)
                    .read_to_end(&mut bytes)
                    .map_err(io_error("cannot read", &path))?;
                let key = bytes.as_slice().try_into();
                Zeroizing::new(key.map_err(|_| SealedKeysError::SealingKey(path.clone()))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Zeroizing::new(random_bytes::<32>());
                replace(dir, &path, key.as_slice())?;
                key
            }
            Err(error) => return Err(io_error("cannot open", &path)(error)),
        };
        Ok(Self {
            dir: dir.to_owned(),
            key,
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
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("cannot open", &path)(error)),
        };
        let mut sealed = Vec::new();
        file.take(IDENTITY_BYTES_MAX + 1)
            .read_to_end(&mut sealed)
            .map_err(io_error("cannot read", &path))?;
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
    /// [`SealedKeysError::Io`]; what was there before is then still there.
    pub fn store(&self, plain: &[u8]) -> Result<(), SealedKeysError> {
        replace(&self.dir, &self.path(), &seal_random_iv(&self.key, AAD, plain))
    }
}

impl SealedKeys {
    /// Keeps an identity that no ledger was found for under another name, so that a new service
    /// never destroys the key of one whose ledger is merely elsewhere.
    ///
    /// # Errors
    ///
    /// [`SealedKeysError::Io`] if the file cannot be renamed.
    pub fn set_aside(&self) -> Result<(), SealedKeysError> {
        let path = self.path();
        match fs::rename(&path, self.dir.join("sealed_identity.set_aside")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("cannot rename", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Writes a file that only its owner can read, under a temporary name until it is complete.
fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), SealedKeysError> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io_error("cannot create", &temporary))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io_error("cannot write", &temporary))?;
    fs::rename(&temporary, path).map_err(io_error("cannot rename", &temporary))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("cannot sync", dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_identity_comes_back_and_its_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = SealedKeys::insecure_virtual(dir.path()).unwrap();
        assert!(keys.load().unwrap().is_none());
        keys.store(b"first").unwrap();
        keys.store(b"second").unwrap();
        let again = SealedKeys::insecure_virtual(dir.path()).unwrap();
        assert_eq!(again.load().unwrap().unwrap().as_slice(), b"second");
        for name in [IDENTITY, SEALING_KEY] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let sealed = fs::read(dir.path().join(IDENTITY)).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"second"));
    }

    #[test]
    fn an_altered_identity_or_another_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let keys = SealedKeys::insecure_virtual(dir.path()).unwrap();
        keys.store(b"identity").unwrap();
        fs::write(dir.path().join(SEALING_KEY), [7; 32]).unwrap();
        let other = SealedKeys::insecure_virtual(dir.path()).unwrap();
        assert!(matches!(other.load(), Err(SealedKeysError::NotOpened { .. })));
        fs::write(dir.path().join(SEALING_KEY), [7; 31]).unwrap();
        assert!(matches!(
            SealedKeys::insecure_virtual(dir.path()),
            Err(SealedKeysError::SealingKey(_))
        ));
    }
}
