//! Contacts: comparing sets with a neighbour, and asking for what is lacking.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_crypto::sha256;
use smartmesh_types::{FlowId, Instant, NeighbourId, NodeKey};
use smartmesh_wire::bundle::{
    BundleHeader, BundleId, BundleMessage, Offered, Priority, VACCINE_BUCKETS, VACCINE_BYTES,
    Vaccine,
};
use smartmesh_wire::ids::{ShortId, ShortIds};

use super::allowance::Allowance;
use super::store::{Lifetime, find, id_of};
use super::{Custody, CustodyError, Learnt, PeerRef};

/// Ids in one list: two lists fit one message.
const LIST_MAX: usize = 900;
/// Headers asked of a neighbour at once: they fit one message.
const ASK_MAX: usize = 64;
/// Bytes of one header in an offer.
const OFFERED_BYTES: usize = 122;
/// Vaccines in one message.
const VACCINES_MAX: usize = 200;
/// Ids waiting to be asked of one peer; beyond, they are left until the next contact.
const TODO_MAX: usize = 8_192;
/// Headers waiting for their payload to be pulled, of one peer.
const OFFERS_WAITING_MAX: usize = 128;
/// Most flows that mail is pulled over.
const FLOWS_MAX: usize = 64;
/// Bundles remembered as not for us; forgotten all at once when there are more.
const FOREIGN_MAX: usize = 16_384;

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: Option<NodeKey>,
    /// How often it meets somebody new, as it told.
    pub(super) utility: u32,
    /// When to compare sets anew.
    pub(super) since: Instant,
    hello_at: Instant,
    greeted: bool,
    /// Ids it has and this node lacks, in the order in which it told them: most urgent first.
    todo: VecDeque<ShortId>,
    /// Ids it was asked the headers of.
    pub(super) asked: BTreeSet<ShortId>,
    pub(super) ask_deadline: Instant,
    /// Headers it has sent, most urgent first.
    pub(super) offers: BTreeMap<(Priority, BundleId), (BundleHeader, Lifetime)>,
    /// Copies it was granted and has not confirmed; struck already.
    pub(super) granted: BTreeMap<BundleId, u8>,
    /// Bundles held here that it was asked for more copies of, once in a contact.
    pub(super) asked_more: BTreeMap<BundleId, bool>,
    /// Vaccines for bundles never seen here that it may still bring.
    pub(super) vaccines: Allowance,
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            key: None,
            utility: 0,
            since: now,
            hello_at: now,
            greeted: false,
            todo: VecDeque::new(),
            asked: BTreeSet::new(),
            ask_deadline: Instant::NEVER,
            offers: BTreeMap::new(),
            granted: BTreeMap::new(),
            asked_more: BTreeMap::new(),
            vaccines: Allowance::new(now),
        }
    }
}

impl Custody {
    pub(super) fn handle_up(&mut self, neighbour: NeighbourId) {
        let to = PeerRef::Neighbour(neighbour);
        self.forget_peer(to);
        let is_neighbour = |peer: &PeerRef| matches!(peer, PeerRef::Neighbour(_));
        let was_alone = !self.peers.keys().any(is_neighbour);
        self.peers.insert(to, Peer::new(self.now.instant));
        self.company.came(neighbour, None, was_alone);
        self.greet_all();
    }

    /// When sets are compared anew; never while there is nothing to compare.
    pub(super) fn greet_at(&self) -> Instant {
        let neighbours = self
            .peers
            .iter()
            .filter(|(to, _)| !self.is_idle() && matches!(to, PeerRef::Neighbour(_)));
        let next = neighbours.map(|(_, peer)| peer.hello_at).min();
        next.unwrap_or(Instant::NEVER)
    }

    pub(super) fn greet(&mut self) {
        if self.greet_at() <= self.now.instant {
            self.greet_all();
        }
    }

    /// Compares sets with each neighbour whose turn it is. It is done again from time to time, for a message may be lost in a
    /// full queue, and what there was no room for may have found some.
    fn greet_all(&mut self) {
        let now = self.now.instant;
        let mut due = Vec::new();
        for (to, peer) in &mut self.peers {
            if matches!(to, PeerRef::Neighbour(_)) && peer.hello_at <= now {
                // The second time soon: contacts are short, and the first one may have come before the other end was ready.
                peer.hello_at = now
                    + match peer.greeted {
                        true => self.config.hello_interval,
                        false => self.config.answer_timeout,
                    };
                peer.greeted = true;
                due.push(*to);
            }
        }
        if due.is_empty() {
            return;
        }
        let utility = self.utility();
        self.note_told(utility);
        let hello = BundleMessage::Hello {
            utility,
            held: self.held_fingerprint(),
            vaccines: self.vaccine_fingerprints().concat(),
        };
        for to in due {
            self.send(to, &hello);
        }
    }

    pub(super) fn handle_flow_up(&mut self, flow: FlowId) -> Result<(), CustodyError> {
        let from = PeerRef::Flow(flow);
        self.flow_peer(from)?;
        let wanted = self.wanted.keys().copied().collect();
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.todo = wanted;
        }
        Ok(())
    }

    /// A flow's other end may speak before we heard of the flow.
    fn flow_peer(&mut self, from: PeerRef) -> Result<(), CustodyError> {
        let flows = self
            .peers
            .keys()
            .filter(|peer| matches!(peer, PeerRef::Flow(_)))
            .count();
        if !self.peers.contains_key(&from) {
            if flows >= FLOWS_MAX {
                return Err(CustodyError::UnknownPeer(from));
            }
            self.peers.insert(from, Peer::new(self.now.instant));
        }
        Ok(())
    }

    pub(super) fn forget_peer(&mut self, peer: PeerRef) {
        self.peers.remove(&peer);
        for one in self
            .incoming
            .values_mut()
            .filter(|one| one.peer == Some(peer))
        {
            one.peer = None;
        }
    }

    fn held_fingerprint(&self) -> [u8; 8] {
        let ids = |spray: bool| {
            let of_kind = self
                .store
                .held
                .iter()
                .filter(move |(_, held)| (held.copies > 1) == spray);
            of_kind.flat_map(|(id, _)| id.0).collect::<Vec<u8>>()
        };
        BundleId(sha256(&[&ids(true), b"wait", &ids(false)]))
            .short()
            .0
    }

    /// Empty without vaccines.
    fn vaccine_fingerprints(&self) -> Vec<[u8; 8]> {
        let mut buckets: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for id in self.store.vaccines.keys() {
            buckets
                .entry(bucket_of(*id))
                .or_default()
                .extend_from_slice(&id.0);
        }
        if buckets.is_empty() {
            return Vec::new();
        }
        let fingerprint = |bucket| {
            let ids = buckets.get(&bucket)?;
            Some(BundleId(sha256(&[ids])).short().0)
        };
        (0..VACCINE_BUCKETS)
            .map(|bucket| fingerprint(bucket).unwrap_or_default())
            .collect()
    }

    pub(super) fn handle_message(
        &mut self,
        from: PeerRef,
        body: &[u8],
    ) -> Result<(), CustodyError> {
        let message = BundleMessage::decode(body)?;
        match from {
            PeerRef::Neighbour(_) => {
                if !self.peers.contains_key(&from) {
                    return Err(CustodyError::UnknownPeer(from));
                }
            }
            PeerRef::Flow(_) => {
                if !belongs_on_flows(&message) {
                    return Err(CustodyError::NotOnFlows);
                }
                self.flow_peer(from)?;
            }
        }
        match message {
            BundleMessage::Hello {
                utility,
                held,
                vaccines,
            } => {
                let news = self.note_utility(from, utility);
                let differs = self.handle_hello(from, held, &vaccines);
                // It asks for the lists if they differ.
                if news && !differs {
                    self.tell_gifts(from);
                }
            }
            BundleMessage::Need { held, buckets } => self.handle_need(from, held, &buckets),
            BundleMessage::Have { spray, wait } => self.handle_have(from, &spray.0, &wait.0),
            BundleMessage::VaccineIds { ids } => self.handle_vaccine_ids(from, &ids.0),
            BundleMessage::VaccineAsk { ids } => self.handle_vaccine_ask(from, &ids.0),
            BundleMessage::Vaccines { list } => {
                for vaccine in Vaccine::decode_list(&list)? {
                    self.apply_vaccine(&vaccine, Some(from), Learnt::Contact);
                }
            }
            BundleMessage::Ask { ids } => self.handle_ask(from, &ids.0),
            BundleMessage::Offer { bundles } => self.handle_offer(from, &bundles),
            BundleMessage::Gone { id } => self.handle_gone(from, BundleId(id)),
            BundleMessage::Pull { id, offset, length } => {
                self.handle_pull(from, BundleId(id), offset, length)
            }
            BundleMessage::Piece { id, offset, bytes } => {
                self.handle_piece(from, BundleId(id), offset, &bytes)
            }
            BundleMessage::Ready { id } => self.handle_ready(from, BundleId(id)),
            BundleMessage::Grant {
                id,
                copies,
                age_secs,
            } => self.handle_grant(from, BundleId(id), copies, age_secs),
            BundleMessage::Taken { id } => self.handle_taken(from, BundleId(id)),
            BundleMessage::Utility { utility } => {
                if self.note_utility(from, utility) {
                    self.tell_gifts(from);
                }
            }
        }
        Ok(())
    }

    /// True if the bundles held are not the same.
    fn handle_hello(&mut self, from: PeerRef, held: [u8; 8], vaccines: &[u8]) -> bool {
        let ours = self.vaccine_fingerprints();
        let (theirs, _) = vaccines.as_chunks::<8>();
        let differs = |(index, theirs): (usize, &[u8; 8])| {
            let ours = ours.get(index).copied().unwrap_or_default();
            (ours != *theirs && *theirs != [0; 8])
                .then(|| u8::try_from(index).ok())
                .flatten()
        };
        let buckets: Vec<u8> = theirs
            .iter()
            .take(VACCINE_BUCKETS)
            .enumerate()
            .filter_map(differs)
            .collect();
        let differs = held != self.held_fingerprint();
        if differs || !buckets.is_empty() {
            self.send(
                from,
                &BundleMessage::Need {
                    held: u8::from(differs),
                    buckets,
                },
            );
        }
        differs
    }

    fn handle_need(&mut self, from: PeerRef, held: u8, buckets: &[u8]) {
        let buckets: BTreeSet<usize> = buckets.iter().map(|bucket| usize::from(*bucket)).collect();
        let wanted = self
            .store
            .vaccines
            .keys()
            .filter(|id| buckets.contains(&bucket_of(**id)));
        let ids: Vec<_> = wanted.map(|id| id.short()).collect();
        // Vaccines first: they spare payloads.
        for some in ids.chunks(LIST_MAX) {
            self.send(
                from,
                &BundleMessage::VaccineIds {
                    ids: ShortIds(some.to_vec()),
                },
            );
        }
        if held != 0 {
            let ids: Vec<_> = self.store.held.keys().copied().collect();
            self.tell_have(from, &ids);
        }
    }

    /// Tells a neighbour of bundles held, SOS first.
    pub(super) fn tell_have(&mut self, to: PeerRef, ids: &[BundleId]) {
        let ours = self.utility();
        let mut lists: Vec<_> = ids
            .iter()
            .filter_map(|id| {
                self.store
                    .held
                    .get(id)
                    .map(|held| (held.header.priority, self.share(held, to, ours), *id))
            })
            .collect();
        lists.sort_unstable();
        for some in lists.chunks(LIST_MAX) {
            let of_kind = |spray: bool| {
                let ids = some
                    .iter()
                    .filter(move |(_, share, _)| (*share > 0) == spray);
                ShortIds(ids.map(|(.., id)| id.short()).collect())
            };
            self.send(
                to,
                &BundleMessage::Have {
                    spray: of_kind(true),
                    wait: of_kind(false),
                },
            );
        }
    }

    fn handle_have(&mut self, from: PeerRef, spray: &[ShortId], wait: &[ShortId]) {
        self.ask_more(from, spray);
        let wait = wait.iter().filter(|id| !self.foreign.contains(id));
        let lacking: Vec<_> = spray
            .iter()
            .chain(wait)
            .filter(|id| !self.store.knows_short(**id))
            .copied()
            .collect();
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        for id in lacking {
            if peer.todo.len() >= TODO_MAX {
                self.counters.queue_full = self.counters.queue_full.saturating_add(1);
                break;
            }
            peer.todo.push_back(id);
        }
    }

    fn handle_vaccine_ids(&mut self, from: PeerRef, ids: &[ShortId]) {
        let lacking: Vec<_> = ids
            .iter()
            .filter(|id| find(&self.store.vaccines, **id).is_none())
            .copied()
            .collect();
        for some in lacking.chunks(LIST_MAX) {
            self.send(
                from,
                &BundleMessage::VaccineAsk {
                    ids: ShortIds(some.to_vec()),
                },
            );
        }
    }

    fn handle_vaccine_ask(&mut self, from: PeerRef, ids: &[ShortId]) {
        let asked: BTreeSet<_> = ids.iter().collect();
        let found = asked
            .iter()
            .filter_map(|id| find(&self.store.vaccines, **id));
        let vaccines: Vec<_> = found.map(|(_, kept)| kept.vaccine).collect();
        self.send_vaccines(from, &vaccines);
    }

    fn send_vaccines(&mut self, to: PeerRef, vaccines: &[Vaccine]) {
        let most = match to {
            PeerRef::Neighbour(_) => VACCINES_MAX,
            PeerRef::Flow(_) => (self.config.flow_message_bytes / VACCINE_BYTES)
                .saturating_sub(1)
                .max(1),
        };
        for some in vaccines.chunks(most) {
            let list = some.iter().flat_map(Vaccine::encode).collect();
            self.send(to, &BundleMessage::Vaccines { list });
        }
    }

    /// One offer for each question, also an empty one: it ends the waiting.
    fn handle_ask(&mut self, from: PeerRef, ids: &[ShortId]) {
        let (now, ours) = (self.now, self.utility());
        let asked: BTreeSet<_> = ids.iter().take(self.ask_most(from)).collect();
        let found = asked.iter().filter_map(|id| find(&self.store.held, **id));
        let bundles = found
            .filter(|(_, held)| !held.lifetime.is_over(now))
            .map(|(_, held)| Offered {
                header: held.header.encode().to_vec(),
                age_secs: held.lifetime.age(now),
                copies: self.share(held, from, ours),
            })
            .collect();
        self.send(from, &BundleMessage::Offer { bundles });
    }

    fn ask_most(&self, peer: PeerRef) -> usize {
        match peer {
            PeerRef::Neighbour(_) => ASK_MAX,
            PeerRef::Flow(_) => (self.config.flow_message_bytes / OFFERED_BYTES).max(1),
        }
    }

    fn handle_offer(&mut self, from: PeerRef, bundles: &[Offered]) {
        let Some(asked) = self
            .peers
            .get_mut(&from)
            .map(|peer| std::mem::take(&mut peer.asked))
        else {
            return;
        };
        let life_max = self.config.life_max.as_secs();
        for Offered {
            header: bytes,
            age_secs,
            copies,
        } in bundles.iter().take(ASK_MAX)
        {
            let header = BundleHeader::decode(bytes).ok();
            let Some((id, header)) = header.map(|header| (id_of(&header), header)) else {
                self.counters.bad_offer = self.counters.bad_offer.saturating_add(1);
                continue;
            };
            let (expires, life_secs) = (header.expires, header.life_secs);
            let lifetime = Lifetime {
                expires,
                life_secs,
                age_secs: *age_secs,
                since: self.now.instant,
            };
            let valid = asked.contains(&id.short())
                && u64::from(life_secs) <= life_max
                && !lifetime.is_over(self.now);
            if !valid {
                self.counters.bad_offer = self.counters.bad_offer.saturating_add(1);
                continue;
            }
            let ours = self.is_ours(&header);
            if ours && self.clear_unread(&header) {
                continue;
            }
            if ours || *copies > 0 {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.offers
                        .insert((header.priority, id), (header, lifetime));
                }
            } else {
                if self.foreign.len() >= FOREIGN_MAX {
                    self.foreign.clear();
                }
                self.foreign.insert(id.short());
            }
        }
    }

    /// Keeps each peer busy: transfers first, then the next question.
    pub(super) fn pump_peers(&mut self) {
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for to in peers {
            self.start_transfers(to);
            let most = self.ask_most(to);
            let Some(peer) = self.peers.get_mut(&to) else {
                continue;
            };
            if !peer.asked.is_empty() || peer.offers.len() >= OFFERS_WAITING_MAX {
                continue;
            }
            let mut ids = Vec::new();
            while ids.len() < most
                && let Some(id) = peer.todo.pop_front()
            {
                if !self.store.knows_short(id) {
                    ids.push(id);
                }
            }
            if !ids.is_empty() {
                peer.asked = ids.iter().copied().collect();
                peer.ask_deadline = self.now.instant + self.config.answer_timeout;
                self.send(to, &BundleMessage::Ask { ids: ShortIds(ids) });
            }
        }
    }

    /// Tells all neighbours what is new here, except who told it.
    pub(super) fn tell_fresh(&mut self) {
        let held = std::mem::take(&mut self.fresh_held);
        let vaccines = std::mem::take(&mut self.fresh_vaccines);
        if held.is_empty() && vaccines.is_empty() {
            return;
        }
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for to in peers {
            let news: Vec<_> = vaccines
                .iter()
                .filter(|(_, source)| *source != Some(to))
                .map(|(vaccine, _)| *vaccine)
                .collect();
            self.send_vaccines(to, &news);
            if matches!(to, PeerRef::Neighbour(_)) {
                let news: Vec<_> = held
                    .iter()
                    .filter(|(_, source)| *source != Some(to))
                    .map(|(id, _)| *id)
                    .collect();
                self.tell_have(to, &news);
            }
        }
    }
}

/// The bucket of a vaccine: the top 6 bits of its id.
fn bucket_of(id: BundleId) -> usize {
    let [first, ..] = id.0;
    usize::from(first >> 2)
}

/// Over a flow mail is only pulled, and read.
fn belongs_on_flows(message: &BundleMessage) -> bool {
    match message {
        BundleMessage::Vaccines { .. }
        | BundleMessage::Ask { .. }
        | BundleMessage::Offer { .. }
        | BundleMessage::Gone { .. }
        | BundleMessage::Pull { .. }
        | BundleMessage::Piece { .. } => true,
        BundleMessage::Hello { .. }
        | BundleMessage::Need { .. }
        | BundleMessage::Have { .. }
        | BundleMessage::VaccineIds { .. }
        | BundleMessage::VaccineAsk { .. }
        | BundleMessage::Ready { .. }
        | BundleMessage::Grant { .. }
        | BundleMessage::Taken { .. }
        | BundleMessage::Utility { .. } => false,
    }
}
