//! Clocks as types: [`Instant`] for timers, [`UnixTime`] for display and offline expiry.

use std::fmt;
use std::ops::{Add, Sub};

pub use std::time::Duration;

/// Monotonic time in microseconds since an arbitrary start, time asleep included; never stored.
///
/// Microseconds, because one hop on a wired test link takes about fifty of them. Sums and differences saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant this many microseconds after the start of the clock.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The instant this many milliseconds after the start of the clock.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the start of the clock.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        let micros = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        let micros = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Wall time in whole seconds since 1970-01-01T00:00:00Z, as the phone believes it; for display and offline expiry only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The moment this many seconds after 1970-01-01T00:00:00Z.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs.as_secs()))
    }
}

impl Sub<Duration> for UnixTime {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs.as_secs()))
    }
}

/// What the shell says the time is, given with each input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers.
    pub instant: Instant,
    /// For display and offline expiry.
    pub unix: UnixTime,
}

impl Now {
    /// The same wall time and a monotonic clock this much later; for tests and drivers that step time.
    pub fn after(self, step: Duration) -> Self {
        let instant = self.instant + step;
        let whole_secs =
            (instant.as_micros() / 1_000_000).saturating_sub(self.instant.as_micros() / 1_000_000);
        Self {
            instant,
            unix: self.unix + Duration::from_secs(whole_secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_instead_of_wrapping() {
        assert_eq!(Instant::NEVER + Duration::from_secs(1), Instant::NEVER);
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::ZERO.since(Instant::NEVER), Duration::ZERO);
    }

    #[test]
    fn the_wall_clock_moves_with_whole_seconds() {
        let start = Now {
            instant: Instant::from_millis(900),
            unix: UnixTime::from_secs(5),
        };
        assert_eq!(
            start.after(Duration::from_millis(99)).unix,
            UnixTime::from_secs(5)
        );
        assert_eq!(
            start.after(Duration::from_millis(100)).unix,
            UnixTime::from_secs(6)
        );
    }
}
