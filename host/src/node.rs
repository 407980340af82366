//! From two directories to a running service: genesis if there is no ledger yet, else resume.
//!
//! The order on disk is what matters: the sealed identity is synced before the first entry under
//! a new ledger secret is, so no entry is ever written that the node could not read again. Once
//! that entry is synced it is noted in the identity, before anything is answered: from then on no
//! older copy of the ledger is started from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crypto::native::{Curve, EcKeyPair, KeyError, LedgerSecret, Native, RsaBits, RsaKeyPair};
use host_core::genesis::GenesisError;
use host_core::identity::{IdentityError, decode_identity};
use host_core::resume::ResumeError;
use host_core::shares::Entropy;
use host_core::time::{needs_confirmation, utc_day};
use host_core::{Batch, Genesis, Guests, NodeSetup, Resume, Service, Settings};
use kv::TxId;
use model::node::{QuoteFormat, QuoteInfo, RpcInterface};
use model::{NodeId, ServiceId, b64};
use serde_json::json;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::executor::{self, Executor, Handle, QueueLimits};
use crate::ledger_files::{LedgerFiles, LedgerFilesError};
use crate::sealed_keys::{SealedKeys, SealedKeysError};

/// Name of the one interface that a node has.
const INTERFACE: &str = "primary_rpc_interface";

/// What a node needs to know to start its service.
pub struct Start {
    /// Where both directories are.
    pub disk: Arc<dyn Disk>,
    /// Directory of the ledger's chunks.
    pub ledger_dir: PathBuf,
    /// Directory of the sealed identity.
    pub state_dir: PathBuf,
    /// `host:port` that it listens on.
    pub bind_address: String,
    /// `host:port` that clients use.
    pub published_address: String,
    /// Host names and addresses for its certificate.
    pub names: Vec<String>,
    /// Life of its certificate, in days.
    pub certificate_validity_days: u32,
    /// Signatures and chunks.
    pub settings: Settings,
    /// Queue and batches.
    pub limits: QueueLimits,
    /// The flag `--insecure-virtual`.
    pub insecure_virtual: bool,
    /// The clocks to go by.
    pub clock: Clock,
    /// The flag `--accept-clock`: the day that somebody confirms, `YYYY-MM-DD`.
    pub accept_clock: Option<String>,
}

/// A service that runs.
pub struct Running {
    /// For everything that answers requests.
    pub handle: Handle,
    /// To stop it.
    pub executor: Executor,
    /// The node's key, PKCS#8 DER, for its listener.
    pub node_key: Zeroizing<Vec<u8>>,
    /// What nonces are made and checked with; the same after a restart.
    pub nonce_secret: Zeroizing<[u8; 32]>,
    /// The service's identity, from its own key: what evidence must name.
    pub service: ServiceId,
    /// The node's certificate, PEM.
    pub node_cert_pem: String,
    /// The service's certificate, PEM: what clients pin.
    pub service_cert_pem: String,
    /// The node.
    pub node_id: NodeId,
    /// Whether the service continues from an earlier ledger.
    pub resumed: bool,
}

/// The service cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The only platform there is so far was not allowed.
    #[error("this node has no confidential platform; start it with --insecure-virtual for development")]
    NoPlatform,
    /// There is no ledger and nothing to begin one with.
    #[error("there is no ledger in {0}, and the configuration names no members and constitution")]
    NoGenesis(PathBuf),
    /// What a new service should begin with cannot be used.
    #[error("a new service cannot begin with what the configuration names")]
    Configuration(#[source] anyhow::Error),
    /// A ledger without the keys to it.
    #[error("there is a ledger in {ledger}, but no sealed identity in {state}")]
    NoIdentity {
        /// The ledger's directory.
        ledger: PathBuf,
        /// The state directory.
        state: PathBuf,
    },
    /// The ledger lacks what was once synced to it: an older copy, or none.
    #[error(
        "LedgerBehind: the ledger in {ledger} does not hold entry {boot}, which the sealed identity in {state} \
         wrote and synced: it is an older copy, a fork, or not there. Restore the ledger that holds this entry. \
         To begin a new service instead, under a new identity, use another state directory"
    )]
    LedgerBehind {
        /// The ledger's directory.
        ledger: PathBuf,
        /// The state directory.
        state: PathBuf,
        /// The last boot entry that was synced.
        boot: TxId,
    },
    /// The ledger directory.
    #[error(transparent)]
    Files(#[from] LedgerFilesError),
    /// The state directory.
    #[error(transparent)]
    Sealed(#[from] SealedKeysError),
    /// What was sealed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A key cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A new service cannot begin.
    #[error("the service cannot begin")]
    Genesis(#[from] GenesisError),
    /// The clock would become the floor of service time, and may be wrong.
    #[error(
        "the clock says {today}, more than 90 days after the ledger's last signature ({signed}). If that is \
         right, start once with --accept-clock {today}; if not, set the clock"
    )]
    Clock {
        /// The clock's day in UTC.
        today: String,
        /// The last signature's.
        signed: String,
    },
    /// The service cannot be resumed.
    #[error("the service cannot be resumed")]
    Resume(#[from] ResumeError),
    /// A thread cannot be started, or one failed.
    #[error("the node's threads")]
    Threads(#[from] std::io::Error),
}

/// Starts the service: genesis or resume, its first batch on disk, writer running.
///
/// `genesis` says what a new service begins with. It is asked only if there is no ledger yet: its
/// files need not outlive the first start. It runs beside the making of keys.
///
/// # Errors
///
/// [`StartError`] saying what is missing or damaged.
pub fn start(
    start: Start,
    genesis: impl FnOnce() -> anyhow::Result<Option<Genesis>>,
    guests: Arc<dyn Guests>,
) -> Result<Running, StartError> {
    if !start.insecure_virtual {
        return Err(StartError::NoPlatform);
    }
    let keys = SealedKeys::insecure_virtual(Arc::clone(&start.disk), &start.state_dir)?;
    let now = start.clock.seconds();
    // Keys are made beside the replay and the compilation of a constitution: RSA takes its time.
    let (ledger, setup) = std::thread::scope(|scope| {
        let setup = scope.spawn(|| node_setup(&start));
        let ledger = load(&start, &keys).and_then(|(files, resume)| {
            let genesis = match &resume {
                Some(_) => None,
                None => genesis().map_err(StartError::Configuration)?,
            };
            Ok((files, resume, genesis))
        });
        let setup = setup.join().unwrap_or_else(|_| Err(KeyError::Failed));
        (ledger, setup)
    });
    let (mut files, resume, genesis) = ledger?;
    let setup = setup?;
    let resumed = resume.is_some();
    let (service, batch) = match resume {
        Some(resume) => {
            confirm_clock(now, resume.signed_at(), start.accept_clock.as_deref())?;
            let last = resume.last_signed().map_or(0, |id| id.seqno);
            let made = resume.finish(setup, LedgerSecret::random(), start.settings, entropy(), now)?;
            files.cut_behind(last)?;
            made
        }
        None => {
            let genesis = genesis.ok_or_else(|| StartError::NoGenesis(start.ledger_dir.clone()))?;
            // What was never signed was never answered for: the chunk of a start that crashed.
            files.cut_behind(0)?;
            keys.set_aside()?;
            let service_key = EcKeyPair::generate(Curve::P384)?;
            let secret = LedgerSecret::random();
            Service::genesis(
                &genesis,
                setup,
                service_key,
                secret,
                start.settings,
                entropy(),
                now,
            )?
        }
    };
    let threads = (guests, start.limits, start.clock);
    let running = run(service, &batch, files, &keys, threads)?;
    Ok(Running { resumed, ..running })
}

/// Refuses a clock far past the last signature unless somebody confirms the day.
fn confirm_clock(now: u64, signed_at: u64, confirmed: Option<&str>) -> Result<(), StartError> {
    let today = utc_day(now);
    if needs_confirmation(now, signed_at) && confirmed != Some(today.as_str()) {
        let signed = utc_day(signed_at);
        return Err(StartError::Clock { today, signed });
    }
    Ok(())
}

fn entropy() -> Entropy {
    Box::new(|buffer| buffer.copy_from_slice(&crypto::native::random_vec(buffer.len())))
}

/// Reads the ledger; gives a replay to resume from if it holds anything signed.
fn load(start: &Start, keys: &SealedKeys) -> Result<(LedgerFiles, Option<Resume<'static>>), StartError> {
    let Some(plain) = keys.load()? else {
        let files = LedgerFiles::load(Arc::clone(&start.disk), &start.ledger_dir, |_| {
            Ok::<(), StartError>(())
        })?;
        if !files.is_empty() {
            return Err(StartError::NoIdentity {
                ledger: start.ledger_dir.clone(),
                state: start.state_dir.clone(),
            });
        }
        return Ok((files, None));
    };
    let mut resume = Resume::new(&Native, decode_identity(&plain)?);
    let files = LedgerFiles::load(Arc::clone(&start.disk), &start.ledger_dir, |entry| {
        resume.feed(entry).map_err(StartError::from)
    })?;
    if let Some(boot) = resume.missing() {
        return Err(StartError::LedgerBehind {
            ledger: start.ledger_dir.clone(),
            state: start.state_dir.clone(),
            boot: boot.id,
        });
    }
    let resume = resume.last_signed().is_some().then_some(resume);
    Ok((files, resume))
}

/// Seals the identity, writes the first batch, starts the threads.
fn run(
    service: Service,
    batch: &Batch,
    mut files: LedgerFiles,
    keys: &SealedKeys,
    (guests, limits, clock): (Arc<dyn Guests>, QueueLimits, Clock),
) -> Result<Running, StartError> {
    keys.store(&service.identity_before_boot()?)?;
    files.append(batch)?;
    keys.store(&service.identity_after_boot()?)?;
    let node = service.node();
    let node_key = node.key.to_pkcs8_der()?;
    let nonce_secret = service.derive_secret(b"nonces")?;
    let node_cert_pem = node.cert_pem.clone();
    let node_id = node.id();
    let service_id = service.id();
    let service_cert_pem = service.state().service_cert_pem.to_string();
    let (handle, executor) = executor::start(service, files, guests, limits, clock)?;
    Ok(Running {
        handle,
        executor,
        node_key,
        nonce_secret,
        node_cert_pem,
        service_cert_pem,
        service: service_id,
        node_id,
        resumed: false,
    })
}

/// Keys of this process, and evidence that says openly that it proves nothing.
fn node_setup(start: &Start) -> Result<NodeSetup, KeyError> {
    let key = EcKeyPair::generate(Curve::P256)?;
    // Nobody joins yet, so nobody wraps secrets to this key and its private half is dropped.
    let encryption_public_key = RsaKeyPair::generate(RsaBits::B2048)?.public_pem();
    let measurement = crypto::sha256(concat!("concordat-host ", env!("CARGO_PKG_VERSION")).as_bytes());
    let host_data = crypto::sha256(b"insecure virtual");
    let report_data = crypto::sha256(key.spki_der());
    let quote = json!({
        "measurement": measurement,
        "host_data": host_data,
        "report_data": report_data,
    });
    let interface = RpcInterface {
        bind_address: start.bind_address.clone(),
        published_address: start.published_address.clone(),
        protocol: Some("tcp".to_owned()),
    };
    Ok(NodeSetup {
        key,
        encryption_public_key,
        node_to_node_interface: interface.clone(),
        rpc_interfaces: BTreeMap::from([(INTERFACE.to_owned(), interface)]),
        names: start.names.clone(),
        certificate_validity_days: start.certificate_validity_days,
        quote: QuoteInfo {
            format: QuoteFormat::InsecureVirtual,
            quote: b64::encode(quote.to_string().as_bytes()),
            endorsements: String::new(),
            uvm_endorsements: None,
        },
        measurement: measurement.to_string(),
        host_data: host_data.to_string(),
    })
}
