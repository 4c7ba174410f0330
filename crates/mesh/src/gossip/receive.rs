//! Messages from neighbours.

use std::collections::VecDeque;

#[cfg(test)]
use smartmesh_types::Instant;
use smartmesh_types::NeighbourId;
use smartmesh_wire::gossip::{GossipKind, GossipMessage, IDS_MAX, Item};
use smartmesh_wire::ids::{ShortId, ShortIds};

use super::{Gossip, GossipClass, GossipError, GossipOutput, Missing, item_id, send};

/// Most items this node waits for after asking; beyond, digests are not followed. Four times what the id budget lets one
/// neighbour announce at once.
const MISSING_MAX: usize = 8_192;
/// Most holders remembered for one missing item.
const HOLDERS_MAX: usize = 8;

impl Gossip {
    pub(super) fn handle_message(
        &mut self,
        from: NeighbourId,
        body: &[u8],
    ) -> Result<(), GossipError> {
        if !self.neighbours.contains_key(&from) {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return Err(GossipError::UnknownNeighbour(from));
        }
        let message = GossipMessage::decode(body).inspect_err(|_| {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
        })?;
        match message {
            GossipMessage::Items(items) => {
                for item in items {
                    self.handle_item(from, item);
                }
            }
            GossipMessage::Digest(ids) => self.handle_digest(from, &ids.0),
            GossipMessage::Request(ids) => self.handle_request(from, &ids.0),
        }
        Ok(())
    }

    fn handle_item(&mut self, from: NeighbourId, item: Item) {
        let Some(kind) = GossipKind::from_code(item.kind) else {
            self.counters.unknown_kind = self.counters.unknown_kind.saturating_add(1);
            return;
        };
        if !self.charge(
            from,
            kind,
            item.payload.len().saturating_add(Item::OVERHEAD_BYTES),
        ) {
            self.counters.over_budget = self.counters.over_budget.saturating_add(1);
            return;
        }
        let valid = item.payload.len() <= kind.payload_bytes_max()
            && (1..=item.scope).contains(&item.hops)
            && item.scope <= self.config.scope_max
            && item.age_secs < item.life_secs
            && u64::from(item.life_secs) <= self.config.life_max.as_secs();
        if !valid {
            self.counters.invalid = self.counters.invalid.saturating_add(1);
            return;
        }
        let id = item_id(&item);
        self.missing.remove(&id.short());
        if self.store.knows(id) {
            self.counters.duplicates = self.counters.duplicates.saturating_add(1);
            self.store.note_sender(id, from);
            return;
        }
        self.counters.delivered = self.counters.delivered.saturating_add(1);
        self.outputs.push_back(GossipOutput::Deliver {
            id,
            kind,
            payload: item.payload.clone(),
            hops: item.hops,
            from,
        });
        self.keep(id, kind, item, Some(from));
    }

    /// Spends a neighbour's budget; chokes whoever asks for far more than any honest neighbour sends.
    fn charge(&mut self, from: NeighbourId, kind: GossipKind, bytes: usize) -> bool {
        let now = self.now;
        let choke = self.config.choke;
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return false;
        };
        let choked_until = neighbour.choked_until;
        let Some(bucket) = neighbour.incoming.get_mut(&kind) else {
            return false;
        };
        if bucket.spend(bytes, choked_until, now) {
            return true;
        }
        if bucket.is_abused() {
            bucket.forgive();
            neighbour.choked_until = now + choke;
            self.counters.choked = self.counters.choked.saturating_add(1);
        }
        false
    }

    fn handle_digest(&mut self, from: NeighbourId, ids: &[ShortId]) {
        if !self.charge_ids(from, ids.len()) {
            return;
        }
        for short in ids {
            if let Some(id) = self.store.resolve(*short) {
                self.store.note_holder(id, from);
            } else if let Some(missing) = self.missing.get_mut(short) {
                if missing.holders.len() < HOLDERS_MAX && !missing.holders.contains(&from) {
                    missing.holders.push_back(from);
                }
            } else if self.missing.len() < MISSING_MAX {
                self.missing.insert(
                    *short,
                    Missing {
                        holders: VecDeque::from([from]),
                        ask_at: self.now,
                    },
                );
            }
        }
    }

    fn handle_request(&mut self, from: NeighbourId, ids: &[ShortId]) {
        if !self.charge_ids(from, ids.len()) {
            return;
        }
        for short in ids {
            let Some(id) = self.store.resolve(*short) else {
                continue;
            };
            let (Some(kind), source) = (self.store.kind(id), self.store.source(id)) else {
                continue;
            };
            self.store.note_lacks(id, from);
            if let Some(neighbour) = self.neighbours.get_mut(&from)
                && !neighbour
                    .outbox
                    .push_asked(id, kind, source, self.now, self.config.waiting_max)
            {
                self.counters.queue_full = self.counters.queue_full.saturating_add(1);
            }
        }
    }

    fn charge_ids(&mut self, from: NeighbourId, count: usize) -> bool {
        let now = self.now;
        let paid = self.neighbours.get_mut(&from).is_some_and(|neighbour| {
            neighbour
                .incoming_ids
                .spend(count.saturating_mul(8), neighbour.choked_until, now)
        });
        if !paid {
            self.counters.over_budget = self.counters.over_budget.saturating_add(1);
        }
        paid
    }

    /// Asks the next holder for each missing item whose time has come; without one it is given up.
    pub(super) fn ask_missing(&mut self) {
        let now = self.now;
        let retry_at = now + self.config.request_timeout;
        let mut asks: std::collections::BTreeMap<NeighbourId, Vec<ShortId>> =
            std::collections::BTreeMap::new();
        self.missing.retain(|short, missing| {
            if missing.ask_at > now {
                return true;
            }
            missing.ask_at = retry_at;
            missing.holders.pop_front().is_some_and(|holder| {
                asks.entry(holder).or_default().push(*short);
                true
            })
        });
        for (holder, ids) in asks {
            for some in ids.chunks(IDS_MAX) {
                let message = GossipMessage::Request(ShortIds(some.to_vec()));
                send(
                    &mut self.outputs,
                    &mut self.counters,
                    holder,
                    &message,
                    GossipClass::Normal,
                );
            }
        }
    }

    /// The moment from which the neighbour has its whole budget again.
    #[cfg(test)]
    pub(super) fn choked_until(&self, neighbour: NeighbourId) -> Instant {
        self.neighbours
            .get(&neighbour)
            .map_or(Instant::ZERO, |state| state.choked_until)
    }
}
