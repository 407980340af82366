//! A minimal writer: one node, one service, entries and signatures as `ledger-host.md` §9 says.
//! For tests of the reader, and for showing our bytes to the public validators.

use std::collections::BTreeMap;

use crypto::native::issue::{Validity, node_certificate, self_signed_service};
use crypto::native::{Curve, EcKeyPair, LedgerSecret, Native, RsaBits, RsaKeyPair};
use crypto::sha256;
use crypto::x509::Certificate;
use kv::codec::{Key, Value};
use kv::{Json, Singleton, Table, TxId, WriteSet};
use ledger::chunk;
use ledger::entry::{self, Entry, Sealed};
use ledger::merkle::Tree;
use ledger::receipt::LeafComponents;
use ledger::replay::CannotOpen;
use ledger::signature::{self, COSE_ES384, Signing};
use model::node::{NodeInfo, NodeStatus, QuoteFormat, QuoteInfo, RpcInterface};
use model::service::{ServiceInfo, ServiceStatus};
use model::{Digest, NodeId, b64, tables};
use zeroize::Zeroizing;

/// 2026-11-21, so that no clock is read.
const NOW: u64 = 1_795_219_200;

/// Puts a typed row into a write set.
pub fn put<K: Key, V: Value>(writes: &mut WriteSet, table: Table<K, V>, key: &K, value: &V) {
    writes.set(table.name(), &key.to_bytes(), Some(value.to_bytes()));
}

/// The keys of a service with one node.
pub struct Keys {
    pub service: EcKeyPair,
    pub service_cert: String,
    pub node: EcKeyPair,
    pub node_cert: String,
    pub node_id: NodeId,
}

impl Keys {
    pub fn generate() -> Self {
        let validity = Validity {
            not_before: NOW,
            days: 90,
        };
        let service = EcKeyPair::generate(Curve::P384).unwrap();
        let service_cert = self_signed_service(&service, "Sample Service", validity).unwrap();
        let issuer = Certificate::from_pem(&service_cert).unwrap();
        // P-256, since the root is signed as a SHA-256 digest.
        let node = EcKeyPair::generate(Curve::P256).unwrap();
        let names = ["127.0.0.1".to_owned()];
        let spki = node.spki_der();
        let node_cert = node_certificate(spki, "Sample Node", &names, validity, &service, &issuer).unwrap();
        let node_id = NodeId(sha256(spki));
        Self {
            service,
            service_cert,
            node,
            node_cert,
            node_id,
        }
    }

    /// Rows that make this service's node known and trusted, and name the service.
    pub fn rows(&self, status: ServiceStatus) -> WriteSet {
        let interface = RpcInterface {
            bind_address: "127.0.0.1:0".into(),
            published_address: "127.0.0.1:0".into(),
            protocol: None,
        };
        let node = NodeInfo {
            node_to_node_interface: interface.clone(),
            rpc_interfaces: BTreeMap::from([("primary".to_owned(), interface)]),
            quote_info: QuoteInfo {
                format: QuoteFormat::InsecureVirtual,
                quote: b64::encode(b"quote"),
                endorsements: String::new(),
                uvm_endorsements: None,
            },
            encryption_pub_key: RsaKeyPair::generate(RsaBits::B2048).unwrap().public_pem(),
            status: NodeStatus::Trusted,
            ledger_secret_seqno: None,
            code_digest: Some(sha256(b"code").to_string()),
            certificate_signing_request: None,
            public_key: Some(self.node.public_pem()),
        };
        let certificate = kv::Raw(self.node_cert.clone().into_bytes());
        let mut writes = self.status(status);
        put(&mut writes, tables::NODE_INFO, &self.node_id, &Json(node));
        put(
            &mut writes,
            tables::NODE_ENDORSED_CERTIFICATES,
            &self.node_id,
            &certificate,
        );
        writes
    }

    /// The row that names the service with a status.
    pub fn status(&self, status: ServiceStatus) -> WriteSet {
        let info = ServiceInfo {
            cert: self.service_cert.clone(),
            status,
            previous_service_identity_version: None,
            recovery_count: 0,
            service_data: None,
            current_service_create_txid: None,
        };
        let mut writes = WriteSet::default();
        put(&mut writes, tables::SERVICE_INFO, &Singleton, &Json(info));
        writes
    }
}

/// Writes one chunk after the other.
pub struct Writer {
    pub keys: Keys,
    pub secret: LedgerSecret,
    pub tree: Tree,
    pub view: u64,
    /// The open chunk's bytes.
    pub open: Vec<u8>,
    offsets: Vec<u32>,
    /// Seqno of the last signature.
    signed: u64,
    /// What receipts need, by seqno.
    pub leaves: BTreeMap<u64, LeafComponents>,
}

impl Writer {
    /// A service whose first entry is written and signed: seqnos 1 and 2, view 2.
    pub fn genesis() -> Self {
        let keys = Keys::generate();
        let rows = keys.rows(ServiceStatus::Opening);
        let mut writer = Self {
            keys,
            secret: LedgerSecret::random(),
            tree: Tree::default(),
            view: 2,
            open: chunk::open_header().to_vec(),
            offsets: Vec::new(),
            signed: 0,
            leaves: BTreeMap::new(),
        };
        writer.append(&rows, 0);
        writer.sign(0);
        writer
    }

    /// Appends one transaction, unsigned.
    pub fn append(&mut self, writes: &WriteSet, flags: u8) -> TxId {
        let id = TxId::new(self.view, self.tree.len());
        let evidence = entry::commit_evidence(&self.secret.commit_secret(), id);
        let evidence_digest = sha256(evidence.as_bytes());
        let domains = entry::encode_domains(id.seqno, Digest::ZERO, evidence_digest, writes);
        let iv = entry::iv(id);
        let (ciphertext, tag) = self.secret.seal(iv, &domains.public, &domains.private_plain);
        let sealed = Sealed { tag, iv, ciphertext };
        let frame = entry::frame(flags, &domains.public, &sealed);
        let leaf = LeafComponents {
            claims_digest: Digest::ZERO,
            commit_evidence: evidence,
            write_set_digest: entry::write_set_digest(&frame),
        };
        self.tree.append(leaf.digest());
        self.leaves.insert(id.seqno, leaf);
        self.offsets.push(u32::try_from(self.open.len()).unwrap());
        self.open.extend(frame);
        id
    }

    /// The rows of a signature over everything so far.
    pub fn signature_rows(&self) -> WriteSet {
        let id = TxId::new(self.view, self.tree.len());
        let root = self.tree.root();
        let keys = &self.keys;
        let (kid, issuer, subject) = (keys.service.key_id(), "concordat", "ledger.signature");
        let protected = signature::cose_protected(COSE_ES384, &kid, NOW, issuer, subject, id);
        let service_signature = keys
            .service
            .sign_fixed(&signature::cose_tbs(&protected, root))
            .unwrap();
        signature::rows(Signing {
            id,
            root,
            node: keys.node_id,
            node_certificate: &keys.node_cert,
            node_signature: &keys.node.sign_prehashed_sha256_der(&root.0).unwrap(),
            cose: &signature::cose_assemble(&protected, &service_signature),
            segment: self.tree.segment(self.signed).unwrap(),
        })
    }

    /// Signs everything so far.
    pub fn sign(&mut self, flags: u8) -> TxId {
        let rows = self.signature_rows();
        let id = self.append(&rows, flags);
        self.tree.flush_to(self.signed);
        self.signed = id.seqno;
        id
    }

    /// Completes the open chunk and starts the next.
    pub fn close_chunk(&mut self) -> Vec<u8> {
        let header = chunk::complete_header(self.open.len() as u64);
        let mut bytes = std::mem::replace(&mut self.open, chunk::open_header().to_vec());
        bytes.extend(chunk::offsets_table(&std::mem::take(&mut self.offsets)));
        bytes[..header.len()].copy_from_slice(&header);
        bytes
    }

    /// Opens private parts as the holder of the ledger secret does.
    pub fn opener(&self) -> impl FnMut(&Entry<'_>) -> Result<Zeroizing<Vec<u8>>, CannotOpen> + use<'_> {
        |entry| {
            let opened = self
                .secret
                .open(entry.iv, entry.public, entry.private, &entry.tag);
            opened.map(Zeroizing::new).map_err(|e| CannotOpen(e.to_string()))
        }
    }
}

/// Rows of a public and a private application table.
pub fn application_rows(number: u64) -> WriteSet {
    let mut writes = WriteSet::default();
    let key = format!("row/{number}");
    writes.set("public:app.log", key.as_bytes(), Some(b"in clear".to_vec()));
    writes.set("app.secrets", key.as_bytes(), Some(b"never in clear".to_vec()));
    writes
}

/// A service's life over three chunks, the last of them open: genesis, opening, a removal, a
/// restart in the next view, writes. Gives file names with their bytes.
pub fn sample_ledger() -> (Writer, Vec<(String, Vec<u8>)>) {
    use ledger::entry::FORCE_CHUNK_AFTER;
    use ledger::names::ChunkName;

    let mut writer = Writer::genesis();
    let opening = writer.keys.status(ServiceStatus::Open);
    writer.append(&opening, 0);
    let first_end = writer.sign(FORCE_CHUNK_AFTER).seqno;
    let mut files = vec![(
        ChunkName::committed(1, first_end).to_string(),
        writer.close_chunk(),
    )];
    for number in 0..40 {
        writer.append(&application_rows(number), 0);
        if number % 7 == 0 {
            writer.sign(0);
        }
    }
    let mut removal = WriteSet::default();
    removal.set("public:app.log", b"row/3", None);
    writer.append(&removal, 0);
    let second_end = writer.sign(FORCE_CHUNK_AFTER).seqno;
    let name = ChunkName::committed(first_end + 1, second_end);
    files.push((name.to_string(), writer.close_chunk()));
    // A restart writes the node's rows again, in the next view.
    writer.view += 1;
    let boot = writer.keys.rows(ServiceStatus::Open);
    writer.append(&boot, 0);
    writer.sign(0);
    for number in 40..50 {
        writer.append(&application_rows(number), 0);
    }
    writer.sign(0);
    let name = ChunkName::open(second_end + 1);
    files.push((name.to_string(), writer.open.clone()));
    (writer, files)
}

/// The verifier that tests use where speed matters.
pub const VERIFIER: Native = Native;
