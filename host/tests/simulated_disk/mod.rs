//! A disk of memory that keeps only what was synced. It can stop at any operation, forget or tear
//! what was not synced, and fail from one operation on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use host::disk::{Disk, DiskFile, TryLockError};

/// What becomes of what was not synced when the power goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// Nothing of it is there.
    All,
    /// It happened to be written all the same.
    Nothing,
    /// Some is there, some is not, some is torn: by this seed.
    Some(u64),
}

/// A small generator for choices; quality does not matter.
pub(crate) struct Choices(pub(crate) u64);

impl Choices {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Clone)]
enum Change {
    Make(PathBuf, Node),
    Rename(PathBuf, PathBuf, Node),
    Remove(PathBuf),
}

impl Change {
    fn dir(&self) -> &Path {
        let (Self::Make(path, _) | Self::Rename(path, _, _) | Self::Remove(path)) = self;
        path.parent().unwrap()
    }

    fn apply(&self, to: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Make(path, node) => drop(to.insert(path.clone(), *node)),
            Self::Rename(from, path, node) => {
                to.remove(from);
                to.insert(path.clone(), *node);
            }
            Self::Remove(path) => drop(to.remove(path)),
        }
    }
}

#[derive(Clone)]
enum Write {
    At(usize, Vec<u8>),
    Size(usize),
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::At(offset, bytes) => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
            Self::Size(size) => to.resize(*size, 0),
        }
    }
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    kept: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Default)]
struct Inner {
    files: Vec<File>,
    now: BTreeMap<PathBuf, Node>,
    kept: BTreeMap<PathBuf, Node>,
    unsynced: Vec<Change>,
    told: usize,
    fails_at_sync: bool,
    trace: Option<Vec<Moment>>,
}

/// The disk just before one operation.
pub(crate) struct Moment {
    inner: Inner,
    /// How far callers had been answered.
    pub(crate) told: usize,
}

impl Moment {
    /// What is there when the power comes back.
    pub(crate) fn after_power_cut(&self, loss: Loss) -> SimulatedDisk {
        let mut choices = match loss {
            Loss::Some(seed) => Some(Choices(seed)),
            Loss::All | Loss::Nothing => None,
        };
        let mut keeps = |torn: &mut dyn FnMut(&mut Choices)| match (&mut choices, loss) {
            (Some(choices), _) => match choices.below(3) {
                0 => false,
                1 => true,
                _ => {
                    torn(choices);
                    true
                }
            },
            (None, Loss::All) => false,
            (None, _) => true,
        };
        let old = &self.inner;
        let mut inner = Inner {
            kept: old.kept.clone(),
            ..Inner::default()
        };
        for change in &old.unsynced {
            if keeps(&mut |_| ()) {
                change.apply(&mut inner.kept);
            }
        }
        for file in &old.files {
            let mut kept = file.kept.clone();
            for write in &file.unsynced {
                let mut write = write.clone();
                let mut torn = write.clone();
                let mut is_torn = false;
                if keeps(&mut |choices| {
                    if let Write::At(_, bytes) = &mut torn {
                        bytes.truncate(choices.below(bytes.len() + 1));
                        is_torn = true;
                    }
                }) {
                    if is_torn {
                        write = torn;
                    }
                    write.apply(&mut kept);
                }
            }
            inner.files.push(File {
                now: kept.clone(),
                kept,
                unsynced: Vec::new(),
            });
        }
        // What lies in a directory that is gone is gone.
        let all = inner.kept.clone();
        inner.kept.retain(|path, _| {
            path.ancestors()
                .skip(1)
                .all(|dir| dir.parent().is_none() || all.get(dir) == Some(&Node::Dir))
        });
        inner.now.clone_from(&inner.kept);
        SimulatedDisk(Arc::new(Mutex::new(inner)))
    }
}

/// The disk. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<Inner>>);

impl SimulatedDisk {
    /// The disk as it is.
    pub(crate) fn moment(&self) -> Moment {
        let inner = self.0.lock().unwrap();
        let copy = inner.clone_without_trace();
        Moment {
            told: copy.told,
            inner: copy,
        }
    }

    /// Notes every moment from now on.
    pub(crate) fn trace(&self) {
        self.0.lock().unwrap().trace = Some(Vec::new());
    }

    /// The moments noted, and the last.
    pub(crate) fn moments(&self) -> Vec<Moment> {
        let mut moments = self.0.lock().unwrap().trace.take().unwrap_or_default();
        moments.push(self.moment());
        moments
    }

    /// Notes how far callers were answered.
    pub(crate) fn tell(&self, told: usize) {
        self.0.lock().unwrap().told = told;
    }

    /// From now on everything works but syncing.
    pub(crate) fn fail_syncs(&self) {
        self.0.lock().unwrap().fails_at_sync = true;
    }

    /// Whether a power cut now would lose anything.
    pub(crate) fn is_synced(&self) -> bool {
        let inner = self.0.lock().unwrap();
        inner.unsynced.is_empty()
            && inner.now.values().all(|node| match node {
                Node::Dir => true,
                Node::File(at) => inner.files[*at].unsynced.is_empty(),
            })
    }

    /// Puts the files of `dir` as `other` has them in place of these: what somebody does who can
    /// write this directory and no other.
    pub(crate) fn restore_dir(&self, dir: &Path, other: &Self) {
        let other = other.0.lock().unwrap().clone_without_trace();
        let mut inner = self.0.lock().unwrap();
        inner.now.retain(|path, _| path == dir || !path.starts_with(dir));
        for (path, node) in &other.now {
            if let Node::File(at) = node
                && path.starts_with(dir)
            {
                let file = other.files[*at].clone();
                inner.files.push(file);
                let new = inner.files.len() - 1;
                inner.now.insert(path.clone(), Node::File(new));
            }
        }
        inner.kept = inner.now.clone();
    }

    fn change<T>(&self, operation: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.lock().unwrap();
        if let Some(mut trace) = inner.trace.take() {
            let copy = inner.clone_without_trace();
            trace.push(Moment {
                told: copy.told,
                inner: copy,
            });
            inner.trace = Some(trace);
        }
        operation(&mut inner)
    }

    fn look<T>(&self, operation: impl FnOnce(&Inner) -> io::Result<T>) -> io::Result<T> {
        operation(&self.0.lock().unwrap())
    }

    fn file(&self, at: usize) -> Box<dyn DiskFile> {
        Box::new(Open {
            disk: self.clone(),
            at,
        })
    }
}

impl Inner {
    fn clone_without_trace(&self) -> Self {
        Self {
            files: self.files.clone(),
            now: self.now.clone(),
            kept: self.kept.clone(),
            unsynced: self.unsynced.clone(),
            told: self.told,
            fails_at_sync: self.fails_at_sync,
            trace: None,
        }
    }

    fn at(&self, path: &Path) -> io::Result<usize> {
        match self.now.get(path) {
            Some(Node::File(at)) => Ok(*at),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn make(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let parent = path.parent().unwrap();
        if parent.parent().is_some() && self.now.get(parent) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = Change::Make(path.to_owned(), node);
        change.apply(&mut self.now);
        self.unsynced.push(change);
        Ok(())
    }

    fn make_file(&mut self, path: &Path) -> io::Result<usize> {
        self.files.push(File::default());
        let at = self.files.len() - 1;
        self.make(path, Node::File(at))?;
        Ok(at)
    }

    fn write(&mut self, at: usize, write: Write) {
        let file = &mut self.files[at];
        write.apply(&mut file.now);
        file.unsynced.push(write);
    }

    fn may_sync(&self) -> io::Result<()> {
        if self.fails_at_sync {
            return Err(io::Error::other("the disk cannot sync"));
        }
        Ok(())
    }
}

struct Open {
    disk: SimulatedDisk,
    at: usize,
}

impl DiskFile for Open {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.look(|inner| {
            let start = offset as usize;
            let bytes = inner.files[self.at].now.get(start..start + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.change(|inner| {
            inner.write(self.at, Write::At(offset as usize, bytes.to_vec()));
            Ok(())
        })
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.disk.change(|inner| {
            inner.write(self.at, Write::Size(size as usize));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(|inner| {
            inner.may_sync()?;
            let file = &mut inner.files[self.at];
            file.kept.clone_from(&file.now);
            file.unsynced.clear();
            Ok(())
        })
    }
}

impl Disk for SimulatedDisk {
    fn is_there(&self, path: &Path) -> io::Result<bool> {
        self.look(|inner| Ok(path.parent().is_none() || inner.now.contains_key(path)))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|inner| match inner.now.get(dir) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => inner.make(dir, Node::Dir),
        })
    }

    fn make_private(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> Result<Box<dyn Send>, TryLockError> {
        Ok(Box::new(()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.look(|inner| {
            let inside = inner.now.keys().filter(|path| path.parent() == Some(dir));
            Ok(inside
                .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
                .collect())
        })
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.look(|inner| {
            let mut bytes = inner.files[inner.at(path)?].now.clone();
            bytes.truncate(usize::try_from(bytes_max).unwrap_or(usize::MAX));
            Ok(bytes)
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let at = self.look(|inner| inner.at(path))?;
        Ok(self.file(at))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let at = self.change(|inner| {
            if inner.now.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            inner.make_file(path)
        })?;
        Ok(self.file(at))
    }

    fn create_private(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let at = self.change(|inner| match inner.at(path) {
            Ok(at) => {
                inner.write(at, Write::Size(0));
                Ok(at)
            }
            Err(_) => inner.make_file(path),
        })?;
        Ok(self.file(at))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|inner| {
            let node = Node::File(inner.at(from)?);
            let change = Change::Rename(from.to_owned(), to.to_owned(), node);
            change.apply(&mut inner.now);
            inner.unsynced.push(change);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|inner| {
            inner.at(path)?;
            let change = Change::Remove(path.to_owned());
            change.apply(&mut inner.now);
            inner.unsynced.push(change);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Where the process was started, as the parent of a relative path is called.
        let dir = if dir == Path::new(".") { Path::new("") } else { dir };
        self.change(|inner| {
            inner.may_sync()?;
            let (synced, rest): (Vec<_>, Vec<_>) =
                inner.unsynced.drain(..).partition(|change| change.dir() == dir);
            for change in synced {
                change.apply(&mut inner.kept);
            }
            inner.unsynced = rest;
            Ok(())
        })
    }
}
