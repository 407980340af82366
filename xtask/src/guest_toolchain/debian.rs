//! Debian's compiler for web browsers, which stable releases get anew with every browser, and the
//! sources it was built from. Run from the build folder; cargo stays the pinned one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::apt::{Apt, unpack, unpack_sources};
use super::compiler::{Compiler, minor, sysroot};
use super::{GuestToolchain, fetched};

/// Unpacks the compiler, if it is not there, and checks that it starts.
pub(super) fn find() -> Result<GuestToolchain> {
    let pinned = Compiler::pinned()?;
    let linker = sysroot()?
        .join("lib/rustlib")
        .join(&pinned.host)
        .join("bin/rust-lld");
    ensure!(linker.is_file(), "there is no linker {}", linker.display());
    let usr = fetched("debian", |partial| fetch(partial, &pinned))?.join("usr");
    let rustc = usr.join("bin/rustc");
    let libraries = library_path(&usr);
    let compiler = Compiler::of(Command::new(&rustc).env("LD_LIBRARY_PATH", &libraries))
        .context("Debian's compiler does not start on this machine")?;
    let sources = std::fs::canonicalize(usr.join("lib/rustlib/src/rust"))
        .context("Debian's compiler came without its sources")?;
    Ok(GuestToolchain {
        name: "debian",
        says: format!("Debian's rustc {}", compiler.release),
        environment: vec![
            ("RUSTC", rustc.into()),
            ("LD_LIBRARY_PATH", libraries),
            // Debian's compiler looks for a linker that is in none of the packages above.
            ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker.into()),
        ],
        cargo_arguments: Vec::new(),
        renamed: vec![
            (usr.join("lib/rustlib/src/rust"), compiler.source_name()),
            (sources, compiler.source_name()),
        ],
    }
    .with_library_from_source())
}

/// Where the packages put shared libraries.
fn library_path(usr: &Path) -> OsString {
    // Debian's name of the architecture's folder is the kernel's, except that 32-bit Intel differs.
    usr.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH))
        .into_os_string()
}

fn fetch(partial: &Path, pinned: &Compiler) -> Result<()> {
    println!("fetching rustc-web and its sources from Debian");
    let apt_folder = partial.join("apt");
    let apt = Apt::of_machine(&apt_folder)?;
    let versions = apt.versions("rustc-web")?;
    // apt names the newest first.
    let version = versions.first().context("Debian's sources have no rustc-web")?;
    let (major, number) =
        minor(version).with_context(|| format!("rustc-web has the odd version {version}"))?;
    if Some((major, number)) < pinned.minor() {
        bail!("Debian's rustc-web {version} is older than {}", pinned.release);
    }
    let library = format!("libstd-rust-web-{major}.{number}");
    let mut packages: Vec<String> = ["rustc-web", "libstd-rust-web-dev", &library, "rust-web-src"]
        .iter()
        .map(|package| format!("{package}={version}"))
        .collect();
    let backend = apt
        .dependencies(&format!("{library}={version}"))?
        .into_iter()
        .find(|package| package.starts_with("libllvm"));
    packages.extend(backend);
    for package in apt.download(&packages)? {
        let unpacked: fn(&Path, &Path) -> Result<()> = if is_sources(&package) {
            unpack_sources
        } else {
            unpack
        };
        unpacked(&package, partial)?;
    }
    link_sources(partial)?;
    Ok(std::fs::remove_dir_all(&apt_folder)?)
}

fn is_sources(package: &Path) -> bool {
    package
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("rust-web-src_"))
}

/// Puts the sources where cargo looks for those of a toolchain.
fn link_sources(partial: &Path) -> Result<()> {
    let usr = partial.join("usr");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(usr.join("src"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    folders.sort();
    let name = folders
        .iter()
        .filter_map(|folder| folder.file_name())
        .find(|name| name.to_string_lossy().starts_with("rustc-"))
        .context("rust-web-src has no sources")?;
    let at = usr.join("lib/rustlib/src");
    std::fs::create_dir_all(&at)?;
    std::os::unix::fs::symlink(Path::new("../../../src").join(name), at.join("rust"))
        .context("cannot link the sources")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_linked_into_the_toolchain() {
        let folder = std::env::temp_dir().join(format!("xtask-debian-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("usr/src/rustc-1.96.0/library")).unwrap();
        link_sources(&folder).unwrap();
        assert!(folder.join("usr/lib/rustlib/src/rust/library").is_dir());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_the_sources_are_unpacked_in_part() {
        assert!(is_sources(Path::new("/a/rust-web-src_1.96.0_all.deb")));
        assert!(!is_sources(Path::new("/a/rustc-web_1.96.0_amd64.deb")));
    }
}
