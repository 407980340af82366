//! The ledger's chunks as files: append and sync, end a chunk, find one entry, read everything.
//!
//! A batch counts once it is synced. After an append or a sync has failed nothing more is
//! written: what the disk then holds is unknown, and trying again could report success for data
//! that is gone. Formats and names come from `ledger`; see `ledger-host.md` §1.1–1.3.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use host_core::Batch;
use ledger::chunk::{self, ChunkError};
use ledger::entry::Entry;
use ledger::limits::FRAME_BODY_SIZE_MAX;
use ledger::names::{ChunkName, SequenceError, Stage, sequence};

use crate::directories;

/// The ledger directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFilesError {
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
    /// Chunks are missing or overlap.
    #[error("the chunks in the ledger directory do not make one ledger")]
    Sequence(#[from] SequenceError),
    /// A chunk cannot be read.
    #[error("chunk {path} is damaged; restore it from a copy")]
    Chunk {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ChunkError,
    },
    /// A chunk's name and its content disagree.
    #[error("chunk {path} does not hold the entries that its name says")]
    Content {
        /// Its file.
        path: PathBuf,
    },
    /// Another process writes this ledger.
    #[error("the ledger in {0} is in use by another process")]
    InUse(PathBuf),
    /// An earlier append failed.
    #[error("an earlier write to the ledger failed; restart the node")]
    Poisoned,
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> LedgerFilesError + 'a {
    move |source| LedgerFilesError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Where the entries of one chunk lie.
struct ChunkIndex {
    first: u64,
    path: PathBuf,
    /// Offset of every entry in the file.
    offsets: Vec<u32>,
    /// Offset behind the last entry.
    end: u64,
}

type Index = Arc<RwLock<Vec<ChunkIndex>>>;

/// Reads single entries, from any thread, while the writer appends.
#[derive(Clone)]
pub struct LedgerReader {
    index: Index,
}

impl LedgerReader {
    /// The frame of entry `seqno`; `None` if it is not on disk.
    ///
    /// # Errors
    ///
    /// [`LedgerFilesError::Io`] if the file cannot be read.
    pub fn entry(&self, seqno: u64) -> Result<Option<Vec<u8>>, LedgerFilesError> {
        let (file, path, start, end) = {
            // Held while the file is opened, so that the chunk is not renamed in between.
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            let at = index.partition_point(|chunk| chunk.first <= seqno);
            let Some(chunk) = at.checked_sub(1).and_then(|at| index.get(at)) else {
                return Ok(None);
            };
            let position = usize::try_from(seqno - chunk.first).unwrap_or(usize::MAX);
            let Some(start) = chunk.offsets.get(position).map(|at| u64::from(*at)) else {
                return Ok(None);
            };
            let end = position
                .checked_add(1)
                .and_then(|next| chunk.offsets.get(next))
                .map_or(chunk.end, |at| u64::from(*at));
            let file = File::open(&chunk.path).map_err(io_error("cannot open", &chunk.path))?;
            (file, chunk.path.clone(), start, end)
        };
        let size = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        if size > FRAME_BODY_SIZE_MAX {
            return Err(LedgerFilesError::Content { path });
        }
        let mut frame = vec![0; size];
        file.read_exact_at(&mut frame, start)
            .map_err(io_error("cannot read", &path))?;
        Ok(Some(frame))
    }
}

/// The chunk that is being written.
struct OpenChunk {
    file: File,
    first: u64,
    path: PathBuf,
    size: u64,
}

/// The writer's end of a ledger directory.
pub struct LedgerFiles {
    dir: PathBuf,
    index: Index,
    open: Option<OpenChunk>,
    poisoned: bool,
    /// Keeps other processes out as long as it is open. The lock is on the directory, since a lock
    /// file in it would not be a chunk.
    _lock: File,
}

impl LedgerFiles {
    /// Opens a directory, which is made if it is missing, and gives every entry in it to `feed`,
    /// in order. Nothing is changed on disk.
    ///
    /// # Errors
    ///
    /// The caller's error, or its conversion of a [`LedgerFilesError`].
    pub fn load<E: From<LedgerFilesError>>(
        dir: &Path,
        mut feed: impl FnMut(&Entry<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        directories::create_synced(dir).map_err(io_error("cannot create", dir))?;
        let lock = lock(dir)?;
        let mut chunks = Vec::new();
        for name in chunk_names(dir)? {
            let path = dir.join(name.to_string());
            let bytes = fs::read(&path).map_err(io_error("cannot read", &path))?;
            let parsed =
                parse(&bytes, name.stage == Stage::Open).map_err(|source| LedgerFilesError::Chunk {
                    path: path.clone(),
                    source,
                })?;
            for entry in &parsed.entries {
                feed(entry)?;
            }
            let count = parsed.offsets.len() as u64;
            let last = (name.first + count).saturating_sub(1);
            if name.last().is_some_and(|named| named != last || !parsed.complete) {
                return Err(LedgerFilesError::Content { path }.into());
            }
            chunks.push(ChunkIndex {
                first: name.first,
                path,
                offsets: parsed.offsets,
                end: parsed.end as u64,
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
            index: Arc::new(RwLock::new(chunks)),
            open: None,
            poisoned: false,
            _lock: lock,
        })
    }

    /// Whether the directory holds no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.iter().all(|chunk| chunk.offsets.is_empty())
    }

    /// Cuts off what follows entry `last`, and ends the chunk that `last` is in.
    ///
    /// # Errors
    ///
    /// [`LedgerFilesError`]; the node must not start then.
    pub fn cut_behind(&mut self, last: u64) -> Result<(), LedgerFilesError> {
        let index = Arc::clone(&self.index);
        let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
        while let Some(chunk) = index.last_mut() {
            if chunk.first > last {
                fs::remove_file(&chunk.path).map_err(io_error("cannot remove", &chunk.path))?;
                index.pop();
                continue;
            }
            let keep = usize::try_from(last - chunk.first + 1).unwrap_or(usize::MAX);
            if let Some(end) = chunk.offsets.get(keep) {
                chunk.end = u64::from(*end);
                chunk.offsets.truncate(keep);
            }
            if is_open(&chunk.path) {
                complete(&self.dir, chunk)?;
            }
            break;
        }
        sync_dir(&self.dir)
    }

    /// Reads single entries.
    #[must_use]
    pub fn reader(&self) -> LedgerReader {
        LedgerReader {
            index: Arc::clone(&self.index),
        }
    }

    /// Appends a batch and syncs it. When this returns without an error, the batch is durable.
    ///
    /// # Errors
    ///
    /// [`LedgerFilesError`]; nothing more can be appended then.
    pub fn append(&mut self, batch: &Batch) -> Result<(), LedgerFilesError> {
        if self.poisoned {
            return Err(LedgerFilesError::Poisoned);
        }
        // Cleared only by success.
        self.poisoned = true;
        let is_new = self.open.is_none();
        let mut open = match self.open.take() {
            Some(open) => open,
            None => create(&self.dir, batch.first.seqno)?,
        };
        open.file
            .write_all(&batch.bytes)
            .and_then(|()| open.file.sync_data())
            .map_err(io_error("cannot append to", &open.path))?;
        if is_new {
            sync_dir(&self.dir)?;
        }
        self.remember(&mut open, batch, is_new)?;
        if batch.ends_chunk {
            drop(open);
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(chunk) = index.last_mut() {
                complete(&self.dir, chunk)?;
            }
        } else {
            self.open = Some(open);
        }
        self.poisoned = false;
        Ok(())
    }

    /// Notes where the batch's entries lie.
    fn remember(&self, open: &mut OpenChunk, batch: &Batch, is_new: bool) -> Result<(), LedgerFilesError> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if is_new {
            index.push(ChunkIndex {
                first: open.first,
                path: open.path.clone(),
                offsets: Vec::new(),
                end: open.size,
            });
        }
        let Some(chunk) = index.last_mut() else {
            return Ok(());
        };
        for size in &batch.entry_sizes {
            let offset = u32::try_from(open.size).map_err(|_| LedgerFilesError::Content {
                path: open.path.clone(),
            })?;
            chunk.offsets.push(offset);
            open.size += *size as u64;
        }
        chunk.end = open.size;
        Ok(())
    }
}

fn lock(dir: &Path) -> Result<File, LedgerFilesError> {
    let file = File::open(dir).map_err(io_error("cannot open", dir))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerFilesError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error("cannot lock", dir)(error)),
    }
}

fn chunk_names(dir: &Path) -> Result<Vec<ChunkName>, LedgerFilesError> {
    let mut names = Vec::new();
    for item in fs::read_dir(dir).map_err(io_error("cannot list", dir))? {
        let item = item.map_err(io_error("cannot list", dir))?;
        names.extend(item.file_name().to_str().and_then(ChunkName::parse));
    }
    Ok(sequence(names)?)
}

/// Parses a chunk. A file that the system extended with zeros before it crashed ends where they
/// begin.
fn parse(bytes: &[u8], open: bool) -> Result<chunk::Chunk<'_>, ChunkError> {
    match chunk::parse(bytes) {
        Err(ChunkError::Entry { offset, source }) if open => {
            let (kept, tail) = bytes.split_at_checked(offset).unwrap_or((bytes, &[]));
            if !tail.is_empty() && tail.iter().all(|byte| *byte == 0) {
                chunk::parse(kept)
            } else {
                Err(ChunkError::Entry { offset, source })
            }
        }
        result => result,
    }
}

fn is_open(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .and_then(ChunkName::parse)
        .is_some_and(|name| name.stage == Stage::Open)
}

fn create(dir: &Path, first: u64) -> Result<OpenChunk, LedgerFilesError> {
    let path = dir.join(ChunkName::open(first).to_string());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(io_error("cannot create", &path))?;
    let header = chunk::open_header();
    // Whoever may enter the ledger's folder may copy it and check it, whatever this process's umask is.
    lockdown::like_its_folder(&path).map_err(io_error("cannot open to its readers", &path))?;
    file.write_all(&header).map_err(io_error("cannot write", &path))?;
    Ok(OpenChunk {
        file,
        first,
        path,
        size: header.len() as u64,
    })
}

/// Ends an open chunk: table of offsets, then the header that points to it, then its final name.
/// Every step leaves a file that can be read.
fn complete(dir: &Path, chunk: &mut ChunkIndex) -> Result<(), LedgerFilesError> {
    let path = chunk.path.clone();
    let finish = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&path)?;
        // A table from an interrupted end of this chunk may no longer fit.
        file.write_all(&chunk::open_header())?;
        file.sync_data()?;
        file.set_len(chunk.end)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(&chunk::offsets_table(&chunk.offsets))?;
        file.sync_data()?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&chunk::complete_header(chunk.end))?;
        file.sync_data()
    };
    finish().map_err(io_error("cannot end", &path))?;
    let last = chunk.first + (chunk.offsets.len() as u64).saturating_sub(1);
    let committed = dir.join(ChunkName::committed(chunk.first, last).to_string());
    fs::rename(&path, &committed).map_err(io_error("cannot rename", &path))?;
    chunk.path = committed;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), LedgerFilesError> {
    directories::sync(dir).map_err(io_error("cannot sync", dir))
}
