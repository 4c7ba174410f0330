//! What goes into the links and what comes out: settings, inputs, outputs, errors, and what `status` shows.

use smartmesh_crypto::PairSecret;
use smartmesh_types::{
    Destination, Duration, Instant, Label, LinkAddr, NeighbourId, NodeKey, RadioId, RadioInfo,
    Train,
};
use thiserror::Error;

/// Limits and times of the links.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Neighbours kept at most; others are told to ask elsewhere.
    pub kept_max: usize,
    /// With fewer neighbours than this a node asks for more.
    pub kept_wanted: usize,
    /// Neighbours heard of that are remembered for each radio; the one heard longest ago makes room.
    pub heard_max: usize,
    /// How long link keys and beacon ids live.
    pub key_lifetime: Duration,
    /// How long session keys live.
    pub session_lifetime: Duration,
    /// How often an idle link beats.
    pub beat: Duration,
    /// Silence after which a link is gone.
    pub dead: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            kept_max: 8,
            kept_wanted: 6,
            heard_max: 256,
            key_lifetime: Duration::from_secs(3_600),
            session_lifetime: Duration::from_secs(120),
            beat: Duration::from_secs(4),
            dead: Duration::from_secs(10),
        }
    }
}

/// What happens to the links.
#[derive(Clone, Debug)]
pub enum LinkInput {
    /// A radio can be used.
    RadioUp {
        /// Its name.
        radio: RadioId,
        /// What it offers.
        info: RadioInfo,
    },
    /// A radio is gone.
    RadioDown {
        /// Which.
        radio: RadioId,
    },
    /// The system says that a peer, or every peer, of a radio is out of reach.
    CarrierLost {
        /// Which radio.
        radio: RadioId,
        /// Which peer.
        peer: Option<LinkAddr>,
    },
    /// Whom this node knows: to them alone it proves its long-term key, and they stand better than strangers. The first
    /// [`CONTACTS_MAX`] count.
    Contacts(Vec<LinkContact>),
    /// Nothing but time has passed.
    Tick,
}

/// The most contacts that are looked for among the neighbours; more would not fit one message.
pub const CONTACTS_MAX: usize = smartmesh_wire::link::HINTS_MAX;

/// Somebody whom this node knows.
#[derive(Clone, Debug)]
pub struct LinkContact {
    /// Their long-term key.
    pub key: NodeKey,
    /// What only the two can compute.
    pub secret: PairSecret,
}

/// What the links want done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOutput {
    /// Send frames.
    Transmit {
        /// On which radio.
        radio: RadioId,
        /// To whom.
        to: Destination,
        /// The frames.
        train: Train,
    },
    /// A neighbour is there.
    Up {
        /// Its name from now on.
        neighbour: NeighbourId,
        /// Cost of the link, see [`NeighbourInfo::metric`].
        metric: u32,
    },
    /// A neighbour is gone.
    Down {
        /// Which.
        neighbour: NeighbourId,
    },
    /// A neighbour does not answer.
    Suspect {
        /// Which.
        neighbour: NeighbourId,
    },
    /// It answers again.
    Recovered {
        /// Which.
        neighbour: NeighbourId,
    },
    /// The link's cost has changed by a quarter or more.
    Metric {
        /// Which neighbour.
        neighbour: NeighbourId,
        /// The new cost.
        metric: u32,
    },
    /// A control message, in order within its class.
    Control {
        /// From whom.
        from: NeighbourId,
        /// Its bytes.
        message: Vec<u8>,
    },
    /// A packet that came in fragments.
    Data {
        /// From whom.
        from: NeighbourId,
        /// Under which label.
        label: Label,
        /// The packet.
        payload: Vec<u8>,
    },
    /// A packet sent lately that was not acknowledged when the link failed.
    Undelivered {
        /// Whom it was for.
        neighbour: NeighbourId,
        /// Its label.
        label: Label,
        /// The packet.
        payload: Vec<u8>,
    },
    /// A neighbour has proven a long-term key.
    Identified {
        /// Which.
        neighbour: NeighbourId,
        /// Its key.
        key: NodeKey,
    },
}

/// How urgent a control message is; classes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ControlClass {
    /// Routes, repair, calls for help.
    Urgent,
    /// Ordinary gossip.
    Normal,
    /// Carried mail.
    Bulk,
}

impl ControlClass {
    /// The control stream and the bytes that may wait in it.
    pub(super) const fn stream(self) -> (usize, usize) {
        match self {
            Self::Urgent => (0, 256 * 1_024),
            Self::Normal => (1, 128 * 1_024),
            Self::Bulk => (2, 512 * 1_024),
        }
    }
}

/// Where a data frame's payload lies in the bytes of an opened train; its frame begins [`FRAME_HEADER_BYTES`] before and ends
/// [`FRAME_TAG_BYTES`] behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFrame {
    /// From whom.
    pub from: NeighbourId,
    /// Under which label.
    pub label: Label,
    /// First byte of the payload.
    pub start: usize,
    /// Bytes of the payload.
    pub length: usize,
}

/// Where a sealed frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// On which radio.
    pub radio: RadioId,
    /// To which place.
    pub addr: LinkAddr,
}

/// Why something was not sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// The neighbour is gone.
    #[error("no such neighbour")]
    Gone,
    /// Its queue is full.
    #[error("the queue to the neighbour is full")]
    Full,
    /// Larger than what may be sent.
    #[error("too large: {0} bytes")]
    TooLarge(usize),
}

/// One kept neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// Its name here.
    pub id: NeighbourId,
    /// On which radio.
    pub radio: RadioId,
    /// Where.
    pub addr: LinkAddr,
    /// Expected cost of a 1,280-byte packet, in microseconds.
    pub metric: u32,
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Lost frames in parts of 1,000.
    pub loss_permille: u32,
    /// Largest frame that both radios take, in bytes.
    pub frame_bytes: usize,
    /// Rate of the radio.
    pub bits_per_second: u64,
    /// Its long-term key, if it has proven one.
    pub identity: Option<NodeKey>,
    /// Since when it is kept.
    pub since: Instant,
    /// Whether it does not answer.
    pub suspect: bool,
}

/// What the links counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames that no layout fits.
    pub malformed: u64,
    /// Frames larger than the radio's or cut short.
    pub wrong_size: u64,
    /// Session frames of no known session.
    pub unknown_session: u64,
    /// Frames seen before or too old to tell.
    pub replayed: u64,
    /// Frames that do not open.
    pub forged: u64,
    /// First messages of a version that is not spoken here.
    pub unknown_version: u64,
    /// First messages answered with a cookie instead of work.
    pub cookies_sent: u64,
    /// First messages above the budget.
    pub handshakes_over_budget: u64,
    /// Handshakes that failed.
    pub handshakes_failed: u64,
    /// Handshakes that made a link or new keys.
    pub handshakes: u64,
    /// Requests for a link that were turned down because there are enough.
    pub busy: u64,
    /// Links given up for one into a neighbourhood that was out of reach, or to somebody who had none.
    pub displaced: u64,
    /// Neighbours that have proven to be contacts.
    pub identified: u64,
    /// Proofs of a contact whose signature is not theirs.
    pub false_proofs: u64,
    /// Control frames above a neighbour's budget.
    pub control_over_budget: u64,
    /// Data frames above a neighbour's share of the air.
    pub data_over_share: u64,
    /// Fragments and segments that fit nothing.
    pub refused_pieces: u64,
    /// Frames with a reserved label that has no meaning.
    pub unknown_label: u64,
    /// Links that fell silent while in use.
    pub suspected: u64,
    /// Data frames sent again by the link itself.
    pub resent: u64,
}
