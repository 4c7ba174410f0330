//! What waits for one neighbour, and in which order it leaves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_types::{Instant, NeighbourId};
use smartmesh_wire::gossip::{GossipKind, GossipMessage, IDS_MAX, ITEMS_MAX, Item};
use smartmesh_wire::ids::ShortIds;

use super::budget::Bucket;
use super::store::Store;
use super::{GossipClass, GossipConfig, ItemId};

/// Bytes of items in one message: small enough that an SOS never waits long behind one.
const BATCH_BYTES: usize = 4 * 1_024;
/// Most ids waiting to be advertised to one neighbour; beyond, the least urgent are not.
const ADVERTS_MAX: usize = 1_024;

/// One item that waits.
struct Waiting {
    id: ItemId,
    due: Instant,
    /// The neighbour asked for it: no suppression.
    asked: bool,
}

/// Messages for one neighbour.
#[derive(Default)]
pub(super) struct Sends {
    pub(super) messages: Vec<(GossipMessage, GossipClass)>,
    pub(super) suppressed: u64,
}

/// What waits for one neighbour: items by kind and source, each source in turn, and ids to advertise.
pub(super) struct Outbox {
    buckets: BTreeMap<GossipKind, Bucket>,
    queues: BTreeMap<(GossipKind, Option<NeighbourId>), VecDeque<Waiting>>,
    queued: BTreeSet<ItemId>,
    /// Which source was last served, by kind.
    served: BTreeMap<GossipKind, Option<NeighbourId>>,
    adverts: VecDeque<ItemId>,
    advert_at: Instant,
}

impl Outbox {
    pub(super) fn new(rate: u32, link: u32, now: Instant) -> Self {
        Self {
            buckets: GossipKind::ALL
                .into_iter()
                .map(|kind| (kind, Bucket::outgoing(kind, rate, link, now)))
                .collect(),
            queues: BTreeMap::new(),
            queued: BTreeSet::new(),
            served: BTreeMap::new(),
            adverts: VecDeque::new(),
            advert_at: Instant::NEVER,
        }
    }

    /// Queues an item; `false` if too many of its kind and source wait already.
    pub(super) fn push(
        &mut self,
        id: ItemId,
        kind: GossipKind,
        source: Option<NeighbourId>,
        due: Instant,
        waiting_max: usize,
    ) -> bool {
        self.enqueue(
            (kind, source),
            Waiting {
                id,
                due,
                asked: false,
            },
            waiting_max,
        )
    }

    /// Queues an item that the neighbour has asked for.
    pub(super) fn push_asked(
        &mut self,
        id: ItemId,
        kind: GossipKind,
        source: Option<NeighbourId>,
        now: Instant,
        waiting_max: usize,
    ) -> bool {
        self.enqueue(
            (kind, source),
            Waiting {
                id,
                due: now,
                asked: true,
            },
            waiting_max,
        )
    }

    fn enqueue(
        &mut self,
        key: (GossipKind, Option<NeighbourId>),
        waiting: Waiting,
        waiting_max: usize,
    ) -> bool {
        if self.queued.contains(&waiting.id) {
            return true;
        }
        let queue = self.queues.entry(key).or_default();
        if queue.len() >= waiting_max {
            return false;
        }
        self.queued.insert(waiting.id);
        queue.push_back(waiting);
        true
    }

    /// Queues ids to tell the neighbour, at the latest at `at`.
    pub(super) fn advertise(&mut self, ids: impl IntoIterator<Item = ItemId>, at: Instant) {
        for id in ids {
            if self.adverts.len() >= ADVERTS_MAX {
                break;
            }
            self.adverts.push_back(id);
            self.advert_at = self.advert_at.min(at);
        }
    }

    /// When something can leave.
    pub(super) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        let queues = self.queues.iter().filter_map(|((kind, _), queue)| {
            let due = queue.front()?.due;
            // What is due and still waits, waits for its bucket; ask again when the largest item fits.
            let ready = self.buckets.get(kind)?.ready_at(
                kind.payload_bytes_max()
                    .saturating_add(Item::OVERHEAD_BYTES),
            );
            Some(if due > now { due } else { due.max(ready) })
        });
        let adverts = (!self.adverts.is_empty()).then_some(self.advert_at);
        queues.chain(adverts).min()
    }

    /// Takes out all that is due and within budget.
    pub(super) fn collect(
        &mut self,
        neighbour: NeighbourId,
        store: &mut Store,
        config: &GossipConfig,
        now: Instant,
    ) -> Sends {
        let mut sends = Sends::default();
        for kind in GossipKind::ALL {
            let class = match kind {
                GossipKind::Sos => GossipClass::Urgent,
                GossipKind::Safety
                | GossipKind::MailOffer
                | GossipKind::MailAck
                | GossipKind::Prekeys
                | GossipKind::Heads
                | GossipKind::PublicRoom => GossipClass::Normal,
            };
            let mut batch = Batch::new(class);
            while let Some(item) =
                self.next_item(kind, neighbour, store, config, now, &mut sends.suppressed)
            {
                batch.add(item, &mut sends);
            }
            batch.flush(&mut sends);
        }
        self.collect_adverts(neighbour, store, now, &mut sends);
        sends
    }

    /// The next item of a kind that may leave, sources in turn.
    fn next_item(
        &mut self,
        kind: GossipKind,
        neighbour: NeighbourId,
        store: &mut Store,
        config: &GossipConfig,
        now: Instant,
        suppressed: &mut u64,
    ) -> Option<Item> {
        loop {
            let source = self.next_source(kind, now)?;
            let key = (kind, source);
            let waiting = self.queues.get_mut(&key)?.front()?;
            let (id, asked) = (waiting.id, waiting.asked);
            let item = store
                .next_hop(id, now)
                .filter(|_| asked || !store.has_shown(id, neighbour));
            let enough =
                !asked && kind != GossipKind::Sos && store.senders(id) >= config.suppress_after;
            let Some(item) = item.filter(|_| !enough) else {
                if enough && !store.has_shown(id, neighbour) {
                    *suppressed = suppressed.saturating_add(1);
                    self.advertise([id], now + config.advert_delay);
                }
                self.pop(key);
                continue;
            };
            let bucket = self.buckets.get_mut(&kind)?;
            if !bucket.spend(store.cost(id), Instant::ZERO, now) {
                bucket.forgive();
                return None;
            }
            self.pop(key);
            self.served.insert(kind, source);
            store.note_holder(id, neighbour);
            return Some(item);
        }
    }

    /// The source whose turn it is among those with something due.
    fn next_source(&self, kind: GossipKind, now: Instant) -> Option<Option<NeighbourId>> {
        let due = || {
            self.queues
                .range((kind, None)..=(kind, Some(NeighbourId(u32::MAX))))
                .filter(|(_, queue)| queue.front().is_some_and(|waiting| waiting.due <= now))
                .map(|((_, source), _)| *source)
        };
        match self.served.get(&kind) {
            Some(last) => due().find(|source| source > last).or_else(|| due().next()),
            None => due().next(),
        }
    }

    fn pop(&mut self, key: (GossipKind, Option<NeighbourId>)) {
        let Some(queue) = self.queues.get_mut(&key) else {
            return;
        };
        if let Some(waiting) = queue.pop_front() {
            self.queued.remove(&waiting.id);
        }
        if queue.is_empty() {
            self.queues.remove(&key);
        }
    }

    fn collect_adverts(
        &mut self,
        neighbour: NeighbourId,
        store: &Store,
        now: Instant,
        sends: &mut Sends,
    ) {
        if self.adverts.is_empty() || now < self.advert_at {
            return;
        }
        self.advert_at = Instant::NEVER;
        let ids: BTreeSet<_> = self
            .adverts
            .drain(..)
            .filter(|id| !store.has_shown(*id, neighbour) && store.next_hop(*id, now).is_some())
            .map(ItemId::short)
            .collect();
        let ids: Vec<_> = ids.into_iter().collect();
        for some in ids.chunks(IDS_MAX) {
            sends.messages.push((
                GossipMessage::Digest(ShortIds(some.to_vec())),
                GossipClass::Normal,
            ));
        }
    }
}

/// Items gathered into one message.
struct Batch {
    class: GossipClass,
    items: Vec<Item>,
    bytes: usize,
}

impl Batch {
    fn new(class: GossipClass) -> Self {
        Self {
            class,
            items: Vec::new(),
            bytes: 0,
        }
    }

    fn add(&mut self, item: Item, sends: &mut Sends) {
        let bytes = item.payload.len().saturating_add(Item::OVERHEAD_BYTES);
        if self.items.len() >= ITEMS_MAX || self.bytes.saturating_add(bytes) > BATCH_BYTES {
            self.flush(sends);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.items.push(item);
    }

    fn flush(&mut self, sends: &mut Sends) {
        self.bytes = 0;
        if !self.items.is_empty() {
            sends.messages.push((
                GossipMessage::Items(std::mem::take(&mut self.items)),
                self.class,
            ));
        }
    }
}
