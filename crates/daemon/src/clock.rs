//! The only place that asks the system for the time.

use rustix::time::{ClockId, Timespec, clock_gettime};
use smartmesh_types::{Instant, Now, UnixTime};

/// What time it is, on both clocks.
pub fn now() -> Now {
    Now {
        instant: monotonic(),
        unix: wall(),
    }
}

/// Time since the machine started, time asleep included (CLOCK_BOOTTIME): phones sleep, and timers must not.
pub fn monotonic() -> Instant {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(tv_sec).unwrap_or(0);
    let nanos = u64::try_from(tv_nsec).unwrap_or(0);
    Instant::from_micros(secs.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
}

/// A moment of the standard library's clock, for a library that wants such moments; see `smartmesh_node::Config::origin`.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is where the system is asked for the time"
)]
pub fn origin() -> std::time::Instant {
    std::time::Instant::now()
}

fn wall() -> UnixTime {
    let seconds = clock_gettime(ClockId::Realtime).tv_sec;
    UnixTime::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_forward_and_knows_this_century() {
        let (first, second) = (now(), now());
        assert!(first.instant > Instant::ZERO && second.instant >= first.instant);
        assert!(first.unix > UnixTime::from_secs(1_700_000_000));
    }
}
