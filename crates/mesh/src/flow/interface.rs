//! What goes into the flows and what comes out.

use smartmesh_types::{Address, Duration, FlowId, Label, NeighbourId, NodeKey, Tag};
use thiserror::Error;

use crate::route::{NextHop, Routes, SearchId, SearchToken};

/// What flows ask routing.
pub trait NextHops {
    /// A destination's tag in the current epoch.
    fn tag_of(&self, address: Address) -> Tag;
    /// Whether a tag is this node's own, in the previous, the current or the next epoch.
    fn is_own(&self, tag: Tag) -> bool;
    /// The ways towards a destination, best first.
    fn next_hops(&self, tag: Tag) -> Vec<NextHop>;
    /// The next hop along the traces of a finished search.
    fn search_hop(&self, token: SearchToken) -> Option<NeighbourId>;
}

impl NextHops for Routes {
    fn tag_of(&self, address: Address) -> Tag {
        Self::tag_of(self, address)
    }

    fn is_own(&self, tag: Tag) -> bool {
        Self::is_own(self, tag)
    }

    fn next_hops(&self, tag: Tag) -> Vec<NextHop> {
        Self::next_hops(self, tag)
    }

    fn search_hop(&self, token: SearchToken) -> Option<NeighbourId> {
        Self::search_hop(self, token)
    }
}

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
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Quic => 0,
            Self::Ip => 1,
            Self::Message => 2,
            Self::Probe => 3,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
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
        token: SearchToken,
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
pub(super) const LINK_OVERHEAD_BYTES: usize = 28;

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
