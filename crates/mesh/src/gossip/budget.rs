//! Token buckets: what a neighbour may cost.

use smartmesh_types::{Duration, Instant};
use smartmesh_wire::gossip::GossipKind;

/// Seconds of its rate that a bucket holds when full: what a node that was away may be told at once.
const BURST_SECONDS: u64 = 16;
/// Thousandths of a byte, so that slow rates lose nothing to rounding.
const MILLI: u64 = 1_000;

/// Bytes that may be spent now, refilled at a steady rate.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Bytes per second.
    rate: u64,
    /// Most thousandths of a byte it holds.
    capacity: u64,
    /// Thousandths of a byte left.
    level: u64,
    /// Thousandths of a byte that were asked for in vain, forgotten at the bucket's rate.
    excess: u64,
    filled_at: Instant,
}

impl Bucket {
    fn new(rate: u64, capacity_bytes: u64, now: Instant) -> Self {
        let capacity = capacity_bytes.saturating_mul(MILLI);
        Self {
            rate,
            capacity,
            level: capacity,
            excess: 0,
            filled_at: now,
        }
    }

    /// What one neighbour is sent of one kind. `link` is a 32nd of what the link can carry: the most for any kind but SOS,
    /// which may take eight times that.
    pub(super) fn outgoing(kind: GossipKind, rate: u32, link: u32, now: Instant) -> Self {
        let link = match kind {
            GossipKind::Sos => link.saturating_mul(8),
            GossipKind::Safety
            | GossipKind::MailOffer
            | GossipKind::MailAck
            | GossipKind::Prekeys
            | GossipKind::Heads
            | GossipKind::PublicRoom => link,
        };
        let rate = u64::from(share(kind, rate).min(link).max(1));
        // A whole item must fit, or it would wait for ever.
        Self::new(rate, rate.saturating_mul(BURST_SECONDS).max(2_048), now)
    }

    /// What one neighbour may send of one kind: more than any honest one sends, also when its messages bunch up.
    pub(super) fn incoming(kind: GossipKind, rate: u32, now: Instant) -> Self {
        let rate = u64::from(share(kind, rate));
        let burst = rate.saturating_mul(BURST_SECONDS).max(2_048);
        Self::new(rate.saturating_mul(5) / 4, burst.saturating_mul(2), now)
    }

    /// What one neighbour's digests and requests may cost.
    pub(super) fn ids(rate: u32, now: Instant) -> Self {
        let rate = u64::from(rate);
        Self::new(rate, rate.saturating_mul(BURST_SECONDS), now)
    }

    /// Spends this many bytes if they are there. A choked neighbour's bucket fills at a sixteenth of its rate.
    pub(super) fn spend(&mut self, bytes: usize, choked_until: Instant, now: Instant) -> bool {
        self.fill(choked_until, now);
        let cost = u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_mul(MILLI);
        if let Some(level) = self.level.checked_sub(cost) {
            self.level = level;
            return true;
        }
        self.excess = self.excess.saturating_add(cost);
        false
    }

    /// Whether so much was asked for in vain that no honest neighbour explains it.
    pub(super) fn is_abused(&self) -> bool {
        self.excess > self.capacity
    }

    /// Forgets what was asked for in vain.
    pub(super) fn forgive(&mut self) {
        self.excess = 0;
    }

    /// When this many bytes will be there.
    pub(super) fn ready_at(&self, bytes: usize) -> Instant {
        let cost = u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_mul(MILLI);
        let lacking = cost.saturating_sub(self.level);
        let micros = lacking.saturating_mul(MILLI).div_ceil(self.rate.max(1));
        self.filled_at + Duration::from_micros(micros)
    }

    fn fill(&mut self, choked_until: Instant, now: Instant) {
        let elapsed = u64::try_from(now.since(self.filled_at).as_micros()).unwrap_or(u64::MAX);
        let rate = if now < choked_until {
            self.rate / 16
        } else {
            self.rate
        };
        // Bytes per second times microseconds, over a thousand: thousandths of a byte.
        let gained = rate.saturating_mul(elapsed) / MILLI;
        if gained == 0 {
            return;
        }
        self.level = self.level.saturating_add(gained).min(self.capacity);
        self.excess = self.excess.saturating_sub(gained);
        self.filled_at = now;
    }
}

/// The bytes per second of one kind: the room and alarms may take the whole rate, the others half.
fn share(kind: GossipKind, rate: u32) -> u32 {
    match kind {
        GossipKind::Sos | GossipKind::Safety | GossipKind::PublicRoom => rate,
        GossipKind::MailOffer | GossipKind::MailAck | GossipKind::Prekeys | GossipKind::Heads => {
            rate / 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::ZERO;
        let mut bucket = Bucket::new(100, 1_000, start);
        assert!(bucket.spend(1_000, start, start));
        assert!(!bucket.spend(50, start, start));
        assert_eq!(bucket.ready_at(50), Instant::from_millis(500));
        assert!(bucket.spend(50, start, Instant::from_millis(500)));
        assert!(!bucket.spend(1, start, Instant::from_millis(500)));
    }

    #[test]
    fn a_choked_bucket_fills_at_a_sixteenth() {
        let start = Instant::ZERO;
        let mut bucket = Bucket::new(160, 1_000, start);
        assert!(bucket.spend(1_000, start, start));
        let later = Instant::from_millis(1_000);
        assert!(!bucket.spend(11, Instant::from_millis(9_000), later));
        assert!(bucket.spend(10, Instant::from_millis(9_000), later));
    }

    #[test]
    fn abuse_is_seen_only_after_a_whole_burst_in_vain() {
        let start = Instant::ZERO;
        let mut bucket = Bucket::new(100, 1_000, start);
        assert!(bucket.spend(1_000, start, start));
        assert!(!bucket.spend(1_000, start, start));
        assert!(!bucket.is_abused());
        assert!(!bucket.spend(1, start, start));
        assert!(bucket.is_abused());
    }
}
