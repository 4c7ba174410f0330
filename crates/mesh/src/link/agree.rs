//! Agreeing on keys: the three messages of a handshake, and the neighbour or the new keys that come of them.

use smartmesh_crypto::{CipherSuite, Finished, Handshake, KeyPair, Pattern};
use smartmesh_types::{Destination, Duration, Instant, LinkAddr, NeighbourId, RadioId, Train};
use smartmesh_wire::link::{BeaconId, ClearFrame, FirstMessage, Offer};

use super::budget::{Bucket, Share};
use super::control::Control;
use super::flight::Flight;
use super::fragments::Reassembly;
use super::meet::{Half, UNDER_WAY_MAX, VERSIONS, prologue};
use super::peer::Peer;
use super::quality::Quality;
use super::session::Session;
use super::{LinkOutput, Links};

/// Bytes of control that a neighbour may send each second on a slow radio.
const CONTROL_BYTES_PER_SECOND_MIN: u64 = 16_384;

impl Links {
    pub(super) fn handle_first(
        &mut self,
        radio: RadioId,
        from: LinkAddr,
        first: &FirstMessage<'_>,
        now: Instant,
    ) {
        if VERSIONS.min > first.version || VERSIONS.max < first.version {
            self.counters.unknown_version = self.counters.unknown_version.saturating_add(1);
            if self.firsts.take(1, now) {
                self.send_clear(
                    radio,
                    from,
                    &ClearFrame::Versions {
                        receiver: first.sender,
                        versions: VERSIONS,
                    },
                );
            }
            return;
        }
        let own = self.radio_id(radio);
        if first.to != own || first.from == own {
            return;
        }
        // Before any Diffie-Hellman: who floods must show that it receives at the address it writes from.
        let proven = self
            .cookies(from, first.sender, now)
            .contains(&first.cookie);
        if !proven && !self.firsts.take(1, now) {
            self.counters.cookies_sent = self.counters.cookies_sent.saturating_add(1);
            let [cookie, _] = self.cookies(from, first.sender, now);
            return self.send_clear(
                radio,
                from,
                &ClearFrame::Cookie {
                    receiver: first.sender,
                    cookie,
                },
            );
        }
        // A repeated first message gets the same answer.
        let known = self
            .halves
            .values()
            .find(|half| half.addr == from && half.first_noise == first.noise);
        if let Some(second) = known.map(|half| half.second.clone()) {
            let train = Train::single(second);
            self.outputs.push_back(LinkOutput::Transmit {
                radio,
                to: Destination::Peer(from),
                train,
            });
            return;
        }
        if !self.resolve_crossing(radio, own, first.from)
            || !self.makes_room(radio, from, first, now)
        {
            return;
        }
        if !self.work.take(1, now) {
            self.counters.handshakes_over_budget =
                self.counters.handshakes_over_budget.saturating_add(1);
            return;
        }
        self.answer(radio, from, first, now);
    }

    /// When both begin at once, the one with the lower name goes on.
    fn resolve_crossing(&mut self, radio: RadioId, own: BeaconId, from: BeaconId) -> bool {
        let ours = self
            .pending
            .iter()
            .find(|(_, pending)| pending.radio == radio && pending.to == from);
        let Some(index) = ours.map(|(index, _)| *index) else {
            return true;
        };
        if own < from {
            return false;
        }
        self.pending.remove(&index);
        true
    }

    /// Whether there is room for one more link; somebody with few links may take the place of somebody with many.
    fn makes_room(
        &mut self,
        radio: RadioId,
        from: LinkAddr,
        first: &FirstMessage<'_>,
        now: Instant,
    ) -> bool {
        let again = self
            .peers
            .values()
            .any(|peer| peer.radio == radio && peer.beacon == first.from);
        let asked = self
            .pending
            .values()
            .filter(|pending| pending.to != first.from)
            .count();
        let under_way = self.halves.len().saturating_add(asked);
        if again || self.peers.len().saturating_add(under_way) < self.config.kept_max {
            return true;
        }
        if first.links == 0 && self.peers.len() >= self.config.kept_max {
            let spare = self
                .peers
                .values()
                .filter(|peer| peer.links > 3)
                .max_by_key(|peer| (peer.links, peer.quality.announced()));
            if let Some(spare) = spare.map(|peer| peer.id) {
                self.drop_peer(spare, now);
                return true;
            }
        }
        self.counters.busy = self.counters.busy.saturating_add(1);
        self.send_clear(
            radio,
            from,
            &ClearFrame::Busy {
                receiver: first.sender,
            },
        );
        false
    }

    fn answer(&mut self, radio: RadioId, from: LinkAddr, first: &FirstMessage<'_>, now: Instant) {
        let Some(index) = self.draw_index() else {
            return;
        };
        if self.halves.len() >= UNDER_WAY_MAX {
            let oldest = self
                .halves
                .iter()
                .min_by_key(|(_, half)| half.at)
                .map(|(index, _)| *index);
            oldest.and_then(|index| self.halves.remove(&index));
        }
        let offer = self.offer(radio).encode();
        let known = self
            .peers
            .values()
            .find(|peer| peer.radio == radio && peer.beacon == first.from);
        let Some(here) = self.radios.get(&radio) else {
            return;
        };
        let own_key = known.map_or_else(|| here.key.clone(), |peer| peer.own_key.clone());
        let prologue = prologue(first.version, first.from, first.to);
        let mut handshake = Handshake::responder(Pattern::Xx, &own_key, &prologue, &mut self.rng);
        let read = handshake
            .read(first.noise)
            .and_then(|_| handshake.write(&offer));
        let Ok(noise) = read else {
            self.counters.handshakes_failed = self.counters.handshakes_failed.saturating_add(1);
            return;
        };
        let second = ClearFrame::Second {
            receiver: first.sender,
            sender: index,
            noise: &noise,
        }
        .encode();
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
        let offer = self.offer(radio).encode();
        // Enough links have come meanwhile: the other side's half of this one expires.
        let for_new = !self.peers.values().any(|peer| {
            self.pending
                .get(&receiver)
                .is_some_and(|pending| pending.to == peer.beacon)
        });
        if for_new && self.peers.len() >= self.config.kept_max {
            return self.give_up(receiver, now);
        }
        let Some(mut pending) = self
            .pending
            .remove(&receiver)
            .filter(|pending| pending.radio == radio)
        else {
            return;
        };
        let read = pending
            .handshake
            .read(noise)
            .ok()
            .and_then(|payload| Offer::decode(&payload).ok());
        let written = read.and_then(|theirs| Some((theirs, pending.handshake.write(&offer).ok()?)));
        let Some((theirs, noise)) = written else {
            self.counters.handshakes_failed = self.counters.handshakes_failed.saturating_add(1);
            return;
        };
        let Ok(finished) = pending.handshake.finish() else {
            return;
        };
        let third = ClearFrame::Third {
            receiver: sender,
            noise: &noise,
        }
        .encode();
        let train = Train::single(third.clone());
        self.outputs.push_back(LinkOutput::Transmit {
            radio,
            to: Destination::Peer(from),
            train,
        });
        self.finish(
            (radio, from),
            (receiver, sender),
            pending.own_key,
            &theirs,
            &finished,
            Some(third),
            now,
        );
    }

    pub(super) fn handle_third(&mut self, receiver: u32, noise: &[u8], now: Instant) {
        let Some(mut half) = self.halves.remove(&receiver) else {
            return;
        };
        let read = half
            .handshake
            .read(noise)
            .ok()
            .and_then(|payload| Offer::decode(&payload).ok());
        let Some(theirs) = read else {
            self.counters.handshakes_failed = self.counters.handshakes_failed.saturating_add(1);
            return;
        };
        let known = self
            .peers
            .values()
            .any(|peer| peer.radio == half.radio && peer.beacon == theirs.id);
        if !known && self.peers.len() >= self.config.kept_max {
            // Others were faster; the other side notices by our silence.
            self.counters.busy = self.counters.busy.saturating_add(1);
            return;
        }
        let Ok(finished) = half.handshake.finish() else {
            return;
        };
        self.finish(
            (half.radio, half.addr),
            (receiver, half.remote),
            half.own_key,
            &theirs,
            &finished,
            None,
            now,
        );
    }

    /// Both sides have keys: a new neighbour, or new keys for one that is kept.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one fact of the finished handshake"
    )]
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
        let Some(here) = self.radios.get(&radio) else {
            return;
        };
        if VERSIONS.highest_common(theirs.versions) != Some(VERSIONS.max)
            || finished.remote_static == own_key.public()
        {
            return;
        }
        let aes = theirs.prefers_aes && CipherSuite::preferred() == CipherSuite::Aes256Gcm;
        let suite = if aes {
            CipherSuite::Aes256Gcm
        } else {
            CipherSuite::ChaCha20Poly1305
        };
        self.counters.handshakes = self.counters.handshakes.saturating_add(1);
        let frame_bytes = here
            .info
            .frame_bytes
            .min(usize::try_from(theirs.frame_bytes).unwrap_or(0));
        let bits_per_second = here.info.bits_per_second;
        let known = self
            .peers
            .values()
            .find(|peer| peer.radio == radio && peer.key == finished.remote_static);
        let id = known.map(|peer| peer.id);
        let fresh = id.is_none();
        // Only the key counts: a beacon id can be copied off the air.
        if fresh && self.peers.len() >= self.config.kept_max {
            self.counters.busy = self.counters.busy.saturating_add(1);
            return;
        }
        let id = id.unwrap_or_else(|| {
            let id = NeighbourId(self.next_neighbour);
            self.next_neighbour = self.next_neighbour.wrapping_add(1);
            id
        });
        let slot = usize::try_from(id.0).unwrap_or(0);
        self.sessions
            .insert(Session::new(indices, slot, finished.keys(suite)));
        let lifetime = self.config.session_lifetime;
        if let Some(peer) = self.peers.get_mut(&id.0) {
            peer.add_session(indices.0, began, now + lifetime);
            (peer.addr, peer.beacon, peer.heard_at) = (addr, theirs.id, now);
            let old = peer.retired_sessions();
            old.into_iter()
                .for_each(|index| self.sessions.remove(index));
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
            let metric = self
                .peers
                .get(&id.0)
                .map_or(u32::MAX, |peer| peer.quality.announced());
            self.outputs.push_back(LinkOutput::Up {
                neighbour: id,
                metric,
            });
            self.hurry_beacons(radio, now);
            // The first frame tells the other side that we have the keys.
            self.ping(id, now);
        }
    }
}
