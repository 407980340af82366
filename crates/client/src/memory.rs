//! What this client has seen of services: of each the highest committed transaction, with the root
//! that its signature is over. A node that cannot show the same is another copy, or an older one.
//!
//! A lone node cannot notice that its state folder and its ledger were copied or set back together;
//! those who were answered by the other copy can. Only what came over a pinned connection, under a
//! receipt that verifies, is kept. Services are told apart by their keys, so a new service alarms
//! nobody, and one that comes back older does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kv::TxId;
use model::{Digest, ServiceId};
use serde::{Deserialize, Serialize};

use crate::api_error::ClientError;

/// Services remembered. The one that was heard of longest ago makes room: nobody but this client's
/// own user can bring new ones.
pub const SERVICES_MAX: usize = 4096;
/// Largest file that is read, in bytes.
pub const SEEN_SIZE_MAX: u64 = 1024;
/// What the files' names end in.
const SUFFIX: &str = ".json";
const LOCK: &str = "lock";

/// The last that was seen of a service.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seen {
    /// A committed signature transaction.
    pub transaction_id: TxId,
    /// The root that it signs: it covers everything before.
    pub root: Digest,
}

/// A folder with a file for each service. Processes may use it at once.
#[derive(Clone, Debug)]
pub struct Memory {
    dir: PathBuf,
}

impl Memory {
    /// Opens the folder, which is made, for its owner alone, if it is missing.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if it cannot be used.
    pub fn open(dir: &Path) -> Result<Self, ClientError> {
        let memory = Self { dir: dir.to_owned() };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .and_then(|()| memory.lock())
            .map(drop)
            .map_err(|e| memory.unusable(dir, &e))?;
        Ok(memory)
    }

    /// What was seen of a service.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if there is a file that does not say: what was seen is not forgotten
    /// because the file is damaged.
    pub fn seen(&self, service: &ServiceId) -> Result<Option<Seen>, ClientError> {
        let path = self.path(service);
        self.read(&path).map_err(|e| self.unusable(&path, &e))
    }

    /// Keeps what was seen, unless something higher is kept already.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if it cannot be written.
    pub fn keep(&self, service: &ServiceId, seen: Seen) -> Result<(), ClientError> {
        let path = self.path(service);
        let write = || -> io::Result<()> {
            let _lock = self.lock()?;
            match self.read(&path)? {
                Some(kept) if kept.transaction_id >= seen.transaction_id => return Ok(()),
                Some(_) => {}
                None => self.make_room()?,
            }
            self.replace(&path, &serde_json::to_vec(&seen)?)
        };
        write().map_err(|e| self.unusable(&path, &e))
    }

    fn path(&self, service: &ServiceId) -> PathBuf {
        self.dir.join(format!("{service}{SUFFIX}"))
    }

    fn unusable(&self, path: &Path, error: &io::Error) -> ClientError {
        ClientError::Usage(format!(
            "cannot use {}, where it is kept what was seen of services: {error}",
            path.display()
        ))
    }

    fn lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.dir.join(LOCK))?;
        file.lock()?;
        Ok(file)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Seen>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(SEEN_SIZE_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > SEEN_SIZE_MAX {
            return Err(io::Error::other(format!(
                "it has more than {SEEN_SIZE_MAX} bytes"
            )));
        }
        Ok(Some(serde_json::from_slice(&bytes)?))
    }

    /// Whole or not at all, also after a power cut. The caller holds the lock.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn make_room(&self) -> io::Result<()> {
        let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
        for item in fs::read_dir(&self.dir)? {
            let item = item?;
            if item
                .file_name()
                .to_str()
                .is_some_and(|name| name.ends_with(SUFFIX))
            {
                kept.push((item.metadata()?.modified()?, item.path()));
            }
        }
        kept.sort();
        let surplus = (kept.len() + 1).saturating_sub(SERVICES_MAX);
        for (_, path) in kept.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn service(number: usize) -> ServiceId {
        ServiceId(crypto::sha256(&number.to_le_bytes()))
    }

    fn seen(view: u64, seqno: u64) -> Seen {
        Seen {
            transaction_id: TxId::new(view, seqno),
            root: crypto::sha256(&seqno.to_le_bytes()),
        }
    }

    #[test]
    fn the_highest_is_kept_in_whatever_order_it_is_told_and_nobody_else_reads_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/concordat");
        let memory = Memory::open(&dir).unwrap();
        assert_eq!(memory.seen(&service(1)).unwrap(), None);
        for told in [seen(2, 5), seen(2, 9), seen(2, 7)] {
            memory.keep(&service(1), told).unwrap();
        }
        assert_eq!(memory.seen(&service(1)).unwrap(), Some(seen(2, 9)));
        // A later view has lower seqnos only where something was cut off.
        memory.keep(&service(1), seen(3, 8)).unwrap();
        assert_eq!(memory.seen(&service(1)).unwrap(), Some(seen(3, 8)));
        assert_eq!(memory.seen(&service(2)).unwrap(), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&memory.path(&service(1))), 0o600);
    }

    #[test]
    fn many_processes_at_once_lose_nothing() {
        let root = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let memory = Memory::open(root.path()).unwrap();
                scope.spawn(move || {
                    for at in 0..20 {
                        memory.keep(&service(1), seen(2, 1 + at * 8 + thread)).unwrap();
                    }
                });
            }
        });
        let memory = Memory::open(root.path()).unwrap();
        assert_eq!(memory.seen(&service(1)).unwrap(), Some(seen(2, 160)));
    }

    #[test]
    fn a_damaged_memory_is_no_empty_one() {
        let root = tempfile::tempdir().unwrap();
        let memory = Memory::open(root.path()).unwrap();
        let path = memory.path(&service(1));
        let good = serde_json::to_string(&seen(2, 3)).unwrap();
        let padded = |size: u64| format!("{good:<width$}", width = usize::try_from(size).unwrap());
        for bad in [String::new(), "{}".to_owned(), padded(SEEN_SIZE_MAX + 1)] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(memory.seen(&service(1)), Err(ClientError::Usage(_))));
            assert!(memory.keep(&service(1), seen(9, 9)).is_err());
        }
        fs::write(&path, padded(SEEN_SIZE_MAX)).unwrap();
        assert_eq!(memory.seen(&service(1)).unwrap(), Some(seen(2, 3)));
    }

    #[test]
    fn room_is_made_for_a_service_beyond_the_most() {
        let root = tempfile::tempdir().unwrap();
        let memory = Memory::open(root.path()).unwrap();
        for number in 0..SERVICES_MAX {
            let path = memory.path(&service(number));
            fs::write(&path, serde_json::to_vec(&seen(2, 3)).unwrap()).unwrap();
            let age = std::time::Duration::from_secs((SERVICES_MAX - number) as u64);
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        let count = || fs::read_dir(root.path()).unwrap().count() - 1;
        assert_eq!(count(), SERVICES_MAX, "the most is kept");
        memory.keep(&service(SERVICES_MAX), seen(2, 3)).unwrap();
        assert_eq!(count(), SERVICES_MAX);
        assert_eq!(memory.seen(&service(0)).unwrap(), None, "heard of longest ago");
        assert!(memory.seen(&service(1)).unwrap().is_some());
        assert!(memory.seen(&service(SERVICES_MAX)).unwrap().is_some());
    }
}
