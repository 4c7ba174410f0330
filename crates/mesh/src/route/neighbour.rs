//! What is known of one neighbour, and what it may still ask of this node.

use std::collections::{BTreeMap, BTreeSet};

use smartmesh_types::{Duration, Instant, NeighbourId, Tag};
use smartmesh_wire::route::SeqnoRequest;

use super::table::{Health, INFINITY, LinkCost, Slot};

/// A token bucket: at most `burst` at once and `per_second` in the long run.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    micro_tokens: u64,
    burst: u32,
    per_second: u32,
    filled_at: Instant,
}

/// One token in the bucket's fine unit; a rate of one a second then adds one unit each microsecond.
const MICRO: u64 = 1_000_000;

impl Budget {
    pub(super) fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self {
            micro_tokens: u64::from(burst).saturating_mul(MICRO),
            burst,
            per_second,
            filled_at: now,
        }
    }

    /// Takes one token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let waited = u64::try_from(now.since(self.filled_at).as_micros()).unwrap_or(u64::MAX);
        self.filled_at = now.max(self.filled_at);
        let full = u64::from(self.burst).saturating_mul(MICRO);
        self.micro_tokens = waited
            .saturating_mul(u64::from(self.per_second))
            .saturating_add(self.micro_tokens)
            .min(full);
        match self.micro_tokens.checked_sub(MICRO) {
            Some(left) => {
                self.micro_tokens = left;
                true
            }
            None => false,
        }
    }
}

/// One neighbour that is up.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) id: NeighbourId,
    /// Link cost in use, in microseconds, at least 1.
    pub(super) metric: u32,
    /// Link cost last measured, not yet taken over.
    pub(super) wanted_metric: u32,
    /// When the cost in use was taken over.
    pub(super) metric_at: Instant,
    pub(super) health: Health,
    /// Destinations to tell it of; each has its dirty bit set.
    pub(super) pending: Vec<Tag>,
    /// Requests to send to it.
    pub(super) requests: Vec<SeqnoRequest>,
    /// When to send what is pending; [`Instant::NEVER`] if nothing is.
    pub(super) flush_at: Instant,
    /// The next message begins a full table.
    pub(super) full_due: bool,
    /// The next message asks for a full table.
    pub(super) resync_due: bool,
    /// When a full table may next be asked of it.
    pub(super) resync_from: Instant,
    /// When a full table may next be sent on its demand.
    pub(super) full_from: Instant,
    /// When the next digest is due.
    pub(super) digest_at: Instant,
    /// Something it advertised was not taken in, so that its digest cannot match.
    pub(super) partial: bool,
    /// New destinations through it at this metric or beyond are refused while the zone is nearly full.
    pub(super) horizon: u32,
    /// While it sends a full table: what it advertised before and has not repeated yet.
    pub(super) stale: Option<BTreeSet<Tag>>,
    /// The epoch it is known to know.
    pub(super) epoch: u64,
    pub(super) updates: Budget,
    pub(super) admissions: Budget,
    pub(super) asks: Budget,
}

/// Changes of routes taken from one neighbour: a zone of 256 may change 16 times at once, and then each second.
const UPDATES_BURST: u32 = 4_096;
const UPDATES_PER_SECOND: u32 = 256;
/// New destinations taken from one neighbour: two full zones at once (old and new tags of an epoch); a flooder's stream
/// of invented ones then costs its neighbours at most 64 updates and retractions a second.
const ADMISSIONS_BURST: u32 = 1_024;
const ADMISSIONS_PER_SECOND: u32 = 64;
/// Requests taken from one neighbour: a broken link may starve a zone at once; each can cost the mesh one update wave.
const ASKS_BURST: u32 = 512;
const ASKS_PER_SECOND: u32 = 32;

impl Neighbour {
    pub(super) fn new(id: NeighbourId, metric: u32, digest_at: Instant, now: Instant) -> Self {
        Self {
            id,
            metric: metric.max(1),
            wanted_metric: metric.max(1),
            metric_at: now,
            health: Health::Sound,
            pending: Vec::new(),
            requests: Vec::new(),
            flush_at: Instant::NEVER,
            full_due: false,
            resync_due: false,
            resync_from: now,
            full_from: now,
            digest_at,
            partial: false,
            horizon: INFINITY,
            stale: None,
            epoch: 0,
            updates: Budget::new(UPDATES_BURST, UPDATES_PER_SECOND, now),
            admissions: Budget::new(ADMISSIONS_BURST, ADMISSIONS_PER_SECOND, now),
            asks: Budget::new(ASKS_BURST, ASKS_PER_SECOND, now),
        }
    }

    pub(super) fn cost(&self) -> LinkCost {
        LinkCost {
            metric: self.metric,
            health: self.health,
        }
    }

    /// When the measured cost may be taken over: [`Instant::NEVER`] if it differs by less than a quarter, at once if it
    /// more than doubled, else so long after the last change.
    pub(super) fn metric_due(&self, damping: Duration) -> Instant {
        let (used, wanted) = (self.metric, self.wanted_metric);
        if wanted > used.saturating_mul(2) {
            Instant::ZERO
        } else if used.abs_diff(wanted) > used / 4 {
            self.metric_at + damping
        } else {
            Instant::NEVER
        }
    }
}

/// Most neighbours routed over at once: one bit each in a destination's masks. The link layer keeps 6 to 8 per radio.
pub const NEIGHBOURS_MAX: usize = 64;

/// All neighbours that are up, by slot and by id.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    slots: Vec<Option<Neighbour>>,
    by_id: BTreeMap<NeighbourId, Slot>,
    up: u64,
}

/// The mask with only this slot's bit.
pub(super) fn bit(slot: Slot) -> u64 {
    1_u64.wrapping_shl(u32::from(slot))
}

/// The slots whose bits are set, lowest first.
pub(super) fn slots_of(mut mask: u64) -> impl Iterator<Item = Slot> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let slot = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        Slot::try_from(slot).ok()
    })
}

impl Neighbours {
    /// Gives the neighbour the lowest free slot, or `None` if all are taken.
    pub(super) fn insert(&mut self, neighbour: Neighbour) -> Option<Slot> {
        let free = self
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.slots.len());
        let slot = Slot::try_from(free)
            .ok()
            .filter(|_| free < NEIGHBOURS_MAX)?;
        self.by_id.insert(neighbour.id, slot);
        self.up |= bit(slot);
        match self.slots.get_mut(free) {
            Some(place) => *place = Some(neighbour),
            None => self.slots.push(Some(neighbour)),
        }
        Some(slot)
    }

    pub(super) fn remove(&mut self, id: NeighbourId) -> Option<Slot> {
        let slot = self.by_id.remove(&id)?;
        self.up &= !bit(slot);
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = None;
        }
        Some(slot)
    }

    pub(super) fn slot(&self, id: NeighbourId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn at(&self, slot: Slot) -> Option<&Neighbour> {
        self.slots.get(usize::from(slot))?.as_ref()
    }

    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Neighbour> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    pub(super) fn cost(&self, slot: Slot) -> Option<LinkCost> {
        self.at(slot).map(Neighbour::cost)
    }

    /// The bits of all slots in use.
    pub(super) fn up(&self) -> u64 {
        self.up
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.slots.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Neighbour> {
        self.slots.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_its_burst_and_then_its_rate() {
        let start = Instant::from_millis(5);
        let mut budget = Budget::new(10, 4, start);
        assert_eq!((0..100).filter(|_| budget.take(start)).count(), 10);
        let later = start + Duration::from_millis(1_500);
        assert_eq!((0..100).filter(|_| budget.take(later)).count(), 6);
        assert_eq!((0..100).filter(|_| budget.take(Instant::NEVER)).count(), 10);
    }

    #[test]
    fn small_changes_of_a_link_are_not_taken_over() {
        let now = Instant::from_millis(100);
        let mut neighbour = Neighbour::new(NeighbourId(1), 1_000, Instant::NEVER, now);
        let damping = Duration::from_secs(5);
        for (wanted, due) in [
            (1_200, Instant::NEVER),
            (800, Instant::NEVER),
            (1_500, now + damping),
            (400, now + damping),
            (2_500, Instant::ZERO),
        ] {
            neighbour.wanted_metric = wanted;
            assert_eq!(neighbour.metric_due(damping), due, "{wanted}");
        }
    }
}
