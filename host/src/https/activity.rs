//! What a connection does: when it last did something, so that one that does nothing gives its place
//! back, and whether a request of it is being answered, so that its place is not taken meanwhile.
//!
//! A client is idle while none of its requests is being read or executed. What the protocol does
//! by itself (handshakes, pings, answers that nobody reads) does not count: any client can keep
//! that up without credentials and for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Requests of one connection. Clones share it.
#[derive(Clone)]
pub(super) struct Activity(Arc<Shared>);

struct Shared {
    seen: Mutex<Seen>,
    displaced: Notify,
}

struct Seen {
    /// Requests being read or answered.
    open: usize,
    /// Requests being answered.
    answering: usize,
    /// A request was answered.
    completed: bool,
    last: Instant,
    /// Another took its place.
    displaced: bool,
}

/// A request that is being read or executed, until it is dropped.
pub(super) struct OpenRequest {
    activity: Activity,
    answering: bool,
}

/// The connection has lost its place: nothing of it is carried out any more.
#[derive(Debug)]
pub(super) struct Displaced;

impl Activity {
    /// A connection that has just begun.
    pub(super) fn begin() -> Self {
        Self(Arc::new(Shared {
            seen: Mutex::new(Seen {
                open: 0,
                answering: 0,
                completed: false,
                last: Instant::now(),
                displaced: false,
            }),
            displaced: Notify::new(),
        }))
    }

    /// A request has arrived.
    pub(super) fn request(&self) -> OpenRequest {
        let mut seen = self.seen();
        seen.open = seen.open.saturating_add(1);
        seen.last = Instant::now();
        drop(seen);
        OpenRequest {
            activity: self.clone(),
            answering: false,
        }
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

    /// Who goes first of several: those that never completed a request before those that did, and of
    /// either the one that did nothing for longest. `None` while a request is being answered.
    pub(super) fn rank(&self) -> Option<(bool, Instant)> {
        let seen = self.seen();
        (seen.answering == 0 && !seen.displaced).then_some((seen.completed, seen.last))
    }

    /// Takes the connection's place, unless a request of it is being answered.
    pub(super) fn displace(&self) -> bool {
        let mut seen = self.seen();
        if seen.answering > 0 || seen.displaced {
            return false;
        }
        seen.displaced = true;
        drop(seen);
        self.0.displaced.notify_one();
        true
    }

    /// Ends once the connection has lost its place.
    pub(super) async fn displaced(&self) {
        self.0.displaced.notified().await;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenRequest {
    /// The request has been read and is carried out now.
    ///
    /// # Errors
    ///
    /// [`Displaced`] if the connection has lost its place: what it asks is not done, since nobody
    /// could be told.
    pub(super) fn answering(&mut self) -> Result<(), Displaced> {
        let mut seen = self.activity.seen();
        if seen.displaced {
            return Err(Displaced);
        }
        seen.answering = seen.answering.saturating_add(1);
        drop(seen);
        self.answering = true;
        Ok(())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut seen = self.activity.seen();
        seen.open = seen.open.saturating_sub(1);
        if self.answering {
            seen.answering = seen.answering.saturating_sub(1);
            seen.completed = true;
        }
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

    #[tokio::test]
    async fn a_request_that_is_being_answered_keeps_its_place_and_one_being_read_does_not() {
        let activity = Activity::begin();
        let mut request = activity.request();
        assert_eq!(activity.rank().map(|(completed, _)| completed), Some(false));
        request.answering().unwrap();
        assert!(activity.rank().is_none() && !activity.displace());
        drop(request);
        assert_eq!(activity.rank().map(|(completed, _)| completed), Some(true));
        let mut reading = activity.request();
        assert!(activity.displace());
        activity.displaced().await;
        assert!(reading.answering().is_err(), "carried out for nobody");
        assert!(!activity.displace(), "displaced twice");
    }
}
