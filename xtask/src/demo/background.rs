//! Programs that run beside the demo and end with it.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value as JsonValue;

use crate::workspace::{python, root};

/// Longest wait for a program's ready file, on a busy machine.
const READY_WAIT: Duration = Duration::from_secs(180);

/// A program that ends when this value is dropped.
pub(crate) struct Background {
    name: &'static str,
    child: Child,
    log: std::path::PathBuf,
}

impl Background {
    /// Starts a program with its output in `log`; its standard input stays open until it is dropped.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
        })
    }

    /// Starts one of the demo's Python programs.
    pub(crate) fn python(name: &'static str, script: &str, dir: &Path) -> Result<Self> {
        let mut command = Command::new(python("venv-tools"));
        command.arg(root().join("xtask/demo").join(script)).arg(dir);
        std::fs::create_dir_all(dir)?;
        Self::start(name, &mut command, &dir.join("log.txt"))
    }

    /// Its standard input.
    pub(crate) fn stdin(&mut self) -> Option<&mut ChildStdin> {
        self.child.stdin.as_mut()
    }

    /// Waits until the program has written this file.
    pub(crate) fn wait_for_file(&mut self, file: &Path) -> Result<String> {
        let started = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(file)
                && !text.trim().is_empty()
            {
                return Ok(text);
            }
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{} ended at start ({status}):\n{log}", self.name);
            }
            if started.elapsed() > READY_WAIT {
                bail!(
                    "{} was not ready within {} s; see {}",
                    self.name,
                    READY_WAIT.as_secs(),
                    self.log.display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the program has written this file, whole: it must be JSON.
    pub(crate) fn wait_for_json(&mut self, file: &Path) -> Result<JsonValue> {
        let started = Instant::now();
        loop {
            let text = self.wait_for_file(file)?;
            match serde_json::from_str(&text) {
                Ok(tree) => return Ok(tree),
                Err(e) if started.elapsed() > READY_WAIT => {
                    bail!("{} wrote {} that is not JSON: {e}", self.name, file.display())
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Closing standard input ends the Python programs; the launcher takes SIGTERM.
        drop(self.child.stdin.take());
        let _ = crate::workspace::terminate(self.child.id());
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
