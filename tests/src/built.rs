//! Where the build put what the tests start: programs, components, Python tools.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// The build folder: a test's executable lies in `<target>/<profile>/deps`.
fn target() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let folder = executable.ancestors().nth(3);
    Ok(folder.context("a test runs from the build folder")?.to_owned())
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    ensure!(
        path.is_file(),
        "{} is missing; `cargo xtask test` builds and installs what the tests need",
        path.display()
    );
    Ok(path)
}

/// A program of ours, such as `concordat-host`.
///
/// # Errors
///
/// If it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    existing(target()?.join("release").join(name))
}

/// A component of ours: `governance` or `constitution`.
///
/// # Errors
///
/// If it has not been built.
pub fn guest(name: &str) -> Result<PathBuf> {
    existing(target()?.join("guests").join(format!("{name}.wasm")))
}

/// A command of the Python environment with the public tools.
///
/// # Errors
///
/// If the environment has not been installed.
pub fn tool(name: &str) -> Result<PathBuf> {
    existing(target()?.join("venv-tools").join("bin").join(name))
}

/// A Python environment, such as Spark's.
///
/// # Errors
///
/// If it has not been installed.
pub fn environment(name: &str) -> Result<PathBuf> {
    let folder = target()?.join(name);
    existing(folder.join("bin/python"))?;
    Ok(folder)
}

/// A file of the checkout.
#[must_use]
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
///
/// If it cannot be started or fails; with everything it said.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{printed}{said}", output.status);
    }
    Ok(printed)
}
