//! What comes in: packets of flows and carried mail, opened layer by layer, each refusal counted.

use smartmesh_crypto::{RatchetError, RatchetKind, RatchetMessage, address_of, open_sealed};
use smartmesh_types::{Address, Duration, UnixTime};
use smartmesh_wire::invite::PrekeyBundle;
use smartmesh_wire::message::{Body, Content, Envelope, Object, SEALED_BYTES_MAX, SEALED_VERSION};

use super::Messaging;
use super::commands::LIFETIME_MAX;
use crate::border::{Event, Message, Output, Standing, Via};
use crate::inbox::{Received, Unstored};
use crate::keys::verify_bundle;
use crate::peer::{Contact, Peer, RENEWAL_PAUSE, Slot, Wanted};
use crate::records::{self, Key};

/// How far two phones' clocks may be apart before carried mail counts as expired.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(86_400);
/// Ids forgotten in one call, so that its work is bounded.
const FORGET_PER_CALL: usize = 64;

/// An opened message whose session is not persisted yet.
struct Opened {
    text: zeroize::Zeroizing<Vec<u8>>,
    session: [u8; 32],
    /// The session that the message set up, to be kept.
    accepted: Option<Slot>,
}

impl Messaging {
    pub(super) fn handle_packet(&mut self, from: Address, payload: &[u8]) {
        if self.people.find(&from).is_some_and(Peer::is_blocked) {
            self.counters.blocked = self.counters.blocked.saturating_add(1);
            return;
        }
        let object = match self.pieces.take(from, payload, self.now.instant) {
            Ok(Some(object)) => Object::decode(&object),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match object {
            Ok(Object::Sealed(sealed)) => self.handle_sealed(&sealed, Some(from)),
            Ok(Object::PrekeyRequest) => self.handle_prekey_request(from),
            Ok(Object::Prekeys(bundle)) => self.handle_prekeys(from, &bundle),
            Ok(Object::Arrived(ids)) => {
                for id in ids {
                    self.handle_arrived(from, id);
                }
            }
            Err(_) => self.counters.malformed = self.counters.malformed.saturating_add(1),
        }
    }

    /// Opens a sealed message. `flow` is who handed it over if it came along a live path.
    pub(super) fn handle_sealed(&mut self, sealed: &[u8], flow: Option<Address>) {
        let body = match sealed.split_first() {
            Some((&SEALED_VERSION, body)) if sealed.len() <= SEALED_BYTES_MAX => body,
            Some(_) | None => {
                self.counters.malformed = self.counters.malformed.saturating_add(1);
                return;
            }
        };
        let Ok((padded, seal_key)) = open_sealed(&self.seal_pair, body) else {
            self.counters.unopened = self.counters.unopened.saturating_add(1);
            return;
        };
        let Ok(envelope) = Envelope::decode(&padded) else {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return;
        };
        let Some(from) = self.verify_sender(&envelope, &seal_key, flow) else {
            return;
        };
        if self.is_wanted(from, &envelope, flow) {
            self.open_envelope(from, &envelope, flow);
        }
    }

    /// Finds out who sent an envelope, and takes the keys it brings along.
    fn verify_sender(
        &mut self,
        envelope: &Envelope,
        seal_key: &[u8; 32],
        flow: Option<Address>,
    ) -> Option<Address> {
        let sender = envelope.sender;
        let peer = self.people.find(&sender);
        if peer.is_some_and(Peer::is_blocked) {
            self.counters.blocked = self.counters.blocked.saturating_add(1);
            return None;
        }
        let proven = self.people.by_seal_key(seal_key) == Some(sender);
        let known_until = peer
            .and_then(|peer| peer.contact.keys.as_ref())
            .map(|keys| keys.expires);
        let card = envelope
            .card
            .as_ref()
            .map(|card| PrekeyBundle::decode(card));
        match card {
            Some(Ok(card)) => {
                // The signature of a card that brings nothing new need not be looked at.
                if proven && known_until.is_some_and(|until| until >= card.expires) {
                    return Some(sender);
                }
                let good = card.seal_key == *seal_key
                    && address_of(&card.node_key) == sender
                    && sender != self.identity.address()
                    && verify_bundle(&card).is_ok();
                if !good {
                    self.counters.forged = self.counters.forged.saturating_add(1);
                    return None;
                }
                self.admit_stranger(sender)?;
                self.learn_keys(sender, &card);
                Some(sender)
            }
            Some(Err(_)) => {
                self.counters.malformed = self.counters.malformed.saturating_add(1);
                None
            }
            None if proven => Some(sender),
            None => {
                self.counters.unknown_sender = self.counters.unknown_sender.saturating_add(1);
                // Somebody writes as if we knew them: this device lost its memory. Over their flow we can ask.
                if flow == Some(sender) {
                    self.admit_stranger(sender)?;
                    self.want_renewal(sender);
                }
                None
            }
        }
    }

    fn admit_stranger(&mut self, address: Address) -> Option<()> {
        if self.people.find(&address).is_some() {
            return Some(());
        }
        let contact = Contact {
            standing: Standing::Stranger,
            name: String::new(),
            proposed: String::new(),
            verified: false,
            key: None,
            keys: None,
            serial: 0,
        };
        self.admit(address, Peer::new(contact, self.config.retry_first))
            .ok()
    }

    fn want_renewal(&mut self, address: Address) {
        if let Some(peer) = self.people.find_mut(&address)
            && self.now.instant >= peer.renewal.not_before
        {
            peer.renewal.wanted = Wanted::Yes;
            self.seek_keys(address);
        }
    }

    /// Refuses what is here already, too late, or has no place; a repeat is acknowledged again.
    fn is_wanted(&mut self, from: Address, envelope: &Envelope, flow: Option<Address>) -> bool {
        if let Some(received) = self.inbox.find(&envelope.id) {
            if received.from != from {
                self.counters.forged = self.counters.forged.saturating_add(1);
                return false;
            }
            self.counters.duplicates = self.counters.duplicates.saturating_add(1);
            self.outputs.push_back(Output::Reveal {
                receipt: envelope.receipt,
            });
            if flow == Some(from) {
                self.queue_receipt(from, envelope.id);
            }
            return false;
        }
        // A live path brings nothing stale, so a phone whose clock is wrong still hears who is near.
        if flow.is_none() && envelope.expires + CLOCK_SKEW_MAX < self.now.unix {
            self.counters.expired = self.counters.expired.saturating_add(1);
            return false;
        }
        if self.inbox.unstored_total() >= self.config.unstored_max
            || self.inbox.unstored_of(&from) >= self.config.unstored_per_person_max
        {
            self.counters.full = self.counters.full.saturating_add(1);
            return false;
        }
        true
    }

    fn open_envelope(&mut self, from: Address, envelope: &Envelope, flow: Option<Address>) {
        let Ok(message) = RatchetMessage::parse(envelope.ratchet_kind, &envelope.ratchet) else {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return;
        };
        let Ok(opened) = self.open_ratchet(from, &message) else {
            self.counters.unreadable = self.counters.unreadable.saturating_add(1);
            if flow == Some(from) {
                self.want_renewal(from);
            } else {
                self.renew(from);
            }
            return;
        };
        let body = Body::decode(&opened.text).ok();
        let body = body.filter(|body| body.id == envelope.id);
        if body.is_none() {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
        }
        let via = match flow {
            Some(_) => Via::Flow,
            None => Via::Bundle,
        };
        // The message first, then the state of the session that opened it: torn between the two, the message is known
        // by its id, and its key is merely kept for longer. Receipts take effect even before: they can be repeated, but
        // what is marked as received is not looked at again.
        if let Some(body) = &body {
            self.apply_receipt(from, &body.content);
            self.keep(from, envelope, body, via);
        }
        self.keep_opened(from, opened);
        if let Some(body) = body {
            self.accept(from, envelope, body, via);
        }
    }

    fn apply_receipt(&mut self, from: Address, content: &Content) {
        if let Content::Receipt { arrived, read } = content {
            for id in arrived {
                self.handle_arrived(from, *id);
            }
            for id in read {
                self.handle_read(from, *id);
            }
        }
    }

    /// Opens by the sessions with a person, the one used last first, or by the session that the message sets up.
    fn open_ratchet(
        &mut self,
        from: Address,
        message: &RatchetMessage,
    ) -> Result<Opened, RatchetError> {
        let peer = self.people.find_mut(&from);
        let peer = peer.ok_or(RatchetError::Unreadable)?;
        let named = message.session_id();
        let slots = peer.sessions.iter_mut().rev();
        for slot in slots.filter(|slot| named.is_none_or(|named| named == slot.id)) {
            if let Ok(text) = slot.session.decrypt(message) {
                let session = slot.id;
                return Ok(Opened {
                    text,
                    session,
                    accepted: None,
                });
            }
        }
        let known = named.is_some_and(|named| peer.sessions.iter().any(|slot| slot.id == named));
        if message.kind() == RatchetKind::Next || known {
            return Err(RatchetError::Unreadable);
        }
        let keys = peer.contact.keys.as_ref();
        let identity = keys.ok_or(RatchetError::Unreadable)?.ratchet_key;
        let (session, text) = self.own.account.accept_session(&identity, message)?;
        let id = session.id();
        Ok(Opened {
            text,
            session: id,
            accepted: Some(Slot {
                id,
                session,
                used: 0,
            }),
        })
    }

    /// Persists the session that opened a message, as the one to send with from now on.
    fn keep_opened(&mut self, from: Address, opened: Opened) {
        let used = self.next_serial();
        if let Some(slot) = opened.accepted {
            // The account goes last: a one-time prekey must not be gone before the session that it made is on disk.
            self.keep_session(from, Slot { used, ..slot });
            self.persist(records::account(&self.own));
        } else if let Some(peer) = self.people.find_mut(&from)
            && let Some(position) = peer
                .sessions
                .iter()
                .position(|slot| slot.id == opened.session)
        {
            let mut slot = peer.sessions.remove(position);
            slot.used = used;
            let record = records::session(from, &slot);
            peer.sessions.push(slot);
            self.persist(record);
        }
        if let Some(peer) = self.people.find_mut(&from) {
            peer.renewal.pause = RENEWAL_PAUSE.0;
        }
    }

    /// Remembers a message, with its content until the shell has stored it.
    fn keep(&mut self, from: Address, envelope: &Envelope, body: &Body, via: Via) {
        let unstored = match &body.content {
            Content::Text(_)
            | Content::File(_)
            | Content::Say(_)
            | Content::Change { .. }
            | Content::Unsupported { .. } => Some(Unstored {
                sent_at: body.sent_at,
                received_at: self.now.unix,
                via,
                content: body.content.clone(),
            }),
            Content::Receipt { .. } | Content::Renew | Content::Group(_) => None,
        };
        let received = Received {
            from,
            until: repeats_until(envelope.expires, self.now.unix),
            unstored,
        };
        self.persist(records::inbox(envelope.id, &received));
        self.inbox.insert(envelope.id, received);
        self.forget_ended();
    }

    pub(super) fn forget_ended(&mut self) {
        for _ in 0..FORGET_PER_CALL {
            match self.inbox.pop_ended(self.now.unix, self.config.seen_max) {
                Some(id) => self.persist(Key::Inbox(id).removal()),
                None => break,
            }
        }
    }

    /// Does what a new message says, and acknowledges it.
    fn accept(&mut self, from: Address, envelope: &Envelope, body: Body, via: Via) {
        let id = body.id;
        match body.content {
            content @ (Content::Text(_)
            | Content::File(_)
            | Content::Say(_)
            | Content::Change { .. }
            | Content::Unsupported { .. }) => {
                self.event(Event::MessageReceived(Message {
                    id,
                    from,
                    sent_at: body.sent_at,
                    received_at: self.now.unix,
                    via,
                    content,
                }));
                self.queue_receipt(from, id);
            }
            Content::Receipt { .. } => {
                // Receipts for receipts only where they cost nothing to carry; else there would be no end.
                if via == Via::Flow {
                    self.queue_receipt(from, id);
                }
            }
            Content::Group(_) => self.queue_receipt(from, id),
            Content::Renew => {
                self.queue_receipt(from, id);
                self.reseal_all(from);
            }
        }
        self.outputs.push_back(Output::Reveal {
            receipt: envelope.receipt,
        });
    }
}

/// Until when repeats of a message can come: as long as it is carried, within what the sender may ask for.
fn repeats_until(expires: UnixTime, now: UnixTime) -> UnixTime {
    expires.min(now + LIFETIME_MAX) + CLOCK_SKEW_MAX
}
