//! What a neighbour may ask for, and what it is worth: token buckets with a fair share, and scores of next hops.

use std::collections::BTreeMap;

use smartmesh_types::{Instant, NeighbourId};

/// Set-ups per second that one neighbour may send or be sent. A set-up costs the destination two Diffie-Hellman
/// operations and two signatures' worth of work, about 0.15 ms: 100 a second are 1.5 % of a core.
const SET_UPS_PER_SECOND: u64 = 100;
/// Set-ups in one burst: a gateway that comes back is dialled by its whole zone at once.
const SET_UPS_BURST: u64 = 200;
/// Thousandths, so that slow refills are not rounded away.
const UNIT: u64 = 1_000;

/// A bucket that fills with time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    level: u64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(now: Instant) -> Self {
        Self {
            level: SET_UPS_BURST.saturating_mul(UNIT),
            at: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let gained = accrued(SET_UPS_PER_SECOND, &mut self.at, now);
        self.level = self
            .level
            .saturating_add(gained)
            .min(SET_UPS_BURST.saturating_mul(UNIT));
    }

    /// Takes one set-up out, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        match self.level.checked_sub(UNIT) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

/// How much of a shared bucket one upstream has used of late. What the bucket gains is forgiven to all who have used it,
/// in equal parts: a lone upstream may have it all, and next to others a flooding one has no more than they.
#[derive(Clone, Copy, Debug)]
struct Share {
    used: u64,
    at: Instant,
}

/// One budget towards a next hop, shared by all who send through this node: an upstream may hold no more than what is
/// left for the others (the dynamic threshold of Choudhury and Hahne 1998, with a factor of one).
#[derive(Debug)]
pub(super) struct SharedBucket {
    bucket: Bucket,
    shares: BTreeMap<NeighbourId, Share>,
}

impl SharedBucket {
    pub(super) fn full(now: Instant) -> Self {
        Self {
            bucket: Bucket::full(now),
            shares: BTreeMap::new(),
        }
    }

    /// Takes one set-up for this upstream out, if its share allows it.
    pub(super) fn take(&mut self, upstream: NeighbourId, now: Instant) -> bool {
        self.bucket.refill(now);
        let level = self.bucket.level;
        let active = u64::try_from(self.shares.len()).unwrap_or(u64::MAX).max(1);
        let rate = SET_UPS_PER_SECOND.checked_div(active).unwrap_or(1).max(1);
        self.shares.retain(|_, share| {
            let drained = accrued(rate, &mut share.at, now);
            share.used = share.used.saturating_sub(drained);
            share.used > 0
        });
        let share = self
            .shares
            .entry(upstream)
            .or_insert(Share { used: 0, at: now });
        if share.used.saturating_add(UNIT) > level {
            return false;
        }
        share.used = share.used.saturating_add(UNIT);
        self.bucket.take(now)
    }

    /// Forgets a neighbour that is gone.
    pub(super) fn forget(&mut self, upstream: NeighbourId) {
        self.shares.remove(&upstream);
    }
}

/// Thousandths gained since `at` at this rate; moves `at` by no more than what was gained, so that nothing is lost to
/// rounding.
fn accrued(per_second: u64, at: &mut Instant, now: Instant) -> u64 {
    let micros = u64::try_from(now.since(*at).as_micros()).unwrap_or(u64::MAX);
    let gained = micros.saturating_mul(per_second) / UNIT;
    if gained > 0 {
        *at = now;
    }
    gained
}

/// Seconds until half of a failure is forgotten.
const HALF_LIFE_SECS: u64 = 20;
/// Failures beyond which it makes no difference, in thousandths.
const FAILURES_MAX: u64 = 64 * UNIT;

/// How often paths through a next hop came to nothing.
#[derive(Clone, Copy, Debug)]
struct Score {
    failures: u64,
    at: Instant,
}

/// How sure it is that a next hop is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// It took something and neither delivered it nor said who failed it.
    Full,
    /// It says that somebody behind it failed; that may be a lie.
    Shared,
}

/// Failures of next hops.
///
/// A neighbour that asks for paths which its accomplices then let fail does not harm the relays between them: each of
/// them reports the failure back, and the full blame stays with the accomplice.
#[derive(Debug, Default)]
pub(super) struct Scores {
    scores: BTreeMap<NeighbourId, Score>,
}

impl Scores {
    /// A path through `to` came to nothing.
    pub(super) fn record_failure(&mut self, to: NeighbourId, blame: Blame, now: Instant) {
        let weight = match blame {
            Blame::Full => UNIT,
            Blame::Shared => UNIT / 4,
        };
        let failures = self.failures(to, now).saturating_add(weight);
        let failures = failures.min(FAILURES_MAX);
        self.scores.insert(to, Score { failures, at: now });
    }

    /// A packet was shown to arrive through `to`.
    pub(super) fn record_success(&mut self, to: NeighbourId, now: Instant) {
        // Less than a failure weighs: who lets first packets pass and drops the rest must not come out even.
        let failures = self.failures(to, now).saturating_sub(UNIT / 4);
        if failures == 0 {
            self.scores.remove(&to);
        } else {
            self.scores.insert(to, Score { failures, at: now });
        }
    }

    /// Decayed failures in thousandths.
    pub(super) fn failures(&self, to: NeighbourId, now: Instant) -> u64 {
        let Some(score) = self.scores.get(&to) else {
            return 0;
        };
        let halvings = now.since(score.at).as_secs() / HALF_LIFE_SECS;
        score
            .failures
            .checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX))
            .unwrap_or(0)
    }

    /// Forgets a neighbour that is gone.
    pub(super) fn forget(&mut self, neighbour: NeighbourId) {
        self.scores.remove(&neighbour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flooding_upstream_leaves_room_for_the_others() {
        let mut bucket = SharedBucket::full(Instant::ZERO);
        let (flood, honest) = (NeighbourId(1), NeighbourId(2));
        let (mut flooded, mut served) = (0, 0);
        for millis in 0..10_000u64 {
            let now = Instant::from_millis(millis);
            for _ in 0..2 {
                flooded += u32::from(bucket.take(flood, now));
            }
            if millis % 50 == 0 {
                served += u32::from(bucket.take(honest, now));
            }
        }
        assert_eq!(served, 200, "20 a second for 10 s, all served");
        assert!(flooded < 1_100, "{flooded} of 20,000");
    }

    #[test]
    fn failures_fade_and_a_success_clears_some() {
        let (mut scores, to) = (Scores::default(), NeighbourId(1));
        for _ in 0..4 {
            scores.record_failure(to, Blame::Full, Instant::ZERO);
        }
        assert_eq!(scores.failures(to, Instant::ZERO), 4_000);
        assert_eq!(scores.failures(to, Instant::from_millis(40_000)), 1_000);
        scores.record_success(to, Instant::ZERO);
        assert_eq!(scores.failures(to, Instant::ZERO), 3_750);
        scores.record_failure(to, Blame::Shared, Instant::ZERO);
        assert_eq!(scores.failures(to, Instant::ZERO), 4_000);
        scores.forget(to);
        assert_eq!(scores.failures(to, Instant::ZERO), 0);
    }
}
