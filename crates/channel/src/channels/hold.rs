//! Locks from the moment they are signed to their end, in the channel where they are.
//!
//! | the payee | the payer |
//! |---|---|
//! | knows the secret: claims, and reminds until it is paid | checks it, pays, and takes the lock out |
//! | cannot or will not use it: releases it for ever | takes the lock out |
//! | | its time is over and the chain was seen until then: takes the lock out |

use smartmesh_types::Address;
use smartmesh_wire::payment::{
    CHANGES_MAX, ChannelTag, LockChange, LockEnd, PaymentMessage, Refusal, SignatureBytes, State,
};

use super::Channels;
use crate::border::{Contract, ContractCall, Output, Purpose};
use crate::calls::{typed_release, void_leaf};
use crate::channel::{ChannelId, Pending};
use crate::locks::{Lock, totals};
use crate::record;

impl Channels {
    /// Signs changes of locks that wait.
    pub(super) fn pump_locks(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let (mut changes, mut failed) = (Vec::new(), Vec::new());
        let mut locks = channel.out.locks.clone();
        let mut paid = channel.out.state.paid;
        let mut left = channel.spendable();
        while changes.len() < CHANGES_MAX {
            match channel.out.queue().front() {
                Some(Pending::Add(_)) => {
                    let Some(Pending::Add(mut lock)) = channel.out.pop() else {
                        break;
                    };
                    if lock.added.amount > left || locks.len() >= smartmesh_wire::payment::LOCKS_MAX
                    {
                        failed.push(lock);
                        continue;
                    }
                    left = left.saturating_sub(lock.added.amount);
                    channel.out.next_lock = channel.out.next_lock.saturating_add(1);
                    lock.added.id = channel.out.next_lock;
                    changes.push(LockChange::Add(lock.added.clone()));
                    locks.push(lock);
                }
                Some(Pending::Remove(name, end)) => {
                    let (name, end) = (*name, *end);
                    channel.out.pop();
                    let Some(at) = locks.iter().position(|lock| lock.added.id == name) else {
                        continue;
                    };
                    let lock = locks.remove(at);
                    if end == LockEnd::Claimed {
                        paid = paid.saturating_add(lock.added.amount);
                    }
                    changes.push(LockChange::Remove(name, end));
                }
                Some(Pending::Pay { .. }) | None => break,
            }
        }
        if !changes.is_empty()
            && let Some((root, locked, last_expiry)) = totals(&locks)
        {
            channel.out.state = State {
                seq: channel.out.state.seq.saturating_add(1),
                paid,
                root,
                locked,
                last_expiry,
                ..channel.out.state
            };
            channel.out.locks = locks;
            channel.out.changes = changes;
            channel.out.memo = Vec::new();
            channel.out.asked = Vec::new();
            let records = [record::out(channel), record::out_locks(channel)];
            for record in records {
                self.persist(record);
            }
            self.send_update(id);
            let first = self.first_resend();
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.out.resend = Some(first);
            }
            self.lively.insert(id);
        }
        for lock in failed {
            self.lock_failed(&lock, Refusal::Overspent);
        }
        self.reschedule(id);
    }

    /// Asks for the end of an own lock, once.
    fn end_lock(&mut self, id: ChannelId, name: u64, end: LockEnd) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let is_asked = channel
            .out
            .queue()
            .iter()
            .any(|pending| matches!(pending, Pending::Remove(other, _) if *other == name));
        let is_there = channel.out.locks.iter().any(|lock| lock.added.id == name);
        if is_there && !is_asked {
            channel.out.push(Pending::Remove(name, end));
            self.be_patient(id);
            self.pump(id);
        }
    }

    /// The payee shows what opens our lock.
    pub(super) fn handle_claim(
        &mut self,
        from: Address,
        tag: ChannelTag,
        name: u64,
        secret: &[u8; 32],
    ) {
        let Some(id) = self.find(from, tag) else {
            return;
        };
        self.learn(id, name, secret);
    }

    /// A secret of an own lock, from the payee or from the chain: it is paid, and whoever pays us for it is asked.
    pub(super) fn learn(&mut self, id: ChannelId, name: u64, secret: &[u8; 32]) {
        let time = self.chain_clock();
        let skew = self.config.skew;
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let Some(lock) = channel
            .out
            .locks
            .iter_mut()
            .find(|lock| lock.added.id == name)
        else {
            return;
        };
        if lock.released || !lock.opens(secret) {
            self.counters.unexpected = self.counters.unexpected.saturating_add(1);
            return;
        }
        let is_new = lock.secret.is_none();
        lock.secret = Some(*secret);
        let (lock, mut record) = (lock.clone(), None);
        if is_new {
            record = Some(record::out_locks(channel));
        }
        if let Some(record) = record {
            self.persist(record);
        }
        // After its end it is paid only if the chain says that the secret was known in time.
        if lock.added.expiry.saturating_add(skew) > time || !is_new {
            self.end_lock(id, name, LockEnd::Claimed);
        }
        if is_new {
            self.hand_back(&lock, secret);
        }
    }

    /// The payee gave our lock up.
    pub(super) fn handle_release(
        &mut self,
        from: Address,
        tag: ChannelTag,
        name: u64,
        word: (SignatureBytes, Refusal),
    ) {
        let Some(id) = self.find(from, tag) else {
            return;
        };
        let (signature, reason) = word;
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(lock) = channel
            .out
            .locks
            .iter()
            .find(|lock| lock.added.id == name)
            .cloned()
        else {
            return;
        };
        let leaf = lock.leaf().hash();
        let typed = typed_release(channel, channel.me(), leaf);
        if lock.secret.is_some() || !self.signer.is_by(channel.partner(), &typed, &signature) {
            self.counters.unexpected = self.counters.unexpected.saturating_add(1);
            return;
        }
        let is_closing = channel.chain.seen.closing.is_some();
        if is_closing {
            let call = ContractCall::Signed {
                channel: Some(id),
                purpose: Purpose::Void,
                contract: Contract::Channels,
                data: void_leaf(channel, leaf, &signature),
                agent: alloy_primitives::Address::ZERO,
                fee: 0,
                deadline: lock.added.expiry,
            };
            self.outputs.push_back(Output::Submit(call));
        }
        let mut record = None;
        if let Some(channel) = self.channels.get_mut(&id) {
            for own in &mut channel.out.locks {
                if own.added.id == name && !own.released {
                    own.released = true;
                    record = Some(());
                }
            }
            if record.is_some() {
                let record = record::out_locks(channel);
                self.persist(record);
            }
        }
        self.end_lock(id, name, LockEnd::Released);
        if record.is_some() {
            self.lock_failed(&lock, reason);
        }
    }

    /// This side gives up a lock of the partner: it will never claim it.
    pub(super) fn release(&mut self, id: ChannelId, name: u64, reason: Refusal) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let mut is_known = false;
        for lock in &mut channel.inc.locks {
            if lock.added.id == name && lock.secret.is_none() {
                is_known = true;
                lock.released = true;
            }
        }
        if is_known {
            let record = record::inc_locks(channel);
            self.persist(record);
            self.send_release(id, name, reason);
            self.remind_later(id);
        }
    }

    fn send_release(&mut self, id: ChannelId, name: u64, reason: Refusal) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(lock) = channel.inc.locks.iter().find(|lock| lock.added.id == name) else {
            return;
        };
        let typed = typed_release(channel, channel.partner(), lock.leaf().hash());
        let release = PaymentMessage::Release {
            channel: id.tag(),
            lock: name,
            signature: self.signer.sign(&typed),
            reason,
        };
        self.send(channel.peer, release);
    }

    /// This side can open a lock of the partner: the secret is on disk before it is shown.
    pub(super) fn claim(&mut self, id: ChannelId, name: u64, secret: [u8; 32]) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let peer = channel.peer;
        let mut is_open = false;
        for lock in &mut channel.inc.locks {
            if lock.added.id == name && !lock.released && lock.opens(&secret) {
                lock.secret = Some(secret);
                is_open = true;
            }
        }
        if !is_open {
            return;
        }
        let record = record::inc_locks(channel);
        self.persist(record);
        self.lively.insert(id);
        let claim = PaymentMessage::Claim {
            channel: id.tag(),
            lock: name,
            secret,
        };
        self.send(peer, claim);
        self.remind_later(id);
    }

    fn remind_later(&mut self, id: ChannelId) {
        let first = self.first_resend();
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.inc.remind = Some(first);
        }
        self.reschedule(id);
    }

    /// Claims and releases that the payer has not acted on are sent again.
    pub(super) fn remind(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(last) = channel
            .inc
            .remind
            .filter(|last| last.at <= self.now.instant)
        else {
            return;
        };
        let decided: Vec<Lock> = channel
            .inc
            .locks
            .iter()
            .filter(|lock| lock.released || lock.secret.is_some())
            .cloned()
            .collect();
        let next = (!decided.is_empty()).then(|| self.next_resend(last));
        let peer = channel.peer;
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.inc.remind = next;
        }
        if !self.reachable.contains(&peer) {
            return;
        }
        for lock in decided {
            match lock.secret {
                Some(secret) => {
                    let claim = PaymentMessage::Claim {
                        channel: id.tag(),
                        lock: lock.added.id,
                        secret,
                    };
                    self.send(peer, claim);
                }
                None => self.send_release(id, lock.added.id, Refusal::Busy),
            }
        }
    }

    /// Own locks whose time is over, as far as the chain was seen, end; what pays for them is released.
    pub(super) fn expire_locks(&mut self, id: ChannelId, time: u64) {
        let skew = self.config.skew;
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let over: Vec<Lock> = channel
            .out
            .locks
            .iter()
            .filter(|lock| lock.secret.is_none() && lock.added.expiry.saturating_add(skew) <= time)
            .cloned()
            .collect();
        for lock in over {
            self.end_lock(id, lock.added.id, LockEnd::Expired);
            if !lock.released {
                self.lock_failed(&lock, Refusal::Busy);
            }
        }
    }
}
