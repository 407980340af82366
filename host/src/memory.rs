//! Giving memory back after a burst.
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
