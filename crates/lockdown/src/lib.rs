//! What a process that holds secrets does first: nothing of its memory is left behind when it
//! dies, nobody of its own user looks into it, what it starts gains no rights, and what it writes is
//! its own. And the modes of what is meant for others all the same.

mod calls;
mod modes;

use std::io;

pub use modes::{like_its_folder, make_like_parent, private_dir};

/// Closes this process: no core dump, not dumpable, no new privileges, umask 077.
///
/// The first line of `main`: what was started or written before keeps what it had. Children inherit
/// all of it but "not dumpable", which ends with `execve`.
///
/// # Errors
///
/// What the kernel said. The process must not go on then.
pub fn process() -> io::Result<()> {
    calls::no_core()?;
    calls::not_dumpable()?;
    calls::no_new_privileges()?;
    calls::umask(0o077);
    Ok(())
}

/// Whether the kernel would let others of the same user read this process's memory, or dump it.
#[must_use]
pub fn is_dumpable() -> bool {
    calls::is_dumpable()
}

/// Raises the number of files that this process may have open to what it may raise it to; gives the
/// number. Sockets count.
///
/// # Errors
///
/// What the kernel said.
pub fn raise_open_files() -> io::Result<u64> {
    calls::raise_open_files()
}
