//! Links: who is in reach, an encrypted session with each neighbour that is kept, and what each link is worth.
//!
//! A node says that it is there in beacons; two that want each other run Noise XX under link keys that live for an hour; from
//! then on frames carry index, counter and a seal. Inside the session two contacts recognise each other and prove their
//! long-term keys; strangers learn nothing of them. Whoever gets data acknowledges it, at once when it is alone and every 20 ms
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

use smartmesh_crypto::{Identity, KeyPair, Mac, Rng, Seed};
use smartmesh_types::{
    Destination, Duration, Instant, Label, LinkAddr, NeighbourId, Now, RadioId, RadioInfo, Train,
};
use smartmesh_wire::link::BeaconId;

mod agree;
mod budget;
mod control;
mod flight;
mod fragments;
mod frames;
mod interface;
mod live;
mod meet;
mod peer;
mod quality;
mod recognise;
mod renew;
mod session;
mod spread;

#[cfg(test)]
mod tests;

pub use interface::{
    CONTACTS_MAX, ControlClass, DataFrame, LinkConfig, LinkContact, LinkCounters, LinkInput,
    LinkOutput, NeighbourInfo, Route, SendError,
};
pub use smartmesh_wire::link::{
    LABELS_RESERVED, SESSION_OVERHEAD_BYTES, SESSION_PREFIX_BYTES as FRAME_HEADER_BYTES,
};

/// Bytes behind the payload of a session frame.
pub const FRAME_TAG_BYTES: usize = smartmesh_crypto::TAG_BYTES;

use agree::{Half, Pending};
use budget::{Bucket, FairShare};
use meet::Heard;
use peer::Peer;
use session::SessionTable;

struct Radio {
    info: RadioInfo,
    /// The link key of this radio and its name on the air, and when both are changed.
    key: KeyPair,
    id: BeaconId,
    id_until: Instant,
    beacon_at: Instant,
    beacon_gap: Duration,
    heard: BTreeMap<BeaconId, Heard>,
    share: FairShare,
    /// When to tell the neighbours who else is one.
    around_at: Instant,
}

/// All links of one node.
pub struct Links {
    config: LinkConfig,
    rng: Rng,
    cookie: Mac,
    identity: Identity,
    contacts: Vec<LinkContact>,
    radios: BTreeMap<RadioId, Radio>,
    peers: BTreeMap<u32, Peer>,
    sessions: SessionTable,
    pending: BTreeMap<u32, Pending>,
    halves: BTreeMap<u32, Half>,
    firsts: Bucket,
    work: Bucket,
    displacements: Bucket,
    next_neighbour: u32,
    outputs: VecDeque<LinkOutput>,
    counters: LinkCounters,
}

impl Links {
    /// A node without radios.
    pub fn new(config: LinkConfig, identity: &Identity, seed: &Seed, now: Now) -> Self {
        let mut rng = seed.split("link").rng();
        Self {
            config,
            cookie: Mac::new(&rng.bytes::<32>()),
            rng,
            identity: identity.clone(),
            contacts: Vec::new(),
            radios: BTreeMap::new(),
            peers: BTreeMap::new(),
            sessions: SessionTable::new(),
            pending: BTreeMap::new(),
            halves: BTreeMap::new(),
            firsts: agree::firsts(now.instant),
            work: agree::work(now.instant),
            displacements: spread::displacements(now.instant),
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
            LinkInput::Contacts(contacts) => self.set_contacts(contacts, now.instant),
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
        let radios = self
            .radios
            .values()
            .map(|radio| radio.beacon_at.min(radio.around_at));
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
            identity: peer.identity,
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
            id_until: now + self.draw_key_lifetime(),
            beacon_at: now,
            beacon_gap: meet::BEACON_GAP_MIN,
            heard: BTreeMap::new(),
            share,
            around_at: Instant::NEVER,
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
        self.tell_around_soon(peer.radio, now);
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
                && flown.label >= LABELS_RESERVED
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

/// Counts one more.
fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
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
