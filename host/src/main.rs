//! `concordat-host`: arguments, logs, start, exit code.
//!
//! Exit codes: 0 done, 1 ours, 2 usage or configuration.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    reason = "a command; the only number is the machine's own"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use host::Node;
use host::config::{Config, Overrides};
use tracing_subscriber::EnvFilter;

/// Exit code for usage and configuration.
const USAGE: u8 = 2;

/// A confidential ledger host whose rules and application are WebAssembly components.
#[derive(Parser)]
#[command(name = "concordat-host", version, about)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Starts a node: a new service if there is no ledger yet, else the one in the ledger.
    Start(StartArgs),
    /// Recovers a service from its ledger and its members' shares: not in this release.
    Recover(StartArgs),
    /// Prints the version.
    Version,
}

#[derive(Args)]
struct StartArgs {
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Development: keep the sealing key in clear, accept evidence that proves nothing.
    #[arg(long)]
    insecure_virtual: bool,
    /// Address to listen on, instead of the file's; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<SocketAddr>,
    /// This day is right, although the ledger's last signature is more than 90 days old.
    #[arg(long, value_name = "YYYY-MM-DD")]
    accept_clock: Option<String>,
    /// What to log, in the form of `tracing` filters, such as `info` or `host=debug`. The h2 library
    /// tells of every bad frame that a stranger sends, so it logs errors only unless named.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    // The engine's own window on this process's pages; what is not dumpable may not open it.
    host::guests::open_page_map();
    if let Err(error) = lockdown::process() {
        eprintln!("cannot close this process to others: {error}");
        return ExitCode::FAILURE;
    }
    if let Err(error) = lockdown::raise_open_files() {
        eprintln!("cannot raise the number of open files: {error}");
        return ExitCode::FAILURE;
    }
    match Command::parse().action {
        Action::Start(args) => start(args),
        Action::Recover(_) => {
            eprintln!(
                "recovery from members' shares is not in this release; `concordat-host start` on the same \
                 directories resumes a service whose sealed identity is still there"
            );
            ExitCode::from(USAGE)
        }
        Action::Version => {
            println!("concordat-host {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn start(args: StartArgs) -> ExitCode {
    let Ok(filter) = EnvFilter::try_new(host::log_filter(&args.log)) else {
        eprintln!(
            "--log {:?} is not a filter; use for example info or host=debug",
            args.log
        );
        return ExitCode::from(USAGE);
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let overrides = Overrides {
        insecure_virtual: args.insecure_virtual,
        bind: args.bind,
        accept_clock: args.accept_clock,
    };
    let config = match Config::load(&args.config, &overrides) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{:#}", anyhow::Error::new(error));
            return ExitCode::from(USAGE);
        }
    };
    if config.insecure_virtual {
        eprintln!(
            "INSECURE: started with --insecure-virtual. This node proves nothing about itself, keeps its \
             sealing key in clear and accepts development evidence. Never use it with real data."
        );
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    // Queries run on the thread that read the request, which saves two hand-overs for some tens
    // of microseconds of work. Twice as many threads as cores, so that a guest which uses up its
    // fuel does not keep the others waiting.
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 2;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let node = Node::start(config).await?;
        let how = if node.resumed() { "resumed" } else { "new service" };
        println!("listening on https://{} ({how})", node.address());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        node.stop().await
    })
}
