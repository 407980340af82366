//! Rows and single figures, as a person, a program and a document want them.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::figures::{Figures, Row};
use crate::load::Measured;
use crate::process;

/// Heading of the rows, in Markdown.
pub(crate) const HEAD: &str = "\
| row | conn. | per s | incumbent | ratio | aim | p50 ms | incumbent | aim | p99 ms | incumbent | node CPU µs | incumbent | ratio | aim | RSS MiB | generator cores |
| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |";

/// One row.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    row: &'static str,
    connections: usize,
    measured: Measured,
    incumbent: Figures,
    aim: Figures,
    /// Our operations per second over the incumbent's.
    throughput_ratio: Option<f64>,
    /// The incumbent's processor time over ours.
    cpu_ratio: Option<f64>,
}

impl Line {
    /// Puts what was measured beside what it is compared with.
    pub(crate) fn new(row: Row, connections: usize, measured: Measured) -> Self {
        let incumbent = row.incumbent(connections);
        Self {
            row: row.name(),
            connections,
            incumbent,
            aim: row.aim(connections),
            throughput_ratio: incumbent.per_s.map(|theirs| measured.per_s / theirs),
            cpu_ratio: incumbent.node_cpu_us.map(|theirs| theirs / measured.node_cpu_us),
            measured,
        }
    }
}

fn shown(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.places$}"))
}

/// How many times better.
fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.1}×"))
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, theirs, aim) = (&self.measured, &self.incumbent, &self.aim);
        write!(
            f,
            "| {} | {} | {:.0} | {} | {} | {} | {:.2} | {} | {} | {:.2} | {} | {:.0} | {} | {} | {} | {:.0} | {:.2} |",
            self.row,
            self.connections,
            m.per_s,
            shown(theirs.per_s, 0),
            times(self.throughput_ratio),
            shown(aim.per_s, 0),
            m.p50_ms,
            shown(theirs.p50_ms, 2),
            shown(aim.p50_ms, 0),
            m.p99_ms,
            shown(theirs.p99_ms, 2),
            m.node_cpu_us,
            shown(theirs.node_cpu_us, 0),
            times(self.cpu_ratio),
            shown(aim.node_cpu_us, 0),
            m.rss_mib,
            m.generator_cores,
        )
    }
}

/// A figure that is no rate.
#[derive(Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// The middle of what was measured.
    incumbent: f64,
    aim: &'static str,
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
impl Figure {
    /// Resident memory once the service is open.
    pub(crate) fn memory_at_open(rss_kib: u64) -> Self {
        Self {
            name: "resident memory at open".to_owned(),
            value: rss_kib as f64 / 1024.0,
            unit: "MiB",
            incumbent: 59.0,
            aim: "≤ 60",
        }
    }

    /// Growth of resident memory for each new contract; a contract is larger than a small key.
    pub(crate) fn memory_per_contract(growth_kib: u64, contracts: u64) -> Self {
        Self {
            name: "resident memory per new contract (incumbent and aim: per small key)".to_owned(),
            value: growth_kib as f64 / contracts as f64,
            unit: "KiB",
            incumbent: 0.9,
            aim: "≤ 0.5",
        }
    }

    /// Growth of the ledger for each new contract, signatures and trees included.
    pub(crate) fn ledger_per_contract(bytes: u64, contracts: u64, connections: usize) -> Self {
        Self {
            name: format!("ledger bytes per contract PUT, {connections} connections"),
            value: bytes as f64 / contracts as f64,
            unit: "bytes",
            incumbent: 457.0,
            aim: "≤ 650",
        }
    }
}

/// Everything that a run found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    seconds_per_row: u64,
    /// Load averages over 1, 5 and 15 minutes before the first row.
    pub(crate) load_average_begin: String,
    /// The same after the last.
    pub(crate) load_average_end: String,
    cores: usize,
    figures: Vec<Figure>,
    /// The rows, as they were measured.
    pub(crate) lines: Vec<Line>,
}

impl Report {
    /// An empty report.
    pub(crate) fn begin(seconds_per_row: u64) -> Self {
        Self {
            seconds_per_row,
            load_average_begin: process::load_average(),
            load_average_end: String::new(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            figures: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds what the start took, if somebody measured it.
    pub(crate) fn start(&mut self, answered_s: Option<f64>, opened_s: Option<f64>) {
        let figures = [
            ("process start to first answer", answered_s, 1.27, "–"),
            (
                "process start to open and committed, members' command lines included",
                opened_s,
                2.26,
                "≤ 0.4",
            ),
        ];
        for (name, value, incumbent, aim) in figures {
            if let Some(value) = value {
                self.figures.push(Figure {
                    name: name.to_owned(),
                    value,
                    unit: "s",
                    incumbent,
                    aim,
                });
            }
        }
    }

    /// Notes the load at the end.
    pub(crate) fn end(&mut self) {
        self.load_average_end = process::load_average();
    }

    /// The single figures, in Markdown.
    pub(crate) fn figures_table(&self) -> String {
        let mut text =
            "\n| figure | ours | incumbent | ratio | aim | unit |\n| --- | --: | --: | --: | --: | --- |\n"
                .to_owned();
        for Figure {
            name,
            value,
            unit,
            incumbent,
            aim,
        } in &self.figures
        {
            // All of them are better when smaller.
            let ratio = times(Some(incumbent / value));
            let _ = writeln!(
                text,
                "| {name} | {value:.2} | {incumbent} | {ratio} | {aim} | {unit} |"
            );
        }
        text
    }

    /// Both tables with the circumstances, in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "{} cores, {} s per row; load average {} before, {} after.\n\n{HEAD}\n",
            self.cores, self.seconds_per_row, self.load_average_begin, self.load_average_end
        );
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        text + &self.figures_table()
    }
}
