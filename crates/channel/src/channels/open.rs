//! Before there is a channel: two phones tell each other their channel keys and terms, then money goes in.

use alloy_primitives::Address as Account;
use smartmesh_contracts::{WordPhase, hold_seconds};
use smartmesh_types::{Address, RequestId};
use smartmesh_wire::payment::{Introduction, PaymentMessage, Refusal};

use super::{CHANNELS_MAX, Channels, Due, OPENINGS_MAX};
use crate::balance::AMOUNT_LIMIT;
use crate::border::{Answer, CommandError, ContractCall, Event, Output};
use crate::calls::{Signer, deposit_data};
use crate::channel::{Channel, ChannelId, Resend, Session, Terms};
use crate::record;

/// Channels in which nothing was ever deposited at most: introductions cost the stranger nothing.
const EMPTY_MAX: usize = 1_024;

/// An introduction that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    request: RequestId,
    deposit: u128,
    resend: Resend,
}

impl Channels {
    pub(super) fn command_open(
        &mut self,
        request: RequestId,
        peer: Address,
        token: Account,
        deposit: u128,
    ) -> Result<(), CommandError> {
        if deposit >= AMOUNT_LIMIT || peer == self.own {
            return Err(CommandError::Amount);
        }
        let present = self.channel_with(peer, token);
        if let Some(channel) = present.and_then(|id| self.channels.get(&id)) {
            if channel.chain.seen.word.phase != WordPhase::None || deposit == 0 {
                return Err(CommandError::Exists);
            }
            let id = channel.id;
            self.submit_deposit(id, deposit);
            self.answer(request, Answer::Begun(id));
            return Ok(());
        }
        if self.openings.contains_key(&(peer, token)) {
            return Err(CommandError::UnderWay);
        }
        if self.openings.len() >= OPENINGS_MAX || self.channels.len() >= CHANNELS_MAX {
            return Err(CommandError::Full("channels"));
        }
        let resend = self.first_resend();
        let opening = Opening {
            request,
            deposit,
            resend,
        };
        self.openings.insert((peer, token), opening);
        self.schedule(Due::Opening(peer, token), Some(resend.at));
        if self.reachable.contains(&peer) {
            self.introduce(peer, token, self.config.terms, false);
        } else {
            self.outputs.push_back(Output::OpenPath { to: peer });
        }
        Ok(())
    }

    pub(super) fn resend_introduction(&mut self, peer: Address, token: Account) {
        let Some(opening) = self.openings.get(&(peer, token)).copied() else {
            return;
        };
        let resend = self.next_resend(opening.resend);
        self.openings
            .insert((peer, token), Opening { resend, ..opening });
        self.schedule(Due::Opening(peer, token), Some(resend.at));
        if self.reachable.contains(&peer) {
            self.introduce(peer, token, self.config.terms, false);
        } else {
            self.outputs.push_back(Output::OpenPath { to: peer });
        }
    }

    pub(super) fn introduce_to(&mut self, peer: Address) {
        let tokens: Vec<Account> = self
            .openings
            .range((peer, Account::ZERO)..)
            .take_while(|((other, _), _)| *other == peer)
            .map(|((_, token), _)| *token)
            .collect();
        for token in tokens {
            self.introduce(peer, token, self.config.terms, false);
        }
    }

    fn introduce(&mut self, to: Address, token: Account, terms: u16, answer: bool) {
        let mut introduction = Introduction {
            answer,
            chain_id: self.config.chain.chain_id,
            contract: self.config.chain.channels.0.0,
            token: token.0.0,
            account: self.signer.me.0.0,
            terms,
            locator: self.config.locator,
            reach: self.config.reach,
            fee: self.config.fee,
            reserve: self.config.reserve,
            signature: [0; 64],
        };
        introduction.signature = self.signer.sign_introduction(&introduction, self.own, to);
        self.send(to, PaymentMessage::Introduction(introduction));
    }

    pub(super) fn handle_introduction(&mut self, from: Address, m: &Introduction) {
        let terms = Terms::of(
            Account::new(m.token),
            self.signer.me,
            Account::new(m.account),
            m.terms,
        );
        let tag = terms.id().tag();
        if let Err(reason) = self.judge_introduction(from, m) {
            self.counters.refused = self.counters.refused.saturating_add(1);
            if !m.answer {
                self.refuse(from, tag, 0, reason);
            }
            return;
        }
        let id = terms.id();
        if self.channels.contains_key(&id) {
            self.meet_again(id, from);
        } else {
            if !self.has_place() {
                self.refuse(from, tag, 0, Refusal::Busy);
                return;
            }
            self.add_channel(terms, from, m);
        }
        if m.answer {
            let token = terms.token;
            if let Some(opening) = self.openings.remove(&(from, token)) {
                self.schedule(Due::Opening(from, token), None);
                self.answer(opening.request, Answer::Begun(id));
                if opening.deposit > 0 {
                    self.submit_deposit(id, opening.deposit);
                }
            }
        } else {
            self.introduce(from, terms.token, m.terms, true);
        }
    }

    /// The partner does not want the channel.
    pub(super) fn refuse_opening(&mut self, from: Address, reason: Refusal) {
        let wanted = self
            .openings
            .range((from, Account::ZERO)..)
            .next()
            .filter(|((peer, _), _)| *peer == from)
            .map(|((_, token), opening)| (*token, opening.request));
        if let Some((token, request)) = wanted {
            self.openings.remove(&(from, token));
            self.schedule(Due::Opening(from, token), None);
            self.answer(request, Answer::NotOpened { reason });
        }
    }

    fn judge_introduction(&self, from: Address, m: &Introduction) -> Result<(), Refusal> {
        let ours = &self.config.chain;
        let is_same_chain = m.chain_id == ours.chain_id && m.contract == ours.channels.0.0;
        let hold = hold_seconds(m.terms).unwrap_or(0);
        if !is_same_chain
            || hold < self.config.hold_min
            || m.account == self.signer.me.0.0
            || m.account == [0; 20]
            || m.reserve >= AMOUNT_LIMIT
        {
            return Err(Refusal::BadTerms);
        }
        if !Signer::is_introduced(m, from, self.own) {
            return Err(Refusal::BadSignature);
        }
        Ok(())
    }

    fn has_place(&self) -> bool {
        let is_empty = |channel: &&Channel| {
            channel.epoch == 0 && channel.chain.seen.word.phase == WordPhase::None
        };
        self.channels.len() < EMPTY_MAX
            || (self.channels.len() < CHANNELS_MAX
                && self.channels.values().filter(is_empty).count() < EMPTY_MAX)
    }

    /// The partner proved its key from another mesh address: its phone has a new node key.
    fn meet_again(&mut self, id: ChannelId, from: Address) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if channel.peer == from {
            return;
        }
        let old = std::mem::replace(&mut channel.peer, from);
        channel.session = Session::default();
        let record = record::statics(channel);
        self.by_tag.remove(&(old, id.tag()));
        self.by_tag.insert((from, id.tag()), id);
        self.persist(record);
        self.greet(id);
    }

    fn add_channel(&mut self, terms: Terms, peer: Address, m: &Introduction) {
        let Some(side) = self.side_of(&terms) else {
            return;
        };
        let id = terms.id();
        let (ours, theirs) = (self.config.locator, m.locator);
        let slot = self.next_slot;
        self.next_slot = slot.saturating_add(1);
        let mut channel = Channel::new(slot, terms, side, peer);
        channel.locators = if terms.low == self.signer.me {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        channel.partner_reach = m.reach;
        channel.partner_reserve = m.reserve;
        channel.our_reserve = self.config.reserve;
        let records = [record::statics(&channel), record::chain(&channel)];
        self.channels.insert(id, channel);
        self.by_tag.insert((peer, id.tag()), id);
        for record in records {
            self.persist(record);
        }
        self.tell(Event::Changed(id));
        self.greet(id);
    }

    pub(super) fn command_deposit(
        &mut self,
        request: RequestId,
        id: ChannelId,
        amount: u128,
    ) -> Result<(), CommandError> {
        let channel = self.channels.get(&id).ok_or(CommandError::UnknownChannel)?;
        if amount == 0 || amount >= AMOUNT_LIMIT {
            return Err(CommandError::Amount);
        }
        if channel.chain.seen.word.phase == WordPhase::Closing || channel.order.is_some() {
            return Err(CommandError::Closing);
        }
        self.submit_deposit(id, amount);
        self.answer(request, Answer::Begun(id));
        Ok(())
    }

    fn submit_deposit(&mut self, id: ChannelId, amount: u128) {
        if let Some(channel) = self.channels.get(&id) {
            let opens = channel.chain.seen.word.phase == WordPhase::None;
            let call = ContractCall::Deposit {
                channel: id,
                token: channel.terms.token,
                amount,
                data: deposit_data(channel, opens),
            };
            self.outputs.push_back(Output::Submit(call));
        }
    }
}
