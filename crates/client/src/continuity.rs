//! Whether a node has what was seen of its service before.

use std::time::Duration;

use crypto::native::Native;
use kv::TxId;
use ledger::receipt::Receipt;
use serde::Deserialize;
use tokio::time::Instant;

use crate::api_error::ClientError;
use crate::connection::{Connection, Reply};
use crate::memory::Seen;

/// How long a node may say that it does not know a transaction yet.
const WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
struct Committed {
    transaction_id: TxId,
}

/// What a node shows where something else was seen before.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Shown {
    /// The same.
    Same,
    /// Nothing yet, and what it said instead.
    Nothing(String),
}

/// Judges a node's answer to the question for the receipt of what was seen, [`receipt_path`]. Without
/// a root any receipt of the service will do.
///
/// # Errors
///
/// [`ClientError::Forked`] if the node shows another root, or says that there is no such transaction.
pub(crate) fn judge(
    answer: Result<Reply, ClientError>,
    id: TxId,
    root: Option<model::Digest>,
    service_cert_pem: &str,
) -> Result<Shown, ClientError> {
    match answer {
        Ok(reply) if reply.status == 200 => {
            let shown = root_of(&reply, service_cert_pem)?;
            if root.is_none_or(|root| root == shown) {
                Ok(Shown::Same)
            } else {
                Err(forked(id, "the node shows another one in its place"))
            }
        }
        Ok(reply) => Ok(Shown::Nothing(format!("status {}", reply.status))),
        Err(error) if error.code() == Some("TransactionInvalid") => {
            Err(forked(id, "the node says that there never was one"))
        }
        Err(ClientError::Api { code, .. }) => Ok(Shown::Nothing(code)),
        Err(error) => Err(error),
    }
}

/// How long a node may show nothing: one that was behind may come up to it.
pub(crate) struct Patience {
    until: Instant,
}

impl Patience {
    pub(crate) fn begin() -> Self {
        Self {
            until: Instant::now() + WAIT,
        }
    }

    /// Waits a little before the next question.
    ///
    /// # Errors
    ///
    /// [`ClientError::Forked`] when the time is over.
    pub(crate) async fn wait(&self, id: TxId, said: &str) -> Result<(), ClientError> {
        if Instant::now() >= self.until {
            return Err(forked(id, &format!("the node shows nothing of it: {said}")));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

fn forked(id: TxId, why: &str) -> ClientError {
    ClientError::Forked(format!(
        "transaction {id} of this service was seen before, and {why}. This node runs on an older copy or on \
         a fork: trust none of its answers, and ask its operator what was restored or copied"
    ))
}

/// Where the receipt of a transaction is asked for: of the node, which also answers before members
/// have opened the service.
pub(crate) fn receipt_path(id: TxId) -> String {
    format!("/node/receipt?transaction_id={id}")
}

fn root_of(reply: &Reply, service_cert_pem: &str) -> Result<model::Digest, ClientError> {
    let receipt: Receipt = reply.json()?;
    let verified = receipt
        .verify(service_cert_pem, &Native)
        .map_err(|e| ClientError::Verification(e.to_string()))?;
    Ok(verified.root())
}

/// The latest that the node has committed, if its receipt verifies. `None` if the node is too busy
/// to say, or has gone on meanwhile.
///
/// # Errors
///
/// [`ClientError::Verification`] if the receipt does not lead to the service.
pub(crate) async fn latest(connection: &Connection) -> Result<Option<Seen>, ClientError> {
    let answered = |reply: Result<Reply, ClientError>| match reply {
        Ok(reply) if reply.status == 200 => Ok(Some(reply)),
        Ok(_) | Err(ClientError::Api { .. } | ClientError::Unreachable { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    let Some(reply) = answered(connection.get("/node/commit").await)? else {
        return Ok(None);
    };
    let id = reply.json::<Committed>()?.transaction_id;
    let Some(reply) = answered(connection.get(&receipt_path(id)).await)? else {
        return Ok(None);
    };
    Ok(Some(Seen {
        transaction_id: id,
        root: root_of(&reply, connection.service_cert_pem())?,
    }))
}

#[cfg(test)]
mod tests {
    use crypto::native::issue::{Validity, node_certificate, self_signed_service};
    use crypto::native::{Curve, EcKeyPair};
    use crypto::x509::Certificate;

    use super::*;

    fn api(status: u16, code: &str) -> Result<Reply, ClientError> {
        Err(ClientError::Api {
            status,
            code: code.to_owned(),
            message: String::new(),
            details: Vec::new(),
        })
    }

    const SEEN: Seen = Seen {
        transaction_id: TxId::new(2, 65),
        root: model::Digest::ZERO,
    };

    fn judged(answer: Result<Reply, ClientError>) -> Result<Shown, ClientError> {
        judge(answer, SEEN.transaction_id, Some(SEEN.root), "")
    }

    #[test]
    fn a_node_that_says_invalid_is_a_fork_at_once() {
        let verdict = judged(api(404, "TransactionInvalid"));
        assert!(matches!(verdict, Err(ClientError::Forked(text)) if text.contains("2.65")));
    }

    #[tokio::test]
    async fn a_node_that_was_set_back_may_say_unknown_for_ten_seconds_and_is_a_fork_then() {
        for (status, code) in [(404, "TransactionPendingOrUnknown"), (503, "FrontendNotOpen")] {
            let verdict = judged(api(status, code));
            assert_eq!(verdict.unwrap(), Shown::Nothing(code.to_owned()));
        }
        let patience = Patience::begin();
        let left = patience.until.duration_since(Instant::now());
        assert!(left <= Duration::from_secs(10) && left > Duration::from_secs(9));
        patience.wait(SEEN.transaction_id, "").await.unwrap();
        let over = Patience {
            until: Instant::now(),
        };
        let verdict = over.wait(SEEN.transaction_id, "Unknown").await;
        assert!(matches!(verdict, Err(ClientError::Forked(_))));
    }

    #[test]
    fn a_node_that_cannot_be_reached_is_no_fork() {
        let away = Err(ClientError::Unreachable {
            address: String::new(),
            reason: String::new(),
        });
        assert!(matches!(judged(away), Err(ClientError::Unreachable { .. })));
    }

    #[test]
    fn a_root_that_another_copy_signed_in_its_place_is_a_fork() {
        // Both copies hold the service's key, so both receipts lead to the certificate.
        let validity = Validity {
            not_before: 1_700_000_000,
            days: 36_500,
        };
        let key = EcKeyPair::generate(Curve::P384).unwrap();
        let pem = self_signed_service(&key, "service", validity).unwrap();
        let issuer = Certificate::from_pem(&pem).unwrap();
        let node = EcKeyPair::generate(Curve::P256).unwrap();
        let cert = node_certificate(node.spki_der(), "node", &[], validity, &key, &issuer).unwrap();
        for (root, same) in [(SEEN.root, true), (crypto::sha256(b"other"), false)] {
            let receipt = Receipt {
                cert: cert.clone(),
                leaf: Some(root),
                leaf_components: None,
                node_id: model::NodeId(crypto::sha256(node.spki_der())),
                proof: Vec::new(),
                service_endorsements: Vec::new(),
                signature: model::b64::encode(&node.sign_prehashed_sha256_der(&root.0).unwrap()),
            };
            let body = bytes::Bytes::from(serde_json::to_vec(&receipt).unwrap());
            let reply = Reply {
                status: 200,
                tx_id: None,
                body,
            };
            let id = SEEN.transaction_id;
            // Who knows no root takes any receipt of the service.
            let shown = judge(Ok(reply.clone()), id, None, &pem);
            assert_eq!(shown.unwrap(), Shown::Same);
            match judge(Ok(reply), id, Some(SEEN.root), &pem) {
                Ok(shown) => assert!(same && shown == Shown::Same),
                Err(ClientError::Forked(_)) => assert!(!same),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
