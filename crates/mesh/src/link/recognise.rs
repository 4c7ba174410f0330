//! Recognising contacts among neighbours. Inside the session the two find out whether they know each other; only then does
//! each prove its long-term key. Strangers, passive or active, see random bytes of the same sizes.
//!
//! Each code is the pair's secret ([`PairSecret`](smartmesh_crypto::PairSecret), which nobody else can compute) over the
//! hash of the link's handshake, the asker's nonce, the asker's side and what the code is for. So a code is worth nothing in
//! another session, in another asking, or sent back to its maker.
//!
//! | message | from | says |
//! |---|---|---|
//! | hints | asker | the first four bytes of a code for each contact, filled up with random ones |
//! | token | answerer | a code for the contact whose hint was there, else random bytes |
//! | proof | asker | a code and the long-term signature if the token was right, else random bytes |
//! | counterproof | answerer | the long-term signature if both were right, else random bytes |
//!
//! Who began the link asks when it is up; either side asks again when its contacts have changed.

use std::collections::BTreeSet;

use smartmesh_crypto::{PairSecret, verify_mac, verify_signature};
use smartmesh_types::{Duration, Instant, NeighbourId, NodeKey};
use smartmesh_wire::link::{LinkMessage, OWN_STREAM};

use super::interface::{CONTACTS_MAX, LinkContact};
use super::peer::Peer;
use super::{LinkOutput, Links, count};

/// Hints are filled up to a multiple of this, so that their number says little about the number of contacts.
const HINTS_STEP: usize = 16;
/// How often one neighbour is asked at most.
const ASK_GAP: Duration = Duration::from_secs(5);
/// How often one neighbour is answered at most: each time costs a code for every contact.
const ANSWER_GAP: Duration = Duration::from_secs(2);
/// Bytes of the link's own messages that may wait.
const OWN_QUEUE_BYTES: usize = 16 * 1_024;
/// What the signatures are for.
const DOMAIN: &str = "smartmesh link contact";

/// Which end of the link asks; its handshake tells the ends apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Beginner,
    Other,
}

/// One asking, by its nonce.
#[derive(Clone, Copy, Debug)]
struct Asking {
    nonce: [u8; 8],
    /// Whom the other side may be, once a code has matched.
    candidate: Option<NodeKey>,
}

/// How far the two are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recognition {
    /// What this side has asked, and what it was asked.
    mine: Option<Asking>,
    theirs: Option<Asking>,
    ask_at: Instant,
    asked_at: Instant,
    answered_at: Instant,
}

impl Default for Recognition {
    fn default() -> Self {
        Self {
            mine: None,
            theirs: None,
            ask_at: Instant::NEVER,
            asked_at: Instant::ZERO,
            answered_at: Instant::ZERO,
        }
    }
}

impl Recognition {
    /// When to ask.
    pub(super) fn next_due(&self) -> Instant {
        self.ask_at
    }

    /// Whether the side that asked here may be a contact.
    #[cfg(test)]
    pub(super) fn has_candidate(&self) -> bool {
        self.theirs.is_some_and(|asking| asking.candidate.is_some())
    }
}

/// What codes and signatures of one asking are bound to.
struct Scene {
    binding: [u8; 32],
    nonce: [u8; 8],
    asker: Asker,
}

impl Scene {
    fn new(peer: &Peer, nonce: [u8; 8], asked_here: AskedBy) -> Self {
        let asker = match (asked_here, peer.began) {
            (AskedBy::Us, true) | (AskedBy::Them, false) => Asker::Beginner,
            (AskedBy::Us, false) | (AskedBy::Them, true) => Asker::Other,
        };
        Self {
            binding: peer.binding,
            nonce,
            asker,
        }
    }

    /// The hint, the token and the asker's token are codes for different purposes.
    fn code<const N: usize>(&self, secret: &PairSecret, purpose: &[u8]) -> [u8; N] {
        let code = secret.code(&[&self.binding, &self.nonce, &[self.side()], purpose]);
        code.first_chunk().copied().unwrap_or([0; N])
    }

    /// What a signature says; asker and answerer sign different texts.
    fn text(&self, purpose: &[u8]) -> Vec<u8> {
        [&self.binding[..], &self.nonce, &[self.side()], purpose].concat()
    }

    fn side(&self) -> u8 {
        match self.asker {
            Asker::Beginner => 0,
            Asker::Other => 1,
        }
    }
}

/// Whose asking it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AskedBy {
    Us,
    Them,
}

const HINT: &[u8] = b"hint";
const TOKEN: &[u8] = b"token";
const PROOF: &[u8] = b"proof";
const COUNTERPROOF: &[u8] = b"counterproof";

/// What this side shows of its contacts when it asks.
pub(super) fn hints_of(peer: &Peer, nonce: [u8; 8], contacts: &[LinkContact]) -> Vec<[u8; 4]> {
    let scene = Scene::new(peer, nonce, AskedBy::Us);
    let codes = contacts.iter();
    codes
        .map(|contact| scene.code(&contact.secret, HINT))
        .collect()
}

impl Links {
    pub(super) fn set_contacts(&mut self, mut contacts: Vec<LinkContact>, now: Instant) {
        contacts.truncate(CONTACTS_MAX);
        self.contacts = contacts;
        let known: BTreeSet<NodeKey> = self.contacts.iter().map(|contact| contact.key).collect();
        let neighbours: Vec<NeighbourId> = self.peers.values().map(|peer| peer.id).collect();
        for neighbour in neighbours {
            let Some(peer) = self.peers.get_mut(&neighbour.0) else {
                continue;
            };
            match peer.identity {
                Some(key) if !known.contains(&key) => peer.set_identity(None, now),
                Some(_) => {}
                None => peer.recognition.ask_at = now.max(peer.recognition.asked_at + ASK_GAP),
            }
        }
    }

    /// The link is up: the side that began it asks.
    pub(super) fn recognise_soon(&mut self, neighbour: NeighbourId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&neighbour.0) {
            peer.recognition = Recognition {
                ask_at: if peer.began { now } else { Instant::NEVER },
                ..Recognition::default()
            };
        }
    }

    /// Asks a neighbour whether it is a contact, if it is time to.
    pub(super) fn ask_contact(&mut self, neighbour: NeighbourId, now: Instant) {
        let nonce = self.rng.bytes();
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        if peer.recognition.ask_at > now {
            return;
        }
        peer.recognition.ask_at = Instant::NEVER;
        peer.recognition.asked_at = now;
        peer.recognition.mine = Some(Asking {
            nonce,
            candidate: None,
        });
        let mut hints = hints_of(peer, nonce, &self.contacts);
        let filled = hints.len().max(1).next_multiple_of(HINTS_STEP);
        hints.resize_with(filled, || self.rng.bytes());
        // In the order of their values: their places tell nothing.
        hints.sort_unstable();
        self.send_message(neighbour, &LinkMessage::Hints { nonce, hints }, now);
    }

    pub(super) fn handle_hints(
        &mut self,
        from: NeighbourId,
        nonce: [u8; 8],
        hints: &[[u8; 4]],
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&from.0) else {
            return;
        };
        let recognition = &peer.recognition;
        if recognition.theirs.is_some() && now < recognition.answered_at + ANSWER_GAP {
            return;
        }
        let scene = Scene::new(peer, nonce, AskedBy::Them);
        let hints: BTreeSet<[u8; 4]> = hints.iter().copied().collect();
        let known = self
            .contacts
            .iter()
            .find(|contact| hints.contains(&scene.code(&contact.secret, HINT)));
        let token = match known {
            Some(contact) => scene.code(&contact.secret, TOKEN),
            None => self.rng.bytes(),
        };
        peer.recognition.answered_at = now;
        peer.recognition.theirs = Some(Asking {
            nonce,
            candidate: known.map(|contact| contact.key),
        });
        self.send_message(from, &LinkMessage::Token(token), now);
    }

    pub(super) fn handle_token(&mut self, from: NeighbourId, token: [u8; 16], now: Instant) {
        let Some(peer) = self.peers.get_mut(&from.0) else {
            return;
        };
        let Some(asking) = peer.recognition.mine.take_if(|one| one.candidate.is_none()) else {
            return;
        };
        let scene = Scene::new(peer, asking.nonce, AskedBy::Us);
        let known = self.contacts.iter().find(|contact| {
            let expected: [u8; 16] = scene.code(&contact.secret, TOKEN);
            verify_mac(&expected, &token)
        });
        let Some(contact) = known else {
            let (token, signature) = (self.rng.bytes(), self.rng.bytes());
            return self.send_message(from, &LinkMessage::Proof { token, signature }, now);
        };
        let (token, signature) = (
            scene.code(&contact.secret, PROOF),
            self.identity.sign(DOMAIN, &scene.text(PROOF)),
        );
        peer.recognition.mine = Some(Asking {
            candidate: Some(contact.key),
            ..asking
        });
        self.send_message(from, &LinkMessage::Proof { token, signature }, now);
    }

    pub(super) fn handle_proof(
        &mut self,
        from: NeighbourId,
        token: [u8; 16],
        signature: [u8; 64],
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&from.0) else {
            return;
        };
        let Some(asking) = peer.recognition.theirs.take() else {
            return;
        };
        let scene = Scene::new(peer, asking.nonce, AskedBy::Them);
        let contact = asking
            .candidate
            .and_then(|key| self.contacts.iter().find(|contact| contact.key == key))
            .filter(|contact| {
                let expected: [u8; 16] = scene.code(&contact.secret, PROOF);
                verify_mac(&expected, &token)
            })
            .map(|contact| contact.key);
        // Who has the pair's secret may know whom it talks to even if its own signature is wrong; but then it is a thief of
        // this node's own secret, and learns no more.
        let proven = contact.filter(|key| self.is_signed(key, &scene.text(PROOF), &signature));
        let answer = match proven {
            Some(_) => self.identity.sign(DOMAIN, &scene.text(COUNTERPROOF)),
            None => self.rng.bytes(),
        };
        self.send_message(from, &LinkMessage::Counterproof(answer), now);
        if let Some(key) = proven {
            self.identify(from, key, now);
        }
    }

    pub(super) fn handle_counterproof(
        &mut self,
        from: NeighbourId,
        signature: [u8; 64],
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&from.0) else {
            return;
        };
        let asking = peer.recognition.mine.take();
        let Some((asking, key)) = asking.and_then(|asking| Some((asking, asking.candidate?)))
        else {
            return;
        };
        let scene = Scene::new(peer, asking.nonce, AskedBy::Us);
        if self.is_signed(&key, &scene.text(COUNTERPROOF), &signature) {
            self.identify(from, key, now);
        }
    }

    fn is_signed(&mut self, key: &NodeKey, text: &[u8], signature: &[u8]) -> bool {
        let signed = verify_signature(key, DOMAIN, text, signature).is_ok();
        if !signed {
            count(&mut self.counters.false_proofs);
        }
        signed
    }

    fn identify(&mut self, neighbour: NeighbourId, key: NodeKey, now: Instant) {
        let known = self.contacts.iter().any(|contact| contact.key == key);
        let Some(peer) = self.peers.get_mut(&neighbour.0).filter(|_| known) else {
            return;
        };
        if peer.identity == Some(key) {
            return;
        }
        peer.set_identity(Some(key), now);
        count(&mut self.counters.identified);
        self.outputs
            .push_back(LinkOutput::Identified { neighbour, key });
    }

    /// Sends a message of the link's own stream.
    pub(super) fn send_message(
        &mut self,
        to: NeighbourId,
        message: &LinkMessage<'_>,
        now: Instant,
    ) {
        // A full stream means a neighbour that reads nothing; its link ends soon.
        let stream = usize::from(OWN_STREAM);
        let _ = self.queue_control(to, message.encode(), (stream, OWN_QUEUE_BYTES), now);
    }
}
