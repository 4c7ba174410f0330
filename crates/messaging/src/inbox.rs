//! Received messages: the ids that drop repeats, and the contents that the shell has not stored yet.

use std::collections::{BTreeMap, BTreeSet};

use smartmesh_types::{Address, MessageId, UnixTime};
use smartmesh_wire::message::Content;

use crate::border::Via;

/// A received message's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) from: Address,
    /// Until when its repeats can come.
    pub(crate) until: UnixTime,
    /// What the shell has yet to store.
    pub(crate) unstored: Option<Unstored>,
}

/// A content the shell has yet to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unstored {
    pub(crate) sent_at: UnixTime,
    pub(crate) received_at: UnixTime,
    pub(crate) via: Via,
    pub(crate) content: Content,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    received: BTreeMap<MessageId, Received>,
    by_end: BTreeSet<(UnixTime, MessageId)>,
    unstored: BTreeMap<Address, usize>,
    unstored_total: usize,
}

impl Inbox {
    pub(crate) fn find(&self, id: &MessageId) -> Option<&Received> {
        self.received.get(id)
    }

    pub(crate) fn insert(&mut self, id: MessageId, received: Received) {
        if received.unstored.is_some() {
            let count = self.unstored.entry(received.from).or_default();
            *count = count.saturating_add(1);
            self.unstored_total = self.unstored_total.saturating_add(1);
        }
        self.by_end.insert((received.until, id));
        self.received.insert(id, received);
    }

    /// Forgets a content and returns what stays of the message, or `None` if there was no content.
    pub(crate) fn apply_stored(&mut self, id: &MessageId) -> Option<&Received> {
        let received = self.received.get_mut(id)?;
        received.unstored.take()?;
        self.unstored_total = self.unstored_total.saturating_sub(1);
        if let Some(count) = self.unstored.get_mut(&received.from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.unstored.remove(&received.from);
            }
        }
        Some(received)
    }

    pub(crate) fn unstored_total(&self) -> usize {
        self.unstored_total
    }

    pub(crate) fn unstored_of(&self, from: &Address) -> usize {
        self.unstored.get(from).copied().unwrap_or(0)
    }

    /// Takes out one id that has ended, or that has to make room for `max`; contents to be stored stay.
    pub(crate) fn pop_ended(&mut self, now: UnixTime, max: usize) -> Option<MessageId> {
        let full = self.received.len() > max;
        let ended = self
            .by_end
            .iter()
            .take_while(|(until, _)| full || *until < now)
            .find(|(_, id)| self.received.get(id).is_none_or(|it| it.unstored.is_none()));
        let (until, id) = *ended?;
        self.by_end.remove(&(until, id));
        self.received.remove(&id);
        Some(id)
    }

    pub(crate) fn unstored(&self) -> impl Iterator<Item = (&MessageId, &Received, &Unstored)> {
        self.received
            .iter()
            .filter_map(|(id, it)| it.unstored.as_ref().map(|unstored| (id, it, unstored)))
    }
}
