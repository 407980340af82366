//! Directories that are still there after a power cut.
//!
//! A new directory is an entry of its parent: as long as the parent is not synced, everything that
//! was synced inside the new one can be lost with it.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes a directory and what is missing above it, and syncs the parent of each that was made. Each
/// has the mode of its parent, for whoever may read there.
///
/// # Errors
///
/// What prevents it; parts of the path may exist then.
pub(crate) fn create_synced(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    lockdown::make_like_parent(dir)?;
    for made in missing {
        match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent)?,
            _ => sync(Path::new("."))?,
        }
    }
    Ok(())
}

/// Syncs a directory: what was made, renamed or removed in it.
///
/// # Errors
///
/// If it cannot be opened or synced.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_path_is_made_as_deep_as_it_goes_and_may_be_there_already() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b/c");
        for _ in 0..2 {
            create_synced(&dir).unwrap();
            assert!(dir.is_dir());
        }
        fs::write(root.path().join("file"), b"").unwrap();
        assert!(create_synced(&root.path().join("file/d")).is_err());
    }
}
