//! New session keys for a link that lives: Noise XX once more, inside the session, so that nothing of it shows on the air.
//! It also brings each side's present link key and beacon id to the other.
//!
//! | side | on | does |
//! |---|---|---|
//! | asker | its time has come, or a radio's name has changed | sends `renew` |
//! | answerer | `renew` | sends `renewing` |
//! | asker | `renewing` | sends `renewed`; opens under the new keys; seals under them once the other side has |
//! | answerer | `renewed` | opens and seals under the new keys |
//!
//! The messages are reliable and in order; what does not end in ten seconds is begun again. When both ask at once, the side
//! that began the link goes on.

use smartmesh_crypto::{Finished, Handshake, Pattern};
use smartmesh_types::{Duration, Instant, NeighbourId};
use smartmesh_wire::link::{LinkMessage, Offer};

use super::agree::{read_offer, suite};
use super::session::Session;
use super::{Links, count};

/// How long a renewal may take before it is begun again.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(10);
/// A neighbour may ask this often; each time costs a Diffie-Hellman or three.
const ASKED_GAP: Duration = Duration::from_secs(4);

/// A renewal under way.
pub(super) struct Renewal {
    /// Our index of the new session.
    pub(super) index: u32,
    step: Step,
}

impl Renewal {
    fn is_asked(&self) -> bool {
        matches!(self.step, Step::Asked(_))
    }
}

enum Step {
    Asked(Handshake),
    /// The other side's index.
    Answered(Handshake, u32),
}

impl Links {
    /// Begins to agree on new keys with a neighbour.
    pub(super) fn renew(&mut self, neighbour: NeighbourId, now: Instant) {
        let Some(index) = self.draw_index() else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        peer.rekey_at = now + RENEWAL_PATIENCE;
        let Some(here) = self.radios.get(&peer.radio) else {
            return;
        };
        let prologue = prologue(&peer.binding);
        let (pattern, rng) = (Pattern::Xx, &mut self.rng);
        let mut handshake = Handshake::initiator(pattern, &here.key, None, &prologue, rng);
        let Ok(noise) = handshake.write(&[]) else {
            return;
        };
        peer.renewal = Some(Renewal {
            index,
            step: Step::Asked(handshake),
        });
        let message = LinkMessage::Renew {
            sender: index,
            noise: &noise,
        };
        self.send_message(neighbour, &message, now);
    }

    pub(super) fn handle_renew(
        &mut self,
        from: NeighbourId,
        sender: u32,
        noise: &[u8],
        now: Instant,
    ) {
        let Some(index) = self.draw_index() else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&from.0) else {
            return;
        };
        let asking = peer.renewal.as_ref().is_some_and(Renewal::is_asked);
        if asking && peer.began {
            return;
        }
        if now < peer.answered_at + ASKED_GAP || !self.work.take(1, now) {
            return;
        }
        peer.answered_at = now;
        let radio = peer.radio;
        let Some(here) = self.radios.get(&radio) else {
            return;
        };
        let prologue = prologue(&peer.binding);
        let mut handshake = Handshake::responder(Pattern::Xx, &here.key, &prologue, &mut self.rng);
        let offer = self.offer(radio).encode();
        let read = handshake.read(noise);
        let Ok(noise) = read.and_then(|_| handshake.write(&offer)) else {
            return count(&mut self.counters.handshakes_failed);
        };
        if let Some(peer) = self.peers.get_mut(&from.0) {
            peer.renewal = Some(Renewal {
                index,
                step: Step::Answered(handshake, sender),
            });
        }
        let message = LinkMessage::Renewing {
            receiver: sender,
            sender: index,
            noise: &noise,
        };
        self.send_message(from, &message, now);
    }

    pub(super) fn handle_renewing(
        &mut self,
        from: NeighbourId,
        (receiver, sender): (u32, u32),
        noise: &[u8],
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&from.0) else {
            return;
        };
        let radio = peer.radio;
        let asked = peer.renewal.take_if(|renewal| renewal.index == receiver);
        let Some(Step::Asked(mut handshake)) = asked.map(|renewal| renewal.step) else {
            return;
        };
        let offer = self.offer(radio).encode();
        let theirs = read_offer(&mut handshake, noise);
        let written = theirs.and_then(|theirs| Some((theirs, handshake.write(&offer).ok()?)));
        let Some((theirs, noise)) = written else {
            return count(&mut self.counters.handshakes_failed);
        };
        let Ok(finished) = handshake.finish() else {
            return;
        };
        // Sealed under the old keys: the other side has the new ones only after this.
        let message = LinkMessage::Renewed {
            receiver: sender,
            noise: &noise,
        };
        self.send_message(from, &message, now);
        self.install(from, (receiver, sender), &theirs, &finished, now);
    }

    pub(super) fn handle_renewed(
        &mut self,
        from: NeighbourId,
        receiver: u32,
        noise: &[u8],
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&from.0) else {
            return;
        };
        let answered = peer.renewal.take_if(|renewal| renewal.index == receiver);
        let Some(Step::Answered(mut handshake, remote)) = answered.map(|renewal| renewal.step)
        else {
            return;
        };
        let Some(theirs) = read_offer(&mut handshake, noise) else {
            return count(&mut self.counters.handshakes_failed);
        };
        let Ok(finished) = handshake.finish() else {
            return;
        };
        self.install(from, (receiver, remote), &theirs, &finished, now);
        if let Some(peer) = self.peers.get_mut(&from.0) {
            peer.switch_to(receiver);
            // The first frame under the new keys tells the asker that they are known here.
            peer.ack_at = now;
        }
    }

    fn install(
        &mut self,
        neighbour: NeighbourId,
        indices: (u32, u32),
        theirs: &Offer,
        finished: &Finished,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        count(&mut self.counters.handshakes);
        let slot = usize::try_from(neighbour.0).unwrap_or(0);
        let keys = finished.keys(suite(theirs));
        self.sessions.insert(Session::new(indices, slot, keys));
        peer.sessions.push(indices.0);
        peer.rekey_at = now + self.config.session_lifetime;
        peer.key = finished.remote_static;
        let renamed = peer.beacon != theirs.id;
        peer.beacon = theirs.id;
        let radio = peer.radio;
        self.retire_sessions(neighbour);
        if renamed {
            if let Some(here) = self.radios.get_mut(&radio) {
                here.heard.remove(&theirs.id);
            }
            self.tell_around_soon(radio, now);
        }
    }
}

/// A renewal belongs to the link whose handshake had this hash.
fn prologue(binding: &[u8; 32]) -> Vec<u8> {
    [b"smartmesh link renewal", &binding[..]].concat()
}
