//! Contacts: comparing sets with a neighbour, and asking for what is lacking.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_crypto::sha256;
use smartmesh_types::{Duration, FlowId, Instant, NeighbourId, NodeKey};
use smartmesh_wire::bundle::{
    BundleHeader, BundleId, BundleMessage, Offered, Priority, VACCINE_BUCKETS, VACCINE_BYTES,
    Vaccine,
};
use smartmesh_wire::ids::{ShortId, ShortIds};

use super::allowance::Allowance;
use super::store::{Lifetime, find, id_of};
use super::{Custody, CustodyError, Learnt, MEETINGS_MAX, PeerRef};

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
    /// When to compare sets anew.
    hello_at: Instant,
    /// Ids it has and this node lacks, in the order in which it told them: most urgent first.
    todo: VecDeque<ShortId>,
    /// Ids it was asked the headers of.
    pub(super) asked: BTreeSet<ShortId>,
    pub(super) ask_deadline: Instant,
    /// Headers it has sent, most urgent first.
    pub(super) offers: BTreeMap<(Priority, BundleId), (BundleHeader, Lifetime)>,
    /// Copies it was granted and has not confirmed; struck already.
    pub(super) granted: BTreeMap<BundleId, u8>,
    /// Vaccines for bundles never seen here that it may still bring.
    pub(super) vaccines: Allowance,
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            key: None,
            hello_at: now,
            todo: VecDeque::new(),
            asked: BTreeSet::new(),
            ask_deadline: Instant::NEVER,
            offers: BTreeMap::new(),
            granted: BTreeMap::new(),
            vaccines: Allowance::new(now),
        }
    }
}

/// A payload on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) header: BundleHeader,
    pub(super) lifetime: Lifetime,
    /// Whom it is pulled from; nobody while it waits for another holder.
    pub(super) peer: Option<PeerRef>,
    pub(super) payload: Vec<u8>,
    /// End of the range asked for.
    pub(super) asked_to: u32,
    pub(super) deadline: Instant,
    pub(super) tries: u8,
}

impl Incoming {
    pub(super) fn new(header: BundleHeader, lifetime: Lifetime) -> Self {
        Self {
            header,
            lifetime,
            peer: None,
            payload: Vec::new(),
            asked_to: 0,
            deadline: Instant::NEVER,
            tries: 0,
        }
    }

    pub(super) fn received(&self) -> u32 {
        u32::try_from(self.payload.len()).unwrap_or(u32::MAX)
    }
}

impl Custody {
    pub(super) fn handle_up(&mut self, neighbour: NeighbourId) {
        let to = PeerRef::Neighbour(neighbour);
        self.forget_peer(to);
        let now = self.now.instant;
        self.peers.insert(to, Peer::new(now));
        if self.meetings.len() >= MEETINGS_MAX {
            self.meetings.pop_front();
        }
        self.meetings.push_back(now);
        self.greet();
    }

    /// Compares sets with each neighbour whose turn it is. It is done again from time to time, for a message may be lost in a
    /// full queue, and what there was no room for may have found some.
    pub(super) fn greet(&mut self) {
        let now = self.now.instant;
        let next = now + self.config.hello_interval;
        let mut due = Vec::new();
        for (to, peer) in &mut self.peers {
            if matches!(to, PeerRef::Neighbour(_)) && peer.hello_at <= now {
                peer.hello_at = next;
                due.push(*to);
            }
        }
        if due.is_empty() {
            return;
        }
        let hello = BundleMessage::Hello {
            utility: self.utility(),
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

    /// Meetings within the last hour, in hundredths.
    fn utility(&self) -> u32 {
        let hour_ago = self.now.instant - Duration::from_secs(3_600);
        let recent = self.meetings.iter().filter(|at| **at >= hour_ago).count();
        u32::try_from(recent)
            .unwrap_or(u32::MAX)
            .saturating_mul(100)
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
            BundleMessage::Hello { held, vaccines, .. } => self.handle_hello(from, held, &vaccines),
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
            // Told for later versions; copies are halved whoever asks.
            BundleMessage::Utility { .. } => {}
        }
        Ok(())
    }

    fn handle_hello(&mut self, from: PeerRef, held: [u8; 8], vaccines: &[u8]) {
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
    fn tell_have(&mut self, to: PeerRef, ids: &[BundleId]) {
        let mut lists: Vec<_> = ids
            .iter()
            .filter_map(|id| {
                self.store
                    .held
                    .get(id)
                    .map(|held| (held.header.priority, held.copies, *id))
            })
            .collect();
        lists.sort_unstable();
        for some in lists.chunks(LIST_MAX) {
            let of_kind = |spray: bool| {
                let ids = some
                    .iter()
                    .filter(move |(_, copies, _)| (*copies > 1) == spray);
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
        let now = self.now;
        let asked: BTreeSet<_> = ids.iter().take(self.ask_most(from)).collect();
        let found = asked.iter().filter_map(|id| find(&self.store.held, **id));
        let bundles = found
            .filter(|(_, held)| !held.lifetime.is_over(now))
            .map(|(_, held)| Offered {
                header: held.header.encode().to_vec(),
                age_secs: held.lifetime.age(now),
                copies: match from {
                    PeerRef::Neighbour(_) => held.copies / 2,
                    PeerRef::Flow(_) => 0,
                },
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
            if self.is_ours(&header) || *copies > 0 {
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
