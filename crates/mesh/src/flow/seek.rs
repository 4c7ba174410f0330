//! Looking for a path: attempt by attempt, over other first hops, straying further each time, with a search behind them.

use smartmesh_types::{Address, Duration, FlowId, Instant, NeighbourId, Tag};
use smartmesh_wire::flow::{Patch, PathToken, Purpose, SetUp};

use crate::route::{SearchId, SearchToken};

use super::circuit::{Aim, End, Stray};
use super::path::Path;
use super::{DownReason, FlowOutput, Flows, NextHops, PathId};

/// Neighbours that one set-up may try in total.
pub(super) const TRIES: u8 = 32;
/// A set-up goes at most this many hops plus up to 15, so that relays don't learn the distance to the source.
const HOP_LIMIT_MIN: u8 = 48;
/// Time for an attempt, beside what the metric says, before the next one starts beside it.
const ATTEMPT_BASE: Duration = Duration::from_millis(120);
const ATTEMPT_MAX: Duration = Duration::from_millis(1_500);
/// How long an opening flow is tried.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a flow that was up is tried; its queue and its id live on meanwhile.
const REPAIR_PATIENCE: Duration = Duration::from_secs(30);
/// Attempts beside each other at most; the oldest is given up for a new one.
const PATHS_MAX: usize = 8;
/// A better route is worth a new path this long after the last one.
const IMPROVE_AFTER: Duration = Duration::from_secs(5);

/// The building of a path, attempt by attempt.
#[derive(Clone, Debug)]
pub(super) struct Seek {
    pub(super) attempts: u32,
    /// Attempts at most.
    pub(super) attempts_max: u32,
    pub(super) next_at: Instant,
    pub(super) give_up_at: Instant,
    /// First hops of this round.
    pub(super) tried: Vec<NeighbourId>,
}

impl Flows {
    /// Starts to look for a path, or hastens it.
    pub(super) fn begin_seek(
        &mut self,
        id: FlowId,
        delay: Duration,
        attempts_max: u32,
        now: Instant,
    ) {
        let Some(one) = self.conversations.get_mut(&id) else {
            return;
        };
        let patience = if one.up {
            REPAIR_PATIENCE
        } else {
            OPEN_PATIENCE
        };
        let next_at = now + delay;
        match one.seek.as_mut() {
            Some(seek) => seek.attempts_max = seek.attempts_max.max(attempts_max),
            None => {
                one.seek = Some(Seek {
                    attempts: 0,
                    attempts_max,
                    next_at,
                    give_up_at: next_at + patience,
                    tried: Vec::new(),
                });
                self.wake_at(next_at);
            }
        }
    }

    pub(super) fn hasten(&mut self, id: FlowId, now: Instant) {
        if let Some(seek) = self
            .conversations
            .get_mut(&id)
            .and_then(|one| one.seek.as_mut())
        {
            seek.next_at = seek.next_at.min(now);
            self.wake_at(now);
        }
    }

    pub(super) fn hurry_pathless(&mut self, now: Instant) {
        let waiting: Vec<FlowId> = self
            .conversations
            .values()
            .filter(|one| one.active.is_none() && one.seek.is_some())
            .map(|one| one.id)
            .collect();
        for id in waiting {
            self.hasten(id, now);
        }
    }

    pub(super) fn handle_route_changed(&mut self, tag: Tag, routes: &dyn NextHops, now: Instant) {
        let concerned: Vec<FlowId> = self
            .conversations
            .values()
            .filter(|one| routes.tag_of(one.peer) == tag)
            .map(|one| one.id)
            .collect();
        for id in concerned {
            let active = self.conversations.get(&id).and_then(|one| one.active);
            let Some(path) = active.and_then(|path| self.path(path)) else {
                self.hasten(id, now);
                continue;
            };
            let (hops, born, whole) = (path.hops, path.born, path.patch == Patch::Whole);
            let best = routes
                .next_hops(tag)
                .first()
                .map_or(u8::MAX, |hop| hop.hops);
            if !whole {
                self.begin_seek(id, Duration::ZERO, u32::MAX, now);
                self.hasten(id, now);
            } else if best < hops && now.since(born) > IMPROVE_AFTER {
                self.begin_seek(id, Duration::ZERO, 2, now);
            }
        }
    }

    pub(super) fn handle_found(&mut self, id: SearchId, token: SearchToken, now: Instant) {
        let flow = self
            .conversations
            .values_mut()
            .find(|one| one.search == Some(id));
        if let Some(one) = flow {
            one.found = Some(token);
            let flow = one.id;
            self.hasten(flow, now);
        }
    }

    pub(super) fn handle_not_found(&mut self, id: SearchId) {
        let flow = self
            .conversations
            .values()
            .find(|one| one.search == Some(id) && !one.up && one.paths.is_empty())
            .map(|one| one.id);
        if let Some(flow) = flow {
            self.end_conversation(flow, DownReason::NoRoute);
        }
    }

    /// The next attempt of a flow that looks for a path.
    pub(super) fn attempt(&mut self, id: FlowId, routes: &dyn NextHops, now: Instant) {
        let Some(one) = self.conversations.get(&id) else {
            return;
        };
        let (peer, found, up) = (one.peer, one.found, one.up);
        let Some(seek) = one.seek.clone() else { return };
        if now >= seek.give_up_at || seek.attempts >= seek.attempts_max {
            return self.give_up(id);
        }
        let tag = routes.tag_of(peer);
        let hops = routes.next_hops(tag);
        let metric = hops.first().map_or(0, |hop| hop.metric);
        let known = !hops.is_empty() || found.is_some();
        if !known || seek.attempts >= 4 {
            self.search(id, peer);
        }
        let nonce = self.rng.u32();
        let aim = Aim {
            from: None,
            tag,
            search: found,
            nonce,
            explore: u8::try_from(seek.attempts).unwrap_or(7).min(7),
            exclude: &[],
            stray: if up || known && seek.attempts > 0 {
                Stray::Allowed
            } else {
                Stray::Refused
            },
        };
        let candidates = self.candidates(&aim, routes, now);
        let fresh = candidates.iter().find(|hop| !seek.tried.contains(hop));
        let next = fresh.or(candidates.first()).copied();
        let pause = attempt_time(seek.attempts, metric);
        if let Some(seek) = self
            .conversations
            .get_mut(&id)
            .and_then(|one| one.seek.as_mut())
        {
            seek.next_at = now + pause;
            if let Some(next) = next {
                if fresh.is_none() {
                    seek.tried.clear();
                }
                seek.tried.push(next);
                seek.attempts = seek.attempts.saturating_add(1);
            }
        }
        if let Some(next) = next {
            self.launch(id, peer, next, &aim, now);
        }
    }

    /// Asks routing for a search, once per flow.
    fn search(&mut self, id: FlowId, target: Address) {
        let search = SearchId(self.next_search);
        if let Some(one) = self.conversations.get_mut(&id)
            && one.search.is_none()
        {
            one.search = Some(search);
            self.next_search = self.next_search.saturating_add(1);
            self.outputs
                .push_back(FlowOutput::Search { id: search, target });
        }
    }

    /// Sends one set-up to a first hop.
    fn launch(
        &mut self,
        flow: FlowId,
        peer: Address,
        next: NeighbourId,
        aim: &Aim<'_>,
        now: Instant,
    ) {
        let token = PathToken(self.rng.bytes());
        let started = Path::initiate(&self.own, peer, token, &mut self.rng, now);
        let Some((mut path, first, proof)) = started else {
            return;
        };
        path.flow = Some(flow);
        let Some(id) = self.insert_path(path) else {
            return;
        };
        let set_up = SetUp {
            token,
            purpose: Purpose::Flow,
            tag: aim.tag.0,
            search: aim.search.map(|token| token.0),
            hop_limit: HOP_LIMIT_MIN.saturating_add(u8::try_from(self.rng.below(16)).unwrap_or(0)),
            tries: TRIES,
            nonce: aim.nonce,
            explore: aim.explore,
            label: 0,
            payload_bytes: u32::MAX,
            bits_per_second: u64::MAX,
            price: 0,
            lifetime_secs: u16::MAX,
            proof,
            first,
        };
        self.counters.attempts = self.counters.attempts.saturating_add(1);
        self.insert_circuit(End::Source(id), None, set_up, now);
        let oldest = self.conversations.get_mut(&flow).and_then(|one| {
            one.paths.push(id);
            let active = one.active;
            (one.paths.len() > PATHS_MAX)
                .then(|| {
                    one.paths
                        .iter()
                        .find(|path| Some(**path) != active)
                        .copied()
                })
                .flatten()
        });
        if let Some(oldest) = oldest {
            self.cut_path(oldest);
        }
        if self.send_set_up(token, next, now).is_err() {
            self.cut_path(id);
        }
    }

    /// An attempt was turned back: the next one starts at once, until each first hop has had its turn.
    pub(super) fn fail_attempt(&mut self, path: PathId, now: Instant) {
        let flow = self.path(path).and_then(|path| path.flow);
        self.cut_path(path);
        let neighbours = self.neighbours.len();
        let Some(flow) = flow else { return };
        let Some(seek) = self
            .conversations
            .get_mut(&flow)
            .and_then(|one| one.seek.as_mut())
        else {
            return;
        };
        if seek.tried.len() < neighbours && seek.attempts < 64 {
            self.hasten(flow, now);
        }
    }

    fn give_up(&mut self, id: FlowId) {
        let Some(one) = self.conversations.get_mut(&id) else {
            return;
        };
        one.seek = None;
        one.search = None;
        one.found = None;
        let (active, up, tried) = (one.active, one.up, !one.paths.is_empty());
        if active.is_some() {
            return;
        }
        let reason = match (up, tried) {
            (true, _) => DownReason::Lost,
            (false, true) => DownReason::NoAnswer,
            (false, false) => DownReason::NoRoute,
        };
        self.end_conversation(id, reason);
    }
}

/// Time for an attempt: the metric is the one-way cost of a large packet, a set-up and its answer are smaller.
fn attempt_time(attempts: u32, metric: u32) -> Duration {
    let base = Duration::from_micros(u64::from(metric))
        .saturating_mul(4)
        .saturating_add(ATTEMPT_BASE);
    let growth = attempts.saturating_sub(3).min(16);
    let more = base.saturating_mul(growth).checked_div(2).unwrap_or(base);
    base.saturating_add(more).min(ATTEMPT_MAX.max(base))
}
