//! Packages of Debian, fetched with apt by the machine's own sources and unpacked into a folder.
//!
//! Lists and downloads are private, so neither the system's state nor its packages change. apt
//! checks signatures and digests as it always does.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::workspace::{output, run_with_limit};

/// How long fetching lists may take.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(180);

/// How long fetching packages may take: 137 MB at 4 Mbit/s.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// The keys that Debian's package of keys installs.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with lists and downloads in a folder.
#[derive(Debug)]
pub(super) struct Apt {
    folder: PathBuf,
    options: Vec<OsString>,
}

impl Apt {
    /// With the sources that the machine has.
    pub(super) fn of_machine(folder: &Path) -> Result<Self> {
        Self::new(folder, &[])
    }

    /// With one suite of a mirror of Debian.
    pub(super) fn of_suite(folder: &Path, mirror: &str, suite: &str) -> Result<Self> {
        fs::create_dir_all(folder.join("parts"))?;
        let list = folder.join("sources.list");
        fs::write(
            &list,
            format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"),
        )?;
        Self::new(
            folder,
            &[
                option("Dir::Etc::sourcelist", &list),
                option("Dir::Etc::sourceparts", &folder.join("parts")),
            ],
        )
    }

    fn new(folder: &Path, more: &[OsString]) -> Result<Self> {
        let (lists, cache) = (folder.join("lists"), folder.join("cache"));
        fs::create_dir_all(lists.join("partial"))?;
        fs::create_dir_all(cache.join("archives/partial"))?;
        let mut options = vec![
            option("Dir::State::Lists", &lists),
            option("Dir::Cache", &cache),
            // apt's own user may not reach the build folder.
            "APT::Sandbox::User=root".into(),
        ];
        options.extend_from_slice(more);
        let apt = Self {
            folder: folder.to_owned(),
            options,
        };
        run_with_limit(apt.command("apt-get").args(["-qq", "update"]), UPDATE_TIMEOUT)
            .context("apt-get could not fetch the lists of packages")?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // Output is read below, so it has to be in English.
        command.current_dir(&self.folder).env("LC_ALL", "C");
        for option in &self.options {
            command.arg("-o").arg(option);
        }
        command
    }

    /// The mirror of Debian that the machine uses.
    pub(super) fn mirror(&self) -> Result<String> {
        let printed = output(self.command("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
            "Label: Debian",
        ]))?;
        let mirror = printed.lines().next().map(str::trim).unwrap_or_default();
        if mirror.is_empty() {
            bail!("the machine's apt sources name no mirror of Debian");
        }
        Ok(mirror.to_owned())
    }

    /// Versions of a package, newest first; none if there is no such package.
    pub(super) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let printed = output(self.command("apt-cache").args(["madison", package]))?;
        Ok(parse_madison(&printed))
    }

    /// Names of packages that a `package=version` depends on.
    pub(super) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let printed = output(self.command("apt-cache").args(["show", package]))?;
        Ok(parse_depends(&printed))
    }

    /// Fetches packages, each `name` or `name=version`, and gives the files.
    pub(super) fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        run_with_limit(
            self.command("apt-get").args(["-qq", "download"]).args(packages),
            DOWNLOAD_TIMEOUT,
        )
        .with_context(|| format!("apt-get could not fetch {}", packages.join(", ")))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(value);
    option
}

/// Reads `package | version | source` lines.
fn parse_madison(printed: &str) -> Vec<String> {
    printed
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(|version| version.trim().to_owned())
        .collect()
}

/// Reads the names of `Depends: a (>= 1), b | c`; of alternatives the first.
fn parse_depends(printed: &str) -> Vec<String> {
    printed
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))
        .unwrap_or_default()
        .split(',')
        .filter_map(|one| one.split_whitespace().next())
        .map(ToOwned::to_owned)
        .collect()
}

/// Unpacks a package below a folder.
pub(super) fn unpack(package: &Path, folder: &Path) -> Result<()> {
    output(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder)).map(drop)
}

/// Unpacks only the standard library's sources, a sixth of the package.
pub(super) fn unpack_sources(package: &Path, folder: &Path) -> Result<()> {
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let tar = reader.stdout.take().context("dpkg-deb has no output")?;
    let unpacked = Command::new("tar")
        .args(["-x", "--wildcards", "--no-wildcards-match-slash"])
        .arg("-C")
        .arg(folder)
        .arg("./usr/src/rustc-*/library")
        .stdin(tar)
        .status();
    let read = reader.wait()?;
    let unpacked = unpacked.context("cannot start tar")?;
    if !read.success() || !unpacked.success() {
        bail!(
            "cannot unpack {}: dpkg-deb {read}, tar {unpacked}",
            package.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_newest_first() {
        let printed = " rustc-web | 1.96.0+dfsg1-1~deb12u2 | mirror bookworm-security/main\n \
                       rustc-web | 1.85.0+dfsg3-1~deb12u3 | mirror bookworm/main\n";
        assert_eq!(
            parse_madison(printed),
            ["1.96.0+dfsg1-1~deb12u2", "1.85.0+dfsg3-1~deb12u3"]
        );
        assert!(parse_madison("").is_empty());
    }

    #[test]
    fn dependencies_lose_their_versions() {
        let printed = "Package: x\nDepends: libc6 (>= 2.34), libllvm22, gcc | clang\nSize: 1\n";
        assert_eq!(parse_depends(printed), ["libc6", "libllvm22", "gcc"]);
        assert!(parse_depends("Package: x\n").is_empty());
    }
}
