//! Carried mail: sealed bundles that people take along until they meet the reader.
//!
//! A bundle starts with eight copies. They go to neighbours who meet more people than the holder, and are not spent on those
//! who stay (spray and focus, Spyropoulos et al. 2007). The reader pulls from anybody and no copy is spent on it. Nodes that meet compare fingerprints, then lists of short ids, then headers; payloads move last, in
//! pieces, and go on where they stopped. What the reader's upper layer finds inside, the receipt, makes a vaccine: everybody
//! can check it against the bundle's id, and who gets it drops the copy. `docs/bundle.md` has the whole story.
//!
//! | a bundle is | because | next |
//! |---|---|---|
//! | offered | a neighbour told its header | coming in; or left (no room, not for us, ended) |
//! | coming in | its payload is pulled | ready; or waiting for another holder |
//! | ready | the payload is whole and its hash right | held after a grant; delivered, if it is for the local reader |
//! | held | deposited, or copies granted | fewer copies after each grant, gone with the last; cleared by its vaccine, its end or for a more urgent one |
//! | seen | evicted or delivered | forgotten at its end |
//!
//! Copies are never made: the giver strikes them on disk before the grant leaves, and who takes them has them on disk before it
//! says so. A grant lost on the way is copies lost. Mail for the local reader is delivered once; after a restart it is
//! delivered again only if its receipt was not revealed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_crypto::{Seed, sha256};
use smartmesh_types::{Address, Duration, Instant, Now, UnixTime};
use smartmesh_wire::bundle::{
    BUNDLE_PAYLOAD_BYTES_MAX, BundleHeader, BundleId, BundleMessage, Priority, Vaccine,
};
use smartmesh_wire::ids::ShortId;

use allowance::Allowance;
use contact::Peer;
use elsewhere::Elsewhere;
pub use interface::{
    CustodyConfig, CustodyCounters, CustodyError, CustodyInput, CustodyOutput, PeerRef, Record,
    RestoreError,
};
use spread::Company;
use store::{Held, Kept, Lifetime, Origin, Seen, Store};
use transfer::Incoming;

mod allowance;
mod announce;
mod contact;
mod elsewhere;
mod interface;
mod records;
mod spread;
mod store;
#[cfg(test)]
mod tests;
mod transfer;

/// Vaccines waiting for gossip; beyond, the oldest is dropped, for contacts spread it too.
const ACKS_WAITING_MAX: usize = 256;

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
    company: Company,
    elsewhere: Elsewhere,
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
            company: Company::default(),
            elsewhere: Elsewhere::default(),
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
            CustodyInput::Reveal { receipt } => self.handle_reveal(receipt),
            CustodyInput::ComesOtherwise { commitments } => self.note_coming(commitments),
            CustodyInput::NeighbourUp { neighbour } => self.handle_up(neighbour),
            CustodyInput::NeighbourDown { neighbour } => self.handle_down(neighbour),
            CustodyInput::Identified { neighbour, key } => {
                if let Some(peer) = self.peers.get_mut(&PeerRef::Neighbour(neighbour)) {
                    peer.key = Some(key);
                    self.company.came(neighbour, Some(key), false);
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
        let own = [self.acks_at, self.offer_at, self.sweep_at, self.greet_at()];
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

    /// Bytes of payload deposited here and still held.
    pub fn own_bytes(&self) -> u64 {
        self.store.own_bytes()
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
            stay: self.company.stay(),
            gave: None,
            source: None,
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

    fn handle_reveal(&mut self, receipt: [u8; 32]) {
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
        let Some(header) = header.copied() else {
            return self.note_here(receipt);
        };
        let vaccine = Vaccine {
            core: store::core_of(&header),
            receipt,
            expires: header.expires,
            life_secs: header.life_secs,
        };
        self.apply_vaccine(&vaccine, None, Learnt::Here);
    }

    /// Keeps a vaccine, clears the bundle it is for, and passes it on. One for a bundle never seen costs its bringer.
    fn apply_vaccine(&mut self, vaccine: &Vaccine, from: Option<PeerRef>, learnt: Learnt) {
        let id = store::id_of_vaccine(vaccine);
        if self.store.vaccines.contains_key(&id) {
            return;
        }
        let known =
            learnt == Learnt::Here || self.store.knows(id) || self.incoming.contains_key(&id);
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

    /// Does all that is due.
    fn pump(&mut self) {
        let now = self.now.instant;
        if now >= self.sweep_at {
            self.sweep();
        }
        self.greet();
        self.check_deadlines();
        self.pump_peers();
        self.tell_fresh();
        if now >= self.offer_at {
            self.publish_offer();
        }
        if now >= self.acks_at {
            self.publish_acks();
        }
        if self.is_idle() {
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
        self.release();
        if self.store.held.is_empty() {
            self.offer_at = Instant::NEVER;
        }
    }

    /// Whether nothing is kept or on its way.
    fn is_idle(&self) -> bool {
        self.store.held.is_empty()
            && self.store.seen.is_empty()
            && self.store.vaccines.is_empty()
            && self.incoming.is_empty()
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
