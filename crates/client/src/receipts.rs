//! Receipts: fetched, verified against the pinned service certificate, and only then believed.

use std::time::Duration;

use crypto::native::Native;
use kv::TxId;
use ledger::receipt::{Receipt, VerifiedReceipt};

use crate::api_error::ClientError;
use crate::connection::Connection;

/// Times a receipt that is still being prepared is asked for again.
const ATTEMPTS: u32 = 10;

/// Fetches and verifies the receipt of a committed transaction.
///
/// # Errors
///
/// [`ClientError::Api`] if the transaction is unknown; [`ClientError::Verification`] if the proof
/// does not lead to the service certificate of this connection.
pub async fn fetch(connection: &Connection, id: TxId) -> Result<(Receipt, VerifiedReceipt), ClientError> {
    let path = format!("/app/receipt?transaction_id={id}");
    for _ in 0..ATTEMPTS {
        let reply = connection.get(&path).await?;
        if reply.status == 200 {
            let receipt: Receipt = reply.json()?;
            let verified = verify(&receipt, connection.service_cert_pem())?;
            return Ok((receipt, verified));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(ClientError::Unexpected(format!(
        "no receipt for {id} after {ATTEMPTS} attempts"
    )))
}

/// Verifies a receipt against a service certificate that was obtained out of band.
///
/// # Errors
///
/// [`ClientError::Verification`], naming the step that did not hold.
pub fn verify(receipt: &Receipt, service_cert_pem: &str) -> Result<VerifiedReceipt, ClientError> {
    receipt
        .verify(service_cert_pem, &Native)
        .map_err(|e| ClientError::Verification(e.to_string()))
}
