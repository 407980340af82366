//! The pinned compiler with a library built from sources of exactly its release.
//!
//! Sources of any other release do not compile: library and compiler know each other's internals.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::apt::{Apt, unpack_sources};
use super::compiler::{Compiler, sysroot};
use super::{GuestToolchain, RUSTUP_TIMEOUT, fetched};
use crate::workspace::{root, run_with_limit};

/// The suite of Debian that carries several releases side by side. Old ones leave it in time; then
/// Debian's own compiler is what remains.
const SUITE: &str = "trixie-backports";

/// Finds the sources in the toolchain, has rustup add them, or fetches them from Debian.
pub(super) fn find() -> Result<GuestToolchain> {
    let compiler = Compiler::pinned()?;
    let own = sysroot()?.join("lib/rustlib/src/rust");
    if has_library(&own) {
        return Ok(toolchain(&compiler, own, "of the toolchain"));
    }
    println!("adding rust-src with rustup");
    let added = run_with_limit(
        Command::new("rustup")
            .args(["component", "add", "rust-src"])
            .current_dir(root()),
        RUSTUP_TIMEOUT,
    );
    if has_library(&own) {
        return Ok(toolchain(&compiler, own, "of the toolchain"));
    }
    if let Err(error) = added {
        println!("rustup could not add rust-src: {error:#}");
    }
    let sources = of_debian(&compiler.release)?;
    let library = sources.join("library").into_os_string();
    let mut toolchain = toolchain(&compiler, sources, "of Debian");
    // Cargo's only way to name sources that do not lie in the toolchain.
    toolchain
        .environment
        .push(("__CARGO_TESTS_ONLY_SRC_ROOT", library));
    Ok(toolchain)
}

fn has_library(sources: &Path) -> bool {
    sources.join("library/Cargo.lock").is_file()
}

fn toolchain(compiler: &Compiler, sources: PathBuf, origin: &str) -> GuestToolchain {
    GuestToolchain {
        name: "rust-src",
        says: format!(
            "rustc {} with a library built from sources {origin}",
            compiler.release
        ),
        environment: Vec::new(),
        cargo_arguments: Vec::new(),
        renamed: vec![(sources, compiler.source_name())],
    }
    .with_library_from_source()
}

/// Fetches the sources of a release with apt; gives the folder that has `library`.
fn of_debian(release: &str) -> Result<PathBuf> {
    let folder = fetched(&format!("rust-src-{release}"), |partial| {
        println!("fetching rust-src {release} from Debian");
        let apt_folder = partial.join("apt");
        let mirror = Apt::of_machine(&apt_folder.join("machine"))?.mirror()?;
        let apt = Apt::of_suite(&apt_folder.join("suite"), &mirror, SUITE)?;
        let version = same_release(&apt.versions("rust-src")?, release)
            .with_context(|| format!("{SUITE} has no rust-src of release {release}"))?;
        for package in apt.download(&[format!("rust-src={version}")])? {
            unpack_sources(&package, partial)?;
        }
        Ok(std::fs::remove_dir_all(&apt_folder)?)
    })?;
    let sources = folder.join("usr/src").join(format!("rustc-{release}"));
    anyhow::ensure!(
        has_library(&sources),
        "Debian's rust-src has no library in {}",
        sources.display()
    );
    Ok(sources)
}

/// The first version whose upstream part is this release.
fn same_release(versions: &[String], release: &str) -> Option<String> {
    versions
        .iter()
        .find(|version| {
            version
                .strip_prefix(release)
                .is_some_and(|rest| rest.starts_with(['+', '-', '~']))
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_of_the_same_release_will_do() {
        let versions = ["1.96.1+dfsg1-2~bpo13+1", "1.95.0+dfsg1-2~bpo13+1"].map(str::to_owned);
        assert_eq!(same_release(&versions, "1.95.0").as_ref(), versions.get(1));
        assert_eq!(same_release(&versions, "1.96.0"), None);
        assert_eq!(same_release(&versions, "1.95"), None);
    }
}
