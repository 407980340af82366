//! What a command gives back, and how it reaches the terminal.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the one place that prints"
)]

use std::process::ExitCode;

use client::ClientError;
use serde_json::{Value as JsonValue, json};

/// A command's result: for programs and for people.
pub(crate) struct Answer {
    /// What `--json` prints.
    pub(crate) json: JsonValue,
    /// What a terminal shows.
    pub(crate) text: String,
}

impl Answer {
    /// An answer whose text is written out.
    pub(crate) fn new(json: JsonValue, text: impl Into<String>) -> Self {
        Self {
            json,
            text: text.into(),
        }
    }

    /// An answer that people read as indented JSON, too.
    pub(crate) fn tree(json: JsonValue) -> Self {
        let text = serde_json::to_string_pretty(&json).unwrap_or_default();
        Self { json, text }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Our own fault or this machine's: exit code 1.
    Ours(String),
    /// Arguments or files cannot be used: exit code 2.
    Usage(String),
    /// The service or a proof: exit code 3, 4 or 5.
    Client(ClientError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Usage(text) => Self::Usage(text),
            other => Self::Client(other),
        }
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Ours(_) => 1,
            Self::Usage(_) => 2,
            Self::Client(ClientError::Unreachable { .. }) => 3,
            Self::Client(error) if error.is_fork() => 5,
            Self::Client(ClientError::Api { .. }) => 4,
            Self::Client(ClientError::Verification(_)) => 5,
            Self::Client(_) => 1,
        }
    }

    fn parts(&self) -> (String, String, Vec<JsonValue>) {
        match self {
            Self::Ours(text) => ("Internal".to_owned(), text.clone(), Vec::new()),
            Self::Usage(text) => ("Usage".to_owned(), text.clone(), Vec::new()),
            Self::Client(ClientError::Api {
                code,
                message,
                details,
                ..
            }) => (code.clone(), message.clone(), details.clone()),
            Self::Client(error @ ClientError::Unreachable { .. }) => {
                ("Unreachable".to_owned(), error.to_string(), Vec::new())
            }
            Self::Client(error @ ClientError::Verification(_)) => {
                ("VerificationFailed".to_owned(), error.to_string(), Vec::new())
            }
            Self::Client(ClientError::Forked(text)) => ("ServiceForked".to_owned(), text.clone(), Vec::new()),
            Self::Client(error) => ("Unexpected".to_owned(), error.to_string(), Vec::new()),
        }
    }
}

/// Prints an answer.
pub(crate) fn print(answer: &Answer, as_json: bool) -> ExitCode {
    if as_json {
        println!("{}", answer.json);
    } else {
        println!("{}", answer.text);
    }
    ExitCode::SUCCESS
}

/// Prints a failure: text to standard error, or the error envelope to standard output.
pub(crate) fn fail(failure: &Failure, as_json: bool) -> ExitCode {
    let (code, message, details) = failure.parts();
    if as_json {
        println!(
            "{}",
            json!({ "error": { "code": code, "message": message, "details": details } })
        );
    } else {
        eprintln!("error {code}: {message}");
        for detail in details {
            eprintln!("  {detail}");
        }
    }
    ExitCode::from(failure.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_lacks_what_was_seen_is_told_apart_from_one_that_refuses() {
        let api = |status, code: &str| {
            Failure::Client(ClientError::Api {
                status,
                code: code.to_owned(),
                message: String::new(),
                details: Vec::new(),
            })
        };
        for (failure, exit) in [
            (api(409, "ServiceForked"), 5),
            (Failure::Client(ClientError::Forked(String::new())), 5),
            (Failure::Client(ClientError::Verification(String::new())), 5),
            (api(409, "RunIdInUse"), 4),
        ] {
            assert_eq!(failure.exit_code(), exit, "{failure:?}");
        }
    }
}
