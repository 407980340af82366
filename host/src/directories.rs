//! Directories that are still there after a power cut.
//!
//! A new directory is an entry of its parent: as long as the parent is not synced, everything that
//! was synced inside the new one can be lost with it.

use std::io;
use std::path::Path;

use crate::disk::Disk;

/// Makes a directory and what is missing above it, and syncs the parent of each that was made. Each
/// has the mode of its parent, for whoever may read there.
///
/// # Errors
///
/// What prevents it; parts of the path may exist then.
pub(crate) fn create_synced(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for path in dir.ancestors().take_while(|path| !path.as_os_str().is_empty()) {
        if disk.is_there(path)? {
            break;
        }
        missing.push(path);
    }
    for path in missing.into_iter().rev() {
        disk.make_dir(path)?;
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => disk.sync_dir(parent)?,
            _ => disk.sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::OsDisk;

    #[test]
    fn a_path_is_made_as_deep_as_it_goes_and_may_be_there_already() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b/c");
        for _ in 0..2 {
            create_synced(&OsDisk, &dir).unwrap();
            assert!(dir.is_dir());
        }
        fs::write(root.path().join("file"), b"").unwrap();
        assert!(create_synced(&OsDisk, &root.path().join("file/d")).is_err());
    }
}
