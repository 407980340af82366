//! The launcher as a process, and the launch documents that members vote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use client::Connection;
use client::discovery::{Expected, Trust, discover};
use evidence::Measured;
use model::evidence::Role;
use model::{Digest, ServiceId};
use serde_json::{Value as JsonValue, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::built::{program, source};
use crate::pods::{Chip, HOST_DATA, MEASUREMENT};

/// A launch document, and the digest that members vote.
pub struct Launch {
    /// The document.
    pub path: PathBuf,
    /// Its digest, hex.
    pub host_data: String,
}

impl Launch {
    /// Measures a program as every owner can, and writes the document into `dir`.
    ///
    /// # Errors
    ///
    /// If the program has not been built, or the document cannot be written.
    pub fn measure(dir: &Path, role: Role, name: &str, arguments: &[&str]) -> Result<Self> {
        let (mut files, mut lock) = (BTreeMap::new(), None);
        if role == Role::Pod {
            for entry in std::fs::read_dir(job_dir())? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    files.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
                }
            }
            lock = Some(job_dir().join("requirements.lock"));
        }
        let words = arguments.iter().map(|word| (*word).to_owned()).collect();
        let measured = Measured::measure(role, &program(name)?, files, words, lock)?;
        let path = dir.join(format!("{name}{}.launch.json", arguments.join("")));
        measured.document.write(&path)?;
        Ok(Self {
            path,
            host_data: measured.document.digest().to_string(),
        })
    }
}

impl Launch {
    /// Claims of a workload that was launched so, by the software attester's evidence.
    #[must_use]
    pub fn claims(&self) -> JsonValue {
        json!({
            HOST_DATA: self.host_data, MEASUREMENT: measurement(), "x-ms-sevsnpvm-is-debuggable": false,
        })
    }
}

/// The folder with the fixed Spark program.
#[must_use]
pub fn job_dir() -> PathBuf {
    source("spark-launcher/job")
}

/// The launch measurement of the software attester's evidence, hex.
#[must_use]
pub fn measurement() -> String {
    hex::encode(crypto::sha384(b"concordat software attester v1"))
}

/// How a launcher is started, by somebody who decides which ledger it is told.
pub struct Start<'a> {
    /// Where its files go.
    pub dir: &'a Path,
    /// Whose evidence it shows.
    pub chip: &'a Chip,
    /// Address of the ledger.
    pub ledger: &'a str,
    /// File with that ledger's service certificate.
    pub service_cert: &'a Path,
    /// Its own launch document.
    pub launch: &'a Launch,
    /// That of its pods.
    pub pod: &'a Launch,
    /// Spark's virtual environment.
    pub spark_venv: &'a Path,
    /// Further arguments.
    pub more: &'a [&'a str],
}

/// A running launcher of contract `c1`; killed when dropped.
pub struct Launcher {
    process: Child,
    /// `https://host:port`.
    pub address: String,
    host_data: String,
    root: String,
}

impl Launcher {
    /// Its process id; `None` once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    ///
    /// If it ends instead, with the last that it said.
    pub async fn start(start: &Start<'_>) -> Result<Self> {
        std::fs::create_dir_all(start.dir)?;
        let address_file = start.dir.join("address");
        let mut process = Command::new(program("concordat-launcher")?)
            .args(["serve", "--contract", "c1", "--address", start.ledger])
            .arg("--service-cert")
            .arg(start.service_cert)
            .arg("--launch-document")
            .arg(&start.launch.path)
            .arg("--attester")
            .arg(&start.chip.folder)
            .arg("--address-file")
            .arg(&address_file)
            .arg("--certificate-file")
            .arg(start.dir.join("launcher.pem"))
            .arg("--work-dir")
            .arg(start.dir.join("work"))
            .arg("--pod-program")
            .arg(program("concordat-pod")?)
            .arg("--pod-launch-document")
            .arg(&start.pod.path)
            .arg("--job-dir")
            .arg(job_dir())
            .arg("--spark-venv")
            .arg(start.spark_venv)
            .args(start.more)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut said = BufReader::new(process.stderr.take().context("a pipe")?);
        let mut line = String::new();
        while !address_file.exists() {
            let last = std::mem::take(&mut line);
            let read = said.read_line(&mut line).await?;
            ensure!(read > 0, "the launcher ended: {last}");
        }
        tokio::spawn(async move { tokio::io::copy(&mut said, &mut tokio::io::sink()).await });
        Ok(Self {
            process,
            address: format!("https://{}", std::fs::read_to_string(&address_file)?.trim()),
            host_data: start.launch.host_data.clone(),
            root: start.chip.root.clone(),
        })
    }

    /// A connection of somebody who shows nothing, to the launcher that serves `service`.
    ///
    /// # Errors
    ///
    /// If its evidence is not as voted.
    pub async fn connection(&self, service: ServiceId) -> Result<Connection> {
        let expected = Expected {
            service,
            host_data: vec![self.host_data.parse::<Digest>()?],
            measurements: vec![measurement()],
            trust: Trust {
                extra_arks: vec![self.root.parse()?],
                allow_virtual: false,
            },
        };
        let certificate = discover(&self.address, &expected).await?;
        Ok(Connection::pinned(&self.address, &certificate, None)?)
    }
}
