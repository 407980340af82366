//! Floods of strangers against a node with the limits it has by default: what they take of its memory, and how long
//! others wait meanwhile. `--floods` runs them instead of the rows.

mod probes;
mod strangers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::process;
use crate::service::Service;
use crate::wire::request;
use probes::{Waited, probe};
use strangers::{Flood, Strangers};

/// Resident memory that no flood may take a node to, in MiB.
const RSS_MIB_MOST: f64 = 512.0;
/// What others may wait at least before it counts, in milliseconds: a few turns of a busy machine.
const P99_MS_LEAST: f64 = 50.0;
/// What others may wait, as a multiple of what they wait when it is quiet.
const P99_FACTOR: f64 = 3.0;
/// From the beginning of a flood to the first look at what others get.
const RISING: Duration = Duration::from_millis(700);
/// Documents of the listings' contract, and bytes of each.
const DOCUMENTS: usize = 150;
const DOCUMENT_BYTES: usize = 900_000;

/// What one flood did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    flood: &'static str,
    quiet: Waited,
    during: Waited,
    rss_mib: f64,
    hwm_mib: f64,
    /// Requests of the flood that were answered or cut off.
    attempts: u64,
    met: bool,
}

/// The table's head.
pub(crate) const HEAD: &str = "| flood | attempts | new connection p99 ms, quiet | during | write p99 ms, quiet | during | not served | RSS MiB | most ever MiB | met |\n\
     | --- | --: | --: | --: | --: | --: | --: | --: | --: | --- |";

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "| {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {} | {:.0} | {:.0} | {} |",
            self.flood,
            self.attempts,
            self.quiet.connect_p99_ms,
            self.during.connect_p99_ms,
            self.quiet.write_p99_ms,
            self.during.write_p99_ms,
            self.during.not_served,
            self.rss_mib,
            self.hwm_mib,
            if self.met { "yes" } else { "NO" },
        )
    }
}

/// Runs every flood whose name contains one of `named`, or all; fails if one took more than it may.
pub(crate) async fn run(service: &Service, duration: Duration, named: &[String]) -> Result<Vec<Line>> {
    service.draft(strangers::CONTRACT).await?;
    let mut prepared = false;
    println!("Load average: {}\n\n{HEAD}", process::load_average());
    let mut lines = Vec::new();
    for flood in Flood::ALL {
        if !named.is_empty() && !named.iter().any(|part| flood.name().contains(part)) {
            continue;
        }
        // Documents are the state's, and not what the other floods take.
        if flood.asks_for_documents() && !prepared {
            put_documents(service).await?;
            prepared = true;
        }
        let line = one(service, flood, duration)
            .await
            .with_context(|| flood.name())?;
        println!("{line}");
        lines.push(line);
    }
    Ok(lines)
}

/// Whether all of them left others what is theirs.
pub(crate) fn judge(lines: &[Line]) -> Result<()> {
    let broken: Vec<&str> = lines
        .iter()
        .filter(|line| !line.met)
        .map(|line| line.flood)
        .collect();
    if broken.is_empty() {
        return Ok(());
    }
    bail!("these floods took more than they may: {}", broken.join(", "))
}

async fn one(service: &Service, flood: Flood, duration: Duration) -> Result<Line> {
    let quiet = probe(service, duration, &format!("q{}", flood.name().len())).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let strangers = Strangers::of(service, flood)?;
    let stopped = Arc::clone(&stop);
    // A thread of their own: what others wait must not be the generator's doing.
    let flooding = std::thread::spawn(move || strangers.flood(&stopped));
    tokio::time::sleep(RISING).await;
    let sampled = Arc::clone(&stop);
    let pid = service.pid.clone();
    let sampling = std::thread::spawn(move || {
        let mut most = 0;
        while !sampled.load(Ordering::Relaxed) {
            most = most.max(process::rss_kib(&pid).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(50));
        }
        most
    });
    let during = probe(service, duration, &format!("d{}", flood.name().len())).await;
    stop.store(true, Ordering::Relaxed);
    let attempts = flooding
        .join()
        .map_err(|_| anyhow::anyhow!("a flood panicked"))??;
    let rss_kib = sampling
        .join()
        .map_err(|_| anyhow::anyhow!("sampling panicked"))?;
    let during = during?;
    let rss_mib = mib(rss_kib);
    let within = |now: f64, before: f64| now <= (P99_FACTOR * before).max(P99_MS_LEAST);
    let met = rss_mib < RSS_MIB_MOST
        && during.not_served == 0
        && within(during.connect_p99_ms, quiet.connect_p99_ms)
        && within(during.write_p99_ms, quiet.write_p99_ms);
    Ok(Line {
        flood: flood.name(),
        quiet,
        during,
        rss_mib,
        hwm_mib: mib(process::most_rss_kib(&service.pid)?),
        attempts,
        met,
    })
}

#[allow(clippy::cast_precision_loss, reason = "kibibytes far below 2^52")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Long documents for the listings.
async fn put_documents(service: &Service) -> Result<()> {
    let mut user = service.dial("user0")?.open().await?;
    let body = format!(r#"{{"data":"{}"}}"#, "x".repeat(DOCUMENT_BYTES));
    for number in 0..DOCUMENTS {
        let path = format!("/app/contracts/{}/userdocuments/d{number}", strangers::CONTRACT);
        user.expect(&request("PUT", &path, &body)).await?;
    }
    Ok(())
}
