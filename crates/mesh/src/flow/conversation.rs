//! This node's own flows: one per other side, over as many paths as it takes, one of them active.

use std::collections::VecDeque;

use smartmesh_types::{Address, Duration, FlowId, Instant, NeighbourId, NodeKey};
use smartmesh_wire::flow::{Confirm, FlowMessage, Patch, PathToken};

use crate::route::{SearchId, SearchToken};

use super::budget::Blame;
use super::path::{Path, Side, Way};
use super::seek::Seek;
use super::{DownReason, FlowEvent, Flows, NextHops, PathId, PayloadKind};

/// The side that was called leaves this much time to the other one, which repairs too.
const RESPONDER_DELAY: Duration = Duration::from_millis(300);
/// How long a replaced path may still bring packets.
const RETIRE_AFTER: Duration = Duration::from_secs(3);
/// Two paths that were begun from both sides within this time are one simultaneous opening.
const SIMULTANEOUS: Duration = Duration::from_secs(2);
/// A flow without packets ends after this time.
pub(super) const DORMANT_MAX: Duration = Duration::from_secs(600);

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
    pub(super) search: Option<SearchId>,
    pub(super) found: Option<SearchToken>,
    pub(super) last_used: Instant,
    /// Not before then is a lossy path replaced again.
    pub(super) lossy_until: Instant,
    pub(super) lossy_pause: Duration,
}

impl Flows {
    /// The flow to this address: the one that exists, or a new one that is being built.
    pub fn open(
        &mut self,
        to: Address,
        routes: &dyn NextHops,
        now: smartmesh_types::Now,
    ) -> FlowId {
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
        let boot = self
            .path(id)
            .and_then(|path| path.shown)
            .map(|shown| shown.boot);
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
        let to = self
            .circuits
            .get(&token)
            .and_then(|circuit| circuit.upstream);
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
    let trips = path.rtt.saturating_mul(3).min(Duration::from_secs(2));
    trips.saturating_add(Duration::from_millis(150))
}
