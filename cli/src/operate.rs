//! The service as a whole: status, nodes, transactions, opening it.

use clap::Subcommand;
use client::governance::{Governance, read};
use kv::TxId;
use model::proposal::RawAction;
use serde_json::{Value as JsonValue, json};

use crate::answer::{Answer, Failure};
use crate::governance::describe;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum ServiceCommand {
    /// Status, certificate and limits of the service
    Info,
    /// Version of the node, and whether it runs in the insecure development mode
    Version,
    /// Nodes of the network
    Nodes,
    /// Propose to open the service with its current identity
    Open,
    /// The latest committed transaction
    Commit,
    /// Status of a transaction
    Transaction {
        /// Transaction id, view.seqno
        id: TxId,
    },
}

pub(crate) async fn run(command: ServiceCommand, session: &Session) -> Result<Answer, Failure> {
    let connection = session.connection()?;
    match command {
        ServiceCommand::Info => Ok(Answer::tree(read(&connection, "service/info").await?)),
        ServiceCommand::Version => Ok(Answer::tree(connection.get("/node/version").await?.json()?)),
        ServiceCommand::Nodes => Ok(Answer::tree(read(&connection, "service/nodes").await?)),
        ServiceCommand::Open => {
            let member = session.member()?;
            let action = RawAction {
                name: "transition_service_to_open".to_owned(),
                args: json!({ "next_service_identity": session.service_cert_pem()? }),
            };
            let summary = Governance::new(&connection, &member).propose(&[action]).await?;
            Ok(describe(&summary))
        }
        ServiceCommand::Commit => Ok(Answer::tree(connection.get("/node/commit").await?.json()?)),
        ServiceCommand::Transaction { id } => {
            let path = format!("/node/tx?transaction_id={id}");
            let answer: JsonValue = connection.get(&path).await?.json()?;
            let status = answer
                .get("status")
                .and_then(JsonValue::as_str)
                .unwrap_or("unknown")
                .to_owned();
            Ok(Answer::new(answer, format!("{id} is {status}")))
        }
    }
}
