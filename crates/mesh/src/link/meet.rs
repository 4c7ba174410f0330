//! Finding each other and agreeing on keys: beacons, and Noise XX with a version, a cookie against floods, and an offer from
//! each side inside the sealed payload.

use smartmesh_crypto::{CipherSuite, Finished, Handshake, KeyPair, Pattern};
use smartmesh_types::{Destination, Duration, Instant, LinkAddr, NeighbourId, RadioId, Train};
use smartmesh_wire::link::{Beacon, BeaconId, ClearFrame, FirstMessage, Offer, Purpose, Versions};

use super::budget::{Bucket, Share};
use super::control::Control;
use super::flight::Flight;
use super::fragments::Reassembly;
use super::peer::Peer;
use super::quality::Quality;
use super::session::Session;
use super::{LinkOutput, Links};

/// The versions of the link protocol spoken here.
pub(super) const VERSIONS: Versions = Versions { min: 1, max: 1 };
/// First and slowest pace of beacons: fast while something is new around, slow when nothing is.
pub(super) const BEACON_GAP_MIN: Duration = Duration::from_millis(10);
/// The pace to which a node with enough links returns when something changes.
pub(super) const BEACON_GAP_CALM: Duration = Duration::from_secs(1);
const BEACON_GAP_MAX: Duration = Duration::from_secs(6);
/// First messages a second that are worth a look, and how many at once; above that a cookie is asked for.
pub(super) const FIRSTS_PER_SECOND: u64 = 40;
pub(super) const FIRSTS_BURST: u64 = 80;
/// Handshakes a second for which a Diffie-Hellman is done at all.
pub(super) const HANDSHAKES_PER_SECOND: u64 = 400;
pub(super) const HANDSHAKES_BURST: u64 = 400;
/// Handshakes under way at most, on each side; the oldest makes room.
const UNDER_WAY_MAX: usize = 64;
/// First wait for an answer; doubles. A handshake on an idle machine takes one of its milliseconds.
const RESEND_AFTER: Duration = Duration::from_millis(50);
/// Tries before a handshake is given up.
const TRIES_MAX: u32 = 5;
/// How long a half-open handshake of the other side is kept.
const HALF_LIFETIME: Duration = Duration::from_secs(3);
/// How long not to ask somebody again who was busy or did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Cookies hold for one such span and the next.
const COOKIE_SPAN_MICROS: u64 = 30_000_000;
/// Bytes of control that a neighbour may send each second on a slow radio.
const CONTROL_BYTES_PER_SECOND_MIN: u64 = 16_384;

/// Somebody in reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    at: Instant,
    beacons: u32,
    not_before: Instant,
}

/// A handshake begun here.
pub(super) struct Pending {
    pub(super) radio: RadioId,
    pub(super) addr: LinkAddr,
    pub(super) resend_at: Instant,
    to: BeaconId,
    own_key: KeyPair,
    handshake: Handshake,
    noise: Vec<u8>,
    cookie: [u8; 16],
    tries: u32,
}

/// A handshake begun by somebody else.
pub(super) struct Half {
    radio: RadioId,
    addr: LinkAddr,
    remote: u32,
    own_key: KeyPair,
    handshake: Handshake,
    second: Vec<u8>,
    first_noise: Vec<u8>,
    at: Instant,
}

impl Links {
    pub(super) fn handle_clear(&mut self, radio: RadioId, from: LinkAddr, bytes: &[u8], now: Instant) {
        let Ok(frame) = ClearFrame::decode(bytes) else {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return;
        };
        match frame {
            ClearFrame::Beacon(beacon) => self.handle_beacon(radio, from, beacon, now),
            ClearFrame::First(first) => self.handle_first(radio, from, &first, now),
            ClearFrame::Cookie { receiver, cookie } => self.handle_cookie(receiver, cookie, now),
            ClearFrame::Second { receiver, sender, noise } => self.handle_second(radio, from, (receiver, sender), noise, now),
            ClearFrame::Third { receiver, noise } => self.handle_third(receiver, noise, now),
            ClearFrame::Versions { receiver, .. } | ClearFrame::Busy { receiver } => self.give_up(receiver, now),
        }
    }

    /// Sends the beacons that are due and gives new names to radios whose names are old.
    pub(super) fn send_beacons(&mut self, now: Instant) {
        let due: Vec<RadioId> = self.radios.iter().filter(|(_, r)| r.beacon_at <= now).map(|(id, _)| *id).collect();
        for id in due {
            let links = self.links_on(id);
            let jitter = self.rng.below(1_000);
            let Some(radio) = self.radios.get_mut(&id) else { continue };
            if radio.id_until <= now && links == 0 {
                radio.id = BeaconId(self.rng.bytes());
                radio.key = KeyPair::generate(&mut self.rng);
                radio.id_until = now + self.config.key_lifetime;
            }
            let frame = ClearFrame::Beacon(Beacon { versions: VERSIONS, links, id: radio.id }).encode();
            radio.beacon_gap = radio.beacon_gap.saturating_mul(2).min(BEACON_GAP_MAX);
            let gap = radio.beacon_gap.saturating_mul(u32::try_from(1_000_u64.saturating_add(jitter / 4)).unwrap_or(1_000)) / 1_000;
            radio.beacon_at = now + gap;
            radio.heard.retain(|_, heard| now.since(heard.at) < Duration::from_secs(60));
            let broadcast = match radio.info.broadcast {
                smartmesh_types::Broadcast::Yes => Some(Destination::Broadcast),
                smartmesh_types::Broadcast::No => None,
            };
            let known: Vec<LinkAddr> = self.peers.values().filter(|peer| peer.radio == id).map(|peer| peer.addr).collect();
            let peers = radio.info.peers.iter().filter(|addr| !known.contains(addr)).map(|addr| Destination::Peer(*addr));
            for to in broadcast.into_iter().chain(peers) {
                self.outputs.push_back(LinkOutput::Transmit { radio: id, to, train: Train::single(frame.clone()) });
            }
        }
    }

    fn links_on(&self, radio: RadioId) -> u8 {
        u8::try_from(self.peers.values().filter(|peer| peer.radio == radio).count()).unwrap_or(u8::MAX)
    }

    fn handle_beacon(&mut self, radio: RadioId, from: LinkAddr, beacon: Beacon, now: Instant) {
        // Those under way count: otherwise a whole cell that starts at once would meet everybody.
        let under_way = self.pending.len().saturating_add(self.halves.len());
        let (mine, wanted) = (self.peers.len().saturating_add(under_way), self.config.kept_wanted);
        let linked = self.peers.values().any(|peer| peer.radio == radio && peer.beacon == beacon.id);
        let asking = self.pending.values().any(|pending| pending.radio == radio && pending.to == beacon.id);
        let heard_max = self.config.heard_max;
        let Some(here) = self.radios.get_mut(&radio) else { return };
        if beacon.id == here.id || linked || asking {
            return;
        }
        if here.heard.len() >= heard_max && !here.heard.contains_key(&beacon.id) {
            let oldest = here.heard.iter().min_by_key(|(_, heard)| heard.at).map(|(id, _)| *id);
            oldest.and_then(|id| here.heard.remove(&id));
        }
        let around = u64::try_from(here.heard.len()).unwrap_or(u64::MAX).max(1);
        let fresh = Heard { at: now, beacons: 0, not_before: now };
        let heard = here.heard.entry(beacon.id).or_insert(fresh);
        heard.at = now;
        heard.beacons = heard.beacons.saturating_add(1);
        if heard.not_before > now || VERSIONS.highest_common(beacon.versions).is_none() {
            return;
        }
        let theirs = usize::from(beacon.links);
        let begins = here.id < beacon.id || theirs >= wanted || heard.beacons > 1;
        let full = mine >= wanted && (mine >= self.config.kept_max || theirs > 1);
        if full {
            return;
        }
        if begins {
            self.begin(radio, from, beacon.id, None, now);
        } else if self.rng.below(around) < 8 {
            // They begin once they know of us.
            let frame = ClearFrame::Beacon(Beacon { versions: VERSIONS, links: self.links_on(radio), id: self.radio_id(radio) });
            self.send_clear(radio, from, &frame);
        }
    }

    pub(super) fn radio_id(&self, radio: RadioId) -> BeaconId {
        self.radios.get(&radio).map(|radio| radio.id).unwrap_or_default()
    }

    fn send_clear(&mut self, radio: RadioId, to: LinkAddr, frame: &ClearFrame<'_>) {
        let train = Train::single(frame.encode());
        self.outputs.push_back(LinkOutput::Transmit { radio, to: Destination::Peer(to), train });
    }

    fn draw_index(&mut self) -> Option<u32> {
        let taken: Vec<u32> = self.pending.keys().chain(self.halves.keys()).copied().collect();
        self.sessions.draw_index(&taken, &mut self.rng)
    }

    /// Begins a handshake; with a neighbour that is kept, for new session keys.
    pub(super) fn begin(&mut self, radio: RadioId, addr: LinkAddr, to: BeaconId, peer: Option<NeighbourId>, now: Instant) {
        let Some(index) = self.draw_index() else { return };
        if self.pending.len() >= UNDER_WAY_MAX {
            return;
        }
        let Some(here) = self.radios.get(&radio) else { return };
        let known = peer.and_then(|peer| self.peers.get(&peer.0));
        let own_key = known.map_or_else(|| here.key.clone(), |peer| peer.own_key.clone());
        let mut handshake = Handshake::initiator(Pattern::Xx, &own_key, None, &prologue(VERSIONS.max, here.id, to), &mut self.rng);
        let Ok(noise) = handshake.write(&[]) else { return };
        let pending = Pending {
            radio,
            addr,
            resend_at: now,
            to,
            own_key,
            handshake,
            noise,
            cookie: [0; 16],
            tries: 0,
        };
        self.pending.insert(index, pending);
        self.send_first(index, now);
    }

    /// Sends the first message of a handshake (again).
    fn send_first(&mut self, index: u32, now: Instant) {
        let Some(pending) = self.pending.get(&index) else { return };
        let (radio, addr) = (pending.radio, pending.addr);
        let links = self.links_on(radio);
        let from = self.radio_id(radio);
        let Some(pending) = self.pending.get_mut(&index) else { return };
        pending.resend_at = now + RESEND_AFTER.saturating_mul(1_u32.wrapping_shl(pending.tries));
        pending.tries = pending.tries.saturating_add(1);
        let first = FirstMessage {
            version: VERSIONS.max,
            links,
            purpose: Purpose::Ordinary,
            sender: index,
            from,
            to: pending.to,
            cookie: pending.cookie,
            noise: &pending.noise,
        };
        let train = Train::single(ClearFrame::First(first).encode());
        self.outputs.push_back(LinkOutput::Transmit { radio, to: Destination::Peer(addr), train });
    }

    /// Repeats handshakes without an answer, and forgets those that have been repeated enough.
    pub(super) fn run_handshakes(&mut self, now: Instant) {
        let due: Vec<u32> = self.pending.iter().filter(|(_, p)| p.resend_at <= now).map(|(index, _)| *index).collect();
        for index in due {
            if self.pending.get(&index).is_some_and(|pending| pending.tries >= TRIES_MAX) {
                self.give_up(index, now);
            } else {
                self.send_first(index, now);
            }
        }
        self.halves.retain(|_, half| now.since(half.at) < HALF_LIFETIME);
    }

    fn give_up(&mut self, index: u32, now: Instant) {
        let Some(pending) = self.pending.remove(&index) else { return };
        if let Some(heard) = self.radios.get_mut(&pending.radio).and_then(|radio| radio.heard.get_mut(&pending.to)) {
            heard.not_before = now + RETRY_AFTER;
        }
    }

    fn handle_first(&mut self, radio: RadioId, from: LinkAddr, first: &FirstMessage<'_>, now: Instant) {
        if VERSIONS.min > first.version || VERSIONS.max < first.version {
            self.counters.unknown_version = self.counters.unknown_version.saturating_add(1);
            if self.firsts.take(1, now) {
                self.send_clear(radio, from, &ClearFrame::Versions { receiver: first.sender, versions: VERSIONS });
            }
            return;
        }
        let own = self.radio_id(radio);
        if first.to != own || first.from == own {
            return;
        }
        // Before any Diffie-Hellman: who floods must show that it receives at the address it writes from.
        let proven = self.cookies(from, first.sender, now).contains(&first.cookie);
        if !proven && !self.firsts.take(1, now) {
            self.counters.cookies_sent = self.counters.cookies_sent.saturating_add(1);
            let [cookie, _] = self.cookies(from, first.sender, now);
            return self.send_clear(radio, from, &ClearFrame::Cookie { receiver: first.sender, cookie });
        }
        // A repeated first message gets the same answer.
        let known = self.halves.values().find(|half| half.addr == from && half.first_noise == first.noise);
        if let Some(second) = known.map(|half| half.second.clone()) {
            let train = Train::single(second);
            self.outputs.push_back(LinkOutput::Transmit { radio, to: Destination::Peer(from), train });
            return;
        }
        if !self.resolve_crossing(radio, own, first.from) || !self.makes_room(radio, from, first, now) {
            return;
        }
        if !self.work.take(1, now) {
            self.counters.handshakes_over_budget = self.counters.handshakes_over_budget.saturating_add(1);
            return;
        }
        self.answer(radio, from, first, now);
    }

    /// When both begin at once, the one with the lower name goes on.
    fn resolve_crossing(&mut self, radio: RadioId, own: BeaconId, from: BeaconId) -> bool {
        let ours = self.pending.iter().find(|(_, pending)| pending.radio == radio && pending.to == from);
        let Some(index) = ours.map(|(index, _)| *index) else { return true };
        if own < from {
            return false;
        }
        self.pending.remove(&index);
        true
    }

    /// Whether there is room for one more link; somebody with few links may take the place of somebody with many.
    fn makes_room(&mut self, radio: RadioId, from: LinkAddr, first: &FirstMessage<'_>, now: Instant) -> bool {
        let again = self.peers.values().any(|peer| peer.radio == radio && peer.beacon == first.from);
        if again || self.peers.len().saturating_add(self.halves.len()) < self.config.kept_max {
            return true;
        }
        if first.links == 0 && self.peers.len() >= self.config.kept_max {
            let spare = self.peers.values().filter(|peer| peer.links > 3).max_by_key(|peer| (peer.links, peer.quality.announced()));
            if let Some(spare) = spare.map(|peer| peer.id) {
                self.drop_peer(spare, now);
                return true;
            }
        }
        self.counters.busy = self.counters.busy.saturating_add(1);
        self.send_clear(radio, from, &ClearFrame::Busy { receiver: first.sender });
        false
    }

    fn answer(&mut self, radio: RadioId, from: LinkAddr, first: &FirstMessage<'_>, now: Instant) {
        let Some(index) = self.draw_index() else { return };
        if self.halves.len() >= UNDER_WAY_MAX {
            let oldest = self.halves.iter().min_by_key(|(_, half)| half.at).map(|(index, _)| *index);
            oldest.and_then(|index| self.halves.remove(&index));
        }
        let offer = self.offer(radio).encode();
        let known = self.peers.values().find(|peer| peer.radio == radio && peer.beacon == first.from);
        let Some(here) = self.radios.get(&radio) else { return };
        let own_key = known.map_or_else(|| here.key.clone(), |peer| peer.own_key.clone());
        let prologue = prologue(first.version, first.from, first.to);
        let mut handshake = Handshake::responder(Pattern::Xx, &own_key, &prologue, &mut self.rng);
        let read = handshake.read(first.noise).and_then(|_| handshake.write(&offer));
        let Ok(noise) = read else {
            self.counters.handshakes_failed = self.counters.handshakes_failed.saturating_add(1);
            return;
        };
        let second = ClearFrame::Second { receiver: first.sender, sender: index, noise: &noise }.encode();
        self.outputs.push_back(LinkOutput::Transmit {
            radio,
            to: Destination::Peer(from),
            train: Train::single(second.clone()),
        });
        let half = Half {
            radio,
            addr: from,
            remote: first.sender,
            own_key,
            handshake,
            second,
            first_noise: first.noise.to_vec(),
            at: now,
        };
        self.halves.insert(index, half);
    }

    fn offer(&self, radio: RadioId) -> Offer {
        let frame_bytes = self.radios.get(&radio).map_or(0, |radio| radio.info.frame_bytes);
        Offer {
            versions: VERSIONS,
            prefers_aes: CipherSuite::preferred() == CipherSuite::Aes256Gcm,
            links: self.links_on(radio),
            frame_bytes: u32::try_from(frame_bytes).unwrap_or(u32::MAX),
            id: self.radio_id(radio),
        }
    }

    fn handle_cookie(&mut self, receiver: u32, cookie: [u8; 16], now: Instant) {
        let Some(pending) = self.pending.get_mut(&receiver) else { return };
        if pending.cookie == cookie || pending.tries >= TRIES_MAX {
            return;
        }
        pending.cookie = cookie;
        self.send_first(receiver, now);
    }

    /// The cookies that hold for an address now: of this span and of the one before.
    fn cookies(&self, addr: LinkAddr, sender: u32, now: Instant) -> [[u8; 16]; 2] {
        let span = now.as_micros() / COOKIE_SPAN_MICROS;
        [span, span.saturating_sub(1)].map(|span| {
            let mac = self.cookie.sign(&[addr.as_bytes(), &sender.to_be_bytes(), &span.to_be_bytes()]);
            mac.first_chunk().copied().unwrap_or_default()
        })
    }

    fn handle_second(&mut self, radio: RadioId, from: LinkAddr, indices: (u32, u32), noise: &[u8], now: Instant) {
        let (receiver, sender) = indices;
        let offer = self.offer(radio).encode();
        // Enough links have come meanwhile: the other side's half of this one expires.
        let for_new = !self.peers.values().any(|peer| self.pending.get(&receiver).is_some_and(|pending| pending.to == peer.beacon));
        if for_new && self.peers.len() >= self.config.kept_max {
            return self.give_up(receiver, now);
        }
        let Some(mut pending) = self.pending.remove(&receiver).filter(|pending| pending.radio == radio) else { return };
        let read = pending.handshake.read(noise).ok().and_then(|payload| Offer::decode(&payload).ok());
        let written = read.and_then(|theirs| Some((theirs, pending.handshake.write(&offer).ok()?)));
        let Some((theirs, noise)) = written else {
            self.counters.handshakes_failed = self.counters.handshakes_failed.saturating_add(1);
            return;
        };
        let Ok(finished) = pending.handshake.finish() else { return };
        let third = ClearFrame::Third { receiver: sender, noise: &noise }.encode();
        let train = Train::single(third.clone());
        self.outputs.push_back(LinkOutput::Transmit { radio, to: Destination::Peer(from), train });
        self.finish((radio, from), (receiver, sender), pending.own_key, &theirs, &finished, Some(third), now);
    }

    fn handle_third(&mut self, receiver: u32, noise: &[u8], now: Instant) {
        let Some(mut half) = self.halves.remove(&receiver) else { return };
        let read = half.handshake.read(noise).ok().and_then(|payload| Offer::decode(&payload).ok());
        let Some(theirs) = read else {
            self.counters.handshakes_failed = self.counters.handshakes_failed.saturating_add(1);
            return;
        };
        let Ok(finished) = half.handshake.finish() else { return };
        self.finish((half.radio, half.addr), (receiver, half.remote), half.own_key, &theirs, &finished, None, now);
    }

    /// Both sides have keys: a new neighbour, or new keys for one that is kept.
    #[expect(clippy::too_many_arguments, reason = "each is one fact of the finished handshake")]
    fn finish(
        &mut self,
        place: (RadioId, LinkAddr),
        indices: (u32, u32),
        own_key: KeyPair,
        theirs: &Offer,
        finished: &Finished,
        third: Option<Vec<u8>>,
        now: Instant,
    ) {
        let (radio, addr) = place;
        let began = third.is_some();
        let Some(here) = self.radios.get(&radio) else { return };
        if VERSIONS.highest_common(theirs.versions) != Some(VERSIONS.max) || finished.remote_static == own_key.public() {
            return;
        }
        let aes = theirs.prefers_aes && CipherSuite::preferred() == CipherSuite::Aes256Gcm;
        let suite = if aes { CipherSuite::Aes256Gcm } else { CipherSuite::ChaCha20Poly1305 };
        self.counters.handshakes = self.counters.handshakes.saturating_add(1);
        let frame_bytes = here.info.frame_bytes.min(usize::try_from(theirs.frame_bytes).unwrap_or(0));
        let bits_per_second = here.info.bits_per_second;
        let known = self.peers.values().find(|peer| peer.radio == radio && peer.key == finished.remote_static);
        let id = known.map(|peer| peer.id);
        let fresh = id.is_none();
        let id = id.unwrap_or_else(|| {
            let id = NeighbourId(self.next_neighbour);
            self.next_neighbour = self.next_neighbour.wrapping_add(1);
            id
        });
        let slot = usize::try_from(id.0).unwrap_or(0);
        self.sessions.insert(Session::new(indices, slot, finished.keys(suite)));
        let lifetime = self.config.session_lifetime;
        if let Some(peer) = self.peers.get_mut(&id.0) {
            peer.add_session(indices.0, began, now + lifetime);
            (peer.addr, peer.beacon, peer.heard_at) = (addr, theirs.id, now);
            let old = peer.retired_sessions();
            old.into_iter().for_each(|index| self.sessions.remove(index));
        } else {
            let per_second = CONTROL_BYTES_PER_SECOND_MIN.max(bits_per_second / 32);
            let peer = Peer {
                id,
                radio,
                addr,
                key: finished.remote_static,
                own_key,
                beacon: theirs.id,
                links: theirs.links,
                frame_bytes: frame_bytes.max(smartmesh_types::FRAME_BYTES_MIN),
                bits_per_second,
                sessions: vec![indices.0],
                sending: indices.0,
                began,
                rekey_at: now + lifetime,
                quality: Quality::new(bits_per_second, Duration::from_millis(1), now),
                control: Control::default(),
                flight: Flight::default(),
                reassembly: Reassembly::default(),
                share: Share::default(),
                control_budget: Bucket::new(per_second, per_second.saturating_mul(4), now),
                next_packet: 0,
                since: now,
                heard_at: now,
                sent_at: now,
                beat_after: self.config.beat,
                awaited: None,
                wanted: None,
                timed: None,
                suspect: false,
                suspect_since: now,
                ping_at: Instant::NEVER,
                ack_at: Instant::NEVER,
                acked_at: Instant::ZERO,
                highest_at: now,
                told: None,
                third: None,
            };
            self.peers.insert(id.0, peer);
        }
        if let Some(here) = self.radios.get_mut(&radio) {
            here.heard.remove(&theirs.id);
        }
        if let Some(peer) = self.peers.get_mut(&id.0) {
            peer.third = third;
        }
        if fresh {
            let metric = self.peers.get(&id.0).map_or(u32::MAX, |peer| peer.quality.announced());
            self.outputs.push_back(LinkOutput::Up { neighbour: id, metric });
            self.hurry_beacons(radio, now);
            // The first frame tells the other side that we have the keys.
            self.ping(id, now);
        }
    }
}

/// What both sides must agree on beyond the messages: the protocol, its version, and who asked whom.
fn prologue(version: u8, from: BeaconId, to: BeaconId) -> Vec<u8> {
    [b"smartmesh link", &[version][..], &from.0, &to.0].concat()
}
