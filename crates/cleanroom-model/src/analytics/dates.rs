//! Calendar days and closed ranges of them, as run requests and dated folders write them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::DocumentError;
use crate::error_codes::ErrorCode;

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

/// What two dates do not say together.
#[derive(Debug, thiserror::Error)]
pub enum DaysError {
    /// One is no day.
    #[error(transparent)]
    Format(DocumentError),
    /// They are days, but no range.
    #[error(transparent)]
    Range(DocumentError),
}

impl DaysError {
    /// The code that says so.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Format(_) => ErrorCode::InvalidDateFormat,
            Self::Range(_) => ErrorCode::InvalidDateRange,
        }
    }
}

/// The days that a run is to read: a range, or all there are. On the wire `startDate` and `endDate`,
/// or neither of them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Ends", into = "Ends")]
pub struct Days(pub Option<DateRange>);

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ends {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_date: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_date: Option<String>,
}

impl TryFrom<Ends> for Days {
    type Error = DaysError;

    fn try_from(ends: Ends) -> Result<Self, DaysError> {
        Self::parse(ends.start_date.as_deref(), ends.end_date.as_deref())
    }
}

impl From<Days> for Ends {
    fn from(days: Days) -> Self {
        Self {
            start_date: days.start_text(),
            end_date: days.end_text(),
        }
    }
}

impl Days {
    /// Both dates or none, midnight only, start not after end (spark-analytics §10).
    ///
    /// # Errors
    ///
    /// Says which rule is broken.
    pub fn parse(start: Option<&str>, end: Option<&str>) -> Result<Self, DaysError> {
        let day = |what: &'static str, text: Option<&str>| {
            let not_a_day = || DaysError::Format(DocumentError::rule(what, "must be a day, YYYY-MM-DD"));
            text.map(|text| Date::parse(text).ok_or_else(not_a_day))
                .transpose()
        };
        let no_range = |what: &str, why: &str| Err(DaysError::Range(DocumentError::rule(what, why)));
        match (day("startDate", start)?, day("endDate", end)?) {
            (None, None) => Ok(Self(None)),
            (Some(start), Some(end)) if start > end => no_range("startDate", "must not be after endDate"),
            (Some(start), Some(end)) => Ok(Self(Some(DateRange { start, end }))),
            _ => no_range("startDate, endDate", "give both or neither"),
        }
    }

    /// The first day as text; absent for all days.
    #[must_use]
    pub fn start_text(&self) -> Option<String> {
        self.0.map(|range| range.start.to_string())
    }

    /// The last day as text; absent for all days.
    #[must_use]
    pub fn end_text(&self) -> Option<String> {
        self.0.map(|range| range.end.to_string())
    }
}

impl DateRange {
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
        let days = Days::parse(Some("2025-09-01"), Some("2025-09-02")).unwrap();
        let range = days.0.unwrap();
        assert!(range.contains(Date::parse("2025-09-02").unwrap()));
        assert!(!range.contains(Date::parse("2025-09-03").unwrap()));
        assert!(Days::parse(None, None).unwrap().0.is_none());
        for (start, end, code) in [
            (Some("2025-09-01"), None, ErrorCode::InvalidDateRange),
            (None, Some("2025-09-01"), ErrorCode::InvalidDateRange),
            (
                Some("2025-09-02"),
                Some("2025-09-01"),
                ErrorCode::InvalidDateRange,
            ),
            (Some("2025-9-2"), None, ErrorCode::InvalidDateFormat),
            (Some("2025-09-01"), Some("today"), ErrorCode::InvalidDateFormat),
        ] {
            assert_eq!(
                Days::parse(start, end).unwrap_err().code(),
                code,
                "{start:?} {end:?}"
            );
        }
    }

    /// A record whose dates cannot be read must not become one of all days.
    #[test]
    fn days_that_cannot_be_read_are_not_all_days() {
        #[derive(Debug, Deserialize, Serialize)]
        struct Record {
            first: u8,
            #[serde(flatten)]
            days: Days,
            last: u8,
        }
        let text = r#"{"first":1,"startDate":"2025-09-01","endDate":"2025-09-02","last":2}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert!(record.days.0.is_some());
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        let all = r#"{"first":1,"last":2}"#;
        let record: Record = serde_json::from_str(all).unwrap();
        assert_eq!(record.days, Days(None));
        assert_eq!(serde_json::to_string(&record).unwrap(), all);
        for bad in [
            r#"{"first":1,"startDate":"2025-09-01","last":2}"#,
            r#"{"first":1,"startDate":"x","endDate":"2025-09-02","last":2}"#,
            r#"{"first":1,"startDate":7,"endDate":"2025-09-02","last":2}"#,
            r#"{"first":1,"startDate":"2025-09-03","endDate":"2025-09-02","last":2}"#,
        ] {
            assert!(serde_json::from_str::<Record>(bad).is_err(), "{bad}");
        }
    }
}
