//! Packets: forwarding by label, sealing and opening at the ends, acknowledgements, and all timers.

use smartmesh_types::{Duration, FlowId, Instant, Label, NeighbourId, Now};
use smartmesh_wire::flow::{INNER_LABEL_BYTES, PacketForm, split_inner_label};

use super::budget::Blame;
use super::circuit::End;
use super::conversation::patience;
use super::path::{PACKET_OVERHEAD_BYTES, Side, Verdict, Way};
use super::{
    DownReason, DropReason, FlowEvent, Flows, Forward, NESTING_MAX, OpenError, Opened,
    PAYLOAD_BYTES_MAX, PathId, PayloadKind, Sealed, SendError,
};

/// Kinds of the flows' own packets.
pub(super) const KIND_CLOSE: u8 = 13;
pub(super) const KIND_PING: u8 = 14;
pub(super) const KIND_ACK: u8 = 15;

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
        one.lossy_pause = one.lossy_pause.saturating_mul(2).min(LOSSY_PAUSE_MAX);
        self.blame_first_hop(token, now);
        self.begin_seek(flow, Duration::ZERO, 4, now);
    }

    pub(super) fn blame_first_hop(&mut self, token: smartmesh_wire::flow::PathToken, now: Instant) {
        let hop = self
            .circuits
            .get(&token)
            .filter(|circuit| matches!(circuit.end, End::Source(_)))
            .and_then(|circuit| circuit.downstream);
        if let Some(hop) = hop {
            self.scores.record_failure(hop.neighbour, Blame::Full, now);
        }
    }
}
