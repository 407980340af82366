//! When a connection last did something, so that one that does nothing gives its place back.
//!
//! A client is idle while none of its requests is being read or executed. What the protocol does
//! by itself (handshakes, pings, answers that nobody reads) does not count: any client can keep
//! that up without credentials and for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Requests of one connection. Clones share it.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<Seen>>);

struct Seen {
    open: usize,
    last: Instant,
}

/// A request that is being read or executed, until it is dropped.
pub(super) struct OpenRequest(Activity);

impl Activity {
    /// A connection that has just begun.
    pub(super) fn begin() -> Self {
        Self(Arc::new(Mutex::new(Seen {
            open: 0,
            last: Instant::now(),
        })))
    }

    /// A request has arrived.
    pub(super) fn request(&self) -> OpenRequest {
        let mut seen = self.seen();
        seen.open = seen.open.saturating_add(1);
        seen.last = Instant::now();
        OpenRequest(self.clone())
    }

    /// Ends once no request was open for as long as `idle`, counted from now at the earliest.
    pub(super) async fn quiet(&self, idle: Duration) {
        let begun = Instant::now();
        loop {
            let left = {
                let seen = self.seen();
                if seen.open > 0 {
                    idle
                } else {
                    idle.saturating_sub(seen.last.max(begun).elapsed())
                }
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        seen.open = seen.open.saturating_sub(1);
        seen.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn an_open_request_is_not_idleness_however_long_it_takes() {
        let activity = Activity::begin();
        let (first, second) = (activity.request(), activity.request());
        drop(first);
        let waiting = tokio::time::timeout(10 * IDLE, activity.quiet(IDLE));
        assert!(waiting.await.is_err(), "ended although a request was open");
        drop(second);
        activity.quiet(IDLE).await;
    }

    #[tokio::test]
    async fn a_connection_without_any_request_is_idle() {
        Activity::begin().quiet(IDLE).await;
    }
}
