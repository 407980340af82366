//! The first transaction of a service: who its members are, by which rules they decide, and the
//! node it starts on. Source: `ledger-host.md` §1.9, §4.2, §4.3; decisions 32 and 36.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use crypto::native::issue::{IssueError, Validity, node_certificate, self_signed_service};
use crypto::native::{EcKeyPair, LedgerSecret};
use crypto::spki::{KeyKind, public_key_from_pem, spki_key_kind};
use crypto::x509::Certificate;
use kv::store::Store;
use kv::{Context, Json, Raw, Singleton, TableError, TxId, Unit};
use ledger::merkle::Tree;
use model::member::{MemberAck, MemberInfo, MemberRoles, MemberStatus, RecoveryRole, normalised_flags};
use model::node::{NodeInfo, NodeStatus, QuoteInfo, RpcInterface};
use model::service::{ServiceConfig, ServiceInfo, ServiceStatus};
use model::tables::{
    CONSTITUTION, MEMBER_ACKS, MEMBER_CERTS, MEMBER_ENCRYPTION_KEYS, MEMBER_INFO, MODULES,
    NODE_ENDORSED_CERTIFICATES, NODE_INFO, SERVICE_CONFIG, SERVICE_INFO, VIRTUAL_HOST_DATA,
    VIRTUAL_MEASUREMENTS, constitution_reference,
};
use model::{MemberId, NodeId};
use serde_json::Value as JsonValue;

use crate::commit::{Batch, Log, LogStart, SealError};
use crate::identity::{LedgerSecrets, NodeIdentity, ServiceIdentity, node_id};
use crate::service::{Parts, Service, Settings};
use crate::shares::Entropy;
use crate::state::Proofs;
use crate::transaction::Transaction;

/// View of a new service (`ledger-host.md` §1.10).
const FIRST_VIEW: u64 = 2;
/// Most shares needed to recover.
const THRESHOLD_MAX: u16 = 254;

/// A member from the beginning; it still has to acknowledge.
#[derive(Clone, Debug)]
pub struct GenesisMember {
    /// Certificate, canonical PEM; an elliptic-curve key.
    pub certificate: String,
    /// RSA encryption key, canonical PEM; without it the member takes no part in recovery.
    pub encryption_key: Option<String>,
    /// `member_data`.
    pub data: Option<JsonValue>,
    /// Absent: Participant with an encryption key, else NonParticipant.
    pub recovery_role: Option<RecoveryRole>,
}

/// What a new service starts from.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// At least one.
    pub members: Vec<GenesisMember>,
    /// The constitution component; the caller has inspected it.
    pub constitution: Arc<[u8]>,
    /// Shares needed to recover: 1 to the number of participants.
    pub recovery_threshold: u16,
    /// Common name of the service certificate.
    pub service_name: String,
    /// Life of the service certificate, in days.
    pub certificate_validity_days: u32,
    /// Longest life that a vote may give a node or service certificate, in days.
    pub maximum_certificate_validity_days: u32,
    /// `service_data`.
    pub service_data: Option<JsonValue>,
}

/// The node that starts, new in every process.
pub struct NodeSetup {
    /// P-256.
    pub key: EcKeyPair,
    /// RSA public key that ledger secrets would be wrapped to, PEM.
    pub encryption_public_key: String,
    /// Where peers would reach it.
    pub node_to_node_interface: RpcInterface,
    /// Where clients reach it, by name.
    pub rpc_interfaces: BTreeMap<String, RpcInterface>,
    /// Host names and addresses for its certificate.
    pub names: Vec<String>,
    /// Life of its certificate, in days.
    pub certificate_validity_days: u32,
    /// Evidence of the platform.
    pub quote: QuoteInfo,
    /// Measurement, as the join policy lists it.
    pub measurement: String,
    /// Host data in hex, as the join policy lists it.
    pub host_data: String,
}

/// A service cannot begin like this.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// No members.
    #[error("a service needs at least one member")]
    NoMembers,
    /// A member's certificate or key cannot be used.
    #[error("member {position}: {reason}")]
    Member {
        /// Zero-based position in the list.
        position: usize,
        /// What is wrong.
        reason: String,
    },
    /// The threshold does not go with the members.
    #[error("recovery threshold {threshold} does not go with {participants} members that hold shares")]
    Threshold {
        /// The configured threshold.
        threshold: u16,
        /// Members with an encryption key.
        participants: usize,
    },
    /// A certificate cannot be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A row is too large.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The transaction is too large.
    #[error(transparent)]
    TooLarge(#[from] ledger::limits::TooLarge),
    /// The first batch cannot be signed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Service {
    /// A new service with its first two entries: genesis and a signature.
    ///
    /// `service_key` is a fresh P-384 key, `secret` a fresh ledger secret, `now` Unix seconds.
    ///
    /// # Errors
    ///
    /// [`GenesisError`] saying what in the configuration cannot be used.
    pub fn genesis(
        genesis: &Genesis,
        setup: NodeSetup,
        service_key: EcKeyPair,
        secret: LedgerSecret,
        settings: Settings,
        entropy: Entropy,
        now: u64,
    ) -> Result<(Self, Batch), GenesisError> {
        let validity = Validity {
            not_before: now,
            days: genesis.certificate_validity_days,
        };
        let cert_pem = self_signed_service(&service_key, &genesis.service_name, validity)?;
        let identity = ServiceIdentity {
            key: service_key,
            cert_pem: canonical(&cert_pem)?,
        };
        let id = TxId::new(FIRST_VIEW, 1);
        let mut tx = Transaction::new(Store::default(), Context::Host, id);
        put_members(&mut tx, genesis)?;
        put_rules(&mut tx, genesis)?;
        let info = ServiceInfo {
            cert: identity.cert_pem.clone(),
            status: ServiceStatus::Opening,
            previous_service_identity_version: None,
            recovery_count: 0,
            service_data: genesis.service_data.clone(),
            current_service_create_txid: Some(id),
        };
        SERVICE_INFO.put(&mut tx, &Singleton, &Json(info))?;
        let node = put_node(&mut tx, setup, &identity, id.seqno, now)?;
        let mut secrets = LedgerSecrets::default();
        let commit_secrets = vec![(id.seqno, secret.commit_secret())];
        secrets.begin(id.seqno, secret);
        let log = Log::new(LogStart {
            view: FIRST_VIEW,
            seqno: 0,
            secrets,
            proofs: Arc::new(Proofs {
                tree: RwLock::new(Tree::default()),
                commit_secrets,
            }),
            chunk_bytes_max: settings.chunk_bytes_max,
        });
        let parts = Parts {
            store: Store::default(),
            log: log.expect("the secret was just added"),
            identity,
            node,
            settings,
            entropy,
            views: Vec::new(),
            earlier_boot: None,
            signed_at: 0,
        };
        let writes = tx.into_write_set();
        ledger::limits::check(&writes)?;
        Ok(Self::begin(parts, &writes, 0, now)?)
    }
}

/// PEM as every reader of ours writes it.
fn canonical(pem: &str) -> Result<String, IssueError> {
    Ok(Certificate::from_pem(pem)?.to_pem())
}

fn put_members(tx: &mut Transaction, genesis: &Genesis) -> Result<(), GenesisError> {
    if genesis.members.is_empty() {
        return Err(GenesisError::NoMembers);
    }
    let mut participants = 0_usize;
    let mut owners = 0_usize;
    for (position, member) in genesis.members.iter().enumerate() {
        let refused = |reason: &str| GenesisError::Member {
            position,
            reason: reason.to_owned(),
        };
        let id = member_id(&member.certificate).map_err(|e| refused(&e))?;
        if MEMBER_CERTS.has(tx, &id)? {
            return Err(refused("this certificate is listed twice"));
        }
        let data = member_data(member).map_err(|e| refused(&e))?;
        MEMBER_CERTS.put(tx, &id, &Raw(member.certificate.clone().into_bytes()))?;
        match (&member.encryption_key, member.recovery_role) {
            (Some(key), role) => {
                check_encryption_key(key).map_err(|e| refused(&e))?;
                MEMBER_ENCRYPTION_KEYS.put(tx, &id, &Raw(key.clone().into_bytes()))?;
                match role.unwrap_or(RecoveryRole::Participant) {
                    RecoveryRole::Participant => participants += 1,
                    RecoveryRole::Owner => owners += 1,
                    RecoveryRole::NonParticipant => {
                        return Err(refused("an encryption key makes a Participant or an Owner"));
                    }
                }
            }
            (None, None | Some(RecoveryRole::NonParticipant)) => {}
            (None, Some(_)) => return Err(refused("this recovery role needs an encryption key")),
        }
        let info = MemberInfo {
            status: MemberStatus::Accepted,
            member_data: data,
            recovery_role: member.recovery_role,
        };
        MEMBER_INFO.put(tx, &id, &Json(info))?;
        MEMBER_ACKS.put(tx, &id, &Json(MemberAck::default()))?;
    }
    let threshold = genesis.recovery_threshold;
    let owners_only = participants == 0 && owners > 0 && threshold == 1;
    let fits = (1..=THRESHOLD_MAX).contains(&threshold) && usize::from(threshold) <= participants;
    if !fits && !owners_only {
        return Err(GenesisError::Threshold {
            threshold,
            participants,
        });
    }
    Ok(())
}

/// A member's data as `set_member` would store it (`governance-api.md` §3.1, §6.5 O4).
fn member_data(member: &GenesisMember) -> Result<Option<JsonValue>, String> {
    let data = member
        .data
        .as_ref()
        .filter(|data| !data.is_null())
        .map(normalised_flags)
        .transpose()
        .map_err(|e| e.to_string())?
        .map(JsonValue::Object);
    if member.encryption_key.is_some() && MemberRoles::of(data.as_ref()).operator {
        return Err("an operator must not hold a recovery share".to_owned());
    }
    Ok(data)
}

fn member_id(pem: &str) -> Result<MemberId, String> {
    let certificate = Certificate::from_pem(pem).map_err(|e| e.to_string())?;
    match certificate.key_kind() {
        KeyKind::EcP256 | KeyKind::EcP384 | KeyKind::EcP521 => Ok(MemberId(certificate.id())),
        _ => Err("members sign with elliptic-curve keys".to_owned()),
    }
}

fn check_encryption_key(pem: &str) -> Result<(), String> {
    let spki = public_key_from_pem(pem).map_err(|e| e.to_string())?;
    match spki_key_kind(&spki) {
        Ok(KeyKind::Rsa(bits)) if bits >= 2048 => Ok(()),
        _ => Err("an encryption key is RSA with at least 2048 bits".to_owned()),
    }
}

fn put_rules(tx: &mut Transaction, genesis: &Genesis) -> Result<(), TableError> {
    let digest = crypto::sha256(&genesis.constitution);
    MODULES.put(tx, &digest.to_string(), &Raw(genesis.constitution.to_vec()))?;
    CONSTITUTION.put(tx, &Singleton, &Json(constitution_reference(&digest)))?;
    let config = ServiceConfig {
        recovery_threshold: genesis.recovery_threshold,
        maximum_node_certificate_validity_days: Some(genesis.maximum_certificate_validity_days),
        maximum_service_certificate_validity_days: Some(genesis.maximum_certificate_validity_days),
        recent_cose_proposals_window_size: None,
        quota_rows: None,
        quota_bytes: None,
    };
    SERVICE_CONFIG.put(tx, &Singleton, &Json(config))
}

/// Issues the node's certificate and writes its rows, with the join policy it implies. Rows of
/// other nodes go: their keys died with their processes.
pub(crate) fn put_node(
    tx: &mut Transaction,
    setup: NodeSetup,
    service: &ServiceIdentity,
    secret_seqno: u64,
    now: u64,
) -> Result<NodeIdentity, NodeError> {
    let validity = Validity {
        not_before: now,
        days: setup.certificate_validity_days,
    };
    let issuer = Certificate::from_pem(&service.cert_pem).map_err(IssueError::from)?;
    let pem = node_certificate(
        setup.key.spki_der(),
        "Concordat Node",
        &setup.names,
        validity,
        &service.key,
        &issuer,
    )?;
    let node = NodeIdentity {
        cert_pem: canonical(&pem)?,
        key: setup.key,
    };
    let id: NodeId = node_id(&node.key);
    for row in NODE_INFO.rows(tx)? {
        NODE_INFO.remove(tx, &row.key)?;
    }
    for row in NODE_ENDORSED_CERTIFICATES.rows(tx)? {
        NODE_ENDORSED_CERTIFICATES.remove(tx, &row.key)?;
    }
    let info = NodeInfo {
        node_to_node_interface: setup.node_to_node_interface,
        rpc_interfaces: setup.rpc_interfaces,
        quote_info: setup.quote,
        encryption_pub_key: setup.encryption_public_key,
        status: NodeStatus::Trusted,
        ledger_secret_seqno: Some(secret_seqno),
        code_digest: Some(setup.measurement.clone()),
        certificate_signing_request: None,
        public_key: Some(node.key.public_pem()),
    };
    NODE_INFO.put(tx, &id, &Json(info))?;
    NODE_ENDORSED_CERTIFICATES.put(tx, &id, &Raw(node.cert_pem.clone().into_bytes()))?;
    VIRTUAL_MEASUREMENTS.put(tx, &setup.measurement, &Json("AllowedToJoin".to_owned()))?;
    VIRTUAL_HOST_DATA.put(tx, &setup.host_data, &Unit)?;
    Ok(node)
}

/// A node's rows cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its certificate cannot be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A row is too large or does not decode.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl From<NodeError> for GenesisError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Issue(e) => Self::Issue(e),
            NodeError::Table(e) => Self::Table(e),
        }
    }
}
