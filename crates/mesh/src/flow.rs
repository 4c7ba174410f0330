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
use smartmesh_types::{Address, Duration, FlowId, Instant, Label, NeighbourId, NodeKey, Now, Tag};
use smartmesh_wire::flow::{FlowMessage, PathToken};
use thiserror::Error;

mod budget;
mod circuit;
mod conversation;
mod label;
mod packet;
mod path;
mod repair;
mod set_up;
mod window;

#[cfg(test)]
mod tests;

pub use path::PACKET_OVERHEAD_BYTES;

use budget::Scores;
use circuit::{Circuit, Neighbour};
use conversation::Conversation;
use label::LabelTable;
use path::{Credentials, Path};

/// One way towards a destination, as routing knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Where to send.
    pub neighbour: NeighbourId,
    /// Expected cost of the rest of the way for a packet of 1,280 bytes, microseconds.
    pub metric: u32,
    /// Hops to the destination.
    pub hops: u8,
    /// Whether routing holds it to be free of loops (RFC 8966 §3.5.1).
    pub feasible: bool,
}

/// What flows ask routing.
pub trait NextHops {
    /// A destination's tag in the current epoch.
    fn tag_of(&self, address: Address) -> Tag;
    /// Whether a tag is this node's own, in the previous, the current or the next epoch.
    fn is_own(&self, tag: Tag) -> bool;
    /// The ways towards a destination, best first.
    fn next_hops(&self, tag: Tag) -> Vec<NextHop>;
    /// The next hop along the traces of a finished search.
    fn search_hop(&self, token: [u8; 8]) -> Option<NeighbourId>;
}

/// Ties a request for a search to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchId(pub u64);

/// One end of one path in this node's own table; tells [`Flows::open_payload`] which keys to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathId(pub u32);

/// What a flow's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PayloadKind {
    /// A QUIC packet.
    Quic,
    /// An IP packet of the TUN interface.
    Ip,
    /// A message small enough for one packet.
    Message,
    /// A probe: ping, trace, throughput.
    Probe,
}

impl PayloadKind {
    const fn code(self) -> u8 {
        match self {
            Self::Quic => 0,
            Self::Ip => 1,
            Self::Message => 2,
            Self::Probe => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Quic),
            1 => Some(Self::Ip),
            2 => Some(Self::Message),
            3 => Some(Self::Probe),
            _ => None,
        }
    }
}

/// Limits that differ from device to device.
#[derive(Clone, Copy, Debug)]
pub struct FlowConfig {
    /// Labels given out at most, to all neighbours; about 80 bytes each. When used up, set-ups are refused.
    pub labels_max: usize,
    /// Labels given to one neighbour at most. When used up, its set-ups are refused.
    pub labels_per_neighbour: usize,
    /// Flows of this node's own at most. When used up, the one idle for longest makes room.
    pub flows_max: usize,
    /// Bytes that wait in one flow while its path is built. When full, the oldest packet makes room.
    pub queue_bytes_max: usize,
    /// How long an unused label lives.
    pub label_lifetime: Duration,
    /// Price asked for relaying, in base units per MiB; added to each set-up that passes.
    pub price: u64,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            labels_max: 16_384,
            labels_per_neighbour: 4_096,
            flows_max: 256,
            queue_bytes_max: 128 * 1_024,
            label_lifetime: Duration::from_secs(60),
            price: 0,
        }
    }
}

/// What happens to the flows from outside.
#[derive(Clone, Debug)]
pub enum FlowInput {
    /// A control message of this family from a neighbour, without the family's byte.
    Control {
        /// Who sent it.
        from: NeighbourId,
        /// The message.
        body: Vec<u8>,
    },
    /// A packet on the slow path: reassembled from fragments, or one for which [`Flows::forward`] said
    /// [`Forward::Hold`].
    Data {
        /// Who sent it.
        from: NeighbourId,
        /// Under which label.
        label: Label,
        /// The link's payload.
        payload: Vec<u8>,
    },
    /// A link came up.
    NeighbourUp {
        /// Its neighbour.
        neighbour: NeighbourId,
        /// Its largest frame, in bytes.
        frame_bytes: usize,
        /// Its rate.
        bits_per_second: u64,
    },
    /// A link is gone for good.
    NeighbourDown {
        /// Its neighbour.
        neighbour: NeighbourId,
    },
    /// A link does not answer.
    Suspect {
        /// Its neighbour.
        neighbour: NeighbourId,
    },
    /// It answers again.
    Recovered {
        /// Its neighbour.
        neighbour: NeighbourId,
    },
    /// Routes to this destination have changed.
    RouteChanged {
        /// The destination.
        tag: Tag,
    },
    /// A search has found its target.
    Found {
        /// The request.
        id: SearchId,
        /// Names the traces that it left.
        token: [u8; 8],
    },
    /// A search has found nothing.
    NotFound {
        /// The request.
        id: SearchId,
    },
    /// A packet that the link did not get across.
    Undelivered {
        /// The neighbour it was for.
        neighbour: NeighbourId,
        /// Its label.
        label: Label,
        /// The link's payload.
        payload: Vec<u8>,
    },
    /// The upper layers no longer need a flow.
    Close {
        /// Which.
        flow: FlowId,
    },
    /// Nothing but time has passed.
    Tick,
}

/// What the flows want done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowOutput {
    /// Send a control message of this family.
    SendControl {
        /// To whom.
        to: NeighbourId,
        /// Without the family's byte.
        body: Vec<u8>,
    },
    /// Send a packet.
    SendData {
        /// To whom.
        to: NeighbourId,
        /// Under which label.
        label: Label,
        /// The link's payload.
        payload: Vec<u8>,
    },
    /// Search a destination beyond the zone.
    Search {
        /// Comes back in the answer.
        id: SearchId,
        /// Whom to search.
        target: Address,
    },
    /// Something for the upper layers.
    Event(FlowEvent),
}

/// What the upper layers learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// A flow is ready; opened by either side.
    Up {
        /// Stable until [`FlowEvent::Down`].
        flow: FlowId,
        /// The other side's address.
        peer: Address,
        /// The other side's key, proven.
        key: NodeKey,
        /// Payload bytes in a packet that no hop has to split; larger ones up to 16 KiB pass in fragments.
        mtu: usize,
        /// Rate of the slowest link.
        bits_per_second: u64,
        /// Hops to the other side.
        hops: u8,
        /// Round trip of the set-up.
        rtt: Duration,
    },
    /// A flow has ended.
    Down {
        /// Which.
        flow: FlowId,
        /// Why.
        reason: DownReason,
    },
    /// A payload came in on the slow path.
    Received {
        /// On which flow.
        flow: FlowId,
        /// What it is.
        kind: PayloadKind,
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// A flow's packets go another way now.
    PathChanged {
        /// Which.
        flow: FlowId,
        /// As in [`FlowEvent::Up`].
        mtu: usize,
        /// As in [`FlowEvent::Up`].
        hops: u8,
    },
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// No path to the destination was found.
    NoRoute,
    /// Nobody answered at the destination.
    NoAnswer,
    /// All paths were lost and no other was found in time.
    Lost,
    /// The other side has closed it.
    Closed,
    /// The other side's program has started anew.
    Restarted,
    /// Nobody used it for a long time, or another flow needed its place.
    Idle,
}

/// What to do with a packet that carries a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Send it on.
    Relay {
        /// To whom.
        to: NeighbourId,
        /// Under which label.
        label: Label,
    },
    /// Send it on through a bypass, with an inner label before the payload.
    RelayInside {
        /// To whom.
        to: NeighbourId,
        /// The bypass's label.
        label: Label,
        /// The inner label, big-endian, 4 bytes.
        push: Label,
    },
    /// A bypass ends here: strip the inner label ([`smartmesh_wire::flow::split_inner_label`]) and ask again, as if the
    /// packet came from this neighbour. Bypasses nest at most [`NESTING_MAX`] times.
    Unwrap {
        /// The neighbour whose link the bypass stands for.
        from: NeighbourId,
    },
    /// It is for this node: [`Flows::open_payload`].
    Deliver {
        /// Whose keys open it.
        path: PathId,
    },
    /// Give it to [`FlowInput::Data`].
    Hold,
    /// Drop it; it has been counted.
    Drop(DropReason),
}

/// A packet comes out of at most this many bypasses at one node.
pub const NESTING_MAX: usize = 2;

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The label is not in use.
    UnknownLabel,
    /// The label was given to another neighbour.
    Stranger,
}

/// Why a packet did not open. Says little on purpose; the counters say more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// Shorter than its header.
    #[error("packet too short")]
    Short,
    /// The path's keys are not there yet, or the path is gone.
    #[error("the path has no keys")]
    NotReady,
    /// Seen before, or too old to tell.
    #[error("packet seen before")]
    Replayed,
    /// Not sealed by the other side.
    #[error("packet does not open")]
    Forged,
    /// The handshake failed.
    #[error("handshake failed")]
    Handshake,
}

/// What a packet for this node held.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// A payload for the upper layers.
    Payload {
        /// On which flow.
        flow: FlowId,
        /// What it is.
        kind: PayloadKind,
        /// Its bytes, in place.
        payload: &'a mut [u8],
    },
    /// Something for the flows themselves; outputs may be waiting.
    Consumed,
}

/// What became of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It has been appended to the frame: send it.
    Send {
        /// To whom.
        to: NeighbourId,
        /// Under which label.
        label: Label,
    },
    /// It waits for a path; the frame is unchanged.
    Queued,
}

/// Why a payload was not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// No such flow.
    #[error("no such flow")]
    UnknownFlow,
    /// Larger than [`PAYLOAD_BYTES_MAX`].
    #[error("payload of {0} bytes, at most 16,000 pass")]
    TooLarge(usize),
}

/// Bytes that the link adds to each packet: session index 4, counter 4, label 4, tag 16.
pub(crate) const LINK_OVERHEAD_BYTES: usize = 28;

/// Largest payload of a flow, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16_000;

/// Each kind of drop and refusal, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounters {
    /// Control messages that could not be read.
    pub malformed: u64,
    /// Control messages about a path that this neighbour has no part in.
    pub stray: u64,
    /// Set-ups above a neighbour's budget.
    pub set_ups_over_budget: u64,
    /// Set-ups refused for other reasons.
    pub set_ups_refused: u64,
    /// Set-ups whose sender does not know our address.
    pub knocks_refused: u64,
    /// Set-ups refused because the labels are used up.
    pub labels_used_up: u64,
    /// Packets under a label that is not in use.
    pub unknown_label: u64,
    /// Packets under another neighbour's label.
    pub stolen_label: u64,
    /// Packets that met a broken path and could not be handed back.
    pub broken_path: u64,
    /// Packets seen before.
    pub replayed: u64,
    /// Packets that do not open.
    pub forged: u64,
    /// Packets too short, of an unknown form or kind, or too early.
    pub unreadable: u64,
    /// Packets that a full queue pushed out.
    pub queue_full: u64,
    /// Packets handed back towards their sender.
    pub returned: u64,
    /// Packets sent through a bypass after their link had failed them.
    pub resent: u64,
    /// Paths that acknowledged nothing.
    pub stalls: u64,
    /// Paths built (at this node as source).
    pub paths: u64,
    /// Attempts to build a path (at this node as source).
    pub attempts: u64,
}

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

/// One flow, as the local API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowInfo {
    /// Its id.
    pub flow: FlowId,
    /// The other side.
    pub peer: Address,
    /// Hops, while there is a path.
    pub hops: Option<u8>,
    /// Round trip, while there is a path.
    pub rtt: Option<Duration>,
    /// Payload bytes in a packet that no hop has to split, while there is a path.
    pub mtu: Option<usize>,
}
