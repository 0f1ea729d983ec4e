//! A day of the calendar, in UTC: what expires does so by days, and a caller says which day it is.
//!
//! Guarantees: what is displayed reads back as the same value. Refuses days that the calendar does not have, and those before 1970.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

/// A day, as the days since 1 January 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

/// Why a text is not a day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a day: write \"2026-12-31\"")]
pub struct DayError(String);

impl Day {
    /// The day of a Unix time in seconds.
    pub fn of_unix_seconds(seconds: u64) -> Self {
        Self(u32::try_from(seconds / SECONDS).unwrap_or(u32::MAX))
    }

    /// The day so many days before this one; the first of all when there is none.
    pub(crate) fn back(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let wrong = || DayError(text.to_owned());
        let date: Date = text.parse().map_err(|_| wrong())?;
        let days = EPOCH.until(date).map_err(|_| wrong())?.get_days();
        // The same text, so that a time or a year of more digits is not taken in silence.
        u32::try_from(days).ok().map(Self).filter(|day| day.to_string() == text).ok_or_else(wrong)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = jiff::Span::new().try_days(self.0).unwrap_or_default();
        EPOCH.saturating_add(span).fmt(f)
    }
}

mail::as_text!(Day, "^[0-9]{4}-[0-9]{2}-[0-9]{2}$");

const EPOCH: Date = Date::constant(1970, 1, 1);
const SECONDS: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_read_print_and_compare() {
        for (text, number) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("2026-12-31", 20_818)] {
            assert_eq!(text.parse::<Day>().unwrap(), Day(number));
            assert_eq!(Day(number).to_string(), text);
        }
        for wrong in ["", "2026-02-30", "1969-12-31", "31.12.2026", "2026-12-31T00:00", "20261231", "tomorrow"] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
        assert_eq!(Day::of_unix_seconds(20_818 * SECONDS + 86_399), Day(20_818));
        assert_eq!((Day(31).back(30), Day(1).back(30)), (Day(1), Day(0)));
        assert_eq!("soon".parse::<Day>().unwrap_err().to_string(), "\"soon\" is not a day: write \"2026-12-31\"");
    }
}
