//! `cargo xtask test`: every test of the workspace, after installing what they need.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::workspace::{cargo, run};

/// Sets up, builds and runs all tests; the runner's closing lines are the last thing printed.
pub(crate) fn test(filter: &[String]) -> Result<()> {
    crate::setup::everything()?;
    let nextest = Command::new("cargo")
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if nextest {
        let mut command = cargo(&[
            "nextest",
            "run",
            "--workspace",
            "--cargo-profile",
            "release",
            "--no-fail-fast",
        ]);
        run(command.args(filter))
    } else {
        let mut command = cargo(&["test", "--workspace", "--release", "--no-fail-fast"]);
        run(command.arg("--").args(filter))
    }
}
