//! Service time: the clock, but never before what the service has signed already.
//!
//! A clock belongs to whoever runs the machine. What must not become young again (nonces, runs,
//! certificates, tokens) is therefore judged by the greater of two: the clock, and the issue time
//! that the last ledger signature carries in its header.

/// How far a signed message's `created_at` may lie ahead of service time, and the clock behind
/// it, in seconds: what honest clocks differ by.
pub const SKEW_SECONDS_MAX: u64 = 600;

/// The moment by which a request is judged. Made from a clock and a floor, so that nobody judges
/// by a clock alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServiceTime {
    clock_ms: u64,
    floor_ms: u64,
}

impl ServiceTime {
    /// From the clock and the time already signed, both in Unix milliseconds.
    #[must_use]
    pub const fn new(clock_ms: u64, floor_ms: u64) -> Self {
        Self { clock_ms, floor_ms }
    }

    /// Unix milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        if self.clock_ms > self.floor_ms {
            self.clock_ms
        } else {
            self.floor_ms
        }
    }

    /// Unix seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.ms() / 1000
    }

    /// What the clock alone says, Unix seconds.
    #[must_use]
    pub const fn clock_seconds(self) -> u64 {
        self.clock_ms / 1000
    }

    /// Whether the clock is so far behind what was signed that nothing may be written.
    #[must_use]
    pub const fn clock_is_behind(self) -> bool {
        self.floor_ms.saturating_sub(self.clock_ms) > SKEW_SECONDS_MAX * 1000
    }
}

/// What a machine's two clocks say at one moment, in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reading {
    /// Unix time. Whoever runs the machine sets it.
    pub wall_ms: u64,
    /// Since some moment before the process began; it only goes forward.
    pub monotonic_ms: u64,
}

/// How far the wall clock may run ahead of the monotonic clock within one process, in
/// milliseconds. Each reading is signed, so one bad one would be the floor for ever.
pub const LEAP_MS_MAX: u64 = 24 * 3600 * 1000;
/// How far a start's clock may lie past the last signature unless it is confirmed, in seconds.
pub const UNCONFIRMED_SECONDS_MAX: u64 = 90 * 24 * 3600;

impl Reading {
    /// The time to go by, Unix milliseconds, in a process that began at `began`, and whether it is
    /// the wall clock's. One that leapt is not used: time then goes on as the monotonic clock does.
    #[must_use]
    pub const fn since(self, began: Self) -> (u64, bool) {
        let elapsed = self.monotonic_ms.saturating_sub(began.monotonic_ms);
        let expected = began.wall_ms.saturating_add(elapsed);
        if self.wall_ms > expected.saturating_add(LEAP_MS_MAX) {
            (expected, false)
        } else {
            (self.wall_ms, true)
        }
    }
}

/// Whether a start at `clock` needs somebody who confirms the day; both in Unix seconds. A new
/// service (`signed_at` 0) has nothing to compare with.
#[must_use]
pub const fn needs_confirmation(clock: u64, signed_at: u64) -> bool {
    signed_at > 0 && clock.saturating_sub(signed_at) > UNCONFIRMED_SECONDS_MAX
}

/// The day in UTC of a moment in Unix seconds, as `YYYY-MM-DD`.
///
/// Days to civil date by the usual proleptic Gregorian arithmetic on eras of 400 years.
#[must_use]
pub fn utc_day(unix_seconds: u64) -> String {
    let shifted = unix_seconds.min(253_402_300_799) / 86_400 + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_leapt_more_than_a_day_is_not_used() {
        let began = Reading {
            wall_ms: 1_800_000_000_000,
            monotonic_ms: 500,
        };
        let later = |lead: u64| Reading {
            wall_ms: began.wall_ms + 1_000 + lead,
            monotonic_ms: 1_500,
        };
        let day = LEAP_MS_MAX;
        assert_eq!(day, 86_400_000);
        assert_eq!(later(day).since(began), (began.wall_ms + 1_000 + day, true));
        assert_eq!(later(day + 1).since(began), (began.wall_ms + 1_000, false));
        // One that is set back is; the floor sees to the rest.
        let back = Reading {
            wall_ms: 7,
            ..later(0)
        };
        assert_eq!(back.since(began), (7, true));
    }

    #[test]
    fn a_start_ninety_days_after_the_last_signature_is_the_last_unconfirmed_one() {
        let signed = 1_800_000_000;
        assert_eq!(UNCONFIRMED_SECONDS_MAX, 90 * 86_400);
        assert!(!needs_confirmation(signed + UNCONFIRMED_SECONDS_MAX, signed));
        assert!(needs_confirmation(signed + UNCONFIRMED_SECONDS_MAX + 1, signed));
        assert!(!needs_confirmation(signed - 1, signed));
        assert!(!needs_confirmation(signed, 0), "a new service");
    }

    #[test]
    fn days_are_those_of_utc() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (1_709_251_200, "2024-03-01"),
            (9_999_999_999, "2286-11-20"),
            (u64::MAX, "9999-12-31"),
        ] {
            assert_eq!(utc_day(seconds), day);
        }
    }

    #[test]
    fn a_clock_set_back_does_not_set_service_time_back() {
        let time = ServiceTime::new(1_000, 5_000);
        assert_eq!((time.ms(), time.seconds(), time.clock_seconds()), (5_000, 5, 1));
        assert_eq!(ServiceTime::new(6_000, 5_000).ms(), 6_000);
    }

    #[test]
    fn ten_minutes_behind_is_the_most() {
        let floor = 10_000_000;
        assert_eq!(SKEW_SECONDS_MAX, 600);
        assert!(!ServiceTime::new(floor - 600_000, floor).clock_is_behind());
        assert!(ServiceTime::new(floor - 600_001, floor).clock_is_behind());
        assert!(!ServiceTime::new(floor + 1, floor).clock_is_behind());
    }
}
