//! `cargo xtask test`: every test of the workspace, after installing what they need.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::workspace::{cargo, run, venv_dir};

/// Sets up, builds and runs all tests; the runner's closing lines are the last thing printed.
pub(crate) fn test(filter: &[String]) -> Result<()> {
    curl()?;
    crate::setup::everything()?;
    // With another build folder than the workspace's, the tests cannot know where Spark is.
    let spark = venv_dir("venv-spark");
    if answers(Command::new("cargo").args(["nextest", "--version"])) {
        // First, so that the runner's closing lines stay the last; it has no examples of its own.
        let examples = if filter.is_empty() { examples() } else { Ok(()) };
        let mut command = cargo(&[
            "nextest",
            "run",
            "--workspace",
            "--cargo-profile",
            "release",
            "--no-fail-fast",
        ]);
        run(command.args(filter).env("CONCORDAT_SPARK_VENV", spark))?;
        examples
    } else {
        let mut command = cargo(&["test", "--workspace", "--release", "--no-fail-fast"]);
        run(command.arg("--").args(filter).env("CONCORDAT_SPARK_VENV", spark))
    }
}

/// The examples in the documentation, among them those that must not compile: that keys cannot be
/// printed or copied out is shown in no other way.
///
/// Of the whole workspace, because naming one package would build its dependencies with other
/// features once more.
fn examples() -> Result<()> {
    println!("    examples in the documentation");
    run(&mut cargo(&[
        "test",
        "--workspace",
        "--release",
        "--doc",
        "--quiet",
    ]))
}

/// The story of the public signing tool sends its requests with curl, as its users do.
fn curl() -> Result<()> {
    if answers(Command::new("curl").arg("--version")) {
        return Ok(());
    }
    println!("    installing curl with apt-get");
    // A fresh machine has no package lists yet.
    for arguments in [
        &["update", "--quiet"][..],
        &["install", "--yes", "--quiet", "curl"],
    ] {
        run(Command::new("apt-get").args(arguments))
            .context("the tests need curl: install it, or run this as root on Debian")?;
    }
    Ok(())
}

fn answers(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
