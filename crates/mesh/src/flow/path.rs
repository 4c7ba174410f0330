//! One end of one path: its handshake, its keys, its counters and how it fares.
//!
//! The handshake is Noise XX (Noise Protocol Framework §7.5). Each side shows its Ed25519 node key by a signature over its
//! static X25519 key inside the encrypted payload, the composition of libp2p's Noise specification ("noise-libp2p-static-key:"
//! there, a domain of our own here); the initiator takes only the key whose address it dialled. Before the first message
//! stands a knock, which only somebody who knows the address can make, so that a relay that sees the rotating tag can
//! neither learn whom it belongs to nor make its owner compute.
//!
//! ```text
//! first  (in SetUp)    knock 16 | Noise message 1, 32
//! second (in Confirm)  Noise message 2 around  version 1 | node key 32 | signature 64 | boot 8 | suites 1
//! third  (a packet)    form 1 | Noise message 3 around  the same 106 bytes | secret 32 | hops 1
//! knock = HMAC-SHA256(address, "smartmesh flow knock\0" | token | Noise message 1), first 16 bytes
//! prologue = "smartmesh flow 1\0" | token | proof
//! ```

use std::collections::VecDeque;

use smartmesh_crypto::{
    CipherSuite, Finished, Handshake, Identity, KeyPair, OpeningKey, Pattern, Rng, SIGNATURE_BYTES,
    SealingKey, TAG_BYTES, address_of, hmac_sha256_truncated, sha256, verify_mac, verify_signature,
};
use smartmesh_types::{Address, Duration, FlowId, Instant, Label, NeighbourId, NodeKey};
use smartmesh_wire::flow::{PACKET_HEADER_BYTES, PacketForm, PacketHeader, Patch, PathToken};

use super::OpenError;
use super::window::{Window, expand};

/// Bytes that an end-to-end packet adds to its payload: header 5, kind 1, tag 16.
pub const PACKET_OVERHEAD_BYTES: usize = PACKET_HEADER_BYTES + 1 + TAG_BYTES;

const KNOCK_BYTES: usize = 16;
const VERSION: u8 = 1;
const SUITE_CHACHA: u8 = 1;
const SUITE_AES: u8 = 2;
const STATIC_KEY_DOMAIN: &str = "smartmesh flow static key";

/// What this node shows in each handshake; made once.
pub(super) struct Credentials {
    pub(super) address: Address,
    key: NodeKey,
    pair: KeyPair,
    signature: [u8; SIGNATURE_BYTES],
    boot: u64,
}

impl Credentials {
    pub(super) fn new(identity: &Identity, rng: &mut Rng) -> Self {
        let pair = identity.end_to_end_key();
        let signature = identity.sign(STATIC_KEY_DOMAIN, &pair.public());
        Self {
            address: identity.address(),
            key: identity.key(),
            pair,
            signature,
            boot: rng.u64(),
        }
    }

    fn payload(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.key.0);
        bytes.extend_from_slice(&self.signature);
        bytes.extend_from_slice(&self.boot.to_be_bytes());
        bytes.push(match CipherSuite::preferred() {
            CipherSuite::Aes256Gcm => SUITE_AES | SUITE_CHACHA,
            CipherSuite::ChaCha20Poly1305 => SUITE_CHACHA,
        });
        bytes
    }
}

/// What the other side has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) key: NodeKey,
    /// Random per start of the other side's program: another one means that all its state is new.
    pub(super) boot: u64,
    suites: u8,
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(head)
}

/// Reads the fields; the signature is judged by [`verify_shown`]. What a later version adds behind is skipped.
fn read_shown(bytes: &mut &[u8]) -> Option<(Shown, [u8; SIGNATURE_BYTES])> {
    let [_version] = take::<1>(bytes)?;
    let key = NodeKey(*take(bytes)?);
    let signature = *take(bytes)?;
    let boot = u64::from_be_bytes(*take(bytes)?);
    let [suites] = *take::<1>(bytes)?;
    Some((Shown { key, boot, suites }, signature))
}

fn verify_shown(
    shown: &Shown,
    signature: &[u8; SIGNATURE_BYTES],
    remote_static: &[u8; 32],
) -> Result<(), OpenError> {
    verify_signature(&shown.key, STATIC_KEY_DOMAIN, remote_static, signature)
        .map_err(|_| OpenError::Handshake)
}

fn suite_of(shown: &Shown) -> CipherSuite {
    // Both sides compute the same: AES where both offer it.
    let own_aes = CipherSuite::preferred() == CipherSuite::Aes256Gcm;
    if own_aes && shown.suites & SUITE_AES != 0 {
        CipherSuite::Aes256Gcm
    } else {
        CipherSuite::ChaCha20Poly1305
    }
}

fn prologue(token: &PathToken, proof: &[u8; 32]) -> Vec<u8> {
    [b"smartmesh flow 1\0".as_slice(), &token.0, proof].concat()
}

fn knock(address: Address, token: &PathToken, first: &[u8]) -> [u8; KNOCK_BYTES] {
    hmac_sha256_truncated(
        &address.octets(),
        &[b"smartmesh flow knock\0", &token.0, first],
    )
}

/// Whether the sender of a set-up knows our address: checked before any Diffie-Hellman.
pub(super) fn verify_knock(own: Address, token: &PathToken, first: &[u8]) -> bool {
    first
        .split_first_chunk::<KNOCK_BYTES>()
        .is_some_and(|(shown, message)| verify_mac(&knock(own, token, message), shown))
}

/// Who began the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Initiator,
    Responder,
}

/// How the first hop of a path is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    None,
    Direct {
        to: NeighbourId,
        label: Label,
    },
    Inside {
        to: NeighbourId,
        label: Label,
        push: Label,
    },
}

struct Keys {
    seal: SealingKey,
    open: OpeningKey,
}

/// Packets kept until a new path has shown that it delivers; they are sent again if it does not.
const UNPROVEN_MAX: usize = 32;
/// Packets that arrive before the handshake's third message.
const EARLY_MAX: usize = 16;
/// Acknowledgements are sent this much after the first packet that waits for one.
const ACK_DELAY: Duration = Duration::from_millis(40);
/// Packets between two samples of the loss, at least: below that, chance rules.
const LOSS_SAMPLE: u64 = 32;

/// One end of one path.
pub(super) struct Path {
    pub(super) token: PathToken,
    pub(super) side: Side,
    /// Known to the responder after the third message only.
    pub(super) peer: Option<Address>,
    pub(super) shown: Option<Shown>,
    pub(super) flow: Option<FlowId>,
    handshake: Option<Handshake>,
    keys: Option<Keys>,
    secret: [u8; 32],
    third: Vec<u8>,
    pub(super) way: Way,
    /// Link payload bytes of the narrowest hop.
    pub(super) payload_bytes: usize,
    pub(super) bits_per_second: u64,
    pub(super) hops: u8,
    pub(super) lifetime: Duration,
    pub(super) born: Instant,
    pub(super) established: Option<Instant>,
    /// The other side has received something.
    pub(super) proven: bool,
    pub(super) patch: Patch,
    pub(super) stalled: bool,
    pub(super) rtt: Duration,
    send_counter: u64,
    window: Window,
    received: u32,
    /// Highest counter and count of the last loss sample.
    sample: (u64, u32),
    acked: u64,
    pub(super) probes: u8,
    ping_sent: Option<Instant>,
    pub(super) stall_at: Option<Instant>,
    pub(super) ack_due: Option<Instant>,
    pub(super) last_received: Instant,
    pub(super) last_used: Instant,
    pub(super) retire_at: Option<Instant>,
    pub(super) unproven: VecDeque<Vec<u8>>,
    pub(super) early: Vec<Vec<u8>>,
}

/// What the responder's half of the set-up yields.
pub(super) struct Answer {
    pub(super) path: Path,
    pub(super) second: Vec<u8>,
}

/// What an acknowledgement says about the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Much of what was sent since the last sample is missing.
    Lossy,
}

impl Path {
    fn new(token: PathToken, side: Side, rtt: Duration, now: Instant) -> Self {
        Self {
            token,
            side,
            peer: None,
            shown: None,
            flow: None,
            handshake: None,
            keys: None,
            secret: [0; 32],
            third: Vec::new(),
            way: Way::None,
            payload_bytes: 0,
            bits_per_second: 0,
            hops: 0,
            lifetime: Duration::ZERO,
            born: now,
            established: None,
            proven: false,
            patch: Patch::Whole,
            stalled: false,
            rtt,
            send_counter: 0,
            window: Window::default(),
            received: 0,
            sample: (0, 0),
            acked: 0,
            probes: 0,
            ping_sent: None,
            stall_at: None,
            ack_due: None,
            last_received: now,
            last_used: now,
            retire_at: None,
            unproven: VecDeque::new(),
            early: Vec::new(),
        }
    }

    /// Starts a path to `peer`; returns it with the set-up's handshake part and proof.
    pub(super) fn initiate(
        own: &Credentials,
        peer: Address,
        token: PathToken,
        rng: &mut Rng,
        now: Instant,
    ) -> Option<(Self, Vec<u8>, [u8; 32])> {
        let mut path = Self::new(token, Side::Initiator, Duration::ZERO, now);
        path.peer = Some(peer);
        path.secret = rng.bytes();
        let proof = sha256(&[&path.secret]);
        let prologue = prologue(&token, &proof);
        let mut handshake = Handshake::initiator(Pattern::Xx, &own.pair, None, &prologue, rng);
        let message = handshake.write(&[]).ok()?;
        let first = [knock(peer, &token, &message).as_slice(), &message].concat();
        path.handshake = Some(handshake);
        Some((path, first, proof))
    }

    /// Answers a set-up whose knock has been verified.
    pub(super) fn respond(
        own: &Credentials,
        token: PathToken,
        first: &[u8],
        proof: &[u8; 32],
        rng: &mut Rng,
        now: Instant,
    ) -> Result<Answer, OpenError> {
        let (_, message) = first
            .split_first_chunk::<KNOCK_BYTES>()
            .ok_or(OpenError::Handshake)?;
        let prologue = prologue(&token, proof);
        let mut handshake = Handshake::responder(Pattern::Xx, &own.pair, &prologue, rng);
        handshake.read(message).map_err(|_| OpenError::Handshake)?;
        let second = handshake
            .write(&own.payload())
            .map_err(|_| OpenError::Handshake)?;
        let mut path = Self::new(token, Side::Responder, Duration::ZERO, now);
        path.secret = *proof;
        path.handshake = Some(handshake);
        Ok(Answer { path, second })
    }

    /// The initiator takes the second part and has its keys; [`Self::third_packet`] must go out first.
    pub(super) fn confirm(
        &mut self,
        own: &Credentials,
        second: &[u8],
        hops: u8,
        now: Instant,
    ) -> Result<(), OpenError> {
        let mut handshake = self.handshake.take().ok_or(OpenError::Handshake)?;
        let payload = handshake.read(second).map_err(|_| OpenError::Handshake)?;
        let (shown, signature) = read_shown(&mut payload.as_slice()).ok_or(OpenError::Handshake)?;
        if self.peer != Some(address_of(&shown.key)) {
            return Err(OpenError::Handshake);
        }
        let mut last = own.payload();
        last.extend_from_slice(&self.secret);
        last.push(hops);
        let message = handshake.write(&last).map_err(|_| OpenError::Handshake)?;
        let finished = handshake.finish().map_err(|_| OpenError::Handshake)?;
        verify_shown(&shown, &signature, &finished.remote_static)?;
        self.third = Vec::with_capacity(message.len().saturating_add(1));
        self.third.push(PacketForm::Handshake.code());
        self.third.extend_from_slice(&message);
        self.hops = hops;
        self.finish(shown, &finished, now);
        self.rtt = now.since(self.born);
        Ok(())
    }

    /// The responder takes the third part and knows who calls; returns the secret that proves it to the path.
    pub(super) fn accept(&mut self, packet: &[u8], now: Instant) -> Result<[u8; 32], OpenError> {
        let (_, message) = packet.split_first().ok_or(OpenError::Short)?;
        // A damaged copy must not use up the handshake, but Noise can't go back: a relay that damages the third message
        // costs this path, which it could cut anyway.
        let mut handshake = self.handshake.take().ok_or(OpenError::Handshake)?;
        let payload = handshake.read(message).map_err(|_| OpenError::Handshake)?;
        let finished = handshake.finish().map_err(|_| OpenError::Handshake)?;
        let mut rest = payload.as_slice();
        let (shown, signature) = read_shown(&mut rest).ok_or(OpenError::Handshake)?;
        verify_shown(&shown, &signature, &finished.remote_static)?;
        let secret = *take::<32>(&mut rest).ok_or(OpenError::Handshake)?;
        let [hops] = *take::<1>(&mut rest).ok_or(OpenError::Handshake)?;
        if sha256(&[&secret]) != self.secret {
            return Err(OpenError::Handshake);
        }
        self.peer = Some(address_of(&shown.key));
        self.hops = hops;
        self.proven = true;
        self.rtt = now.since(self.born);
        self.finish(shown, &finished, now);
        Ok(secret)
    }

    fn finish(&mut self, shown: Shown, finished: &Finished, now: Instant) {
        let (seal, open) = finished.keys(suite_of(&shown));
        self.keys = Some(Keys { seal, open });
        self.shown = Some(shown);
        self.established = Some(now);
        self.last_used = now;
        self.last_received = now;
    }

    /// The packet that carries the handshake's third message; repeated until the path is proven.
    pub(super) fn third_packet(&self) -> &[u8] {
        &self.third
    }

    /// Whether this secret is the initiator's own, which only the destination can have sent back.
    pub(super) fn apply_proof(&mut self, secret: &[u8; 32]) -> bool {
        let good = self.side == Side::Initiator && verify_mac(&self.secret, secret);
        if good {
            self.proven = true;
            self.unproven.clear();
            self.stall_at = None;
            self.probes = 0;
        }
        good
    }

    pub(super) fn is_established(&self) -> bool {
        self.keys.is_some()
    }

    /// Payload bytes for the upper layer in a packet that no hop has to split.
    pub(super) fn mtu(&self) -> usize {
        self.payload_bytes.saturating_sub(PACKET_OVERHEAD_BYTES)
    }

    /// Whether packets can be sent and are expected to arrive.
    pub(super) fn is_usable(&self) -> bool {
        self.is_established()
            && self.way != Way::None
            && self.patch != Patch::Open
            && self.retire_at.is_none()
    }

    /// Appends a sealed packet to `out`.
    pub(super) fn seal(
        &mut self,
        kind: u8,
        payload: &[u8],
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Option<()> {
        let keys = self.keys.as_ref()?;
        let counter = self.send_counter;
        self.send_counter = counter.checked_add(1)?;
        let header = PacketHeader::data(low_32(counter)).to_bytes();
        let start = out.len();
        out.extend_from_slice(&header);
        out.push(kind);
        out.extend_from_slice(payload);
        let text = out.get_mut(start.saturating_add(PACKET_HEADER_BYTES)..)?;
        let tag = keys.seal.seal(counter, &header, text);
        out.extend_from_slice(&tag);
        self.last_used = now;
        if !self.proven && self.unproven.len() < UNPROVEN_MAX {
            self.unproven.push_back(out.get(start..)?.to_vec());
        }
        Some(())
    }

    /// Opens a packet in place; returns its kind and where the payload stands.
    pub(super) fn open<'a>(
        &mut self,
        packet: &'a mut [u8],
        now: Instant,
    ) -> Result<(u8, &'a mut [u8]), OpenError> {
        let keys = self.keys.as_ref().ok_or(OpenError::NotReady)?;
        let header = PacketHeader::read(packet).ok_or(OpenError::Short)?;
        let counter = self.window.expand(header.counter_low());
        if !self.window.is_new(counter) {
            return Err(OpenError::Replayed);
        }
        let (_, sealed) = packet
            .split_at_mut_checked(PACKET_HEADER_BYTES)
            .ok_or(OpenError::Short)?;
        let text = keys
            .open
            .open(counter, &header.to_bytes(), sealed)
            .map_err(|_| OpenError::Forged)?;
        let (kind, payload) = text.split_first_mut().ok_or(OpenError::Short)?;
        self.window.mark(counter);
        self.received = self.received.wrapping_add(1);
        self.last_received = now;
        self.last_used = now;
        Ok((*kind, payload))
    }

    /// Opens a packet that this side sealed and that came back.
    pub(super) fn take_back<'a>(&self, packet: &'a mut [u8]) -> Option<(u8, &'a mut [u8])> {
        let keys = self.keys.as_ref()?;
        let header = PacketHeader::read(packet)?;
        let counter = expand(self.send_counter, header.counter_low());
        let (_, sealed) = packet.split_at_mut_checked(PACKET_HEADER_BYTES)?;
        let text = keys.seal.unseal(counter, &header.to_bytes(), sealed).ok()?;
        let (kind, payload) = text.split_first_mut()?;
        Some((*kind, payload))
    }

    /// Notes that a packet went out that the other side will acknowledge.
    pub(super) fn await_ack(&mut self, patience: Duration, now: Instant) -> Option<Instant> {
        if self.stall_at.is_none() {
            self.probes = 0;
            self.stall_at = Some(now + patience);
            return self.stall_at;
        }
        None
    }

    /// Notes that a packet came in that this side will acknowledge.
    pub(super) fn owe_ack(&mut self, at_once: bool, now: Instant) -> Option<Instant> {
        let due = if at_once { now } else { now + ACK_DELAY };
        if self.ack_due.is_none_or(|before| due < before) {
            self.ack_due = Some(due);
            return Some(due);
        }
        None
    }

    /// The acknowledgement: one more than the highest counter received, 8 bytes, and how many were received, 4 bytes.
    pub(super) fn ack(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let (highest, count) = bytes.split_at_mut(8);
        highest.copy_from_slice(&self.window.next().to_be_bytes());
        count.copy_from_slice(&self.received.to_be_bytes());
        bytes
    }

    /// Takes an acknowledgement.
    pub(super) fn apply_ack(
        &mut self,
        payload: &[u8],
        patience: Duration,
        now: Instant,
    ) -> Option<Verdict> {
        let mut rest = payload;
        let highest = u64::from_be_bytes(*take(&mut rest)?);
        let count = u32::from_be_bytes(*take(&mut rest)?);
        if highest > self.send_counter || highest < self.acked {
            return None;
        }
        if highest > self.acked {
            self.acked = highest;
            self.proven = true;
            self.unproven.clear();
            self.stalled = false;
            self.probes = 0;
            self.stall_at = (highest < self.send_counter).then(|| now + patience);
        }
        if let Some(sent) = self.ping_sent.take() {
            self.rtt = smoothed(self.rtt, now.since(sent));
        }
        let (last_highest, last_count) = self.sample;
        let sent = highest.saturating_sub(last_highest);
        if sent < LOSS_SAMPLE {
            return Some(Verdict::Fine);
        }
        self.sample = (highest, count);
        let arrived = u64::from(count.wrapping_sub(last_count));
        // More than three of ten lost: no congestion loss lasts at that rate over this many packets.
        let lossy = arrived.saturating_mul(10) < sent.saturating_mul(7);
        Some(if lossy { Verdict::Lossy } else { Verdict::Fine })
    }

    /// Notes when a ping went out, whose answer measures the round trip.
    pub(super) fn note_ping(&mut self, now: Instant) {
        self.ping_sent = Some(now);
    }

    /// Keeps a packet that came before the handshake's end; `false` if there are too many.
    pub(super) fn keep_early(&mut self, packet: Vec<u8>) -> bool {
        let room = self.early.len() < EARLY_MAX;
        if room {
            self.early.push(packet);
        }
        room
    }
}

/// A quarter of the new value and three of the old.
fn smoothed(old: Duration, new: Duration) -> Duration {
    let sum = old.saturating_mul(3).saturating_add(new);
    sum.checked_div(4).unwrap_or(new)
}

fn low_32(counter: u64) -> u32 {
    u32::try_from(counter & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use smartmesh_crypto::Seed;

    use super::*;

    fn pair() -> (Path, Path) {
        let (mut rng_a, mut rng_b) = (Seed::new([1; 32]).rng(), Seed::new([2; 32]).rng());
        let (alice, bob) = (
            Identity::generate(&mut rng_a),
            Identity::generate(&mut rng_b),
        );
        let (own_a, own_b) = (
            Credentials::new(&alice, &mut rng_a),
            Credentials::new(&bob, &mut rng_b),
        );
        let (token, now) = (PathToken([5; 16]), Instant::ZERO);
        let (mut a, first, proof) =
            Path::initiate(&own_a, bob.address(), token, &mut rng_a, now).unwrap();
        assert!(verify_knock(bob.address(), &token, &first));
        assert!(!verify_knock(alice.address(), &token, &first));
        let answer = Path::respond(&own_b, token, &first, &proof, &mut rng_b, now).unwrap();
        let mut b = answer.path;
        a.confirm(&own_a, &answer.second, 3, now).unwrap();
        let secret = b.accept(a.third_packet(), now).unwrap();
        assert!(a.apply_proof(&secret));
        assert_eq!(b.peer, Some(alice.address()));
        assert_eq!(b.hops, 3);
        (a, b)
    }

    #[test]
    fn packets_open_once_and_only_unchanged() {
        let (mut a, mut b) = pair();
        let mut packet = Vec::new();
        a.seal(1, b"text", &mut packet, Instant::ZERO).unwrap();
        assert_eq!(packet.len(), 4 + PACKET_OVERHEAD_BYTES);
        let mut changed = packet.clone();
        changed[6] ^= 1;
        assert_eq!(b.open(&mut changed, Instant::ZERO), Err(OpenError::Forged));
        let mut copy = packet.clone();
        let (kind, text) = b.open(&mut copy, Instant::ZERO).unwrap();
        assert_eq!((kind, &*text), (1, &b"text"[..]));
        let mut back = packet.clone();
        assert_eq!(a.take_back(&mut back).unwrap().1, b"text");
        assert_eq!(b.open(&mut packet, Instant::ZERO), Err(OpenError::Replayed));
    }

    #[test]
    fn who_dials_another_address_refuses_the_answer() {
        let (mut rng, now) = (Seed::new([1; 32]).rng(), Instant::ZERO);
        let (alice, bob) = (Identity::generate(&mut rng), Identity::generate(&mut rng));
        let carol = Identity::generate(&mut rng).address();
        let (own_a, own_b) = (
            Credentials::new(&alice, &mut rng),
            Credentials::new(&bob, &mut rng),
        );
        let token = PathToken([5; 16]);
        let (mut a, first, proof) = Path::initiate(&own_a, carol, token, &mut rng, now).unwrap();
        let answer = Path::respond(&own_b, token, &first, &proof, &mut rng, now).unwrap();
        assert_eq!(
            a.confirm(&own_a, &answer.second, 1, now),
            Err(OpenError::Handshake)
        );
    }

    #[test]
    fn losses_show_in_the_acknowledgements() {
        let (mut a, mut b) = pair();
        let (patience, now) = (Duration::from_millis(100), Instant::ZERO);
        let send = |a: &mut Path, b: &mut Path, deliver: bool| {
            let mut packet = Vec::new();
            a.seal(1, b"x", &mut packet, now).unwrap();
            if deliver {
                b.open(&mut packet, now).unwrap();
            }
        };
        for _ in 0..40 {
            send(&mut a, &mut b, true);
        }
        assert_eq!(a.apply_ack(&b.ack(), patience, now), Some(Verdict::Fine));
        for n in 0..41 {
            send(&mut a, &mut b, n % 2 == 0);
        }
        assert_eq!(a.apply_ack(&b.ack(), patience, now), Some(Verdict::Lossy));
        assert_eq!(a.apply_ack(&[0; 3], patience, now), None);
    }
}
