//! Items that are kept, and names that were seen.

use std::collections::{BTreeMap, BTreeSet};

use smartmesh_types::{Duration, Instant, NeighbourId};
use smartmesh_wire::gossip::{GossipKind, Item};
use smartmesh_wire::ids::ShortId;

use super::{GossipConfig, ItemId};

/// How much longer than its life a name is remembered: time on slow links is not counted as age, so that a neighbour's copy
/// may live a little longer than ours.
const SEEN_MARGIN: Duration = Duration::from_secs(120);

/// A new item on its way into the store.
pub(super) struct Fresh {
    pub(super) kind: GossipKind,
    pub(super) item: Item,
    pub(super) source: Option<NeighbourId>,
    pub(super) now: Instant,
}

/// What is known of one name.
struct Entry {
    kind: GossipKind,
    /// The item as it came, or `None` once it was evicted, refused or too old.
    item: Option<Item>,
    source: Option<NeighbourId>,
    received_at: Instant,
    /// When its age reaches its life.
    ends_at: Instant,
    /// Neighbours that have sent it in full.
    senders: BTreeSet<NeighbourId>,
    /// Neighbours that have it, those included.
    holders: BTreeSet<NeighbourId>,
}

/// All items and names of one node.
#[derive(Default)]
pub(super) struct Store {
    entries: BTreeMap<ItemId, Entry>,
    /// Names by the moment at which something must be dropped.
    ends: BTreeSet<(Instant, ItemId)>,
    kept: usize,
    kept_bytes: usize,
}

impl Store {
    pub(super) fn knows(&self, id: ItemId) -> bool {
        self.entries.contains_key(&id)
    }

    /// The full name of a known item, kept or only seen.
    pub(super) fn resolve(&self, short: ShortId) -> Option<ItemId> {
        let [a, b, c, d, e, f, g, h] = short.0;
        let first = ItemId([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]);
        let (id, _) = self.entries.range(first..).next()?;
        (id.short() == short).then_some(*id)
    }

    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    pub(super) fn kind(&self, id: ItemId) -> Option<GossipKind> {
        self.entries.get(&id).map(|entry| entry.kind)
    }

    pub(super) fn source(&self, id: ItemId) -> Option<NeighbourId> {
        self.entries.get(&id).and_then(|entry| entry.source)
    }

    pub(super) fn has_shown(&self, id: ItemId, neighbour: NeighbourId) -> bool {
        self.entries
            .get(&id)
            .is_none_or(|entry| entry.holders.contains(&neighbour))
    }

    /// How many neighbours have sent the item.
    pub(super) fn senders(&self, id: ItemId) -> usize {
        self.entries.get(&id).map_or(0, |entry| entry.senders.len())
    }

    pub(super) fn note_sender(&mut self, id: ItemId, neighbour: NeighbourId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.senders.insert(neighbour);
            entry.holders.insert(neighbour);
        }
    }

    pub(super) fn note_holder(&mut self, id: ItemId, neighbour: NeighbourId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.holders.insert(neighbour);
        }
    }

    /// The neighbour says that it lacks the item after all.
    pub(super) fn note_lacks(&mut self, id: ItemId, neighbour: NeighbourId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.holders.remove(&neighbour);
        }
    }

    pub(super) fn forget_neighbour(&mut self, neighbour: NeighbourId) {
        for entry in self.entries.values_mut() {
            entry.senders.remove(&neighbour);
            entry.holders.remove(&neighbour);
        }
    }

    /// The item as it goes over the next link, or `None` if it may not.
    pub(super) fn next_hop(&self, id: ItemId, now: Instant) -> Option<Item> {
        let entry = self.entries.get(&id)?;
        let item = entry
            .item
            .as_ref()
            .filter(|item| item.hops < item.scope && now < entry.ends_at)?;
        let held = u32::try_from(now.since(entry.received_at).as_secs()).unwrap_or(u32::MAX);
        Some(Item {
            hops: item.hops.saturating_add(1),
            age_secs: item.age_secs.saturating_add(held),
            ..item.clone()
        })
    }

    /// Bytes that passing the item on would cost.
    pub(super) fn cost(&self, id: ItemId) -> usize {
        let payload = self
            .entries
            .get(&id)
            .and_then(|entry| entry.item.as_ref())
            .map_or(0, |item| item.payload.len());
        payload.saturating_add(Item::OVERHEAD_BYTES)
    }

    /// Names of all items that may be passed on, most urgent kinds first.
    pub(super) fn shareable(&self, now: Instant) -> Vec<ItemId> {
        let mut ids: Vec<(GossipKind, ItemId)> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                now < entry.ends_at
                    && entry
                        .item
                        .as_ref()
                        .is_some_and(|item| item.hops < item.scope)
            })
            .map(|(id, entry)| (entry.kind, *id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Drops an item's payload and keeps its name; tells who brought it, or `None` if it was not kept.
    pub(super) fn refuse(&mut self, id: ItemId) -> Option<Option<NeighbourId>> {
        self.drop_payload(id).then(|| self.source(id))
    }

    /// Takes in a new item; tells how many payloads had to go for it.
    pub(super) fn insert(&mut self, id: ItemId, fresh: Fresh, config: &GossipConfig) -> u64 {
        let Fresh {
            kind,
            item,
            source,
            now,
        } = fresh;
        let left = Duration::from_secs(u64::from(item.life_secs.saturating_sub(item.age_secs)));
        let ends_at = now + left;
        self.kept = self.kept.saturating_add(1);
        self.kept_bytes = self.kept_bytes.saturating_add(item.payload.len());
        let both: BTreeSet<NeighbourId> = source.into_iter().collect();
        let entry = Entry {
            kind,
            item: Some(item),
            source,
            received_at: now,
            ends_at,
            senders: both.clone(),
            holders: both,
        };
        self.entries.insert(id, entry);
        self.ends.insert((ends_at, id));
        let mut evicted = 0_u64;
        while self.kept > config.items_max || self.kept_bytes > config.bytes_max {
            let Some(victim) = self.victim(id) else { break };
            self.drop_payload(victim);
            evicted = evicted.saturating_add(1);
        }
        while self.entries.len() > config.seen_max {
            let Some(forgotten) = self.least_missed(id) else {
                break;
            };
            self.remove(forgotten);
        }
        evicted
    }

    /// Drops what has ended.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, id)) = self.ends.first().copied() {
            if at > now {
                break;
            }
            self.ends.remove(&(at, id));
            let Some(entry) = self.entries.get(&id) else {
                continue;
            };
            let forget_at = entry.ends_at + SEEN_MARGIN;
            if forget_at <= now {
                self.remove(id);
            } else {
                self.drop_payload(id);
                self.ends.insert((forget_at, id));
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Whose payload goes when there is no room: the least urgent kind, of the source that has most of it, the one that ends
    /// first. An SOS goes only when nothing but SOS is kept.
    fn victim(&self, newcomer: ItemId) -> Option<ItemId> {
        let kept = || {
            self.entries
                .iter()
                .filter(|(id, entry)| entry.item.is_some() && **id != newcomer)
        };
        let newcomer_kind = self.entries.get(&newcomer)?.kind;
        let worst = kept().map(|(_, entry)| entry.kind).max()?;
        if worst < newcomer_kind {
            return Some(newcomer);
        }
        let mut loads: BTreeMap<Option<NeighbourId>, usize> = BTreeMap::new();
        for (_, entry) in kept().filter(|(_, entry)| entry.kind == worst) {
            let load = loads.entry(entry.source).or_default();
            *load = load.saturating_add(1);
        }
        let (heaviest, _) = loads.into_iter().max_by_key(|(_, load)| *load)?;
        kept()
            .filter(|(_, entry)| entry.kind == worst && entry.source == heaviest)
            .min_by_key(|(_, entry)| entry.ends_at)
            .map(|(id, _)| *id)
    }

    /// Which name is forgotten when too many are known: one without payload, of the source that has most, ending first.
    fn least_missed(&self, newcomer: ItemId) -> Option<ItemId> {
        let mut loads: BTreeMap<Option<NeighbourId>, usize> = BTreeMap::new();
        for entry in self.entries.values().filter(|entry| entry.item.is_none()) {
            let load = loads.entry(entry.source).or_default();
            *load = load.saturating_add(1);
        }
        let (heaviest, _) = loads.into_iter().max_by_key(|(_, load)| *load)?;
        self.entries
            .iter()
            .filter(|(id, entry)| {
                entry.item.is_none() && entry.source == heaviest && **id != newcomer
            })
            .min_by_key(|(_, entry)| entry.ends_at)
            .map(|(id, _)| *id)
    }

    fn drop_payload(&mut self, id: ItemId) -> bool {
        let Some(item) = self
            .entries
            .get_mut(&id)
            .and_then(|entry| entry.item.take())
        else {
            return false;
        };
        self.kept = self.kept.saturating_sub(1);
        self.kept_bytes = self.kept_bytes.saturating_sub(item.payload.len());
        true
    }

    fn remove(&mut self, id: ItemId) {
        self.drop_payload(id);
        if let Some(entry) = self.entries.remove(&id) {
            self.ends.remove(&(entry.ends_at, id));
            self.ends.remove(&(entry.ends_at + SEEN_MARGIN, id));
        }
    }
}

impl ItemId {
    /// Its first 8 bytes.
    pub fn short(self) -> ShortId {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        ShortId([a, b, c, d, e, f, g, h])
    }
}
