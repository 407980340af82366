//! A node from its configuration to its first answer, and back to a closed ledger.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use host_core::commit::CoseClaims;
use host_core::{Genesis, GenesisMember, Settings};
use model::tables::ENDPOINTS;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{Config, MemberConfig};
use crate::disk::OsDisk;
use crate::executor::{Executor, QueueLimits};
use crate::guest_imports::ServiceSettings;
use crate::guest_imports::nonce::NonceKey;
use crate::guests::WasmGuests;
use crate::node::{self, Running};
use crate::routes::Routes;
use crate::tls::{NodeTls, server_config};
use crate::{executor, https};

/// Largest PEM file read at start, in bytes.
const PEM_BYTES_MAX: u64 = 64 * 1024;
/// Common name of a new service's certificate.
const SERVICE_NAME: &str = "Concordat Service";

/// A running node.
pub struct Node {
    address: SocketAddr,
    service_cert_pem: String,
    resumed: bool,
    handle: executor::Handle,
    executor: Executor,
    stop: watch::Sender<bool>,
    listener: JoinHandle<()>,
}

impl Node {
    /// Starts a node: a new service if there is no ledger yet, else the one in the ledger.
    /// When this returns, the node answers.
    ///
    /// # Errors
    ///
    /// What in the configuration, the files or the machine prevents it.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        Self::start_by(config, Clock::system()).await
    }

    /// As [`Node::start`], by clocks of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Node::start`].
    pub async fn start_by(config: Config, clock: Clock) -> anyhow::Result<Self> {
        config.check()?;
        let bind = config.node.bind;
        let listener = TcpListener::bind(bind)
            .await
            .with_context(|| format!("cannot listen on {bind}"))?;
        let address = listener.local_addr()?;
        let (for_service, limits) = (config.clone(), config.limits);
        let for_routes = clock.clone();
        // Compiling components, making keys and reading the ledger take their time.
        let (guests, running) =
            tokio::task::spawn_blocking(move || start_service(&for_service, address, clock)).await??;
        let tls = server_config(&node_tls(&running)?).context("the node's certificate cannot be used")?;
        let insecure = config.insecure_virtual;
        let routes = Arc::new(Routes::new(running.handle.clone(), guests, insecure, for_routes));
        let (stop, stopped) = watch::channel(false);
        let door = Arc::clone(&routes);
        let answer = move |request| {
            let routes = Arc::clone(&routes);
            async move { routes.answer(request).await }
        };
        let serving = https::serve(listener, Arc::new(tls), limits, stopped, door, answer);
        let node = Self {
            address,
            service_cert_pem: running.service_cert_pem,
            resumed: running.resumed,
            handle: running.handle,
            executor: running.executor,
            stop,
            listener: tokio::spawn(serving),
        };
        node.announce(&config)?;
        Ok(node)
    }

    /// Where the node answers.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The service's certificate, PEM: what clients pin.
    #[must_use]
    pub fn service_cert_pem(&self) -> &str {
        &self.service_cert_pem
    }

    /// Whether the service continues from an earlier ledger.
    #[must_use]
    pub const fn resumed(&self) -> bool {
        self.resumed
    }

    /// Whether writing has failed for good: the node must be restarted.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.handle.has_failed()
    }

    /// Stops listening, lets open requests finish, ends the ledger's chunk.
    ///
    /// # Errors
    ///
    /// If not everything that was executed is on disk.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.listener.await.context("the listener failed")?;
        let executor = self.executor;
        let clean = tokio::task::spawn_blocking(move || executor.stop()).await?;
        ensure!(clean, "the ledger could not be written to its end; see the log");
        Ok(())
    }

    /// Writes the files that tell others where the node is; the address comes last.
    fn announce(&self, config: &Config) -> anyhow::Result<()> {
        let write = |path: &Option<std::path::PathBuf>, text: String| match path {
            Some(path) => std::fs::write(path, text)
                .and_then(|()| lockdown::like_its_folder(path))
                .with_context(|| format!("cannot write {}", path.display())),
            None => Ok(()),
        };
        write(
            &config.node.service_certificate_file,
            self.service_cert_pem.clone(),
        )?;
        write(&config.node.address_file, format!("{}\n", self.address))
    }
}

/// Engine and service. Blocks.
fn start_service(
    config: &Config,
    address: SocketAddr,
    clock: Clock,
) -> anyhow::Result<(Arc<WasmGuests>, Running)> {
    let guests = Arc::new(WasmGuests::new(service_settings(config)?)?);
    let start = node::Start {
        disk: Arc::new(OsDisk),
        ledger_dir: config.node.ledger_dir.clone(),
        state_dir: config.node.state_dir.clone(),
        bind_address: address.to_string(),
        published_address: config
            .node
            .published
            .clone()
            .unwrap_or_else(|| address.to_string()),
        names: certificate_names(config, address),
        certificate_validity_days: config.service.certificate_validity_days,
        settings: Settings {
            cose: CoseClaims {
                issuer: config.service.cose_issuer.clone(),
                subject: config.service.cose_subject.clone(),
            },
            chunk_bytes_max: config.ledger.chunk_bytes,
        },
        limits: QueueLimits {
            queue_entries_max: config.ledger.queue_entries_max,
            batch_entries_max: config.ledger.batch_entries_max,
            state_bytes_max: config
                .ledger
                .state_bytes_max
                .unwrap_or_else(crate::memory::half_of_machine),
        },
        insecure_virtual: config.insecure_virtual,
        clock,
        accept_clock: config.accept_clock.clone(),
    };
    let read_genesis = || {
        let genesis = genesis(config)?;
        if let Some(genesis) = &genesis {
            guests
                .inspect_constitution(&genesis.constitution)
                .context("service.constitution cannot be used")?;
        }
        Ok(genesis)
    };
    let shared: Arc<dyn host_core::Guests> = Arc::clone(&guests) as _;
    let running = node::start(start, read_genesis, shared).context("the service cannot be started")?;
    guests.set_service(running.service);
    guests.set_history(running.handle.history());
    guests.set_nonce_key(NonceKey::derive(running.nonce_secret.as_slice()));
    load_components(&guests, &running);
    Ok((guests, running))
}

/// Compiles what a resumed service runs, all at once, so that its first callers do not wait.
fn load_components(guests: &WasmGuests, running: &Running) {
    let state = running.handle.state();
    let mut names: Vec<String> = ENDPOINTS
        .rows(&*state)
        .unwrap_or_default()
        .into_iter()
        .map(|row| row.value.0.component)
        .collect();
    names.sort();
    names.dedup();
    let stored = |name: &String| host_core::Component::stored(&state.store, name.parse().ok()?);
    let applications: Vec<_> = names.iter().filter_map(stored).collect();
    std::thread::scope(|scope| {
        for component in &applications {
            scope.spawn(move || {
                if let Err(error) = guests.inspect_application(&component.bytes) {
                    tracing::error!(component = %component.digest, %error, "the application cannot be loaded");
                }
            });
        }
        if let Some(component) = host_core::Component::constitution(&state.store)
            && let Err(error) = guests.inspect_constitution(&component.bytes)
        {
            tracing::error!(%error, "the constitution cannot be loaded");
        }
    });
}

fn service_settings(config: &Config) -> anyhow::Result<ServiceSettings> {
    let roots = &config.attestation.insecure_virtual_roots;
    let extra_arks = roots.iter().map(|root| root.parse()).collect::<Result<_, _>>()?;
    Ok(ServiceSettings {
        trust: attestation::Trust {
            extra_arks,
            allow_virtual: config.insecure_virtual,
        },
        insecure_virtual: config.insecure_virtual,
    })
}

/// What a new service begins with; `None` if the configuration names no constitution.
fn genesis(config: &Config) -> anyhow::Result<Option<Genesis>> {
    let service = &config.service;
    let Some(path) = &service.constitution else {
        return Ok(None);
    };
    let constitution = read_file(path, crate::guests::COMPONENT_BYTES_MAX as u64)?;
    Ok(Some(Genesis {
        members: service
            .members
            .iter()
            .map(genesis_member)
            .collect::<Result<_, _>>()?,
        constitution: Arc::from(constitution),
        recovery_threshold: service.recovery_threshold,
        service_name: SERVICE_NAME.to_owned(),
        certificate_validity_days: service.certificate_validity_days,
        maximum_certificate_validity_days: service.maximum_certificate_validity_days,
        service_data: service.data.clone(),
    }))
}

fn genesis_member(member: &MemberConfig) -> anyhow::Result<GenesisMember> {
    let certificate = read_pem(&member.certificate)?;
    let certificate = crypto::x509::Certificate::from_pem(&certificate)
        .with_context(|| format!("{} is not a certificate", member.certificate.display()))?;
    let encryption_key = match &member.encryption_key {
        None => None,
        Some(path) => {
            let spki = crypto::spki::public_key_from_pem(&read_pem(path)?)
                .with_context(|| format!("{} is not a public key", path.display()))?;
            Some(crypto::pem::encode("PUBLIC KEY", &spki))
        }
    };
    Ok(GenesisMember {
        certificate: certificate.to_pem(),
        encryption_key,
        data: member.data.clone(),
        recovery_role: None,
    })
}

/// Counted while it is read: a device has no length to ask for.
fn read_file(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(bytes_max.saturating_add(1)).read_to_end(&mut content))
        .with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        content.len() as u64 <= bytes_max,
        "{} has more than {bytes_max} bytes",
        path.display()
    );
    Ok(content)
}

fn read_pem(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read_file(path, PEM_BYTES_MAX)?)
        .with_context(|| format!("{} is not text", path.display()))
}

/// Names and addresses that the node's certificate is good for.
fn certificate_names(config: &Config, address: SocketAddr) -> Vec<String> {
    let mut names = config.node.subject_alt_names.clone();
    if !address.ip().is_unspecified() {
        names.push(address.ip().to_string());
    }
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    }
    let published = config
        .node
        .published
        .as_deref()
        .and_then(|text| text.rsplit_once(':'));
    names.extend(published.map(|(host, _)| host.to_owned()));
    names.sort();
    names.dedup();
    names
}

fn node_tls(running: &Running) -> anyhow::Result<NodeTls> {
    let chain = [&running.node_cert_pem, &running.service_cert_pem]
        .into_iter()
        .map(|pem| crypto::x509::Certificate::from_pem(pem).map(|certificate| certificate.der().to_vec()))
        .collect::<Result<_, _>>()?;
    Ok(NodeTls {
        chain,
        key_pkcs8: running.node_key.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::COMPONENT_BYTES_MAX;

    #[test]
    fn files_of_the_most_bytes_are_read_and_larger_ones_or_ones_without_an_end_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let constitution = || {
            let mut config: Config =
                toml::from_str("[node]\nledger_dir = \"l\"\nstate_dir = \"s\"\n").unwrap();
            config.service.constitution = Some(path.clone());
            genesis(&config).map(|genesis| genesis.unwrap().constitution.len() as u64)
        };
        let pem = || read_pem(&path).map(|text| text.len() as u64);
        let cases: [(&dyn Fn() -> anyhow::Result<u64>, u64); 2] =
            [(&constitution, COMPONENT_BYTES_MAX as u64), (&pem, PEM_BYTES_MAX)];
        for (read, most) in cases {
            let of_size = |size: u64| {
                File::create(&path).unwrap().set_len(size).unwrap();
                read()
            };
            assert_eq!(of_size(most).unwrap(), most);
            let refused = of_size(most + 1).unwrap_err().to_string();
            assert!(refused.contains(&format!("more than {most} bytes")), "{refused}");
        }
        let refused = read_pem(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(refused.contains("more than"), "{refused}");
    }
}
