//! Clocks that leap, come back or were never set: what a node does about them, on real files.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod bare_service;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bare_service::{Member, NoGuests, configuration, first_state, member};
use host::clock::{Clock, ClockFault};
use host::disk::OsDisk;
use host::node::{self, Running, Start, StartError};
use host_core::time::Reading;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Clocks that a test sets: Unix milliseconds, and those since the machine was started.
#[derive(Clone)]
struct Hands(Arc<std::sync::Mutex<Reading>>);

impl Hands {
    fn at(wall_ms: u64) -> Self {
        Self(Arc::new(std::sync::Mutex::new(Reading {
            wall_ms,
            monotonic_ms: 0,
        })))
    }

    fn set(&self, wall_ms: u64, monotonic_ms: u64) {
        *self.0.lock().unwrap() = Reading {
            wall_ms,
            monotonic_ms,
        };
    }

    fn clock(&self) -> Clock {
        let hands = Arc::clone(&self.0);
        Clock::new(move || *hands.lock().unwrap())
    }
}

fn start_by(
    dir: &Path,
    genesis: Option<&Member>,
    clock: Clock,
    accept: Option<&str>,
) -> Result<Running, StartError> {
    let start = Start {
        clock,
        accept_clock: accept.map(str::to_owned),
        ..configuration(Arc::new(OsDisk), dir)
    };
    node::start(start, || Ok(genesis.map(first_state)), Arc::new(NoGuests))
}

#[tokio::test]
async fn a_clock_that_leapt_ahead_is_not_used_and_one_that_is_set_back_stops_writes() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let began = now() * 1000;
    let hands = Hands::at(began);
    let clock = hands.clock();
    let node = start_by(dir.path(), Some(&member), clock.clone(), None).unwrap();
    let day = 86_400_000;
    let look = || clock.now(&node.handle.state());
    assert_eq!(look().fault, None);
    // A day ahead of the monotonic clock is the most.
    hands.set(began + day + 5_000, 5_000);
    assert_eq!((look().fault, look().time.ms()), (None, began + day + 5_000));
    hands.set(began + day + 5_001, 5_000);
    assert_eq!(look().fault, Some(ClockFault::Ahead));
    assert_eq!(look().time.ms(), began + 5_000, "as the monotonic clock goes");
    assert_eq!(look().fault.unwrap().reply().status, 503);
    // The two agree again: nothing has come of it.
    hands.set(began + 6_000, 6_000);
    assert_eq!((look().fault, look().time.ms()), (None, began + 6_000));
    // One that is set back by ten minutes and a little is.
    let signed = node.handle.state().signed_at * 1000;
    hands.set(signed - 600_000, 7_000);
    assert_eq!((look().fault, look().time.ms()), (None, signed));
    hands.set(signed - 600_001, 7_000);
    assert_eq!(
        (look().fault, look().time.ms()),
        (Some(ClockFault::Behind), signed)
    );
    assert!(node.executor.stop());
}

#[tokio::test]
async fn a_start_long_after_the_last_signature_needs_its_day_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let began = now();
    let node = start_by(dir.path(), Some(&member), Hands::at(began * 1000).clock(), None).unwrap();
    assert!(node.executor.stop());
    let start = |seconds: u64, accept: Option<&str>| {
        start_by(dir.path(), None, Hands::at(seconds * 1000).clock(), accept)
    };
    let late = began + 90 * 86_400 + 1;
    let today = host_core::time::utc_day(late);
    let other = host_core::time::utc_day(late + 86_400);
    for accept in [None, Some(other.as_str())] {
        let refused = start(late, accept).err().unwrap().to_string();
        assert!(refused.contains(&format!("--accept-clock {today}")), "{refused}");
    }
    // At ninety days nobody is asked, and that start is the new floor.
    let node = start(late - 1, None).unwrap();
    assert_eq!(node.handle.state().signed_at, late - 1);
    assert!(node.executor.stop());
    let much_later = late + 400 * 86_400;
    let day = host_core::time::utc_day(much_later);
    let node = start(much_later, Some(&day)).unwrap();
    assert_eq!(node.handle.state().signed_at, much_later);
    assert!(node.executor.stop());
    // A clock set back does not take the floor back.
    let node = start(began, None).unwrap();
    assert_eq!(node.handle.state().signed_at, much_later);
    assert!(node.executor.stop());
}
