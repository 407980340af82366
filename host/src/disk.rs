//! The disk as a node uses it. All that the ledger and the sealed identity do to files goes through
//! here, so that tests can put a disk under them that fails, tears writes and forgets what was not
//! synced: with real files no test notices a sync that is missing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub use std::fs::TryLockError;

/// An open file.
pub trait DiskFile: Send {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// If the file ends before, or cannot be read.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Durable once the file is synced, not before.
    ///
    /// # Errors
    ///
    /// What the disk says; a part may be written then.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn set_len(&self, size: u64) -> io::Result<()>;

    /// Makes content and size durable. The file's *name* is not: see [`Disk::sync_dir`].
    ///
    /// # Errors
    ///
    /// What the disk says. What is durable then is unknown, and trying again tells nothing.
    fn sync(&self) -> io::Result<()>;
}

/// Files by name.
pub trait Disk: Send + Sync {
    /// Whether there is something of this name: a link too, wherever it leads.
    ///
    /// # Errors
    ///
    /// If that cannot be found out.
    fn is_there(&self, path: &Path) -> io::Result<bool>;

    /// Makes one directory, with the mode of the one it lies in; nothing to do if it is there.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Closes a directory to everybody but its owner.
    ///
    /// # Errors
    ///
    /// If it is not ours.
    fn make_private(&self, dir: &Path) -> io::Result<()>;

    /// Keeps other processes out of a directory for as long as what is given back lives.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if another process is in.
    fn lock(&self, dir: &Path) -> Result<Box<dyn Send>, TryLockError>;

    /// Names in a directory, in no order. Those that are not UTF-8 are none of ours and left out.
    ///
    /// # Errors
    ///
    /// If it cannot be listed.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// The first `bytes_max` bytes of a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`], or what the disk says.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;

    /// Opens a file to read from it.
    ///
    /// # Errors
    ///
    /// As [`Disk::read`].
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, to write to it.
    ///
    /// # Errors
    ///
    /// As [`Disk::read`].
    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a file that must not be there yet, for whoever may read its directory.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`], or what the disk says.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Makes an empty file that only its owner can read, in place of what is there.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn create_private(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name in the same directory, in place of what has that name.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes durable what was made, renamed or removed in a directory.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl DiskFile for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        Self::set_len(self, size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Disk for OsDisk {
    fn is_there(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        lockdown::make_like_parent(dir)
    }

    fn make_private(&self, dir: &Path) -> io::Result<()> {
        lockdown::private_dir(dir)
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn Send>, TryLockError> {
        // On the directory itself: a lock file in it would be one more file that can be lost.
        let file = File::open(dir).map_err(TryLockError::Error)?;
        file.try_lock()?;
        Ok(Box::new(file))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(dir)? {
            names.extend(item?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        // Reserved at once, so that growing leaves no copies of a key behind.
        let size = file.metadata()?.len().min(bytes_max);
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        // Whatever this process's umask is: whoever may enter the ledger's folder may copy and check it.
        lockdown::like_its_folder(path)?;
        Ok(Box::new(file))
    }

    fn create_private(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}
