//! Both components: compiled, wrapped, and checked to import nothing but our own interfaces.
//!
//! The same source and compiler give the same digest in any folder: paths are remapped, and the
//! build has a target folder of its own, so that flags of other builds do not reach it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};

use crate::guest_target;
use crate::workspace::{cargo, root, run, target};

/// What components are compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Cargo profile of components.
const PROFILE: &str = "guest";

/// Imports that a component may have.
const IMPORT_PREFIX: &str = "concordat:host/";

/// A component: the package it is built from, and its file name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest {
    /// Cargo package.
    pub(crate) package: &'static str,
    /// Core module's file stem: the package with underscores.
    pub(crate) module: &'static str,
    /// File in `target/guests`.
    pub(crate) file: &'static str,
}

/// Every component.
pub(crate) const GUESTS: [Guest; 2] = [
    Guest {
        package: "constitution",
        module: "constitution",
        file: "constitution.wasm",
    },
    Guest {
        package: "governance-wasm",
        module: "governance_wasm",
        file: "governance.wasm",
    },
];

/// Builds all components into the build folder's `guests` and prints size and digest of each.
///
/// # Errors
///
/// If one does not compile, or asks for more than our interfaces.
pub(crate) fn build() -> Result<()> {
    guest_target::ensure()?;
    compile()?;
    let folder = target().join("guests");
    fs::create_dir_all(&folder)?;
    for guest in GUESTS {
        let module = build_folder()
            .join(TARGET)
            .join(PROFILE)
            .join(format!("{}.wasm", guest.module));
        let core = fs::read(&module).with_context(|| format!("no module {}", module.display()))?;
        let component = wrap(&core).with_context(|| format!("cannot wrap {}", guest.package))?;
        check_imports(&component).with_context(|| guest.package.to_owned())?;
        write_if_changed(&folder.join(guest.file), &component)?;
        let digest = hex::encode(Sha256::digest(&component));
        println!("{:<18} {:>8} bytes  sha256 {digest}", guest.file, component.len());
    }
    Ok(())
}

/// A folder of its own, so that flags of other builds do not reach the components.
fn build_folder() -> PathBuf {
    target().join("guest-build")
}

/// Compiler flags that take this machine's paths out of the module.
fn remapping() -> Result<String> {
    let flags = [
        format!("--remap-path-prefix={}=/source", root().display()),
        format!("--remap-path-prefix={}=/cargo", cargo_home()?.display()),
        format!("--remap-path-prefix={}=/rust", guest_target::sysroot()?.display()),
    ];
    // The separator of CARGO_ENCODED_RUSTFLAGS, which unlike blanks does not occur in paths.
    Ok(flags.join("\u{1f}"))
}

fn cargo_home() -> Result<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(folder) => Ok(folder.into()),
        None => Ok(std::env::home_dir().context("no home folder")?.join(".cargo")),
    }
}

fn compile() -> Result<()> {
    let mut command = cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--profile",
        PROFILE,
        "--target",
        TARGET,
    ]);
    for guest in GUESTS {
        command.args(["--package", guest.package]);
    }
    command
        .arg("--target-dir")
        .arg(build_folder())
        .env("CARGO_ENCODED_RUSTFLAGS", remapping()?)
        .env_remove("RUSTFLAGS");
    run(&mut command).context("the components do not compile")
}

/// Makes a component of a core module that carries its interface description.
fn wrap(core: &[u8]) -> Result<Vec<u8>> {
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(core)?
        .encode()
}

/// Refuses imports from anywhere but [`IMPORT_PREFIX`]: the import list is a component's authority.
fn check_imports(component: &[u8]) -> Result<()> {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            // Modules and components inside have imports of their own, satisfied by the outer one.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth = depth.saturating_add(1);
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let name = import?.name.name.to_owned();
                    if !name.starts_with(IMPORT_PREFIX) {
                        bail!("it imports {name}, which no world of ours offers");
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Leaves an equal file alone, so that what depends on its time is not built again.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component that imports an instance of this name.
    fn importing(name: &str) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        // Type section: one empty instance type.
        bytes.extend([7, 3, 1, 0x42, 0]);
        let length = u8::try_from(name.len()).unwrap();
        // Import section: plain name, instance of type 0.
        bytes.extend([10, length + 5, 1, 0, length]);
        bytes.extend(name.as_bytes());
        bytes.extend([5, 0]);
        bytes
    }

    #[test]
    fn only_our_own_imports_pass() {
        check_imports(&importing("concordat:host/kv@0.1.0")).unwrap();
        for foreign in ["wasi:cli/environment@0.2.0", "concordat:other/kv@0.1.0"] {
            let refused = check_imports(&importing(foreign)).unwrap_err();
            assert!(refused.to_string().contains(foreign), "{refused}");
        }
    }

    #[test]
    fn an_unchanged_file_is_not_written_again() {
        let path = std::env::temp_dir().join(format!("xtask-unchanged-{}", std::process::id()));
        write_if_changed(&path, b"1").unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        write_if_changed(&path, b"1").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        write_if_changed(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        fs::remove_file(path).unwrap();
    }
}
