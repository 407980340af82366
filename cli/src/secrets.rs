//! Secrets of a contract.

use std::path::PathBuf;

use clap::Subcommand;
use cleanroom_model::{ContractId, Identifier};
use serde_json::{Value as JsonValue, json};
use zeroize::Zeroizing;

use crate::answer::{Answer, Failure};
use crate::session::{Session, list, read_text};

#[derive(Subcommand)]
pub(crate) enum SecretCommand {
    /// Store a secret; an earlier value of that name is replaced
    Put {
        /// Contract id
        contract: ContractId,
        /// Name; the service puts your id before it
        name: Identifier,
        /// File whose text is the value; one trailing newline is dropped
        #[arg(long)]
        file: PathBuf,
    },
    /// Ids of the secrets of a contract
    List {
        /// Contract id
        contract: ContractId,
    },
}

pub(crate) async fn run(command: SecretCommand, session: &Session) -> Result<Answer, Failure> {
    let connection = session.connection()?;
    match command {
        SecretCommand::Put { contract, name, file } => {
            let value = Zeroizing::new(read_text(&file)?);
            let value = value.strip_suffix('\n').unwrap_or(&value);
            let body = json!({ "value": value });
            let answer: JsonValue = connection
                .put(&format!("/app/contracts/{contract}/secrets/{name}"), &body)
                .await?
                .json()?;
            let id = answer
                .get("secretId")
                .and_then(JsonValue::as_str)
                .unwrap_or_default()
                .to_owned();
            Ok(Answer::new(answer, format!("stored as {id}")))
        }
        SecretCommand::List { contract } => Ok(Answer::tree(
            list(&connection, &format!("/app/contracts/{contract}/secrets")).await?,
        )),
    }
}
