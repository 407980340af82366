//! Components: propose the application or the constitution as a file.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use model::b64;
use model::proposal::RawAction;
use serde_json::{Value as JsonValue, json};

use crate::answer::{Answer, Failure};
use crate::governance::propose;
use crate::session::{Session, read_bytes};

#[derive(Subcommand)]
pub(crate) enum ComponentCommand {
    /// Propose an application component (set_wasm_app)
    ProposeApplication {
        /// The component
        file: PathBuf,
    },
    /// Propose a constitution component (set_constitution)
    ProposeConstitution {
        /// The component
        file: PathBuf,
    },
    /// SHA-256 of a component file, to compare with what was voted
    Digest {
        /// The component
        file: PathBuf,
    },
    /// Digests of the components in force
    Show,
}

pub(crate) async fn run(command: ComponentCommand, session: &Session) -> Result<Answer, Failure> {
    match command {
        ComponentCommand::ProposeApplication { file } => {
            propose(session, &[action("set_wasm_app", "component", &file)?]).await
        }
        ComponentCommand::ProposeConstitution { file } => {
            propose(session, &[action("set_constitution", "constitution", &file)?]).await
        }
        ComponentCommand::Digest { file } => {
            let digest = crypto::sha256(&read_bytes(&file)?).to_string();
            Ok(Answer::new(json!({ "digest": digest }), digest))
        }
        ComponentCommand::Show => {
            let connection = session.connection()?;
            let answer: JsonValue = client::governance::read(&connection, "service/measurements").await?;
            Ok(Answer::tree(answer))
        }
    }
}

fn action(name: &str, field: &str, file: &Path) -> Result<RawAction, Failure> {
    let bytes = read_bytes(file)?;
    let digest = crypto::sha256(&bytes).to_string();
    Ok(RawAction {
        name: name.to_owned(),
        args: json!({ field: b64::encode(&bytes), "digest": digest }),
    })
}
