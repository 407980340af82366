//! Contracts: draft, propose, read, pause.

use std::path::PathBuf;

use clap::Subcommand;
use cleanroom_model::ContractId;
use client::Connection;
use model::proposal::RawAction;
use serde_json::{Value as JsonValue, json};

use crate::answer::{Answer, Failure};
use crate::governance::propose;
use crate::session::{Session, list, read_text};

#[derive(Subcommand)]
pub(crate) enum ContractCommand {
    /// Write a draft. Updating one needs the version you read
    Put {
        /// Contract id
        id: ContractId,
        /// File with the contract's data; JSON is stored as JSON, anything else as text
        #[arg(long)]
        data: PathBuf,
        /// Version of the draft that is replaced
        #[arg(long)]
        version: Option<String>,
    },
    /// A contract with its state
    Show {
        /// Contract id
        id: ContractId,
    },
    /// Every contract
    List,
    /// Propose the draft exactly as it is now
    Propose {
        /// Contract id
        id: ContractId,
    },
    /// Give your own consent to executions under an accepted contract
    Enable {
        /// Contract id
        id: ContractId,
    },
    /// Withdraw your own consent to executions
    Disable {
        /// Contract id
        id: ContractId,
    },
    /// Whether executions are enabled, and who disabled them
    Status {
        /// Contract id
        id: ContractId,
    },
}

pub(crate) async fn run(command: ContractCommand, session: &Session) -> Result<Answer, Failure> {
    let connection = session.connection()?;
    match command {
        ContractCommand::Put { id, data, version } => {
            let text = read_text(&data)?;
            let data = serde_json::from_str(&text).unwrap_or(JsonValue::String(text));
            let mut body = json!({ "data": data });
            if let (Some(version), Some(fields)) = (version, body.as_object_mut()) {
                fields.insert("version".to_owned(), version.into());
            }
            let reply = connection.put(&format!("/app/contracts/{id}"), &body).await?;
            let version = reply.tx_id.map(|tx| tx.to_string());
            let text = format!(
                "draft of {id} is at version {}",
                version.as_deref().unwrap_or("unknown")
            );
            Ok(Answer::new(json!({ "id": id, "version": version }), text))
        }
        ContractCommand::Show { id } => Ok(Answer::tree(read(&connection, &id).await?)),
        ContractCommand::List => Ok(Answer::tree(list(&connection, "/app/contracts").await?)),
        ContractCommand::Propose { id } => {
            let contract = read(&connection, &id).await?;
            let args = json!({ "contractId": id, "contract": contract });
            propose(
                session,
                &[RawAction {
                    name: "set_contract".to_owned(),
                    args,
                }],
            )
            .await
        }
        ContractCommand::Enable { id } => switch(&connection, &id, "enable").await,
        ContractCommand::Disable { id } => switch(&connection, &id, "disable").await,
        ContractCommand::Status { id } => {
            let path = format!("/app/contracts/{id}/runtimeoptions/execution/status");
            Ok(Answer::tree(connection.post_empty(&path).await?.json()?))
        }
    }
}

async fn read(connection: &Connection, id: &ContractId) -> Result<JsonValue, Failure> {
    Ok(connection
        .post_empty(&format!("/app/contracts/{id}"))
        .await?
        .json()?)
}

async fn switch(connection: &Connection, id: &ContractId, act: &str) -> Result<Answer, Failure> {
    connection
        .post_empty(&format!("/app/contracts/{id}/runtimeoptions/execution/{act}"))
        .await?;
    Ok(Answer::new(
        json!({ "id": id, "execution": format!("{act}d") }),
        format!("your consent for {id}: {act}d"),
    ))
}
