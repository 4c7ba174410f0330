//! What happens when a link falls silent, and what is prepared for it.
//!
//! Each end of a link that carries a path keeps a bypass for its own direction: a one-way path to the same neighbour by
//! another way, announced to it over the link itself, so that it takes what comes out as coming from this node.

use smartmesh_types::{Duration, Instant, Label, NeighbourId};
use smartmesh_wire::flow::{
    FlowMessage, INNER_LABEL_BYTES, Patch, PathToken, Purpose, RETURNED_BYTES_MAX,
    split_inner_label,
};

use super::budget::{Bucket, SharedBucket};
use super::circuit::{Circuit, End, Health, Neighbour, Protection};
use super::path::Way;
use super::set_up::PENDING_LIFETIME;
use super::{FlowOutput, Flows, NextHops};

/// How often the table of paths is looked through; expiries are late by this much at most.
pub(super) const SWEEP: Duration = Duration::from_millis(500);
/// How long a patched path may last: its source has built another by then.
const PATCH_LIFETIME: Duration = Duration::from_secs(30);
/// How long a broken bypass is kept for the packets that come back along it.
const DOOMED_LIFETIME: Duration = Duration::from_secs(2);

impl Flows {
    pub(super) fn handle_neighbour_up(
        &mut self,
        neighbour: NeighbourId,
        frame_bytes: usize,
        bits_per_second: u64,
        now: Instant,
    ) {
        let payload_bytes = frame_bytes.saturating_sub(super::LINK_OVERHEAD_BYTES);
        if let Some(known) = self.neighbours.get_mut(&neighbour) {
            known.payload_bytes = payload_bytes;
            known.bits_per_second = bits_per_second;
            let before = std::mem::replace(&mut known.health, Health::Well);
            // Whoever was gone has forgotten its labels, or has started anew.
            if before == Health::Gone {
                self.drop_circuits_over(neighbour, now);
            }
            self.apply_health(neighbour, now);
            return self.hurry_pathless(now);
        }
        let fresh = Neighbour {
            payload_bytes,
            bits_per_second,
            health: Health::Well,
            protection: Protection::None { retry_at: now },
            incoming: Bucket::full(now),
            outgoing: SharedBucket::full(now),
            labels: 0,
        };
        self.neighbours.insert(neighbour, fresh);
        self.hurry_pathless(now);
    }

    fn drop_circuits_over(&mut self, neighbour: NeighbourId, now: Instant) {
        let over: Vec<PathToken> = self
            .circuits
            .iter()
            .filter(|(_, circuit)| circuit.hop_of(neighbour).is_some())
            .map(|(token, _)| *token)
            .collect();
        for token in over {
            let removed = self.remove_circuit(token, |_, hop| hop.neighbour != neighbour);
            if let Some(End::Source(path) | End::Destination(path)) =
                removed.map(|circuit| circuit.end)
            {
                self.lose_path(path, now);
            }
        }
        self.set_protection(neighbour, Protection::None { retry_at: now });
    }

    pub(super) fn handle_suspect(
        &mut self,
        neighbour: NeighbourId,
        routes: &dyn NextHops,
        now: Instant,
    ) {
        self.lose_link(neighbour, Health::Suspect, routes, now);
    }

    pub(super) fn handle_neighbour_down(
        &mut self,
        neighbour: NeighbourId,
        routes: &dyn NextHops,
        now: Instant,
    ) {
        self.lose_link(neighbour, Health::Gone, routes, now);
        self.announced.retain(|_, (of, _)| *of != neighbour);
        self.scores.forget(neighbour);
        for other in self.neighbours.values_mut() {
            other.outgoing.forget(neighbour);
        }
        self.forget_unused(neighbour);
    }

    fn lose_link(
        &mut self,
        neighbour: NeighbourId,
        health: Health,
        routes: &dyn NextHops,
        now: Instant,
    ) {
        let Some(known) = self.neighbours.get_mut(&neighbour) else {
            return;
        };
        let before = known.health;
        known.health = health;
        if before == Health::Well {
            self.apply_health(neighbour, now);
        }
        // Set-ups on their way over this link turn back at once.
        let waiting: Vec<PathToken> = self
            .circuits
            .iter()
            .filter(|(_, circuit)| {
                circuit.pending.is_some()
                    && circuit
                        .downstream
                        .is_some_and(|hop| hop.neighbour == neighbour)
            })
            .map(|(token, _)| *token)
            .collect();
        for token in waiting {
            self.turn_back(token, routes, now);
        }
    }

    pub(super) fn handle_recovered(&mut self, neighbour: NeighbourId, now: Instant) {
        if let Some(known) = self.neighbours.get_mut(&neighbour) {
            known.health = Health::Well;
            self.apply_health(neighbour, now);
        }
    }

    /// Turns all packets that cross this link, or bypasses that start over it, onto what works now, and tells the ends.
    pub(super) fn apply_health(&mut self, neighbour: NeighbourId, now: Instant) {
        let well = self
            .neighbours
            .get(&neighbour)
            .is_some_and(|known| known.health == Health::Well);
        // Links whose bypass starts over this one: what is patched there changes with it.
        let dependent: Vec<NeighbourId> = self
            .neighbours
            .iter()
            .filter(|(id, other)| {
                **id == neighbour
                    || other.health != Health::Well
                        && matches!(other.protection, Protection::Ready { to, .. } if to == neighbour)
            })
            .map(|(id, _)| *id)
            .collect();
        let affected: Vec<(PathToken, NeighbourId)> = self
            .circuits
            .iter()
            .filter(|(_, circuit)| circuit.pending.is_none())
            .filter_map(|(token, circuit)| {
                let at = dependent.iter().find(|id| circuit.hop_of(**id).is_some())?;
                Some((*token, *at))
            })
            .collect();
        for (token, at) in affected {
            self.refresh_actions(token);
            self.report_patch(token, at, now);
        }
        if !well {
            let lost: Vec<(NeighbourId, PathToken)> = self
                .neighbours
                .iter()
                .filter_map(|(id, other)| match other.protection {
                    Protection::Ready { token, to, .. } if to == neighbour => Some((*id, token)),
                    Protection::Ready { .. }
                    | Protection::None { .. }
                    | Protection::Asked { .. }
                    | Protection::Building { .. } => None,
                })
                .collect();
            for (id, token) in lost {
                self.doom(token, now);
                self.lose_protection(id, token);
            }
        }
    }

    /// Tells the other side of a path how it stands with the link to `neighbour`.
    fn report_patch(&mut self, token: PathToken, neighbour: NeighbourId, now: Instant) {
        if let Some(circuit) = self.circuits.get_mut(&token) {
            circuit.touched = now;
        }
        let Some(circuit) = self.circuits.get(&token) else {
            return;
        };
        let Some(hop) = circuit.hop_of(neighbour).copied() else {
            return;
        };
        let end = circuit.end;
        let opposite = circuit.opposite(neighbour).copied();
        let patch = self.patch_of(circuit, neighbour);
        let well = self
            .neighbours
            .get(&neighbour)
            .is_some_and(|known| known.health == Health::Well);
        match (end, circuit.purpose) {
            (End::Source(path) | End::Destination(path), _) => self.patch_path(path, patch, now),
            (End::Relay, Purpose::Flow) => {
                if let Some(other) = opposite {
                    self.send_control(other.neighbour, &FlowMessage::Broken { token, patch });
                }
            }
            // A bypass is not repaired: its owner is told, gets back what is on its way, and builds another.
            (End::Relay, Purpose::Bypass) if !well => match opposite {
                Some(other) if other.theirs.is_none() => {
                    let patch = Patch::Open;
                    self.send_control(other.neighbour, &FlowMessage::Broken { token, patch });
                    self.doom(token, now);
                }
                Some(_) | None => {
                    self.remove_circuit(token, |_, other| other.neighbour != hop.neighbour);
                }
            },
            (End::Relay, Purpose::Bypass) | (End::BypassSource(_) | End::BypassExit, _) => {}
        }
    }

    fn patch_of(&self, circuit: &Circuit, neighbour: NeighbourId) -> Patch {
        match circuit
            .hop_of(neighbour)
            .map(|hop| self.way_over(circuit.purpose, hop))
        {
            Some(Way::Direct { .. }) => Patch::Whole,
            Some(Way::Inside { .. }) => Patch::Patched,
            Some(Way::None) | None => Patch::Open,
        }
    }

    pub(super) fn handle_broken(
        &mut self,
        from: NeighbourId,
        token: PathToken,
        patch: Patch,
        now: Instant,
    ) {
        let Some(circuit) = self.circuits.get(&token) else {
            return self.count_stray();
        };
        if circuit.hop_of(from).is_none() {
            return self.count_stray();
        }
        match circuit.end {
            End::Source(path) | End::Destination(path) => self.patch_path(path, patch, now),
            End::Relay => {
                if let Some(other) = circuit.opposite(from).copied() {
                    self.send_control(other.neighbour, &FlowMessage::Broken { token, patch });
                }
            }
            End::BypassSource(neighbour) => {
                self.doom(token, now);
                self.lose_protection(neighbour, token);
                self.apply_to_lost(neighbour, now);
            }
            End::BypassExit => {}
        }
    }

    /// A broken bypass is kept for as long as packets may still come back along it.
    fn doom(&mut self, token: PathToken, now: Instant) {
        if let Some(circuit) = self.circuits.get_mut(&token) {
            circuit.doomed_at.get_or_insert(now + DOOMED_LIFETIME);
        }
    }

    /// A packet that a link did not get across: goes round it, or back towards its sender.
    pub(super) fn handle_undelivered(
        &mut self,
        neighbour: NeighbourId,
        label: Label,
        payload: Vec<u8>,
        now: Instant,
    ) {
        if let Some(token) = self.outward.get(&(neighbour, label)).copied() {
            let bypass_of = self.circuits.get(&token).map(|circuit| circuit.end);
            if let Some(End::BypassSource(protected)) = bypass_of {
                return self.resend_unwrapped(protected, &payload, now);
            }
            return self.resend(token, neighbour, payload, now);
        }
        // The bypass may have been forgotten already; what it carried for whom is then unknown.
        self.counters.broken_path = self.counters.broken_path.saturating_add(1);
    }

    /// A packet that failed inside our own bypass: the link that it stands for may be back.
    fn resend_unwrapped(&mut self, protected: NeighbourId, payload: &[u8], now: Instant) {
        let inner = split_inner_label(payload)
            .and_then(|(label, rest)| Some((self.outward.get(&(protected, label))?, rest)));
        match inner {
            Some((token, packet)) => self.resend(*token, protected, packet.to_vec(), now),
            None => self.counters.broken_path = self.counters.broken_path.saturating_add(1),
        }
    }

    fn resend(&mut self, token: PathToken, neighbour: NeighbourId, packet: Vec<u8>, now: Instant) {
        let Some(circuit) = self.circuits.get(&token) else {
            return;
        };
        let way = circuit
            .hop_of(neighbour)
            .map_or(Way::None, |hop| self.way_over(circuit.purpose, hop));
        if let Way::Inside { .. } | Way::Direct { .. } = way {
            self.counters.resent = self.counters.resent.saturating_add(1);
            return self.send_way(way, packet);
        }
        self.give_back(token, neighbour, packet, now);
    }

    pub(super) fn send_way(&mut self, way: Way, packet: Vec<u8>) {
        let (to, label, payload) = match way {
            Way::None => return,
            Way::Direct { to, label } => (to, label, packet),
            Way::Inside { to, label, push } => {
                let mut inside = Vec::with_capacity(packet.len().saturating_add(INNER_LABEL_BYTES));
                inside.extend_from_slice(&push.0.to_be_bytes());
                inside.extend_from_slice(&packet);
                (to, label, inside)
            }
        };
        self.outputs
            .push_back(FlowOutput::SendData { to, label, payload });
    }

    /// Hands a packet that can't get over the link to `neighbour` back towards its sender.
    pub(super) fn give_back(
        &mut self,
        token: PathToken,
        neighbour: NeighbourId,
        packet: Vec<u8>,
        now: Instant,
    ) {
        let Some(circuit) = self.circuits.get(&token) else {
            return;
        };
        match circuit.end {
            End::Source(path) | End::Destination(path) => {
                return self.take_back(path, packet, now);
            }
            End::BypassSource(protected) => return self.resend_unwrapped(protected, &packet, now),
            End::Relay => {
                let opposite = circuit.opposite(neighbour).map(|hop| hop.neighbour);
                let to = opposite.filter(|to| self.can_tell(*to));
                if let Some(to) = to
                    && packet.len() <= RETURNED_BYTES_MAX
                {
                    self.counters.returned = self.counters.returned.saturating_add(1);
                    return self.send_control(to, &FlowMessage::Returned { token, packet });
                }
            }
            End::BypassExit => {}
        }
        self.counters.broken_path = self.counters.broken_path.saturating_add(1);
    }

    pub(super) fn handle_returned(
        &mut self,
        from: NeighbourId,
        token: PathToken,
        packet: Vec<u8>,
        now: Instant,
    ) {
        let part = self
            .circuits
            .get(&token)
            .is_some_and(|circuit| circuit.hop_of(from).is_some());
        if part {
            self.give_back(token, from, packet, now);
        } else {
            self.count_stray();
        }
    }

    /// Looks through the paths: expiries, judgements, bypasses that are due or no longer needed.
    pub(super) fn sweep(&mut self, now: Instant) {
        let tokens: Vec<PathToken> = self.circuits.keys().copied().collect();
        for token in tokens {
            let Some(circuit) = self.circuits.get(&token) else {
                continue;
            };
            let lifetime = if circuit.pending.is_some() {
                PENDING_LIFETIME
            } else {
                self.config.label_lifetime
            };
            let idle_since = if circuit.pending.is_some() {
                circuit.born
            } else {
                self.last_used(circuit)
            };
            let over_dead_link = circuit.hops().any(|hop| !self.can_tell(hop.neighbour))
                && now.since(circuit.born.max(circuit.touched)) > PATCH_LIFETIME;
            let doomed = circuit.doomed_at.is_some_and(|at| at <= now);
            if now.since(idle_since) <= lifetime && !over_dead_link && !doomed {
                continue;
            }
            let removed = self.remove_circuit(token, |_, _| true);
            match removed.map(|circuit| circuit.end) {
                Some(End::Source(path) | End::Destination(path)) => self.lose_path(path, now),
                Some(End::Relay | End::BypassSource(_) | End::BypassExit) | None => {}
            }
        }
        self.announced
            .retain(|_, (_, at)| now.since(*at) <= PENDING_LIFETIME);
        self.sweep_protections(now);
        let idle = self.circuits.is_empty() && self.announced.is_empty();
        self.sweep_at = if idle { Instant::NEVER } else { now + SWEEP };
    }

    /// Forgets a neighbour that is gone and that no path uses any more, with the bypass for its link.
    pub(super) fn forget_unused(&mut self, neighbour: NeighbourId) {
        let used = self
            .circuits
            .values()
            .any(|circuit| circuit.hop_of(neighbour).is_some());
        if used {
            return;
        }
        let token = self
            .neighbours
            .get(&neighbour)
            .and_then(|known| known.protection.token());
        self.neighbours.remove(&neighbour);
        if let Some(token) = token {
            self.remove_circuit(token, |_, _| true);
        }
    }
}
