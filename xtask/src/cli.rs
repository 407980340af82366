//! Runs `concordat` for somebody, the way that somebody would.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value as JsonValue;

use crate::workspace::program;

/// Who acts.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// A member or certificate user: `PREFIX_cert.pem` and `PREFIX_privk.pem`.
    Certificate(PathBuf),
    /// A user with a token in a file.
    Token(PathBuf),
    /// Nobody in particular.
    Anyone,
}

/// The command line, pointed at one service.
#[derive(Clone, Debug)]
pub(crate) struct Cli {
    /// `https://host:port`
    pub(crate) address: String,
    /// The pinned service certificate.
    pub(crate) service_cert: PathBuf,
}

/// The command line said no.
#[derive(Debug, thiserror::Error)]
#[error("concordat {command} ended with {exit_code}: {code}: {message}")]
pub(crate) struct CliError {
    /// The arguments.
    pub(crate) command: String,
    /// Its exit code.
    pub(crate) exit_code: i32,
    /// Machine-readable code.
    pub(crate) code: String,
    /// For people.
    pub(crate) message: String,
    /// Details of the refusal.
    pub(crate) details: JsonValue,
}

impl Cli {
    /// Runs a command and gives its JSON answer.
    pub(crate) fn run(&self, who: &Who, arguments: &[&str]) -> Result<JsonValue> {
        let mut command = base(arguments);
        command
            .env("CONCORDAT_ADDRESS", &self.address)
            .env("CONCORDAT_SERVICE_CERT", &self.service_cert);
        match who {
            Who::Certificate(prefix) => {
                command.env("CONCORDAT_CERT", suffixed(prefix, "_cert.pem"));
                command.env("CONCORDAT_KEY", suffixed(prefix, "_privk.pem"));
            }
            Who::Token(file) => {
                command.env("CONCORDAT_TOKEN_FILE", file);
            }
            Who::Anyone => {}
        }
        answer(command, arguments)
    }
}

/// Runs a command that needs no service.
pub(crate) fn offline(arguments: &[&str]) -> Result<JsonValue> {
    answer(base(arguments), arguments)
}

fn base(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("concordat"));
    for variable in ["ADDRESS", "SERVICE_CERT", "CERT", "KEY", "TOKEN_FILE"] {
        command.env_remove(format!("CONCORDAT_{variable}"));
    }
    command.arg("--json").args(arguments);
    command
}

fn suffixed(prefix: &Path, suffix: &str) -> PathBuf {
    let mut text = prefix.as_os_str().to_owned();
    text.push(suffix);
    PathBuf::from(text)
}

fn answer(mut command: Command, arguments: &[&str]) -> Result<JsonValue> {
    let output = command.output().context("cannot start concordat")?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let tree: JsonValue = serde_json::from_str(&printed).unwrap_or(JsonValue::Null);
    if output.status.success() {
        return Ok(tree);
    }
    let text = |pointer: &str| {
        tree.pointer(pointer)
            .and_then(JsonValue::as_str)
            .map(ToOwned::to_owned)
    };
    Err(CliError {
        command: arguments.join(" "),
        exit_code: output.status.code().unwrap_or(-1),
        code: text("/error/code").unwrap_or_else(|| "Unknown".to_owned()),
        message: text("/error/message").unwrap_or(said),
        details: tree.pointer("/error/details").cloned().unwrap_or(JsonValue::Null),
    }
    .into())
}
