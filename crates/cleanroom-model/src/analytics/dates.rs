//! Calendar days and closed ranges of them, as run requests and dated folders write them.

use std::fmt;

use super::DocumentError;

/// A day of the Gregorian calendar, years 0001 to 9999; `YYYY-MM-DD` as text.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// Parses `YYYY-MM-DD` exactly. A midnight time (`T00:00:00`, with or without `Z`) may follow.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let day = match text.split_once('T') {
            Some((day, "00:00:00" | "00:00:00Z")) => day,
            Some(_) => return None,
            None => text,
        };
        let mut parts = day.split('-');
        let year = digits(parts.next()?, 4)?;
        let month = u8::try_from(digits(parts.next()?, 2)?).ok()?;
        let date = u8::try_from(digits(parts.next()?, 2)?).ok()?;
        if parts.next().is_some() || year == 0 || date == 0 || date > days_in(year, month)? {
            return None;
        }
        Some(Self {
            year,
            month,
            day: date,
        })
    }

    /// The day, in UTC, of a time in Unix milliseconds; the last known day for times beyond it.
    #[must_use]
    pub fn of_unix_ms(ms: u64) -> Self {
        let mut days = ms / 86_400_000;
        for year in 1970..=9999 {
            for month in 1..=12 {
                let length = days_in(year, month).unwrap_or(31);
                if let Ok(day) = u8::try_from(days)
                    && day < length
                {
                    return Self {
                        year,
                        month,
                        day: day.saturating_add(1),
                    };
                }
                days = days.saturating_sub(length.into());
            }
        }
        Self {
            year: 9999,
            month: 12,
            day: 31,
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

fn digits(text: &str, len: usize) -> Option<u16> {
    (text.len() == len && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

fn days_in(year: u16, month: u8) -> Option<u8> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// The days a run reads: both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DateRange {
    start: Date,
    end: Date,
}

impl DateRange {
    /// Both dates or none, midnight only, start not after end (spark-analytics §10).
    ///
    /// # Errors
    ///
    /// Says which rule is broken.
    pub fn parse(start: Option<&str>, end: Option<&str>) -> Result<Option<Self>, DocumentError> {
        let day = |what: &'static str, text: &str| {
            Date::parse(text).ok_or_else(|| DocumentError::rule(what, "must be a day, YYYY-MM-DD"))
        };
        match (start, end) {
            (None, None) => Ok(None),
            (Some(start), Some(end)) => {
                let (start, end) = (day("startDate", start)?, day("endDate", end)?);
                if start > end {
                    return Err(DocumentError::rule("startDate", "must not be after endDate"));
                }
                Ok(Some(Self { start, end }))
            }
            _ => Err(DocumentError::rule("startDate, endDate", "give both or neither")),
        }
    }

    /// Whether the range holds `day`.
    #[must_use]
    pub fn contains(&self, day: Date) -> bool {
        self.start <= day && day <= self.end
    }

    /// The first day.
    #[must_use]
    pub fn start(&self) -> Date {
        self.start
    }

    /// The last day.
    #[must_use]
    pub fn end(&self) -> Date {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_on_its_day() {
        for (ms, day) in [
            (0, "1970-01-01"),
            (86_399_999, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (1_795_237_200_000, "2026-11-21"),
            (u64::MAX, "9999-12-31"),
        ] {
            assert_eq!(Date::of_unix_ms(ms).to_string(), day);
        }
    }

    #[test]
    fn only_days_that_exist_are_dates() {
        for good in [
            "2025-09-01",
            "2024-02-29",
            "2000-02-29",
            "2025-09-01T00:00:00",
            "2025-09-01T00:00:00Z",
        ] {
            assert!(Date::parse(good).is_some(), "{good}");
        }
        for bad in [
            "2025-9-1",
            "2025-02-29",
            "1900-02-29",
            "2025-13-01",
            "2025-00-01",
            "2025-01-00",
            "0000-01-01",
            "2025-01-01T12:00:00",
            "2025-01-01-01",
            "+025-01-01",
            "",
            "2025-01",
        ] {
            assert!(Date::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_range_has_both_ends_in_order() {
        let range = DateRange::parse(Some("2025-09-01"), Some("2025-09-02"))
            .unwrap()
            .unwrap();
        assert!(range.contains(Date::parse("2025-09-02").unwrap()));
        assert!(!range.contains(Date::parse("2025-09-03").unwrap()));
        assert!(DateRange::parse(None, None).unwrap().is_none());
        assert!(DateRange::parse(Some("2025-09-01"), None).is_err());
        assert!(DateRange::parse(Some("2025-09-02"), Some("2025-09-01")).is_err());
    }
}
