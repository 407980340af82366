//! Receipts: the proof that a transaction was committed, in JSON.
//!
//! Source: `ledger-host.md` §2.3. A receipt holds an entry's leaf, the path to a signed root, the
//! node's signature, and the certificates up to the service identity that the verifier trusts.
//! The COSE form, signed by the service itself, is in [`cose_receipt`](crate::cose_receipt).

use crypto::x509::Certificate;
use crypto::{BadSignature, SignatureAlg, VerifySignature, sha256};
use kv::TxId;
use model::service::SignatureRow;
use model::{Digest, NodeId, b64};
use serde::{Deserialize, Serialize};

use crate::entry::leaf;
use crate::limits::{ENDORSEMENTS_MAX, RECEIPT_SIZE_MAX};
use crate::merkle::{PathTooLong, Sibling, implied_root};

/// What a transaction's leaf is made of.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeafComponents {
    /// What the application claimed; [`Digest::ZERO`] if nothing.
    pub claims_digest: Digest,
    /// The text that only a committed transaction's receipt reveals.
    pub commit_evidence: String,
    /// Digest of the entry's frame.
    pub write_set_digest: Digest,
}

/// A receipt as it travels. Nothing in it is verified; see [`Receipt::verify`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Receipt {
    /// Certificate of the node that signed the root, PEM.
    pub cert: String,
    /// Present for a signature transaction: the root that it signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Digest>,
    /// Present for every other transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf_components: Option<LeafComponents>,
    /// The node that signed the root.
    pub node_id: NodeId,
    /// The path from the leaf to the root.
    pub proof: Vec<Sibling>,
    /// Certificates of this service's former keys, each issued by the next one's; after a recovery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_endorsements: Vec<String>,
    /// Base64 ECDSA signature over the root, DER.
    pub signature: String,
}

/// Why a receipt is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// More bytes than any receipt needs.
    #[error("receipt has {0} bytes, at most {RECEIPT_SIZE_MAX} are allowed")]
    TooLarge(usize),
    /// The bytes are not a receipt.
    #[error("receipt does not parse: {0}")]
    Malformed(String),
    /// Both leaf forms, or none.
    #[error("receipt must have either a leaf or leaf components")]
    LeafForm,
    /// A signature transaction proves itself; a path would prove something else.
    #[error("receipt of a signature transaction must have an empty proof")]
    ProofOfSignature,
    /// The commit evidence is not `ce:view.seqno:nonce`.
    #[error("commit evidence is not of the form ce:view.seqno:nonce")]
    CommitEvidence,
    /// Too many steps.
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    /// More former identities than [`ENDORSEMENTS_MAX`].
    #[error("receipt has {0} service endorsements, at most {ENDORSEMENTS_MAX} are allowed")]
    TooManyEndorsements(usize),
    /// A certificate does not parse.
    #[error("{which} certificate does not parse: {reason}")]
    Certificate {
        /// Whose.
        which: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The chain does not end at the trusted service.
    #[error("{which} certificate was not issued by its successor in the chain to the service")]
    Chain {
        /// Whose.
        which: &'static str,
    },
    /// The node id is not the digest of the certificate's key.
    #[error("node id does not belong to the certificate's key")]
    NodeId,
    /// The signature is not of the root that leaf and proof imply.
    #[error("signature over the root {root} does not verify")]
    Signature {
        /// What leaf and proof imply.
        root: Digest,
        /// What the verifier said.
        #[source]
        source: BadSignature,
    },
}

/// What a receipt proves. Only verification makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedReceipt {
    root: Digest,
    proven: Option<(TxId, LeafComponents)>,
}

impl VerifiedReceipt {
    pub(crate) fn new(root: Digest, id: TxId, leaf: LeafComponents) -> Self {
        Self {
            root,
            proven: Some((id, leaf)),
        }
    }

    /// The signed root.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The committed transaction, named by its commit evidence. `None` for the receipt of a
    /// signature transaction, which proves a root and no transaction.
    #[must_use]
    pub fn tx_id(&self) -> Option<TxId> {
        self.proven.as_ref().map(|(id, _)| *id)
    }

    /// Digest of the committed transaction's entry.
    #[must_use]
    pub fn write_set_digest(&self) -> Option<Digest> {
        self.proven.as_ref().map(|(_, leaf)| leaf.write_set_digest)
    }

    /// What the application claimed about the transaction; [`Digest::ZERO`] if nothing.
    #[must_use]
    pub fn claims_digest(&self) -> Option<Digest> {
        self.proven.as_ref().map(|(_, leaf)| leaf.claims_digest)
    }
}

/// The receipt of a transaction: its leaf, the path to the root that `signature` signed, from
/// [`Tree::path`](crate::merkle::Tree::path), and certificates of former identities, oldest first.
#[must_use]
pub fn build(
    signature: &SignatureRow,
    leaf: LeafComponents,
    proof: Vec<Sibling>,
    service_endorsements: Vec<String>,
) -> Receipt {
    Receipt {
        cert: signature.cert.clone(),
        leaf: None,
        leaf_components: Some(leaf),
        node_id: signature.node,
        proof,
        service_endorsements,
        signature: signature.sig.clone(),
    }
}

/// The receipt of the signature transaction itself: the root, signed.
#[must_use]
pub fn build_for_signature(signature: &SignatureRow, service_endorsements: Vec<String>) -> Receipt {
    Receipt {
        cert: signature.cert.clone(),
        leaf: Some(signature.root),
        leaf_components: None,
        node_id: signature.node,
        proof: Vec::new(),
        service_endorsements,
        signature: signature.sig.clone(),
    }
}

/// The transaction that commit evidence names. Its form bounds its length: numbers of 19 digits and
/// a nonce of one.
pub(crate) fn evidence_tx_id(evidence: &str) -> Result<TxId, ReceiptError> {
    let named = || {
        let (id, nonce) = evidence.strip_prefix("ce:")?.split_once(':')?;
        nonce.parse::<Digest>().ok()?;
        id.parse().ok()
    };
    named().ok_or(ReceiptError::CommitEvidence)
}

impl LeafComponents {
    /// The leaf in the tree.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let evidence = sha256(self.commit_evidence.as_bytes());
        leaf(self.write_set_digest, evidence, self.claims_digest)
    }
}

fn certificate(which: &'static str, pem: &str) -> Result<Certificate, ReceiptError> {
    Certificate::from_pem(pem).map_err(|e| ReceiptError::Certificate {
        which,
        reason: e.to_string(),
    })
}

impl Receipt {
    /// A receipt from JSON.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::TooLarge`] or [`ReceiptError::Malformed`].
    pub fn from_json(json: &[u8]) -> Result<Self, ReceiptError> {
        if json.len() > RECEIPT_SIZE_MAX {
            return Err(ReceiptError::TooLarge(json.len()));
        }
        serde_json::from_slice(json).map_err(|e| ReceiptError::Malformed(e.to_string()))
    }

    /// Verifies the receipt against a service certificate that was obtained out of band.
    ///
    /// Validity periods are not looked at: the certificate says who signed, and the ledger
    /// outlives its certificates.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`] naming the first step that does not hold.
    ///
    /// # Source
    ///
    /// `ledger-host.md` §2.3.
    pub fn verify(
        &self,
        service_cert_pem: &str,
        verifier: &dyn VerifySignature,
    ) -> Result<VerifiedReceipt, ReceiptError> {
        let (root, proven) = self.implied()?;
        let node = certificate("node", &self.cert)?;
        if NodeId(sha256(node.spki_der())) != self.node_id {
            return Err(ReceiptError::NodeId);
        }
        self.verify_chain(&node, service_cert_pem, verifier)?;
        let signature = b64::decode(&self.signature)
            .map_err(|_| ReceiptError::Malformed("signature is not base64".into()))?;
        let alg = SignatureAlg::EcdsaPrehashedSha256Der;
        verifier
            .verify(alg, node.spki_der(), &root.0, &signature)
            .map_err(|source| ReceiptError::Signature { root, source })?;
        Ok(VerifiedReceipt { root, proven })
    }

    /// The root that the receipt claims to prove, and the transaction under it.
    fn implied(&self) -> Result<(Digest, Option<(TxId, LeafComponents)>), ReceiptError> {
        match (&self.leaf, &self.leaf_components) {
            (Some(root), None) if self.proof.is_empty() => Ok((*root, None)),
            // A path under a bare leaf would let an inner node pass for a signed root.
            (Some(_), None) => Err(ReceiptError::ProofOfSignature),
            (None, Some(components)) => {
                let id = evidence_tx_id(&components.commit_evidence)?;
                let root = implied_root(components.digest(), &self.proof)?;
                Ok((root, Some((id, components.clone()))))
            }
            _ => Err(ReceiptError::LeafForm),
        }
    }

    /// Node certificate → former identities, oldest first → trusted service.
    fn verify_chain(
        &self,
        node: &Certificate,
        service_cert_pem: &str,
        verifier: &dyn VerifySignature,
    ) -> Result<(), ReceiptError> {
        if self.service_endorsements.len() > ENDORSEMENTS_MAX {
            return Err(ReceiptError::TooManyEndorsements(self.service_endorsements.len()));
        }
        let mut issued = (node.clone(), "node");
        let former = self.service_endorsements.iter();
        for issuer in former.chain(std::iter::once(&service_cert_pem.to_owned())) {
            let issuer = certificate("service", issuer)?;
            let (certificate, which) = &issued;
            // Only a service's certificate may issue: a node must not vouch for another node.
            if !issuer.is_ca() {
                return Err(ReceiptError::Chain { which });
            }
            certificate
                .verify_issued_by(issuer.spki_der(), verifier)
                .map_err(|_| ReceiptError::Chain { which })?;
            issued = (issuer, "former service");
        }
        Ok(())
    }
}
