//! The outbox at work: sealing, sending over a path, sending again, giving to carriers, and what comes back.
//!
//! | where a message is | what moves it on |
//! |---|---|
//! | no keys | keys come by invite, gossip, request over a path |
//! | sealed, no path | a path comes up; after 2 s it is also given to carriers |
//! | on the path, at most 16 to one person | acknowledged; else again after 1, 2, 4 … 60 s, and to carriers after 2 s in which nothing was acknowledged |
//! | arrived | a read receipt; forgotten when too many wait |
//! | expired, cancelled | over |

use smartmesh_crypto::{SEALED_OVERHEAD_BYTES, seal_to};
use smartmesh_types::{Address, Duration, Instant, MessageId, NodeKey, UnixTime};
use smartmesh_wire::message::{Body, Content, Envelope, Object, RECEIPT_IDS_MAX, SEALED_VERSION};

use super::{Messaging, PATHS_MAX, Path};
use crate::border::{Event, Output};
use crate::outbox::{Arrived, Deposited, Item, Sealing, Wrote};
use crate::peer::{SESSIONS_MAX, Slot, Wanted};
use crate::pieces;
use crate::records::{self, Key};
use crate::state::{FailReason, MessageState};
use crate::timers::{Timer, longer};

/// The most unacknowledged messages on the path to one person: enough for a round trip of a few hops, few enough not to
/// fill the queues of a slow link.
const IN_FLIGHT_MAX: usize = 16;
/// Word that somebody is near starts no new attempt so soon after the last.
const NEARBY_PAUSE: Duration = Duration::from_millis(250);
/// The most unacknowledged letters of one session. They may arrive in any order, and a reader keeps the keys of at most 40
/// skipped ones (`vodozemac`, `MAX_MESSAGE_KEYS`).
const UNACKNOWLEDGED_PER_SESSION_MAX: usize = 32;
/// The most acknowledgements kept for one person; the oldest is dropped (its message is sent again and asks anew).
const UNSENT_RECEIPTS_MAX: usize = 256;

impl Messaging {
    /// Does for a message what can be done now, and sets its timer.
    pub(super) fn attempt(&mut self, id: MessageId) {
        let Some(item) = self.outbox.find(&id) else {
            return;
        };
        let to = item.to;
        if item.expires <= self.now.unix {
            let reason = if item.sealing.is_some() || !item.deposits.is_empty() {
                FailReason::Expired
            } else {
                FailReason::NoKeys
            };
            self.give_up(id, reason);
            return;
        }
        // Sealed only when it leaves: what waits behind others shall not crowd a session.
        let leaves = self.may_fly(item) || self.is_deposit_due(item);
        if leaves && !self.seal(id) {
            self.seek_keys(to);
            return;
        }
        match self.paths.get(&to).copied() {
            Some(path) => self.fly(id, path),
            None => self.seek_path(to),
        }
        self.deposit_if_due(id);
        self.schedule(id);
    }

    /// Whether the path to a message's recipient has place for it.
    pub(super) fn may_fly(&self, item: &Item) -> bool {
        let peer = self.people.find(&item.to);
        self.paths.contains_key(&item.to)
            && (item.flown_at.is_some() || peer.is_some_and(|peer| peer.in_flight < IN_FLIGHT_MAX))
    }

    fn is_deposit_due(&self, item: &Item) -> bool {
        self.deposit_due(item)
            .is_some_and(|due| due <= self.now.instant)
    }

    /// Seals a message that is not sealed and persists it; says whether it is sealed now.
    pub(super) fn seal(&mut self, id: MessageId) -> bool {
        let Some(item) = self.outbox.find(&id) else {
            return false;
        };
        if item.sealing.is_some() {
            return true;
        }
        let (to, expires) = (item.to, item.expires);
        let body = Body {
            id,
            sent_at: item.sent_at,
            content: item.content.clone(),
        };
        let Some(session) = self.choose_session(to) else {
            return false;
        };
        let receipt: [u8; 32] = self.rng.bytes();
        let Some(bytes) = self.seal_body(to, &body, receipt, expires) else {
            self.counters.unsendable = self.counters.unsendable.saturating_add(1);
            return false;
        };
        if let Some(item) = self.outbox.find_mut(&id) {
            item.sealing = Some(Sealing {
                bytes,
                receipt,
                session,
            });
            item.deposited = Deposited::No;
        }
        self.persist_item(id);
        true
    }

    /// The session to send with, which is the last one; starts one if there is none, or if too many letters of the last
    /// one are on their way, and there are prekeys for it.
    fn choose_session(&mut self, to: Address) -> Option<[u8; 32]> {
        let last = |core: &Self| core.people.find(&to)?.sessions.last().map(|slot| slot.id);
        let session = last(self);
        let crowded = session.is_none_or(|session| {
            self.outbox.sealed_with(to, &session) >= UNACKNOWLEDGED_PER_SESSION_MAX
        });
        if crowded {
            self.start_session(to);
        }
        last(self)
    }

    fn seal_body(
        &mut self,
        to: Address,
        body: &Body,
        receipt: [u8; 32],
        expires: UnixTime,
    ) -> Option<Vec<u8>> {
        let text = body.encode().ok()?;
        let peer = self.people.find_mut(&to)?;
        let seal_key = peer.contact.keys.as_ref()?.seal_key;
        let slot = peer.sessions.last_mut()?;
        let message = slot.session.encrypt(&text).ok()?;
        let record = records::session(to, slot);
        self.persist(record);
        let mut envelope = Envelope {
            id: body.id,
            receipt,
            expires,
            sender: self.identity.address(),
            card: None,
            ratchet_kind: message.kind().code(),
            ratchet: message.to_bytes(),
        };
        let overhead = SEALED_OVERHEAD_BYTES.saturating_add(1);
        let bare = envelope.encode_padded(overhead).ok()?;
        // A first message needs the card. Others take it along where the padding has room, for a recipient that has
        // lost its memory.
        envelope.card = Some(self.card.clone());
        let padded = match (message.kind(), envelope.encode_padded(overhead)) {
            (smartmesh_crypto::RatchetKind::First, with_card) => with_card.ok()?,
            (_, Ok(with_card)) if with_card.len() == bare.len() => with_card,
            (smartmesh_crypto::RatchetKind::Next, _) => bare,
        };
        let sealed = seal_to(&self.seal_pair, &seal_key, &padded, &mut self.rng).ok()?;
        Some([&[SEALED_VERSION][..], &sealed].concat())
    }

    /// Starts a session from the person's prekeys; says whether it could.
    pub(super) fn start_session(&mut self, to: Address) -> bool {
        let has_path = self.paths.contains_key(&to);
        let Some(peer) = self.people.find_mut(&to) else {
            return false;
        };
        let Some(keys) = peer.contact.keys.as_mut() else {
            return false;
        };
        // Over a live path the other side answers with fresh prekeys if these no longer serve: a wrong clock shall not
        // silence anybody.
        if keys.expires <= self.now.unix && !has_path {
            return false;
        }
        // Two people who scanned the same invite should not take the same key.
        let choices = u64::try_from(keys.one_time.len()).unwrap_or(0);
        let choice = usize::try_from(self.rng.below(choices)).unwrap_or(0);
        let prekey = if keys.one_time.is_empty() {
            keys.fallback
        } else {
            keys.one_time.remove(choice)
        };
        let Ok(session) = self.own.account.start_session(&keys.ratchet_key, &prekey) else {
            return false;
        };
        self.persist_person(&to);
        let used = self.next_serial();
        let id = session.id();
        self.keep_session(to, Slot { id, session, used });
        true
    }

    /// Keeps a new session as the one to send with, and drops the oldest beyond the limit.
    pub(super) fn keep_session(&mut self, address: Address, slot: Slot) {
        let record = records::session(address, &slot);
        self.persist(record);
        let Some(peer) = self.people.find_mut(&address) else {
            return;
        };
        peer.sessions.push(slot);
        if peer.sessions.len() > SESSIONS_MAX {
            let oldest = peer.sessions.remove(0);
            self.persist(Key::Session(address, oldest.id).removal());
        }
    }

    /// Sends over a path if it is the message's turn.
    fn fly(&mut self, id: MessageId, path: Path) {
        let now = self.now.instant;
        let Some(item) = self.outbox.find_mut(&id) else {
            return;
        };
        let Some(peer) = self.people.find_mut(&item.to) else {
            return;
        };
        match item.flown_at {
            Some(at) if now < at + item.retry => return,
            Some(_) => item.retry = longer(item.retry, self.config.retry_max),
            None if peer.in_flight >= IN_FLIGHT_MAX => return,
            None => peer.in_flight = peer.in_flight.saturating_add(1),
        }
        item.flown_at = Some(now);
        let to = item.to;
        let sealed = item.sealing.as_ref().map(|sealing| sealing.bytes.clone());
        let object = Object::Sealed(sealed.unwrap_or_default()).encode();
        self.send_object(to, &object, path);
        self.show_state(id);
    }

    fn send_object(&mut self, to: Address, object: &[u8], path: Path) {
        let packets = pieces::cut(object, path.payload_bytes);
        if packets.is_empty() {
            self.counters.unsendable = self.counters.unsendable.saturating_add(1);
        }
        for payload in packets {
            self.outputs.push_back(Output::SendPacket { to, payload });
        }
    }

    /// Sends an object to somebody if there is a path; says whether there was.
    pub(super) fn send_over_path(&mut self, to: Address, object: &Object) -> bool {
        match self.paths.get(&to).copied() {
            Some(path) => {
                self.send_object(to, &object.encode(), path);
                true
            }
            None => false,
        }
    }

    /// When a message that no acknowledgement reaches is given to carriers; `None` if it is there already.
    fn deposit_due(&self, item: &Item) -> Option<Instant> {
        if item.deposited == Deposited::Yes {
            return None;
        }
        let progress = self
            .paths
            .get(&item.to)
            .and_then(|_| self.people.find(&item.to))
            .map_or(Instant::ZERO, |peer| peer.progress_at);
        Some(item.queued_at.max(progress) + self.config.deposit_after)
    }

    fn deposit_if_due(&mut self, id: MessageId) {
        let Some(item) = self.outbox.find(&id) else {
            return;
        };
        let Some(sealing) = item.sealing.clone() else {
            return;
        };
        if !self.is_deposit_due(item) {
            return;
        }
        let (to, expires, urgency) = (item.to, item.expires, item.urgency);
        let file = match &item.content {
            Content::File(offer) => Some(offer.clone()),
            // A file inside the message needs no other carrier.
            Content::Say(say) => say
                .attachment
                .as_ref()
                .filter(|attachment| attachment.inline.is_none())
                .map(|attachment| attachment.file.clone()),
            Content::Text(_)
            | Content::Change { .. }
            | Content::Group(_)
            | Content::Receipt { .. }
            | Content::Renew
            | Content::Unsupported { .. } => None,
        };
        if self.outbox.note_deposit(&id) == Wrote::Yes {
            self.persist_item(id);
        }
        self.outputs.push_back(Output::Deposit {
            to,
            message: id,
            sealed: sealing.bytes,
            expires,
            receipt: sealing.receipt,
            urgency,
            file,
        });
    }

    fn schedule(&mut self, id: MessageId) {
        let Some(item) = self.outbox.find(&id) else {
            return;
        };
        let again = item.flown_at.map(|at| at + item.retry);
        match again.into_iter().chain(self.deposit_due(item)).min() {
            Some(at) => self.timers.set(Timer::Message(id), at),
            None => self.timers.cancel(Timer::Message(id)),
        }
    }

    /// Tells the user where a message is if that has changed.
    fn show_state(&mut self, id: MessageId) {
        let Some(item) = self.outbox.find_mut(&id) else {
            return;
        };
        let state = match (item.flown_at, item.carried) {
            (Some(_), _) => MessageState::Sent,
            (None, 0) => MessageState::Waiting {
                until: item.expires,
            },
            (None, by) => MessageState::Carried { by },
        };
        if item.state == state {
            return;
        }
        item.state = state;
        if item.is_of_user() {
            self.event(Event::StateChanged { message: id, state });
        }
    }

    pub(super) fn handle_path_up(&mut self, address: Address, key: NodeKey, payload_bytes: usize) {
        let known = self.paths.contains_key(&address);
        if !known && self.paths.len() >= PATHS_MAX {
            return;
        }
        self.paths.insert(address, Path { payload_bytes });
        let Some(peer) = self.people.find_mut(&address) else {
            return;
        };
        if known || peer.is_blocked() {
            return;
        }
        peer.progress_at = self.now.instant;
        peer.path_retry = self.config.retry_first;
        peer.in_flight = 0;
        let wanted = peer.renewal.wanted;
        if peer.contact.key.is_none() {
            peer.contact.key = Some(key);
            self.persist_person(&address);
            self.event(Event::ContactChanged { address });
        }
        self.timers.cancel(Timer::Path(address));
        if wanted == Wanted::Yes {
            self.seek_keys(address);
        }
        self.flush_receipts(address);
        self.restart_all(address);
    }

    pub(super) fn handle_path_down(&mut self, address: Address) {
        if self.paths.remove(&address).is_none() {
            return;
        }
        if let Some(peer) = self.people.find_mut(&address) {
            peer.in_flight = 0;
            if !peer.unsent_receipts.is_empty() {
                let at = self.now.instant + self.config.receipt_deposit_after;
                self.timers.set(Timer::Receipts(address), at);
            }
            self.restart_all(address);
        }
    }

    /// Everything to one person starts anew: the path has changed.
    fn restart_all(&mut self, address: Address) {
        let ids: Vec<_> = self.outbox.to_person(address).collect();
        for id in ids {
            if let Some(item) = self.outbox.find_mut(&id) {
                item.flown_at = None;
                item.retry = self.config.retry_first;
            }
            self.attempt(id);
            self.show_state(id);
        }
    }

    /// Everything to one person is sealed anew: they could not open it.
    pub(super) fn reseal_all(&mut self, address: Address) {
        if let Some(peer) = self.people.find_mut(&address) {
            peer.in_flight = 0;
        }
        let ids: Vec<_> = self.outbox.to_person(address).collect();
        for id in ids {
            if let Some(item) = self.outbox.find_mut(&id) {
                item.sealing = None;
                item.deposited = Deposited::No;
            }
        }
        self.restart_all(address);
    }

    pub(super) fn handle_nearby(&mut self, address: Address) {
        if self.paths.contains_key(&address) || !self.needs_path(address) {
            return;
        }
        let Some(peer) = self.people.find_mut(&address) else {
            return;
        };
        let recent = peer
            .path_asked_at
            .is_some_and(|at| self.now.instant < at + NEARBY_PAUSE);
        if !recent {
            peer.path_retry = self.config.retry_first;
            self.timers.cancel(Timer::Path(address));
            self.seek_path(address);
        }
    }

    fn needs_path(&self, address: Address) -> bool {
        self.outbox.to_person(address).next().is_some()
            || self
                .people
                .find(&address)
                .is_some_and(|peer| peer.renewal.wanted == Wanted::Yes)
    }

    /// Asks for a path unless that was asked lately.
    pub(super) fn seek_path(&mut self, to: Address) {
        if self.timers.is_set(Timer::Path(to)) {
            return;
        }
        let Some(peer) = self.people.find_mut(&to) else {
            return;
        };
        peer.path_asked_at = Some(self.now.instant);
        let at = self.now.instant + peer.path_retry;
        peer.path_retry = longer(peer.path_retry, self.config.retry_max);
        self.timers.set(Timer::Path(to), at);
        self.outputs.push_back(Output::OpenPath { to });
    }

    pub(super) fn retry_path(&mut self, address: Address) {
        if !self.needs_path(address) {
            return;
        }
        if self.paths.contains_key(&address) {
            self.seek_keys(address);
        } else {
            self.seek_path(address);
        }
    }

    pub(super) fn handle_carried(&mut self, commitment: &[u8; 32], copies: u32) {
        let Some(id) = self.outbox.by_commitment(commitment) else {
            return;
        };
        if let Some(item) = self.outbox.find_mut(&id) {
            item.carried = copies;
        }
        self.show_state(id);
    }

    pub(super) fn handle_bundle_acked(&mut self, commitment: &[u8; 32]) {
        if let Some(id) = self.outbox.by_commitment(commitment) {
            self.confirm(id);
        }
    }

    /// A person says that a message is there.
    pub(super) fn handle_arrived(&mut self, from: Address, id: MessageId) {
        if self.outbox.find(&id).is_some_and(|item| item.to == from) {
            self.confirm(id);
        }
    }

    /// A person says that a message was read.
    pub(super) fn handle_read(&mut self, from: Address, id: MessageId) {
        self.handle_arrived(from, id);
        if self
            .outbox
            .find_arrived(&id)
            .is_some_and(|arrived| arrived.to == from)
        {
            self.outbox.remove_arrived(&id);
            let state = MessageState::Read;
            self.event(Event::StateChanged { message: id, state });
            self.persist(Key::Arrived(id).removal());
        }
    }

    /// Settles a message that has arrived. The user hears of it before it is forgotten on disk: torn between the two, it
    /// is sent again, acknowledged again and reported again.
    fn confirm(&mut self, id: MessageId) {
        let Some(item) = self.outbox.remove(&id) else {
            return;
        };
        self.timers.cancel(Timer::Message(id));
        if item.is_of_user() {
            let state = MessageState::Arrived;
            self.event(Event::StateChanged { message: id, state });
            let arrived = Arrived {
                to: item.to,
                serial: item.serial,
            };
            self.persist(records::arrived(id, &arrived));
            let max = self.config.arrived_max;
            if let Some(oldest) = self.outbox.insert_arrived(id, arrived, max) {
                self.persist(Key::Arrived(oldest).removal());
            }
        }
        self.persist(Key::Outbox(id).removal());
        for receipt in &item.deposits {
            self.outputs.push_back(Output::Reveal { receipt: *receipt });
        }
        if let Some(peer) = self.people.find_mut(&item.to) {
            peer.progress_at = self.now.instant;
        }
        self.land(&item);
    }

    /// Makes place on the path for the next message to the same person.
    pub(super) fn land(&mut self, item: &Item) {
        if item.flown_at.is_none() {
            return;
        }
        let Some(peer) = self.people.find_mut(&item.to) else {
            return;
        };
        peer.in_flight = peer.in_flight.saturating_sub(1);
        // By a timer, so that many acknowledgements at once are followed by one look at the queue.
        self.timers.set(Timer::Next(item.to), self.now.instant);
    }

    /// Sends the next messages to somebody, as many as may be under way.
    pub(super) fn send_next(&mut self, to: Address) {
        let in_flight = self.people.find(&to).map_or(0, |peer| peer.in_flight);
        let next: Vec<_> = self
            .outbox
            .to_person(to)
            .filter(|id| {
                let waiting = self.outbox.find(id);
                waiting.is_some_and(|waiting| waiting.flown_at.is_none())
            })
            .take(IN_FLIGHT_MAX.saturating_sub(in_flight))
            .collect();
        for id in next {
            self.attempt(id);
        }
    }

    /// Notes that a message is to be acknowledged.
    pub(super) fn queue_receipt(&mut self, to: Address, id: MessageId) {
        let has_path = self.paths.contains_key(&to);
        let Some(peer) = self.people.find_mut(&to) else {
            return;
        };
        if !peer.unsent_receipts.contains(&id) {
            if peer.unsent_receipts.len() >= UNSENT_RECEIPTS_MAX {
                peer.unsent_receipts.remove(0);
            }
            peer.unsent_receipts.push(id);
        }
        let delay = if has_path {
            self.config.receipt_delay
        } else {
            self.config.receipt_deposit_after
        };
        let at = self.now.instant + delay;
        self.timers.set_earlier(Timer::Receipts(to), at);
    }

    /// Sends what is to be acknowledged: over the path if there is one, else as a sealed receipt for carriers.
    pub(super) fn flush_receipts(&mut self, to: Address) {
        let Some(peer) = self.people.find_mut(&to) else {
            return;
        };
        let ids = std::mem::take(&mut peer.unsent_receipts);
        self.timers.cancel(Timer::Receipts(to));
        for some in ids.chunks(RECEIPT_IDS_MAX) {
            if !self.send_over_path(to, &Object::Arrived(some.to_vec())) {
                let content = Content::Receipt {
                    arrived: some.to_vec(),
                    read: Vec::new(),
                };
                self.send_silently(to, content, Duration::ZERO);
            }
        }
    }
}
