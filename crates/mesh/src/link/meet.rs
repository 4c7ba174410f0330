//! Finding each other and agreeing on keys: beacons, and Noise XX with a version, a cookie against floods, and an offer from
//! each side inside the sealed payload.

use smartmesh_crypto::{Handshake, KeyPair, Pattern};
use smartmesh_types::{Destination, Duration, Instant, LinkAddr, NeighbourId, RadioId, Train};
use smartmesh_wire::link::{Beacon, BeaconId, ClearFrame, FirstMessage, Purpose, Versions};

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
pub(super) const UNDER_WAY_MAX: usize = 64;
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
    pub(super) to: BeaconId,
    pub(super) own_key: KeyPair,
    pub(super) handshake: Handshake,
    pub(super) noise: Vec<u8>,
    pub(super) cookie: [u8; 16],
    pub(super) tries: u32,
}

/// A handshake begun by somebody else.
pub(super) struct Half {
    pub(super) radio: RadioId,
    pub(super) addr: LinkAddr,
    pub(super) remote: u32,
    pub(super) own_key: KeyPair,
    pub(super) handshake: Handshake,
    pub(super) second: Vec<u8>,
    pub(super) first_noise: Vec<u8>,
    pub(super) at: Instant,
}

impl Links {
    pub(super) fn handle_clear(
        &mut self,
        radio: RadioId,
        from: LinkAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        let Ok(frame) = ClearFrame::decode(bytes) else {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return;
        };
        match frame {
            ClearFrame::Beacon(beacon) => self.handle_beacon(radio, from, beacon, now),
            ClearFrame::First(first) => self.handle_first(radio, from, &first, now),
            ClearFrame::Cookie { receiver, cookie } => self.handle_cookie(receiver, cookie, now),
            ClearFrame::Second {
                receiver,
                sender,
                noise,
            } => self.handle_second(radio, from, (receiver, sender), noise, now),
            ClearFrame::Third { receiver, noise } => self.handle_third(receiver, noise, now),
            ClearFrame::Versions { receiver, .. } | ClearFrame::Busy { receiver } => {
                self.give_up(receiver, now)
            }
        }
    }

    /// Sends the beacons that are due and gives new names to radios whose names are old.
    pub(super) fn send_beacons(&mut self, now: Instant) {
        let due: Vec<RadioId> = self
            .radios
            .iter()
            .filter(|(_, r)| r.beacon_at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let links = self.links_on(id);
            let jitter = self.rng.below(1_000);
            let Some(radio) = self.radios.get_mut(&id) else {
                continue;
            };
            if radio.id_until <= now && links == 0 {
                radio.id = BeaconId(self.rng.bytes());
                radio.key = KeyPair::generate(&mut self.rng);
                radio.id_until = now + self.config.key_lifetime;
            }
            let frame = ClearFrame::Beacon(Beacon {
                versions: VERSIONS,
                links,
                id: radio.id,
            })
            .encode();
            radio.beacon_gap = radio.beacon_gap.saturating_mul(2).min(BEACON_GAP_MAX);
            let gap = u64::try_from(radio.beacon_gap.as_micros()).unwrap_or(u64::MAX);
            let gap = Duration::from_micros(gap.saturating_add(gap.saturating_mul(jitter) / 4_000));
            radio.beacon_at = now + gap;
            radio
                .heard
                .retain(|_, heard| now.since(heard.at) < Duration::from_secs(60));
            let broadcast = match radio.info.broadcast {
                smartmesh_types::Broadcast::Yes => Some(Destination::Broadcast),
                smartmesh_types::Broadcast::No => None,
            };
            let known: Vec<LinkAddr> = self
                .peers
                .values()
                .filter(|peer| peer.radio == id)
                .map(|peer| peer.addr)
                .collect();
            let peers = radio
                .info
                .peers
                .iter()
                .filter(|addr| !known.contains(addr))
                .map(|addr| Destination::Peer(*addr));
            for to in broadcast.into_iter().chain(peers) {
                self.outputs.push_back(LinkOutput::Transmit {
                    radio: id,
                    to,
                    train: Train::single(frame.clone()),
                });
            }
        }
    }

    pub(super) fn links_on(&self, radio: RadioId) -> u8 {
        u8::try_from(
            self.peers
                .values()
                .filter(|peer| peer.radio == radio)
                .count(),
        )
        .unwrap_or(u8::MAX)
    }

    fn handle_beacon(&mut self, radio: RadioId, from: LinkAddr, beacon: Beacon, now: Instant) {
        // Those under way count: otherwise a whole cell that starts at once would meet everybody.
        let under_way = self.pending.len().saturating_add(self.halves.len());
        let (mine, wanted) = (
            self.peers.len().saturating_add(under_way),
            self.config.kept_wanted,
        );
        let linked = self
            .peers
            .values()
            .any(|peer| peer.radio == radio && peer.beacon == beacon.id);
        let asking = self
            .pending
            .values()
            .any(|pending| pending.radio == radio && pending.to == beacon.id);
        let heard_max = self.config.heard_max;
        let Some(here) = self.radios.get_mut(&radio) else {
            return;
        };
        if beacon.id == here.id || linked || asking {
            return;
        }
        if here.heard.len() >= heard_max && !here.heard.contains_key(&beacon.id) {
            let oldest = here
                .heard
                .iter()
                .min_by_key(|(_, heard)| heard.at)
                .map(|(id, _)| *id);
            oldest.and_then(|id| here.heard.remove(&id));
        }
        let around = u64::try_from(here.heard.len()).unwrap_or(u64::MAX).max(1);
        let fresh = Heard {
            at: now,
            beacons: 0,
            not_before: now,
        };
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
            let frame = ClearFrame::Beacon(Beacon {
                versions: VERSIONS,
                links: self.links_on(radio),
                id: self.radio_id(radio),
            });
            self.send_clear(radio, from, &frame);
        }
    }

    pub(super) fn radio_id(&self, radio: RadioId) -> BeaconId {
        self.radios
            .get(&radio)
            .map(|radio| radio.id)
            .unwrap_or_default()
    }

    pub(super) fn send_clear(&mut self, radio: RadioId, to: LinkAddr, frame: &ClearFrame<'_>) {
        let train = Train::single(frame.encode());
        self.outputs.push_back(LinkOutput::Transmit {
            radio,
            to: Destination::Peer(to),
            train,
        });
    }

    pub(super) fn draw_index(&mut self) -> Option<u32> {
        let taken: Vec<u32> = self
            .pending
            .keys()
            .chain(self.halves.keys())
            .copied()
            .collect();
        self.sessions.draw_index(&taken, &mut self.rng)
    }

    /// Begins a handshake; with a neighbour that is kept, for new session keys.
    pub(super) fn begin(
        &mut self,
        radio: RadioId,
        addr: LinkAddr,
        to: BeaconId,
        peer: Option<NeighbourId>,
        now: Instant,
    ) {
        let Some(index) = self.draw_index() else {
            return;
        };
        if self.pending.len() >= UNDER_WAY_MAX {
            return;
        }
        let Some(here) = self.radios.get(&radio) else {
            return;
        };
        let known = peer.and_then(|peer| self.peers.get(&peer.0));
        let own_key = known.map_or_else(|| here.key.clone(), |peer| peer.own_key.clone());
        let mut handshake = Handshake::initiator(
            Pattern::Xx,
            &own_key,
            None,
            &prologue(VERSIONS.max, here.id, to),
            &mut self.rng,
        );
        let Ok(noise) = handshake.write(&[]) else {
            return;
        };
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
        let Some(pending) = self.pending.get(&index) else {
            return;
        };
        let (radio, addr) = (pending.radio, pending.addr);
        let links = self.links_on(radio);
        let from = self.radio_id(radio);
        let Some(pending) = self.pending.get_mut(&index) else {
            return;
        };
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
        self.outputs.push_back(LinkOutput::Transmit {
            radio,
            to: Destination::Peer(addr),
            train,
        });
    }

    /// Repeats handshakes without an answer, and forgets those that have been repeated enough.
    pub(super) fn run_handshakes(&mut self, now: Instant) {
        let due: Vec<u32> = self
            .pending
            .iter()
            .filter(|(_, p)| p.resend_at <= now)
            .map(|(index, _)| *index)
            .collect();
        for index in due {
            if self
                .pending
                .get(&index)
                .is_some_and(|pending| pending.tries >= TRIES_MAX)
            {
                self.give_up(index, now);
            } else {
                self.send_first(index, now);
            }
        }
        self.halves
            .retain(|_, half| now.since(half.at) < HALF_LIFETIME);
    }

    pub(super) fn give_up(&mut self, index: u32, now: Instant) {
        let Some(pending) = self.pending.remove(&index) else {
            return;
        };
        if let Some(heard) = self
            .radios
            .get_mut(&pending.radio)
            .and_then(|radio| radio.heard.get_mut(&pending.to))
        {
            heard.not_before = now + RETRY_AFTER;
        }
    }

    fn handle_cookie(&mut self, receiver: u32, cookie: [u8; 16], now: Instant) {
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
    pub(super) fn cookies(&self, addr: LinkAddr, sender: u32, now: Instant) -> [[u8; 16]; 2] {
        let span = now.as_micros() / COOKIE_SPAN_MICROS;
        [span, span.saturating_sub(1)].map(|span| {
            let mac =
                self.cookie
                    .sign(&[addr.as_bytes(), &sender.to_be_bytes(), &span.to_be_bytes()]);
            mac.first_chunk().copied().unwrap_or_default()
        })
    }
}

/// What both sides must agree on beyond the messages: the protocol, its version, and who asked whom.
pub(super) fn prologue(version: u8, from: BeaconId, to: BeaconId) -> Vec<u8> {
    [b"smartmesh link", &[version][..], &from.0, &to.0].concat()
}
