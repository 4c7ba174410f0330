//! Gossip: small broadcasts that everybody near should hear, and no more often than needed.
//!
//! An item is flooded from neighbour to neighbour within the scope its origin chose. It is not sent to a neighbour that
//! has shown it already, and after a short random delay a relay that has heard it from several neighbours sends the others
//! eight bytes of its id instead (counter-based suppression, Ni et al. 1999); who lacks it asks. A new neighbour gets the
//! ids of all items that still hold, and asks for what it lacks. An SOS is passed on at once, before everything else.
//!
//! What a neighbour may cost is counted by neighbour and kind, never by what a packet says of itself: each neighbour has a
//! token bucket per kind for what comes in, and sends within a smaller one, so that whoever exceeds it is no honest relay and
//! is choked for a while. What goes out to one neighbour is shared fairly among those from whom it came.
//!
//! | item is | because | next |
//! |---|---|---|
//! | fresh | first heard or published | delivered; waiting for its delay |
//! | waiting | delay not over, or budget used up | sent; or advertised (heard from `suppress_after` neighbours); or shown by the neighbour itself |
//! | kept | sent to all | offered to new neighbours by id until its age ends |
//! | seen | age over, evicted or refused | forgotten a margin later, so that a late copy is still a duplicate |
//!
//! The core neither signs nor judges payloads: the upper layer verifies and calls back with [`GossipInput::Refuse`].

use std::collections::{BTreeMap, VecDeque};

use smartmesh_crypto::{Rng, Seed, sha256};
use smartmesh_types::{Duration, Instant, NeighbourId, Now};
use smartmesh_wire::gossip::{GossipDecodeError, GossipKind, GossipMessage, Item};
use thiserror::Error;

use budget::Bucket;
use outbox::Outbox;
use store::{Fresh, Store};

mod budget;
mod outbox;
mod receive;
mod store;
#[cfg(test)]
mod tests;

/// An item's name: SHA-256 over kind, scope, life and payload, cut to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemId(pub [u8; 16]);

impl std::fmt::Debug for ItemId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ItemId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Limits and times of gossip.
#[derive(Clone, Debug)]
pub struct GossipConfig {
    /// Most items kept, all kinds together.
    pub items_max: usize,
    /// Most bytes of kept payloads.
    pub bytes_max: usize,
    /// Most ids remembered as seen; more than `items_max`, so that a flood cannot make old items new.
    pub seen_max: usize,
    /// Most items waiting for one neighbour, of one kind and from one source.
    pub waiting_max: usize,
    /// After this many neighbours have sent an item, the others get its id only.
    pub suppress_after: usize,
    /// Longest random delay before an item is passed on; an SOS has none.
    pub delay_max: Duration,
    /// How long ids are gathered before they are advertised.
    pub advert_delay: Duration,
    /// How long an asked-for item may take before another holder is asked.
    pub request_timeout: Duration,
    /// Bytes per second that one neighbour is sent, of one kind; half of it on the kinds of mail, prekeys and heads.
    pub bytes_per_second: u32,
    /// How long a neighbour that exceeds its budget is choked to a sixteenth of it.
    pub choke: Duration,
    /// Longest life of an item that is accepted.
    pub life_max: Duration,
    /// Widest scope that is accepted, in links.
    pub scope_max: u8,
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self {
            // A square full of phones: 1,024 items of mean 200 bytes.
            items_max: 1_024,
            bytes_max: 256 * 1_024,
            seen_max: 8_192,
            waiting_max: 64,
            // Three senders cover nearly all of a neighbourhood (Ni et al. 1999, figure 5); the rest ask.
            suppress_after: 3,
            delay_max: Duration::from_millis(60),
            advert_delay: Duration::from_millis(500),
            request_timeout: Duration::from_secs(3),
            // A BLE link moves about 15 kB/s: one kind may take a fifteenth.
            bytes_per_second: 1_024,
            choke: Duration::from_secs(60),
            life_max: Duration::from_secs(24 * 3_600),
            // The routing zone's own hop limit.
            scope_max: 64,
        }
    }
}

/// What gossip is told.
#[derive(Clone, Debug)]
pub enum GossipInput {
    /// A neighbour is there.
    NeighbourUp {
        /// Which.
        neighbour: NeighbourId,
        /// The link's rate: an SOS takes at most a quarter of it, any other kind a 32nd.
        bits_per_second: u64,
    },
    /// A neighbour is gone.
    NeighbourDown {
        /// Which.
        neighbour: NeighbourId,
    },
    /// A message of the family [`smartmesh_wire::Family::Gossip`], without the family byte.
    Message {
        /// Who sent it.
        from: NeighbourId,
        /// The message.
        body: Vec<u8>,
    },
    /// Broadcast something.
    Publish {
        /// What it is about.
        kind: GossipKind,
        /// How many links it may cross, at least 1.
        scope: u8,
        /// How long it holds.
        life: Duration,
        /// Signed bytes of the upper layer.
        payload: Vec<u8>,
    },
    /// The upper layer found an item bad (a wrong signature): it goes no further, and its bringer pays for it.
    Refuse {
        /// Which.
        id: ItemId,
    },
    /// The upper layer needs an item no longer (a newer one takes its place, or its author says too much): it goes no
    /// further, and nobody is blamed.
    Drop {
        /// Which.
        id: ItemId,
    },
    /// Nothing but time has passed.
    Tick,
}

/// How urgently a message must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GossipClass {
    /// Holds an SOS.
    Urgent,
    /// Everything else.
    Normal,
}

/// What gossip wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GossipOutput {
    /// Send a message of the family [`smartmesh_wire::Family::Gossip`].
    Send {
        /// To whom.
        to: NeighbourId,
        /// The message, without the family byte.
        body: Vec<u8>,
        /// How urgently.
        class: GossipClass,
    },
    /// An item of somebody else, for the first time.
    Deliver {
        /// Its name, for [`GossipInput::Refuse`].
        id: ItemId,
        /// What it is about.
        kind: GossipKind,
        /// The upper layer's bytes, not yet verified.
        payload: Vec<u8>,
        /// Links it has crossed, as they say.
        hops: u8,
        /// Who brought it.
        from: NeighbourId,
    },
}

/// Why an input was refused; nothing has changed but a counter.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum GossipError {
    /// The neighbour is not up.
    #[error("{0:?} is not up")]
    UnknownNeighbour(NeighbourId),
    /// The bytes are no gossip message.
    #[error(transparent)]
    Decode(#[from] GossipDecodeError),
    /// A payload is larger than its kind allows, in bytes.
    #[error("payload of {0} bytes")]
    PayloadTooLarge(usize),
    /// A scope of 0 or above the limit.
    #[error("scope of {0} links")]
    Scope(u8),
    /// No life, or one above the limit.
    #[error("life of {0:?}")]
    Life(Duration),
    /// The same item was published or heard before and still holds.
    #[error("published or heard before")]
    Known,
}

/// What gossip has counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GossipCounters {
    /// Items published here.
    pub published: u64,
    /// Items handed to the upper layer.
    pub delivered: u64,
    /// Items sent, once for each neighbour.
    pub sent_items: u64,
    /// Bytes sent, all messages.
    pub sent_bytes: u64,
    /// Sends that only told an id because enough neighbours had sent the item.
    pub suppressed: u64,
    /// Items heard again.
    pub duplicates: u64,
    /// Items dropped: the neighbour had used up its budget.
    pub over_budget: u64,
    /// Times a neighbour was choked.
    pub choked: u64,
    /// Items dropped: scope, hops, life, age or size out of bounds.
    pub invalid: u64,
    /// Items dropped: a kind of a later version.
    pub unknown_kind: u64,
    /// Messages dropped: not decodable, or from somebody who is not up.
    pub malformed: u64,
    /// Items whose payload was dropped for another's sake.
    pub evicted: u64,
    /// Items not queued: too many from this source wait already.
    pub queue_full: u64,
    /// Items the upper layer refused.
    pub refused: u64,
}

/// One neighbour.
struct Neighbour {
    /// What it may still send, by kind.
    incoming: BTreeMap<GossipKind, Bucket>,
    /// What its digests and requests may still cost.
    incoming_ids: Bucket,
    /// Until when its incoming budgets are a sixteenth.
    choked_until: Instant,
    outbox: Outbox,
}

/// An item that some neighbours have and this node asked one of them for.
struct Missing {
    /// Holders not yet asked.
    holders: VecDeque<NeighbourId>,
    /// When to ask the next one.
    ask_at: Instant,
}

/// Gossip of one node.
pub struct Gossip {
    config: GossipConfig,
    rng: Rng,
    neighbours: BTreeMap<NeighbourId, Neighbour>,
    store: Store,
    missing: BTreeMap<smartmesh_wire::ids::ShortId, Missing>,
    outputs: VecDeque<GossipOutput>,
    counters: GossipCounters,
    now: Instant,
}

impl Gossip {
    /// Gossip without neighbours or items.
    pub fn new(config: GossipConfig, seed: &Seed, now: Now) -> Self {
        Self {
            config,
            rng: seed.split("gossip").rng(),
            neighbours: BTreeMap::new(),
            store: Store::default(),
            missing: BTreeMap::new(),
            outputs: VecDeque::new(),
            counters: GossipCounters::default(),
            now: now.instant,
        }
    }

    /// Takes one input.
    ///
    /// # Errors
    /// If the input is refused; then nothing has changed but a counter.
    pub fn handle(&mut self, input: GossipInput, now: Now) -> Result<(), GossipError> {
        self.now = self.now.max(now.instant);
        let result = match input {
            GossipInput::NeighbourUp {
                neighbour,
                bits_per_second,
            } => {
                self.handle_up(neighbour, bits_per_second);
                Ok(())
            }
            GossipInput::NeighbourDown { neighbour } => {
                self.handle_down(neighbour);
                Ok(())
            }
            GossipInput::Message { from, body } => self.handle_message(from, &body),
            GossipInput::Publish {
                kind,
                scope,
                life,
                payload,
            } => self.handle_publish(kind, scope, life, payload),
            GossipInput::Refuse { id } => {
                self.handle_refuse(id);
                Ok(())
            }
            GossipInput::Drop { id } => {
                self.store.refuse(id);
                Ok(())
            }
            GossipInput::Tick => Ok(()),
        };
        self.pump();
        result
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<GossipOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Gossip::handle`] at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(self.now);
        }
        let outboxes = self
            .neighbours
            .values()
            .filter_map(|n| n.outbox.next_timeout(self.now));
        let missing = self.missing.values().map(|missing| missing.ask_at);
        outboxes
            .chain(missing)
            .chain(self.store.next_timeout())
            .min()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &GossipCounters {
        &self.counters
    }

    /// How many items are kept with their payload.
    pub fn kept(&self) -> usize {
        self.store.kept()
    }

    fn handle_up(&mut self, neighbour: NeighbourId, bits_per_second: u64) {
        let link = u32::try_from(bits_per_second / 256).unwrap_or(u32::MAX);
        let rate = self.config.bytes_per_second;
        let mut outbox = Outbox::new(rate, link, self.now);
        outbox.advertise(
            self.store.shareable(self.now),
            self.now + self.config.delay_max,
        );
        let fresh = Neighbour {
            incoming: GossipKind::ALL
                .into_iter()
                .map(|kind| (kind, Bucket::incoming(kind, rate, self.now)))
                .collect(),
            incoming_ids: Bucket::ids(rate, self.now),
            choked_until: Instant::ZERO,
            outbox,
        };
        self.neighbours.insert(neighbour, fresh);
    }

    fn handle_down(&mut self, neighbour: NeighbourId) {
        self.neighbours.remove(&neighbour);
        self.store.forget_neighbour(neighbour);
        for missing in self.missing.values_mut() {
            missing.holders.retain(|holder| *holder != neighbour);
        }
    }

    fn handle_publish(
        &mut self,
        kind: GossipKind,
        scope: u8,
        life: Duration,
        payload: Vec<u8>,
    ) -> Result<(), GossipError> {
        if payload.len() > kind.payload_bytes_max() {
            return Err(GossipError::PayloadTooLarge(payload.len()));
        }
        if scope == 0 || scope > self.config.scope_max {
            return Err(GossipError::Scope(scope));
        }
        if life < Duration::from_secs(1) || life > self.config.life_max {
            return Err(GossipError::Life(life));
        }
        let item = Item {
            kind: kind.code(),
            scope,
            hops: 0,
            life_secs: u32::try_from(life.as_secs()).unwrap_or(u32::MAX),
            age_secs: 0,
            payload,
        };
        let id = item_id(&item);
        if self.store.knows(id) {
            return Err(GossipError::Known);
        }
        self.counters.published = self.counters.published.saturating_add(1);
        self.keep(id, kind, item, None);
        Ok(())
    }

    fn handle_refuse(&mut self, id: ItemId) {
        let Some(bringer) = self.store.refuse(id) else {
            return;
        };
        self.counters.refused = self.counters.refused.saturating_add(1);
        if let Some(neighbour) = bringer.and_then(|id| self.neighbours.get_mut(&id)) {
            neighbour.choked_until = self.now + self.config.choke;
            self.counters.choked = self.counters.choked.saturating_add(1);
        }
    }

    /// Stores a new item and queues it for all neighbours that have not shown it.
    fn keep(&mut self, id: ItemId, kind: GossipKind, item: Item, source: Option<NeighbourId>) {
        let passes_on = item.hops < item.scope;
        let fresh = Fresh {
            kind,
            item,
            source,
            now: self.now,
        };
        let evicted = self.store.insert(id, fresh, &self.config);
        self.counters.evicted = self.counters.evicted.saturating_add(evicted);
        if !passes_on {
            return;
        }
        let due = match kind {
            GossipKind::Sos if source.is_none() => self.now,
            // One step later than now: the upper layer has looked at it by then, and a forgery goes no further.
            GossipKind::Sos => self.now + Duration::from_micros(1),
            GossipKind::Safety
            | GossipKind::MailOffer
            | GossipKind::MailAck
            | GossipKind::Prekeys
            | GossipKind::Heads
            | GossipKind::PublicRoom => {
                let longest = u64::try_from(self.config.delay_max.as_micros()).unwrap_or(u64::MAX);
                self.now + Duration::from_micros(self.rng.below(longest))
            }
        };
        for (neighbour, state) in &mut self.neighbours {
            if source != Some(*neighbour)
                && !state
                    .outbox
                    .push(id, kind, source, due, self.config.waiting_max)
            {
                self.counters.queue_full = self.counters.queue_full.saturating_add(1);
            }
        }
    }

    /// Does all that is due.
    fn pump(&mut self) {
        self.store.expire(self.now);
        self.ask_missing();
        for (neighbour, state) in &mut self.neighbours {
            let sends = state
                .outbox
                .collect(*neighbour, &mut self.store, &self.config, self.now);
            self.counters.suppressed = self.counters.suppressed.saturating_add(sends.suppressed);
            for (message, class) in sends.messages {
                if let GossipMessage::Items(items) = &message {
                    let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
                    self.counters.sent_items = self.counters.sent_items.saturating_add(count);
                }
                send(
                    &mut self.outputs,
                    &mut self.counters,
                    *neighbour,
                    &message,
                    class,
                );
            }
        }
    }
}

/// Queues one message and counts its bytes.
fn send(
    outputs: &mut VecDeque<GossipOutput>,
    counters: &mut GossipCounters,
    to: NeighbourId,
    message: &GossipMessage,
    class: GossipClass,
) {
    let body = message.encode();
    counters.sent_bytes = counters
        .sent_bytes
        .saturating_add(u64::try_from(body.len()).unwrap_or(u64::MAX));
    outputs.push_back(GossipOutput::Send { to, body, class });
}

/// The name of an item.
fn item_id(item: &Item) -> ItemId {
    let hash = sha256(&[b"smartmesh gossip\0", &item.fixed_bytes(), &item.payload]);
    ItemId(hash.first_chunk().copied().expect("SHA-256 gives 32 bytes"))
}
