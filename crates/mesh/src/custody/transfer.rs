//! Payloads on their way in and out, and copies that change hands.

use smartmesh_types::Instant;
use smartmesh_wire::bundle::{BundleHeader, BundleId, BundleMessage};

use super::store::{self, Held, Lifetime, Origin, Room};
use super::{Custody, CustodyOutput, PeerRef, records};

/// Bytes of one piece to a neighbour: fills a control message, less the message's own fields.
const PIECE_BYTES: u32 = 15 * 1_024;
/// Bytes of a flow's message that are not payload.
const PIECE_OVERHEAD: usize = 48;
/// Pieces asked for at once over a flow.
const FLOW_PIECES: u32 = 8;
/// Payloads pulled from one peer at once.
const TRANSFERS_MAX: usize = 4;
/// Answers waited for in vain before a peer is given up for this bundle.
const TRIES_MAX: u8 = 3;

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
    /// Starts what may start with this peer: the most urgent offers first.
    pub(super) fn start_transfers(&mut self, from: PeerRef) {
        let mut active = self
            .incoming
            .values()
            .filter(|one| one.peer == Some(from))
            .count();
        let Some(peer) = self.peers.get(&from) else {
            return;
        };
        let offers: Vec<_> = peer.offers.keys().copied().collect();
        for (priority, id) in offers {
            if active >= TRANSFERS_MAX {
                return;
            }
            let later = |offer: &(BundleHeader, Lifetime)| self.elsewhere.is_coming(&offer.0);
            let peer = self.peers.get(&from);
            let waits =
                peer.is_some_and(|peer| peer.offers.get(&(priority, id)).is_some_and(later));
            if waits || self.incoming.get(&id).is_some_and(|one| one.peer.is_some()) {
                continue;
            }
            let Some(offer) = self
                .peers
                .get_mut(&from)
                .and_then(|peer| peer.offers.remove(&(priority, id)))
            else {
                continue;
            };
            if !self.store.knows(id) && self.start(from, id, offer) {
                active = active.saturating_add(1);
            }
        }
    }

    fn start(&mut self, from: PeerRef, id: BundleId, offer: (BundleHeader, Lifetime)) -> bool {
        let (header, lifetime) = offer;
        let ours = self.is_ours(&header);
        if !ours && self.room(&header, self.origin_of(from)) == Room::No {
            self.counters.no_room = self.counters.no_room.saturating_add(1);
            return false;
        }
        if !self.incoming.contains_key(&id) && self.incoming.len() >= self.config.incoming_max {
            let idle = self
                .incoming
                .iter()
                .find(|(_, one)| one.peer.is_none())
                .map(|(id, _)| *id);
            let Some(idle) = idle else {
                self.counters.queue_full = self.counters.queue_full.saturating_add(1);
                return false;
            };
            self.incoming.remove(&idle);
        }
        let one = self
            .incoming
            .entry(id)
            .or_insert_with(|| Incoming::new(header, lifetime));
        one.peer = Some(from);
        one.tries = 0;
        // Of two ages told, the higher one ends sooner and cannot make a bundle live longer than it should.
        if lifetime.age(self.now) > one.lifetime.age(self.now) {
            one.lifetime = lifetime;
        }
        self.go_on(id);
        true
    }

    pub(super) fn is_ours(&self, header: &BundleHeader) -> bool {
        self.local
            .is_some_and(|local| store::hint_for(local, &header.nonce) == header.hint)
    }

    fn origin_of(&self, from: PeerRef) -> Origin {
        self.peers
            .get(&from)
            .and_then(|peer| peer.key)
            .map_or(Origin::Strangers, Origin::Key)
    }

    fn room(&self, header: &BundleHeader, origin: Origin) -> Room {
        self.store
            .room_for(header.priority, header.size, origin, &self.config, self.now)
    }

    /// Asks for the next range; with all of it here, judges the payload and delivers it or asks for copies.
    fn go_on(&mut self, id: BundleId) {
        let deadline = self.now.instant + self.config.answer_timeout;
        let flow_piece = u32::try_from(
            self.config
                .flow_message_bytes
                .saturating_sub(PIECE_OVERHEAD),
        )
        .unwrap_or(1);
        let Some(one) = self.incoming.get_mut(&id) else {
            return;
        };
        let Some(peer) = one.peer else { return };
        one.deadline = deadline;
        let offset = one.received();
        if offset < one.header.size {
            let most = match peer {
                PeerRef::Neighbour(_) => PIECE_BYTES,
                PeerRef::Flow(_) => flow_piece.saturating_mul(FLOW_PIECES),
            };
            let length = most.min(one.header.size.saturating_sub(offset));
            one.asked_to = offset.saturating_add(length);
            self.send(
                peer,
                &BundleMessage::Pull {
                    id: id.0,
                    offset,
                    length,
                },
            );
            return;
        }
        if smartmesh_crypto::sha256(&[&one.payload]) != one.header.payload_hash {
            self.counters.bad_payload = self.counters.bad_payload.saturating_add(1);
            self.incoming.remove(&id);
            return;
        }
        let header = one.header;
        if self.is_ours(&header) {
            if let Some(one) = self.incoming.remove(&id) {
                self.wanted.remove(&id.short());
                self.deliver(id, &header, one.payload, one.lifetime);
            }
        } else {
            self.send(peer, &BundleMessage::Ready { id: id.0 });
        }
    }

    pub(super) fn handle_piece(&mut self, from: PeerRef, id: BundleId, offset: u32, bytes: &[u8]) {
        let Some(one) = self
            .incoming
            .get_mut(&id)
            .filter(|one| one.peer == Some(from))
        else {
            return;
        };
        let received = one.received();
        let left = one.header.size.saturating_sub(received);
        let fits = u32::try_from(bytes.len()).is_ok_and(|length| length > 0 && length <= left);
        // A piece after a lost one is asked for again when the answer's time is over.
        if offset != received || !fits {
            return;
        }
        one.payload.extend_from_slice(bytes);
        one.tries = 0;
        one.deadline = self.now.instant + self.config.answer_timeout;
        if one.received() >= one.asked_to {
            self.go_on(id);
        }
    }

    pub(super) fn handle_pull(&mut self, from: PeerRef, id: BundleId, offset: u32, length: u32) {
        let Some(held) = self
            .store
            .held
            .get(&id)
            .filter(|held| !held.lifetime.is_over(self.now))
        else {
            self.send(from, &BundleMessage::Gone { id: id.0 });
            return;
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = held.payload.get(start..).unwrap_or_default();
        let (piece, most) = match from {
            PeerRef::Neighbour(_) => (PIECE_BYTES, PIECE_BYTES),
            PeerRef::Flow(_) => {
                let piece = self
                    .config
                    .flow_message_bytes
                    .saturating_sub(PIECE_OVERHEAD)
                    .max(1);
                let piece = u32::try_from(piece).unwrap_or(PIECE_BYTES);
                (piece, piece.saturating_mul(FLOW_PIECES))
            }
        };
        let wanted = usize::try_from(length.min(most)).unwrap_or(0);
        let range = rest.get(..wanted).unwrap_or(rest);
        let mut offset = offset;
        let mut messages = Vec::new();
        for bytes in range.chunks(usize::try_from(piece).unwrap_or(1)) {
            messages.push(BundleMessage::Piece {
                id: id.0,
                offset,
                bytes: bytes.to_vec(),
            });
            offset = offset.saturating_add(u32::try_from(bytes.len()).unwrap_or(0));
        }
        for message in messages {
            self.send(from, &message);
        }
    }

    /// Gives copies, struck from our own on disk first; what is handed over entirely stays until the taker has it on disk.
    pub(super) fn handle_ready(&mut self, from: PeerRef, id: BundleId) {
        let (now, ours) = (self.now, self.utility());
        let held = self.store.held.get(&id);
        let share = held.map_or(0, |held| self.share(held, from, ours));
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let held = self
            .store
            .held
            .get_mut(&id)
            .filter(|held| !held.lifetime.is_over(now));
        let Some(held) = held else {
            self.send(from, &BundleMessage::Gone { id: id.0 });
            return;
        };
        let age_secs = held.lifetime.age(now);
        // Asked again within one contact: the grant was lost or is under way, the same copies go again.
        let again = peer.granted.get(&id).copied();
        let copies = again.unwrap_or(share);
        if copies == 0 {
            self.send(from, &BundleMessage::Gone { id: id.0 });
            return;
        }
        if again.is_none() {
            peer.granted.insert(id, copies);
            held.copies = held.copies.saturating_sub(copies);
            held.gave = Some(self.company.stay());
            self.counters.granted = self.counters.granted.saturating_add(u64::from(copies));
            let record = records::state(id, held, now);
            self.persist(record);
        }
        self.send(
            from,
            &BundleMessage::Grant {
                id: id.0,
                copies,
                age_secs,
            },
        );
    }

    pub(super) fn handle_grant(&mut self, from: PeerRef, id: BundleId, copies: u8, age_secs: u32) {
        let origin = self.origin_of(from);
        let most = self.config.copies / 2;
        let whole = |one: &Incoming| one.peer == Some(from) && one.received() == one.header.size;
        if copies == 0 || copies > most {
            return;
        }
        if self.top_up(from, id, copies) || !self.incoming.get(&id).is_some_and(whole) {
            return;
        }
        let Some(one) = self.incoming.remove(&id) else {
            return;
        };
        let Incoming {
            header,
            payload,
            mut lifetime,
            ..
        } = one;
        if self.store.knows(id) {
            return;
        }
        lifetime.age_secs = lifetime.age(self.now).max(age_secs);
        lifetime.since = self.now.instant;
        match self.room(&header, origin) {
            Room::No => {
                self.counters.no_room = self.counters.no_room.saturating_add(1);
            }
            Room::Yes(gone) => {
                for id in gone {
                    self.evict(id);
                }
                self.counters.taken = self.counters.taken.saturating_add(1);
                self.hold(
                    id,
                    Held {
                        header,
                        payload,
                        copies,
                        origin,
                        lifetime,
                        carriers: 0,
                        stay: self.company.stay(),
                        gave: None,
                        source: Some(from),
                    },
                    Some(from),
                );
                self.send(from, &BundleMessage::Taken { id: id.0 });
            }
        }
    }

    pub(super) fn handle_taken(&mut self, from: PeerRef, id: BundleId) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if peer.granted.remove(&id).is_none() {
            return;
        }
        let Some(held) = self.store.held.get_mut(&id) else {
            return;
        };
        held.carriers = held.carriers.saturating_add(1);
        let (own, copies, commitment) = (
            held.origin == Origin::Own,
            held.carriers,
            held.header.commitment,
        );
        if own {
            let record = records::state(id, held, self.now);
            self.persist(record);
            self.outputs
                .push_back(CustodyOutput::Carried { commitment, copies });
        } else if held.copies == 0 {
            self.release();
        }
    }

    /// The holder has it no more: another one may go on.
    pub(super) fn handle_gone(&mut self, from: PeerRef, id: BundleId) {
        if let Some(one) = self
            .incoming
            .get_mut(&id)
            .filter(|one| one.peer == Some(from))
        {
            one.peer = None;
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.offers.retain(|(_, offered), _| *offered != id);
        }
    }

    /// Asks again where no answer came in time, and gives up a peer that never answers.
    pub(super) fn check_deadlines(&mut self) {
        let now = self.now.instant;
        let late: Vec<_> = self
            .incoming
            .iter()
            .filter(|(_, one)| one.peer.is_some() && one.deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let Some(one) = self.incoming.get_mut(&id) else {
                continue;
            };
            one.tries = one.tries.saturating_add(1);
            if one.tries >= TRIES_MAX {
                one.peer = None;
                self.counters.timed_out = self.counters.timed_out.saturating_add(1);
            } else {
                self.go_on(id);
            }
        }
        for peer in self
            .peers
            .values_mut()
            .filter(|peer| !peer.asked.is_empty() && peer.ask_deadline <= now)
        {
            peer.asked.clear();
            self.counters.timed_out = self.counters.timed_out.saturating_add(1);
        }
    }
}
