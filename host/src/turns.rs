//! Room for work that takes a thread: prepare passes, compiling what a proposal carries (decision 26),
//! and queries that take longer than a moment (decision 59).
//!
//! Only a few run at a time, a bounded number waits, by asker, and further ones are refused, so that neither
//! the writer nor the readers run out of instances, and nobody waits behind everything that somebody else asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::asker::Asker;
use crate::executor::Unavailable;
use crate::fair::{FairQueue, Offered};

/// Fewest that run at a time, on however small a machine.
const RUNNING_MIN: usize = 4;
/// Calls that wait for their turn.
const WAITING_MAX: usize = 128;

/// Running and waiting work. Clones share it.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Shared>);

struct Shared {
    running_max: usize,
    /// Of one asker.
    share_max: usize,
    /// What runs; readable without the lock. Nothing waits while nothing runs.
    busy: AtomicUsize,
    inner: Mutex<Inner>,
}

struct Inner {
    running: usize,
    of: HashMap<Asker, usize>,
    waiting: FairQueue<(Asker, oneshot::Sender<Turn>)>,
}

/// The right to run; it ends when this is dropped.
pub(crate) struct Turn {
    asker: Asker,
    shared: Option<Arc<Shared>>,
}

impl Turns {
    /// Room for this machine, twice its cores, for whoever asks first.
    pub(crate) fn new() -> Self {
        let room = room();
        Self::with(room, room, WAITING_MAX)
    }

    /// The same; one asker has half of it at most.
    pub(crate) fn shared() -> Self {
        let room = room();
        Self::with(room, room / 2, WAITING_MAX)
    }

    fn with(running_max: usize, share_max: usize, waiting_max: usize) -> Self {
        Self(Arc::new(Shared {
            running_max,
            share_max,
            busy: AtomicUsize::new(0),
            inner: Mutex::new(Inner {
                running: 0,
                of: HashMap::new(),
                waiting: FairQueue::new(waiting_max),
            }),
        }))
    }

    /// Whether nothing runs and nothing waits.
    pub(crate) fn are_idle(&self) -> bool {
        self.0.busy.load(Ordering::Relaxed) == 0
    }

    /// Whether something of this asker runs now.
    pub(crate) fn has(&self, asker: &Asker) -> bool {
        self.0.inner().of.contains_key(asker)
    }

    /// Waits for a turn. It goes with the work, so that a caller who hangs up does not make room
    /// before the work has ended.
    pub(crate) async fn turn(&self, asker: Asker) -> Result<Turn, Unavailable> {
        let waiting = {
            let mut inner = self.0.inner();
            if inner.may_run(&asker, &self.0) {
                return Ok(inner.begin(asker, &self.0));
            }
            let (sender, receiver) = oneshot::channel();
            match inner.waiting.offer(asker, (asker, sender)) {
                // The displaced learn it by their dropped sender.
                Offered::Waits | Offered::InPlaceOf(_) => receiver,
                Offered::Refused(_) => return Err(Unavailable::QueueFull),
            }
        };
        waiting.await.map_err(|_| Unavailable::QueueFull)
    }
}

fn room() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    RUNNING_MIN.max(cores.saturating_mul(2))
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while the counts are half-changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn may_run(&self, asker: &Asker, shared: &Shared) -> bool {
        self.running < shared.running_max && self.of.get(asker).copied().unwrap_or(0) < shared.share_max
    }

    fn begin(&mut self, asker: Asker, shared: &Arc<Shared>) -> Turn {
        self.running += 1;
        *self.of.entry(asker).or_insert(0) += 1;
        shared.busy.fetch_add(1, Ordering::Relaxed);
        Turn {
            asker,
            shared: Some(Arc::clone(shared)),
        }
    }

    fn end(&mut self, asker: &Asker, shared: &Shared) {
        self.running -= 1;
        shared.busy.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = self.of.get_mut(asker) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(asker);
            }
        }
    }

    /// Gives what is free to those who wait, in turn.
    fn hand_on(&mut self, shared: &Arc<Shared>) {
        while self.running < shared.running_max {
            let of = &self.of;
            let may = |asker: &Asker| of.get(asker).copied().unwrap_or(0) < shared.share_max;
            let Some((asker, waiting)) = self.waiting.pop_if(may) else {
                return;
            };
            let turn = self.begin(asker, shared);
            if let Err(mut unwanted) = waiting.send(turn) {
                // Hung up meanwhile. Taken apart here: dropping it would take the lock again.
                unwanted.shared = None;
                self.end(&asker, shared);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            let mut inner = shared.inner();
            inner.end(&self.asker, &shared);
            inner.hand_on(&shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn asker(number: u8) -> Asker {
        Asker::Certificate(model::Digest([number; 32]))
    }

    fn polled<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_few_run_a_few_wait_and_others_are_refused() {
        let turns = Turns::with(1, 1, 1);
        assert!(turns.are_idle());
        let first = turns.turn(asker(1)).await.ok().unwrap();
        let mut waiting = pin!(turns.turn(asker(1)));
        assert!(polled(waiting.as_mut()).is_none());
        assert!(matches!(turns.turn(asker(1)).await, Err(Unavailable::QueueFull)));
        assert!(turns.has(&asker(1)) && !turns.has(&asker(2)));
        drop(first);
        drop(polled(waiting).unwrap().ok().unwrap());
        assert!(turns.are_idle());
        assert!(turns.turn(asker(1)).await.is_ok());
    }

    #[tokio::test]
    async fn the_most_wait_and_one_more_is_refused() {
        let turns = Turns::with(1, 1, WAITING_MAX);
        let running = turns.turn(asker(0)).await.ok().unwrap();
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(turns.turn(asker(0)))).collect();
        for one in &mut waiting {
            assert!(polled(one.as_mut()).is_none());
        }
        assert!(matches!(turns.turn(asker(0)).await, Err(Unavailable::QueueFull)));
        drop(running);
    }

    #[tokio::test]
    async fn one_asker_never_has_more_than_his_share() {
        let turns = Turns::with(4, 2, 8);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(turns.turn(asker(1)).await.ok().unwrap());
        }
        let mut third = pin!(turns.turn(asker(1)));
        assert!(polled(third.as_mut()).is_none());
        let other = turns.turn(asker(2)).await;
        assert!(other.is_ok(), "another waits behind one's share");
        held.pop();
        assert!(polled(third).is_some());
    }

    #[tokio::test]
    async fn who_hangs_up_while_waiting_takes_no_room() {
        let turns = Turns::with(1, 1, 4);
        let first = turns.turn(asker(1)).await.ok().unwrap();
        {
            let mut gone = pin!(turns.turn(asker(2)));
            assert!(polled(gone.as_mut()).is_none());
        }
        // And one to whom it was handed just before he left.
        let mut handed = Box::pin(turns.turn(asker(3)));
        assert!(polled(handed.as_mut()).is_none());
        drop(first);
        drop(handed);
        assert!(turns.are_idle());
        assert!(turns.turn(asker(4)).await.is_ok());
    }
}
