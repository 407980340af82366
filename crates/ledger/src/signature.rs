//! A signature transaction: the node's and the service's signature over the root of everything
//! before it, and the part of the tree that receipts need.
//!
//! Source: `ledger-host.md` §1.10. A signature at seqno S signs the root over leaves `0..S`,
//! never itself. It is written as three rows and nothing else, so that whatever it contains is
//! checked although no root covers it yet.

use ciborium::Value;
use crypto::cose::{self, ProtectedHeader, label};
use crypto::x509::Certificate;
use crypto::{BadSignature, SignatureAlg, VerifySignature};
use kv::codec::{Key, Malformed, Value as _};
use kv::{Json, Singleton, TxId, WriteSet};
use model::service::SignatureRow;
use model::{Digest, NodeId, b64, tables};

use crate::envelope::{self, EnvelopeError};
use crate::merkle::{InvalidSegment, Tree};

/// COSE algorithm of a P-256 key: ECDSA with SHA-256.
pub const COSE_ES256: i64 = -7;
/// COSE algorithm of a P-384 key: ECDSA with SHA-384.
pub const COSE_ES384: i64 = -35;

/// What goes into a signature transaction.
#[derive(Clone, Debug)]
pub struct Signing<'a> {
    /// The signature transaction itself.
    pub id: TxId,
    /// Root over leaves `0..id.seqno`.
    pub root: Digest,
    /// The signing node.
    pub node: NodeId,
    /// The node's certificate, issued by the service, PEM.
    pub node_certificate: &'a str,
    /// The node's ECDSA signature over the root as a SHA-256 digest, DER.
    pub node_signature: &'a [u8],
    /// The service's signature, from [`cose_assemble`].
    pub cose: &'a [u8],
    /// The tree's segment, from [`Tree::segment`].
    pub segment: Vec<u8>,
}

/// A field without meaning in ledgers with one signing node.
fn hashed_nonce() -> String {
    Digest::ZERO.to_string()
}

/// The three rows of a signature transaction.
#[must_use]
pub fn rows(signing: Signing<'_>) -> WriteSet {
    let row = SignatureRow {
        cert: signing.node_certificate.to_owned(),
        commit_seqno: 0,
        commit_view: 0,
        hashed_nonce: hashed_nonce(),
        node: signing.node,
        root: signing.root,
        seqno: signing.id.seqno,
        sig: b64::encode(signing.node_signature),
        view: signing.id.view,
    };
    let mut writes = WriteSet::default();
    let mut set = |table: &str, value: Vec<u8>| writes.set(table, &Singleton.to_bytes(), Some(value));
    // A JSON string, although elsewhere it is called raw (§8, quirk 7).
    set(
        tables::COSE_SIGNATURES.name(),
        Json(b64::encode(signing.cose)).to_bytes(),
    );
    set(tables::SIGNATURES.name(), Json(row).to_bytes());
    set(tables::TREE.name(), signing.segment);
    writes
}

/// The protected header of the service's signature, in the order that public clients expect.
/// `kid_hex` is the hex SHA-256 of the service's SPKI, `iat` is Unix seconds.
#[must_use]
pub fn cose_protected(alg: i64, kid_hex: &str, iat: u64, issuer: &str, subject: &str, txid: TxId) -> Vec<u8> {
    let claims = vec![
        (6.into(), iat.into()),
        (1.into(), issuer.into()),
        (2.into(), subject.into()),
    ];
    let ccf = vec![("txid".into(), txid.to_string().into())];
    ProtectedHeader::new()
        .int(label::ALG, alg)
        .int(label::KID, kid_hex.as_bytes())
        .int(envelope::VDS, envelope::VDS_CCF_LEDGER)
        .int(label::CWT_CLAIMS, Value::Map(claims))
        .text(envelope::CCF, Value::Map(ccf))
        .encode()
}

/// What the service's key signs (RFC 9052 §4.4); the root is the detached payload.
#[must_use]
pub fn cose_tbs(protected: &[u8], root: Digest) -> Vec<u8> {
    cose::to_be_signed(protected, &root.0)
}

/// The tagged COSE_Sign1 with its payload detached; `signature` is r ‖ s.
#[must_use]
pub fn cose_assemble(protected: &[u8], signature: &[u8]) -> Vec<u8> {
    cose::assemble(protected, &[], None, signature)
}

/// When a service's signature says it was made, Unix seconds. Nothing is verified; `None` if it does
/// not say.
#[must_use]
pub fn issued_at(cose: &[u8]) -> Option<u64> {
    let envelope = envelope::parse(cose).ok()?;
    let claims = envelope.int_header(label::CWT_CLAIMS)?.as_map()?;
    let time = envelope::only(claims, &Value::from(6))?.as_integer()?;
    u64::try_from(time).ok()
}

/// Why a signature transaction is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Rows besides the three, or not all of them.
    #[error("signature transaction does not consist of its three rows")]
    Rows,
    /// A row does not decode.
    #[error("row of table {table} does not decode")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong.
        #[source]
        source: Malformed,
    },
    /// The signed root is not that of the entries.
    #[error("signed root {signed} differs from the recomputed root {recomputed}")]
    Root {
        /// What the row says.
        signed: Digest,
        /// What the entries say.
        recomputed: Digest,
    },
    /// A signature names another transaction than the entry it is in.
    #[error("signature names another transaction")]
    TxId,
    /// The row's node id is not the digest of the certificate's key.
    #[error("node id does not belong to the node's key")]
    NodeId,
    /// A certificate does not parse, or the service's key did not issue the node's.
    #[error("node certificate was not issued by the service: {0}")]
    Certificate(String),
    /// The node's signature does not verify.
    #[error("node signature does not verify")]
    Node(#[source] BadSignature),
    /// The service's signature is not acceptable.
    #[error("service signature is not acceptable")]
    Service(#[from] EnvelopeError),
    /// The tree row does not decode.
    #[error("tree row does not decode")]
    Segment(#[from] InvalidSegment),
    /// The tree row describes another tree.
    #[error("tree row does not have the signed root")]
    Tree,
}

/// The decoded rows of a signature transaction; nothing is verified yet.
#[derive(Clone, Debug)]
pub struct SignatureRows {
    /// The node's signature.
    pub node: SignatureRow,
    /// The service's signature, a COSE_Sign1.
    pub cose: Vec<u8>,
    /// The tree's segment.
    pub segment: Vec<u8>,
}

impl SignatureRows {
    /// The signature in `writes`, or `None` if the transaction is not a signature.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Rows`] if it has only some of the rows or something besides, and
    /// [`SignatureError::Row`] if one does not decode.
    pub fn read(writes: &WriteSet) -> Result<Option<Self>, SignatureError> {
        let names = [
            tables::COSE_SIGNATURES.name(),
            tables::SIGNATURES.name(),
            tables::TREE.name(),
        ];
        if !names.iter().any(|name| writes.table(name).is_some()) {
            return Ok(None);
        }
        // As many changes as tables, and a value for each of the three below: nothing else fits.
        let changes = writes.tables().map(|(_, changes)| changes.len());
        if changes.sum::<usize>() != names.len() {
            return Err(SignatureError::Rows);
        }
        let value = |table: &str| {
            let value = writes.get(table, &Singleton.to_bytes());
            value.flatten().ok_or(SignatureError::Rows)
        };
        let row = |table| move |source| SignatureError::Row { table, source };
        let [cose_name, node_name, tree_name] = names;
        let Json::<SignatureRow>(node) = Json::from_bytes(value(node_name)?).map_err(row(node_name))?;
        // No signature covers this row's bytes yet, so nothing in it may be open to choice.
        let constant = (node.commit_seqno, node.commit_view) == (0, 0) && node.hashed_nonce == hashed_nonce();
        if !constant || Json(node.clone()).to_bytes() != value(node_name)? {
            return Err(row(node_name)(Malformed("not as the ledger writes it".into())));
        }
        let Json(text) = Json::<String>::from_bytes(value(cose_name)?).map_err(row(cose_name))?;
        let cose = b64::decode(&text).map_err(|e| row(cose_name)(Malformed(e.to_string())))?;
        if Json(text).to_bytes() != value(cose_name)? {
            return Err(row(cose_name)(Malformed("not as the ledger writes it".into())));
        }
        Ok(Some(Self {
            node,
            cose,
            segment: value(tree_name)?.to_vec(),
        }))
    }

    /// Verifies everything that the rows say: they are of transaction `id`, over `root`, by a
    /// node whose certificate the service issued, and by the service itself.
    ///
    /// Which service, and whether the node was trusted at that point, is for the caller to know.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] naming the first thing that is not so.
    pub fn verify(
        &self,
        id: TxId,
        root: Digest,
        service: &Certificate,
        verifier: &dyn VerifySignature,
    ) -> Result<(), SignatureError> {
        if (self.node.view, self.node.seqno) != (id.view, id.seqno) {
            return Err(SignatureError::TxId);
        }
        if self.node.root != root {
            return Err(SignatureError::Root {
                signed: self.node.root,
                recomputed: root,
            });
        }
        verify_node(&self.node, service, verifier)?;
        let envelope = envelope::parse(&self.cose)?;
        if !envelope.unprotected().map_err(EnvelopeError::from)?.is_empty() {
            return Err(EnvelopeError::Unprotected.into());
        }
        if envelope::ccf_tx_id(&envelope, "txid") != Some(id) {
            return Err(SignatureError::TxId);
        }
        envelope::verify_detached(&envelope, service.spki_der(), &root.0, verifier)?;
        let tree = Tree::from_segment(&self.segment)?;
        if (tree.len(), tree.root()) != (id.seqno, root) {
            return Err(SignatureError::Tree);
        }
        Ok(())
    }
}

/// The node's half: certificate under the service's key, node id, signature over the root.
fn verify_node(
    row: &SignatureRow,
    service: &Certificate,
    verifier: &dyn VerifySignature,
) -> Result<(), SignatureError> {
    let refused = |e: &dyn std::fmt::Display| SignatureError::Certificate(e.to_string());
    // The ledger's own text, not a person's: in any other spelling somebody changed an entry.
    let node = Certificate::from_canonical_pem(&row.cert).map_err(|e| refused(&e))?;
    if NodeId(crypto::sha256(node.spki_der())) != row.node {
        return Err(SignatureError::NodeId);
    }
    node.verify_issued_by(service.spki_der(), verifier)
        .map_err(|e| refused(&e))?;
    let signature = b64::decode(&row.sig).map_err(|_| SignatureError::Node(BadSignature::Mismatch))?;
    // The root is taken as a digest that was already made, whatever the curve (§8, quirk 5).
    let alg = SignatureAlg::EcdsaPrehashedSha256Der;
    verifier
        .verify(alg, node.spki_der(), &row.root.0, &signature)
        .map_err(SignatureError::Node)
}
