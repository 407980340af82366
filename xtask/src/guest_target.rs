//! The compiler's target for components: there, or added by rustup, or refused with what to do.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::guests::TARGET;
use crate::workspace::{output, root};

/// How long rustup may take. It answers at once where there is nothing to do, and never where there
/// is no network.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(180);

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Where the compiler in use keeps its libraries.
pub(crate) fn sysroot() -> Result<PathBuf> {
    // In the checkout, so that its pinned toolchain answers.
    let printed = output(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(root()),
    )?;
    Ok(printed.trim().into())
}

fn target_is_installed() -> Result<bool> {
    Ok(sysroot()?.join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// Adds the target that components are compiled for, if it is not there.
///
/// # Errors
///
/// If it cannot be added, with what to do by hand.
pub(crate) fn ensure() -> Result<()> {
    if target_is_installed()? {
        return Ok(());
    }
    println!("adding the target {TARGET} with rustup");
    let added = run_with_limit(
        Command::new("rustup")
            .args(["target", "add", TARGET])
            .current_dir(root()),
        INSTALL_TIME_MAX,
    );
    if added.is_ok() && target_is_installed()? {
        return Ok(());
    }
    let why = added.err().map_or_else(String::new, |e| format!(": {e:#}"));
    bail!(
        "the target {TARGET} is not installed and rustup could not add it{why}\n\
         on a machine with network: rustup target add {TARGET}\n\
         otherwise: copy lib/rustlib/{TARGET} of the same compiler release into {}",
        sysroot()?.join("lib/rustlib").display()
    )
}

fn run_with_limit(command: &mut Command, limit: Duration) -> Result<()> {
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
        assert!(run_with_limit(&mut Command::new("true"), INSTALL_TIME_MAX).is_ok());
        assert!(run_with_limit(&mut Command::new("false"), INSTALL_TIME_MAX).is_err());
    }
}
