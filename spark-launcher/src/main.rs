//! `concordat-launcher`: told which run to see to, has the ledger admit it, and has a pod carry it out.
#![allow(clippy::print_stderr, reason = "errors at start go to the terminal")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use client::memory::Memory;
use spark_launcher::identity::{self, TlsIdentity};
use spark_launcher::jobs::Jobs;
use spark_launcher::ledger::Ledger;
use spark_launcher::requested::Requested;
use spark_launcher::routes::Launcher;
use spark_launcher::server;
use spark_launcher::worker::{self, PodSettings, unix_now_ms};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use workload::Start;

/// The launcher of a clean room.
#[derive(Parser)]
#[command(name = "concordat-launcher", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM
    Serve(Box<Serve>),
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    start: Start,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Written when ready: host:port
    #[arg(long)]
    address_file: PathBuf,
    /// Written when ready: the TLS certificate, PEM
    #[arg(long)]
    certificate_file: PathBuf,
    /// Job records and working directories
    #[arg(long)]
    work_dir: PathBuf,
    /// The concordat-pod executable
    #[arg(long)]
    pod_program: PathBuf,
    /// The pod's launch document
    #[arg(long)]
    pod_launch_document: PathBuf,
    /// The fixed Spark program and its lock file
    #[arg(long)]
    job_dir: PathBuf,
    /// Python virtual environment made from requirements.lock
    #[arg(long)]
    spark_venv: PathBuf,
    /// Longest run
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    run_timeout_s: u64,
    /// Take runs with the user's token and parameters, as the reference does; fixed by the launch
    /// document. A token given to a launcher of another ledger is lost
    #[arg(long)]
    accept_user_tokens: bool,
}

async fn serve(arguments: Serve) -> Result<()> {
    let start = arguments.start;
    let memory = Memory::open(&arguments.work_dir.join("services"))?;
    let connection = start.connect()?.remembering(memory);
    let workload = identity::workload(
        &connection,
        &start.launch_document,
        start.attester.as_deref(),
        arguments.accept_user_tokens,
    )?;
    let tls = TlsIdentity::generate()?;
    // Evidence that cannot be collected is found out now and not by the first user.
    identity::report(&workload, &tls.certificate_pem)?;
    std::fs::create_dir_all(&arguments.work_dir)
        .with_context(|| format!("cannot make {}", arguments.work_dir.display()))?;
    let work_dir = absolute(&arguments.work_dir)?;
    let (jobs, waiting) =
        Jobs::open(&work_dir.join("jobs"), unix_now_ms()).context("cannot open the job records")?;
    let pods = PodSettings {
        program: absolute(&arguments.pod_program)?,
        address: start.address.clone(),
        service_cert: absolute(&start.service_cert)?,
        contract: start.contract.clone(),
        launch_document: absolute(&arguments.pod_launch_document)?,
        attester: start.attester.as_deref().map(absolute).transpose()?,
        job_dir: absolute(&arguments.job_dir)?,
        spark_venv: absolute(&arguments.spark_venv)?,
        work_dir,
        timeout: Duration::from_secs(arguments.run_timeout_s),
    };
    let ledger = Arc::new(Ledger::new(connection, workload, start.contract.clone()));
    let launcher = Launcher {
        ledger: Arc::clone(&ledger),
        address: start.address,
        contract: start.contract,
        jobs: Arc::clone(&jobs),
        certificate_pem: tls.certificate_pem.clone(),
        run_seconds_max: arguments.run_timeout_s,
        requested: Requested::default(),
        accept_user_tokens: arguments.accept_user_tokens,
    };
    let listener = TcpListener::bind(arguments.bind)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.bind))?;
    let bound = listener.local_addr()?;
    publish(&arguments.certificate_file, &tls.certificate_pem)?;
    publish(&arguments.address_file, &bound.to_string())?;
    tracing::info!(%bound, "ready");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = server::serve(listener, TlsAcceptor::from(tls.settings), Arc::new(launcher)) => {}
        () = worker::work(pods, ledger, jobs, waiting) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Pods run in another directory.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot use {}", path.display()))
}

/// Whole at once: whoever waits for the file, and may enter its folder, may read it as soon as it is
/// there.
fn publish(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)
        .and_then(|()| lockdown::like_its_folder(&beside))
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn main() -> ExitCode {
    if let Err(error) = lockdown::process() {
        eprintln!("error: cannot close this process to others: {error}");
        return ExitCode::from(1);
    }
    let Arguments {
        command: Command::Serve(arguments),
    } = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(serve(*arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}
