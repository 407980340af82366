//! How a program becomes a workload of a contract: the arguments that it is started with, the launch
//! document that members voted for, and an attested client of the ledger.
//!
//! [`Start`] is read from the command line and gives a connection; [`document`] reads what was
//! launched and holds it against what was started; [`attested`] makes the key that the ledger's
//! answers are wrapped to. Its evidence names the service that the connection is pinned to, so no
//! program shows evidence that another service would take.
//!
//! Pods and launchers are made here and in no other place. What they do as workloads is theirs.

use std::path::{Path, PathBuf};

use cleanroom_model::ContractId;
use client::attested::Workload;
use client::{ClientError, Connection};
use evidence::{AttesterError, Collector, LaunchDocument, LaunchError, Measured, SoftwareAttester};
use model::evidence::Role;

/// Where the ledger is, and what this process shows it.
#[derive(Clone, Debug, clap::Args)]
pub struct Start {
    /// Address of a node, https://host:port
    #[arg(long)]
    pub address: String,
    /// The service certificate, PEM
    #[arg(long)]
    pub service_cert: PathBuf,
    /// Contract id
    #[arg(long)]
    pub contract: ContractId,
    /// The launch document that members voted for
    #[arg(long)]
    pub launch_document: PathBuf,
    /// Software attester, for development
    #[arg(long, required_unless_present = "sev_guest", conflicts_with = "sev_guest")]
    pub attester: Option<PathBuf>,
    /// Evidence from /dev/sev-guest
    #[arg(long)]
    sev_guest: bool,
}

/// Why this process cannot show what it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// The service certificate cannot be read.
    #[error("{path}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The launch document cannot be used.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The document is for another role.
    #[error("the launch document is not of role {}", .0.as_str())]
    Role(Role),
    /// The document fixes other arguments.
    #[error(
        "the launch document fixes the arguments {document:?}, but this process was started as {started:?}"
    )]
    Arguments {
        /// In the document.
        document: Vec<String>,
        /// As started.
        started: Vec<&'static str>,
    },
    /// The development attester cannot be used.
    #[error("software attester")]
    Attester(#[from] AttesterError),
    /// No connection or no key pair.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Start {
    /// A connection to the ledger that trusts the service certificate and nothing else.
    ///
    /// # Errors
    ///
    /// [`WorkloadError`] if the certificate cannot be read, or certificate or address are not such.
    pub fn connect(&self) -> Result<Connection, WorkloadError> {
        let path = &self.service_cert;
        let certificate = std::fs::read_to_string(path).map_err(|source| WorkloadError::Certificate {
            path: path.clone(),
            source,
        })?;
        Ok(Connection::new(&self.address, &certificate, None)?)
    }
}

/// Reads the launch document of a process of this role that was started with these arguments. Both
/// stand in the document: who votes for it knows what the process does.
///
/// # Errors
///
/// [`WorkloadError`] if it cannot be read or is another process's.
pub fn document(
    path: &Path,
    role: Role,
    started: Vec<&'static str>,
) -> Result<LaunchDocument, WorkloadError> {
    let document = LaunchDocument::read(path)?;
    if document.role != role {
        return Err(WorkloadError::Role(role));
    }
    if document.args != started {
        return Err(WorkloadError::Arguments {
            document: document.args,
            started,
        });
    }
    Ok(document)
}

/// A workload of the connection's service, with a fresh key pair, that shows evidence for what was
/// measured. The evidence is of the software attester in the directory `attester`, if one is given,
/// else of the SNP guest device.
///
/// # Errors
///
/// [`WorkloadError`] if the attester cannot be opened or no key can be made.
pub fn attested(
    connection: &Connection,
    attester: Option<&Path>,
    measured: Measured,
) -> Result<Workload, WorkloadError> {
    let collector = match attester {
        Some(dir) => Collector::Software {
            attester: Box::new(SoftwareAttester::open(dir)?),
            measured: Box::new(measured),
        },
        None => Collector::SevGuest(evidence::SevGuest::default()),
    };
    let collect = move |report_data| match collector.collect(report_data) {
        Ok(collected) => Ok((collected.platform, collected.attestation)),
        Err(error) => Err(client::with_causes(&error)),
    };
    Ok(Workload::new(connection.service()?, Box::new(collect))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(role: Role, started: Vec<&'static str>) -> Result<LaunchDocument, WorkloadError> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        std::fs::write(&program, "x").unwrap();
        let arguments = vec!["run".to_owned()];
        let measured = Measured::measure(Role::Pod, &program, [].into(), arguments, None).unwrap();
        let path = dir.path().join("launch.json");
        measured.document.write(&path).unwrap();
        document(&path, role, started)
    }

    #[test]
    fn a_document_of_another_role_or_of_other_arguments_is_not_this_process() {
        assert_eq!(read(Role::Pod, vec!["run"]).unwrap().role, Role::Pod);
        let other = read(Role::Launcher, vec!["run"]);
        assert!(matches!(other, Err(WorkloadError::Role(Role::Launcher))));
        for started in [vec!["probe"], vec![], vec!["run", "--accept-user-tokens"]] {
            let other = read(Role::Pod, started);
            assert!(matches!(other, Err(WorkloadError::Arguments { .. })));
        }
    }

    #[test]
    fn one_source_of_evidence_is_named_and_not_two() {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Process {
            #[command(flatten)]
            start: Start,
        }
        let start = |more: &[&str]| {
            let common = "p --address https://127.0.0.1:1 --service-cert c --contract c --launch-document l";
            let arguments = common.split(' ').chain(more.iter().copied());
            Process::try_parse_from(arguments).map(|process| process.start)
        };
        assert!(start(&[]).is_err());
        assert!(start(&["--attester", "a", "--sev-guest"]).is_err());
        assert!(start(&["--sev-guest"]).unwrap().attester.is_none());
        let development = start(&["--attester", "a"]).unwrap();
        assert_eq!(development.attester, Some(PathBuf::from("a")));
        assert!(matches!(
            development.connect(),
            Err(WorkloadError::Certificate { .. })
        ));
    }
}
