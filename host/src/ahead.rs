//! Room for work that is done before the writer sees a call: prepare passes, and compiling what a
//! proposal carries (decision 26).
//!
//! Such work takes an instance and a thread for up to a minute. Only a few run at a time, a bounded
//! number waits, and further ones are refused, so that neither the writer nor the readers run out
//! of instances.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::executor::Unavailable;

/// Fewest that run at a time, on however small a machine.
const RUNNING_MIN: usize = 4;
/// Calls that wait for their turn.
const WAITING_MAX: usize = 128;

/// Running and waiting work.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// Running and waiting together.
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// The right to run; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Ahead {
    /// Room for this machine: twice its cores.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(RUNNING_MIN.max(cores.saturating_mul(2)), WAITING_MAX)
    }

    fn with(running: usize, waiting: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(running.saturating_add(waiting))),
            running: Arc::new(Semaphore::new(running)),
        }
    }

    /// Waits for a turn. It goes with the work, so that a caller who hangs up does not make room
    /// before the work has ended.
    pub(crate) async fn turn(&self) -> Result<Turn, Unavailable> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Unavailable::QueueFull)?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| Unavailable::Stopped)?;
        Ok(Turn {
            _running: running,
            _place: place,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_few_run_a_few_wait_and_others_are_refused() {
        let ahead = Arc::new(Ahead::with(1, 1));
        let first = ahead.turn().await.unwrap();
        let waiting = tokio::spawn({
            let ahead = Arc::clone(&ahead);
            async move { ahead.turn().await.map(drop) }
        });
        while ahead.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ahead.turn().await.unwrap_err(), Unavailable::QueueFull);
        drop(first);
        waiting.await.unwrap().unwrap();
        ahead.turn().await.unwrap();
    }

    #[tokio::test]
    async fn the_most_wait_and_one_more_is_refused() {
        let ahead = Arc::new(Ahead::new());
        let mut turns = Vec::new();
        while ahead.running.available_permits() > 0 {
            turns.push(ahead.turn().await.unwrap());
        }
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..WAITING_MAX {
            let ahead = Arc::clone(&ahead);
            waiting.spawn(async move { ahead.turn().await.map(drop) });
        }
        while ahead.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ahead.turn().await.unwrap_err(), Unavailable::QueueFull);
        drop(turns);
        assert!(waiting.join_all().await.iter().all(Result::is_ok));
    }
}
