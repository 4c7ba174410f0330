//! Agreeing on keys with somebody new: Noise XX with a version, a cookie against floods, and an offer from each side inside
//! the sealed payload.

use smartmesh_crypto::{CipherSuite, Finished, Handshake, Pattern};
use smartmesh_types::{Duration, Instant, LinkAddr, NeighbourId, RadioId, Train};
use smartmesh_wire::link::{BeaconId, ClearFrame, FirstMessage, Offer, Purpose, Versions};

use super::budget::Bucket;
use super::peer::{Peer, PeerStart};
use super::session::Session;
use super::{LinkOutput, Links, count};

/// The versions of the link protocol spoken here.
pub(super) const VERSIONS: Versions = Versions { min: 1, max: 1 };
/// First messages a second that are worth a look, and how many at once; above that a cookie is asked for.
const FIRSTS_PER_SECOND: u64 = 40;
const FIRSTS_BURST: u64 = 80;
/// Handshakes a second for which a Diffie-Hellman is done at all, and how many at once.
const HANDSHAKES_PER_SECOND: u64 = 400;
const HANDSHAKES_BURST: u64 = 400;
/// Handshakes under way at most, on each side; the oldest makes room.
const UNDER_WAY_MAX: usize = 64;
/// First wait for an answer; doubles. A handshake on an idle machine takes one of its milliseconds.
const RESEND_AFTER: Duration = Duration::from_millis(50);
/// Tries before a handshake is given up.
const TRIES_MAX: u32 = 5;
/// How long a half-open handshake of the other side is kept.
const HALF_LIFETIME: Duration = Duration::from_secs(3);
/// Cookies hold for one such span and the next.
const COOKIE_SPAN_MICROS: u64 = 30_000_000;

/// A handshake begun here.
pub(super) struct Pending {
    pub(super) radio: RadioId,
    pub(super) addr: LinkAddr,
    pub(super) to: BeaconId,
    pub(super) purpose: Purpose,
    pub(super) resend_at: Instant,
    handshake: Handshake,
    noise: Vec<u8>,
    cookie: [u8; 16],
    tries: u32,
}

/// A handshake begun by somebody else.
pub(super) struct Half {
    radio: RadioId,
    addr: LinkAddr,
    /// The index by which they are to be addressed.
    remote: u32,
    handshake: Handshake,
    /// What they wrote and what they were answered, in case they repeat it.
    first_noise: Vec<u8>,
    second: Vec<u8>,
    claim: Claim,
    at: Instant,
}

/// Whether a new link may take the place of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Only if there is a free place.
    Free,
    /// Also if somebody can be done without: the asker has no link at all, or comes from where nobody is linked to.
    Displace,
}

/// Both sides have keys.
struct Agreed {
    radio: RadioId,
    addr: LinkAddr,
    /// Our index and theirs.
    indices: (u32, u32),
    theirs: Offer,
    finished: Finished,
    /// The last message, if this side wrote it.
    third: Option<Vec<u8>>,
    claim: Claim,
}

/// What first messages without a cookie may cost.
pub(super) fn firsts(now: Instant) -> Bucket {
    Bucket::new(FIRSTS_PER_SECOND, FIRSTS_BURST, now)
}

/// What handshakes may cost.
pub(super) fn work(now: Instant) -> Bucket {
    Bucket::new(HANDSHAKES_PER_SECOND, HANDSHAKES_BURST, now)
}

impl Links {
    pub(super) fn draw_index(&mut self) -> Option<u32> {
        let renewals = self.peers.values().filter_map(Peer::renewal_index);
        let under_way = self.pending.keys().chain(self.halves.keys()).copied();
        let taken: Vec<u32> = under_way.chain(renewals).collect();
        self.sessions.draw_index(&taken, &mut self.rng)
    }

    /// Begins a handshake with somebody new.
    pub(super) fn begin(
        &mut self,
        radio: RadioId,
        addr: LinkAddr,
        to: BeaconId,
        purpose: Purpose,
        now: Instant,
    ) {
        if self.pending.len() >= UNDER_WAY_MAX {
            return;
        }
        let Some(index) = self.draw_index() else {
            return;
        };
        let Some(here) = self.radios.get(&radio) else {
            return;
        };
        let prologue = prologue(VERSIONS.max, here.id, to);
        let (pattern, rng) = (Pattern::Xx, &mut self.rng);
        let mut handshake = Handshake::initiator(pattern, &here.key, None, &prologue, rng);
        let Ok(noise) = handshake.write(&[]) else {
            return;
        };
        let pending = Pending {
            radio,
            addr,
            to,
            purpose,
            resend_at: now,
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
        let Some(radio) = self.pending.get(&index).map(|pending| pending.radio) else {
            return;
        };
        let (links, from) = (self.links_on(radio), self.radio_id(radio));
        let Some(pending) = self.pending.get_mut(&index) else {
            return;
        };
        pending.resend_at = now + RESEND_AFTER.saturating_mul(1_u32.wrapping_shl(pending.tries));
        pending.tries = pending.tries.saturating_add(1);
        let first = FirstMessage {
            version: VERSIONS.max,
            links,
            purpose: pending.purpose,
            sender: index,
            from,
            to: pending.to,
            cookie: pending.cookie,
            noise: &pending.noise,
        };
        let (addr, train) = (
            pending.addr,
            Train::single(ClearFrame::First(first).encode()),
        );
        self.transmit(radio, addr, train);
    }

    /// Repeats handshakes without an answer, and forgets those that have been repeated enough.
    pub(super) fn run_handshakes(&mut self, now: Instant) {
        let due = self.pending.iter().filter(|(_, p)| p.resend_at <= now);
        let due: Vec<(u32, u32)> = due.map(|(index, p)| (*index, p.tries)).collect();
        for (index, tries) in due {
            if tries >= TRIES_MAX {
                self.give_up(index, now);
            } else {
                self.send_first(index, now);
            }
        }
        self.halves
            .retain(|_, half| now.since(half.at) < HALF_LIFETIME);
    }

    pub(super) fn give_up(&mut self, index: u32, now: Instant) {
        if let Some(pending) = self.pending.remove(&index) {
            self.leave_alone(pending.radio, pending.to, now);
        }
    }

    pub(super) fn handle_cookie(&mut self, receiver: u32, cookie: [u8; 16], now: Instant) {
        let Some(pending) = self.pending.get_mut(&receiver) else {
            return;
        };
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
            let mac =
                self.cookie
                    .sign(&[addr.as_bytes(), &sender.to_be_bytes(), &span.to_be_bytes()]);
            mac.first_chunk().copied().unwrap_or_default()
        })
    }

    pub(super) fn handle_first(
        &mut self,
        radio: RadioId,
        from: LinkAddr,
        first: &FirstMessage<'_>,
        now: Instant,
    ) {
        let receiver = first.sender;
        if VERSIONS.min > first.version || VERSIONS.max < first.version {
            count(&mut self.counters.unknown_version);
            if self.firsts.take(1, now) {
                let versions = VERSIONS;
                self.send_clear(radio, from, &ClearFrame::Versions { receiver, versions });
            }
            return;
        }
        if first.to != self.radio_id(radio) || self.is_own(first.from) {
            return;
        }
        // Before any Diffie-Hellman: who floods must show that it receives at the address it writes from.
        let cookies = self.cookies(from, receiver, now);
        if !cookies.contains(&first.cookie) && !self.firsts.take(1, now) {
            count(&mut self.counters.cookies_sent);
            let [cookie, _] = cookies;
            return self.send_clear(radio, from, &ClearFrame::Cookie { receiver, cookie });
        }
        // A repeated first message gets the same answer.
        let known = self
            .halves
            .values()
            .find(|half| half.addr == from && half.first_noise == first.noise);
        if let Some(second) = known.map(|half| half.second.clone()) {
            return self.transmit(radio, from, Train::single(second));
        }
        if !self.resolve_crossing(radio, first.from) {
            return;
        }
        let Some(claim) = self.judge_claim(radio, first, now) else {
            count(&mut self.counters.busy);
            return self.send_clear(radio, from, &ClearFrame::Busy { receiver });
        };
        if !self.work.take(1, now) {
            return count(&mut self.counters.handshakes_over_budget);
        }
        self.answer(radio, from, first, claim, now);
    }

    /// When both begin at once, the one with the lower name goes on.
    fn resolve_crossing(&mut self, radio: RadioId, from: BeaconId) -> bool {
        let ours = self
            .pending
            .iter()
            .find(|(_, pending)| pending.radio == radio && pending.to == from);
        let Some(index) = ours.map(|(index, _)| *index) else {
            return true;
        };
        if self.radio_id(radio) < from {
            return false;
        }
        self.pending.remove(&index);
        true
    }

    /// By what right somebody may have a link, if by any. Nobody is displaced before the handshake is finished.
    fn judge_claim(&self, radio: RadioId, first: &FirstMessage<'_>, now: Instant) -> Option<Claim> {
        let asked = self
            .pending
            .values()
            .filter(|pending| pending.to != first.from);
        let under_way = self.halves.len().saturating_add(asked.count());
        let free = self.peers.len().saturating_add(under_way) < self.config.kept_max;
        if free || self.is_linked(radio, first.from) {
            return Some(Claim::Free);
        }
        let claims = first.links == 0 || first.purpose == Purpose::Explore;
        (claims && self.spare(now).is_some()).then_some(Claim::Displace)
    }

    fn answer(
        &mut self,
        radio: RadioId,
        from: LinkAddr,
        first: &FirstMessage<'_>,
        claim: Claim,
        now: Instant,
    ) {
        let Some(index) = self.draw_index() else {
            return;
        };
        if self.halves.len() >= UNDER_WAY_MAX {
            let oldest = self.halves.iter().min_by_key(|(_, half)| half.at);
            let oldest = oldest.map(|(index, _)| *index);
            oldest.and_then(|index| self.halves.remove(&index));
        }
        let offer = self.offer(radio).encode();
        let Some(here) = self.radios.get(&radio) else {
            return;
        };
        let prologue = prologue(first.version, first.from, first.to);
        let mut handshake = Handshake::responder(Pattern::Xx, &here.key, &prologue, &mut self.rng);
        let read = handshake.read(first.noise);
        let Ok(noise) = read.and_then(|_| handshake.write(&offer)) else {
            return count(&mut self.counters.handshakes_failed);
        };
        let second = ClearFrame::Second {
            receiver: first.sender,
            sender: index,
            noise: &noise,
        }
        .encode();
        self.transmit(radio, from, Train::single(second.clone()));
        let half = Half {
            radio,
            addr: from,
            remote: first.sender,
            handshake,
            first_noise: first.noise.to_vec(),
            second,
            claim,
            at: now,
        };
        self.halves.insert(index, half);
    }

    pub(super) fn offer(&self, radio: RadioId) -> Offer {
        let frame_bytes = self
            .radios
            .get(&radio)
            .map_or(0, |radio| radio.info.frame_bytes);
        Offer {
            versions: VERSIONS,
            prefers_aes: CipherSuite::preferred() == CipherSuite::Aes256Gcm,
            links: self.links_on(radio),
            frame_bytes: u32::try_from(frame_bytes).unwrap_or(u32::MAX),
            id: self.radio_id(radio),
        }
    }

    pub(super) fn handle_second(
        &mut self,
        radio: RadioId,
        from: LinkAddr,
        indices: (u32, u32),
        noise: &[u8],
        now: Instant,
    ) {
        let (receiver, sender) = indices;
        let Some(pending) = self.pending.get(&receiver).filter(|p| p.radio == radio) else {
            return;
        };
        let claim = match pending.purpose {
            Purpose::Ordinary => Claim::Free,
            Purpose::Explore => Claim::Displace,
        };
        // Enough links have come meanwhile: the other side's half of this one expires.
        if !self.is_linked(radio, pending.to) && !self.has_place(claim, now) {
            return self.give_up(receiver, now);
        }
        let offer = self.offer(radio).encode();
        let Some(Pending { mut handshake, .. }) = self.pending.remove(&receiver) else {
            return;
        };
        let theirs = read_offer(&mut handshake, noise);
        let written = theirs.and_then(|theirs| Some((theirs, handshake.write(&offer).ok()?)));
        let Some((theirs, noise)) = written else {
            return count(&mut self.counters.handshakes_failed);
        };
        let Ok(finished) = handshake.finish() else {
            return;
        };
        let third = ClearFrame::Third {
            receiver: sender,
            noise: &noise,
        }
        .encode();
        self.transmit(radio, from, Train::single(third.clone()));
        let agreed = Agreed {
            radio,
            addr: from,
            indices,
            theirs,
            finished,
            third: Some(third),
            claim,
        };
        self.finish(agreed, now);
    }

    pub(super) fn handle_third(&mut self, receiver: u32, noise: &[u8], now: Instant) {
        let Some(mut half) = self.halves.remove(&receiver) else {
            return;
        };
        let Some(theirs) = read_offer(&mut half.handshake, noise) else {
            return count(&mut self.counters.handshakes_failed);
        };
        let Ok(finished) = half.handshake.finish() else {
            return;
        };
        let agreed = Agreed {
            radio: half.radio,
            addr: half.addr,
            indices: (receiver, half.remote),
            theirs,
            finished,
            third: None,
            claim: half.claim,
        };
        self.finish(agreed, now);
    }

    /// Both sides have keys: a new neighbour, or one that has lost the keys it had.
    fn finish(&mut self, agreed: Agreed, now: Instant) {
        let Agreed { radio, .. } = agreed;
        let remote = agreed.finished.remote_static;
        let spoken = VERSIONS.highest_common(agreed.theirs.versions);
        // Two radios of one node may hear each other.
        let own = self.radios.values().any(|one| one.key.public() == remote);
        if own || spoken != Some(VERSIONS.max) || !self.radios.contains_key(&radio) {
            return;
        }
        // Only the key counts: a beacon id can be copied off the air.
        let known = self
            .peers
            .values()
            .find(|peer| peer.radio == radio && peer.key == remote);
        let known = known.map(|peer| peer.id);
        if known.is_none() && !self.make_place(agreed.claim, now) {
            return count(&mut self.counters.busy);
        }
        count(&mut self.counters.handshakes);
        let id = known.unwrap_or_else(|| {
            let id = NeighbourId(self.next_neighbour);
            self.next_neighbour = self.next_neighbour.wrapping_add(1);
            id
        });
        let keys = agreed.finished.keys(suite(&agreed.theirs));
        let slot = usize::try_from(id.0).unwrap_or(0);
        self.sessions
            .insert(Session::new(agreed.indices, slot, keys));
        if known.is_none() {
            self.insert_peer(id, &agreed, now);
        }
        let lifetime = self.config.session_lifetime;
        let Some(peer) = self.peers.get_mut(&id.0) else {
            return;
        };
        peer.restart(agreed.indices.0, agreed.third, now + lifetime);
        (peer.addr, peer.beacon, peer.heard_at) = (agreed.addr, agreed.theirs.id, now);
        peer.binding = agreed.finished.binding;
        self.retire_sessions(id);
        if let Some(here) = self.radios.get_mut(&radio) {
            here.heard.remove(&agreed.theirs.id);
        }
        self.tell_around_soon(radio, now);
        if known.is_none() {
            self.greet(id, radio, now);
        }
        self.recognise_soon(id, now);
    }

    fn insert_peer(&mut self, id: NeighbourId, agreed: &Agreed, now: Instant) {
        let Some(here) = self.radios.get(&agreed.radio) else {
            return;
        };
        let theirs = usize::try_from(agreed.theirs.frame_bytes).unwrap_or(0);
        let frame_bytes = here.info.frame_bytes.min(theirs);
        let start = PeerStart {
            id,
            radio: agreed.radio,
            addr: agreed.addr,
            key: agreed.finished.remote_static,
            binding: agreed.finished.binding,
            beacon: agreed.theirs.id,
            links: agreed.theirs.links,
            frame_bytes: frame_bytes.max(smartmesh_types::FRAME_BYTES_MIN),
            bits_per_second: here.info.bits_per_second,
            explored: agreed.claim == Claim::Displace,
        };
        self.peers
            .insert(id.0, Peer::new(start, self.config.beat, now));
    }

    /// Tells the layers above of a new neighbour, and the neighbour that its keys are known here.
    fn greet(&mut self, neighbour: NeighbourId, radio: RadioId, now: Instant) {
        let Some(peer) = self.peers.get(&neighbour.0) else {
            return;
        };
        let metric = peer.quality.announced();
        self.outputs.push_back(LinkOutput::Up { neighbour, metric });
        self.hurry_beacons(radio, now);
        self.ping(neighbour, now);
    }

    /// Forgets the sessions of a neighbour that are older than those kept.
    pub(super) fn retire_sessions(&mut self, neighbour: NeighbourId) {
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        for index in peer.retired_sessions() {
            self.sessions.remove(index);
        }
    }
}

/// Reads a message whose payload is the other side's offer.
pub(super) fn read_offer(handshake: &mut Handshake, noise: &[u8]) -> Option<Offer> {
    let payload = handshake.read(noise).ok()?;
    Offer::decode(&payload).ok()
}

/// The cipher of a session: AES where both sides have it in hardware.
pub(super) fn suite(theirs: &Offer) -> CipherSuite {
    if theirs.prefers_aes && CipherSuite::preferred() == CipherSuite::Aes256Gcm {
        CipherSuite::Aes256Gcm
    } else {
        CipherSuite::ChaCha20Poly1305
    }
}

/// What both sides must agree on beyond the messages: the protocol, its version, and who asked whom.
fn prologue(version: u8, from: BeaconId, to: BeaconId) -> Vec<u8> {
    [b"smartmesh link", &[version][..], &from.0, &to.0].concat()
}
