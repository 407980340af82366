//! The software attester for development.

use std::path::PathBuf;

use clap::Subcommand;
use evidence::software::{ark_spki_sha256, init};
use serde_json::json;

use crate::answer::{Answer, Failure};

#[derive(Subcommand)]
pub(crate) enum AttesterCommand {
    /// Make a chip with its certificate chain; keys stay in the folder
    Init {
        /// An empty folder
        dir: PathBuf,
    },
    /// The root to list under `insecure_virtual_roots` of a development node
    Root {
        /// The attester's folder
        dir: PathBuf,
    },
}

pub(crate) fn run(command: &AttesterCommand) -> Result<Answer, Failure> {
    let dir = match command {
        AttesterCommand::Init { dir } => {
            init(dir).map_err(|e| Failure::Usage(e.to_string()))?;
            dir
        }
        AttesterCommand::Root { dir } => dir,
    };
    let root = ark_spki_sha256(dir).map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(Answer::new(json!({ "root": root }), root.to_string()))
}
