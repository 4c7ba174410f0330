//! What the chain tells: logs, heads, blocks that are taken back, epochs that end.

use alloy_primitives::B256;
use smartmesh_contracts::channels::Channels::ChannelsEvents;
use smartmesh_contracts::conditions::Conditions::ConditionsEvents;
use smartmesh_contracts::{ContractEvent, WordPhase};

use super::{Channels, Head};
use crate::border::{Ending, Event};
use crate::channel::{Channel, ChannelId, Incoming, Outgoing, Session};
use crate::onchain::{Change, End};
use crate::record;

/// Blocks after which the cursor is written although nothing happened: what is told again after a start costs little.
const CURSOR_EVERY: u64 = 1_024;

fn channel_of(event: &ChannelsEvents) -> Option<B256> {
    match event {
        ChannelsEvents::Opened(log) => Some(log.channel),
        ChannelsEvents::Deposited(log) => Some(log.channel),
        ChannelsEvents::Withdrawn(log) => Some(log.channel),
        ChannelsEvents::Closed(log) => Some(log.channel),
        ChannelsEvents::Updated(log) => Some(log.channel),
        ChannelsEvents::Unlocked(log) => Some(log.channel),
        ChannelsEvents::Named(log) => Some(log.channel),
        ChannelsEvents::Redeemed(log) => Some(log.channel),
        ChannelsEvents::Voided(log) => Some(log.channel),
        ChannelsEvents::Forfeited(log) => Some(log.channel),
        ChannelsEvents::Settled(log) => Some(log.channel),
        ChannelsEvents::Credited(_) | ChannelsEvents::Claimed(_) => None,
    }
}

impl Channels {
    pub(super) fn handle_log(&mut self, block: u64, index: u32, event: &ContractEvent) {
        if block <= self.cursor.0 {
            return;
        }
        match event {
            ContractEvent::Channels(event) => self.handle_channel_log(block, index, event),
            ContractEvent::Conditions(ConditionsEvents::Registered(log)) => {
                self.handle_registered(log.key, &log.witness);
            }
            ContractEvent::Smt(_) | ContractEvent::Chequebook(_) | ContractEvent::Rewards(_) => {}
        }
    }

    fn handle_channel_log(&mut self, block: u64, index: u32, event: &ChannelsEvents) {
        let Some(id) = channel_of(event).map(ChannelId) else {
            return;
        };
        self.hint_log(id, block, index, event);
        let restored_at = self.restored_at;
        let head_time = self.head.map_or(0, |head| head.time);
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let high = channel.terms.high;
        let Some(change) = Change::of(event, |account| account == high) else {
            return;
        };
        channel.chain.log(block, index, change);
        // An epoch that ended before the restore may have been followed by one that this phone forgot.
        if matches!(change, Change::End(_)) {
            channel.next_is_clean = restored_at.is_none_or(|at| head_time >= at);
        }
        self.lively.insert(id);
        self.tell(Event::Changed(id));
    }

    pub(super) fn handle_head(&mut self, block: u64, time: u64) {
        if self.head.is_some_and(|head| head.block > block) {
            return;
        }
        self.head = Some(Head {
            block,
            time,
            at: self.now.instant,
        });
        let (counts_to, final_to) = (self.counts_to(), self.final_to());
        self.heads.push_back((block, time));
        while self.heads.get(1).is_some_and(|(next, _)| *next <= final_to) {
            self.heads.pop_front();
        }
        let final_time = self
            .heads
            .front()
            .filter(|(first, _)| *first <= final_to)
            .map_or(0, |(_, time)| *time);
        let ids: Vec<ChannelId> = self.lively.iter().copied().collect();
        let mut moved = false;
        for id in ids {
            moved |= self.advance(id, counts_to, final_to, final_time);
        }
        moved |= self.hints_head(block, time, counts_to, final_to);
        if final_to > self.cursor.0
            && (moved || final_to.saturating_sub(self.cursor.0) >= CURSOR_EVERY)
        {
            self.cursor = (final_to, time);
            self.persist(record::cursor(final_to, time));
        }
    }

    /// One channel at a new head; returns whether its final view moved.
    fn advance(&mut self, id: ChannelId, counts_to: u64, final_to: u64, final_time: u64) -> bool {
        let Some(channel) = self.channels.get_mut(&id) else {
            return false;
        };
        let counted = channel.chain.counted;
        let moved = channel.chain.head(counts_to, final_to);
        let is_new = channel.chain.counted != counted;
        if moved {
            if channel.chain.base.word.epoch > channel.epoch {
                self.end_epoch(id);
            }
            if let Some(channel) = self.channels.get(&id) {
                let record = record::chain(channel);
                self.persist(record);
            }
        }
        self.drop_expired_orders(id, final_time);
        // A secret that was known in time is in a block by then, and is seen.
        self.expire_locks(id, final_time);
        self.act(id);
        if is_new {
            self.tell(Event::Changed(id));
            self.pump(id);
        }
        let Some(channel) = self.channels.get(&id) else {
            return moved;
        };
        let is_quiet = channel.chain.is_settled()
            && channel.chain.seen.word.phase != WordPhase::Closing
            && channel.order.is_none()
            && channel.withdrawal.is_none()
            && channel.out.locks.is_empty()
            && !has_secrets(channel);
        if is_quiet {
            self.lively.remove(&id);
        }
        moved
    }

    pub(super) fn handle_rollback(&mut self, to: u64) {
        if let Some(head) = &mut self.head {
            head.block = head.block.min(to);
        }
        self.heads.retain(|(block, _)| *block <= to);
        let counts_to = self.counts_to();
        self.hints_rolled_back(to, counts_to);
        let ids: Vec<ChannelId> = self.lively.iter().copied().collect();
        for id in ids {
            if let Some(channel) = self.channels.get_mut(&id) {
                let before = channel.chain.seen;
                channel.chain.rollback(to, counts_to);
                channel.submitted.clear();
                if channel.chain.seen.word.phase != WordPhase::Closing {
                    channel.told_closed = false;
                }
                if channel.chain.seen != before {
                    self.tell(Event::Changed(id));
                }
            }
        }
    }

    /// Orders that a final block shows executed or expired bind no longer.
    fn drop_expired_orders(&mut self, id: ChannelId, final_time: u64) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let base = &channel.chain.base.word;
        // What a final block shows expired can be in no block above it.
        let past = |deadline: u64| deadline <= final_time;
        let executed = channel
            .withdrawal
            .is_some_and(|reservation| base.time >= reservation.order.expiry);
        let expired = channel
            .withdrawal
            .is_some_and(|reservation| past(reservation.order.expiry));
        let order_over = channel.order.is_some_and(|order| past(order.deadline))
            && base.phase != WordPhase::Closing;
        if executed || expired {
            channel.withdrawal = None;
        }
        if order_over {
            channel.order = None;
        }
        if executed || expired || order_over {
            let record = record::orders(channel);
            self.persist(record);
            self.tell(Event::Changed(id));
        }
    }

    /// The epoch is over beyond reorganisation: what was signed in it is worth nothing any more.
    fn end_epoch(&mut self, id: ChannelId) {
        self.fail_queue(id);
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let is_high = channel.is_high();
        let ending = match channel.chain.base.end {
            Some(End::Shared(low, high)) => Ending::Shared {
                ours: if is_high { high } else { low },
                theirs: if is_high { low } else { high },
            },
            Some(End::Forfeited(to_high, all)) if to_high == is_high => Ending::Won(all),
            Some(End::Forfeited(_, all)) => Ending::Lost(all),
            None => Ending::Shared { ours: 0, theirs: 0 },
        };
        channel.epoch = channel.chain.base.word.epoch;
        forget(channel);
        let slot = channel.slot;
        for record in record::forget_epoch(slot) {
            self.persist(record);
        }
        self.tell(Event::Ended {
            channel: id,
            ending,
        });
        self.greet(id);
    }

    /// A secret became known on the chain: whoever is owed by it takes it.
    fn handle_registered(&mut self, key: B256, witness: &[u8]) {
        let Ok(secret) = <[u8; 32]>::try_from(witness) else {
            return;
        };
        let mut learnt = Vec::new();
        let mut ours = Vec::new();
        for (id, channel) in &mut self.channels {
            for lock in &channel.out.locks {
                if lock.secret.is_none() && lock.registry_key() == key {
                    ours.push((*id, lock.added.id));
                }
            }
            for lock in &mut channel.inc.locks {
                let is_new = lock.secret.is_none() && lock.registry_key() == key;
                if is_new && lock.opens(&secret) {
                    lock.secret = Some(secret);
                    learnt.push(*id);
                }
            }
        }
        for (id, name) in ours {
            self.learn(id, name, &secret);
        }
        for id in learnt {
            if let Some(channel) = self.channels.get(&id) {
                let record = record::inc_locks(channel);
                self.persist(record);
                self.lively.insert(id);
            }
        }
    }
}

fn has_secrets(channel: &Channel) -> bool {
    channel.inc.locks.iter().any(|lock| lock.secret.is_some())
}

fn forget(channel: &mut Channel) {
    let nonce = channel.session.peer_nonce;
    channel.out = Outgoing::default();
    channel.inc = Incoming::default();
    channel.order = None;
    channel.withdrawal = None;
    channel.session = Session {
        peer_nonce: nonce,
        ..Session::default()
    };
    channel.submitted.clear();
    channel.told_closed = false;
    if channel.next_is_clean {
        channel.recovering = false;
    }
}
