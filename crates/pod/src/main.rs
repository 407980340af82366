//! `concordat-pod`: carries out one admitted run next to Spark, or asks for one secret to show
//! what the ledger answers.
//!
//! Prints one JSON object per line, without data values or secrets. Exit codes as the command
//! line's: 0 done, 1 failed, 2 wrong usage, 3 service unreachable, 4 the ledger said no, 5
//! verification failed, or a node that lacks what the run's asker had seen.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this binary reports on standard output"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use cleanroom_model::RunId;
use cleanroom_model::analytics::FailureCode;
use client::{ClientError, Connection};
use pod::ledger::Ledger;
use pod::measured::{self, MeasureError};
use pod::run::{RunSettings, run};
use pod::spark::Spark;
use serde_json::{Value as JsonValue, json};
use tokio::sync::Notify;
use workload::{Start, WorkloadError};

/// The pod side of a clean room.
#[derive(Parser)]
#[command(name = "concordat-pod", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Carry out an admitted run
    Run {
        #[command(flatten)]
        common: Common,
        /// The run
        #[arg(long)]
        run: RunId,
        /// Python virtual environment made from requirements.lock
        #[arg(long)]
        spark_venv: PathBuf,
        /// Where working directories are made
        #[arg(long)]
        work_dir: PathBuf,
        /// Longest run of Spark
        #[arg(long, default_value_t = 3600)]
        timeout_s: u64,
        /// Spark's worker threads
        #[arg(long, default_value_t = 2)]
        spark_threads: u32,
        /// Heap of Spark's Java process
        #[arg(long, default_value_t = 1024)]
        spark_memory_mib: u32,
    },
    /// Ask for one secret and print whether it was released; never its value
    Probe {
        #[command(flatten)]
        common: Common,
        /// Full id of the secret
        #[arg(long)]
        secret: String,
        /// The run to name in the request
        #[arg(long)]
        run: Option<RunId>,
    },
}

/// What every pod is started with.
#[derive(Args)]
struct Common {
    #[command(flatten)]
    start: Start,
    /// Directory with the files that the launch document names
    #[arg(long)]
    job_dir: PathBuf,
}

/// How the process ends, other than well.
enum Failure {
    Measure(MeasureError),
    Client(ClientError),
    Io(PathBuf, std::io::Error),
    /// The run has said why, as its last event.
    Told(FailureCode),
}

impl From<MeasureError> for Failure {
    fn from(error: MeasureError) -> Self {
        Self::Measure(error)
    }
}

/// What the client says ends the process as what it is, also where it says so at the start.
impl From<WorkloadError> for Failure {
    fn from(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Client(error) => Self::Client(error),
            other => Self::Measure(other.into()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl Failure {
    fn end(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Measure(error) => (client::with_causes(error), 2),
            Self::Client(error @ ClientError::Unreachable { .. }) => (error.to_string(), 3),
            Self::Client(error) if error.is_fork() => (error.to_string(), 5),
            Self::Client(error @ ClientError::Api { .. }) => (error.to_string(), 4),
            Self::Client(error @ ClientError::Verification(_)) => (error.to_string(), 5),
            Self::Client(error) => (error.to_string(), 1),
            Self::Io(path, error) => (format!("{}: {error}", path.display()), 2),
            Self::Told(FailureCode::ServiceForked) => return ExitCode::from(5),
            Self::Told(_) => return ExitCode::from(1),
        };
        eprintln!("error: {text}");
        ExitCode::from(code)
    }
}

/// A connection, the attested workload, and the directory that its files lie in.
struct Prepared {
    connection: Connection,
    workload: client::attested::Workload,
    copies: tempfile::TempDir,
}

fn prepare(common: &Common, started: &'static str) -> Result<Prepared, Failure> {
    let start = &common.start;
    let connection = start.connect()?;
    let copies = tempfile::Builder::new()
        .prefix("concordat-pod-")
        .tempdir()
        .map_err(|e| Failure::Io(std::env::temp_dir(), e))?;
    let measured = measured::prepare(&start.launch_document, &common.job_dir, copies.path(), started)?;
    let workload = workload::attested(&connection, start.attester.as_deref(), measured)?;
    Ok(Prepared {
        connection,
        workload,
        copies,
    })
}

async fn probe(common: &Common, secret: &str, run: Option<&RunId>) -> Result<ExitCode, Failure> {
    let prepared = prepare(common, "probe")?;
    let path = format!("/app/contracts/{}/secrets/{secret}", common.start.contract);
    let extra = run.map_or(JsonValue::Null, |run| json!({ "runId": run }));
    match prepared
        .workload
        .release(&prepared.connection, &path, &extra)
        .await
    {
        Ok(value) => {
            println!("{}", json!({ "outcome": "released", "bytes": value.len() }));
            Ok(ExitCode::SUCCESS)
        }
        Err(ClientError::Api {
            code,
            message,
            details,
            ..
        }) => {
            println!(
                "{}",
                json!({ "outcome": "refused", "code": code, "message": message, "details": details })
            );
            Ok(ExitCode::from(4))
        }
        Err(other) => Err(other.into()),
    }
}

async fn carry_out(common: &Common, id: RunId, spark: Spark) -> Result<ExitCode, Failure> {
    let prepared = prepare(common, "run")?;
    let spark = Spark {
        program: prepared.copies.path().to_owned(),
        ..spark
    };
    let stop = Arc::new(Notify::new());
    tokio::spawn(stop_on_signal(Arc::clone(&stop)));
    let ledger = Ledger::new(
        prepared.connection,
        prepared.workload,
        common.start.contract.clone(),
        id,
    );
    let report = |event: &_| {
        if let Ok(line) = serde_json::to_string(event) {
            println!("{line}");
        }
    };
    run(RunSettings { spark, stop }, Arc::new(ledger), report)
        .await
        .map_err(|error| Failure::Told(error.code))?;
    Ok(ExitCode::SUCCESS)
}

/// SIGTERM and SIGINT end the run in good order: no output stays.
async fn stop_on_signal(stop: Arc<Notify>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.notify_one();
}

async fn execute(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run {
            common,
            run,
            spark_venv,
            work_dir,
            timeout_s,
            spark_threads,
            spark_memory_mib,
        } => {
            std::fs::create_dir_all(&work_dir).map_err(|e| Failure::Io(work_dir.clone(), e))?;
            let spark = Spark {
                venv: spark_venv,
                program: PathBuf::new(),
                work_root: work_dir,
                java_home: None,
                thread_count: spark_threads,
                driver_memory_mib: spark_memory_mib,
                timeout: Duration::from_secs(timeout_s),
                // Spark's own messages may quote data values, and nothing measured could allow that.
                diagnostics: false,
            };
            carry_out(&common, run, spark).await
        }
        Command::Probe { common, secret, run } => probe(&common, &secret, run.as_ref()).await,
    }
}

fn main() -> ExitCode {
    if let Err(error) = lockdown::process() {
        eprintln!("error: cannot close this process to others: {error}");
        return ExitCode::from(1);
    }
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    runtime
        .block_on(execute(arguments.command))
        .unwrap_or_else(|failure| failure.end())
}
