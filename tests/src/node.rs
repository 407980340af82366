//! The node as a process: `concordat-host start`, signals, what it prints.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::built;

/// Longest wait for a node to start or stop, on a busy machine.
const WAIT: Duration = Duration::from_secs(180);

/// A running node; killed when dropped.
pub struct Node {
    child: Child,
    /// `https://host:port`.
    pub address: String,
    /// Whether it found a ledger and went on with it.
    pub resumed: bool,
    /// Kept open, so that the node can print at any time.
    _stdout: BufReader<ChildStdout>,
}

/// A node that ended by itself instead of answering.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it said on standard error.
    pub said: String,
}

impl Node {
    /// Starts a node with `flags` and waits until it answers; standard error goes to `log`.
    ///
    /// # Errors
    ///
    /// If it ends instead, with what it said, or takes too long.
    pub async fn start(config: &Path, log: &Path, flags: &[&str]) -> Result<Self> {
        match Self::try_start(config, log, flags).await? {
            Ok(node) => Ok(node),
            Err(ended) => bail!("the node ended at start ({}):\n{}", ended.status, ended.said),
        }
    }

    /// As [`Node::start`]; a node that ends by itself is a result, for tests that expect it.
    ///
    /// # Errors
    ///
    /// If the program is missing or neither answers nor ends in time.
    pub async fn try_start(config: &Path, log: &Path, flags: &[&str]) -> Result<Result<Self, Ended>> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let before = file.metadata()?.len();
        let mut child = Command::new(built::program("concordat-host")?)
            .arg("start")
            .arg("--config")
            .arg(config)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start concordat-host")?;
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        tokio::time::timeout(WAIT, stdout.read_line(&mut line))
            .await
            .with_context(|| format!("the node did not answer within {} s", WAIT.as_secs()))??;
        if line.is_empty() {
            let status = tokio::time::timeout(WAIT, child.wait()).await??;
            let log = std::fs::read(log)?;
            let said = log.get(usize::try_from(before)?..).unwrap_or_default();
            let said = String::from_utf8_lossy(said).into_owned();
            return Ok(Err(Ended { status, said }));
        }
        let address = line
            .split_whitespace()
            .find(|word| word.starts_with("https://"))
            .with_context(|| format!("the node printed no address but {line:?}"))?
            .to_owned();
        Ok(Ok(Self {
            child,
            address,
            resumed: line.contains("resumed"),
            _stdout: stdout,
        }))
    }

    /// The process id; `None` once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether the process is still there.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Stops it cleanly with SIGTERM, and expects exit code 0.
    ///
    /// # Errors
    ///
    /// If it does not stop in time, or not cleanly.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.pid().context("the node has ended already")?;
        // The shell's own `kill`: the program of that name is not part of every system.
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &pid.to_string()])
            .status()
            .await?;
        ensure!(sent.success(), "kill: {sent}");
        let status = tokio::time::timeout(WAIT, self.child.wait())
            .await
            .context("the node did not stop")??;
        ensure!(status.success(), "the node stopped with {status}");
        Ok(())
    }

    /// Ends it with SIGKILL: no handler runs, nothing is flushed.
    ///
    /// # Errors
    ///
    /// If the process cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }
}

/// Where a node of a test keeps its files.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The test's folder.
    pub dir: PathBuf,
}

impl Layout {
    /// Configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("node.toml")
    }

    /// Ledger folder.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.dir.join("ledger")
    }

    /// State folder, with the sealed identity.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Standard error of every start, one after another.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    /// The service certificate that the node writes.
    #[must_use]
    pub fn service_cert(&self) -> PathBuf {
        self.dir.join("service_cert.pem")
    }
}
