//! Configuration: the only place that reads it. Every quantity carries its unit in its name.
//!
//! A file in TOML, then flags of the command line, which win. Paths in the file are relative to
//! the file's folder. `docs/operating.md` has a commented example.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ledger::limits::CHUNK_SIZE_MAX;
use serde::Deserialize;
use serde_json::Value as JsonValue;

/// Everything a node needs to know to start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the node keeps its files and listens.
    pub node: NodeConfig,
    /// What a new service starts with. Once the ledger exists, only the header of ledger
    /// signatures and the life of the node's certificate are taken from it.
    #[serde(default)]
    pub service: ServiceConfig,
    /// How the service identity is kept between starts.
    #[serde(default)]
    pub sealing: SealingConfig,
    /// Whose evidence is accepted.
    #[serde(default)]
    pub attestation: AttestationConfig,
    /// Bounds on what callers may send.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Batches of the writer and chunks of the ledger.
    #[serde(default)]
    pub ledger: LedgerConfig,
    /// The node proves nothing about itself and accepts evidence of the development platform.
    /// Never read from the file: only the flag `--insecure-virtual` sets it.
    #[serde(skip)]
    pub insecure_virtual: bool,
    /// The day, `YYYY-MM-DD`, of a clock that is right although the ledger's last signature is more
    /// than 90 days old. Never read from the file: it is good for one start.
    #[serde(skip)]
    pub accept_clock: Option<String>,
}

/// `[node]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Address to listen on; port 0 takes a free one.
    #[serde(default = "defaults::bind")]
    pub bind: SocketAddr,
    /// `host:port` that clients use, if it differs from the bound address.
    #[serde(default)]
    pub published: Option<String>,
    /// Further names and addresses of the node's certificate.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// Folder of ledger chunks.
    pub ledger_dir: PathBuf,
    /// Folder of the sealed identity; never inside `ledger_dir`.
    pub state_dir: PathBuf,
    /// File that receives the service certificate, PEM, once the node answers.
    #[serde(default)]
    pub service_certificate_file: Option<PathBuf>,
    /// File that receives the node's address as `host:port`, once the node answers.
    #[serde(default)]
    pub address_file: Option<PathBuf>,
}

/// `[service]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Component with the constitution. Read only when a new service begins.
    #[serde(default)]
    pub constitution: Option<PathBuf>,
    /// First members. Their files are read only when a new service begins.
    #[serde(default)]
    pub members: Vec<MemberConfig>,
    /// Recovery shares needed to recover the service.
    #[serde(default = "defaults::recovery_threshold")]
    pub recovery_threshold: u16,
    /// Life of the service certificate, and of the node's certificate at every start.
    #[serde(default = "defaults::certificate_days")]
    pub certificate_validity_days: u32,
    /// Longest life that a vote may give a node or service certificate.
    #[serde(default = "defaults::certificate_days")]
    pub maximum_certificate_validity_days: u32,
    /// Issuer in the header of ledger signatures; used at every start.
    #[serde(default = "defaults::issuer")]
    pub cose_issuer: String,
    /// Subject in the header of ledger signatures; used at every start.
    #[serde(default = "defaults::subject")]
    pub cose_subject: String,
    /// Free-form JSON shown with the service information.
    #[serde(default)]
    pub data: Option<JsonValue>,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            constitution: None,
            members: Vec::new(),
            recovery_threshold: defaults::recovery_threshold(),
            certificate_validity_days: defaults::certificate_days(),
            maximum_certificate_validity_days: defaults::certificate_days(),
            cose_issuer: defaults::issuer(),
            cose_subject: defaults::subject(),
            data: None,
        }
    }
}

/// `[[service.members]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberConfig {
    /// Certificate file, PEM.
    pub certificate: PathBuf,
    /// RSA public key file, PEM: makes the member a participant in recovery.
    #[serde(default)]
    pub encryption_key: Option<PathBuf>,
    /// Member data.
    #[serde(default)]
    pub data: Option<JsonValue>,
}

/// How the sealing key is obtained.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum SealingMode {
    /// A 32-byte file beside the sealed identity: protects nothing against whoever reads the
    /// disk. Refused without `--insecure-virtual`.
    #[default]
    InsecureVirtual,
}

/// `[sealing]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealingConfig {
    /// Where the sealing key comes from.
    #[serde(default)]
    pub mode: SealingMode,
}

/// `[attestation]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationConfig {
    /// Additional roots: hex SHA-256 of each root key's SubjectPublicKeyInfo. Refused without
    /// `--insecure-virtual`.
    #[serde(default)]
    pub insecure_virtual_roots: Vec<String>,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections at a time. At the cap one goes: of the address that holds most, first those that
    /// never completed a request, then the one idle longest.
    pub connections_max: usize,
    /// TLS handshakes at a time, counted apart; beyond that one of the address with most goes.
    pub handshakes_max: usize,
    /// Size of request line and headers.
    pub header_bytes_max: usize,
    /// Size of a request's body.
    pub body_bytes_max: usize,
    /// Size of a signed governance request's body.
    pub governance_body_bytes_max: usize,
    /// Memory for the bodies of all requests together. One address, or one registered certificate, has
    /// at most a quarter; an eighth is for bodies up to 64 KiB.
    pub body_memory_bytes_max: usize,
    /// Time for the TLS handshake.
    pub handshake_timeout_ms: u64,
    /// Time that a connection may spend without a request: to its first one, to the next one, and
    /// to take the answer.
    pub idle_timeout_ms: u64,
    /// Time for a request's body.
    pub body_timeout_ms: u64,
    /// In each window of so long a body that goes on has to bring…
    pub body_window_ms: u64,
    /// …so many bytes a second.
    pub body_bytes_per_s_min: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections_max: 1000,
            handshakes_max: 256,
            header_bytes_max: 16 * 1024,
            body_bytes_max: 1024 * 1024,
            governance_body_bytes_max: 8 * 1024 * 1024,
            body_memory_bytes_max: 256 * 1024 * 1024,
            handshake_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            body_timeout_ms: 30_000,
            body_window_ms: 10_000,
            body_bytes_per_s_min: 16 * 1024,
        }
    }
}

/// `[ledger]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerConfig {
    /// A chunk ends once it has this many bytes; at most [`CHUNK_SIZE_MAX`].
    pub chunk_bytes: u64,
    /// Entries of one batch, its signature not counted.
    pub batch_entries_max: usize,
    /// Requests waiting for the writer; further ones are refused.
    pub queue_entries_max: usize,
    /// Size of the state in memory above which the application writes nothing (503 `StateFull`);
    /// governance goes on. Absent: half of the machine's memory.
    pub state_bytes_max: Option<usize>,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            chunk_bytes: 5_000_000,
            batch_entries_max: 256,
            queue_entries_max: 1024,
            state_bytes_max: None,
        }
    }
}

mod defaults {
    use std::net::SocketAddr;

    pub(super) fn bind() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }
    pub(super) fn recovery_threshold() -> u16 {
        1
    }
    pub(super) fn certificate_days() -> u32 {
        365
    }
    pub(super) fn issuer() -> String {
        "concordat".to_owned()
    }
    pub(super) fn subject() -> String {
        "ledger.signature".to_owned()
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {source}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with its line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A setting contradicts another or is out of range.
    #[error("{0}")]
    Invalid(String),
}

/// Flags that win over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--insecure-virtual`
    pub insecure_virtual: bool,
    /// `--bind`
    pub bind: Option<SocketAddr>,
    /// `--accept-clock`
    pub accept_clock: Option<String>,
}

impl Config {
    /// Reads `path`, makes its paths absolute and applies the flags.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] naming the file and the setting.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.resolve_paths(path.parent().unwrap_or(Path::new(".")));
        config.insecure_virtual = overrides.insecure_virtual;
        config.accept_clock.clone_from(&overrides.accept_clock);
        if let Some(bind) = overrides.bind {
            config.node.bind = bind;
        }
        config.check()?;
        Ok(config)
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| *path = folder.join(&*path);
        resolve(&mut self.node.ledger_dir);
        resolve(&mut self.node.state_dir);
        let optional = [
            &mut self.node.service_certificate_file,
            &mut self.node.address_file,
            &mut self.service.constitution,
        ];
        optional.into_iter().flatten().for_each(resolve);
        for member in &mut self.service.members {
            resolve(&mut member.certificate);
            member.encryption_key.iter_mut().for_each(resolve);
        }
    }

    /// Checks what no single setting can say.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] naming the settings that do not fit.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        if !self.insecure_virtual {
            if self.sealing.mode == SealingMode::InsecureVirtual {
                return invalid(
                    "sealing.mode \"insecure-virtual\" keeps the sealing key in clear beside the identity; \
                     it needs the flag --insecure-virtual, and this build has no other mode",
                );
            }
            if !self.attestation.insecure_virtual_roots.is_empty() {
                return invalid("attestation.insecure_virtual_roots needs the flag --insecure-virtual");
            }
        }
        for root in &self.attestation.insecure_virtual_roots {
            if root.parse::<model::Digest>().is_err() {
                return invalid("attestation.insecure_virtual_roots: each root is 64 lower-case hex digits");
            }
        }
        if self.node.state_dir.starts_with(&self.node.ledger_dir) {
            return invalid(
                "node.state_dir lies inside node.ledger_dir; ledgers are published, identities are not",
            );
        }
        if !(8 * 1024..=1024 * 1024).contains(&self.limits.header_bytes_max) {
            return invalid("limits.header_bytes_max must lie between 8192 and 1048576");
        }
        let limits = &self.limits;
        if limits.connections_max == 0 || limits.handshakes_max == 0 || limits.body_window_ms == 0 {
            return invalid(
                "limits.connections_max, limits.handshakes_max and limits.body_window_ms must be at least 1",
            );
        }
        // A quarter of the large bodies' part, or no component could be voted any more.
        if limits.governance_body_bytes_max > limits.body_memory_bytes_max / 4 {
            return invalid(
                "limits.body_memory_bytes_max must be at least 4 times governance_body_bytes_max",
            );
        }
        if self.ledger.batch_entries_max == 0 || self.ledger.queue_entries_max == 0 {
            return invalid("ledger.batch_entries_max and ledger.queue_entries_max must be at least 1");
        }
        if !(1..=CHUNK_SIZE_MAX).contains(&self.ledger.chunk_bytes) {
            return Err(ConfigError::Invalid(format!(
                "ledger.chunk_bytes must lie between 1 and {CHUNK_SIZE_MAX}"
            )));
        }
        if !(1..=254).contains(&self.service.recovery_threshold) {
            return invalid("service.recovery_threshold must lie between 1 and 254");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "[node]\nledger_dir = \"ledger\"\nstate_dir = \"node\"\n";

    fn load(text: &str, insecure_virtual: bool) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        let overrides = Overrides {
            insecure_virtual,
            ..Overrides::default()
        };
        Config::load(&path, &overrides).map_err(|e| e.to_string())
    }

    #[track_caller]
    fn refused(text: &str, insecure_virtual: bool, naming: &str) {
        let error = load(text, insecure_virtual).err().unwrap_or_default();
        assert!(error.contains(naming), "{error:?} does not name {naming}");
    }

    #[test]
    fn two_folders_are_enough() {
        let config = load(MINIMAL, true).unwrap();
        assert!(config.node.ledger_dir.is_absolute());
        assert_eq!(config.limits.body_bytes_max, 1024 * 1024);
    }

    #[test]
    fn development_settings_need_the_flag() {
        refused(MINIMAL, false, "--insecure-virtual");
        let roots = format!(
            "{MINIMAL}[attestation]\ninsecure_virtual_roots = [\"{}\"]\n",
            "ab".repeat(32)
        );
        refused(&roots, false, "--insecure-virtual");
        assert!(load(&roots, true).is_ok());
    }

    #[test]
    fn the_file_cannot_set_the_flag() {
        refused(
            &format!("insecure_virtual = true\n{MINIMAL}"),
            true,
            "insecure_virtual",
        );
    }

    #[test]
    fn the_identity_is_not_kept_with_the_ledger() {
        refused(
            "[node]\nledger_dir = \"l\"\nstate_dir = \"l/node\"\n",
            true,
            "state_dir",
        );
    }

    #[test]
    fn a_chunk_has_a_size_that_readers_take() {
        let chunk = |bytes: u64| format!("{MINIMAL}[ledger]\nchunk_bytes = {bytes}\n");
        refused(&chunk(0), true, "ledger.chunk_bytes");
        refused(&chunk(CHUNK_SIZE_MAX + 1), true, "ledger.chunk_bytes");
        assert!(load(&chunk(CHUNK_SIZE_MAX), true).is_ok());
    }

    #[test]
    fn the_memory_for_bodies_holds_the_largest_of_one_caller() {
        let limits = |bytes: usize| format!("{MINIMAL}[limits]\nbody_memory_bytes_max = {bytes}\n");
        refused(&limits(4 * 8 * 1024 * 1024 - 1), true, "body_memory_bytes_max");
        assert!(load(&limits(4 * 8 * 1024 * 1024), true).is_ok());
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        refused(&format!("{MINIMAL}bodysize = 3\n"), true, "bodysize");
    }
}
