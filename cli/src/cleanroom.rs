//! Events that clean rooms left on the ledger.

use clap::Subcommand;
use cleanroom_model::{ContractId, Identifier};
use serde_json::Value as JsonValue;

use crate::answer::{Answer, Failure};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum EventCommand {
    /// Events of a contract, oldest first
    List {
        /// Contract id
        contract: ContractId,
        /// Series; defaults to the contract's own
        #[arg(long)]
        id: Option<Identifier>,
        /// Scope of the series
        #[arg(long)]
        scope: Option<Identifier>,
    },
}

pub(crate) async fn run(command: EventCommand, session: &Session) -> Result<Answer, Failure> {
    let EventCommand::List { contract, id, scope } = command;
    let connection = session.connection()?;
    let mut path = format!("/app/contracts/{contract}/events?from_seqno=1");
    for (name, value) in [("id", id), ("scope", scope)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={value}"));
        }
    }
    let mut events: Vec<JsonValue> = Vec::new();
    let mut next = Some(path);
    while let Some(path) = next {
        let mut page: JsonValue = connection.get(&path).await?.json()?;
        if let Some(JsonValue::Array(values)) = page.get_mut("value").map(JsonValue::take) {
            events.extend(values);
        }
        next = page
            .get("nextLink")
            .and_then(JsonValue::as_str)
            .map(ToOwned::to_owned);
    }
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    Ok(Answer::new(JsonValue::Array(events), lines.join("\n")))
}
