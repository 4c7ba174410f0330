//! Flows: authenticated, sealed datagram pipes between two node keys, over label-switched paths that repair themselves.
//!
//! A set-up walks hop by hop to the destination and reserves a label at each node, a confirmation walks back with the
//! labels, and from then on a relay sees only "this label from this neighbour goes to that neighbour under that label"
//! ([`Flows::forward`]). The ends run a Noise XX handshake inside these messages and the first packet. Around each link
//! that carries a path, the nodes at both of its ends keep a bypass ready; when the link falls silent, traffic goes there
//! at once and the ends build a new path. What acknowledgements don't cover is noticed within half a second, and the path
//! is built again elsewhere: relays that swallow packets are walked around.
//!
//! A path at a node:
//!
//! | state | on | goes to |
//! |---|---|---|
//! | (none) | SetUp | pending: label reserved, SetUp sent on; or refused |
//! | pending | Refuse, neighbour lost | pending at the next candidate; refused when there is none |
//! | pending | Confirm | open: packets pass, Confirm sent back |
//! | pending | 5 s | (none) |
//! | open | next hop suspect or down | patched, if a bypass is ready, else broken; the other side is told |
//! | patched, broken | link recovered | open |
//! | any | Teardown, 60 s without a packet | (none), labels freed |
//!
//! Read [`Flows`] and [`Forward`] first. It refuses to know how routes are found ([`NextHops`]) or how links work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_crypto::{Identity, Rng, Seed};
use smartmesh_types::{Address, FlowId, Instant, Label, NeighbourId, Now};
use smartmesh_wire::flow::{FlowMessage, PathToken};

mod budget;
mod circuit;
mod conversation;
mod interface;
mod judgement;
mod label;
mod packet;
mod path;
mod protection;
mod repair;
mod seek;
mod set_up;
mod timers;
mod window;

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test networks are small"
)]
mod tests;

use interface::LINK_OVERHEAD_BYTES;
pub use interface::{
    DownReason, DropReason, FlowConfig, FlowCounters, FlowEvent, FlowInfo, FlowInput, FlowOutput,
    Forward, NESTING_MAX, NextHops, OpenError, Opened, PAYLOAD_BYTES_MAX, PathId, PayloadKind,
    Sealed, SendError,
};
pub use path::PACKET_OVERHEAD_BYTES;

use budget::Scores;
use circuit::{Circuit, Neighbour};
use conversation::Conversation;
use label::LabelTable;
use path::{Credentials, Path};

/// The data plane of one node: its labels, its part in others' paths, and its own flows.
pub struct Flows {
    config: FlowConfig,
    own: Credentials,
    rng: Rng,
    labels: LabelTable,
    /// Every path that runs through this node or ends here, by its token.
    circuits: BTreeMap<PathToken, Circuit>,
    /// Labels that neighbours have given us, to find the path of a packet that comes back.
    outward: BTreeMap<(NeighbourId, Label), PathToken>,
    neighbours: BTreeMap<NeighbourId, Neighbour>,
    /// Bypasses that a neighbour has announced: who, and when.
    announced: BTreeMap<PathToken, (NeighbourId, Instant)>,
    scores: Scores,
    /// When which path's next hop is judged.
    judgements: BTreeSet<(Instant, PathToken)>,
    paths: Vec<Option<Box<Path>>>,
    conversations: BTreeMap<FlowId, Conversation>,
    by_peer: BTreeMap<Address, FlowId>,
    next_flow: u64,
    next_search: u64,
    /// The latest time seen.
    clock: Instant,
    wake: Instant,
    sweep_at: Instant,
    outputs: VecDeque<FlowOutput>,
    counters: FlowCounters,
}

impl Flows {
    /// A node without neighbours or flows.
    pub fn new(config: FlowConfig, identity: &Identity, seed: &Seed, now: Now) -> Self {
        let mut rng = seed.split("flow").rng();
        Self {
            own: Credentials::new(identity, &mut rng),
            labels: LabelTable::new(config.labels_max, &mut rng),
            config,
            rng,
            circuits: BTreeMap::new(),
            outward: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            announced: BTreeMap::new(),
            scores: Scores::default(),
            judgements: BTreeSet::new(),
            paths: Vec::new(),
            conversations: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            next_flow: 1,
            next_search: 1,
            clock: now.instant,
            wake: Instant::NEVER,
            sweep_at: Instant::NEVER,
            outputs: VecDeque::new(),
            counters: FlowCounters::default(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: FlowInput, routes: &dyn NextHops, now: Now) {
        let at = now.instant;
        self.clock = self.clock.max(at);
        match input {
            FlowInput::Control { from, body } => self.handle_control(from, &body, routes, at),
            FlowInput::Data {
                from,
                label,
                payload,
            } => self.handle_data(from, label, payload, at),
            FlowInput::NeighbourUp {
                neighbour,
                frame_bytes,
                bits_per_second,
            } => self.handle_neighbour_up(neighbour, frame_bytes, bits_per_second, at),
            FlowInput::NeighbourDown { neighbour } => {
                self.handle_neighbour_down(neighbour, routes, at);
            }
            FlowInput::Suspect { neighbour } => self.handle_suspect(neighbour, routes, at),
            FlowInput::Recovered { neighbour } => self.handle_recovered(neighbour, at),
            FlowInput::RouteChanged { tag } => self.handle_route_changed(tag, routes, at),
            FlowInput::Found { id, token } => self.handle_found(id, token, at),
            FlowInput::NotFound { id } => self.handle_not_found(id),
            FlowInput::Undelivered {
                neighbour,
                label,
                payload,
            } => self.handle_undelivered(neighbour, label, payload, at),
            FlowInput::Close { flow } => self.handle_close(flow, at),
            FlowInput::Tick => {}
        }
        self.run_timers(routes, at);
    }

    fn handle_control(
        &mut self,
        from: NeighbourId,
        body: &[u8],
        routes: &dyn NextHops,
        now: Instant,
    ) {
        let Ok(message) = FlowMessage::decode(body) else {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return;
        };
        if !self.neighbours.contains_key(&from) {
            self.counters.stray = self.counters.stray.saturating_add(1);
            return;
        }
        match message {
            FlowMessage::SetUp(set_up) => self.handle_set_up(from, set_up, routes, now),
            FlowMessage::Confirm(confirm) => self.handle_confirm(from, confirm, now),
            FlowMessage::Refuse { token, tries, .. } => {
                self.handle_refuse(from, token, tries, routes, now);
            }
            FlowMessage::Proven { token, secret } => self.handle_proven(from, token, secret, now),
            FlowMessage::Teardown { token } => self.handle_teardown(from, token, now),
            FlowMessage::Broken { token, patch } => self.handle_broken(from, token, patch, now),
            FlowMessage::Refresh { token } => self.handle_refresh(from, token, now),
            FlowMessage::Returned { token, packet } => {
                self.handle_returned(from, token, packet, now);
            }
            FlowMessage::Protect { token } => self.handle_protect(from, token, routes, now),
            FlowMessage::Protected { token, tag } => {
                self.handle_protected(from, token, tag, routes, now);
            }
            FlowMessage::Swallowed { token } => self.handle_swallowed(from, token, now),
            FlowMessage::Doubt { token } => self.handle_doubt(from, token, now),
            FlowMessage::Trying { token } => self.handle_trying(from, token, now),
        }
    }

    /// The next thing to do, or `None` when all is done.
    pub fn poll_output(&mut self) -> Option<FlowOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle`] again at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(Instant::ZERO);
        }
        let at = self.wake.min(self.sweep_at);
        (at != Instant::NEVER).then_some(at)
    }

    /// What was dropped and done since the start.
    pub fn counters(&self) -> &FlowCounters {
        &self.counters
    }

    /// Labels given out and not freed.
    pub fn labels_used(&self) -> usize {
        self.labels.used()
    }

    /// The flows that exist, as the local API shows them.
    pub fn flows(&self) -> impl Iterator<Item = FlowInfo> {
        self.conversations.values().map(|one| {
            let path = one.active.and_then(|id| self.path(id));
            FlowInfo {
                flow: one.id,
                peer: one.peer,
                hops: path.map(|path| path.hops),
                rtt: path.map(|path| path.rtt),
                mtu: path.map(Path::mtu),
            }
        })
    }

    #[cfg(test)]
    fn labels_of_test(&self) -> Vec<(NeighbourId, Label)> {
        let hops = self.circuits.values().flat_map(Circuit::hops);
        hops.filter_map(|hop| Some((hop.neighbour, hop.own?)))
            .collect()
    }

    /// Whether nothing is left of any path.
    #[cfg(test)]
    fn is_empty_test(&self) -> bool {
        self.circuits.is_empty()
            && self.outward.is_empty()
            && self.announced.is_empty()
            && self.paths.iter().all(Option::is_none)
            && self.neighbours.values().all(|one| one.labels == 0)
    }

    /// Wakes at this moment at the latest.
    fn wake_at(&mut self, at: Instant) {
        self.wake = self.wake.min(at);
    }

    fn send_control(&mut self, to: NeighbourId, message: &FlowMessage) {
        self.outputs.push_back(FlowOutput::SendControl {
            to,
            body: message.encode(),
        });
    }

    fn emit(&mut self, event: FlowEvent) {
        self.outputs.push_back(FlowOutput::Event(event));
    }

    fn path(&self, id: PathId) -> Option<&Path> {
        self.paths.get(usize::try_from(id.0).ok()?)?.as_deref()
    }

    fn path_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.paths
            .get_mut(usize::try_from(id.0).ok()?)?
            .as_deref_mut()
    }

    /// Stores a path in the first free place: there are few, and the place is short-lived.
    fn insert_path(&mut self, path: Path) -> Option<PathId> {
        let free = self.paths.iter().position(Option::is_none);
        let index = free.unwrap_or(self.paths.len());
        if free.is_none() {
            self.paths.push(None);
        }
        *self.paths.get_mut(index)? = Some(Box::new(path));
        u32::try_from(index).ok().map(PathId)
    }

    fn remove_path(&mut self, id: PathId) -> Option<Box<Path>> {
        self.paths.get_mut(usize::try_from(id.0).ok()?)?.take()
    }
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flows")
            .field("circuits", &self.circuits.len())
            .field("flows", &self.conversations.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
