//! Links: who is in reach, an encrypted session with each neighbour that is kept, and what each link is worth.
//!
//! A node says that it is there in beacons; two that want each other run Noise XX under link keys that live for an hour; from
//! then on frames carry index, counter and a seal. Whoever gets data acknowledges it, at once when it is alone and every 20 ms
//! in a stream, so that silence is noticed within about a tenth of a second; an idle link only beats every few seconds.
//!
//! | state of a neighbour | on | goes to |
//! |---|---|---|
//! | (none) | beacon or first message, and room for one more | meeting |
//! | meeting | handshake finished | up |
//! | meeting | 5 tries, busy | (none), for a while |
//! | up | data unanswered for longer than the link's patience | suspect |
//! | suspect | an acknowledgement | up |
//! | up, suspect | 10 s without a frame, carrier lost | (none) |
//!
//! It refuses to know destinations: labels from [`LABELS_RESERVED`] up are passed on unseen. Read [`Links`] first.

use std::collections::{BTreeMap, VecDeque};

use smartmesh_crypto::{KeyPair, Mac, Rng, Seed};
use smartmesh_types::{
    Destination, Duration, Instant, Label, LinkAddr, NeighbourId, NodeKey, Now, RadioId, RadioInfo,
    Train,
};
use smartmesh_wire::link::BeaconId;
use thiserror::Error;

mod agree;
mod budget;
mod control;
mod flight;
mod fragments;
mod frames;
mod live;
mod meet;
mod peer;
mod quality;
mod session;

#[cfg(test)]
mod tests;

pub use smartmesh_wire::link::{
    LABELS_RESERVED, SESSION_OVERHEAD_BYTES, SESSION_PREFIX_BYTES as FRAME_HEADER_BYTES,
};

/// Bytes behind the payload of a session frame.
pub const FRAME_TAG_BYTES: usize = smartmesh_crypto::TAG_BYTES;

use budget::{Bucket, FairShare};
use meet::{Half, Heard, Pending};
use peer::Peer;
use session::SessionTable;

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
    /// Nothing but time has passed.
    Tick,
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
    const fn stream(self) -> (usize, usize) {
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

struct Radio {
    info: RadioInfo,
    key: KeyPair,
    id: BeaconId,
    id_until: Instant,
    beacon_at: Instant,
    beacon_gap: Duration,
    heard: BTreeMap<BeaconId, Heard>,
    share: FairShare,
}

/// All links of one node.
pub struct Links {
    config: LinkConfig,
    rng: Rng,
    cookie: Mac,
    radios: BTreeMap<RadioId, Radio>,
    peers: BTreeMap<u32, Peer>,
    sessions: SessionTable,
    pending: BTreeMap<u32, Pending>,
    halves: BTreeMap<u32, Half>,
    firsts: Bucket,
    work: Bucket,
    next_neighbour: u32,
    outputs: VecDeque<LinkOutput>,
    counters: LinkCounters,
}

impl Links {
    /// A node without radios.
    pub fn new(config: LinkConfig, seed: &Seed, now: Now) -> Self {
        let mut rng = seed.split("link").rng();
        Self {
            config,
            cookie: Mac::new(&rng.bytes::<32>()),
            rng,
            radios: BTreeMap::new(),
            peers: BTreeMap::new(),
            sessions: SessionTable::new(),
            pending: BTreeMap::new(),
            halves: BTreeMap::new(),
            firsts: Bucket::new(meet::FIRSTS_PER_SECOND, meet::FIRSTS_BURST, now.instant),
            work: Bucket::new(
                meet::HANDSHAKES_PER_SECOND,
                meet::HANDSHAKES_BURST,
                now.instant,
            ),
            next_neighbour: 1,
            outputs: VecDeque::new(),
            counters: LinkCounters::default(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: LinkInput, now: Now) {
        match input {
            LinkInput::RadioUp { radio, info } => self.handle_radio_up(radio, info, now.instant),
            LinkInput::RadioDown { radio } => {
                self.radios.remove(&radio);
                self.drop_peers(radio, None, now.instant);
            }
            LinkInput::CarrierLost { radio, peer } => self.drop_peers(radio, peer, now.instant),
            LinkInput::Tick => {}
        }
        self.run_due(now.instant);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Links::handle`] at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(Instant::ZERO);
        }
        let radios = self.radios.values().map(|radio| radio.beacon_at);
        let pending = self.pending.values().map(|pending| pending.resend_at);
        let peers = self.peers.values().map(|peer| peer.next_due(&self.config));
        radios.chain(pending).chain(peers).min()
    }

    /// Kept neighbours, in the order in which they came.
    pub fn neighbours(&self) -> impl Iterator<Item = NeighbourInfo> + '_ {
        self.peers.values().map(|peer| self.info(peer))
    }

    /// One kept neighbour.
    pub fn neighbour(&self, neighbour: NeighbourId) -> Option<NeighbourInfo> {
        self.peers.get(&neighbour.0).map(|peer| self.info(peer))
    }

    /// Largest frame to a neighbour, in bytes.
    pub fn frame_bytes(&self, neighbour: NeighbourId) -> Option<usize> {
        self.peers.get(&neighbour.0).map(|peer| peer.frame_bytes)
    }

    /// What was dropped and done since the start.
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// Queues a sealed train.
    pub fn transmit(&mut self, radio: RadioId, addr: LinkAddr, train: Train) {
        self.outputs.push_back(LinkOutput::Transmit {
            radio,
            to: Destination::Peer(addr),
            train,
        });
    }

    fn info(&self, peer: &Peer) -> NeighbourInfo {
        NeighbourInfo {
            id: peer.id,
            radio: peer.radio,
            addr: peer.addr,
            metric: peer.quality.announced(),
            rtt: peer.quality.rtt(),
            loss_permille: peer.quality.loss() / 1_000,
            frame_bytes: peer.frame_bytes,
            bits_per_second: peer.bits_per_second,
            identity: None,
            since: peer.since,
            suspect: peer.suspect,
        }
    }

    fn handle_radio_up(&mut self, radio: RadioId, mut info: RadioInfo, now: Instant) {
        info.frame_bytes = info.frame_bytes.clamp(
            smartmesh_types::FRAME_BYTES_MIN,
            smartmesh_types::FRAME_BYTES_MAX,
        );
        if let Some(known) = self.radios.get_mut(&radio) {
            known.info = info;
            known.restart_beacons(meet::BEACON_GAP_MIN, now);
            return;
        }
        let share = FairShare::new(info.bits_per_second / 8);
        let fresh = Radio {
            key: KeyPair::generate(&mut self.rng),
            id: BeaconId(self.rng.bytes()),
            id_until: now + self.config.key_lifetime,
            beacon_at: now,
            beacon_gap: meet::BEACON_GAP_MIN,
            heard: BTreeMap::new(),
            share,
            info,
        };
        self.radios.insert(radio, fresh);
    }

    fn drop_peers(&mut self, radio: RadioId, addr: Option<LinkAddr>, now: Instant) {
        let gone = self
            .peers
            .values()
            .filter(|peer| peer.radio == radio && addr.is_none_or(|addr| addr == peer.addr));
        let gone: Vec<NeighbourId> = gone.map(|peer| peer.id).collect();
        for neighbour in gone {
            self.drop_peer(neighbour, now);
        }
        self.pending.retain(|_, pending| {
            pending.radio != radio || addr.is_some_and(|addr| addr != pending.addr)
        });
    }

    /// Forgets a neighbour and gives back what was on its way to it.
    fn drop_peer(&mut self, neighbour: NeighbourId, now: Instant) {
        self.give_back(neighbour);
        let Some(peer) = self.peers.remove(&neighbour.0) else {
            return;
        };
        for index in peer.sessions {
            self.sessions.remove(index);
        }
        self.hurry_beacons(peer.radio, now);
        self.outputs.push_back(LinkOutput::Down { neighbour });
    }

    /// The neighbourhood has changed: others should hear of us soon.
    fn hurry_beacons(&mut self, radio: RadioId, now: Instant) {
        let gap = if self.peers.is_empty() {
            meet::BEACON_GAP_MIN
        } else {
            meet::BEACON_GAP_CALM
        };
        if let Some(radio) = self.radios.get_mut(&radio) {
            radio.restart_beacons(gap, now);
        }
    }

    fn give_back(&mut self, neighbour: NeighbourId) {
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        for mut flown in peer.flight.take() {
            let session = self.sessions.find(flown.session);
            if let Some(payload) =
                session.and_then(|session| session.unseal(flown.counter, &mut flown.bytes))
            {
                let label = Label(flown.label);
                self.outputs.push_back(LinkOutput::Undelivered {
                    neighbour,
                    label,
                    payload,
                });
            }
        }
    }
}

impl Radio {
    /// Something is new around: beacons come fast again, the fewer links the faster.
    fn restart_beacons(&mut self, gap: Duration, now: Instant) {
        self.beacon_gap = self.beacon_gap.min(gap);
        self.beacon_at = self.beacon_at.min(now + gap);
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links")
            .field("neighbours", &self.peers.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
