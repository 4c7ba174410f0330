//! What neighbours say.

use std::collections::BTreeSet;

use smartmesh_types::{Duration, Instant, NeighbourId, Now, Tag};
use smartmesh_wire::route::{
    Answerer, RouteSection, SearchQuery, SeqnoRequest, Update, decode_route_body,
};

use super::Routes;
use super::neighbour::bit;
use super::search::{Link, Reach};
use super::table::{Best, Dest, Health, INFINITY, Offer, SEQNO_LEAP, Slot, is_newer};

/// The same request is passed on once within this time; what was lost is repeated later than that.
const REQUEST_QUIET: Duration = Duration::from_millis(20);
/// Full tables are asked of one neighbour, or sent to it on demand, this often at most.
pub(super) const RESYNC_EVERY: Duration = Duration::from_secs(10);

impl Routes {
    pub(super) fn handle_message(&mut self, from: NeighbourId, body: &[u8], now: Now) {
        let Some(slot) = self.neighbours.slot(from) else {
            let dropped = &mut self.counters.dropped_unknown_neighbour;
            *dropped = dropped.saturating_add(1);
            return;
        };
        let body = match decode_route_body(body) {
            Ok(body) => body,
            Err(error) => {
                tracing::debug!(?from, %error, "route message dropped");
                self.counters.dropped_malformed = self.counters.dropped_malformed.saturating_add(1);
                return;
            }
        };
        let skipped = u64::try_from(body.skipped).unwrap_or(u64::MAX);
        self.counters.messages_received = self.counters.messages_received.saturating_add(1);
        self.counters.dropped_unknown_sections = self
            .counters
            .dropped_unknown_sections
            .saturating_add(skipped);
        for section in body.sections {
            self.handle_section(slot, from, section, now);
        }
    }

    fn handle_section(&mut self, slot: Slot, from: NeighbourId, section: RouteSection, now: Now) {
        let at = now.instant;
        match section {
            RouteSection::Epoch(epoch) => self.handle_epoch(slot, epoch, now),
            RouteSection::Updates(updates) => {
                for update in updates {
                    self.handle_update(slot, update, at);
                }
            }
            RouteSection::Retractions(tags) => {
                for tag in tags {
                    self.handle_retraction(slot, tag, at);
                }
            }
            RouteSection::Requests(requests) => {
                for request in requests {
                    self.handle_request(slot, request, at);
                }
            }
            RouteSection::Digest { digest, count } => self.handle_digest(slot, digest, count, at),
            RouteSection::Resync => self.handle_resync(slot, at),
            RouteSection::FullStart => self.handle_full_start(slot),
            RouteSection::FullEnd => self.handle_full_end(slot, at),
            RouteSection::Search(query) => self.handle_search(from, query, at),
            RouteSection::Answer(answer) => {
                let cost = self
                    .neighbours
                    .cost(slot)
                    .map_or(INFINITY, |link| link.metric);
                self.search.handle_answer(from, cost, answer, at);
            }
        }
    }

    fn handle_epoch(&mut self, slot: Slot, epoch: u64, now: Now) {
        if let Some(neighbour) = self.neighbours.at_mut(slot) {
            if neighbour.epoch < epoch && neighbour.partial {
                // Its tags may have been refused as outdated.
                neighbour.resync_due = true;
                neighbour.flush_at = neighbour
                    .resync_from
                    .max(now.instant)
                    .min(neighbour.flush_at);
            }
            neighbour.epoch = epoch;
            if epoch < self.epochs.current {
                neighbour.flush_at = now.instant;
            }
        }
        if self.epochs.handle_heard(epoch, now.instant) {
            self.enter_epoch(now);
        }
    }

    fn handle_update(&mut self, slot: Slot, update: Update, now: Instant) {
        let Some(neighbour) = self.neighbours.at_mut(slot) else {
            return;
        };
        if let Some(stale) = &mut neighbour.stale {
            stale.remove(&update.tag);
        }
        if !neighbour.updates.take(now) {
            // What is kept instead is older; the feasibility condition holds for it all the same.
            neighbour.partial = true;
            neighbour.resync_due = true;
            neighbour.resync_from = neighbour.resync_from.max(now + RESYNC_EVERY);
            neighbour.flush_at = neighbour.flush_at.min(neighbour.resync_from);
            let dropped = &mut self.counters.dropped_update_budget;
            *dropped = dropped.saturating_add(1);
            return;
        }
        let (metric, epoch) = (neighbour.metric, neighbour.epoch);
        if self.own_tags.contains(&update.tag) {
            self.handle_own_tag(slot, update, now);
            return;
        }
        if update.hops >= self.config.hops_max || update.metric == INFINITY {
            self.handle_retraction(slot, update.tag, now);
            return;
        }
        if !self.dests.contains_key(&update.tag) {
            let total = update.metric.saturating_add(metric);
            if !self.admit(slot, total, now) {
                return;
            }
            let mut dest = Dest::new(self.held.take(update.tag, now));
            dest.epoch = epoch;
            self.dests.insert(update.tag, dest);
        }
        self.take_offer(slot, update, now);
        self.trim(now);
    }

    fn take_offer(&mut self, slot: Slot, update: Update, now: Instant) {
        let Some(dest) = self.dests.get_mut(&update.tag) else {
            return;
        };
        dest.put_offer(Offer {
            metric: update.metric,
            seqno: update.seqno,
            slot,
            hops: update.hops,
        });
        dest.heard_at = now;
        // The neighbour turns out to be the destination: what it was told of itself is taken back.
        let told_of_itself = update.hops == 0 && dest.holds & bit(slot) != 0;
        self.counters.updates_received = self.counters.updates_received.saturating_add(1);
        if told_of_itself {
            self.mark(update.tag, bit(slot), now + self.config.batch);
        }
        self.review(update.tag, now);
    }

    /// A neighbour advertises this node's own tag. If with a newer number, then from before a restart: it is outdone.
    fn handle_own_tag(&mut self, slot: Slot, update: Update, now: Instant) {
        self.counters.dropped_own_tag = self.counters.dropped_own_tag.saturating_add(1);
        if let Some(neighbour) = self.neighbours.at_mut(slot) {
            neighbour.partial = true;
        }
        let newer = self
            .dests
            .get(&update.tag)
            .is_some_and(|dest| is_newer(update.seqno, dest.selected.seqno));
        if newer {
            self.raise(update.tag, update.seqno.saturating_add(1), now);
        }
    }

    /// Raises this node's own sequence number, as often as its budget allows and by no leap: one request must not use up
    /// what a tag's life has. Who needs more asks again.
    fn raise(&mut self, tag: Tag, seqno: u32, now: Instant) {
        let Some(dest) = self.dests.get_mut(&tag) else {
            return;
        };
        if dest.selected.best == Best::Here && self.raises.take(now) {
            let most = dest.selected.seqno.saturating_add(SEQNO_LEAP);
            dest.selected.seqno = seqno.min(most);
            self.mark(tag, self.neighbours.up(), now);
        }
    }

    pub(super) fn handle_retraction(&mut self, slot: Slot, tag: Tag, now: Instant) {
        if let Some(stale) = self.neighbours.at_mut(slot).and_then(|n| n.stale.as_mut()) {
            stale.remove(&tag);
        }
        let had = self
            .dests
            .get_mut(&tag)
            .is_some_and(|dest| dest.remove_offer(slot));
        if had {
            self.review(tag, now);
            self.bury(tag, now);
            self.relax_zone(now);
        }
    }

    /// RFC 8966 §3.8.1.2: raise if it is for this node, answer if the route here is as new, else pass it on.
    fn handle_request(&mut self, slot: Slot, request: SeqnoRequest, now: Instant) {
        let allowed = self
            .neighbours
            .at_mut(slot)
            .is_some_and(|neighbour| neighbour.asks.take(now));
        let known = self.dests.get_mut(&request.tag).filter(|_| allowed);
        let Some(dest) = known else {
            self.counters.dropped_requests = self.counters.dropped_requests.saturating_add(1);
            return;
        };
        match dest.selected.best {
            Best::Here if is_newer(request.seqno, dest.selected.seqno) => {
                self.raise(request.tag, request.seqno, now);
            }
            Best::Here => self.mark(request.tag, bit(slot), now),
            Best::Via(next) if !is_newer(request.seqno, dest.selected.seqno) => {
                if next != slot {
                    self.mark(request.tag, bit(slot), now);
                }
            }
            Best::Via(_) | Best::Nowhere => self.pass_on_request(slot, request, now),
        }
    }

    fn pass_on_request(&mut self, slot: Slot, request: SeqnoRequest, now: Instant) {
        let Some(dest) = self.dests.get(&request.tag) else {
            return;
        };
        let repeated = dest
            .asked
            .is_some_and(|asked| !is_newer(request.seqno, asked))
            && now < dest.asked_at + REQUEST_QUIET;
        let next = match dest.selected.best {
            Best::Via(next) if next != slot => Some(next),
            Best::Via(_) | Best::Nowhere | Best::Here => self.nearest_other(dest, slot),
        };
        let hops = request.hops.saturating_add(1);
        match next {
            Some(next) if !repeated && hops <= self.config.hops_max => {
                self.ask(next, SeqnoRequest { hops, ..request }, now);
            }
            Some(_) | None => {
                self.counters.dropped_requests = self.counters.dropped_requests.saturating_add(1);
            }
        }
    }

    /// The sound neighbour with the smallest metric, feasible or not, other than the one that asks.
    fn nearest_other(&self, dest: &Dest, asking: Slot) -> Option<Slot> {
        dest.offers
            .iter()
            .filter(|offer| offer.slot != asking)
            .filter_map(|offer| {
                let link = self.neighbours.cost(offer.slot)?;
                (link.health == Health::Sound)
                    .then(|| (offer.metric.saturating_add(link.metric), offer.slot))
            })
            .min()
            .map(|(_, slot)| slot)
    }

    fn handle_digest(&mut self, slot: Slot, digest: u32, count: u16, now: Instant) {
        let held = self.digest_held(slot);
        let Some(neighbour) = self.neighbours.at_mut(slot) else {
            return;
        };
        if neighbour.partial || held == (digest, count) {
            return;
        }
        neighbour.resync_due = true;
        neighbour.flush_at = neighbour.flush_at.min(neighbour.resync_from.max(now));
        self.counters.digest_mismatches = self.counters.digest_mismatches.saturating_add(1);
    }

    fn handle_resync(&mut self, slot: Slot, now: Instant) {
        if let Some(neighbour) = self.neighbours.at_mut(slot) {
            let at = neighbour.full_from.max(now);
            neighbour.full_from = at + RESYNC_EVERY;
            neighbour.full_due = true;
            neighbour.flush_at = neighbour.flush_at.min(at);
        }
    }

    fn handle_full_start(&mut self, slot: Slot) {
        let offered: BTreeSet<_> = self
            .dests
            .iter()
            .filter(|(_, dest)| dest.offer(slot).is_some())
            .map(|(tag, _)| *tag)
            .collect();
        if let Some(neighbour) = self.neighbours.at_mut(slot) {
            neighbour.stale = Some(offered);
            neighbour.partial = false;
        }
    }

    fn handle_full_end(&mut self, slot: Slot, now: Instant) {
        let stale = self.neighbours.at_mut(slot).and_then(|n| n.stale.take());
        for tag in stale.into_iter().flatten() {
            self.handle_retraction(slot, tag, now);
        }
    }

    fn handle_search(&mut self, from: NeighbourId, query: SearchQuery, now: Instant) {
        if !self.search.accept(from, &query, now) {
            return;
        }
        let reach = if self.is_own(query.tag) {
            Some(Reach { hops: 0, metric: 0 })
        } else {
            match query.answerer {
                Answerer::AnyRoute => self.reach(query.tag, Some(from)),
                Answerer::Target => None,
            }
        };
        let links = self.search_links();
        self.search.handle_query(from, query, reach, &links, now);
    }

    /// How far this node has it to the destination, not back over `asking` and not over a suspect link.
    pub(super) fn reach(&self, tag: Tag, asking: Option<NeighbourId>) -> Option<Reach> {
        let dest = self.dests.get(&tag)?;
        let reach = Reach {
            hops: dest.selected.hops,
            metric: dest.selected.metric,
        };
        match dest.selected.best {
            Best::Here => Some(reach),
            Best::Nowhere => None,
            Best::Via(slot) => {
                let next = self.neighbours.at(slot)?;
                (next.health == Health::Sound && Some(next.id) != asking).then_some(reach)
            }
        }
    }

    /// The sound links a search may go over.
    pub(super) fn search_links(&self) -> Vec<Link> {
        self.neighbours
            .iter()
            .filter(|neighbour| neighbour.health == Health::Sound)
            .map(|neighbour| Link {
                to: neighbour.id,
                metric: neighbour.metric,
            })
            .collect()
    }
}
