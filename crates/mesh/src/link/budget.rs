//! Who may use how much: token buckets, and fair shares of a radio between neighbours.

use smartmesh_types::Instant;

/// Tokens that refill at a steady rate up to a burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Millionths of a token.
    level: u64,
    per_second: u64,
    burst: u64,
    at: Instant,
}

const MICRO: u64 = 1_000_000;

impl Bucket {
    /// A full bucket.
    pub(super) fn new(per_second: u64, burst: u64, now: Instant) -> Self {
        Self {
            level: burst.saturating_mul(MICRO),
            per_second,
            burst,
            at: now,
        }
    }

    /// Takes this many tokens, or none if there are not enough.
    pub(super) fn take(&mut self, tokens: u64, now: Instant) -> bool {
        let elapsed = now.as_micros().saturating_sub(self.at.as_micros());
        let fresh = elapsed.saturating_mul(self.per_second);
        self.level = self
            .level
            .saturating_add(fresh)
            .min(self.burst.saturating_mul(MICRO));
        self.at = self.at.max(now);
        match self.level.checked_sub(tokens.saturating_mul(MICRO)) {
            Some(left) => {
                self.level = left;
                true
            }
            None => false,
        }
    }
}

/// Whose data a radio's time goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A contact that has proven its key.
    Contact,
    /// Anybody else.
    Stranger,
}

/// Length of the windows in which shares are counted, in microseconds: short beside what a person notices, long beside a
/// burst of one train.
const WINDOW_MICROS: u64 = 50_000;

/// What one neighbour has used of the running window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    window: u64,
    bytes: u64,
}

/// Divides what one radio may relay in each window: who stays within an equal part always gets it; what others leave over
/// goes to whoever asks first.
#[derive(Clone, Copy, Debug)]
pub(super) struct FairShare {
    budget: u64,
    window: u64,
    used: u64,
    contacts: u64,
    strangers: u64,
    contacts_before: u64,
    strangers_before: u64,
}

impl FairShare {
    /// Shares of `bytes_per_second`.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self {
            budget: bytes_per_second.saturating_mul(WINDOW_MICROS) / MICRO,
            window: 0,
            used: 0,
            contacts: 0,
            strangers: 0,
            contacts_before: 0,
            strangers_before: 0,
        }
    }

    /// Whether this neighbour's bytes may go on.
    pub(super) fn admit(
        &mut self,
        share: &mut Share,
        standing: Standing,
        bytes: u64,
        now: Instant,
    ) -> bool {
        let window = now.as_micros() / WINDOW_MICROS;
        if window != self.window {
            let adjacent = window == self.window.saturating_add(1);
            self.contacts_before = if adjacent { self.contacts } else { 0 };
            self.strangers_before = if adjacent { self.strangers } else { 0 };
            (self.window, self.used, self.contacts, self.strangers) = (window, 0, 0, 0);
        }
        if share.window != window || share.bytes == 0 {
            *share = Share { window, bytes: 0 };
            match standing {
                Standing::Contact => self.contacts = self.contacts.saturating_add(1),
                Standing::Stranger => self.strangers = self.strangers.saturating_add(1),
            }
        }
        share.bytes = share.bytes.saturating_add(bytes);
        let within_left_over = self.used.saturating_add(bytes) <= self.budget.saturating_mul(3) / 4;
        if within_left_over || share.bytes <= self.guaranteed(standing) {
            self.used = self.used.saturating_add(bytes);
            true
        } else {
            false
        }
    }

    /// Bytes a window that each neighbour of this standing always gets. Strangers together count as one contact more than
    /// there are, so that however many of them come, contacts keep half.
    fn guaranteed(&self, standing: Standing) -> u64 {
        let contacts = self.contacts.max(self.contacts_before);
        let strangers = self.strangers.max(self.strangers_before);
        let part = match (standing, contacts, strangers) {
            (Standing::Contact, _, 0) => contacts,
            (Standing::Contact, _, _) => contacts.saturating_mul(2),
            (Standing::Stranger, 0, _) => strangers,
            (Standing::Stranger, _, _) => strangers.saturating_mul(2),
        };
        // Somebody alone on the radio has nobody to be fair to.
        if contacts.saturating_add(strangers) <= 1 {
            return u64::MAX;
        }
        self.budget.checked_div(part).unwrap_or(self.budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = Bucket::new(10, 5, Instant::ZERO);
        assert_eq!((0..9).filter(|_| bucket.take(1, Instant::ZERO)).count(), 5);
        assert!(!bucket.take(1, Instant::from_millis(99)));
        assert!(bucket.take(1, Instant::from_millis(100)));
        assert!(!bucket.take(6, Instant::from_millis(60_000)));
    }

    #[test]
    fn a_flooder_gets_what_others_leave_and_they_lose_nothing() {
        let mut fair = FairShare::new(1_000_000);
        let (mut honest, mut flooder) = (Share::default(), Share::default());
        let (mut honest_through, mut flood_through) = (0, 0);
        for step in 0..1_000_u64 {
            let now = Instant::from_millis(step);
            for _ in 0..100 {
                flood_through +=
                    u64::from(fair.admit(&mut flooder, Standing::Stranger, 1_000, now));
            }
            honest_through += u64::from(fair.admit(&mut honest, Standing::Stranger, 400, now));
        }
        assert_eq!(honest_through, 1_000);
        assert!(
            (500..=850).contains(&flood_through),
            "{flood_through} kB of 1,000 a second"
        );
    }

    #[test]
    fn one_neighbour_alone_is_not_limited() {
        let mut fair = FairShare::new(1_000);
        let mut share = Share::default();
        assert!((0..1_000).all(|_| fair.admit(
            &mut share,
            Standing::Stranger,
            1_000,
            Instant::ZERO
        )));
    }
}
