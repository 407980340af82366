//! The compiler for components: the pinned one with its target, or what a machine that cannot add
//! the target makes do with (spec: wasm-guests, sections 1 and 2).
//!
//! Nothing is installed into the system: what is fetched lies in the build folder, except that
//! rustup may add a part to its own toolchain.

mod apt;
mod compiler;
mod debian;
mod installed;
mod rust_src;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::workspace::target;

/// How long rustup may take. It answers at once where there is nothing to do, and never where there
/// is no network.
const RUSTUP_TIMEOUT: Duration = Duration::from_secs(180);

/// Which compiler components are built with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// The first of the three below that this machine can offer.
    #[default]
    Auto,
    /// The pinned compiler with its prebuilt target; rustup gets 180 seconds to add a missing one.
    Installed,
    /// The pinned compiler; the target's library is built from sources of the same release, found
    /// in the toolchain, added by rustup, or fetched from Debian backports (45 MB) with apt.
    RustSrc,
    /// Debian's compiler `rustc-web` and its sources, fetched with apt (137 MB) and unpacked into
    /// the build folder (480 MB).
    Debian,
}

/// A compiler that can build components, and how cargo is told to use it.
#[derive(Clone, Debug)]
pub(crate) struct GuestToolchain {
    /// Short name; builds of different toolchains have folders of their own.
    pub(crate) name: &'static str,
    /// What it is, for people: release and origin.
    pub(crate) says: String,
    /// Variables that cargo needs.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Arguments that `cargo build` needs.
    pub(crate) cargo_arguments: Vec<&'static str>,
    /// Folders of this machine that the compiler reads, each with the name that stands for it in a
    /// component. A later entry goes before an earlier one that contains it.
    pub(crate) renamed: Vec<(PathBuf, String)>,
}

impl GuestToolchain {
    /// Has cargo build the standard library from the sources that belong to the compiler.
    fn with_library_from_source(mut self) -> Self {
        // Building the library is not stable; this opens it for a stable compiler.
        self.environment.push(("RUSTC_BOOTSTRAP", "1".into()));
        self.cargo_arguments.push("-Zbuild-std=std,panic_abort");
        self
    }
}

/// Name of a way, and the way.
type Way = (&'static str, fn() -> Result<GuestToolchain>);

const INSTALLED: Way = ("installed", installed::find);
const RUST_SRC: Way = ("rust-src", rust_src::find);
const DEBIAN: Way = ("debian", debian::find);

/// Finds the compiler that was asked for, and fetches what it lacks.
///
/// # Errors
///
/// If there is none, with every reason and what to do by hand.
pub(crate) fn find(choice: Choice) -> Result<GuestToolchain> {
    match choice {
        Choice::Auto => first_of(&[INSTALLED, RUST_SRC, DEBIAN]),
        Choice::Installed => first_of(&[INSTALLED]),
        Choice::RustSrc => first_of(&[RUST_SRC]),
        Choice::Debian => first_of(&[DEBIAN]),
    }
}

fn first_of(ways: &[Way]) -> Result<GuestToolchain> {
    let mut refusals = Vec::new();
    for (name, way) in ways {
        match way() {
            Ok(toolchain) => return Ok(toolchain),
            Err(error) => {
                println!("toolchain {name} is not available: {error:#}");
                refusals.push(format!("  {name}: {error:#}"));
            }
        }
    }
    bail!(
        "no compiler for components was found\n{}\n\
         with network, one of: rustup target add {target}; rustup component add rust-src; \
         apt-get with the sources of a supported Debian\n\
         without network: copy lib/rustlib/{target} of the same compiler release into {}",
        refusals.join("\n"),
        compiler::sysroot().map_or_else(
            |_| "lib/rustlib of the toolchain".to_owned(),
            |sysroot| sysroot.join("lib/rustlib").display().to_string()
        ),
        target = crate::guests::TARGET,
    )
}

/// A folder for something fetched, which is whole or not there: it is filled under another name.
///
/// It is kept until somebody removes it, so that a checkout goes on with the compiler it has.
fn fetched(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let all = target().join("guest-toolchains");
    let folder = all.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let partial = all.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    fill(&partial)?;
    fs::rename(&partial, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn works() -> Result<GuestToolchain> {
        Ok(GuestToolchain {
            name: "works",
            says: String::new(),
            environment: Vec::new(),
            cargo_arguments: Vec::new(),
            renamed: Vec::new(),
        })
    }

    fn fails() -> Result<GuestToolchain> {
        bail!("no network")
    }

    #[test]
    fn the_first_way_that_works_is_taken() {
        let ways: [Way; 3] = [("a", fails), ("b", works), ("c", fails)];
        assert_eq!(first_of(&ways).unwrap().name, "works");
    }

    #[test]
    fn the_error_names_every_way_and_what_to_do() {
        let error = first_of(&[("a", fails), ("b", fails)]).unwrap_err().to_string();
        for part in ["a: no network", "b: no network", "rustup target add wasm32"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_library_is_built_by_a_stable_compiler_too() {
        let built = works().unwrap().with_library_from_source();
        assert_eq!(built.cargo_arguments, ["-Zbuild-std=std,panic_abort"]);
        assert_eq!(built.environment, [("RUSTC_BOOTSTRAP", "1".into())]);
    }

    #[test]
    fn a_folder_that_could_not_be_filled_is_not_there() {
        let name = format!("test-{}", std::process::id());
        fetched(&name, |_| bail!("cut off")).unwrap_err();
        let folder = fetched(&name, |partial| Ok(fs::write(partial.join("whole"), "")?)).unwrap();
        assert!(folder.join("whole").is_file());
        // The second time nothing is fetched.
        assert_eq!(fetched(&name, |_| bail!("cut off")).unwrap(), folder);
        fs::remove_dir_all(folder).unwrap();
    }
}
