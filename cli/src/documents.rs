//! User documents: datasets and queries with named approvers.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cleanroom_model::{ContractId, DocumentId, RunId};
use client::Connection;
use serde_json::{Value as JsonValue, json};

use crate::answer::{Answer, Failure};
use crate::session::{Session, list, pair, read_text};

/// Which document.
#[derive(Args)]
pub(crate) struct Name {
    /// Contract id
    contract: ContractId,
    /// Document id
    document: DocumentId,
}

impl Name {
    fn path(&self) -> String {
        format!("/app/contracts/{}/userdocuments/{}", self.contract, self.document)
    }
}

#[derive(Subcommand)]
pub(crate) enum DocumentCommand {
    /// Write a draft
    Put {
        #[command(flatten)]
        name: Name,
        /// File with the document's data, stored as text
        #[arg(long)]
        data: PathBuf,
        /// Version of the draft that is replaced
        #[arg(long)]
        version: Option<String>,
        /// Label, name=value; may be repeated
        #[arg(long, value_parser = pair)]
        label: Vec<(String, String)>,
        /// Approver, user=ID or member=ID; may be repeated. None: all active members
        #[arg(long, value_parser = pair)]
        approver: Vec<(String, String)>,
    },
    /// A document with its state and votes
    Show {
        #[command(flatten)]
        name: Name,
    },
    /// Documents of a contract
    List {
        /// Contract id
        contract: ContractId,
        /// Only those with these labels: name:value,…
        #[arg(long)]
        labels: Option<String>,
    },
    /// Approve the version you read
    Accept {
        #[command(flatten)]
        name: Name,
        /// The version; defaults to the current one, which is then shown
        #[arg(long)]
        version: Option<String>,
    },
    /// Reject the version you read; a rejected document never comes back
    Reject {
        #[command(flatten)]
        name: Name,
        /// The version; defaults to the current one
        #[arg(long)]
        version: Option<String>,
    },
    /// Give your own consent to executions of an accepted document
    Enable {
        #[command(flatten)]
        name: Name,
    },
    /// Withdraw your own consent to executions
    Disable {
        #[command(flatten)]
        name: Name,
    },
    /// How many rows of a dataset a run read; for its owner and approvers
    Rows {
        #[command(flatten)]
        name: Name,
        /// The run
        run: RunId,
    },
}

pub(crate) async fn run(command: DocumentCommand, session: &Session) -> Result<Answer, Failure> {
    let connection = session.connection()?;
    match command {
        DocumentCommand::Put {
            name,
            data,
            version,
            label,
            approver,
        } => {
            let body = draft(&name, read_text(&data)?, version, label, approver)?;
            let reply = connection.put(&name.path(), &body).await?;
            let version = reply.tx_id.map(|tx| tx.to_string());
            let text = format!(
                "draft of {} is at version {}",
                name.document,
                version.as_deref().unwrap_or("unknown")
            );
            Ok(Answer::new(
                json!({ "id": name.document, "version": version }),
                text,
            ))
        }
        DocumentCommand::Show { name } => {
            Ok(Answer::tree(connection.post_empty(&name.path()).await?.json()?))
        }
        DocumentCommand::List { contract, labels } => {
            let filter = labels
                .map(|labels| format!("?labelSelector={labels}"))
                .unwrap_or_default();
            let path = format!("/app/contracts/{contract}/userdocuments{filter}");
            Ok(Answer::tree(list(&connection, &path).await?))
        }
        DocumentCommand::Accept { name, version } => ballot(&connection, &name, version, "accepted").await,
        DocumentCommand::Reject { name, version } => ballot(&connection, &name, version, "rejected").await,
        DocumentCommand::Enable { name } => switch(&connection, &name, "enable").await,
        DocumentCommand::Disable { name } => switch(&connection, &name, "disable").await,
        DocumentCommand::Rows { name, run } => {
            let path = format!("{}/runs/{run}", name.path());
            Ok(Answer::tree(connection.get(&path).await?.json()?))
        }
    }
}

fn draft(
    name: &Name,
    data: String,
    version: Option<String>,
    labels: Vec<(String, String)>,
    approvers: Vec<(String, String)>,
) -> Result<JsonValue, Failure> {
    let approvers = approvers
        .into_iter()
        .map(|(kind, id)| match kind.as_str() {
            "user" | "member" => Ok(json!({ "approverId": id, "approverIdType": kind })),
            other => Err(Failure::Usage(format!(
                "approver kind {other} is neither user nor member"
            ))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let labels: serde_json::Map<String, JsonValue> = labels.into_iter().map(|(k, v)| (k, v.into())).collect();
    let mut body =
        json!({ "contractId": name.contract, "data": data, "labels": labels, "approvers": approvers });
    if let (Some(version), Some(fields)) = (version, body.as_object_mut()) {
        fields.insert("version".to_owned(), version.into());
    }
    Ok(body)
}

async fn ballot(
    connection: &Connection,
    name: &Name,
    version: Option<String>,
    ballot: &str,
) -> Result<Answer, Failure> {
    let version = match version {
        Some(version) => version,
        None => {
            let current: JsonValue = connection.post_empty(&name.path()).await?.json()?;
            let text = current.get("version").and_then(JsonValue::as_str);
            text.ok_or_else(|| Failure::Ours("the document has no version".to_owned()))?
                .to_owned()
        }
    };
    let body = json!({ "version": version, "ballot": ballot });
    connection.post(&format!("{}/ballot", name.path()), &body).await?;
    let after: JsonValue = connection.post_empty(&name.path()).await?.json()?;
    let state = after
        .get("state")
        .and_then(JsonValue::as_str)
        .unwrap_or("unknown")
        .to_owned();
    let text = format!(
        "{ballot} version {version} of {}; it is now {state}",
        name.document
    );
    Ok(Answer::new(after, text))
}

async fn switch(connection: &Connection, name: &Name, act: &str) -> Result<Answer, Failure> {
    connection
        .post_empty(&format!("{}/runtimeoptions/execution/{act}", name.path()))
        .await?;
    let text = format!("your consent for {}: {act}d", name.document);
    Ok(Answer::new(
        json!({ "id": name.document, "execution": format!("{act}d") }),
        text,
    ))
}
