//! Sizes and durations as people write them in a configuration: `"25MiB"`, `"5m"`, `"1h30m"`.
//!
//! A number alone is refused: nobody should have to guess its unit. What is displayed reads back as the same value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::as_text;

/// A size in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A length of time, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// Why a text is not a size, a duration or a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error("{0:?} is not a size: write a whole number and a unit, B, KiB, MiB, GiB or TiB, as in \"25MiB\"")]
    Size(String),
    /// Not a duration.
    #[error("{0:?} is not a duration: write whole numbers and units, ms, s, m, h or d, as in \"5m\" or \"1h30m\"")]
    Span(String),
    /// Not a rate.
    #[error("{0:?} is not a rate: write a number and a time, as in \"60/1m\" or \"60/1m burst 10\", or \"off\"")]
    Rate(String),
    /// Not a rate of octets.
    #[error("{0:?} is not a rate of octets: write a size and a time, as in \"100MiB/1h\" or \"100MiB/1h burst 25MiB\", or \"off\"")]
    ByteRate(String),
}

impl ByteSize {
    /// So many KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// So many MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// As a `usize`, the largest one where it would not fit.
    pub fn octets(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Span {
    /// So many seconds.
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// So many minutes.
    pub const fn mins(n: u64) -> Self {
        Self(Duration::from_secs(n * 60))
    }
}

const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let parsed = number.parse::<u64>().ok().zip(SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start())));
        parsed.and_then(|(n, (_, factor))| n.checked_mul(*factor)).map(Self).ok_or_else(|| UnitError::Size(text.into()))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Span(text.into());
        let (mut rest, mut millis) = (text, 0u64);
        while !rest.is_empty() || millis == 0 && rest.len() == text.len() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let (_, factor) = SPANS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)).ok_or_else(wrong)?;
            millis = millis.checked_add(part).ok_or_else(wrong)?;
            rest = tail;
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZES.into_iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)).unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in SPANS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

as_text!(ByteSize, "^[0-9]+ ?([KMGT]i)?B$");
as_text!(Span, "^([0-9]+(ms|s|m|h|d))+$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, octets, printed) in [
            ("25MiB", 25 << 20, "25MiB"),
            ("1024 KiB", 1 << 20, "1MiB"),
            ("1500b", 1500, "1500B"),
            ("0B", 0, "0B"),
            ("2gib", 2 << 30, "2GiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (octets, printed));
        }
        for wrong in ["", "25", "MiB", "1.5MiB", "-1B", "1XB", "99999999999TiB"] {
            assert_eq!(wrong.parse::<ByteSize>(), Err(UnitError::Size(wrong.into())));
        }
    }

    #[test]
    fn spans_read_and_print() {
        for (text, millis, printed) in [
            ("5m", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90s", 90_000, "1m30s"),
            ("250ms", 250, "250ms"),
            ("0s", 0, "0s"),
            ("7d", 604_800_000, "7d"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0.as_millis(), span.to_string().as_str()), (millis, printed));
        }
        for wrong in ["", "5", "m", "5 m", "1.5h", "-1s", "5x", "99999999999999999d"] {
            assert_eq!(wrong.parse::<Span>(), Err(UnitError::Span(wrong.into())), "{wrong}");
        }
    }
}
