//! This node's own flows: one per other side, over as many paths as it takes, one of them active.

use std::collections::VecDeque;

use smartmesh_types::{Address, Duration, FlowId, Instant, NeighbourId, NodeKey, Tag};
use smartmesh_wire::flow::{Confirm, FlowMessage, Patch, PathToken, Purpose, SetUp};

use super::budget::Blame;
use super::circuit::{Aim, End, Stray};
use super::path::{Path, Side, Way};
use super::{
    DownReason, FlowEvent, FlowOutput, Flows, NextHops, PathId, PayloadKind, SearchId,
};

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
/// The side that was called leaves this much time to the other one, which repairs too.
const RESPONDER_DELAY: Duration = Duration::from_millis(300);
/// Attempts beside each other at most; the oldest is given up for a new one.
const PATHS_MAX: usize = 8;
/// How long a replaced path may still bring packets.
const RETIRE_AFTER: Duration = Duration::from_secs(3);
/// Two paths that were begun from both sides within this time are one simultaneous opening.
const SIMULTANEOUS: Duration = Duration::from_secs(2);
/// A better route is worth a new path this long after the last one.
const IMPROVE_AFTER: Duration = Duration::from_secs(5);
/// A flow without packets ends after this time.
pub(super) const DORMANT_MAX: Duration = Duration::from_secs(600);

/// The building of a path, attempt by attempt.
#[derive(Clone, Debug)]
pub(super) struct Seek {
    pub(super) attempts: u32,
    /// Attempts at most.
    pub(super) attempts_max: u32,
    pub(super) next_at: Instant,
    give_up_at: Instant,
    /// First hops of this round.
    tried: Vec<NeighbourId>,
}

/// One flow of this node.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    pub(super) id: FlowId,
    pub(super) peer: Address,
    key: Option<NodeKey>,
    boot: Option<u64>,
    pub(super) active: Option<PathId>,
    /// All paths, also those under way.
    pub(super) paths: Vec<PathId>,
    pub(super) queue: VecDeque<(PayloadKind, Vec<u8>)>,
    pub(super) queue_bytes: usize,
    pub(super) up: bool,
    pub(super) seek: Option<Seek>,
    search: Option<SearchId>,
    found: Option<[u8; 8]>,
    pub(super) last_used: Instant,
    /// Not before then is a lossy path replaced again.
    pub(super) lossy_until: Instant,
    pub(super) lossy_pause: Duration,
}

impl Flows {
    /// The flow to this address: the one that exists, or a new one that is being built.
    pub fn open(&mut self, to: Address, routes: &dyn NextHops, now: smartmesh_types::Now) -> FlowId {
        let at = now.instant;
        let id = self.conversation_with(to, at);
        if let Some(one) = self.conversations.get_mut(&id) {
            one.last_used = at;
            if one.active.is_none() {
                self.begin_seek(id, Duration::ZERO, u32::MAX, at);
            }
        }
        self.run_timers(routes, at);
        id
    }

    pub(super) fn conversation_with(&mut self, peer: Address, now: Instant) -> FlowId {
        if let Some(id) = self.by_peer.get(&peer) {
            return *id;
        }
        if self.conversations.len() >= self.config.flows_max {
            let idle = self
                .conversations
                .values()
                .min_by_key(|one| (one.last_used, one.id))
                .map(|one| one.id);
            if let Some(idle) = idle {
                self.end_conversation(idle, DownReason::Idle);
            }
        }
        let id = self.new_flow_id();
        let one = Conversation {
            id,
            peer,
            key: None,
            boot: None,
            active: None,
            paths: Vec::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            up: false,
            seek: None,
            search: None,
            found: None,
            last_used: now,
            lossy_until: now,
            lossy_pause: Duration::from_secs(1),
        };
        self.conversations.insert(id, one);
        self.by_peer.insert(peer, id);
        self.sweep_at = self.sweep_at.min(now + super::repair::SWEEP);
        id
    }

    fn new_flow_id(&mut self) -> FlowId {
        let id = FlowId(self.next_flow);
        self.next_flow = self.next_flow.saturating_add(1);
        id
    }

    /// Ends a flow and frees all its paths.
    pub(super) fn end_conversation(&mut self, id: FlowId, reason: DownReason) {
        if let Some(one) = self.conversations.remove(&id) {
            self.by_peer.remove(&one.peer);
            for path in one.paths {
                self.cut_path(path);
            }
            self.emit(FlowEvent::Down { flow: id, reason });
        }
    }

    pub(super) fn handle_close(&mut self, id: FlowId, now: Instant) {
        let Some(one) = self.conversations.remove(&id) else {
            return;
        };
        self.by_peer.remove(&one.peer);
        for path in &one.paths {
            if Some(*path) == one.active {
                self.send_own(*path, super::packet::KIND_CLOSE, &[], now);
            }
            // Packets overtake control messages or the other way round: the path stays a moment.
            let Some(path) = self.path_mut(*path).filter(|path| path.is_established()) else {
                self.cut_path(*path);
                continue;
            };
            path.flow = None;
            path.retire_at = Some(now + RETIRE_AFTER);
        }
        self.wake_at(now + RETIRE_AFTER);
    }

    /// Frees a path of this node at once.
    pub(super) fn cut_path(&mut self, id: PathId) {
        if let Some(path) = self.remove_path(id) {
            self.remove_circuit(path.token, |_, _| true);
            if let Some(one) = path.flow.and_then(|flow| self.conversations.get_mut(&flow)) {
                one.paths.retain(|other| *other != id);
                if one.active == Some(id) {
                    one.active = None;
                }
            }
        }
    }

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

    pub(super) fn handle_found(&mut self, id: SearchId, token: [u8; 8], now: Instant) {
        let flow = self.conversations.values_mut().find(|one| one.search == Some(id));
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
            search: aim.search,
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
                .then(|| one.paths.iter().find(|path| Some(**path) != active).copied())
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

    /// The confirmation of one of this node's attempts.
    pub(super) fn confirm_path(
        &mut self,
        id: PathId,
        first_hop: NeighbourId,
        confirm: &Confirm,
        now: Instant,
    ) {
        let width = self
            .neighbours
            .get(&first_hop)
            .map_or(0, |neighbour| neighbour.payload_bytes);
        let Some(path) = self
            .paths
            .get_mut(usize::try_from(id.0).unwrap_or(usize::MAX))
            .and_then(Option::as_deref_mut)
        else {
            return;
        };
        if path
            .confirm(&self.own, &confirm.second, confirm.hops, now)
            .is_err()
        {
            self.counters.forged = self.counters.forged.saturating_add(1);
            self.scores.record_failure(first_hop, Blame::Full, now);
            return self.fail_attempt(id, now);
        }
        path.payload_bytes = usize::try_from(confirm.payload_bytes)
            .unwrap_or(usize::MAX)
            .min(width);
        path.bits_per_second = confirm.bits_per_second;
        path.lifetime = Duration::from_secs(u64::from(confirm.lifetime_secs));
        let patience = patience(path);
        let flow = path.flow;
        self.counters.paths = self.counters.paths.saturating_add(1);
        self.send_third(id, now);
        let Some(flow) = flow else { return };
        if let Some(seek) = self
            .conversations
            .get_mut(&flow)
            .and_then(|one| one.seek.as_mut())
        {
            seek.next_at = now + patience;
        }
        let idle = self
            .conversations
            .get(&flow)
            .is_some_and(|one| one.active.is_none_or(|active| !self.is_usable(active)));
        if idle {
            self.activate(flow, id, now);
        }
    }

    pub(super) fn is_usable(&self, id: PathId) -> bool {
        self.path(id)
            .is_some_and(|path| path.is_usable() && !path.stalled)
    }

    pub(super) fn prove_path(&mut self, id: PathId, secret: &[u8; 32], now: Instant) {
        let good = self
            .path_mut(id)
            .is_some_and(|path| path.apply_proof(secret));
        if good {
            self.settle(id, now);
        } else {
            self.count_stray();
        }
    }

    /// A path of this node is known to deliver: the search for one ends.
    pub(super) fn settle(&mut self, id: PathId, now: Instant) {
        let Some(flow) = self.path(id).and_then(|path| path.flow) else {
            return;
        };
        let Some(one) = self.conversations.get_mut(&flow) else {
            return;
        };
        one.seek = None;
        one.search = None;
        let (active, paths) = (one.active, one.paths.clone());
        if active != Some(id) {
            self.choose(flow, id, now);
        }
        let active = self.conversations.get(&flow).and_then(|one| one.active);
        for other in paths {
            let unproven = self.path(other).is_some_and(|path| !path.proven);
            let ours = self
                .path(other)
                .is_some_and(|path| path.side == Side::Initiator);
            if other != id && Some(other) != active && unproven && ours {
                self.cut_path(other);
            }
        }
    }

    /// Makes a path the active one, unless both sides have just begun one each and the other one counts.
    pub(super) fn choose(&mut self, flow: FlowId, id: PathId, now: Instant) {
        let active = self.conversations.get(&flow).and_then(|one| one.active);
        let keep = active.is_some_and(|old| old != id && self.keeps(old, id));
        if !keep && active != Some(id) {
            self.activate(flow, id, now);
        }
    }

    fn keeps(&self, old: PathId, new: PathId) -> bool {
        let (Some(old), Some(new)) = (self.path(old), self.path(new)) else {
            return false;
        };
        let (Some(old_at), Some(new_at)) = (old.established, new.established) else {
            return false;
        };
        let apart = old_at.since(new_at).max(new_at.since(old_at));
        if !old.is_usable() || old.stalled || old.side == new.side || apart > SIMULTANEOUS {
            return false;
        }
        let Some(peer) = old.peer else { return false };
        // The path begun by the lower address counts, on both sides.
        (self.own.address < peer) == (old.side == Side::Initiator)
    }

    fn activate(&mut self, flow: FlowId, id: PathId, now: Instant) {
        let flow = self.check_restart(flow, id);
        let Some(path) = self.path(id) else { return };
        let (mtu, hops) = (path.mtu(), path.hops);
        let (bits_per_second, rtt, shown) = (path.bits_per_second, path.rtt, path.shown);
        let Some(shown) = shown else { return };
        let Some(one) = self.conversations.get_mut(&flow) else {
            return;
        };
        let old = one.active.replace(id);
        (one.key, one.boot) = (Some(shown.key), Some(shown.boot));
        if !one.paths.contains(&id) {
            one.paths.push(id);
        }
        let was_up = std::mem::replace(&mut one.up, true);
        let peer = one.peer;
        if was_up {
            self.emit(FlowEvent::PathChanged { flow, mtu, hops });
        } else {
            self.emit(FlowEvent::Up {
                flow,
                peer,
                key: shown.key,
                mtu,
                bits_per_second,
                hops,
                rtt,
            });
        }
        if let Some(old) = old {
            self.retire(old, now);
        }
        self.flush(flow, now);
    }

    /// A replaced path still brings what is on its way; what it has not shown to deliver is sent again.
    fn retire(&mut self, old: PathId, now: Instant) {
        let retire_at = now + RETIRE_AFTER;
        let Some(path) = self.path_mut(old) else {
            return;
        };
        path.retire_at = Some(retire_at);
        // A path that is only young may yet deliver: its stall timer decides.
        if path.probes > 0 || path.patch == Patch::Open || path.way == Way::None {
            self.resend_unproven(old, now);
        }
        self.wake_at(retire_at);
    }

    /// Sends what a path has not shown to deliver over the active one.
    pub(super) fn resend_unproven(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        path.stall_at = None;
        for packet in std::mem::take(&mut path.unproven) {
            self.take_back(id, packet, now);
        }
    }

    /// The other side's program has started anew: a new flow takes the place of the old one.
    fn check_restart(&mut self, flow: FlowId, id: PathId) -> FlowId {
        let boot = self.path(id).and_then(|path| path.shown).map(|shown| shown.boot);
        let changed = self
            .conversations
            .get(&flow)
            .is_some_and(|one| one.boot.is_some() && one.boot != boot);
        if !changed {
            return flow;
        }
        let Some(mut one) = self.conversations.remove(&flow) else {
            return flow;
        };
        let old_paths = std::mem::replace(&mut one.paths, vec![id]);
        for old in old_paths.into_iter().filter(|old| *old != id) {
            self.cut_path(old);
        }
        self.emit(FlowEvent::Down {
            flow,
            reason: DownReason::Restarted,
        });
        one.id = self.new_flow_id();
        (one.active, one.boot, one.up) = (None, None, false);
        let id_new = one.id;
        self.by_peer.insert(one.peer, id_new);
        self.conversations.insert(id_new, one);
        if let Some(path) = self.path_mut(id) {
            path.flow = Some(id_new);
        }
        id_new
    }

    /// A path of this node has ended: another takes over, or a new one is built if somebody still uses the flow.
    pub(super) fn lose_path(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.remove_path(id) else {
            return;
        };
        let Some(one) = path.flow.and_then(|flow| self.conversations.get_mut(&flow)) else {
            return;
        };
        one.paths.retain(|other| *other != id);
        if one.active != Some(id) {
            return;
        }
        one.active = None;
        let (flow, others) = (one.id, one.paths.clone());
        let wanted = !one.queue.is_empty() || now.since(one.last_used) < Duration::from_secs(2);
        let other = others.into_iter().find(|other| self.is_usable(*other));
        if let Some(other) = other {
            self.activate(flow, other, now);
        } else if wanted {
            self.begin_seek(flow, delay_of(path.side), u32::MAX, now);
        }
    }

    /// How a path stands after a link broke or came back.
    pub(super) fn patch_path(&mut self, id: PathId, patch: Patch, now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        path.patch = patch;
        let (flow, side) = (path.flow, path.side);
        let Some(flow) = flow else { return };
        let active = self.conversations.get(&flow).and_then(|one| one.active);
        if active != Some(id) {
            return;
        }
        match patch {
            Patch::Whole => self.flush(flow, now),
            Patch::Patched | Patch::Open => {
                self.begin_seek(flow, delay_of(side), u32::MAX, now);
            }
        }
    }

    /// Sends the handshake's third part (again).
    pub(super) fn send_third(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        let (way, packet) = (path.way, path.third_packet().to_vec());
        let wait = patience(path);
        let stall_at = path.await_ack(wait, now);
        if let Some(at) = stall_at {
            self.wake_at(at);
        }
        if way != Way::None {
            self.send_way(way, packet);
        }
    }

    /// Shows the secret to the path that a first packet came by.
    pub(super) fn send_proof(&mut self, token: PathToken, secret: [u8; 32]) {
        let to = self.circuits.get(&token).and_then(|circuit| circuit.upstream);
        if let Some(hop) = to
            && self.can_tell(hop.neighbour)
        {
            self.send_control(hop.neighbour, &FlowMessage::Proven { token, secret });
        }
    }
}

fn delay_of(side: Side) -> Duration {
    match side {
        Side::Initiator => Duration::ZERO,
        Side::Responder => RESPONDER_DELAY,
    }
}

/// How long a path may owe an acknowledgement before it is asked for one.
pub(super) fn patience(path: &Path) -> Duration {
    Duration::from_millis(150) + (path.rtt * 3).min(Duration::from_secs(2))
}

/// Time for an attempt: the metric is the one-way cost of a large packet, a set-up and its answer are smaller.
fn attempt_time(attempts: u32, metric: u32) -> Duration {
    let base = ATTEMPT_BASE + Duration::from_micros(u64::from(metric)) * 4;
    let growth = attempts.saturating_sub(3).min(16);
    let time = base + base * growth / 2;
    time.min(ATTEMPT_MAX.max(base))
}
