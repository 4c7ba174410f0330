//! Messages of our own on their way, and those that have arrived and wait for being read.

use std::collections::BTreeMap;

use smartmesh_crypto::sha256;
use smartmesh_types::{Address, Duration, Instant, MessageId, UnixTime};
use smartmesh_wire::message::Content;

use crate::border::Urgency;
use crate::state::MessageState;

/// The most receipt secrets kept for one message: one for each time it was sealed anew and deposited.
pub(crate) const DEPOSITS_MAX: usize = 8;

/// A message under way.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) to: Address,
    /// Orders the messages to one person.
    pub(crate) serial: u64,
    pub(crate) content: Content,
    pub(crate) sent_at: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) urgency: Urgency,
    pub(crate) sealing: Option<Sealing>,
    /// Receipt secrets of what was deposited, oldest first.
    pub(crate) deposits: Vec<[u8; 32]>,
    // What follows is not stored.
    pub(crate) state: MessageState,
    pub(crate) queued_at: Instant,
    /// When it was last sent over the path that is up.
    pub(crate) flown_at: Option<Instant>,
    pub(crate) retry: Duration,
    /// How many other phones carry it.
    pub(crate) carried: u32,
    /// Whether the present sealing is with the carriers.
    pub(crate) deposited: Deposited,
}

/// Whether a sealing is with the carriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deposited {
    Yes,
    No,
}

/// A message's sealed form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealing {
    pub(crate) bytes: Vec<u8>,
    pub(crate) receipt: [u8; 32],
    /// The ratchet session inside.
    pub(crate) session: [u8; 32],
}

impl Item {
    /// Whether the user knows of it; receipts and renewals work in silence.
    pub(crate) fn is_of_user(&self) -> bool {
        match self.content {
            Content::Text(_)
            | Content::File(_)
            | Content::Say(_)
            | Content::Change { .. }
            | Content::Unsupported { .. } => true,
            Content::Receipt { .. } | Content::Renew | Content::Group(_) => false,
        }
    }
}

/// A message that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) to: Address,
    pub(crate) serial: u64,
}

/// Everything under way.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    items: BTreeMap<MessageId, Item>,
    in_order: BTreeMap<(Address, u64), MessageId>,
    by_commitment: BTreeMap<[u8; 32], MessageId>,
    arrived: BTreeMap<MessageId, Arrived>,
    arrived_in_order: BTreeMap<u64, MessageId>,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn find(&self, id: &MessageId) -> Option<&Item> {
        self.items.get(id)
    }

    pub(crate) fn find_mut(&mut self, id: &MessageId) -> Option<&mut Item> {
        self.items.get_mut(id)
    }

    pub(crate) fn insert(&mut self, id: MessageId, item: Item) {
        self.in_order.insert((item.to, item.serial), id);
        for receipt in &item.deposits {
            self.by_commitment.insert(sha256(&[receipt]), id);
        }
        self.items.insert(id, item);
    }

    pub(crate) fn remove(&mut self, id: &MessageId) -> Option<Item> {
        let item = self.items.remove(id)?;
        self.in_order.remove(&(item.to, item.serial));
        for receipt in &item.deposits {
            self.by_commitment.remove(&sha256(&[receipt]));
        }
        Some(item)
    }

    /// Notes that the present sealing was deposited; returns whether that is news for the record.
    pub(crate) fn note_deposit(&mut self, id: &MessageId) -> Wrote {
        let Some(item) = self.items.get_mut(id) else {
            return Wrote::No;
        };
        item.deposited = Deposited::Yes;
        let Some(sealing) = &item.sealing else {
            return Wrote::No;
        };
        if item.deposits.contains(&sealing.receipt) {
            return Wrote::No;
        }
        if item.deposits.len() >= DEPOSITS_MAX {
            let oldest = item.deposits.remove(0);
            self.by_commitment.remove(&sha256(&[&oldest]));
        }
        item.deposits.push(sealing.receipt);
        self.by_commitment.insert(sha256(&[&sealing.receipt]), *id);
        Wrote::Yes
    }

    pub(crate) fn by_commitment(&self, commitment: &[u8; 32]) -> Option<MessageId> {
        self.by_commitment.get(commitment).copied()
    }

    /// The messages to one person, oldest first.
    pub(crate) fn to_person(&self, to: Address) -> impl Iterator<Item = MessageId> {
        self.in_order
            .range((to, 0)..=(to, u64::MAX))
            .map(|(_, id)| *id)
    }

    /// How many messages to one person are sealed with this session and not acknowledged.
    pub(crate) fn sealed_with(&self, to: Address, session: &[u8; 32]) -> usize {
        self.to_person(to)
            .filter_map(|id| self.items.get(&id)?.sealing.as_ref())
            .filter(|sealing| sealing.session == *session)
            .count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&MessageId, &Item)> {
        self.items.iter()
    }

    /// Watches an arrived message; returns the one that is watched no longer if there are more than `max`.
    pub(crate) fn insert_arrived(
        &mut self,
        id: MessageId,
        arrived: Arrived,
        max: usize,
    ) -> Option<MessageId> {
        self.arrived.insert(id, arrived);
        self.arrived_in_order.insert(arrived.serial, id);
        if self.arrived.len() <= max {
            return None;
        }
        let (_, oldest) = self.arrived_in_order.pop_first()?;
        self.arrived.remove(&oldest);
        Some(oldest)
    }

    pub(crate) fn find_arrived(&self, id: &MessageId) -> Option<&Arrived> {
        self.arrived.get(id)
    }

    pub(crate) fn remove_arrived(&mut self, id: &MessageId) -> Option<Arrived> {
        let arrived = self.arrived.remove(id)?;
        self.arrived_in_order.remove(&arrived.serial);
        Some(arrived)
    }

    pub(crate) fn arrived(&self) -> impl Iterator<Item = (&MessageId, &Arrived)> {
        self.arrived.iter()
    }
}

/// Whether something changed that a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    Yes,
    No,
}
