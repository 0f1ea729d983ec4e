//! Rates as people write them in a configuration: `"60/1m"`, `"100MiB/1h"`, `"60/1m burst 10"`, `"off"`.
//!
//! A rate is so many in a time. Unless it says otherwise all of them may come at once; then one more each time-th part of so
//! many. `burst` says how many may come at once instead. What is displayed reads back as the same value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::as_text;
use crate::units::{ByteSize, Span, UnitError};

/// So many in a time, so many at once. The default is [`Rate::OFF`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rate {
    /// 0 for no limit, and then the rest is nothing.
    count: u32,
    per: Duration,
    burst: u32,
}

/// So many octets in a time, so many at once, counted by the KiB. The default is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ByteRate(Rate);

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { count: 0, per: Duration::ZERO, burst: 0 };

    /// So many in a time, and as many at once; none when there is no such rate: none at all, more than one in a nanosecond,
    /// or a burst that takes more than a year to earn.
    pub fn new(count: u32, per: Duration) -> Option<Self> {
        Self::with_burst(count, per, count)
    }

    /// So many in a time, and `burst` at once; none as for [`Rate::new`].
    pub fn with_burst(count: u32, per: Duration, burst: u32) -> Option<Self> {
        let rate = Self { count, per, burst };
        let earned = rate.interval()?.checked_mul(burst)?;
        (burst > 0 && !earned.is_zero() && earned <= YEAR).then_some(rate)
    }

    /// How often there may be one; none without a limit.
    pub fn interval(self) -> Option<Duration> {
        self.per.checked_div(self.count)
    }

    /// How many there may be at once; 0 without a limit.
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// Reads a rate whose count is what `amount` makes of it.
    fn read(text: &str, amount: fn(&str) -> Option<u32>) -> Option<Self> {
        if text == OFF {
            return Some(Self::OFF);
        }
        let (rate, burst) = text.split_once(BURST).map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let (count, per) = rate.split_once('/')?;
        let (count, Span(per)) = (amount(count)?, per.parse().ok()?);
        Self::with_burst(count, per, burst.map_or(Some(count), amount)?)
    }

    fn write(self, f: &mut fmt::Formatter<'_>, amount: fn(u32) -> String) -> fmt::Result {
        let Self { count, per, burst } = self;
        match (count, burst) {
            (0, _) => f.write_str(OFF),
            _ if count == burst => write!(f, "{}/{}", amount(count), Span(per)),
            _ => write!(f, "{}/{}{BURST}{}", amount(count), Span(per), amount(burst)),
        }
    }
}

impl ByteRate {
    /// The same in KiB.
    pub fn kib(self) -> Rate {
        self.0
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        Self::read(text, |count| count.parse().ok()).ok_or_else(|| UnitError::Rate(text.into()))
    }
}

impl FromStr for ByteRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let kib = |size: &str| u32::try_from(size.parse::<ByteSize>().ok()?.0.div_ceil(1 << 10)).ok();
        Rate::read(text, kib).map(Self).ok_or_else(|| UnitError::ByteRate(text.into()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |count| count.to_string())
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, |kib| ByteSize::kib(kib.into()).to_string())
    }
}

as_text!(Rate);
as_text!(ByteRate);

const OFF: &str = "off";
const BURST: &str = " burst ";
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_and_print() {
        for (text, interval, burst) in [
            ("60/1m", Some(Duration::from_secs(1)), 60),
            ("60/1m burst 10", Some(Duration::from_secs(1)), 10),
            ("1/1h burst 5", Some(Duration::from_secs(3600)), 5),
            ("1000/1s", Some(Duration::from_millis(1)), 1000),
            ("off", None, 0),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.interval(), rate.burst(), rate.to_string().as_str()), (interval, burst, text));
        }
        assert_eq!("60/60s burst 60".parse::<Rate>().unwrap().to_string(), "60/1m");
        for wrong in
            ["", "60", "60/", "/1m", "0/1m", "60/0s", "60/1m burst", "60/1m burst 0", "60/1m burst x", "-1/1m", "1/366d", "9/1d burst 9999"]
        {
            assert_eq!(wrong.parse::<Rate>(), Err(UnitError::Rate(wrong.into())), "{wrong}");
        }
    }

    #[test]
    fn rates_of_octets_read_and_print() {
        let rate: ByteRate = "100MiB/1h burst 25MiB".parse().unwrap();
        assert_eq!((rate.kib().burst(), rate.to_string().as_str()), (25 << 10, "100MiB/1h burst 25MiB"));
        assert_eq!("1500B/1s".parse::<ByteRate>().unwrap().to_string(), "2KiB/1s", "by the KiB");
        assert_eq!("off".parse::<ByteRate>().unwrap(), ByteRate::default());
        for wrong in ["60/1m", "0B/1m", "9999TiB/1s", "1MiB/1m burst 3"] {
            assert_eq!(wrong.parse::<ByteRate>(), Err(UnitError::ByteRate(wrong.into())), "{wrong}");
        }
    }
}
