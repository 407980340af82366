//! Where things are in the checkout, and how programs of it are built and run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often a command with a time limit is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The build folder, shared by everything that builds.
pub(crate) fn target() -> PathBuf {
    #[allow(
        clippy::disallowed_methods,
        reason = "cargo's own variable, read in this one place"
    )]
    let set = std::env::var("CARGO_TARGET_DIR")
        .ok()
        .filter(|dir| !dir.is_empty());
    set.map_or_else(|| root().join("target"), PathBuf::from)
}

/// A built program of ours.
pub(crate) fn program(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// The Python of a virtual environment made by `setup`.
pub(crate) fn python(venv: &str) -> PathBuf {
    venv_dir(venv).join("bin").join("python")
}

/// A virtual environment's folder.
pub(crate) fn venv_dir(venv: &str) -> PathBuf {
    target().join(venv)
}

/// `cargo`, in the checkout.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command to its end; its failure is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown} failed: {status}");
    }
    Ok(())
}

/// Runs a command that may hang, such as one that waits for a network; it is stopped at the limit.
pub(crate) fn run_with_limit(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).spawn().context("cannot start it")?;
    let start = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("it ended with {status}"),
            None if start.elapsed() > limit => {
                child.kill().context("cannot stop it")?;
                child.wait()?;
                bail!("no answer within {} seconds", limit.as_secs());
            }
            None => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

/// Asks a process to end with SIGTERM. By the shell's own `kill`: the program of that name is not
/// part of every system.
pub(crate) fn terminate(pid: u32) -> Result<()> {
    run(Command::new("sh")
        .args(["-c", "kill -TERM \"$0\""])
        .arg(pid.to_string()))
}

/// Runs a command and gives what it printed; its failure is an error with what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout);
        bail!("{shown} failed ({}):\n{printed}{said}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed something that is not UTF-8"))
}

/// Builds every program of ours that the demo, the sandbox and the tests start.
///
/// The whole workspace at once: building packages by name unifies features differently, and cargo
/// would compile the engine a second time for the tests. Cargo's own progress is shown: the first
/// time takes minutes.
pub(crate) fn build_programs() -> Result<()> {
    run(&mut cargo(&["build", "--release", "--workspace", "--bins"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_end_is_stopped() {
        let endless = run_with_limit(Command::new("sleep").arg("60"), Duration::from_millis(1));
        assert!(endless.unwrap_err().to_string().contains("no answer"));
    }

    #[test]
    fn failing_and_succeeding_commands_are_told_apart() {
        let limit = Duration::from_secs(60);
        assert!(run_with_limit(&mut Command::new("true"), limit).is_ok());
        assert!(run_with_limit(&mut Command::new("false"), limit).is_err());
    }
}
