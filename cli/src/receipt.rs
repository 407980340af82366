//! Receipts: fetch and verify, or verify offline.

use std::path::PathBuf;

use clap::Subcommand;
use kv::TxId;
use ledger::receipt::Receipt;
use serde_json::json;

use crate::answer::{Answer, Failure};
use crate::session::{Session, read_json, write_file};

#[derive(Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Fetch the receipt of a transaction and verify it against the service certificate
    Get {
        /// Transaction id, view.seqno
        id: TxId,
        /// Keep it in this file
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Verify a receipt file against the service certificate; needs no service
    Verify {
        /// The receipt
        file: PathBuf,
    },
}

pub(crate) async fn run(command: ReceiptCommand, session: &Session) -> Result<Answer, Failure> {
    match command {
        ReceiptCommand::Get { id, out } => {
            let (receipt, _) = client::receipts::fetch(&session.connection()?, id).await?;
            let tree = serde_json::to_value(&receipt).map_err(|e| Failure::Ours(e.to_string()))?;
            if let Some(path) = out {
                write_file(&path, tree.to_string().as_bytes())?;
            }
            Ok(Answer::new(
                json!({ "transactionId": id, "verified": true, "receipt": tree }),
                format!("{id} is committed: its receipt leads to the service certificate"),
            ))
        }
        ReceiptCommand::Verify { file } => {
            let receipt: Receipt = serde_json::from_value(read_json(&file)?)
                .map_err(|e| Failure::Usage(format!("{} is not a receipt: {e}", file.display())))?;
            client::receipts::verify(&receipt, &session.service_cert_pem()?)?;
            Ok(Answer::new(
                json!({ "verified": true }),
                "the receipt leads to the service certificate",
            ))
        }
    }
}
