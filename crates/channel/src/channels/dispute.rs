//! Closing without the partner, and answering a close.
//!
//! | seen on the chain | this side does |
//! |---|---|
//! | the partner closed with less than it signed | shows the message: both deposits are ours |
//! | the partner closed as unknown with an old message | puts the newest in place |
//! | the partner invented a newer message without our locks | puts the one with the locks back |
//! | anything closing, a secret known, its lock alive | registers the secret in time |
//! | unlock phase | claims locks and ticks of the message that counts |
//! | settle phase | settles |
//!
//! Each call is asked for again every few blocks until its effect is seen, so that reorganisations and lost transactions do no harm.

use alloy_primitives::{Address as Account, B256, U256};
use smartmesh_contracts::{ClosingRecord, SideRecord, WordPhase, hold_seconds, tree_proof};
use smartmesh_types::RequestId;

use super::Channels;
use crate::border::{Answer, CommandError, Contract, ContractCall, Event, Output, Purpose};
use crate::calls::{Agency, claim, forfeit, register, settle, state_hash, update};
use crate::channel::{Channel, ChannelId, EndKind, EndOrder, SignedState};
use crate::locks::Lock;

/// Blocks after which a call whose effect is not seen is asked for again.
const AGAIN_AFTER: u64 = 3;

/// From when a closing channel can be settled, chain seconds.
pub(super) fn settle_time(channel: &Channel, until: u64, record: &ClosingRecord) -> u64 {
    let hold = hold_seconds(channel.terms.terms).unwrap_or(0);
    until
        .max(record.last_expiry)
        .saturating_add(hold.checked_div(4).unwrap_or(0))
}

/// What one close calls for.
pub(super) enum Reply<'a> {
    Forfeit(&'a SignedState),
    Update(&'a SignedState),
    Nothing,
}

impl Channels {
    pub(super) fn command_close(
        &mut self,
        request: RequestId,
        id: ChannelId,
        as_unknown: bool,
        agency: (Account, u128),
    ) -> Result<(), CommandError> {
        let channel = self.channels.get(&id).ok_or(CommandError::UnknownChannel)?;
        let word = &channel.chain.seen.word;
        if word.phase == WordPhase::Closing {
            return Err(CommandError::Closing);
        }
        if word.phase != WordPhase::Open || word.epoch != channel.epoch {
            return Err(CommandError::NotOpen);
        }
        // An order to end together that hangs is overtaken; a close replaces nothing that moves money.
        if matches!(
            channel.order.map(|order| order.kind),
            Some(EndKind::Close { .. })
        ) {
            return Err(CommandError::UnderWay);
        }
        let (agent, fee) = agency;
        let order = EndOrder {
            deadline: self.chain_clock().saturating_add(self.config.order_life),
            kind: EndKind::Close {
                unknown: as_unknown || channel.recovering,
                agent,
                fee,
            },
        };
        self.order(id, order);
        self.answer(request, Answer::Begun(id));
        self.act(id);
        Ok(())
    }

    pub(super) fn command_settle(
        &mut self,
        request: RequestId,
        id: ChannelId,
    ) -> Result<(), CommandError> {
        let channel = self.channels.get(&id).ok_or(CommandError::UnknownChannel)?;
        let Some(record) = channel.chain.seen.closing else {
            return Err(CommandError::NotOpen);
        };
        let from = settle_time(channel, channel.chain.seen.word.time, &record);
        if self.chain_clock() < from {
            return Err(CommandError::TooEarly(from));
        }
        self.answer(request, Answer::Begun(id));
        self.submit(id, Purpose::Settle);
        Ok(())
    }

    pub(super) fn command_sweep(
        &mut self,
        request: RequestId,
        token: Account,
        sum: (u128, U256),
        agency: (Account, u128),
    ) -> Result<(), CommandError> {
        let (amount, nonce) = sum;
        let (agent, fee) = agency;
        let value = amount
            .checked_sub(fee)
            .filter(|value| *value > 0)
            .ok_or(CommandError::Amount)?;
        let agency = Agency {
            agent,
            fee,
            deadline: self.chain_clock().saturating_add(self.config.order_life),
        };
        let data = self.signer.sweep(
            (self.config.chain.chain_id, token),
            self.config.payout,
            value,
            nonce,
            &agency,
        );
        self.outputs.push_back(Output::Submit(ContractCall::Signed {
            channel: None,
            purpose: Purpose::Sweep,
            contract: Contract::Token,
            data,
            agent,
            fee,
            deadline: agency.deadline,
        }));
        self.answer(request, Answer::Ordered);
        Ok(())
    }

    /// Does what the channel's state on the chain calls for, unless it was asked for just now.
    pub(super) fn act(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let view = channel.chain.seen;
        let word = view.word;
        match (word.phase, view.closing) {
            (WordPhase::Closing, Some(record)) => {
                self.tell_closed(id, &record, word.time);
                for purpose in self.wanted(id, &record, word.time) {
                    self.submit(id, purpose);
                }
            }
            (WordPhase::Open, _) if word.epoch == channel.epoch => {
                match channel.order.map(|order| order.kind) {
                    Some(EndKind::Close { .. }) => self.submit(id, Purpose::Close),
                    Some(EndKind::Together(_, Some(_))) => {
                        self.submit(id, Purpose::CloseTogether);
                    }
                    Some(EndKind::Together(_, None)) | None => {}
                }
                if channel_has_withdrawal(self.channels.get(&id)) {
                    self.submit(id, Purpose::Withdraw);
                }
                self.register_late(id);
            }
            (WordPhase::Open | WordPhase::Closing | WordPhase::None, _) => {}
        }
    }

    fn tell_closed(&mut self, id: ChannelId, record: &ClosingRecord, until: u64) {
        if let Some(channel) = self.channels.get_mut(&id)
            && !channel.told_closed
        {
            channel.told_closed = true;
            let by_us = record.closer_high == channel.is_high();
            self.fail_queue(id);
            self.tell(Event::Closed {
                channel: id,
                by_us,
                until,
            });
        }
    }

    /// What is to be done about a closing channel now.
    fn wanted(&self, id: ChannelId, record: &ClosingRecord, until: u64) -> Vec<Purpose> {
        let Some(channel) = self.channels.get(&id) else {
            return Vec::new();
        };
        let time = self.head.map_or(0, |head| head.time);
        let mut wanted = Vec::new();
        if time < until {
            match reply(channel, record) {
                Reply::Forfeit(_) => wanted.push(Purpose::Forfeit),
                Reply::Update(_) => wanted.push(Purpose::Update),
                Reply::Nothing => {}
            }
            if channel
                .inc
                .locks
                .iter()
                .any(|lock| lock.secret.is_some() && !lock.released)
            {
                wanted.push(Purpose::Register);
            }
        } else if time < settle_time(channel, until, record) {
            if !claimable(channel, record).is_empty() {
                wanted.push(Purpose::Unlock);
            }
            if their_side(channel, record).ticks < channel.inc.ticks && counts(channel, record) {
                wanted.push(Purpose::Redeem);
            }
        } else {
            wanted.push(Purpose::Settle);
        }
        wanted
    }

    /// A secret whose lock the payer does not settle is made known on the chain before the lock ends.
    fn register_late(&mut self, id: ChannelId) {
        let time = self.head.map_or(0, |head| head.time);
        let reach = u64::from(self.config.reach);
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let is_late = channel.inc.locks.iter().any(|lock| {
            lock.secret.is_some()
                && !lock.released
                && lock.added.expiry > time
                && lock.added.expiry <= time.saturating_add(reach)
        });
        if is_late {
            self.submit(id, Purpose::Register);
        }
    }

    fn agency(&self) -> Agency {
        Agency {
            agent: Account::ZERO,
            fee: self.config.order_fee,
            deadline: self
                .head
                .map_or_else(|| self.chain_clock(), |head| head.time)
                .saturating_add(self.config.order_life),
        }
    }

    /// Asks for a call, unless it was asked for in the last blocks.
    fn submit(&mut self, id: ChannelId, purpose: Purpose) {
        let block = self.head.map_or(0, |head| head.block);
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let last = channel
            .submitted
            .iter()
            .find(|(other, _)| *other == purpose)
            .map(|(_, at)| *at);
        if last.is_some_and(|at| block < at.saturating_add(AGAIN_AFTER)) {
            return;
        }
        channel.submitted.retain(|(other, _)| *other != purpose);
        channel.submitted.push((purpose, block));
        let agency = self.agency();
        match purpose {
            Purpose::Withdraw => self.submit_withdrawal(id),
            Purpose::CloseTogether => self.submit_payouts(id),
            Purpose::Register => self.submit_secrets(id),
            Purpose::Close
            | Purpose::Update
            | Purpose::Forfeit
            | Purpose::Unlock
            | Purpose::Redeem
            | Purpose::Settle
            | Purpose::Void
            | Purpose::Sweep
            | Purpose::Agent => {
                if let Some((data, agency)) = self.call(id, purpose, agency) {
                    self.outputs.push_back(Output::Submit(ContractCall::Signed {
                        channel: Some(id),
                        purpose,
                        contract: Contract::Channels,
                        data,
                        agent: agency.agent,
                        fee: agency.fee,
                        deadline: agency.deadline,
                    }));
                }
            }
        }
    }

    fn call(&self, id: ChannelId, purpose: Purpose, agency: Agency) -> Option<(Vec<u8>, Agency)> {
        let channel = self.channels.get(&id)?;
        let signer = &self.signer;
        if purpose == Purpose::Close {
            let order = channel.order?;
            let EndKind::Close {
                unknown,
                agent,
                fee,
            } = order.kind
            else {
                return None;
            };
            let agency = Agency {
                agent,
                fee,
                deadline: order.deadline,
            };
            return Some((signer.close(channel, unknown, &agency), agency));
        }
        let record = channel.chain.seen.closing.as_ref()?;
        let data = match purpose {
            Purpose::Forfeit | Purpose::Update => match reply(channel, record) {
                Reply::Forfeit(shown) => {
                    let mandate = signer.mandate(channel, B256::ZERO, &agency);
                    forfeit(channel, record, shown, mandate)
                }
                Reply::Update(shown) => {
                    let state = state_hash(channel, channel.partner(), &shown.state);
                    let mandate = signer.mandate(channel, state, &agency);
                    update(channel, record, shown, mandate)
                }
                Reply::Nothing => return None,
            },
            Purpose::Unlock => {
                let indices = claimable(channel, record);
                let leaves: Vec<B256> = channel
                    .inc
                    .locks
                    .iter()
                    .map(|lock| lock.leaf().hash())
                    .collect();
                let proof = tree_proof(&leaves, &indices)?;
                let mut claims = Vec::new();
                for index in indices {
                    let lock = channel.inc.locks.get(index)?;
                    // It was registered in time: an empty witness looks it up.
                    claims.push(claim(u8::try_from(index).ok()?, lock, Vec::new()));
                }
                signer.unlock(channel, record, claims, proof, &agency)
            }
            Purpose::Redeem => signer.redeem(channel, record, &agency),
            Purpose::Settle => settle(&channel.terms, record),
            Purpose::Withdraw
            | Purpose::CloseTogether
            | Purpose::Close
            | Purpose::Register
            | Purpose::Void
            | Purpose::Sweep
            | Purpose::Agent => return None,
        };
        Some((data, agency))
    }

    fn submit_secrets(&mut self, id: ChannelId) {
        let time = self.head.map_or(0, |head| head.time);
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let calls: Vec<ContractCall> = channel
            .inc
            .locks
            .iter()
            .filter(|lock| !lock.released && lock.added.expiry > time)
            .filter_map(|lock| {
                Some(ContractCall::Signed {
                    channel: Some(id),
                    purpose: Purpose::Register,
                    contract: Contract::Conditions,
                    data: register(&lock.added.condition, &lock.secret?),
                    agent: Account::ZERO,
                    fee: 0,
                    deadline: lock.added.expiry,
                })
            })
            .collect();
        self.outputs.extend(calls.into_iter().map(Output::Submit));
    }
}

fn channel_has_withdrawal(channel: Option<&Channel>) -> bool {
    channel
        .and_then(|channel| channel.withdrawal)
        .is_some_and(|reservation| reservation.ours && reservation.other.is_some())
}

/// The record of what the partner pays.
fn their_side<'a>(channel: &Channel, record: &'a ClosingRecord) -> &'a SideRecord {
    let [low, high] = &record.sides;
    if channel.is_high() { low } else { high }
}

/// Whether the partner's message that counts is the newest one held here.
fn counts(channel: &Channel, record: &ClosingRecord) -> bool {
    channel.inc.newest.is_some_and(|newest| {
        their_side(channel, record).state == state_hash(channel, channel.partner(), &newest.state)
    })
}

/// What to answer to the partner's close in the challenge.
pub(super) fn reply<'a>(channel: &'a Channel, record: &ClosingRecord) -> Reply<'a> {
    let theirs = their_side(channel, record);
    let closed_by_partner = record.closer_high != channel.is_high();
    let Some(newest) = &channel.inc.newest else {
        return Reply::Nothing;
    };
    if !closed_by_partner {
        // We posted the newest ourselves; it may be that a reorganisation let in an older close of ours.
        return if newest.state.seq > theirs.seq {
            Reply::Update(newest)
        } else {
            Reply::Nothing
        };
    }
    let replaced = theirs.seq != record.declared;
    let is_other =
        |shown: &SignedState| theirs.state != state_hash(channel, channel.partner(), &shown.state);
    let known = [Some(newest), channel.inc.contradiction.as_ref()];
    for shown in known.into_iter().flatten() {
        let seq = shown.state.seq;
        let contradicts = if seq > record.declared {
            !record.unknown
        } else if replaced {
            false
        } else if seq == record.declared {
            is_other(shown)
        } else {
            shown.state.paid > theirs.out
        };
        if contradicts {
            return Reply::Forfeit(shown);
        }
    }
    let seq = newest.state.seq;
    if seq > record.declared {
        // An unknown close: the newest is put in place, and the closer fined.
        return if seq > theirs.seq || !replaced {
            Reply::Update(newest)
        } else {
            Reply::Nothing
        };
    }
    // An invented newer message without our locks: the one that has them is worth more if their secrets are known.
    let worth: u128 = channel
        .inc
        .locks
        .iter()
        .filter(|lock| lock.secret.is_some() && !lock.released)
        .fold(newest.state.paid, |sum, lock| {
            sum.saturating_add(lock.added.amount)
        });
    if !replaced && seq < record.declared && is_other(newest) && worth > theirs.out {
        return Reply::Update(newest);
    }
    Reply::Nothing
}

/// Places of the locks that can be claimed of the message that counts.
fn claimable(channel: &Channel, record: &ClosingRecord) -> Vec<usize> {
    if !counts(channel, record) {
        return Vec::new();
    }
    let done = their_side(channel, record).done;
    let is_open = |(index, lock): &(usize, &Lock)| {
        let bit = u32::try_from(*index)
            .ok()
            .and_then(|index| 1_u64.checked_shl(index))
            .unwrap_or(0);
        lock.secret.is_some() && !lock.released && done & bit == 0
    };
    channel
        .inc
        .locks
        .iter()
        .enumerate()
        .filter(is_open)
        .map(|(index, _)| index)
        .collect()
}
