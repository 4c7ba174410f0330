//! Building paths: set-ups that walk on, turn back and try again; confirmations; proofs; the end of a path.

use smartmesh_types::{Duration, Instant, Label, NeighbourId};
use smartmesh_wire::flow::{Confirm, FlowMessage, PathToken, Purpose, Refusal, SetUp};

use crate::route::SearchToken;

use super::circuit::{Aim, Circuit, End, Hop, Pending, Stray};
use super::label::Action;
use super::path::{Answer, Path, verify_knock};
use super::{Flows, NextHops};

/// Neighbours that one relay tries for one set-up: more would spend the source's tries in one corner.
const TRIES_PER_NODE: usize = 4;
/// How long a set-up may wait for its answer at a relay: 64 hops of 40 ms both ways, as over Bluetooth.
pub(super) const PENDING_LIFETIME: Duration = Duration::from_secs(5);
/// Time that a next hop has for an answer, beside what the metric or the round trip says. Each hop nearer to the
/// destination has [`ANSWER_PER_HOP`] less, so that the one next to the culprit notices first.
const ANSWER_BASE: Duration = Duration::from_millis(80);
const ANSWER_PER_HOP: Duration = Duration::from_millis(10);
/// Times that a next hop may ask for more time for one set-up.
const EXTENSIONS: u8 = 6;

impl Flows {
    pub(super) fn handle_set_up(
        &mut self,
        from: NeighbourId,
        set_up: SetUp,
        routes: &dyn NextHops,
        now: Instant,
    ) {
        let (token, tries) = (set_up.token, set_up.tries);
        if let Err(reason) = self.take_set_up(from, set_up, routes, now) {
            self.counters.set_ups_refused = self.counters.set_ups_refused.saturating_add(1);
            let message = FlowMessage::Refuse {
                token,
                reason,
                tries,
            };
            self.send_control(from, &message);
        }
    }

    fn take_set_up(
        &mut self,
        from: NeighbourId,
        set_up: SetUp,
        routes: &dyn NextHops,
        now: Instant,
    ) -> Result<(), Refusal> {
        let neighbour = self.neighbours.get_mut(&from).ok_or(Refusal::Quota)?;
        if !neighbour.incoming.take(now) {
            self.counters.set_ups_over_budget = self.counters.set_ups_over_budget.saturating_add(1);
            return Err(Refusal::Quota);
        }
        let token = set_up.token;
        if self.circuits.contains_key(&token) {
            return Err(Refusal::Loop);
        }
        let theirs = match set_up.purpose {
            Purpose::Flow => Some(Label(set_up.label)),
            Purpose::Bypass => None,
        };
        // A label that the neighbour uses twice would mix two paths up.
        if theirs.is_some_and(|label| self.outward.contains_key(&(from, label))) {
            return Err(Refusal::Unknown);
        }
        let end = match set_up.purpose {
            Purpose::Bypass => self
                .announced
                .get(&token)
                .map(|(of, _)| Action::Unwrap { from: *of }),
            Purpose::Flow => None,
        };
        if let Some(action) = end {
            return self.end_bypass(from, &set_up, action, now);
        }
        if routes.is_own(set_up.tag()) {
            return match set_up.purpose {
                Purpose::Flow => self.answer_set_up(from, &set_up, now),
                Purpose::Bypass => Err(Refusal::Unknown),
            };
        }
        if set_up.hop_limit == 0 {
            return Err(Refusal::HopLimit);
        }
        let own = self
            .allocate_label(from, token, Action::Hold, now)
            .ok_or(Refusal::Quota)?;
        let upstream = Hop {
            neighbour: from,
            own: Some(own),
            theirs,
        };
        self.insert_circuit(End::Relay, Some(upstream), set_up, now);
        self.advance(token, routes, now).inspect_err(|_| {
            self.remove_circuit(token, |_, _| false);
        })
    }

    /// Stores a path whose set-up is to be sent on.
    pub(super) fn insert_circuit(
        &mut self,
        end: End,
        upstream: Option<Hop>,
        set_up: SetUp,
        now: Instant,
    ) {
        let token = set_up.token;
        if let Some((neighbour, label)) =
            upstream.and_then(|hop| Some((hop.neighbour, hop.theirs?)))
        {
            self.outward.insert((neighbour, label), token);
        }
        let circuit = Circuit {
            purpose: set_up.purpose,
            end,
            upstream,
            downstream: None,
            proof: set_up.proof,
            pending: Some(Box::new(Pending {
                set_up,
                tried: Vec::new(),
            })),
            born: now,
            touched: now,
            judge_at: None,
            patience: ANSWER_BASE,
            extensions: EXTENSIONS,
            first_packet: None,
            sent_at: now,
            doomed_at: None,
        };
        self.circuits.insert(token, circuit);
        self.sweep_at = self.sweep_at.min(now + super::repair::SWEEP);
    }

    /// Sends a pending set-up to the next candidate.
    pub(super) fn advance(
        &mut self,
        token: PathToken,
        routes: &dyn NextHops,
        now: Instant,
    ) -> Result<(), Refusal> {
        let circuit = self.circuits.get_mut(&token).ok_or(Refusal::Unknown)?;
        let from = circuit.upstream.map(|hop| hop.neighbour);
        let end = circuit.end;
        let old = circuit.downstream.take();
        let pending = circuit.pending.clone().ok_or(Refusal::Unknown)?;
        if let Some(hop) = old {
            self.release_hop(&hop);
        }
        if pending.set_up.tries == 0 {
            return Err(Refusal::Tries);
        }
        if pending.tried.len() >= TRIES_PER_NODE {
            return Err(Refusal::NoRoute);
        }
        let mut exclude = pending.tried.clone();
        if let End::BypassSource(protected) = end {
            exclude.push(protected);
        }
        let aim = Aim {
            from,
            tag: pending.set_up.tag(),
            search: pending.set_up.search.map(SearchToken),
            nonce: pending.set_up.nonce,
            explore: pending.set_up.explore,
            exclude: &exclude,
            stray: Stray::Allowed,
        };
        let next = self.candidates(&aim, routes, now).first().copied();
        let next = next.ok_or(Refusal::NoRoute)?;
        let patience = answer_time(&pending.set_up, next, routes);
        if let Some(circuit) = self.circuits.get_mut(&token) {
            circuit.patience = patience;
        }
        self.send_set_up(token, next, now)?;
        self.judge_later(token, now + patience);
        Ok(())
    }

    /// Sends a pending set-up to this neighbour, with what this hop adds to it.
    pub(super) fn send_set_up(
        &mut self,
        token: PathToken,
        next: NeighbourId,
        now: Instant,
    ) -> Result<(), Refusal> {
        let circuit = self.circuits.get_mut(&token).ok_or(Refusal::Unknown)?;
        let from = circuit.upstream.map(|hop| hop.neighbour);
        let purpose = circuit.purpose;
        let action = match circuit.end {
            End::Source(path) => Action::Deliver { path },
            End::Relay | End::Destination(_) | End::BypassSource(_) | End::BypassExit => {
                Action::Hold
            }
        };
        circuit.sent_at = now;
        let pending = circuit.pending.as_mut().ok_or(Refusal::Unknown)?;
        pending.tried.push(next);
        pending.set_up.tries = pending.set_up.tries.saturating_sub(1);
        let mut set_up = pending.set_up.clone();
        let neighbour = self.neighbours.get_mut(&next).ok_or(Refusal::NoRoute)?;
        if let Some(from) = from
            && !neighbour.outgoing.take(from, now)
        {
            self.counters.set_ups_over_budget = self.counters.set_ups_over_budget.saturating_add(1);
            return Err(Refusal::Quota);
        }
        let payload_bytes = u32::try_from(neighbour.payload_bytes).unwrap_or(u32::MAX);
        set_up.payload_bytes = set_up.payload_bytes.min(payload_bytes);
        set_up.bits_per_second = set_up.bits_per_second.min(neighbour.bits_per_second);
        set_up.hop_limit = set_up.hop_limit.saturating_sub(1);
        if from.is_some() {
            set_up.price = set_up.price.saturating_add(self.config.price);
        }
        let lifetime = u16::try_from(self.config.label_lifetime.as_secs()).unwrap_or(u16::MAX);
        set_up.lifetime_secs = set_up.lifetime_secs.min(lifetime);
        let own = match purpose {
            Purpose::Flow => Some(
                self.allocate_label(next, token, action, now)
                    .ok_or(Refusal::Quota)?,
            ),
            Purpose::Bypass => None,
        };
        set_up.label = own.map_or(0, |label| label.0);
        if let Some(circuit) = self.circuits.get_mut(&token) {
            circuit.downstream = Some(Hop {
                neighbour: next,
                own,
                theirs: None,
            });
        }
        self.refresh_actions(token);
        self.send_control(next, &FlowMessage::SetUp(set_up));
        Ok(())
    }

    /// Ends a bypass here: what comes out of it counts as coming over the link that it stands for.
    fn end_bypass(
        &mut self,
        from: NeighbourId,
        set_up: &SetUp,
        action: Action,
        now: Instant,
    ) -> Result<(), Refusal> {
        let own = self
            .allocate_label(from, set_up.token, action, now)
            .ok_or(Refusal::Quota)?;
        let upstream = Hop {
            neighbour: from,
            own: Some(own),
            theirs: None,
        };
        self.insert_circuit(End::BypassExit, Some(upstream), set_up.clone(), now);
        self.confirm_end(from, set_up, own, Vec::new());
        Ok(())
    }

    /// Answers a set-up to this node, if its sender knows the address.
    fn answer_set_up(
        &mut self,
        from: NeighbourId,
        set_up: &SetUp,
        now: Instant,
    ) -> Result<(), Refusal> {
        if !verify_knock(self.own.address, &set_up.token, &set_up.first) {
            self.counters.knocks_refused = self.counters.knocks_refused.saturating_add(1);
            return Err(Refusal::Unknown);
        }
        let own = self
            .allocate_label(from, set_up.token, Action::Hold, now)
            .ok_or(Refusal::Quota)?;
        let answer = Path::respond(
            &self.own,
            set_up.token,
            &set_up.first,
            &set_up.proof,
            &mut self.rng,
            now,
        );
        let upstream = Hop {
            neighbour: from,
            own: Some(own),
            theirs: Some(Label(set_up.label)),
        };
        let Ok(Answer { mut path, second }) = answer else {
            self.release_hop(&upstream);
            return Err(Refusal::Unknown);
        };
        path.payload_bytes = usize::try_from(set_up.payload_bytes).unwrap_or(usize::MAX);
        path.bits_per_second = set_up.bits_per_second;
        path.lifetime = Duration::from_secs(u64::from(set_up.lifetime_secs));
        let id = self.insert_path(path).ok_or(Refusal::Quota)?;
        self.labels.set_action(own, Action::Deliver { path: id });
        self.insert_circuit(End::Destination(id), Some(upstream), set_up.clone(), now);
        self.refresh_actions(set_up.token);
        self.confirm_end(from, set_up, own, second);
        self.protect_if_used(from, now);
        Ok(())
    }

    fn confirm_end(&mut self, to: NeighbourId, set_up: &SetUp, own: Label, second: Vec<u8>) {
        if let Some(circuit) = self.circuits.get_mut(&set_up.token) {
            circuit.pending = None;
        }
        let confirm = Confirm {
            token: set_up.token,
            label: own.0,
            hops: 0,
            payload_bytes: set_up.payload_bytes,
            bits_per_second: set_up.bits_per_second,
            price: set_up.price,
            lifetime_secs: set_up.lifetime_secs,
            second,
        };
        self.send_control(to, &FlowMessage::Confirm(confirm));
    }

    pub(super) fn handle_confirm(&mut self, from: NeighbourId, mut confirm: Confirm, now: Instant) {
        let token = confirm.token;
        let label = Label(confirm.label);
        let expected = self.circuits.get(&token).is_some_and(|circuit| {
            circuit.pending.is_some() && circuit.downstream.is_some_and(|hop| hop.neighbour == from)
        });
        if !expected || self.outward.contains_key(&(from, label)) {
            self.count_stray();
            let part = self
                .circuits
                .get(&token)
                .is_some_and(|circuit| circuit.hop_of(from).is_some());
            if !part {
                self.send_control(from, &FlowMessage::Teardown { token });
            }
            return;
        }
        self.outward.insert((from, label), token);
        let Some(circuit) = self.circuits.get_mut(&token) else {
            return;
        };
        circuit.pending = None;
        circuit.touched = now;
        circuit.judge_at = None;
        // What the first packet and its proof will need, with room; the confirmation has just needed this.
        circuit.patience = ANSWER_BASE
            .saturating_add(ANSWER_PER_HOP.saturating_mul(u32::from(confirm.hops)))
            .saturating_add(now.since(circuit.sent_at).saturating_mul(2));
        if let Some(hop) = circuit.downstream.as_mut() {
            hop.theirs = Some(label);
        }
        let (end, upstream) = (circuit.end, circuit.upstream);
        confirm.hops = confirm.hops.saturating_add(1);
        self.refresh_actions(token);
        match (end, upstream) {
            (End::Relay, Some(hop)) => {
                let lifetime =
                    u16::try_from(self.config.label_lifetime.as_secs()).unwrap_or(u16::MAX);
                confirm.lifetime_secs = confirm.lifetime_secs.min(lifetime);
                confirm.label = hop.own.map_or(0, |own| own.0);
                let purpose = self.circuits.get(&token).map(|circuit| circuit.purpose);
                self.send_control(hop.neighbour, &FlowMessage::Confirm(confirm));
                if purpose == Some(Purpose::Flow) {
                    self.protect_if_used(from, now);
                    self.protect_if_used(hop.neighbour, now);
                }
            }
            (End::Source(path), _) => {
                self.protect_if_used(from, now);
                self.confirm_path(path, from, &confirm, now);
            }
            (End::BypassSource(neighbour), _) => {
                self.finish_protection(neighbour, token, from, label, now);
            }
            (End::Relay | End::Destination(_) | End::BypassExit, _) => {}
        }
    }

    pub(super) fn handle_refuse(
        &mut self,
        from: NeighbourId,
        token: PathToken,
        tries: u8,
        routes: &dyn NextHops,
        now: Instant,
    ) {
        let Some(circuit) = self.circuits.get_mut(&token) else {
            return self.count_stray();
        };
        let from_downstream = circuit.downstream.is_some_and(|hop| hop.neighbour == from);
        let Some(pending) = circuit.pending.as_mut().filter(|_| from_downstream) else {
            return self.count_stray();
        };
        pending.set_up.tries = pending.set_up.tries.min(tries);
        circuit.judge_at = None;
        self.turn_back(token, routes, now);
    }

    /// The next hop of a pending set-up does not lead on: tries another, or turns back.
    pub(super) fn turn_back(&mut self, token: PathToken, routes: &dyn NextHops, now: Instant) {
        let Some(circuit) = self.circuits.get(&token) else {
            return;
        };
        if let End::Source(path) = circuit.end {
            self.fail_attempt(path, now);
            return;
        }
        let Err(reason) = self.advance(token, routes, now) else {
            return;
        };
        let Some(circuit) = self.remove_circuit(token, |_, _| false) else {
            return;
        };
        if let (Some(hop), Some(pending)) = (circuit.upstream, circuit.pending) {
            let message = FlowMessage::Refuse {
                token,
                reason,
                tries: pending.set_up.tries,
            };
            self.send_control(hop.neighbour, &message);
        }
    }

    pub(super) fn handle_teardown(&mut self, from: NeighbourId, token: PathToken, now: Instant) {
        let part = self
            .circuits
            .get(&token)
            .is_some_and(|circuit| circuit.hop_of(from).is_some());
        if !part {
            self.announced.remove(&token);
            return;
        }
        let removed = self.remove_circuit(token, |_, hop| hop.neighbour != from);
        match removed.map(|circuit| circuit.end) {
            Some(End::Source(path) | End::Destination(path)) => self.lose_path(path, now),
            Some(End::Relay | End::BypassSource(_) | End::BypassExit) | None => {}
        }
    }

    pub(super) fn count_stray(&mut self) {
        self.counters.stray = self.counters.stray.saturating_add(1);
    }
}

/// How long a neighbour may take to answer a set-up: what routing expects of the way, there and back three times over,
/// and more with each attempt, in case routing is wrong.
fn answer_time(set_up: &SetUp, next: NeighbourId, routes: &dyn NextHops) -> Duration {
    let known = routes
        .next_hops(set_up.tag())
        .into_iter()
        .find(|hop| hop.neighbour == next);
    let (metric, hops) = known.map_or((20_000, 8), |hop| (hop.metric, hop.hops));
    let time = ANSWER_BASE
        .saturating_add(ANSWER_PER_HOP.saturating_mul(u32::from(hops)))
        .saturating_add(Duration::from_micros(u64::from(metric)).saturating_mul(6));
    let patience = u32::from(set_up.explore).saturating_add(2);
    time.saturating_mul(patience)
        .checked_div(2)
        .unwrap_or(time)
        .min(PENDING_LIFETIME)
}
