//! The epoch of destination tags: a counter that the mesh agrees on by taking the greatest heard.
//!
//! Each start takes wall time divided by the epoch's length as a first guess, so that tags differ from start to start and
//! phones with sound clocks agree at once; from then on only monotonic time and what neighbours say count.

use smartmesh_types::{Duration, Instant, Now};

/// Jumps in one step at most: far more than any honest difference (a clock a century ahead is below 2^22), and a liar
/// that jumps as often as the budget allows needs thousands of years to use up the counter.
const JUMP_MAX: u64 = 1 << 30;
/// Adoptions at once; a node that joins sees the last of a few corrections.
const CREDITS_MAX: u8 = 4;

/// The current epoch and what leads to the next.
#[derive(Debug)]
pub(super) struct Epochs {
    pub(super) current: u64,
    /// The epoch before, while its tag is still answered.
    pub(super) previous: Option<u64>,
    /// When [`Self::previous`] is given up.
    pub(super) overlap_until: Instant,
    length: Duration,
    overlap: Duration,
    advance_at: Instant,
    /// The greatest epoch heard that could not be adopted yet.
    heard: u64,
    /// Adoptions allowed at once; one comes back with each [`Self::credit_at`].
    credits: u8,
    credit_at: Instant,
}

impl Epochs {
    pub(super) fn new(length: Duration, overlap: Duration, now: Now) -> Self {
        let current = now
            .unix
            .as_secs()
            .checked_div(length.as_secs())
            .unwrap_or(0);
        Self {
            current,
            previous: None,
            overlap_until: Instant::NEVER,
            length,
            overlap,
            advance_at: now.instant + length,
            heard: current,
            credits: CREDITS_MAX,
            credit_at: Instant::NEVER,
        }
    }

    /// Takes what a neighbour says; true if the epoch changed.
    pub(super) fn handle_heard(&mut self, epoch: u64, now: Instant) -> bool {
        self.heard = self.heard.max(epoch);
        self.adopt(now)
    }

    /// Lets time pass; true if the epoch changed.
    pub(super) fn handle_time(&mut self, now: Instant) -> bool {
        if self.credit_at <= now {
            self.credits = self.credits.saturating_add(1).min(CREDITS_MAX);
            self.credit_at = if self.credits < CREDITS_MAX {
                now + self.credit_every()
            } else {
                Instant::NEVER
            };
            if self.adopt(now) {
                return true;
            }
        }
        if self.advance_at <= now {
            self.enter(self.current.saturating_add(1), now);
            return true;
        }
        false
    }

    /// True once, when the previous epoch's tag is to be given up.
    pub(super) fn end_overlap(&mut self, now: Instant) -> bool {
        let over = self.overlap_until <= now;
        if over {
            self.previous = None;
            self.overlap_until = Instant::NEVER;
        }
        over
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.advance_at.min(self.credit_at).min(self.overlap_until)
    }

    fn adopt(&mut self, now: Instant) -> bool {
        if self.heard <= self.current {
            return false;
        }
        let Some(credits) = self.credits.checked_sub(1) else {
            return false;
        };
        self.credits = credits;
        if self.credit_at == Instant::NEVER {
            self.credit_at = now + self.credit_every();
        }
        let target = self.heard.min(self.current.saturating_add(JUMP_MAX));
        self.enter(target, now);
        true
    }

    fn enter(&mut self, epoch: u64, now: Instant) {
        self.previous = Some(self.current);
        self.current = epoch;
        self.heard = self.heard.max(epoch);
        self.overlap_until = now + self.overlap;
        self.advance_at = now + self.length;
    }

    /// A fifth of the epoch: a liar makes tags rotate five times as fast in the long run.
    fn credit_every(&self) -> Duration {
        self.length.checked_div(5).unwrap_or(self.length)
    }
}

#[cfg(test)]
mod tests {
    use smartmesh_types::UnixTime;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(900);

    fn epochs(unix_secs: u64) -> Epochs {
        let now = Now {
            instant: Instant::ZERO,
            unix: UnixTime::from_secs(unix_secs),
        };
        Epochs::new(LENGTH, Duration::from_secs(60), now)
    }

    #[test]
    fn an_epoch_ends_by_itself_and_its_tag_stays_for_the_overlap() {
        let mut epochs = epochs(9_000);
        assert_eq!(epochs.next_timeout(), Instant::ZERO + LENGTH);
        let end = epochs.next_timeout();
        assert!(epochs.handle_time(end));
        assert_eq!((epochs.current, epochs.previous), (11, Some(10)));
        assert!(!epochs.end_overlap(end));
        let over = epochs.next_timeout();
        assert_eq!(over, end + Duration::from_secs(60));
        assert!(epochs.end_overlap(over));
        assert_eq!(epochs.previous, None);
    }

    #[test]
    fn a_liar_is_followed_at_five_times_the_pace_at_most() {
        let mut epochs = epochs(0);
        let mut jumps = 0;
        for second in 0..9_000 {
            let now = Instant::from_millis(second * 1_000);
            let lie = epochs.current.saturating_add(u64::MAX / 2);
            jumps += u32::from(epochs.handle_heard(lie, now));
            jumps += u32::from(epochs.handle_time(now));
        }
        assert!((40..=56).contains(&jumps), "{jumps}");
        assert!(epochs.current <= 60 * JUMP_MAX);
    }
}
