//! `concordat-bench`: puts a sandbox's node under load over TLS and prints what it did, beside the
//! incumbent's figures and our aims. `cargo xtask bench` builds and starts everything.

#![allow(
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a command that prints; its numbers are our own; JSON values are indexed"
)]

mod attested;
mod figures;
mod floods;
mod host_calls;
mod load;
mod process;
mod report;
mod rows;
mod service;
mod votes;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::figures::Row;
use crate::load::Measured;
use crate::report::{Figure, Line, Report};
use crate::service::Service;

/// Measures a running sandbox.
#[derive(Parser)]
struct Arguments {
    /// The sandbox's folder, with `sandbox.json`.
    #[arg(long)]
    sandbox: PathBuf,
    /// Length of each row, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Numbers of connections.
    #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
    connections: Vec<usize>,
    /// Only rows whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Folder of the recorded evidence.
    #[arg(long)]
    recorded: PathBuf,
    /// Seconds from the start of the process to its first answer, as whoever started it measured.
    #[arg(long)]
    answered_s: Option<f64>,
    /// Seconds from the start of the process to the committed opening.
    #[arg(long)]
    opened_s: Option<f64>,
    /// Run the floods instead of the rows; `--rows` chooses among them.
    #[arg(long)]
    floods: bool,
    /// Measure how long a component can hold the writer by host calls, instead of the rows.
    #[arg(long)]
    host_calls: bool,
    /// Also write everything here, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also write the tables here, as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // One thread: the generator must leave the cores to the node.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if arguments.floods {
        return runtime.block_on(floods(&arguments));
    }
    if arguments.host_calls {
        return runtime.block_on(async { host_calls::run(&Service::read(&arguments.sandbox)?).await });
    }
    let report = runtime.block_on(run(&arguments))?;
    print!("{}", report.figures_table());
    println!("\nLoad average at the end: {}", report.load_average_end);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, report.markdown())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn floods(arguments: &Arguments) -> Result<()> {
    let service = Service::read(&arguments.sandbox)?;
    let duration = Duration::from_secs(arguments.seconds);
    let lines = floods::run(&service, duration, &arguments.rows).await?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&lines)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    floods::judge(&lines)
}

async fn run(arguments: &Arguments) -> Result<Report> {
    let service = Service::read(&arguments.sandbox)?;
    ensure!(!arguments.connections.contains(&0), "a row needs a connection");
    let mut report = Report::begin(arguments.seconds);
    report.start(arguments.answered_s, arguments.opened_s);
    report.figure(Figure::memory_at_open(process::rss_kib(&service.pid)?));
    println!("Load average: {}\n\n{}", report.load_average_begin, report::HEAD);
    let chosen =
        |row: &Row| arguments.rows.is_empty() || arguments.rows.iter().any(|part| row.name().contains(part));
    for (index, row) in Row::ALL.into_iter().enumerate().filter(|(_, row)| chosen(row)) {
        let counts: &[usize] = if row.sequential() {
            &[1]
        } else {
            &arguments.connections
        };
        for &connections in counts {
            let line = one_row(&service, arguments, row, connections, index, &mut report).await?;
            println!("{line}");
            report.lines.push(line);
        }
    }
    report.end();
    Ok(report)
}

async fn one_row(
    service: &Service,
    arguments: &Arguments,
    row: Row,
    connections: usize,
    index: usize,
    report: &mut Report,
) -> Result<Line> {
    let duration = Duration::from_secs(arguments.seconds);
    // Distinct from the ids of an earlier run on the same service.
    let run = format!("b{}x{index}x{connections}", client::governance::unix_now_s());
    let rss_before = process::rss_kib(&service.pid)?;
    let ledger = service.dir.join("ledger");
    let ledger_before = process::folder_bytes(&ledger)?;
    let measured: Measured = match row {
        Row::VoteCycle => votes::measure(service, duration, &run).await,
        Row::ReleaseRecorded | Row::EventRecorded | Row::ReleaseFresh | Row::EventFresh => {
            attested::measure(service, row, connections, duration, &run, &arguments.recorded).await
        }
        _ => rows::measure(service, row, connections, duration, &run).await,
    }
    .with_context(|| format!("{} with {connections} connections", row.name()))?;
    if row == Row::ContractPut && arguments.connections.last() == Some(&connections) {
        let rss = process::rss_kib(&service.pid)?.saturating_sub(rss_before);
        let bytes = process::folder_bytes(&ledger)?.saturating_sub(ledger_before);
        report.figure(Figure::memory_per_contract(rss, measured.operations));
        report.figure(Figure::ledger_per_contract(
            bytes,
            measured.operations,
            connections,
        ));
    }
    Ok(Line::new(row, connections, measured))
}
