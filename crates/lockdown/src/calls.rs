//! The kernel's own calls.
#![allow(
    unsafe_code,
    reason = "std has none of these calls; each takes numbers, or a pointer to a value of ours"
)]

use std::io;

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Soft and hard limit, so that nothing started from here raises it again.
pub(super) fn no_core() -> io::Result<()> {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a value that outlives the call, and is only read.
    done(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })
}

/// Also where dumps are piped to a program, which the limit does not stop; and other processes of
/// this user lose `/proc/<pid>/mem` and `ptrace`.
pub(super) fn not_dumpable() -> io::Result<()> {
    // SAFETY: numbers alone.
    done(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })
}

pub(super) fn is_dumpable() -> bool {
    // SAFETY: numbers alone.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 }
}

/// Of this thread and all that it starts: called before there are others.
pub(super) fn no_new_privileges() -> io::Result<()> {
    // SAFETY: numbers alone; the call demands that the last three are zero.
    done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

pub(super) fn umask(mask: libc::mode_t) {
    // SAFETY: a number; it cannot fail.
    unsafe { libc::umask(mask) };
}

pub(super) fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a value that outlives the call.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above, and only read.
    done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}
