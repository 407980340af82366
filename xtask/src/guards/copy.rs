//! The checkout once more, to be changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::moved;

/// Makes `to` hold the files that git knows in `from` and nothing else. Files that are the same stay
/// as they are, so that what was built of them stays good.
pub(crate) fn tree(from: &Path, to: &Path) -> Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(from)
        .output()
        .context("cannot start git")?;
    if !listed.status.success() {
        bail!("{} is not a git checkout", from.display());
    }
    let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
    let mut kept = BTreeSet::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let (source, copy) = moved(name, from, to);
        let Ok(bytes) = fs::read(&source) else {
            // Removed and not yet told to git.
            continue;
        };
        kept.insert(name.to_owned());
        if fs::read(&copy).is_ok_and(|there| there == bytes) {
            continue;
        }
        fs::create_dir_all(copy.parent().unwrap_or(to))?;
        fs::write(&copy, bytes).with_context(|| format!("cannot write {}", copy.display()))?;
    }
    remove_others(to, "", &kept)?;
    // Tests of the checkout itself ask git for its files.
    let status = Command::new("sh")
        .args(["-c", "git init --quiet . && git add --all ."])
        .current_dir(to)
        .status()
        .context("cannot start git")?;
    if !status.success() {
        bail!("cannot make {} a checkout", to.display());
    }
    Ok(())
}

fn remove_others(to: &Path, below: &str, kept: &BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(to.join(below))? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if name == ".git" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            remove_others(to, &format!("{name}/"), kept)?;
        } else if !kept.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Both components, if they were built: tests of the host load them.
pub(crate) fn guests(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = moved("guests", from, to);
    let Ok(entries) = fs::read_dir(&from) else {
        return Ok(());
    };
    fs::create_dir_all(&to)?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = crate::workspace::target().join("tmp").join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_copy_has_the_same_files_and_keeps_what_did_not_change() {
        let (from, to) = (folder("copy-from"), folder("copy-to"));
        fs::create_dir(from.join("a")).unwrap();
        for (name, text) in [
            ("a/b", "1"),
            ("c", "2"),
            (".gitignore", "ignored\n"),
            ("ignored", "3"),
        ] {
            fs::write(from.join(name), text).unwrap();
        }
        let init = Command::new("git")
            .args(["init", "--quiet"])
            .current_dir(&from)
            .status();
        assert!(init.unwrap().success());
        tree(&from, &to).unwrap();
        assert!(!to.join("ignored").exists());
        let time = |name: &str| fs::metadata(to.join(name)).unwrap().modified().unwrap();
        let before = time("c");
        fs::write(from.join("a/b"), "changed").unwrap();
        fs::write(to.join("left over"), "").unwrap();
        tree(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/b")).unwrap(), "changed");
        assert_eq!(time("c"), before);
        assert!(!to.join("left over").exists());
    }
}
