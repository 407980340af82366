//! Giving memory back after a burst, and how much there is.
//!
//! Compiling a component takes some hundred megabytes for half a second, on several threads. The C
//! library keeps what they free in each thread's arena, for as long as the process lives: a third of a
//! node's resident memory would be room that it needs again only when members vote a new component.

#![allow(unsafe_code, reason = "the C library's own call; std has none for it")]

/// Returns freed memory of all threads to the machine. Takes milliseconds; not for request paths.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes a number and no pointer; the library locks each arena while it works on it.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Where Linux tells how much memory there is: the machine's, and that of the group of processes.
const MACHINE: &str = "/proc/meminfo";
const GROUP: &str = "/sys/fs/cgroup/memory.max";

/// Half of the memory that this process may use, in bytes; no bound where nobody tells.
#[must_use]
pub(crate) fn half_of_machine() -> usize {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    total(&read(MACHINE), &read(GROUP)).map_or(usize::MAX, |bytes| bytes / 2)
}

/// The lesser of what the two files say, in bytes.
fn total(meminfo: &str, group: &str) -> Option<usize> {
    let machine = meminfo.lines().find_map(|line| {
        let kib: usize = line
            .strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()?;
        Some(kib.saturating_mul(1024))
    });
    // A group without a bound says "max".
    let group: Option<usize> = group.trim().parse().ok();
    machine.into_iter().chain(group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_of_machine_and_group_counts() {
        let machine = "MemTotal:        8000000 kB\nMemFree: 1 kB\n";
        assert_eq!(total(machine, "max\n"), Some(8_192_000_000));
        assert_eq!(total(machine, "1000000\n"), Some(1_000_000));
        assert_eq!(total(machine, ""), Some(8_192_000_000));
        assert_eq!(total("", "max"), None);
    }
}
