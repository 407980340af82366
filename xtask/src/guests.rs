//! Both components: compiled, wrapped, and checked to import nothing but our own interfaces.
//!
//! The same source and compiler give the same digest in any folder: paths are renamed, which is
//! checked, and the build has a target folder of its own, so that flags of other builds do not
//! reach it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};

use crate::guest_toolchain::{self, Choice, GuestToolchain};
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

/// Shortest number of components of a path that is looked for in a component: a path like `/src`
/// also is a part of others that mean nothing.
const SEARCHED_DEPTH_MIN: usize = 3;

/// Builds all components into the build folder's `guests` and prints compiler, and size and digest
/// of each.
///
/// # Errors
///
/// If no compiler is found, or a component does not compile, asks for more than our interfaces, or
/// names a folder of this machine.
pub(crate) fn build(choice: Choice) -> Result<()> {
    let toolchain = guest_toolchain::find(choice)?;
    println!(
        "components by {}; another compiler gives other digests, so published ones need one compiler",
        toolchain.says
    );
    let renamed = renamed_folders(&toolchain)?;
    compile(&toolchain, &renamed)?;
    let folder = target().join("guests");
    fs::create_dir_all(&folder)?;
    for guest in GUESTS {
        let module = build_folder(&toolchain)
            .join(TARGET)
            .join(PROFILE)
            .join(format!("{}.wasm", guest.module));
        let core = fs::read(&module).with_context(|| format!("no module {}", module.display()))?;
        let component = wrap(&core).with_context(|| format!("cannot wrap {}", guest.package))?;
        check_imports(&component).with_context(|| guest.package.to_owned())?;
        check_folders(&component, &renamed).with_context(|| guest.package.to_owned())?;
        write_if_changed(&folder.join(guest.file), &component)?;
        let digest = hex::encode(Sha256::digest(&component));
        println!("{:<18} {:>8} bytes  sha256 {digest}", guest.file, component.len());
    }
    Ok(())
}

/// A folder of its own, so that flags of other builds do not reach the components.
fn build_folder(toolchain: &GuestToolchain) -> PathBuf {
    target().join("guest-build").join(toolchain.name)
}

/// Folders of this machine that the compiler reads, with the names that stand for them.
///
/// The compiler takes the last one that fits, so the build folder goes before the checkout that may
/// contain it, and the toolchain's before both.
fn renamed_folders(toolchain: &GuestToolchain) -> Result<Vec<(PathBuf, String)>> {
    let mut renamed = vec![
        (root(), "/source".to_owned()),
        (cargo_home()?, "/cargo".to_owned()),
        (build_folder(toolchain), "/build".to_owned()),
    ];
    renamed.extend(toolchain.renamed.iter().cloned());
    Ok(renamed)
}

/// Compiler flags that rename folders.
fn renaming(renamed: &[(PathBuf, String)]) -> String {
    let flags: Vec<String> = renamed
        .iter()
        .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()))
        .collect();
    // The separator of CARGO_ENCODED_RUSTFLAGS, which unlike blanks does not occur in paths.
    flags.join("\u{1f}")
}

fn cargo_home() -> Result<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(folder) => Ok(folder.into()),
        None => Ok(std::env::home_dir().context("no home folder")?.join(".cargo")),
    }
}

fn compile(toolchain: &GuestToolchain, renamed: &[(PathBuf, String)]) -> Result<()> {
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
        .args(&toolchain.cargo_arguments)
        .arg("--target-dir")
        .arg(build_folder(toolchain))
        .envs(toolchain.environment.iter().map(|(name, value)| (name, value)))
        .env("CARGO_ENCODED_RUSTFLAGS", renaming(renamed))
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

/// Refuses a component that names one of these folders: it would have another digest elsewhere.
fn check_folders(component: &[u8], renamed: &[(PathBuf, String)]) -> Result<()> {
    for (folder, _) in renamed {
        let searched = folder.as_os_str().as_encoded_bytes();
        if folder.components().count() >= SEARCHED_DEPTH_MIN
            && component.windows(searched.len()).any(|window| window == searched)
        {
            bail!(
                "it names {}, a folder of this machine, so nobody could build it again",
                folder.display()
            );
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

    fn renamed(folders: &[&str]) -> Vec<(PathBuf, String)> {
        let named = |folder: &&str| (PathBuf::from(folder), "/name".to_owned());
        folders.iter().map(named).collect()
    }

    #[test]
    fn a_component_that_names_a_folder_of_the_machine_is_refused() {
        let component = b"\0asm cannot open /home/me/concordat/src/lib.rs";
        let refused = check_folders(component, &renamed(&["/root/.cargo", "/home/me/concordat"]));
        assert!(refused.unwrap_err().to_string().contains("/home/me/concordat"));
        check_folders(component, &renamed(&["/root/.cargo", "/home/you"])).unwrap();
        check_folders(b"", &renamed(&["/home/me"])).unwrap();
        // Too short to mean anything: `/cargo/registry/src` has it too.
        check_folders(component, &renamed(&["/src"])).unwrap();
    }

    #[test]
    fn the_compiler_gets_the_renamed_folders_in_order() {
        let flags = renaming(&renamed(&["/a b", "/a b/target"]));
        let flags: Vec<&str> = flags.split('\u{1f}').collect();
        assert_eq!(
            flags,
            [
                "--remap-path-prefix=/a b=/name",
                "--remap-path-prefix=/a b/target=/name"
            ]
        );
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
