//! The only test of its process: what it closes stays closed.

use std::os::unix::fs::MetadataExt as _;

#[test]
fn a_closed_process_leaves_no_dump_and_writes_for_nobody_else() {
    assert!(lockdown::is_dumpable());
    lockdown::process().unwrap();
    assert!(!lockdown::is_dumpable());
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    for line in ["NoNewPrivs:\t1", "Umask:\t0077"] {
        assert!(status.lines().any(|l| l == line), "{line} in {status}");
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let core = limits
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    let core: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(core, ["0", "0"]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    std::fs::write(dir.path().join("file"), b"x").unwrap();
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("folder"), mode("file")), (0o700, 0o600));
    // A thread started later has it too.
    let of_thread = std::thread::spawn(|| std::fs::read_to_string("/proc/thread-self/status").unwrap());
    assert!(of_thread.join().unwrap().contains("NoNewPrivs:\t1"));
    assert!(lockdown::raise_open_files().unwrap() >= 64);
}
