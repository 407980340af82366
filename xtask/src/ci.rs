//! `cargo xtask ci`: what the gate runs besides the tests.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::workspace::{cargo, run, target};

/// The version of cargo-deny that `deny.toml` is written for.
const DENY_VERSION: &str = "0.20.2";

/// Formatting, lints, documentation, dependency rules.
pub(crate) fn ci() -> Result<()> {
    step("formatting", &mut cargo(&["fmt", "--all", "--check"]))?;
    step(
        "lints",
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--release",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--release", "--quiet"]);
    step("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    deny()
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    println!("== {name}");
    run(command)
}

/// Licences, bans and sources. Advisories need a database from outside the registries, and change
/// while the code does not: [`crate::advisories`].
fn deny() -> Result<()> {
    let mut check = cargo_deny()?;
    check.args(["deny", "--locked", "check", "bans", "licenses", "sources"]);
    step("dependency rules", &mut check)
}

/// `cargo-deny` of the right version, in the checkout, with every package of the lock file at hand,
/// also those of other platforms, so that it needs no network.
pub(crate) fn cargo_deny() -> Result<Command> {
    let tools = target().join("tools");
    let installed = tools.join("bin/cargo-deny");
    let right = Command::new(&installed)
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(DENY_VERSION));
    if !right {
        println!("== installing cargo-deny {DENY_VERSION}");
        let mut install = cargo(&[
            "install",
            "cargo-deny",
            "--locked",
            "--quiet",
            "--version",
            DENY_VERSION,
            "--root",
        ]);
        run(install.arg(&tools))?;
    }
    step("packages", &mut cargo(&["fetch", "--locked", "--quiet"]))?;
    let mut command = Command::new(installed);
    command.current_dir(crate::workspace::root());
    Ok(command)
}
