//! The ledger's chunks as files: append and sync, end a chunk, find one entry, read everything.
//!
//! A batch counts once it is synced. After an append or a sync has failed nothing more is
//! written: what the disk then holds is unknown, and trying again could report success for data
//! that is gone. Formats and names come from `ledger`; see `ledger-host.md` §1.1–1.3.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use host_core::Batch;
use ledger::chunk::{self, ChunkError};
use ledger::entry::Entry;
use ledger::limits::{CHUNK_FILE_SIZE_MAX, FRAME_BODY_SIZE_MAX};
use ledger::names::{ChunkName, SequenceError, Stage, sequence};

use crate::directories;
use crate::disk::{Disk, DiskFile, TryLockError};

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
    disk: Arc<dyn Disk>,
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
            let file = self
                .disk
                .open(&chunk.path)
                .map_err(io_error("cannot open", &chunk.path))?;
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
    file: Box<dyn DiskFile>,
    first: u64,
    path: PathBuf,
    size: u64,
}

/// The writer's end of a ledger directory.
pub struct LedgerFiles {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    index: Index,
    open: Option<OpenChunk>,
    poisoned: bool,
    _lock: Box<dyn Send>,
}

impl LedgerFiles {
    /// Opens a directory, which is made if it is missing, and gives every entry in it to `feed`,
    /// in order. Nothing is changed on disk.
    ///
    /// # Errors
    ///
    /// The caller's error, or its conversion of a [`LedgerFilesError`].
    pub fn load<E: From<LedgerFilesError>>(
        disk: Arc<dyn Disk>,
        dir: &Path,
        mut feed: impl FnMut(&Entry<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        directories::create_synced(&*disk, dir).map_err(io_error("cannot create", dir))?;
        let lock = lock(&*disk, dir)?;
        let mut chunks = Vec::new();
        for name in chunk_names(&*disk, dir)? {
            let path = dir.join(name.to_string());
            let bytes = disk
                .read(&path, CHUNK_FILE_SIZE_MAX.saturating_add(1))
                .map_err(io_error("cannot read", &path))?;
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
            disk,
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
                self.disk
                    .remove(&chunk.path)
                    .map_err(io_error("cannot remove", &chunk.path))?;
                index.pop();
                continue;
            }
            let keep = usize::try_from(last - chunk.first + 1).unwrap_or(usize::MAX);
            if let Some(end) = chunk.offsets.get(keep) {
                chunk.end = u64::from(*end);
                chunk.offsets.truncate(keep);
            }
            if is_open(&chunk.path) {
                cut(&*self.disk, chunk)?;
                complete(&*self.disk, &self.dir, chunk)?;
            }
            break;
        }
        sync_dir(&*self.disk, &self.dir)
    }

    /// Reads single entries.
    #[must_use]
    pub fn reader(&self) -> LedgerReader {
        LedgerReader {
            disk: Arc::clone(&self.disk),
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
            None => create(&*self.disk, &self.dir, batch.first.seqno)?,
        };
        open.file
            .write_all_at(&batch.bytes, open.size)
            .and_then(|()| open.file.sync())
            .map_err(io_error("cannot append to", &open.path))?;
        if is_new {
            sync_dir(&*self.disk, &self.dir)?;
        }
        self.remember(&mut open, batch, is_new)?;
        if batch.ends_chunk {
            drop(open);
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(chunk) = index.last_mut() {
                complete(&*self.disk, &self.dir, chunk)?;
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

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Send>, LedgerFilesError> {
    disk.lock(dir).map_err(|error| match error {
        TryLockError::WouldBlock => LedgerFilesError::InUse(dir.to_owned()),
        TryLockError::Error(error) => io_error("cannot lock", dir)(error),
    })
}

fn chunk_names(disk: &dyn Disk, dir: &Path) -> Result<Vec<ChunkName>, LedgerFilesError> {
    let names = disk.list(dir).map_err(io_error("cannot list", dir))?;
    Ok(sequence(names.iter().filter_map(|name| ChunkName::parse(name)))?)
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

fn create(disk: &dyn Disk, dir: &Path, first: u64) -> Result<OpenChunk, LedgerFilesError> {
    let path = dir.join(ChunkName::open(first).to_string());
    let file = disk.create_new(&path).map_err(io_error("cannot create", &path))?;
    let header = chunk::open_header();
    file.write_all_at(&header, 0)
        .map_err(io_error("cannot write", &path))?;
    Ok(OpenChunk {
        file,
        first,
        path,
        size: header.len() as u64,
    })
}

/// Cuts off what lies behind the last entry that counts: part of an entry, or a table from an
/// interrupted end of this chunk. The header that points to such a table goes first, and what is
/// cut is gone for certain before anything is written in its place: a table over the head of
/// half an entry would be damage to whoever reads it after another power cut.
fn cut(disk: &dyn Disk, chunk: &ChunkIndex) -> Result<(), LedgerFilesError> {
    let cut = || -> io::Result<()> {
        let file = disk.open_to_write(&chunk.path)?;
        file.write_all_at(&chunk::open_header(), 0)?;
        file.sync()?;
        file.set_len(chunk.end)?;
        file.sync()
    };
    cut().map_err(io_error("cannot cut", &chunk.path))
}

/// Ends an open chunk that holds its entries and nothing else: table of offsets, then the header
/// that points to it, then its final name. Every step leaves a file that can be read.
fn complete(disk: &dyn Disk, dir: &Path, chunk: &mut ChunkIndex) -> Result<(), LedgerFilesError> {
    let path = chunk.path.clone();
    let finish = || -> io::Result<()> {
        let file = disk.open_to_write(&path)?;
        file.write_all_at(&chunk::offsets_table(&chunk.offsets), chunk.end)?;
        file.sync()?;
        file.write_all_at(&chunk::complete_header(chunk.end), 0)?;
        file.sync()
    };
    finish().map_err(io_error("cannot end", &path))?;
    let last = chunk.first + (chunk.offsets.len() as u64).saturating_sub(1);
    let committed = dir.join(ChunkName::committed(chunk.first, last).to_string());
    disk.rename(&path, &committed)
        .map_err(io_error("cannot rename", &path))?;
    chunk.path = committed;
    sync_dir(disk, dir)
}

fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), LedgerFilesError> {
    disk.sync_dir(dir).map_err(io_error("cannot sync", dir))
}
