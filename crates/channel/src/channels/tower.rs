//! Watchtowers, whom the victim names, and agents, who bring a neighbour's signed order to the chain.
//!
//! A party hands its tower the partner's newest message with two signed orders: to forfeit, and to put this very message in place. They
//! are worth nothing until the partner closes with less. The tower keeps the newest of each channel, and acts as its owner would. An
//! agent is sent a complete call; whoever submits it gets the fee that the order names.

use std::collections::BTreeMap;

use alloy_primitives::{Address as Account, B256};
use smartmesh_contracts::WordPhase;
use smartmesh_contracts::channels::Channels::ChannelsEvents;
use smartmesh_contracts::model::Side;
use smartmesh_types::{Address, RequestId};
use smartmesh_wire::payment::{PaymentMessage, Watch};

use super::dispute::{Reply, reply};
use super::{Channels, Due};
use crate::border::{Answer, CommandError, Contract, ContractCall, Event, Output, Purpose};
use crate::calls::{self, Agency, state_hash};
use crate::channel::{Channel, ChannelId, Resend, SignedState, Terms};
use crate::onchain::Change;
use crate::record;

/// Channels of others that are watched at most.
const HINTS_MAX: usize = 10_000;
/// Towers that this phone names at most.
const TOWERS_MAX: usize = 4;
/// Orders given to agents that are not answered at most.
const BRINGS_MAX: usize = 256;
/// How long a tower's orders hold, seconds: they are made anew with each message.
const WATCH_LIFE: u64 = 60 * 86_400;
/// Blocks after which a tower asks again for a call whose effect is not seen.
const AGAIN_AFTER: u64 = 3;

/// A tower that this phone names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tower {
    pub(crate) peer: Address,
    pub(crate) agent: Account,
    pub(crate) fee: u128,
}

/// What somebody asked this phone to watch: their channel as they see it, and their orders.
#[derive(Clone, Debug)]
pub(super) struct Hint {
    channel: Channel,
    watch: Watch,
    asked_at: Option<u64>,
}

/// An order on its way to an agent.
#[derive(Clone, Debug)]
pub(super) struct Bring {
    request: RequestId,
    to: Address,
    message: PaymentMessage,
    resend: Resend,
}

/// Towers, hints and orders.
#[derive(Debug, Default)]
pub(super) struct Watching {
    pub(super) towers: Vec<Tower>,
    hints: BTreeMap<ChannelId, Hint>,
    brings: BTreeMap<[u8; 8], Bring>,
}

impl Channels {
    pub(super) fn command_tower(
        &mut self,
        request: RequestId,
        tower: Tower,
    ) -> Result<(), CommandError> {
        let towers = &mut self.watching.towers;
        towers.retain(|other| other.peer != tower.peer);
        if towers.len() >= TOWERS_MAX {
            return Err(CommandError::Full("towers"));
        }
        towers.push(tower);
        let record = record::towers(towers);
        self.persist(record);
        self.answer(request, Answer::Ordered);
        let ids: Vec<ChannelId> = self.channels.keys().copied().collect();
        for id in ids {
            self.watch_later(id);
        }
        if !self.reachable.contains(&tower.peer) {
            self.outputs.push_back(Output::OpenPath { to: tower.peer });
        }
        Ok(())
    }

    /// The tower is given the newest message soon.
    pub(super) fn watch_later(&mut self, id: ChannelId) {
        if self.watching.towers.is_empty() {
            return;
        }
        let first = self.first_resend();
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.inc.newest.is_some()
            && channel.watch.is_none()
        {
            channel.watch = Some(first);
            self.reschedule(id);
        }
    }

    /// Gives the towers the partner's newest message, until one has said that it keeps it.
    pub(super) fn watch_due(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(last) = channel.watch.filter(|last| last.at <= self.now.instant) else {
            return;
        };
        let Some(newest) = channel.inc.newest else {
            return;
        };
        let state = state_hash(channel, channel.partner(), &newest.state);
        let is_kept = channel.watched == Some((newest.state.seq, state));
        let next = (!is_kept).then(|| self.next_resend(last));
        let deadline = self.chain_clock().saturating_add(WATCH_LIFE);
        let mut letters = Vec::new();
        for tower in self.watching.towers.iter().filter(|_| !is_kept) {
            let agency = Agency {
                agent: tower.agent,
                fee: tower.fee,
                deadline,
            };
            let watch = Watch {
                parties: (
                    channel.terms.token.0.0,
                    channel.terms.low.0.0,
                    channel.terms.high.0.0,
                ),
                terms: channel.terms.terms,
                epoch: channel.epoch,
                state: newest.state,
                signature: newest.signature,
                agent: tower.agent.0.0,
                fee: tower.fee,
                deadline,
                forfeit: self.signer.sign_mandate(channel, B256::ZERO, &agency),
                update: self.signer.sign_mandate(channel, state, &agency),
            };
            letters.push((tower.peer, PaymentMessage::Watch(Box::new(watch))));
        }
        for (to, message) in letters {
            if self.reachable.contains(&to) {
                self.send(to, message);
            }
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.watch = next;
        }
    }

    pub(super) fn handle_watching(&mut self, from: Address, state: B256) {
        if !self.watching.towers.iter().any(|tower| tower.peer == from) {
            return;
        }
        let mut kept = None;
        for channel in self.channels.values_mut() {
            if let Some(newest) = channel.inc.newest
                && state_hash(channel, channel.partner(), &newest.state) == state
            {
                channel.watched = Some((newest.state.seq, state));
                channel.watch = None;
                kept = Some(channel.id);
            }
        }
        if let Some(id) = kept {
            self.reschedule(id);
            self.tell(Event::Watched(id));
        }
    }

    /// Somebody asks this phone to watch.
    pub(super) fn handle_watch(&mut self, from: Address, watch: Watch) {
        let Some(hint) = self.judge_watch(watch) else {
            self.counters.unexpected = self.counters.unexpected.saturating_add(1);
            return;
        };
        let id = hint.channel.id;
        let seq = hint.watch.state.seq;
        let epoch = hint.watch.epoch;
        let state = hint
            .channel
            .inc
            .newest
            .map(|newest| state_hash(&hint.channel, hint.channel.partner(), &newest.state))
            .unwrap_or_default();
        let old = self.watching.hints.get(&id);
        let is_newer = old.is_none_or(|old| (old.watch.epoch, old.watch.state.seq) < (epoch, seq));
        if old.is_none() && self.watching.hints.len() >= HINTS_MAX {
            return;
        }
        if is_newer {
            let mut hint = hint;
            match old {
                Some(old) => {
                    hint.channel.slot = old.channel.slot;
                    hint.channel.chain = old.channel.chain.clone();
                }
                None => {
                    hint.channel.slot = self.next_slot;
                    self.next_slot = self.next_slot.saturating_add(1);
                }
            }
            let record = record::hint(hint.channel.slot, &hint.watch);
            self.watching.hints.insert(id, hint);
            self.persist(record);
        }
        self.send(from, PaymentMessage::Watching { state: state.0 });
    }

    /// Who signed what in a request to watch; none if it is worth nothing.
    fn judge_watch(&self, watch: Watch) -> Option<Hint> {
        let (token, low, high) = watch.parties;
        let terms = Terms {
            token: Account::new(token),
            low: Account::new(low),
            high: Account::new(high),
            terms: watch.terms,
        };
        if terms.low >= terms.high || watch.state.seq == 0 {
            return None;
        }
        // The payer is whoever signed the message; the other one is the victim.
        let victim = [Side::Low, Side::High].into_iter().find(|side| {
            let typed = calls::typed_state(
                terms.id(),
                watch.epoch,
                terms.party(side.other()),
                &watch.state,
            );
            self.signer
                .is_by(terms.party(side.other()), &typed, &watch.signature)
        })?;
        let mut channel = Channel::new(u32::MAX, terms, victim, self.own);
        channel.epoch = watch.epoch;
        channel.inc.newest = Some(SignedState {
            state: watch.state,
            signature: watch.signature,
        });
        let agency = agency_of(&watch);
        let order = calls::typed_mandate(&channel, B256::ZERO, &agency);
        self.signer
            .is_by(terms.party(victim), &order, &watch.forfeit)
            .then_some(Hint {
                channel,
                watch,
                asked_at: None,
            })
    }

    pub(super) fn restore_hint(
        &mut self,
        slot: u32,
        watch: Watch,
        view: Option<crate::onchain::View>,
    ) {
        if let Some(mut hint) = self.judge_watch(watch) {
            hint.channel.slot = slot;
            if let Some(view) = view {
                hint.channel.chain = crate::onchain::OnChain::restored(view);
            }
            self.next_slot = self.next_slot.max(slot.saturating_add(1));
            self.watching.hints.insert(hint.channel.id, hint);
        }
    }

    pub(super) fn hint_log(
        &mut self,
        id: ChannelId,
        block: u64,
        index: u32,
        event: &ChannelsEvents,
    ) {
        if let Some(hint) = self.watching.hints.get_mut(&id) {
            let high = hint.channel.terms.high;
            if let Some(change) = Change::of(event, |account| account == high) {
                hint.channel.chain.log(block, index, change);
            }
        }
    }

    pub(super) fn hints_rolled_back(&mut self, to: u64, counts_to: u64) {
        for hint in self.watching.hints.values_mut() {
            hint.channel.chain.rollback(to, counts_to);
            hint.asked_at = None;
        }
    }

    /// A new head: closes that contradict what is kept are answered.
    pub(super) fn hints_head(
        &mut self,
        block: u64,
        time: u64,
        counts_to: u64,
        final_to: u64,
    ) -> bool {
        let (mut calls, mut records, mut over) = (Vec::new(), Vec::new(), Vec::new());
        let mut moved = false;
        for (id, hint) in &mut self.watching.hints {
            if hint.channel.chain.head(counts_to, final_to) {
                moved = true;
                records.push(record::chain(&hint.channel));
            }
            if hint.channel.chain.base.word.epoch > hint.watch.epoch {
                over.push((*id, hint.channel.slot));
                continue;
            }
            let seen = &hint.channel.chain.seen;
            let is_due = seen.word.phase == WordPhase::Closing
                && time < seen.word.time
                && hint
                    .asked_at
                    .is_none_or(|at| block >= at.saturating_add(AGAIN_AFTER));
            if let Some(record) = seen.closing.filter(|_| is_due)
                && let Some((purpose, data)) = answer_for(hint, &record)
            {
                hint.asked_at = Some(block);
                calls.push(ContractCall::Signed {
                    channel: Some(*id),
                    purpose,
                    contract: Contract::Channels,
                    data,
                    agent: Account::new(hint.watch.agent),
                    fee: hint.watch.fee,
                    deadline: hint.watch.deadline,
                });
            }
        }
        for (id, slot) in over {
            self.watching.hints.remove(&id);
            records.extend(record::forget_hint(slot));
        }
        for record in records {
            self.persist(record);
        }
        self.outputs.extend(calls.into_iter().map(Output::Submit));
        moved
    }

    pub(super) fn command_bring(
        &mut self,
        request: RequestId,
        to: Address,
        call: ContractCall,
    ) -> Result<(), CommandError> {
        let ContractCall::Signed {
            contract,
            data,
            fee,
            ..
        } = call
        else {
            return Err(CommandError::Amount);
        };
        if data.len() > smartmesh_wire::payment::CALL_BYTES_MAX {
            return Err(CommandError::TooLong("the call"));
        }
        if self.watching.brings.len() >= BRINGS_MAX {
            return Err(CommandError::Full("orders for agents"));
        }
        let id = self.rng.bytes();
        let message = PaymentMessage::Bring {
            id,
            contract: match contract {
                Contract::Token => 0,
                Contract::Conditions => 1,
                Contract::Channels => 2,
                Contract::Chequebook => 3,
            },
            fee,
            call: data,
        };
        let resend = self.first_resend();
        let bring = Bring {
            request,
            to,
            message: message.clone(),
            resend,
        };
        self.watching.brings.insert(id, bring);
        self.schedule(Due::Bring(id), Some(resend.at));
        if self.reachable.contains(&to) {
            self.send(to, message);
        } else {
            self.outputs.push_back(Output::OpenPath { to });
        }
        Ok(())
    }

    pub(super) fn bring_due(&mut self, id: [u8; 8]) {
        let Some(bring) = self.watching.brings.get(&id).cloned() else {
            return;
        };
        let resend = self.next_resend(bring.resend);
        if resend.pause == bring.resend.pause {
            // It was asked often enough.
            self.watching.brings.remove(&id);
            self.answer(bring.request, Answer::NotTaken);
            return;
        }
        if self.reachable.contains(&bring.to) {
            self.send(bring.to, bring.message.clone());
        }
        self.schedule(Due::Bring(id), Some(resend.at));
        self.watching.brings.insert(id, Bring { resend, ..bring });
    }

    /// Somebody without the Internet asks this phone to bring their order to the chain.
    pub(super) fn handle_bring(
        &mut self,
        from: Address,
        id: [u8; 8],
        contract: u8,
        order: (u128, Vec<u8>),
    ) {
        let (fee, data) = order;
        let contract = match contract {
            0 => Contract::Token,
            1 => Contract::Conditions,
            2 => Contract::Channels,
            3 => Contract::Chequebook,
            _ => return,
        };
        let taken = self.config.agent_fee.is_some_and(|least| fee >= least);
        if taken {
            self.outputs.push_back(Output::Submit(ContractCall::Signed {
                channel: None,
                purpose: Purpose::Agent,
                contract,
                data,
                agent: Account::ZERO,
                fee,
                deadline: self.chain_clock().saturating_add(self.config.order_life),
            }));
        }
        self.send(from, PaymentMessage::Brought { id, taken });
    }

    pub(super) fn handle_brought(&mut self, from: Address, id: [u8; 8], taken: bool) {
        let is_theirs = self
            .watching
            .brings
            .get(&id)
            .is_some_and(|bring| bring.to == from);
        if let Some(bring) = self.watching.brings.remove(&id).filter(|_| is_theirs) {
            self.schedule(Due::Bring(id), None);
            let answer = if taken {
                Answer::Ordered
            } else {
                Answer::NotTaken
            };
            self.answer(bring.request, answer);
        }
    }
}

fn agency_of(watch: &Watch) -> Agency {
    Agency {
        agent: Account::new(watch.agent),
        fee: watch.fee,
        deadline: watch.deadline,
    }
}

/// The victim's answer to a close, with the order that it signed beforehand.
fn answer_for(
    hint: &Hint,
    record: &smartmesh_contracts::ClosingRecord,
) -> Option<(Purpose, Vec<u8>)> {
    let agency = agency_of(&hint.watch);
    match reply(&hint.channel, record) {
        Reply::Forfeit(shown) => {
            let mandate = calls::mandate_of(&agency, &hint.watch.forfeit);
            let data = calls::forfeit(&hint.channel, record, shown, mandate);
            Some((Purpose::Forfeit, data))
        }
        Reply::Update(shown) => {
            let mandate = calls::mandate_of(&agency, &hint.watch.update);
            let data = calls::update(&hint.channel, record, shown, mandate);
            Some((Purpose::Update, data))
        }
        Reply::Nothing => None,
    }
}
