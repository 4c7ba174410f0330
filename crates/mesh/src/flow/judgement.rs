//! Who swallows set-ups and packets: each hop has less time than the one before it, so the neighbour of the culprit
//! notices first, goes round it, and tells the hops before it not to blame this one.

use smartmesh_crypto::sha256;
use smartmesh_types::{Duration, Instant, NeighbourId};
use smartmesh_wire::flow::{FlowMessage, PathToken};

use super::budget::Blame;
use super::circuit::End;
use super::{Flows, NextHops};

impl Flows {
    pub(super) fn judge_later(&mut self, token: PathToken, at: Instant) {
        if let Some(circuit) = self.circuits.get_mut(&token) {
            circuit.judge_at = Some(at);
            self.judgements.insert((at, token));
            self.wake_at(at);
        }
    }

    /// The destination has shown that the first packet arrived: a success of the next hop, passed on.
    pub(super) fn handle_proven(
        &mut self,
        from: NeighbourId,
        token: PathToken,
        secret: [u8; 32],
        now: Instant,
    ) {
        let Some(circuit) = self.circuits.get_mut(&token) else {
            return self.count_stray();
        };
        let from_downstream = circuit.downstream.is_some_and(|hop| hop.neighbour == from);
        if !from_downstream || sha256(&[&secret]) != circuit.proof {
            return self.count_stray();
        }
        circuit.judge_at = None;
        let (end, upstream) = (circuit.end, circuit.upstream.map(|hop| hop.neighbour));
        self.scores.record_success(from, now);
        if let Some(upstream) = upstream {
            self.send_control(upstream, &FlowMessage::Proven { token, secret });
        }
        if let End::Source(path) = end {
            self.prove_path(path, &secret, now);
        }
    }

    /// Judges the next hops whose time is up: a set-up without any answer, or a first packet that did not arrive.
    pub(super) fn judge(&mut self, routes: &dyn NextHops, now: Instant) {
        while let Some((at, token)) = self.judgements.first().copied() {
            if at > now {
                return self.wake_at(at);
            }
            self.judgements.remove(&(at, token));
            let Some(circuit) = self.circuits.get_mut(&token) else {
                continue;
            };
            let Some(hop) = circuit.downstream.filter(|_| circuit.judge_at == Some(at)) else {
                continue;
            };
            circuit.judge_at = None;
            let upstream = circuit.upstream;
            self.scores.record_failure(hop.neighbour, Blame::Full, now);
            if circuit.pending.is_none() {
                if let Some(upstream) = upstream {
                    self.send_control(upstream.neighbour, &FlowMessage::Swallowed { token });
                }
                continue;
            }
            self.send_control(hop.neighbour, &FlowMessage::Teardown { token });
            self.turn_back(token, routes, now);
            if let (Some(upstream), true) = (upstream, self.circuits.contains_key(&token)) {
                self.send_control(upstream.neighbour, &FlowMessage::Trying { token });
            }
        }
    }

    /// The next hop says that somebody behind it has swallowed the first packet.
    pub(super) fn handle_swallowed(&mut self, from: NeighbourId, token: PathToken, now: Instant) {
        let Some(circuit) = self.circuits.get_mut(&token) else {
            return self.count_stray();
        };
        if circuit.downstream.is_none_or(|hop| hop.neighbour != from) {
            return self.count_stray();
        }
        circuit.judge_at = None;
        let (end, upstream) = (circuit.end, circuit.upstream);
        self.scores.record_failure(from, Blame::Shared, now);
        if let Some(hop) = upstream {
            self.send_control(hop.neighbour, &FlowMessage::Swallowed { token });
        }
        if let End::Source(path) = end {
            self.doubt_path(path, now);
        }
    }

    /// The source misses acknowledgements, and has just sent pings: whoever has sent packets on asks the next hop and waits for its answer. Who has
    /// got none says nothing, so that the blame falls on the hop that should have sent them.
    pub(super) fn handle_doubt(&mut self, from: NeighbourId, token: PathToken, now: Instant) {
        let Some(circuit) = self.circuits.get(&token) else {
            return self.count_stray();
        };
        let upstream = circuit.upstream.filter(|hop| hop.neighbour == from);
        let used = upstream.and_then(|hop| self.labels.last_used(hop.own?));
        if circuit.pending.is_some() || used.is_none_or(|used| now.since(used) > circuit.patience) {
            return self.count_stray();
        }
        match circuit.end {
            End::Destination(_) => self.send_control(from, &FlowMessage::Swallowed { token }),
            End::Relay => {
                self.pass_doubt(token, now);
            }
            End::Source(_) | End::BypassSource(_) | End::BypassExit => {}
        }
    }

    /// Asks the next hop where packets get lost; returns how long it has to answer.
    pub(super) fn pass_doubt(&mut self, token: PathToken, now: Instant) -> Duration {
        let Some(circuit) = self.circuits.get(&token) else {
            return Duration::ZERO;
        };
        let patience = circuit.patience;
        let Some(hop) = circuit.downstream else {
            return Duration::ZERO;
        };
        self.judge_later(token, now + patience);
        self.send_control(hop.neighbour, &FlowMessage::Doubt { token });
        patience
    }

    /// The next hop asks for time to try another neighbour.
    pub(super) fn handle_trying(&mut self, from: NeighbourId, token: PathToken, now: Instant) {
        let Some(circuit) = self.circuits.get_mut(&token) else {
            return self.count_stray();
        };
        let waits = circuit.pending.is_some()
            && circuit.downstream.is_some_and(|hop| hop.neighbour == from);
        if !waits || circuit.extensions == 0 {
            return self.count_stray();
        }
        circuit.extensions = circuit.extensions.saturating_sub(1);
        let (awaited, at) = (circuit.judge_at.is_some(), now + circuit.patience);
        let upstream = circuit.upstream;
        if awaited {
            self.judge_later(token, at);
        }
        if let Some(hop) = upstream {
            self.send_control(hop.neighbour, &FlowMessage::Trying { token });
        }
    }

    /// The first packet of a path passes this relay: from now on its proof is awaited.
    pub(super) fn note_first_packet(&mut self, token: PathToken, now: Instant) {
        let Some(circuit) = self.circuits.get_mut(&token) else {
            return;
        };
        circuit.first_packet = Some(now);
        let at = now + circuit.patience;
        self.judge_later(token, at);
        self.refresh_actions(token);
    }
}
