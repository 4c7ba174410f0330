//! Packets: forwarding by label, sealing and opening at the ends, acknowledgements, and all timers.

use smartmesh_types::{Duration, FlowId, Instant, Label, NeighbourId, Now};
use smartmesh_wire::flow::{INNER_LABEL_BYTES, PacketForm, Patch, split_inner_label};

use super::budget::Blame;
use super::circuit::End;
use super::conversation::{DORMANT_MAX, patience};
use super::path::{PACKET_OVERHEAD_BYTES, Path, Side, Verdict, Way};
use super::{
    DownReason, DropReason, FlowEvent, Flows, Forward, NESTING_MAX, NextHops, OpenError, Opened,
    PAYLOAD_BYTES_MAX, PathId, PayloadKind, Sealed, SendError,
};

/// Kinds of the flows' own packets.
pub(super) const KIND_CLOSE: u8 = 13;
const KIND_PING: u8 = 14;
const KIND_ACK: u8 = 15;

/// Pings without an answer after which a path counts as stalled, and after which it is given up.
const PROBES_BEFORE_STALL: u8 = 2;
const PROBES_MAX: u8 = 20;
/// A path is built anew after this time, for fresh keys.
const REKEY_AFTER: Duration = Duration::from_secs(3_600);
/// The ends forget an unused path this long before the relays do.
const EXPIRY_MARGIN: Duration = Duration::from_secs(15);
/// Longest pause between two replacements of a lossy path: where all paths are lossy, changing them does not help.
const LOSSY_PAUSE_MAX: Duration = Duration::from_secs(60);

enum Received<'a> {
    Payload(FlowId, PayloadKind, &'a mut [u8]),
    Own(u8, &'a mut [u8]),
}

impl Flows {
    /// Decides about one packet: constant time, no allocation.
    #[inline]
    pub fn forward(&mut self, from: NeighbourId, label: Label, now: Now) -> Forward {
        let decision = self.labels.forward(from, label, now.instant);
        match decision {
            Forward::Drop(DropReason::UnknownLabel) => {
                self.counters.unknown_label = self.counters.unknown_label.saturating_add(1);
            }
            Forward::Drop(DropReason::Stranger) => {
                self.counters.stolen_label = self.counters.stolen_label.saturating_add(1);
            }
            Forward::Relay { .. }
            | Forward::RelayInside { .. }
            | Forward::Unwrap { .. }
            | Forward::Deliver { .. }
            | Forward::Hold => {}
        }
        decision
    }

    /// Seals a payload and appends the packet to `out` (with an inner label before it while the first link is patched), or
    /// queues it until there is a path; then [`Self::next_timeout`] is now.
    ///
    /// # Errors
    /// If the flow does not exist or the payload is too large.
    pub fn seal(
        &mut self,
        flow: FlowId,
        kind: PayloadKind,
        payload: &[u8],
        out: &mut Vec<u8>,
        now: Now,
    ) -> Result<Sealed, SendError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(SendError::TooLarge(payload.len()));
        }
        let at = now.instant;
        let one = self
            .conversations
            .get_mut(&flow)
            .ok_or(SendError::UnknownFlow)?;
        one.last_used = at;
        let active = one.active;
        if let Some(id) = active
            && let Some((to, label)) = self.seal_on(id, kind.code(), payload, out, at)
        {
            return Ok(Sealed::Send { to, label });
        }
        self.enqueue(flow, kind, payload.to_vec());
        self.begin_seek(flow, Duration::ZERO, u32::MAX, at);
        Ok(Sealed::Queued)
    }

    fn seal_on(
        &mut self,
        id: PathId,
        kind: u8,
        payload: &[u8],
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Option<(NeighbourId, Label)> {
        let path = self.path_mut(id).filter(|path| path.is_usable())?;
        let (to, label) = match path.way {
            Way::None => return None,
            Way::Direct { to, label } => (to, label),
            Way::Inside { to, label, push } => {
                out.extend_from_slice(&push.0.to_be_bytes());
                (to, label)
            }
        };
        path.seal(kind, payload, out, now)?;
        if kind != KIND_ACK {
            let wait = patience(path);
            if let Some(at) = path.await_ack(wait, now) {
                self.wake_at(at);
            }
        }
        Some((to, label))
    }

    /// Seals and sends one of the flows' own packets, or a queued one.
    pub(super) fn send_own(&mut self, id: PathId, kind: u8, payload: &[u8], now: Instant) -> bool {
        let room = payload
            .len()
            .saturating_add(PACKET_OVERHEAD_BYTES)
            .saturating_add(INNER_LABEL_BYTES);
        let mut packet = Vec::with_capacity(room);
        let Some((to, label)) = self.seal_on(id, kind, payload, &mut packet, now) else {
            return false;
        };
        self.outputs.push_back(super::FlowOutput::SendData {
            to,
            label,
            payload: packet,
        });
        true
    }

    fn enqueue(&mut self, flow: FlowId, kind: PayloadKind, payload: Vec<u8>) {
        let limit = self.config.queue_bytes_max;
        let Some(one) = self.conversations.get_mut(&flow) else {
            return;
        };
        one.queue_bytes = one.queue_bytes.saturating_add(payload.len());
        one.queue.push_back((kind, payload));
        while one.queue_bytes > limit {
            let Some((_, oldest)) = one.queue.pop_front() else {
                return;
            };
            one.queue_bytes = one.queue_bytes.saturating_sub(oldest.len());
            self.counters.queue_full = self.counters.queue_full.saturating_add(1);
        }
    }

    /// Sends what waits, if there is a usable path.
    pub(super) fn flush(&mut self, flow: FlowId, now: Instant) {
        while let Some(one) = self.conversations.get_mut(&flow) {
            let Some(active) = one.active else { return };
            let Some((kind, payload)) = one.queue.pop_front() else {
                return;
            };
            one.queue_bytes = one.queue_bytes.saturating_sub(payload.len());
            if !self.send_own(active, kind.code(), &payload, now) {
                if let Some(one) = self.conversations.get_mut(&flow) {
                    one.queue_bytes = one.queue_bytes.saturating_add(payload.len());
                    one.queue.push_front((kind, payload));
                }
                return;
            }
        }
    }

    /// A packet of this node's own came back: its payload goes out again.
    pub(super) fn take_back(&mut self, id: PathId, mut packet: Vec<u8>, now: Instant) {
        let Some(path) = self.path(id) else { return };
        let flow = path.flow;
        let payload = path
            .take_back(&mut packet)
            .and_then(|(kind, payload)| Some((PayloadKind::from_code(kind)?, payload.to_vec())));
        if let (Some(flow), Some((kind, payload))) = (flow, payload) {
            self.counters.resent = self.counters.resent.saturating_add(1);
            self.enqueue(flow, kind, payload);
            self.flush(flow, now);
        }
    }

    /// The slow path: does with one packet what the fast path's caller does.
    pub(super) fn handle_data(
        &mut self,
        mut from: NeighbourId,
        mut label: Label,
        payload: Vec<u8>,
        now: Instant,
    ) {
        let mut packet = payload;
        for _ in 0..=NESTING_MAX {
            let at = Now {
                instant: now,
                ..Now::default()
            };
            match self.forward(from, label, at) {
                Forward::Relay { to, label } => {
                    return self.send_way(Way::Direct { to, label }, packet);
                }
                Forward::RelayInside { to, label, push } => {
                    return self.send_way(Way::Inside { to, label, push }, packet);
                }
                Forward::Deliver { path } => return self.deliver(path, packet, now),
                Forward::Hold => return self.handle_held(label, packet, now),
                Forward::Drop(_) => return,
                Forward::Unwrap { from: link } => {
                    let Some((inner, rest)) = split_inner_label(&packet) else {
                        break;
                    };
                    (from, label, packet) = (link, inner, rest.to_vec());
                }
            }
        }
        self.counters.unreadable = self.counters.unreadable.saturating_add(1);
    }

    /// A packet for a hop that can't be reached goes back where it came from.
    fn handle_held(&mut self, label: Label, packet: Vec<u8>, now: Instant) {
        let token = self.labels.token(label);
        let beyond = token.and_then(|token| {
            let circuit = self.circuits.get(&token)?;
            let source = circuit.hops().find(|hop| hop.own == Some(label))?.neighbour;
            (circuit.end == End::Relay).then_some((token, circuit.opposite(source)?.neighbour))
        });
        match beyond {
            Some((token, next)) => {
                let fresh = self.circuits.get(&token).is_some_and(|circuit| {
                    circuit.pending.is_none()
                        && circuit.first_packet.is_none()
                        && circuit.downstream.is_some_and(|hop| hop.neighbour == next)
                });
                if fresh {
                    self.note_first_packet(token, now);
                }
                let way = self.circuits.get(&token).and_then(|circuit| {
                    Some(self.way_over(circuit.purpose, circuit.hop_of(next)?))
                });
                match way {
                    Some(Way::None) | None => self.give_back(token, next, packet, now),
                    Some(way) => self.send_way(way, packet),
                }
            }
            None => self.counters.broken_path = self.counters.broken_path.saturating_add(1),
        }
    }

    fn deliver(&mut self, path: PathId, mut packet: Vec<u8>, now: Instant) {
        let at = Now {
            instant: now,
            ..Now::default()
        };
        if let Ok(Opened::Payload {
            flow,
            kind,
            payload,
        }) = self.open_payload(path, &mut packet, at)
        {
            let payload = payload.to_vec();
            self.emit(FlowEvent::Received {
                flow,
                kind,
                payload,
            });
        }
    }

    /// Opens a packet for this node in place. Handshakes, acknowledgements and the like are dealt with here; outputs may
    /// be waiting afterwards.
    ///
    /// # Errors
    /// If the packet does not open; it has been counted.
    pub fn open_payload<'a>(
        &mut self,
        id: PathId,
        packet: &'a mut [u8],
        now: Now,
    ) -> Result<Opened<'a>, OpenError> {
        let at = now.instant;
        match self.open_packet(id, packet, at) {
            Ok(Received::Payload(flow, kind, payload)) => {
                self.note_payload(id, flow, at);
                Ok(Opened::Payload {
                    flow,
                    kind,
                    payload,
                })
            }
            Ok(Received::Own(kind, payload)) => {
                self.handle_own(id, kind, payload, at);
                Ok(Opened::Consumed)
            }
            Err(error) => {
                let counter = match error {
                    OpenError::Replayed => &mut self.counters.replayed,
                    OpenError::Forged | OpenError::Handshake => &mut self.counters.forged,
                    OpenError::Short | OpenError::NotReady => &mut self.counters.unreadable,
                };
                *counter = counter.saturating_add(1);
                Err(error)
            }
        }
    }

    fn open_packet<'a>(
        &mut self,
        id: PathId,
        packet: &'a mut [u8],
        now: Instant,
    ) -> Result<Received<'a>, OpenError> {
        const THIRD: u8 = u8::MAX;
        let path = self.path_mut(id).ok_or(OpenError::NotReady)?;
        match (PacketForm::of(packet), path.is_established()) {
            (None, _) => Err(OpenError::Short),
            // The third part again: its acknowledgement got lost.
            (Some(PacketForm::Handshake), true) if path.side == Side::Responder => {
                Ok(Received::Own(KIND_PING, &mut []))
            }
            (Some(PacketForm::Handshake), true) => Err(OpenError::Handshake),
            (Some(PacketForm::Handshake), false) => {
                self.accept_third(id, packet, now)?;
                Ok(Received::Own(THIRD, &mut []))
            }
            (Some(PacketForm::Data), false) => {
                if path.keep_early(packet.to_vec()) {
                    Ok(Received::Own(THIRD, &mut []))
                } else {
                    Err(OpenError::NotReady)
                }
            }
            (Some(PacketForm::Data), true) => {
                let (kind, payload) = path.open(packet, now)?;
                match (PayloadKind::from_code(kind), path.flow) {
                    (Some(kind), Some(flow)) => Ok(Received::Payload(flow, kind, payload)),
                    (Some(_), None) => Err(OpenError::NotReady),
                    (None, _) => Ok(Received::Own(kind, payload)),
                }
            }
        }
    }

    /// The called side learns who calls: the path becomes one of that flow's.
    fn accept_third(&mut self, id: PathId, packet: &[u8], now: Instant) -> Result<(), OpenError> {
        let path = self.path_mut(id).ok_or(OpenError::NotReady)?;
        if path.side != Side::Responder {
            return Err(OpenError::Handshake);
        }
        let secret = path.accept(packet, now)?;
        let (token, peer) = (path.token, path.peer.ok_or(OpenError::Handshake)?);
        let early = std::mem::take(&mut path.early);
        let flow = self.conversation_with(peer, now);
        if let Some(path) = self.path_mut(id) {
            path.flow = Some(flow);
        }
        if let Some(one) = self.conversations.get_mut(&flow) {
            one.paths.push(id);
            one.last_used = now;
        }
        self.send_proof(token, secret);
        self.choose(flow, id, now);
        self.settle(id, now);
        for packet in early {
            self.deliver(id, packet, now);
        }
        Ok(())
    }

    fn note_payload(&mut self, id: PathId, flow: FlowId, now: Instant) {
        let Some(one) = self.conversations.get_mut(&flow) else {
            return;
        };
        one.last_used = now;
        let active = one.active;
        let due = self.path_mut(id).and_then(|path| path.owe_ack(false, now));
        if let Some(due) = due {
            self.wake_at(due);
        }
        if active == Some(id) {
            return;
        }
        // The other side has moved to this path: follow it, unless it is an old one.
        let established = |id: Option<PathId>| id.and_then(|id| self.path(id)?.established);
        if established(Some(id)) > established(active) {
            self.choose(flow, id, now);
        }
    }

    fn handle_own(&mut self, id: PathId, kind: u8, payload: &[u8], now: Instant) {
        match kind {
            KIND_PING => {
                let due = self.path_mut(id).and_then(|path| path.owe_ack(true, now));
                if let Some(due) = due {
                    self.wake_at(due);
                }
            }
            KIND_ACK => self.handle_ack(id, payload, now),
            KIND_CLOSE => {
                if let Some(flow) = self.path(id).and_then(|path| path.flow) {
                    self.end_conversation(flow, DownReason::Closed);
                }
            }
            // A kind of a later version, or something dealt with already.
            _ => {}
        }
    }

    fn handle_ack(&mut self, id: PathId, payload: &[u8], now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        let wait = patience(path);
        let (was_proven, flow, token) = (path.proven, path.flow, path.token);
        let verdict = path.apply_ack(payload, wait, now);
        let (proven, stall_at) = (path.proven, path.stall_at);
        if let Some(at) = stall_at {
            self.wake_at(at);
        }
        if proven && !was_proven {
            self.settle(id, now);
        }
        let Some(flow) = flow else { return };
        if verdict != Some(Verdict::Lossy) {
            return;
        }
        let Some(one) = self.conversations.get_mut(&flow) else {
            return;
        };
        if one.active != Some(id) || now < one.lossy_until {
            return;
        }
        one.lossy_until = now + one.lossy_pause;
        one.lossy_pause = (one.lossy_pause * 2).min(LOSSY_PAUSE_MAX);
        self.blame_first_hop(token, now);
        self.begin_seek(flow, Duration::ZERO, 4, now);
    }

    fn blame_first_hop(&mut self, token: smartmesh_wire::flow::PathToken, now: Instant) {
        let hop = self
            .circuits
            .get(&token)
            .filter(|circuit| matches!(circuit.end, End::Source(_)))
            .and_then(|circuit| circuit.downstream);
        if let Some(hop) = hop {
            self.scores.record_failure(hop.neighbour, Blame::Full, now);
        }
    }

    /// Runs all timers that are due.
    pub(super) fn run_timers(&mut self, routes: &dyn NextHops, now: Instant) {
        if self.sweep_at <= now {
            self.sweep(now);
            self.sweep_conversations(now);
        }
        // An attempt that fails on the spot asks for the next one at once; each round tries another neighbour.
        for _ in 0..16 {
            if self.wake > now {
                break;
            }
            self.wake = Instant::NEVER;
            self.judge(routes, now);
            let due: Vec<FlowId> = self
                .conversations
                .values()
                .filter(|one| one.seek.as_ref().is_some_and(|seek| seek.next_at <= now))
                .map(|one| one.id)
                .collect();
            for flow in due {
                self.attempt(flow, routes, now);
            }
            for index in 0..self.paths.len() {
                if let Ok(index) = u32::try_from(index) {
                    self.run_path_timers(PathId(index), now);
                }
            }
            let seeks = self.conversations.values();
            let next = seeks
                .filter_map(|one| one.seek.as_ref().map(|seek| seek.next_at))
                .chain(
                    self.paths
                        .iter()
                        .flatten()
                        .filter_map(|path| next_of(path)),
                )
                .min();
            if let Some(next) = next {
                self.wake_at(next);
            }
        }
    }

    fn run_path_timers(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        if path.retire_at.is_some_and(|at| at <= now) {
            // The other side still sends here: it has not moved yet.
            if now.since(path.last_received) < Duration::from_secs(2) && path.flow.is_some() {
                path.retire_at = Some(now + Duration::from_secs(2));
            } else {
                return self.cut_path(id);
            }
        }
        let Some(path) = self.path_mut(id) else {
            return;
        };
        if path.ack_due.is_some_and(|at| at <= now) {
            path.ack_due = None;
            let ack = path.ack();
            self.send_ack(id, &ack, now);
        }
        self.run_stall_timer(id, now);
    }

    /// Acknowledgements also go out on a path that is being retired: the other side may not know yet.
    fn send_ack(&mut self, id: PathId, ack: &[u8], now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        let (way, patch) = (path.way, path.patch);
        let mut packet = Vec::with_capacity(64);
        if patch != Patch::Open && path.seal(KIND_ACK, ack, &mut packet, now).is_some() {
            self.send_way(way, packet);
        }
    }

    fn run_stall_timer(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        if path.stall_at.is_none_or(|at| at > now) {
            return;
        }
        path.probes = path.probes.saturating_add(1);
        let probes = path.probes;
        let pause = if probes <= PROBES_BEFORE_STALL {
            Duration::from_millis(80) + (path.rtt * 2).min(Duration::from_secs(1))
        } else {
            Duration::from_millis(500)
        };
        path.stall_at = Some(now + pause);
        let third = !path.proven && path.side == Side::Initiator;
        let newly = probes > PROBES_BEFORE_STALL && !path.stalled;
        path.stalled |= newly;
        if path.retire_at.is_some() {
            return self.resend_unproven(id, now);
        }
        if probes > PROBES_MAX {
            path.stall_at = None;
            return self.abandon(id, now);
        }
        path.note_ping(now);
        if third {
            self.send_third(id, now);
        }
        self.send_own(id, KIND_PING, &[], now);
        if newly {
            self.note_stall(id, now);
        }
    }

    /// A path that does not deliver: another one is looked for.
    fn note_stall(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path(id) else { return };
        let (token, flow, side, proven) = (path.token, path.flow, path.side, path.proven);
        self.counters.stalls = self.counters.stalls.saturating_add(1);
        // A new path is worth more when the relays know where the old one failed.
        let mut known_after = Duration::ZERO;
        if proven && side == Side::Initiator {
            known_after = self.pass_doubt(token, now);
        } else {
            self.blame_first_hop(token, now);
        }
        let active = flow
            .and_then(|flow| self.conversations.get(&flow))
            .and_then(|one| one.active);
        if let Some(flow) = flow.filter(|_| active == Some(id)) {
            let delay = match side {
                Side::Initiator => known_after,
                Side::Responder => Duration::from_millis(100),
            };
            self.begin_seek(flow, delay, u32::MAX, now);
        }
    }

    /// A relay says that this path's first packet got lost behind it.
    pub(super) fn doubt_path(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path_mut(id).filter(|path| !path.proven) else {
            return;
        };
        path.stalled = true;
        path.probes = path.probes.max(1);
        let flow = path.flow;
        self.counters.stalls = self.counters.stalls.saturating_add(1);
        if let Some(flow) = flow {
            self.begin_seek(flow, Duration::ZERO, u32::MAX, now);
            self.hasten(flow, now);
        }
    }

    /// A path that has owed answers for too long ends.
    fn abandon(&mut self, id: PathId, now: Instant) {
        let Some(token) = self.path(id).map(|path| path.token) else {
            return;
        };
        self.remove_circuit(token, |_, _| true);
        self.lose_path(id, now);
    }

    /// Ends of paths and flows that nobody uses; keys that are old.
    fn sweep_conversations(&mut self, now: Instant) {
        let stale: Vec<(PathId, bool)> = self
            .paths
            .iter()
            .zip(0u32..)
            .filter_map(|(path, index)| Some((path.as_deref()?, PathId(index))))
            .filter(|(path, _)| path.is_established())
            .filter_map(|(path, id)| {
                let idle = now.since(path.last_used) + EXPIRY_MARGIN > path.lifetime;
                let old = now.since(path.born) > REKEY_AFTER;
                (idle || old).then_some((id, idle))
            })
            .collect();
        for (id, idle) in stale {
            let flow = self.path(id).and_then(|path| path.flow);
            if idle {
                self.cut_path(id);
            } else if let Some(flow) = flow {
                self.begin_seek(flow, Duration::ZERO, 4, now);
            }
        }
        let dormant: Vec<FlowId> = self
            .conversations
            .values()
            .filter(|one| now.since(one.last_used) > DORMANT_MAX)
            .map(|one| one.id)
            .collect();
        for id in dormant {
            self.end_conversation(id, DownReason::Idle);
        }
        if !self.conversations.is_empty() {
            self.sweep_at = self.sweep_at.min(now + super::repair::SWEEP);
        }
    }
}

fn next_of(path: &Path) -> Option<Instant> {
    [path.retire_at, path.ack_due, path.stall_at]
        .into_iter()
        .flatten()
        .min()
}
