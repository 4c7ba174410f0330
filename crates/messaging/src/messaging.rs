//! The core itself: who holds what, and which part handles which input.

mod commands;
mod prekeys;
mod receive;
mod send;
#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, as it should"
)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use smartmesh_crypto::{Identity, KeyPair, Rng, Seed, sha256};
use smartmesh_types::{Address, Duration, Instant, Now};
use smartmesh_wire::invite::PrekeyBundle;

use crate::border::{
    CommandError, ContactInfo, Event, Input, Message, OutgoingInfo, Output, Record, Standing,
};
use crate::config::Config;
use crate::inbox::Inbox;
use crate::keys::{OneTime, OwnKeys};
use crate::outbox::Outbox;
use crate::peer::{Peer, People};
use crate::pieces::Pieces;
use crate::records::{self, Fact, Key, RestoreError};
use crate::timers::{Timer, Timers};

/// The most flows known at once; of more, the core hears nothing until one goes down.
const PATHS_MAX: usize = 1_024;
/// Timers run in one `handle`, so that its work is bounded; the others are due at once again.
const TIMERS_PER_CALL: usize = 512;
/// How often expired things are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Conversations of one node.
#[derive(Debug)]
pub struct Messaging {
    config: Config,
    identity: Identity,
    seal_pair: KeyPair,
    rng: Rng,
    own: OwnKeys,
    /// The own bundle without one-time prekeys, for who may not know us.
    card: Vec<u8>,
    people: People,
    paths: BTreeMap<Address, Path>,
    /// Prekeys of people near who are not contacts.
    heard: BTreeMap<Address, PrekeyBundle>,
    /// Who got a one-time prekey lately.
    prekeys_given: BTreeMap<Address, Instant>,
    outbox: Outbox,
    inbox: Inbox,
    pieces: Pieces,
    timers: Timers,
    outputs: VecDeque<Output>,
    counters: Counters,
    shown: Option<String>,
    serial: u64,
    now: Now,
}

/// A flow that is up.
#[derive(Clone, Copy, Debug)]
struct Path {
    payload_bytes: usize,
}

/// What was dropped or repaired, by kind; only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets, objects, envelopes or bodies that are not well-formed.
    pub malformed: u64,
    /// Sealed messages that do not open with this node's key.
    pub unopened: u64,
    /// Messages or bundles whose keys or signature contradict their sender.
    pub forged: u64,
    /// Messages from somebody whose keys are not known.
    pub unknown_sender: u64,
    /// Messages from blocked people.
    pub blocked: u64,
    /// Carried messages past their time.
    pub expired: u64,
    /// Messages that were here already.
    pub duplicates: u64,
    /// Messages not taken because the shell has not stored those before.
    pub full: u64,
    /// Messages that no ratchet session opens.
    pub unreadable: u64,
    /// New sessions started because of those.
    pub renewals: u64,
    /// Messages or receipts that could not be sealed or cut for the path.
    pub unsendable: u64,
    /// Prekey requests answered without a one-time prekey because the same person asked often.
    pub prekeys_refused: u64,
}

/// What carriers know of a deposit's receipt secret: its SHA-256. Reports on deposits name them by it.
pub fn sealed_commitment(receipt: &[u8; 32]) -> [u8; 32] {
    sha256(&[receipt])
}

impl Messaging {
    /// Starts without any record: a new ratchet account is made and persisted.
    pub fn new(config: Config, identity: &Identity, seed: &Seed, now: Now) -> Self {
        let own = OwnKeys::generate(now.unix, config.fallback_rotation);
        let mut core = Self::with_account(config, identity, seed, own, now);
        core.persist(records::account(&core.own));
        core
    }

    /// Starts from what an earlier start persisted; without an account among the records, a new one is made. What may
    /// not have left is sent again, and messages that the shell did not confirm are reported again.
    ///
    /// # Errors
    /// If a record is damaged or of a later version.
    pub fn restore(
        config: Config,
        identity: &Identity,
        seed: &Seed,
        records: impl IntoIterator<Item = Record>,
        now: Now,
    ) -> Result<Self, RestoreError> {
        let mut latest = BTreeMap::new();
        for record in records {
            latest.insert(record.key, record.value);
        }
        let mut facts = Vec::new();
        let mut account = None;
        for (key, value) in latest {
            match records::read(&Record { key, value })? {
                Some(Fact::Account(own)) => account = Some(own),
                Some(fact) => facts.push(fact),
                None => {}
            }
        }
        let mut core = match account {
            Some(own) => Self::with_account(config, identity, seed, *own, now),
            None => Self::new(config, identity, seed, now),
        };
        for fact in facts {
            core.apply_fact(fact);
        }
        core.resume();
        Ok(core)
    }

    fn with_account(
        config: Config,
        identity: &Identity,
        seed: &Seed,
        own: OwnKeys,
        now: Now,
    ) -> Self {
        let identity = Identity::from_secret(*identity.secret());
        let mut core = Self {
            config,
            seal_pair: identity.end_to_end_key(),
            identity,
            rng: seed.split("messaging").rng(),
            own,
            card: Vec::new(),
            people: People::default(),
            paths: BTreeMap::new(),
            heard: BTreeMap::new(),
            prekeys_given: BTreeMap::new(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            pieces: Pieces::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            shown: None,
            serial: 0,
            now,
        };
        core.renew_card();
        core.timers.set(Timer::Sweep, now.instant + SWEEP_EVERY);
        core
    }

    fn apply_fact(&mut self, fact: Fact) {
        match fact {
            Fact::Account(own) => self.own = *own,
            Fact::Person(address, contact) => {
                self.serial = self.serial.max(contact.serial);
                let peer = Peer::new(contact, self.config.retry_first);
                self.people.insert(address, peer);
            }
            Fact::Session(address, slot) => {
                self.serial = self.serial.max(slot.used);
                // Records come in order of their keys, so the person is there; a session of nobody is a torn removal.
                if let Some(peer) = self.people.find_mut(&address) {
                    peer.sessions.push(*slot);
                    peer.sessions.sort_by_key(|slot| slot.used);
                }
            }
            Fact::Outbox(id, mut item) => {
                self.serial = self.serial.max(item.serial);
                item.queued_at = self.now.instant;
                item.retry = self.config.retry_first;
                self.outbox.insert(id, item);
            }
            Fact::Arrived(id, arrived) => {
                self.serial = self.serial.max(arrived.serial);
                let max = self.config.arrived_max;
                self.outbox.insert_arrived(id, arrived, max);
            }
            Fact::Inbox(id, received) => self.inbox.insert(id, received),
        }
    }

    /// Takes up again what the last start left: torn pairs of records, unconfirmed messages, the outbox.
    fn resume(&mut self) {
        let orphans: Vec<_> = self
            .outbox
            .iter()
            .filter(|(id, item)| {
                self.outbox.find_arrived(id).is_some() || self.people.find(&item.to).is_none()
            })
            .map(|(id, _)| *id)
            .collect();
        for id in orphans {
            self.outbox.remove(&id);
            self.persist(Key::Outbox(id).removal());
        }
        let received: Vec<_> = self
            .inbox
            .unstored()
            .map(|(id, received, unstored)| Message {
                id: *id,
                from: received.from,
                sent_at: unstored.sent_at,
                received_at: unstored.received_at,
                via: unstored.via,
                content: unstored.content.clone(),
            })
            .collect();
        for message in received {
            self.event(Event::MessageReceived(message));
        }
        let items = self.outbox.iter();
        let waiting: Vec<_> = items
            .map(|(id, item)| (*id, item.is_of_user(), item.state))
            .collect();
        for (id, is_of_user, state) in waiting {
            if is_of_user {
                self.event(Event::StateChanged { message: id, state });
            }
            // Spread by the timers' bound, not all in one call.
            self.timers.set(Timer::Message(id), self.now.instant);
        }
    }

    /// Takes one input.
    ///
    /// # Errors
    /// If a command cannot be carried out; nothing has changed then. What comes from outside is never an error: what is
    /// wrong with it is counted.
    pub fn handle(&mut self, input: Input, now: Now) -> Result<(), CommandError> {
        self.now = now;
        match input {
            Input::Command(request, command) => self.handle_command(request, command)?,
            Input::PathUp {
                address,
                key,
                payload_bytes,
            } => self.handle_path_up(address, key, payload_bytes),
            Input::PathDown { address } => self.handle_path_down(address),
            Input::Nearby { address } => self.handle_nearby(address),
            Input::Packet { from, payload } => self.handle_packet(from, &payload),
            Input::Bundle { sealed } => self.handle_sealed(&sealed, None),
            Input::Gossip { payload } => self.handle_gossip(&payload),
            Input::Carried { commitment, copies } => self.handle_carried(&commitment, copies),
            Input::BundleAcked { commitment } => self.handle_bundle_acked(&commitment),
            Input::Tick => {}
        }
        self.run_timers();
        Ok(())
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle`] again at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.outputs.is_empty() {
            self.timers.next()
        } else {
            Some(self.now.instant)
        }
    }

    /// What was dropped or repaired.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Everybody known, by address.
    pub fn contacts(&self) -> Vec<ContactInfo> {
        self.people
            .by_address
            .iter()
            .map(|(address, peer)| ContactInfo {
                address: *address,
                key: peer.contact.key,
                seal_key: peer.contact.keys.as_ref().map(|keys| keys.seal_key),
                name: if peer.contact.name.is_empty() {
                    peer.contact.proposed.clone()
                } else {
                    peer.contact.name.clone()
                },
                standing: peer.contact.standing,
                verified: peer.contact.verified,
                has_keys: peer.has_keys(self.now.unix),
                outgoing: self.outbox.to_person(*address).count(),
            })
            .collect()
    }

    /// The user's messages under way, and those that have arrived and are not read.
    pub fn outgoing(&self) -> Vec<OutgoingInfo> {
        let under_way = self
            .outbox
            .iter()
            .filter(|(_, item)| item.is_of_user())
            .map(|(id, item)| OutgoingInfo {
                message: *id,
                to: item.to,
                state: item.state,
            });
        let arrived = self.outbox.arrived().map(|(id, arrived)| OutgoingInfo {
            message: *id,
            to: arrived.to,
            state: crate::MessageState::Arrived,
        });
        under_way.chain(arrived).collect()
    }

    fn run_timers(&mut self) {
        for _ in 0..TIMERS_PER_CALL {
            let Some(timer) = self.timers.pop_due(self.now.instant) else {
                break;
            };
            match timer {
                Timer::Receipts(address) => self.flush_receipts(address),
                Timer::Path(address) => self.retry_path(address),
                Timer::Next(address) => self.send_next(address),
                Timer::Message(id) => self.attempt(id),
                Timer::Publish => self.publish(),
                Timer::Sweep => self.sweep(),
            }
        }
    }

    fn sweep(&mut self) {
        let next = self.now.instant + SWEEP_EVERY;
        self.timers.set(Timer::Sweep, next);
        self.rotate_fallback();
        let expired: Vec<_> = self
            .outbox
            .iter()
            .filter(|(_, item)| item.expires <= self.now.unix)
            .map(|(id, _)| *id)
            .collect();
        for id in expired {
            self.attempt(id);
        }
        self.forget_ended();
        let now = self.now.unix;
        self.heard.retain(|_, bundle| bundle.expires > now);
    }

    fn renew_card(&mut self) {
        let name = self.shown.clone().unwrap_or_default();
        let card = self
            .own
            .bundle(&self.identity, &name, OneTime::None)
            .and_then(|bundle| bundle.encode());
        self.card = card.expect("the name's length was checked when it was given");
    }

    fn next_serial(&mut self) -> u64 {
        self.serial = self.serial.saturating_add(1);
        self.serial
    }

    fn persist(&mut self, record: Record) {
        self.outputs.push_back(Output::Persist(record));
    }

    fn persist_person(&mut self, address: &Address) {
        if let Some(peer) = self.people.find(address) {
            let record = records::person(*address, &peer.contact);
            self.persist(record);
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Puts a person into the table, making room where that is allowed.
    fn admit(&mut self, address: Address, mut peer: Peer) -> Result<(), CommandError> {
        let standing = peer.contact.standing;
        let strangers = self.people.count(Standing::Stranger);
        let full = self.people.by_address.len() >= self.config.people_max;
        let crowded = standing == Standing::Stranger && strangers >= self.config.strangers_max;
        if full || crowded {
            let oldest = self.people.oldest_stranger();
            self.forget_person(oldest.ok_or(CommandError::Full("contacts"))?);
        }
        peer.contact.serial = self.next_serial();
        self.people.insert(address, peer);
        self.persist_person(&address);
        self.event(Event::ContactAdded { address, standing });
        Ok(())
    }

    fn forget_person(&mut self, address: Address) {
        let ids: Vec<_> = self.outbox.to_person(address).collect();
        for id in ids {
            self.give_up(id, crate::FailReason::ContactGone);
        }
        if let Some(peer) = self.people.remove(&address) {
            for slot in peer.sessions {
                self.persist(Key::Session(address, slot.id).removal());
            }
            self.persist(Key::Person(address).removal());
            self.event(Event::ContactChanged { address });
        }
        self.timers.cancel(Timer::Receipts(address));
        self.timers.cancel(Timer::Next(address));
        self.timers.cancel(Timer::Path(address));
    }
}
