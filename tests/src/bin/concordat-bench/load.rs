//! Closed loops: each connection has one request outstanding, and the next follows its answer.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::process;
use crate::service::Service;
use crate::wire::Dial;

/// What one row of the table measured.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    /// Operations answered.
    pub(crate) operations: u64,
    /// Operations per second.
    pub(crate) per_s: f64,
    /// Median time of one operation, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub(crate) p99_ms: f64,
    /// Processor time of the node for one operation, in microseconds.
    pub(crate) node_cpu_us: f64,
    /// Cores that the generator used.
    pub(crate) generator_cores: f64,
    /// Resident memory of the node afterwards, in MiB.
    pub(crate) rss_mib: f64,
}

/// Counters at the start of a row.
pub(crate) struct Meter {
    node: String,
    started: Instant,
    node_cpu_s: f64,
    own_cpu_s: f64,
}

impl Meter {
    /// Starts counting.
    pub(crate) fn start(service: &Service) -> Result<Self> {
        Ok(Self {
            node: service.pid.clone(),
            node_cpu_s: process::cpu_s(&service.pid)?,
            own_cpu_s: process::cpu_s("self")?,
            started: Instant::now(),
        })
    }

    /// The row, from the time of each operation in microseconds.
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(crate) fn finish(self, mut times_us: Vec<u64>) -> Result<Measured> {
        let elapsed_s = self.started.elapsed().as_secs_f64();
        ensure!(!times_us.is_empty(), "nothing was answered in {elapsed_s:.1} s");
        let node_cpu_s = process::cpu_s(&self.node)? - self.node_cpu_s;
        let own_cpu_s = process::cpu_s("self")? - self.own_cpu_s;
        times_us.sort_unstable();
        let at = |percent: usize| {
            let index = (times_us.len() * percent / 100).min(times_us.len() - 1);
            times_us.get(index).copied().unwrap_or_default() as f64 / 1e3
        };
        let count = times_us.len() as f64;
        Ok(Measured {
            operations: times_us.len() as u64,
            per_s: count / elapsed_s,
            p50_ms: at(50),
            p99_ms: at(99),
            node_cpu_us: node_cpu_s * 1e6 / count,
            generator_cores: own_cpu_s / elapsed_s,
            rss_mib: process::rss_kib(&self.node)? as f64 / 1024.0,
        })
    }
}

/// Microseconds since `started`.
pub(crate) fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Runs `connections` loops of raw requests for `duration`. `make` gives the request for a
/// connection's number and its turn. Any answer from 300 up ends the row with an error.
pub(crate) async fn closed_loop<F>(
    service: &Service,
    dial: &Dial,
    connections: usize,
    duration: Duration,
    make: F,
) -> Result<Measured>
where
    F: Fn(usize, u64) -> Vec<u8> + Clone + Send + Sync + 'static,
{
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(dial.open().await?);
    }
    let loops = wires.into_iter().enumerate().map(|(number, mut wire)| {
        let make = make.clone();
        async move {
            let until = Instant::now() + duration;
            let mut times = Vec::new();
            while Instant::now() < until {
                let request = make(number, times.len() as u64);
                let sent = Instant::now();
                wire.expect(&request).await?;
                times.push(micros_since(sent));
            }
            Ok(times)
        }
    });
    together(service, loops).await
}

/// Runs loops side by side; each gives the times of its operations in microseconds.
pub(crate) async fn together<L>(service: &Service, loops: impl Iterator<Item = L>) -> Result<Measured>
where
    L: Future<Output = Result<Vec<u64>>> + Send + 'static,
{
    let meter = Meter::start(service)?;
    let mut tasks = JoinSet::new();
    for one in loops {
        tasks.spawn(one);
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done.context("a loop panicked")??);
    }
    meter.finish(times)
}
