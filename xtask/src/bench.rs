//! `cargo xtask bench`: builds everything, opens a fresh service and puts it under load.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::sandbox::{Plan, Sandbox};
use crate::workspace::{build_programs, program, root, run, target};

/// What to measure and where to leave it.
pub(crate) struct Wanted {
    /// Length of each row, in seconds.
    pub(crate) seconds: u64,
    /// Numbers of connections, separated by commas.
    pub(crate) connections: String,
    /// Parts of row names, separated by commas; all rows if absent.
    pub(crate) rows: Option<String>,
    /// The floods instead of the rows.
    pub(crate) floods: bool,
    /// What host calls take of the writer, instead of the rows.
    pub(crate) host_calls: bool,
    /// File for everything as JSON.
    pub(crate) json: Option<PathBuf>,
    /// File for the tables as Markdown.
    pub(crate) markdown: Option<PathBuf>,
}

/// Measures a service of three members and one user, which it starts and stops.
pub(crate) fn bench(wanted: &Wanted) -> Result<()> {
    crate::guests::build(crate::guest_toolchain::Choice::Auto)?;
    build_programs()?;
    let dir = target().join("bench");
    empty(&dir)?;
    let mut sandbox = Sandbox::start(&Plan {
        dir: dir.clone(),
        members: (0..3).map(|index| format!("member{index}")).collect(),
        users: 1,
        port: 0,
    })?;
    let mut command = Command::new(program("concordat-bench"));
    command
        .arg("--sandbox")
        .arg(&dir)
        .arg("--recorded")
        .arg(root().join("tests/vectors/attestation/azure-cleanroom/caci/encryption"))
        .args(["--seconds", &wanted.seconds.to_string()])
        .args(["--connections", &wanted.connections])
        .args(["--answered-s", &sandbox.answered_after.as_secs_f64().to_string()])
        .args(["--opened-s", &sandbox.opened_after.as_secs_f64().to_string()]);
    if let Some(rows) = &wanted.rows {
        command.args(["--rows", rows]);
    }
    for (name, file) in [("--json", &wanted.json), ("--markdown", &wanted.markdown)] {
        if let Some(file) = file {
            command.arg(name).arg(file);
        }
    }
    for (name, asked) in [("--floods", wanted.floods), ("--host-calls", wanted.host_calls)] {
        if asked {
            command.arg(name);
        }
    }
    run(&mut command)?;
    sandbox.stop()
}

/// A ledger left by the last run would be taken up again.
fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    Ok(())
}
