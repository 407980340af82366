//! Modes of files that are meant for somebody, under a umask that gives nobody anything.
//!
//! Who may read a result is decided by whoever made the folder that it goes to.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Permission bits that a file takes over from its folder: those for reading and writing.
const FILE_BITS: u32 = 0o666;
/// Permission bits that a folder takes over: all, and set-group-id, which folders hand on.
const FOLDER_BITS: u32 = 0o2777;

/// Mode of the folder that `path` lies in.
fn folder_mode(path: &Path) -> io::Result<u32> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok(fs::metadata(folder)?.mode())
}

/// Gives a file, or a folder with all that lies in it, the mode of the folder it lies in. Links are
/// left alone.
///
/// # Errors
///
/// If a mode cannot be read or set.
pub fn like_its_folder(path: &Path) -> io::Result<()> {
    set(path, folder_mode(path)?)
}

fn set(path: &Path, mode: u32) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            set(&entry?.path(), mode)?;
        }
        // Last, so that a folder which is already for others never holds what is not.
        fs::set_permissions(path, Permissions::from_mode(mode & FOLDER_BITS))
    } else if kind.is_file() {
        fs::set_permissions(path, Permissions::from_mode(mode & FILE_BITS))
    } else {
        Ok(())
    }
}

/// Makes a folder and what is missing above it, each with the mode of the one it lies in.
///
/// # Errors
///
/// If one cannot be made.
pub fn make_like_parent(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_like_parent(parent)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => like_its_folder(dir),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a folder that exists already private to its owner: 0700.
///
/// # Errors
///
/// If it is not ours.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn made(path: &Path, mode: u32) {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_result_can_be_read_by_whoever_may_enter_its_folder() {
        let root = tempfile::tempdir().unwrap();
        for folder_bits in [0o750, 0o2770, 0o700, 0o755] {
            let sink = root.path().join(format!("{folder_bits:o}"));
            made(&sink, folder_bits);
            let result = sink.join("result");
            made(&result.join("deep"), 0o700);
            fs::write(result.join("deep/part"), b"x").unwrap();
            fs::set_permissions(result.join("deep/part"), Permissions::from_mode(0o600)).unwrap();
            like_its_folder(&result).unwrap();
            assert_eq!(mode(&result), folder_bits);
            assert_eq!(mode(&result.join("deep")), folder_bits);
            assert_eq!(mode(&result.join("deep/part")), folder_bits & 0o666);
        }
    }

    #[test]
    fn folders_on_the_way_to_a_result_are_like_the_first_that_was_there() {
        let root = tempfile::tempdir().unwrap();
        made(&root.path().join("sink"), 0o750);
        let deep = root.path().join("sink/2026-01-01/outputs");
        make_like_parent(&deep).unwrap();
        make_like_parent(&deep).unwrap();
        assert_eq!(mode(&deep), 0o750);
        assert_eq!(mode(deep.parent().unwrap()), 0o750);
    }

    #[test]
    fn a_link_in_a_result_opens_nothing_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        fs::write(&outside, b"x").unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
        made(&root.path().join("sink"), 0o755);
        made(&root.path().join("sink/result"), 0o700);
        std::os::unix::fs::symlink(&outside, root.path().join("sink/result/link")).unwrap();
        like_its_folder(&root.path().join("sink/result")).unwrap();
        assert_eq!(mode(&outside), 0o600);
    }
}
