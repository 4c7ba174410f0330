//! Carried mail: sealed bundles that people take along until they meet the reader.
//!
//! A bundle starts with eight copies. Who holds more than one gives half to each new carrier it meets (binary spray and
//! wait, Spyropoulos et al. 2005, section 4); who holds one keeps it for the reader. The reader pulls from anybody and no copy
//! is spent on it. Nodes that meet compare fingerprints, then lists of short ids, then headers; payloads move last, in
//! pieces, and go on where they stopped. What the reader's upper layer finds inside, the receipt, makes a vaccine: everybody
//! can check it against the bundle's id, and who gets it drops the copy. `docs/bundle.md` has the whole story.
//!
//! | a bundle is | because | next |
//! |---|---|---|
//! | offered | a neighbour told its header | coming in; or left (no room, not for us, ended) |
//! | coming in | its payload is pulled | ready; or waiting for another holder |
//! | ready | the payload is whole and its hash right | held after a grant; delivered, if it is for the local reader |
//! | held | deposited, or copies granted | fewer copies after each grant; cleared by its vaccine, its end or for a more urgent one |
//! | seen | evicted or delivered | forgotten at its end |
//!
//! Copies are never made: the giver strikes them on disk before the grant leaves, and who takes them has them on disk before it
//! says so. A grant lost on the way is copies lost. Mail for the local reader is delivered once; after a restart it is
//! delivered again only if its receipt was not revealed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_crypto::{Seed, sha256};
use smartmesh_types::{Address, Duration, FlowId, Instant, NeighbourId, NodeKey, Now, UnixTime};
use smartmesh_wire::bundle::{
    BUNDLE_PAYLOAD_BYTES_MAX, BundleDecodeError, BundleHeader, BundleId, BundleMessage, MailOffer,
    OfferEntry, Priority, Vaccine,
};
use smartmesh_wire::ids::ShortId;
use thiserror::Error;

use allowance::Allowance;
use contact::{Incoming, Peer};
use store::{Held, Kept, Lifetime, Origin, Seen, Store};

mod allowance;
mod contact;
mod records;
mod store;
#[cfg(test)]
mod tests;
mod transfer;

/// Vaccines in one mail ack: what fits a gossip payload of 1,024 bytes.
const ACKS_MAX: usize = 13;
/// Entries in one mail offer: the same, beside a tag of 32 bytes.
const OFFERS_MAX: usize = 30;
/// Vaccines waiting for gossip; beyond, the oldest is dropped, for contacts spread it too.
const ACKS_WAITING_MAX: usize = 256;
/// Bundles wanted from carriers known by gossip; beyond, offers are not followed until some have come.
const WANTED_MAX: usize = 256;
/// How long an announced bundle is wanted if nobody announces it again.
const WANTED_FOR: Duration = Duration::from_secs(600);
/// Meetings remembered for the utility.
const MEETINGS_MAX: usize = 256;

/// Limits and times of custody.
#[derive(Clone, Debug)]
pub struct CustodyConfig {
    /// Copies a bundle starts with.
    pub copies: u8,
    /// Most bytes of payload carried for others.
    pub bytes_max: u64,
    /// Most bundles carried for others.
    pub bundles_max: usize,
    /// Most bytes carried for one depositor; all neighbours that have not proven a key are one.
    pub depositor_bytes_max: u64,
    /// Most bytes of own mail.
    pub own_bytes_max: u64,
    /// Most bundles of own mail.
    pub own_max: usize,
    /// Most names remembered as seen; the one that ends first is forgotten.
    pub seen_max: usize,
    /// Most vaccines kept; those for bundles never seen here go first.
    pub vaccines_max: usize,
    /// Most delivered payloads kept on disk until their receipt is revealed; the oldest goes.
    pub unread_max: usize,
    /// Most payloads coming in, those that wait for another holder included.
    pub incoming_max: usize,
    /// Longest life of a bundle.
    pub life_max: Duration,
    /// How long a peer may take to answer.
    pub answer_timeout: Duration,
    /// How often ends are looked for and held mail is offered by gossip.
    pub sweep_interval: Duration,
    /// Least time between two mail acks by gossip, and between two wishes for one carrier.
    pub gossip_interval: Duration,
    /// Largest message over a flow, in bytes: fits one packet of any path that carries sessions.
    pub flow_message_bytes: usize,
}

impl Default for CustodyConfig {
    fn default() -> Self {
        Self {
            copies: 8,
            // An hour of a slow link's traffic, a thousandth of a phone's disk.
            bytes_max: 64 * 1_024 * 1_024,
            bundles_max: 4_096,
            depositor_bytes_max: 8 * 1_024 * 1_024,
            own_bytes_max: 64 * 1_024 * 1_024,
            own_max: 4_096,
            seen_max: 16_384,
            vaccines_max: 8_192,
            unread_max: 256,
            incoming_max: 64,
            life_max: Duration::from_secs(30 * 24 * 3_600),
            answer_timeout: Duration::from_secs(10),
            sweep_interval: Duration::from_secs(60),
            gossip_interval: Duration::from_secs(10),
            flow_message_bytes: 440,
        }
    }
}

/// Somebody with whom mail is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerRef {
    /// A neighbour, for everything.
    Neighbour(NeighbourId),
    /// The end of a flow, for pulling mail from a carrier only.
    Flow(FlowId),
}

/// A fact to be kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name, 33 bytes: what it is about, then the bundle's id.
    pub key: Vec<u8>,
    /// Its bytes, the version first; `None` deletes it.
    pub value: Option<Vec<u8>>,
}

/// What custody is told.
#[derive(Clone, Debug)]
pub enum CustodyInput {
    /// Take own mail. The same payload and receipt again make no second bundle.
    Deposit {
        /// The reader.
        to: Address,
        /// Sealed bytes, at most [`BUNDLE_PAYLOAD_BYTES_MAX`].
        payload: Vec<u8>,
        /// When it is of no more use; cut to the longest life.
        expires: UnixTime,
        /// How urgent it is.
        priority: Priority,
        /// What the reader will find inside the payload and reveal.
        receipt: [u8; 32],
    },
    /// The local reader has read a bundle, or the sender knows that it has arrived: its copies may go.
    Reveal {
        /// What its commitment commits to.
        receipt: [u8; 32],
    },
    /// A neighbour is there.
    NeighbourUp {
        /// Which.
        neighbour: NeighbourId,
    },
    /// A neighbour is gone.
    NeighbourDown {
        /// Which.
        neighbour: NeighbourId,
    },
    /// A neighbour has proven its key.
    Identified {
        /// Which.
        neighbour: NeighbourId,
        /// Its key.
        key: NodeKey,
    },
    /// A flow to a carrier is there.
    FlowUp {
        /// Which.
        flow: FlowId,
    },
    /// A flow is gone.
    FlowDown {
        /// Which.
        flow: FlowId,
    },
    /// A [`BundleMessage`], without the family byte.
    Message {
        /// Who sent it.
        from: PeerRef,
        /// The message.
        body: Vec<u8>,
    },
    /// A [`MailOffer`] was heard by gossip.
    OfferHeard {
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// A mail ack was heard by gossip.
    AcksHeard {
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// How carriers are reached from now on; opaque, at most 32 bytes.
    SetTag {
        /// This node's own routing tag.
        tag: Vec<u8>,
    },
    /// Nothing but time has passed.
    Tick,
}

/// What custody wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustodyOutput {
    /// Must be on disk before any later output is carried out.
    Persist(Record),
    /// Send a [`BundleMessage`].
    Send {
        /// To whom.
        to: PeerRef,
        /// The message, without the family byte.
        body: Vec<u8>,
    },
    /// Mail for the local reader.
    Delivered {
        /// The sealed bytes.
        payload: Vec<u8>,
    },
    /// An own deposit was read.
    Acked {
        /// SHA-256 of its receipt.
        commitment: [u8; 32],
    },
    /// An own deposit was handed over once more.
    Carried {
        /// SHA-256 of its receipt.
        commitment: [u8; 32],
        /// Carriers that have confirmed it so far.
        copies: u32,
    },
    /// Mail for the local reader lies with a carrier: open a flow to it, then say [`CustodyInput::FlowUp`].
    Wanted {
        /// The carrier's routing tag.
        tag: Vec<u8>,
    },
    /// Publish a [`MailOffer`] by gossip.
    PublishOffer {
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// Publish a mail ack by gossip.
    PublishAcks {
        /// Its bytes.
        payload: Vec<u8>,
    },
}

/// Why an input was refused; nothing has changed but a counter.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CustodyError {
    /// The neighbour is not up, or too many flows are.
    #[error("{0:?} is not up")]
    UnknownPeer(PeerRef),
    /// The bytes are no message of this family.
    #[error(transparent)]
    Decode(#[from] BundleDecodeError),
    /// A message that does not belong on a flow.
    #[error("a message that only neighbours send")]
    NotOnFlows,
    /// A payload larger than a bundle's, in bytes.
    #[error("payload of {0} bytes")]
    PayloadTooLarge(usize),
    /// The deposit has ended already.
    #[error("the deposit has ended already")]
    Ended,
    /// Own mail has no room left.
    #[error("no room for more own mail")]
    Full,
    /// Nothing is known that this receipt belongs to.
    #[error("a receipt for nothing that is held")]
    UnknownReceipt,
}

/// Why records cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RestoreError {
    /// A record is cut off or of an unknown version or kind.
    #[error("carried mail's record {key:02x?} cannot be read")]
    Record {
        /// Its key.
        key: Vec<u8>,
    },
}

/// What custody has counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustodyCounters {
    /// Own bundles taken in.
    pub deposited: u64,
    /// Bundles taken from others.
    pub taken: u64,
    /// Copies given away.
    pub granted: u64,
    /// Payloads handed to the local reader.
    pub delivered: u64,
    /// Bundles cleared by a vaccine.
    pub cleared: u64,
    /// Bundles dropped: their life was over.
    pub expired: u64,
    /// Bundles dropped for others.
    pub evicted: u64,
    /// Bundles not taken: no room, or the depositor's quota is used up.
    pub no_room: u64,
    /// Payloads dropped: not what the header's hash says.
    pub bad_payload: u64,
    /// Headers dropped: malformed, ended, or not asked for.
    pub bad_offer: u64,
    /// Vaccines dropped: ended, or too many for bundles never seen.
    pub bad_vaccine: u64,
    /// Messages dropped: not decodable, out of place, or from somebody who is not up.
    pub malformed: u64,
    /// Requests given up: no answer.
    pub timed_out: u64,
    /// Ids not followed: too many wait already.
    pub queue_full: u64,
}

/// Carried mail of one node.
#[derive(Debug)]
pub struct Custody {
    config: CustodyConfig,
    local: Option<Address>,
    tag: Vec<u8>,
    store: Store,
    peers: BTreeMap<PeerRef, Peer>,
    incoming: BTreeMap<BundleId, Incoming>,
    /// Delivered payloads that are still on disk.
    unread: VecDeque<BundleId>,
    /// Bundles that were offered for the reader only, and are not for us.
    foreign: BTreeSet<ShortId>,
    /// Mail for us with carriers known by gossip, and when it was last announced.
    wanted: BTreeMap<ShortId, Instant>,
    /// When each carrier was last asked for, by tag.
    wishes: BTreeMap<Vec<u8>, Instant>,
    meetings: VecDeque<Instant>,
    /// To be told to neighbours at the end of this input, except to who said so.
    fresh_held: Vec<(BundleId, Option<PeerRef>)>,
    fresh_vaccines: Vec<(Vaccine, Option<PeerRef>)>,
    /// What gossip may bring of vaccines for bundles never seen here.
    heard: Allowance,
    acks: VecDeque<Vaccine>,
    acks_at: Instant,
    acked_at: Option<Instant>,
    offer_at: Instant,
    /// After which bundle the next offer starts.
    offered_to: Option<BundleId>,
    sweep_at: Instant,
    outputs: VecDeque<CustodyOutput>,
    counters: CustodyCounters,
    now: Now,
}

impl Custody {
    /// Custody of nothing. `seed` is taken like by every core; custody draws nothing at random.
    pub fn new(config: CustodyConfig, _seed: &Seed, now: Now) -> Self {
        Self {
            config,
            local: None,
            tag: Vec::new(),
            store: Store::default(),
            peers: BTreeMap::new(),
            incoming: BTreeMap::new(),
            unread: VecDeque::new(),
            foreign: BTreeSet::new(),
            wanted: BTreeMap::new(),
            wishes: BTreeMap::new(),
            meetings: VecDeque::new(),
            fresh_held: Vec::new(),
            fresh_vaccines: Vec::new(),
            heard: Allowance::new(now.instant),
            acks: VecDeque::new(),
            acks_at: Instant::NEVER,
            acked_at: None,
            offer_at: Instant::NEVER,
            offered_to: None,
            sweep_at: Instant::NEVER,
            outputs: VecDeque::new(),
            counters: CustodyCounters::default(),
            now,
        }
    }

    /// Says whose mail is the local reader's.
    pub fn set_local(&mut self, address: Address) {
        self.local = Some(address);
    }

    /// Takes one input.
    ///
    /// # Errors
    /// If the input is refused; then nothing has changed but a counter.
    pub fn handle(&mut self, input: CustodyInput, now: Now) -> Result<(), CustodyError> {
        self.now = Now {
            instant: self.now.instant.max(now.instant),
            unix: now.unix,
        };
        let result = self.dispatch(input);
        self.pump();
        result
    }

    fn dispatch(&mut self, input: CustodyInput) -> Result<(), CustodyError> {
        match input {
            CustodyInput::Deposit {
                to,
                payload,
                expires,
                priority,
                receipt,
            } => {
                return self.handle_deposit(to, payload, expires, priority, receipt);
            }
            CustodyInput::Reveal { receipt } => return self.handle_reveal(receipt),
            CustodyInput::NeighbourUp { neighbour } => self.handle_up(neighbour),
            CustodyInput::NeighbourDown { neighbour } => {
                self.forget_peer(PeerRef::Neighbour(neighbour))
            }
            CustodyInput::Identified { neighbour, key } => {
                if let Some(peer) = self.peers.get_mut(&PeerRef::Neighbour(neighbour)) {
                    peer.key = Some(key);
                }
            }
            CustodyInput::FlowUp { flow } => return self.handle_flow_up(flow),
            CustodyInput::FlowDown { flow } => self.forget_peer(PeerRef::Flow(flow)),
            CustodyInput::Message { from, body } => {
                let result = self.handle_message(from, &body);
                if result.is_err() {
                    self.counters.malformed = self.counters.malformed.saturating_add(1);
                }
                return result;
            }
            CustodyInput::OfferHeard { payload } => return self.handle_offer_heard(&payload),
            CustodyInput::AcksHeard { payload } => {
                for vaccine in Vaccine::decode_list(&payload)? {
                    self.apply_vaccine(&vaccine, None, Learnt::Gossip);
                }
            }
            CustodyInput::SetTag { tag } => self.tag = tag,
            CustodyInput::Tick => {}
        }
        Ok(())
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<CustodyOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Custody::handle`] at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(self.now.instant);
        }
        let transfers = self
            .incoming
            .values()
            .filter(|one| one.peer.is_some())
            .map(|one| one.deadline);
        let asks = self
            .peers
            .values()
            .filter(|peer| !peer.asked.is_empty())
            .map(|peer| peer.ask_deadline);
        let own = [self.acks_at, self.offer_at, self.sweep_at];
        transfers
            .chain(asks)
            .chain(own)
            .min()
            .filter(|at| *at != Instant::NEVER)
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &CustodyCounters {
        &self.counters
    }

    /// How many bundles are held, own mail included.
    pub fn held(&self) -> usize {
        self.store.held.len()
    }

    /// Bytes of payload held, own mail included.
    pub fn held_bytes(&self) -> u64 {
        self.store.bytes_all()
    }

    /// How many of the bundles held were deposited here.
    pub fn own(&self) -> usize {
        self.store.own()
    }

    fn handle_deposit(
        &mut self,
        to: Address,
        payload: Vec<u8>,
        expires: UnixTime,
        priority: Priority,
        receipt: [u8; 32],
    ) -> Result<(), CustodyError> {
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if payload.len() > BUNDLE_PAYLOAD_BYTES_MAX {
            return Err(CustodyError::PayloadTooLarge(payload.len()));
        }
        let life = expires
            .as_secs()
            .saturating_sub(self.now.unix.as_secs())
            .min(self.config.life_max.as_secs());
        if life == 0 {
            return Err(CustodyError::Ended);
        }
        let commitment = store::commitment_of(&receipt);
        let payload_hash = sha256(&[&payload]);
        let same = |held: &Held| {
            held.header.commitment == commitment && held.header.payload_hash == payload_hash
        };
        if self.store.held.values().any(same) {
            return Ok(());
        }
        if self
            .store
            .vaccines
            .values()
            .any(|kept| kept.vaccine.receipt == receipt)
        {
            self.outputs.push_back(CustodyOutput::Acked { commitment });
            return Ok(());
        }
        if !self.store.has_room_for_own(u64::from(size), &self.config) {
            return Err(CustodyError::Full);
        }
        let nonce = smartmesh_crypto::hmac_sha256_truncated(&receipt, &[b"nonce", &payload_hash]);
        let life_secs = u32::try_from(life).unwrap_or(u32::MAX);
        let header = BundleHeader {
            priority,
            nonce,
            hint: store::hint_for(to, &nonce),
            expires: self.now.unix + Duration::from_secs(life),
            life_secs,
            size,
            payload_hash,
            commitment,
        };
        let lifetime = Lifetime {
            expires: header.expires,
            life_secs,
            age_secs: 0,
            since: self.now.instant,
        };
        let copies = self.config.copies;
        let held = Held {
            header,
            payload,
            copies,
            origin: Origin::Own,
            lifetime,
            carriers: 0,
        };
        self.counters.deposited = self.counters.deposited.saturating_add(1);
        self.hold(store::id_of(&header), held, None);
        Ok(())
    }

    /// Takes a bundle into custody, on disk first.
    fn hold(&mut self, id: BundleId, held: Held, source: Option<PeerRef>) {
        self.persist(records::payload(id, &held.header, &held.payload));
        self.persist(records::state(id, &held, self.now));
        self.store.held.insert(id, held);
        self.fresh_held.push((id, source));
        self.offer_at = self
            .offer_at
            .min(self.now.instant + self.config.gossip_interval);
    }

    /// Lets a bundle go; the state goes first, so that a payload without one is known to be waste.
    fn let_go(&mut self, id: BundleId) -> Option<Held> {
        let held = self.store.held.remove(&id)?;
        self.persist(records::state_gone(id));
        self.persist(records::payload_gone(id));
        Some(held)
    }

    fn note_seen(&mut self, id: BundleId, seen: Seen) {
        self.persist(records::seen(id, &seen, self.now));
        self.store.seen.insert(id, seen);
        while let Some(forgotten) = self.store.least_missed(&self.config) {
            self.forget_seen(forgotten);
        }
    }

    fn forget_seen(&mut self, id: BundleId) {
        if self.store.seen.remove(&id).is_some() {
            self.persist(records::seen_gone(id));
        }
        if let Some(place) = self.unread.iter().position(|unread| *unread == id) {
            self.unread.remove(place);
            self.persist(records::payload_gone(id));
        }
    }

    fn evict(&mut self, id: BundleId) {
        if let Some(held) = self.let_go(id) {
            self.counters.evicted = self.counters.evicted.saturating_add(1);
            self.note_seen(
                id,
                Seen {
                    lifetime: held.lifetime,
                    read: None,
                },
            );
        }
    }

    /// Hands mail to the local reader; it stays on disk until the reader has revealed the receipt.
    fn deliver(
        &mut self,
        id: BundleId,
        header: &BundleHeader,
        payload: Vec<u8>,
        lifetime: Lifetime,
    ) {
        self.persist(records::payload(id, header, &payload));
        self.note_seen(
            id,
            Seen {
                lifetime,
                read: Some(*header),
            },
        );
        self.unread.push_back(id);
        if self.unread.len() > self.config.unread_max
            && let Some(oldest) = self.unread.pop_front()
        {
            self.persist(records::payload_gone(oldest));
        }
        self.counters.delivered = self.counters.delivered.saturating_add(1);
        self.outputs.push_back(CustodyOutput::Delivered { payload });
    }

    fn handle_reveal(&mut self, receipt: [u8; 32]) -> Result<(), CustodyError> {
        let commitment = store::commitment_of(&receipt);
        let held = self.store.held.values().map(|held| &held.header);
        let read = self
            .store
            .seen
            .values()
            .filter_map(|seen| seen.read.as_ref());
        let header = held
            .chain(read)
            .find(|header| header.commitment == commitment);
        let header = *header.ok_or(CustodyError::UnknownReceipt)?;
        let vaccine = Vaccine {
            core: store::core_of(&header),
            receipt,
            expires: header.expires,
            life_secs: header.life_secs,
        };
        self.apply_vaccine(&vaccine, None, Learnt::Here);
        Ok(())
    }

    /// Keeps a vaccine, clears the bundle it is for, and passes it on. One for a bundle never seen costs its bringer.
    fn apply_vaccine(&mut self, vaccine: &Vaccine, from: Option<PeerRef>, learnt: Learnt) {
        let id = store::id_of_vaccine(vaccine);
        if self.store.vaccines.contains_key(&id) {
            return;
        }
        let known = self.store.knows(id) || self.incoming.contains_key(&id);
        let lifetime = Lifetime {
            expires: vaccine.expires,
            life_secs: vaccine.life_secs,
            age_secs: 0,
            since: self.now.instant,
        };
        let too_long = u64::from(vaccine.life_secs) > self.config.life_max.as_secs();
        let paid = known
            || match from.and_then(|from| self.peers.get_mut(&from)) {
                Some(peer) => peer.vaccines.spend(self.now.instant),
                None => self.heard.spend(self.now.instant),
            };
        if too_long || lifetime.is_over(self.now) || !paid {
            self.counters.bad_vaccine = self.counters.bad_vaccine.saturating_add(1);
            return;
        }
        let kept = Kept {
            vaccine: *vaccine,
            lifetime,
            known,
        };
        self.persist(records::vaccine(id, &kept, self.now));
        self.store.vaccines.insert(id, kept);
        while let Some(forgotten) = self.store.least_useful(&self.config) {
            self.store.vaccines.remove(&forgotten);
            self.persist(records::vaccine_gone(forgotten));
        }
        self.forget_seen(id);
        self.incoming.remove(&id);
        if let Some(held) = self.let_go(id) {
            self.counters.cleared = self.counters.cleared.saturating_add(1);
            if held.origin == Origin::Own && learnt != Learnt::Here {
                let commitment = held.header.commitment;
                self.outputs.push_back(CustodyOutput::Acked { commitment });
            }
        }
        self.fresh_vaccines.push((*vaccine, from));
        if known && learnt != Learnt::Gossip {
            if self.acks.len() >= ACKS_WAITING_MAX {
                self.acks.pop_front();
            }
            self.acks.push_back(*vaccine);
            let earliest = self
                .acked_at
                .map_or(Instant::ZERO, |at| at + self.config.gossip_interval);
            self.acks_at = self
                .acks_at
                .min(earliest.max(self.now.instant + Duration::from_secs(1)));
        }
    }

    fn handle_offer_heard(&mut self, payload: &[u8]) -> Result<(), CustodyError> {
        let offer = MailOffer::decode(payload)?;
        let Some(local) = self.local else {
            return Ok(());
        };
        let is_ours = |entry: &&OfferEntry| entry.hint == store::hint_for(local, &entry.nonce);
        let now = self.now.instant;
        let interval = self.config.gossip_interval;
        self.wanted.retain(|_, at| now < *at + WANTED_FOR);
        let mut any = false;
        for entry in offer.entries.iter().filter(is_ours) {
            if self.store.knows_short(entry.id) {
                continue;
            }
            if self.wanted.len() >= WANTED_MAX && !self.wanted.contains_key(&entry.id) {
                self.counters.queue_full = self.counters.queue_full.saturating_add(1);
                continue;
            }
            any = true;
            self.wanted.insert(entry.id, now);
        }
        self.wishes.retain(|_, at| now < *at + interval);
        if any && !self.wishes.contains_key(&offer.tag) && self.wishes.len() < WANTED_MAX {
            self.wishes.insert(offer.tag.clone(), now);
            self.outputs
                .push_back(CustodyOutput::Wanted { tag: offer.tag });
        }
        Ok(())
    }

    /// Does all that is due.
    fn pump(&mut self) {
        let now = self.now.instant;
        if now >= self.sweep_at {
            self.sweep();
        }
        self.check_deadlines();
        self.pump_peers();
        self.tell_fresh();
        if now >= self.offer_at {
            self.publish_offer();
        }
        if now >= self.acks_at {
            self.publish_acks();
        }
        let idle = self.store.held.is_empty()
            && self.store.seen.is_empty()
            && self.store.vaccines.is_empty()
            && self.incoming.is_empty();
        if idle {
            self.sweep_at = Instant::NEVER;
            self.offer_at = Instant::NEVER;
        } else {
            self.sweep_at = self.sweep_at.min(now + self.config.sweep_interval);
        }
    }

    /// Drops all that has ended.
    fn sweep(&mut self) {
        let now = self.now;
        self.sweep_at = Instant::NEVER;
        let ended = |lifetime: &Lifetime| lifetime.is_over(now);
        let held: Vec<_> = self
            .store
            .held
            .iter()
            .filter(|(_, held)| ended(&held.lifetime))
            .map(|(id, _)| *id)
            .collect();
        for id in held {
            self.counters.expired = self.counters.expired.saturating_add(1);
            self.let_go(id);
        }
        let seen: Vec<_> = self
            .store
            .seen
            .iter()
            .filter(|(_, seen)| ended(&seen.lifetime))
            .map(|(id, _)| *id)
            .collect();
        for id in seen {
            self.forget_seen(id);
        }
        let vaccines: Vec<_> = self
            .store
            .vaccines
            .iter()
            .filter(|(_, kept)| ended(&kept.lifetime))
            .map(|(id, _)| *id)
            .collect();
        for id in vaccines {
            self.store.vaccines.remove(&id);
            self.persist(records::vaccine_gone(id));
        }
        self.incoming
            .retain(|_, incoming| !incoming.lifetime.is_over(now));
        if self.store.held.is_empty() {
            self.offer_at = Instant::NEVER;
        }
    }

    /// Announces held mail to readers in the zone, some at a time in turn.
    fn publish_offer(&mut self) {
        let after = self.offered_to.take();
        let rest = self
            .store
            .held
            .iter()
            .filter(|(id, _)| after.is_none_or(|after| **id > after));
        let entries: Vec<_> = rest
            .take(OFFERS_MAX)
            .map(|(id, held)| {
                (
                    *id,
                    OfferEntry {
                        nonce: held.header.nonce,
                        hint: held.header.hint,
                        id: id.short(),
                    },
                )
            })
            .collect();
        self.offered_to = entries
            .last()
            .map(|(id, _)| *id)
            .filter(|_| entries.len() == OFFERS_MAX);
        self.offer_at = if self.store.held.is_empty() {
            Instant::NEVER
        } else {
            self.now.instant + self.config.sweep_interval
        };
        if !entries.is_empty() && !self.tag.is_empty() {
            let offer = MailOffer {
                tag: self.tag.clone(),
                entries: entries.into_iter().map(|(_, entry)| entry).collect(),
            };
            self.outputs.push_back(CustodyOutput::PublishOffer {
                payload: offer.encode(),
            });
        }
    }

    fn publish_acks(&mut self) {
        let count = self.acks.len().min(ACKS_MAX);
        let payload: Vec<u8> = self
            .acks
            .drain(..count)
            .flat_map(|vaccine| vaccine.encode())
            .collect();
        let now = self.now.instant;
        self.acked_at = Some(now);
        self.acks_at = if self.acks.is_empty() {
            Instant::NEVER
        } else {
            now + self.config.gossip_interval
        };
        if !payload.is_empty() {
            self.outputs
                .push_back(CustodyOutput::PublishAcks { payload });
        }
    }

    fn persist(&mut self, record: Record) {
        self.outputs.push_back(CustodyOutput::Persist(record));
    }

    fn send(&mut self, to: PeerRef, message: &BundleMessage) {
        self.outputs.push_back(CustodyOutput::Send {
            to,
            body: message.encode(),
        });
    }
}

/// Where a vaccine comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learnt {
    /// The local reader or sender.
    Here,
    /// A contact.
    Contact,
    /// Gossip, which spreads it by itself.
    Gossip,
}
