//! Where transactions stand, and receipts (`ledger-host.md` §2).

use host_core::receipts::ReceiptError;
use host_core::{Reply, State, TxStatus};
use kv::TxId;
use model::FrameworkError;
use serde_json::json;

use super::{Answer, Failure, Query, argument, with};
use crate::https::Request;
use crate::ledger_files::LedgerReader;

/// Which receipt is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReceiptForm {
    /// The JSON receipt, under the node's signature.
    Json,
    /// The COSE receipt, under the service's signature.
    Cose,
}

fn bad_id(text: &str) -> Reply {
    let shown: String = text.chars().take(80).collect();
    Reply::error(
        FrameworkError::InvalidQueryParameterValue,
        format!("{shown:?} is not a transaction id; it is written view.seqno"),
    )
}

/// `transaction_id` of the query string.
pub(crate) fn asked_for(request: &Request) -> Result<TxId, Reply> {
    let text = argument(request, "transaction_id")?.ok_or_else(|| {
        Reply::error(
            FrameworkError::InvalidQueryParameterValue,
            "the query parameter transaction_id is missing",
        )
    })?;
    text.parse().map_err(|_| bad_id(&text))
}

pub(super) fn commit(query: &Query<'_>) -> Answer {
    let state = query.state;
    let body = json!({"transaction_id": state.committed});
    let since = match query.argument("view_history_since")? {
        None => None,
        Some(text) => Some(text.parse::<u64>().ok().filter(|view| *view > 0).ok_or_else(|| {
            Reply::error(
                FrameworkError::InvalidQueryParameterValue,
                "view_history_since must be a view, 1 or above",
            )
        })?),
    };
    let all = match query.argument("view_history")?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            return Err(Reply::error(
                FrameworkError::InvalidQueryParameterValue,
                "view_history must be true or false",
            )
            .into());
        }
    };
    let views = (all || since.is_some()).then(|| -> Vec<TxId> {
        let first = since.unwrap_or(0);
        state
            .views
            .iter()
            .filter(|start| start.view >= first)
            .copied()
            .collect()
    });
    Ok(Reply::json(200, &with(body, "view_history", views)))
}

pub(super) fn status(query: &Query<'_>) -> Answer {
    let id = asked_for(query.request)?;
    let status = query.state.status_of(id);
    Ok(Reply::json(
        200,
        &json!({"transaction_id": id, "status": status.as_str()}),
    ))
}

pub(super) fn gov_commit(query: &Query<'_>) -> Answer {
    Ok(gov_body(query.state.committed, TxStatus::Committed))
}

pub(super) fn gov_status(query: &Query<'_>) -> Answer {
    let text = query.parameter(0);
    let id = text.parse().map_err(|_| Failure::Refused(bad_id(text)))?;
    Ok(gov_body(id, query.state.status_of(id)))
}

fn gov_body(id: TxId, status: TxStatus) -> Reply {
    Reply::json(200, &json!({"transactionId": id, "status": status.as_str()}))
}

/// The answer where there can be no receipt, by the transaction's status.
pub(crate) fn no_receipt(id: TxId, status: TxStatus) -> Option<Reply> {
    match status {
        TxStatus::Committed => None,
        TxStatus::Invalid => Some(Reply::error(
            FrameworkError::TransactionInvalid,
            format!("transaction {id} was rolled back or never existed"),
        )),
        TxStatus::Unknown => Some(
            Reply::error(
                FrameworkError::TransactionPendingOrUnknown,
                format!("transaction {id} is not committed here"),
            )
            .with_header("cache-control", "no-cache"),
        ),
    }
}

/// The receipt of a committed transaction, from the state and the entry on disk.
pub(crate) fn receipt(form: ReceiptForm, state: &State, id: TxId, ledger: &LedgerReader) -> Reply {
    let frame = match ledger.entry(id.seqno) {
        Ok(Some(frame)) => frame,
        Ok(None) => return unavailable(&format_args!("entry {id} is not in the ledger")),
        Err(error) => return unavailable(&error),
    };
    match form {
        ReceiptForm::Json => match state.receipt(id, &frame) {
            Ok(receipt) => Reply::json(200, &receipt),
            Err(error) => unavailable(&error),
        },
        ReceiptForm::Cose => match state.cose_receipt(id, &frame) {
            Ok(receipt) => Reply {
                content_type: Some("application/cose".to_owned()),
                body: receipt,
                ..Reply::empty(200)
            },
            Err(ReceiptError::IsSignature(_)) => Reply::error(
                FrameworkError::ResourceNotFound,
                "a signature transaction has no COSE receipt",
            ),
            Err(error) => unavailable(&error),
        },
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> Reply {
    tracing::error!(%error, "a receipt cannot be built");
    Reply::error(FrameworkError::InternalError, "the receipt cannot be built")
}
