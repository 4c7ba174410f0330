//! Choosing again after a change, telling who must know, and asking for newer sequence numbers when choice has run dry.

use smartmesh_types::{Duration, Instant, Tag};
use smartmesh_wire::route::SeqnoRequest;

use super::Routes;
use super::neighbour::{bit, slots_of};
use super::table::{Best, Dest, Health, Slot, Wish, is_newer};

/// First wait for the answer to a request when no route is left: some ten hops there and back on a fast link; doubles
/// with each try.
const STARVING_RETRY: Duration = Duration::from_millis(40);
/// Tries after which the wait no longer doubles: about 20 seconds.
const STARVING_DOUBLINGS: u32 = 9;
/// Tries, 120 seconds in all, after which the feasibility distance is given up, as that of a lost destination is: no
/// honest advertisement is as old as it (RFC 8966 §3.5.1); it came from a liar.
const STARVING_TRIES: u8 = 14;
/// How long a shorter but unfeasible route is left to become feasible by itself.
const SHORTER_AFTER: Duration = Duration::from_millis(300);
/// Tries to make a shorter route feasible; whoever advertises it and never answers is left alone after these.
const SHORTER_TRIES: u8 = 4;
/// How long new tags wait for others at an epoch's begin: 64 hops take 26 seconds of the minute of overlap.
const EPOCH_BATCH: Duration = Duration::from_millis(400);
/// A node this young has routes to learn that nobody knows by an older tag.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// Tags of the last epoch are not asked for when their end is this near: all nodes are about to forget them.
const OLD_TAG_GRACE: Duration = Duration::from_secs(10);

impl Routes {
    /// Chooses again for all destinations that this neighbour offers.
    pub(super) fn review_slot(&mut self, slot: Slot, now: Instant) {
        let offered: Vec<_> = self
            .dests
            .iter()
            .filter(|(_, dest)| dest.offer(slot).is_some())
            .map(|(tag, _)| *tag)
            .collect();
        for tag in offered {
            self.review(tag, now);
        }
    }

    /// Chooses again for one destination after something about it changed, and marks whom to tell.
    pub(super) fn review(&mut self, tag: Tag, now: Instant) {
        let Some(dest) = self.dests.get_mut(&tag) else {
            return;
        };
        if dest.selected.best == Best::Here {
            return;
        }
        let neighbours = &self.neighbours;
        let (selected, wish) = dest.choose(self.config.hops_max, |slot| neighbours.cost(slot));
        let old = std::mem::replace(&mut dest.selected, selected);
        let answered = dest
            .asked
            .is_some_and(|asked| !is_newer(asked, selected.seqno))
            && selected.best != Best::Nowhere;
        if answered {
            dest.asked = None;
        }
        let (holds, dest_epoch) = (dest.holds, dest.epoch);
        if old.best != selected.best {
            self.changed.insert(tag);
        }
        let batched = match old.best {
            Best::Nowhere => self.batched(dest_epoch, now),
            Best::Here | Best::Via(_) => now + self.config.batch,
        };
        if selected.best == Best::Nowhere {
            self.mark(tag, holds, now);
        } else if !old.looks_like(&selected) {
            let at = if answered { now } else { batched };
            self.mark(tag, self.neighbours.up(), at);
        } else if old.best != selected.best {
            // Neighbours see the same, except the one now routed over and the one no longer routed over.
            self.mark(tag, via_bit(old.best) | via_bit(selected.best), batched);
        }
        self.apply_wish(tag, wish, now);
    }

    /// When a newly known destination of this epoch is told: lazily if it is the new tag of a node whose last tag still
    /// works, so that the wave of tags at an epoch's begin takes few messages.
    pub(super) fn batched(&self, epoch: u64, now: Instant) -> Instant {
        let current = self.epochs.current;
        let regular = self
            .epochs
            .previous
            .is_some_and(|previous| previous.saturating_add(1) == current);
        let settled = self.started_at + SETTLED_AFTER < now;
        if regular && settled && epoch == current {
            now + EPOCH_BATCH
        } else {
            now + self.config.batch
        }
    }

    /// Notes that these neighbours must be told of the destination, at this time at the latest.
    pub(super) fn mark(&mut self, tag: Tag, mask: u64, at: Instant) {
        let Some(dest) = self.dests.get_mut(&tag) else {
            return;
        };
        let pointless = via_bit(dest.selected.best) & !dest.holds;
        let mask = mask & self.neighbours.up() & !pointless;
        for slot in slots_of(mask) {
            if let Some(neighbour) = self.neighbours.at_mut(slot) {
                if dest.dirty & bit(slot) == 0 {
                    neighbour.pending.push(tag);
                }
                neighbour.flush_at = neighbour.flush_at.min(at);
            }
        }
        dest.dirty |= mask;
    }

    /// Removes a destination of which nothing is left; only its feasibility distance is held for a while.
    pub(super) fn bury(&mut self, tag: Tag, now: Instant) {
        if !self.dests.get(&tag).is_some_and(Dest::is_dead) {
            return;
        }
        self.set_alarm(tag, Instant::NEVER);
        if let Some(dest) = self.dests.remove(&tag)
            && let Some(distance) = dest.distance
        {
            self.held.put(tag, distance, now + self.config.hold, now);
        }
    }

    pub(super) fn set_alarm(&mut self, tag: Tag, at: Instant) {
        let Some(dest) = self.dests.get_mut(&tag) else {
            return;
        };
        let old = std::mem::replace(&mut dest.alarm, at);
        if old == at {
            return;
        }
        if old != Instant::NEVER {
            self.alarms.remove(&(old, tag));
        }
        if at != Instant::NEVER {
            self.alarms.insert((at, tag));
        }
    }

    /// The wish is looked at again: it is asked for once more, or has gone.
    pub(super) fn handle_alarm(&mut self, tag: Tag, now: Instant) {
        self.set_alarm(tag, Instant::NEVER);
        let Some(dest) = self.dests.get(&tag) else {
            return;
        };
        let neighbours = &self.neighbours;
        let (_, wish) = dest.choose(self.config.hops_max, |slot| neighbours.cost(slot));
        match wish {
            Wish::None => {}
            Wish::Starving(slot) => self.ask_starving(tag, slot, now),
            Wish::Shorter(slot) => self.ask_shorter(tag, slot, now),
        }
    }

    fn apply_wish(&mut self, tag: Tag, wish: Wish, now: Instant) {
        let old_tag = self.is_outdated(tag, now);
        let Some(dest) = self.dests.get_mut(&tag) else {
            return;
        };
        let was_starving = std::mem::replace(&mut dest.starving, false);
        match wish {
            Wish::None => {
                dest.tries = 0;
                self.set_alarm(tag, Instant::NEVER);
            }
            Wish::Starving(_) | Wish::Shorter(_) if old_tag => self.set_alarm(tag, Instant::NEVER),
            Wish::Starving(slot) => {
                dest.starving = true;
                if !was_starving {
                    dest.tries = 0;
                    self.ask_starving(tag, slot, now);
                }
            }
            Wish::Shorter(_) => {
                if was_starving {
                    dest.tries = 0;
                }
                if was_starving || (dest.alarm == Instant::NEVER && dest.tries < SHORTER_TRIES) {
                    self.set_alarm(tag, now + SHORTER_AFTER);
                }
            }
        }
    }

    /// Asks the best unfeasible neighbour first; from the second try on all that offer a route.
    fn ask_starving(&mut self, tag: Tag, slot: Slot, now: Instant) {
        let Some(dest) = self.dests.get_mut(&tag) else {
            return;
        };
        if dest.tries >= STARVING_TRIES {
            dest.distance = None;
            dest.tries = 0;
            self.review(tag, now);
            return;
        }
        let doublings = u32::from(dest.tries).min(STARVING_DOUBLINGS);
        let mask = if dest.tries == 0 {
            bit(slot)
        } else {
            dest.offers
                .iter()
                .fold(0, |mask, offer| mask | bit(offer.slot))
        };
        dest.tries = dest.tries.saturating_add(1);
        let seqno = dest.seqno_to_ask();
        for slot in slots_of(mask) {
            if self
                .neighbours
                .cost(slot)
                .is_some_and(|link| link.health == Health::Sound)
            {
                self.ask(
                    slot,
                    SeqnoRequest {
                        tag,
                        seqno,
                        hops: 0,
                    },
                    now,
                );
            }
        }
        self.set_alarm(
            tag,
            now + STARVING_RETRY.saturating_mul(2_u32.saturating_pow(doublings)),
        );
    }

    fn ask_shorter(&mut self, tag: Tag, slot: Slot, now: Instant) {
        let Some(dest) = self.dests.get_mut(&tag) else {
            return;
        };
        dest.tries = dest.tries.saturating_add(1);
        let tries = dest.tries;
        let seqno = dest.seqno_to_ask();
        self.ask(
            slot,
            SeqnoRequest {
                tag,
                seqno,
                hops: 0,
            },
            now,
        );
        if tries < SHORTER_TRIES {
            let wait = SHORTER_AFTER.saturating_mul(4_u32.saturating_pow(u32::from(tries)));
            self.set_alarm(tag, now + wait);
        }
    }

    /// Queues a request for the neighbour, to leave at once.
    pub(super) fn ask(&mut self, slot: Slot, request: SeqnoRequest, now: Instant) {
        let (Some(neighbour), Some(dest)) = (
            self.neighbours.at_mut(slot),
            self.dests.get_mut(&request.tag),
        ) else {
            return;
        };
        dest.asked = Some(request.seqno);
        dest.asked_at = now;
        neighbour.requests.push(request);
        neighbour.flush_at = now;
        self.counters.requests_sent = self.counters.requests_sent.saturating_add(1);
    }

    /// Whether the tag belongs to an epoch whose tags are being forgotten.
    fn is_outdated(&self, tag: Tag, now: Instant) -> bool {
        let ending =
            self.epochs.previous.is_none() || now + OLD_TAG_GRACE >= self.epochs.overlap_until;
        ending
            && self
                .dests
                .get(&tag)
                .is_some_and(|dest| dest.epoch < self.epochs.current)
    }
}

fn via_bit(best: Best) -> u64 {
    match best {
        Best::Via(slot) => bit(slot),
        Best::Here | Best::Nowhere => 0,
    }
}
