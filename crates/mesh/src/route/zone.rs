//! Which destinations are kept when there are more than the zone holds.

use std::collections::{BTreeMap, VecDeque};

use smartmesh_types::{Instant, Tag};

use super::Routes;
use super::epoch::Epochs;
use super::neighbour::{Neighbour, slots_of};
use super::table::{Best, Dest, Distance, INFINITY, Slot};

/// The slack around the zone's size, as its divisor: destinations are dropped at an eighth above it and taken without
/// question at an eighth below, so that nothing flaps at the border.
const SLACK_DIVISOR: usize = 8;
/// Distances of lost destinations remembered; 4 zones. The oldest go first.
const HELD_MAX: usize = 1_024;

/// Feasibility distances of lost destinations (RFC 8966 §3.5.1 keeps its source table in the same way).
#[derive(Debug, Default)]
pub(super) struct Held {
    distances: BTreeMap<Tag, (Distance, Instant)>,
    order: VecDeque<(Instant, Tag)>,
}

impl Held {
    pub(super) fn put(&mut self, tag: Tag, distance: Distance, until: Instant, now: Instant) {
        self.distances.insert(tag, (distance, until));
        self.order.push_back((until, tag));
        while let Some((until, tag)) = self.order.front().copied() {
            if until > now && self.order.len() <= HELD_MAX {
                break;
            }
            self.order.pop_front();
            if self.distances.get(&tag).is_some_and(|(_, at)| *at == until) {
                self.distances.remove(&tag);
            }
        }
    }

    /// Takes out the distance of a destination that is back.
    pub(super) fn take(&mut self, tag: Tag, now: Instant) -> Option<Distance> {
        let (distance, until) = self.distances.remove(&tag)?;
        (until > now).then_some(distance)
    }
}

impl Routes {
    /// Destinations kept; twice as many while each node goes by two tags.
    fn zone_size(&self) -> usize {
        match self.epochs.previous {
            Some(_) => self.config.zone_destinations.saturating_mul(2),
            None => self.config.zone_destinations,
        }
    }

    fn zone_low(&self) -> usize {
        let size = self.zone_size();
        size.saturating_sub(size / SLACK_DIVISOR)
    }

    /// Whether a new destination at this metric through this neighbour may enter the table.
    pub(super) fn admit(&mut self, slot: Slot, metric: u32, now: Instant) -> bool {
        let crowded = self.dests.len() >= self.zone_low();
        let Epochs {
            current, previous, ..
        } = self.epochs;
        let Some(neighbour) = self.neighbours.at_mut(slot) else {
            return false;
        };
        if neighbour.epoch < current && Some(neighbour.epoch) != previous {
            neighbour.partial = true;
            self.counters.dropped_outdated = self.counters.dropped_outdated.saturating_add(1);
            return false;
        }
        if crowded && metric >= neighbour.horizon {
            neighbour.partial = true;
            let dropped = &mut self.counters.dropped_beyond_zone;
            *dropped = dropped.saturating_add(1);
            return false;
        }
        if !neighbour.admissions.take(now) {
            neighbour.partial = true;
            neighbour.resync_due = true;
            neighbour.resync_from = neighbour
                .resync_from
                .max(now + super::receive::RESYNC_EVERY);
            neighbour.flush_at = neighbour.flush_at.min(neighbour.resync_from);
            let dropped = &mut self.counters.dropped_admission_budget;
            *dropped = dropped.saturating_add(1);
            return false;
        }
        true
    }

    /// Brings a table that has grown beyond the slack back to the zone's size.
    ///
    /// If more than half of it is vouched for by one neighbour alone, that neighbour's farthest go; otherwise the farthest
    /// of all go, except those that are among the few nearest through their neighbour.
    pub(super) fn trim(&mut self, now: Instant) {
        let size = self.zone_size();
        let limit = size.saturating_add(size / SLACK_DIVISOR);
        if self.dests.len() <= limit {
            return;
        }
        let mut census = Census::take(&self.dests);
        let half = size / 2;
        let guaranteed = half.checked_div(self.neighbours.len()).unwrap_or(0);
        for _ in size..self.dests.len() {
            let Some((metric, tag, owner)) = census.pop_victim(half, guaranteed) else {
                break;
            };
            self.lower_horizon(metric, owner);
            self.evict(tag, now);
        }
    }

    fn lower_horizon(&mut self, metric: u32, owner: Option<Slot>) {
        match owner {
            Some(slot) => {
                if let Some(neighbour) = self.neighbours.at_mut(slot) {
                    neighbour.horizon = neighbour.horizon.min(metric);
                }
            }
            None => {
                for neighbour in self.neighbours.iter_mut() {
                    neighbour.horizon = neighbour.horizon.min(metric);
                }
            }
        }
    }

    fn evict(&mut self, tag: Tag, now: Instant) {
        let Some(dest) = self.dests.get_mut(&tag) else {
            return;
        };
        let offered = std::mem::take(&mut dest.offers);
        for offer in offered {
            if let Some(neighbour) = self.neighbours.at_mut(offer.slot) {
                neighbour.partial = true;
            }
        }
        self.counters.evicted = self.counters.evicted.saturating_add(1);
        self.review(tag, now);
        self.bury(tag, now);
    }

    /// Opens the zone again when it has emptied, and asks for what was refused.
    pub(super) fn relax_zone(&mut self, now: Instant) {
        if self.dests.len() >= self.zone_low() {
            return;
        }
        for slot in slots_of(self.neighbours.up()) {
            if let Some(neighbour) = self.neighbours.at_mut(slot) {
                relax(neighbour, now);
            }
        }
    }
}

fn relax(neighbour: &mut Neighbour, now: Instant) {
    if neighbour.horizon == INFINITY {
        return;
    }
    neighbour.horizon = INFINITY;
    if neighbour.partial {
        neighbour.resync_due = true;
        neighbour.flush_at = neighbour.flush_at.min(neighbour.resync_from.max(now));
    }
}

/// Who vouches for what, farthest last.
struct Census {
    /// All destinations by metric.
    all: Vec<(u32, Tag, Slot)>,
    /// Destinations that one neighbour alone vouches for.
    sole: BTreeMap<Slot, Vec<(u32, Tag)>>,
    /// Destinations routed over each neighbour.
    routed: BTreeMap<Slot, usize>,
    gone: std::collections::BTreeSet<Tag>,
}

impl Census {
    fn take(dests: &BTreeMap<Tag, Dest>) -> Self {
        let mut census = Self {
            all: Vec::with_capacity(dests.len()),
            sole: BTreeMap::new(),
            routed: BTreeMap::new(),
            gone: std::collections::BTreeSet::new(),
        };
        for (tag, dest) in dests {
            let owner = match (dest.selected.best, dest.offers.as_slice()) {
                (Best::Here, _) | (_, []) => continue,
                (Best::Via(slot), [_, ..]) => slot,
                (Best::Nowhere, [first, ..]) => first.slot,
            };
            let metric = dest.selected.metric;
            census.all.push((metric, *tag, owner));
            let routed = census.routed.entry(owner).or_default();
            *routed = routed.saturating_add(1);
            if dest.offers.len() == 1 {
                census.sole.entry(owner).or_default().push((metric, *tag));
            }
        }
        census.all.sort_unstable();
        census
            .sole
            .values_mut()
            .for_each(|sole| sole.sort_unstable());
        census
    }

    /// The next to go, and the neighbour whose share it was too much for, if it was for that.
    fn pop_victim(&mut self, half: usize, guaranteed: usize) -> Option<(u32, Tag, Option<Slot>)> {
        let largest = self
            .sole
            .iter_mut()
            .max_by_key(|(_, sole)| sole.len())
            .filter(|(_, sole)| sole.len() > half);
        if let Some((slot, sole)) = largest {
            let (metric, tag) = sole.pop()?;
            self.gone.insert(tag);
            let routed = self.routed.entry(*slot).or_default();
            *routed = routed.saturating_sub(1);
            return Some((metric, tag, Some(*slot)));
        }
        let (gone, routed) = (&self.gone, &self.routed);
        let place = self.all.iter().rposition(|(_, tag, owner)| {
            !gone.contains(tag) && routed.get(owner).is_some_and(|count| *count > guaranteed)
        })?;
        let (metric, tag, owner) = self.all.remove(place);
        self.gone.insert(tag);
        if let Some(sole) = self.sole.get_mut(&owner) {
            sole.retain(|(_, other)| *other != tag);
        }
        let routed = self.routed.entry(owner).or_default();
        *routed = routed.saturating_sub(1);
        Some((metric, tag, None))
    }
}
