//! The project's own commands: `cargo xtask <command>`.

#![allow(
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    reason = "commands report on standard output, and their numbers are our own"
)]

mod advisories;
mod bench;
mod ci;
mod cli;
mod demo;
mod documents;
mod guards;
mod guest_toolchain;
mod guests;
mod sandbox;
mod setup;
mod test;
#[cfg(test)]
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Builds, checks and shows Concordat.
#[derive(Parser)]
#[command(name = "xtask", about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what a fresh machine lacks and builds everything.
    Setup,
    /// Builds both components into target/guests and prints their digests.
    ///
    /// Digests are those of one compiler; whoever compares them uses the same `--toolchain`.
    Guests {
        /// Which compiler.
        #[arg(long, value_enum, default_value_t)]
        toolchain: guest_toolchain::Choice,
    },
    /// Starts one node with an open service on 127.0.0.1 and keeps it until SIGTERM.
    Sandbox {
        /// Folder for keys, ledger and `sandbox.json`; an earlier one is taken up again.
        #[arg(long)]
        dir: PathBuf,
        /// How many members.
        #[arg(long, default_value_t = 3)]
        members: usize,
        /// How many users with certificates.
        #[arg(long, default_value_t = 1)]
        users: usize,
        /// Port; 0 finds a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Tells the whole story on real data, from the first vote to the verified result.
    Demo {
        /// Folder for everything it makes; emptied first. Default: target/demo.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Also write the steps and the result here.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Puts a fresh service under load and prints rates, times, processor time and memory.
    Bench {
        /// Length of each row, in seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Numbers of connections.
        #[arg(long, default_value = "1,8,64")]
        connections: String,
        /// Only rows whose name contains one of these, separated by commas.
        #[arg(long)]
        rows: Option<String>,
        /// The floods of strangers instead of the rows; `--rows` chooses among them.
        #[arg(long)]
        floods: bool,
        /// How long a component can hold the writer by host calls, instead of the rows.
        #[arg(long, conflicts_with = "floods")]
        host_calls: bool,
        /// Also write everything here, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Also write the tables here, as Markdown.
        #[arg(long)]
        markdown: Option<PathBuf>,
    },
    /// Installs what tests need and runs them all.
    Test {
        /// Only tests whose name contains one of these.
        filter: Vec<String>,
    },
    /// Takes guards of promises out of a copy of the code, and sees their tests fail.
    Guards {
        /// Names of guards, or rows such as P8, I10 or C1; all if none is named.
        named: Vec<String>,
        /// Only so many, drawn by lot.
        #[arg(long)]
        lot: Option<usize>,
        /// What the lot is drawn with; the same seed draws the same.
        #[arg(long, default_value = "concordat")]
        seed: String,
    },
    /// Writes the generated pages: tables, actions, OpenAPI, promises.
    Documents,
    /// Formatting, lints, documentation and dependency rules.
    Ci,
    /// Looks whether a dependency has a known advisory.
    Advisories {
        /// A copy of the RustSec advisory database; fetched if not given.
        #[arg(long)]
        database: Option<PathBuf>,
    },
}

fn sandbox(plan: &sandbox::Plan) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot listen to signals")?;
    }
    guests::build(guest_toolchain::Choice::Auto)?;
    workspace::build_programs()?;
    sandbox::Sandbox::start(plan)?.supervise(&stop)
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Setup => setup::everything(),
        Command::Guests { toolchain } => guests::build(toolchain),
        Command::Sandbox {
            dir,
            members,
            users,
            port,
        } => sandbox(&sandbox::Plan {
            dir,
            members: (0..members).map(|index| format!("member{index}")).collect(),
            users,
            port,
        }),
        Command::Demo { dir, json } => demo::demo(dir, json.as_deref()),
        Command::Bench {
            seconds,
            connections,
            rows,
            floods,
            host_calls,
            json,
            markdown,
        } => bench::bench(&bench::Wanted {
            seconds,
            connections,
            rows,
            floods,
            host_calls,
            json,
            markdown,
        }),
        Command::Test { filter } => test::test(&filter),
        Command::Guards { named, lot, seed } => guards::guards(&guards::Wanted { named, lot, seed }),
        Command::Documents => documents::write(),
        Command::Ci => ci::ci(),
        Command::Advisories { database } => advisories::advisories(database.as_deref()),
    }
}
