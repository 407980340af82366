//! What a verifying reader remembers of the service: its identity and status, and its nodes.
//!
//! Source: `ledger-host.md` §1.9, §1.13. Only what signatures depend on; the rest of the state is
//! the business of whoever applies the changes.

use std::collections::{BTreeMap, BTreeSet};

use crypto::x509::Certificate;
use kv::codec::{Key, Malformed, Value};
use kv::{Json, Singleton, TxId, WriteSet};
use model::node::NodeStatus;
use model::service::{ServiceInfo, ServiceStatus, SignatureRow};
use model::{NodeId, tables};
use serde::Deserialize;

/// Why a change of the service's state is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A row does not decode.
    #[error("row of table {table} does not decode")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong.
        #[source]
        source: Malformed,
    },
    /// The service's row was deleted.
    #[error("the service's row was deleted")]
    ServiceDeleted,
    /// The service's certificate does not parse.
    #[error("service certificate does not parse: {0}")]
    ServiceCertificate(String),
    /// A step that the service's life cycle does not have.
    #[error("service went from {from:?} to {to:?}")]
    Transition {
        /// Status before.
        from: ServiceStatus,
        /// Status after.
        to: ServiceStatus,
    },
    /// Another key without a recovery.
    #[error("service key changed while the service was {0:?}")]
    KeyChanged(ServiceStatus),
    /// A signature before the first `service.info` row.
    #[error("signed before the service had an identity")]
    NoService,
    /// A signature by a node that the ledger does not know.
    #[error("node {0} is not known")]
    UnknownNode(NodeId),
    /// A signature by a node that was never trusted.
    #[error("node {0} was not trusted")]
    UntrustedNode(NodeId),
    /// A signature by a node that was never given a certificate.
    #[error("node {0} signed without a certificate from the service")]
    NodeCertificate(NodeId),
    /// A node or certificate was removed that was not there.
    #[error("node {0} was removed and is not known")]
    RemovedUnknown(NodeId),
}

/// A service identity: from its first row to the next identity's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The first transaction that names it.
    pub since: TxId,
    /// Its certificate, PEM, as last renewed.
    pub certificate: String,
    /// Its status, as last written.
    pub status: ServiceStatus,
}

/// The part of a `nodes.info` row that signatures depend on; foreign ledgers may vary the rest.
#[derive(Deserialize)]
struct NodeRow {
    status: NodeStatus,
}

/// The service and its nodes at some transaction.
#[derive(Clone, Debug, Default)]
pub struct ServiceState {
    service: Option<Certificate>,
    identities: Vec<Identity>,
    nodes: BTreeMap<NodeId, NodeStatus>,
    certified: BTreeSet<NodeId>,
}

/// Whether a service may go from one status to another (§1.13).
const fn may_follow(from: ServiceStatus, to: ServiceStatus) -> bool {
    use ServiceStatus::{Open, Opening, Recovering, WaitingForRecoveryShares};
    match (from, to) {
        (_, Opening)
        | (Opening, Open | WaitingForRecoveryShares)
        | (Open, Open | Recovering)
        | (Recovering, Recovering | WaitingForRecoveryShares)
        | (WaitingForRecoveryShares, WaitingForRecoveryShares | Open) => true,
        // A recovery that did not finish is recovered again.
        (WaitingForRecoveryShares, Recovering) => true,
        (Opening, Recovering) | (Open, WaitingForRecoveryShares) | (Recovering, Open) => false,
    }
}

impl ServiceState {
    /// The service's identities so far, oldest first.
    #[must_use]
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// The service's status, once it has one.
    #[must_use]
    pub fn status(&self) -> Option<ServiceStatus> {
        self.identities.last().map(|identity| identity.status)
    }

    /// The certificate of the service in force.
    ///
    /// # Errors
    ///
    /// [`StateError::NoService`] before the first `service.info` row.
    pub fn service(&self) -> Result<&Certificate, StateError> {
        self.service.as_ref().ok_or(StateError::NoService)
    }

    /// Whether the ledger holds a certificate for the signer, who was trusted. A retired node may
    /// still sign: it hands over. That the certificate in the row is for the same key follows from
    /// the node id, which is the key's digest.
    ///
    /// # Errors
    ///
    /// [`StateError`] saying what the signer lacks.
    pub fn check_signer(&self, row: &SignatureRow) -> Result<(), StateError> {
        match self.nodes.get(&row.node) {
            None => Err(StateError::UnknownNode(row.node)),
            Some(NodeStatus::Pending) => Err(StateError::UntrustedNode(row.node)),
            Some(NodeStatus::Trusted | NodeStatus::Retired) if self.certified.contains(&row.node) => Ok(()),
            Some(_) => Err(StateError::NodeCertificate(row.node)),
        }
    }

    /// Follows the changes of transaction `id`.
    ///
    /// # Errors
    ///
    /// [`StateError`] if a row does not decode or no service would have made the change.
    pub fn apply(&mut self, id: TxId, writes: &WriteSet) -> Result<(), StateError> {
        for (node, value) in changes(writes, tables::NODE_INFO.name())? {
            match value {
                Some(value) => {
                    let row = serde_json::from_slice::<NodeRow>(value);
                    let row = row.map_err(|e| undecodable(tables::NODE_INFO.name(), &e))?;
                    self.nodes.insert(node, row.status);
                }
                None => {
                    let known = self.nodes.remove(&node);
                    known.ok_or(StateError::RemovedUnknown(node))?;
                }
            }
        }
        for (node, value) in changes(writes, tables::NODE_ENDORSED_CERTIFICATES.name())? {
            if value.is_some() {
                self.certified.insert(node);
            } else if !self.certified.remove(&node) {
                return Err(StateError::RemovedUnknown(node));
            }
        }
        let table = tables::SERVICE_INFO.name();
        match writes.get(table, &Singleton.to_bytes()) {
            None => Ok(()),
            Some(None) => Err(StateError::ServiceDeleted),
            Some(Some(value)) => {
                let row = Json::<ServiceInfo>::from_bytes(value);
                let Json(info) = row.map_err(|source| StateError::Row { table, source })?;
                self.apply_service(id, info)
            }
        }
    }

    fn apply_service(&mut self, id: TxId, info: ServiceInfo) -> Result<(), StateError> {
        let certificate =
            Certificate::from_pem(&info.cert).map_err(|e| StateError::ServiceCertificate(e.to_string()))?;
        let same_key = match (&self.service, self.status()) {
            (Some(old), Some(from)) => {
                if !may_follow(from, info.status) {
                    return Err(StateError::Transition {
                        from,
                        to: info.status,
                    });
                }
                old.spki_der() == certificate.spki_der()
            }
            _ => false,
        };
        match (same_key, self.identities.last_mut()) {
            (true, Some(identity)) => {
                identity.certificate = info.cert;
                identity.status = info.status;
            }
            (_, previous) => {
                // Only the first row of a service and of a recovery bring a new key.
                let begins = matches!(info.status, ServiceStatus::Opening | ServiceStatus::Recovering);
                if previous.is_some() && !begins {
                    return Err(StateError::KeyChanged(info.status));
                }
                self.identities.push(Identity {
                    since: id,
                    certificate: info.cert,
                    status: info.status,
                });
            }
        }
        self.service = Some(certificate);
        Ok(())
    }
}

fn undecodable(table: &'static str, reason: &dyn std::fmt::Display) -> StateError {
    StateError::Row {
        table,
        source: Malformed(reason.to_string()),
    }
}

/// A node's id with its new row, or `None` for a removal.
type NodeChange<'a> = (NodeId, Option<&'a [u8]>);

/// Changes of a table with one row for each node.
fn changes<'a>(writes: &'a WriteSet, table: &'static str) -> Result<Vec<NodeChange<'a>>, StateError> {
    let rows = writes.table(table).into_iter().flatten();
    rows.map(|(key, value)| {
        let node = NodeId::from_bytes(key).map_err(|e| undecodable(table, &e))?;
        Ok((node, value.as_deref()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_opens_and_recovers_in_one_order_only() {
        use ServiceStatus::{Open, Opening, Recovering, WaitingForRecoveryShares};
        let life = [Opening, Open, Recovering, WaitingForRecoveryShares, Open];
        for step in life.windows(2) {
            assert!(may_follow(step[0], step[1]), "{step:?}");
        }
        for (from, to) in [
            (Recovering, Open),
            (Opening, Recovering),
            (Open, WaitingForRecoveryShares),
        ] {
            assert!(!may_follow(from, to), "{from:?} {to:?}");
        }
    }
}
