//! Where to send next: routes to the nearest destinations, and a search for the others.
//!
//! [`Routes`] keeps a feasible distance vector (RFC 8966) over the links that are up. It differs from Babel in that the
//! control channel between neighbours is reliable and in order, so a full table passes once, when a link comes up, and
//! only changes pass later; in that destinations are rotating [`Tag`]s; and in that only the nearest destinations are
//! kept (the zone). Layouts, timers, limits, threats and the argument for freedom from loops: `docs/route.md`.
//!
//! Read [`Routes::next_hops`] first: it is what the layer above lives on.

mod advertise;
mod epoch;
mod interface;
mod neighbour;
mod receive;
mod search;
mod select;
mod table;
mod zone;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_crypto::{Rng, Seed, destination_tag};
use smartmesh_types::{Address, Duration, Instant, NeighbourId, Now, Tag};

use epoch::Epochs;
pub use interface::{
    DestinationInfo, NextHop, RouteConfig, RouteCounters, RouteInput, RouteOutput,
};
pub use neighbour::NEIGHBOURS_MAX;
use neighbour::{Budget, Neighbour, Neighbours};
use search::{FarSearch, SearchStep};
pub use search::{SearchId, SearchTarget};
pub use smartmesh_wire::route::SearchToken;
use table::{Best, Dest, Health, Selected};
use zone::Held;

/// The routes of one node.
#[derive(Debug)]
pub struct Routes {
    config: RouteConfig,
    own: Address,
    rng: Rng,
    now: Instant,
    started_at: Instant,
    epochs: Epochs,
    /// This node's tags of the previous, the current and the next epoch.
    own_tags: [Tag; 3],
    /// Raises of this node's own sequence number.
    raises: Budget,
    dests: BTreeMap<Tag, Dest>,
    held: Held,
    alarms: BTreeSet<(Instant, Tag)>,
    neighbours: Neighbours,
    changed: BTreeSet<Tag>,
    search: FarSearch,
    out: VecDeque<RouteOutput>,
    counters: RouteCounters,
}

/// Raises of the own sequence number at once and each second: each one costs the mesh one update per link.
const RAISES_BURST: u32 = 16;
const RAISES_PER_SECOND: u32 = 1;
/// Own sequence numbers start at wall time modulo 4,096 seconds: more than a tag's life, and two bytes on the air.
const SEQNO_START_MASK: u64 = 0xfff;

impl Routes {
    /// Routing that knows only itself.
    pub fn new(config: RouteConfig, own: Address, seed: &Seed, now: Now) -> Self {
        let epochs = Epochs::new(config.epoch_length, config.epoch_overlap, now);
        let seed = seed.split("route");
        let mut routes = Self {
            own,
            rng: seed.rng(),
            now: now.instant,
            started_at: now.instant,
            epochs,
            own_tags: [Tag([0; 8]); 3],
            raises: Budget::new(RAISES_BURST, RAISES_PER_SECOND, now.instant),
            dests: BTreeMap::new(),
            held: Held::default(),
            alarms: BTreeSet::new(),
            neighbours: Neighbours::default(),
            changed: BTreeSet::new(),
            search: FarSearch::new(seed.split("search").rng()),
            out: VecDeque::new(),
            counters: RouteCounters::default(),
            config,
        };
        routes.enter_epoch(now);
        routes.settle(now.instant);
        routes
    }

    /// Takes one input; never fails, what is bad is dropped and counted.
    pub fn handle(&mut self, input: RouteInput, now: Now) {
        let at = now.instant;
        self.now = at;
        match input {
            RouteInput::NeighbourUp { neighbour, metric } => self.handle_up(neighbour, metric, at),
            RouteInput::NeighbourDown { neighbour } => self.handle_down(neighbour, at),
            RouteInput::Suspect { neighbour } => self.set_health(neighbour, Health::Suspect, at),
            RouteInput::Recovered { neighbour } => self.set_health(neighbour, Health::Sound, at),
            RouteInput::Metric { neighbour, metric } => self.handle_metric(neighbour, metric, at),
            RouteInput::Undelivered { neighbour } => self.handle_undelivered(neighbour, at),
            RouteInput::Message { from, body } => self.handle_message(from, &body, now),
            RouteInput::Search {
                id,
                target,
                avoid,
                rings,
            } => self.start_search(id, target, avoid, rings, at),
            RouteInput::Tick => {}
        }
        self.handle_time(now);
        self.settle(at);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<RouteOutput> {
        self.out.pop_front()
    }

    /// When to call [`Self::handle`] next at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.out.is_empty() {
            return Some(self.now);
        }
        let alarm = self.alarms.first().map_or(Instant::NEVER, |(at, _)| *at);
        let neighbours = self
            .neighbours
            .iter()
            .map(|neighbour| self.neighbour_timeout(neighbour))
            .min()
            .unwrap_or(Instant::NEVER);
        let next = alarm
            .min(neighbours)
            .min(self.epochs.next_timeout())
            .min(self.search.next_timeout());
        (next != Instant::NEVER).then_some(next)
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &RouteCounters {
        &self.counters
    }

    /// The epoch of tags this node is in.
    pub fn epoch(&self) -> u64 {
        self.epochs.current
    }

    /// The tag to use for this address now: that of the current epoch, or that of the last one while only that one can be
    /// reached.
    pub fn tag_of(&self, address: Address) -> Tag {
        let current = destination_tag(address, self.epochs.current);
        let Some(previous) = self.epochs.previous else {
            return current;
        };
        if self.is_reachable(current) {
            return current;
        }
        let previous = destination_tag(address, previous);
        if self.is_reachable(previous) {
            previous
        } else {
            current
        }
    }

    /// Whether the tag is this node's own, of the previous, the current or the next epoch.
    pub fn is_own(&self, tag: Tag) -> bool {
        self.own_tags.contains(&tag)
    }

    /// All ways on to the destination, best first: over sound neighbours before suspect ones, feasible before unfeasible,
    /// then by metric. Any mixture of feasible ways taken by all nodes is free of loops; of the others nothing is known
    /// but that the neighbour's route does not begin at this node.
    pub fn next_hops(&self, tag: Tag) -> Vec<NextHop> {
        let Some(dest) = self.dests.get(&tag) else {
            return Vec::new();
        };
        let mut ways: Vec<_> = dest
            .offers
            .iter()
            .filter_map(|offer| {
                let neighbour = self.neighbours.at(offer.slot)?;
                let hop = NextHop {
                    neighbour: neighbour.id,
                    metric: offer.metric.saturating_add(neighbour.metric),
                    hops: offer.hops.saturating_add(1),
                    feasible: dest.is_feasible(offer),
                };
                let in_use = dest.selected.best == Best::Via(offer.slot);
                let rank = (neighbour.health, !hop.feasible, hop.metric, !in_use);
                (hop.metric != table::INFINITY).then_some((rank, hop))
            })
            .collect();
        ways.sort_by_key(|(rank, hop)| (*rank, hop.neighbour));
        ways.into_iter().map(|(_, hop)| hop).collect()
    }

    /// The next hop along the path that a search left behind, on the node that searched and on each relay; `None` if the
    /// path ends here (see [`Self::is_search_end`]) or is unknown or older than 60 seconds.
    pub fn search_hop(&self, token: SearchToken) -> Option<NeighbourId> {
        self.search.hop(token, self.now)
    }

    /// Whether this node gave the answer to this search: from here on, its own [`Self::next_hops`] lead to the target, or
    /// it is the target.
    pub fn is_search_end(&self, token: SearchToken) -> bool {
        self.search.is_end(token, self.now)
    }

    /// The destinations that can be reached, this node itself not among them.
    pub fn destinations(&self) -> impl Iterator<Item = DestinationInfo> {
        self.dests
            .iter()
            .filter(|(_, dest)| matches!(dest.selected.best, Best::Via(_)))
            .map(|(tag, dest)| DestinationInfo {
                tag: *tag,
                hops: dest.selected.hops,
                metric: dest.selected.metric,
                heard_at: dest.heard_at,
            })
    }

    /// The tag that the neighbour itself goes by, once it has told.
    pub fn tag_of_neighbour(&self, neighbour: NeighbourId) -> Option<Tag> {
        let slot = self.neighbours.slot(neighbour)?;
        self.dests
            .iter()
            .filter_map(|(tag, dest)| {
                let offer = dest.offer(slot).filter(|offer| offer.hops == 0)?;
                Some((dest.heard_at, offer.seqno, *tag))
            })
            .max()
            .map(|(_, _, tag)| tag)
    }

    fn is_reachable(&self, tag: Tag) -> bool {
        self.dests
            .get(&tag)
            .is_some_and(|dest| dest.selected.best != Best::Nowhere)
    }

    fn handle_up(&mut self, id: NeighbourId, metric: u32, now: Instant) {
        self.handle_down(id, now);
        // Spread over a quarter of the period, so that not all links compare at once.
        let spread = u64::try_from(self.config.digest_every.as_micros()).unwrap_or(0);
        let jitter = Duration::from_micros(self.rng.below(spread / 4));
        let mut neighbour =
            Neighbour::new(id, metric, now + self.config.digest_every + jitter, now);
        neighbour.full_due = true;
        neighbour.flush_at = now;
        if self.neighbours.insert(neighbour).is_none() {
            self.counters.refused_neighbours = self.counters.refused_neighbours.saturating_add(1);
        }
    }

    fn handle_down(&mut self, id: NeighbourId, now: Instant) {
        let Some(slot) = self.neighbours.remove(id) else {
            return;
        };
        self.search.handle_down(id);
        let mask = !neighbour::bit(slot);
        let mut lost = Vec::new();
        for (tag, dest) in &mut self.dests {
            dest.holds &= mask;
            dest.dirty &= mask;
            if dest.remove_offer(slot) {
                lost.push(*tag);
            }
        }
        for tag in lost {
            self.review(tag, now);
            self.bury(tag, now);
        }
    }

    fn set_health(&mut self, id: NeighbourId, health: Health, now: Instant) {
        let Some(slot) = self.neighbours.slot(id) else {
            return;
        };
        if let Some(neighbour) = self.neighbours.at_mut(slot) {
            neighbour.health = health;
        }
        self.review_slot(slot, now);
    }

    fn handle_metric(&mut self, id: NeighbourId, metric: u32, now: Instant) {
        let slot = self.neighbours.slot(id);
        if let Some(neighbour) = slot.and_then(|slot| self.neighbours.at_mut(slot)) {
            neighbour.wanted_metric = metric.max(1);
        }
        self.apply_metrics(now);
    }

    /// Takes over the measured costs that are due.
    fn apply_metrics(&mut self, now: Instant) {
        let damping = self.config.metric_damping;
        for slot in neighbour::slots_of(self.neighbours.up()) {
            let Some(neighbour) = self.neighbours.at_mut(slot) else {
                continue;
            };
            if neighbour.metric_due(damping) > now {
                continue;
            }
            neighbour.metric = neighbour.wanted_metric;
            neighbour.metric_at = now;
            self.review_slot(slot, now);
        }
    }

    fn handle_undelivered(&mut self, id: NeighbourId, now: Instant) {
        let slot = self.neighbours.slot(id);
        if let Some(neighbour) = slot.and_then(|slot| self.neighbours.at_mut(slot)) {
            neighbour.full_due = true;
            neighbour.epoch = 0;
            neighbour.flush_at = neighbour.flush_at.max(now + RETRY_AFTER_REFUSAL);
            if neighbour.flush_at == Instant::NEVER {
                neighbour.flush_at = now + RETRY_AFTER_REFUSAL;
            }
        }
    }

    /// Everything that is due by time alone.
    fn handle_time(&mut self, now: Now) {
        let at = now.instant;
        if self.epochs.handle_time(at) {
            self.enter_epoch(now);
        }
        if self.epochs.end_overlap(at) {
            self.forget_outdated();
            self.relax_zone(at);
        }
        self.apply_metrics(at);
        while let Some((due, tag)) = self.alarms.first().copied() {
            if due > at {
                break;
            }
            self.handle_alarm(tag, at);
        }
        self.handle_search_time(at);
    }

    /// Sends what is due and tells what changed: the end of each input.
    fn settle(&mut self, now: Instant) {
        for slot in neighbour::slots_of(self.neighbours.up()) {
            let due = self
                .neighbours
                .at(slot)
                .is_some_and(|neighbour| neighbour.flush_at.min(neighbour.digest_at) <= now);
            if due {
                self.flush(slot, now);
            }
        }
        while let Some(step) = self.search.poll_step() {
            self.carry_out(step);
        }
        for tag in std::mem::take(&mut self.changed) {
            self.out.push_back(RouteOutput::Changed { tag });
        }
    }

    fn neighbour_timeout(&self, neighbour: &Neighbour) -> Instant {
        neighbour
            .flush_at
            .min(neighbour.digest_at)
            .min(neighbour.metric_due(self.config.metric_damping))
    }

    /// Puts this node's tag of the current epoch into the table and tells everybody.
    fn enter_epoch(&mut self, now: Now) {
        let (current, previous) = (self.epochs.current, self.epochs.previous);
        let next = current.saturating_add(1);
        self.own_tags = [previous.unwrap_or(current), current, next]
            .map(|epoch| destination_tag(self.own, epoch));
        self.forget_outdated();
        let [_, tag, _] = self.own_tags;
        let dest = self.dests.entry(tag).or_insert_with(|| Dest::new(None));
        dest.offers.clear();
        dest.epoch = current;
        // Wall time moves on between two starts, so that a node that restarts within an epoch is not mistaken for its
        // own past; if the clock went back, neighbours ask for a newer number.
        dest.selected = Selected {
            metric: 0,
            seqno: u32::try_from(now.unix.as_secs() & SEQNO_START_MASK).unwrap_or(0),
            hops: 0,
            best: Best::Here,
        };
        let at = self.batched(current, now.instant);
        self.mark(tag, self.neighbours.up(), at);
        for neighbour in self.neighbours.iter_mut() {
            if neighbour.epoch < current {
                neighbour.flush_at = now.instant;
            }
        }
        self.out.push_back(RouteOutput::Epoch { epoch: current });
    }

    /// Forgets the tags of ended epochs, own ones and others'. Nobody is told: each node does so by itself.
    fn forget_outdated(&mut self) {
        let Epochs {
            current, previous, ..
        } = self.epochs;
        let outdated: Vec<_> = self
            .dests
            .iter()
            .filter(|(_, dest)| dest.epoch < current && Some(dest.epoch) != previous)
            .map(|(tag, _)| *tag)
            .collect();
        for tag in outdated {
            self.set_alarm(tag, Instant::NEVER);
            self.dests.remove(&tag);
            self.changed.insert(tag);
        }
    }

    fn start_search(
        &mut self,
        id: SearchId,
        target: SearchTarget,
        avoid: Vec<NeighbourId>,
        rings: u8,
        now: Instant,
    ) {
        let (tag, avoid) = match target {
            SearchTarget::Node(address) => (Some(self.tag_of(address)), avoid),
            SearchTarget::Neighbour(neighbour) => {
                let tag = self.tag_of_neighbour(neighbour);
                (tag, avoid.into_iter().chain([neighbour]).collect())
            }
        };
        let known = tag
            .filter(|_| avoid.is_empty())
            .and_then(|tag| self.reach(tag, None));
        let links = self.search_links();
        self.search.start(id, tag, known, avoid, rings, &links, now);
    }

    fn handle_search_time(&mut self, now: Instant) {
        if self.search.next_timeout() <= now {
            let links = self.search_links();
            self.search.handle_time(&links, now);
        }
    }

    fn carry_out(&mut self, step: SearchStep) {
        match step {
            SearchStep::Send { to, section } => self.send(to, &[section]),
            SearchStep::Event(event) => self.out.push_back(event),
            SearchStep::DroppedSearch => {
                self.counters.dropped_searches = self.counters.dropped_searches.saturating_add(1);
            }
            SearchStep::DroppedAnswer => {
                self.counters.dropped_answers = self.counters.dropped_answers.saturating_add(1);
            }
        }
    }
}

/// How long a neighbour whose control queue was full is left alone.
const RETRY_AFTER_REFUSAL: Duration = Duration::from_millis(200);
