//! What a process has used, as the kernel counts it.

use std::path::Path;

use anyhow::{Context as _, Result};

/// Kernel ticks per second in `/proc/PID/stat`; fixed for programs on Linux.
const TICKS_PER_S: f64 = 100.0;

/// Processor time of a process, user and system, in seconds. `pid` may be `self`.
pub(crate) fn cpu_s(pid: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The name, in parentheses, may hold blanks.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || {
        fields
            .next()
            .and_then(|field| field.parse::<f64>().ok())
            .context("no processor time")
    };
    Ok((ticks()? + ticks()?) / TICKS_PER_S)
}

/// Resident memory of a process, in KiB.
pub(crate) fn rss_kib(pid: &str) -> Result<u64> {
    memory_kib(pid, "VmRSS:")
}

/// The most that it ever was, in KiB.
pub(crate) fn most_rss_kib(pid: &str) -> Result<u64> {
    memory_kib(pid, "VmHWM:")
}

fn memory_kib(pid: &str, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .context("no resident memory")
}

/// The machine's load averages over 1, 5 and 15 minutes, as text.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Bytes of all files of a folder.
pub(crate) fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut sum: u64 = 0;
    for entry in std::fs::read_dir(folder)? {
        sum = sum.saturating_add(entry?.metadata()?.len());
    }
    Ok(sum)
}
