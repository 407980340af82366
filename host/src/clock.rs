//! The node's clocks, and what follows from what they say.
//!
//! The only place that reads one, so that a test can be whoever sets it.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use host_core::time::{LEAP_MS_MAX, Reading, SKEW_SECONDS_MAX};
use host_core::{Reply, ServiceTime, State};
use model::FrameworkError;

/// Clocks to read, and what they said when the process began. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    read: Arc<dyn Fn() -> Reading + Send + Sync>,
    began: Reading,
}

/// Why nothing is written at present. Reads go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClockFault {
    /// More than ten minutes behind what the service has signed.
    Behind,
    /// More than a day ahead of this process's monotonic clock.
    Ahead,
}

impl ClockFault {
    const fn error(self) -> FrameworkError {
        match self {
            Self::Behind => FrameworkError::ClockBehind,
            Self::Ahead => FrameworkError::ClockAhead,
        }
    }

    /// Its name in `/node/state` and in refusals.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.error().code()
    }

    /// The answer to what would write.
    #[must_use]
    pub fn reply(self) -> Reply {
        let text = match self {
            Self::Behind => format!(
                "the node's clock is more than {SKEW_SECONDS_MAX} seconds behind what the service has signed; \
                 nothing is written until it is set right"
            ),
            Self::Ahead => format!(
                "the node's clock ran more than {} seconds ahead of the time that has passed; nothing is \
                 written until the two agree or the node is restarted",
                LEAP_MS_MAX / 1000
            ),
        };
        Reply::error(self.error(), text).with_header("retry-after", "60")
    }
}

/// What the clocks mean for a state of the service.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// What everything is judged by.
    pub time: ServiceTime,
    /// Why nothing is written, if so.
    pub fault: Option<ClockFault>,
}

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        let began = Instant::now();
        Self::new(move || Reading {
            wall_ms: millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            monotonic_ms: millis(began.elapsed()),
        })
    }

    /// Clocks of the caller's; they are read once now, as the beginning of the process.
    #[must_use]
    pub fn new(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        let began = read();
        Self {
            read: Arc::new(read),
            began,
        }
    }

    /// The time to go by where there is no state to compare with, Unix seconds.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.usable().0 / 1000
    }

    /// Service time in this state.
    #[must_use]
    pub fn now(&self, state: &State) -> Now {
        let (clock_ms, agrees) = self.usable();
        let time = state.time(clock_ms);
        let fault = if !agrees {
            Some(ClockFault::Ahead)
        } else if time.clock_is_behind() {
            Some(ClockFault::Behind)
        } else {
            None
        };
        Now { time, fault }
    }

    fn usable(&self) -> (u64, bool) {
        (self.read)().since(self.began)
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
