//! What both sign: taking out while open, and ending together.
//!
//! A withdrawal: the one who takes out signs and asks; the partner sets the amount aside, signs and answers; then anybody, or the
//! agent that is named, submits it. The amount stays set aside on both sides until a final block shows it executed or expired.
//!
//! Ending together: the one who asks pays nothing from then on and proposes the payouts unsigned; the partner checks them, pays
//! nothing from then on either, adds where its share goes, signs and answers; the first checks again, signs and submits.

use alloy_primitives::Address as Account;
use smartmesh_types::{Address, RequestId};
use smartmesh_wire::payment::{PaymentMessage, Payouts, Refusal, SignatureBytes, Withdrawal};

use super::Channels;
use crate::balance::AMOUNT_LIMIT;
use crate::border::{Answer, CommandError, Contract, ContractCall, Event, Output, Purpose};
use crate::calls::{close_together, typed_payouts, typed_withdrawal, withdraw};
use crate::channel::{Channel, ChannelId, EndKind, EndOrder, Reservation};
use crate::record;

/// How far in the future an order of the partner may end, seconds: longer would set money aside for too long.
const ORDER_LIFE_MAX: u64 = 30 * 86_400;

/// A proposal carries no signature yet.
const UNSIGNED: SignatureBytes = [0; 64];

impl Channels {
    fn open_channel(&self, id: ChannelId) -> Result<&Channel, CommandError> {
        let channel = self.channels.get(&id).ok_or(CommandError::UnknownChannel)?;
        if channel.order.is_some() {
            return Err(CommandError::Closing);
        }
        if !channel.is_open() {
            return Err(CommandError::NotOpen);
        }
        Ok(channel)
    }

    pub(super) fn command_withdraw(
        &mut self,
        request: RequestId,
        id: ChannelId,
        amount: u128,
        to: Account,
        agency: (Account, u128),
    ) -> Result<(), CommandError> {
        let channel = self.open_channel(id)?;
        if channel.recovering {
            return Err(CommandError::Recovering);
        }
        if !channel.session.established {
            return Err(CommandError::NotEstablished);
        }
        if channel.withdrawal.is_some() {
            return Err(CommandError::UnderWay);
        }
        let (agent, fee) = agency;
        if amount == 0 || fee > amount || amount >= AMOUNT_LIMIT || to == Account::ZERO {
            return Err(CommandError::Amount);
        }
        let left = channel.spendable();
        if amount > left {
            return Err(CommandError::TooMuch(left));
        }
        let earliest = channel.chain.seen.word.time.saturating_add(1);
        let mut order = Withdrawal {
            channel: id.tag(),
            answer: false,
            amount,
            to: to.0.0,
            agent: agent.0.0,
            fee,
            expiry: self
                .chain_clock()
                .saturating_add(self.config.order_life)
                .max(earliest),
            signature: UNSIGNED,
        };
        order.signature = self
            .signer
            .sign(&typed_withdrawal(channel, &order, channel.me()));
        let peer = channel.peer;
        self.reserve(
            id,
            Reservation {
                order,
                ours: true,
                other: None,
            },
        );
        self.send(peer, PaymentMessage::Withdrawal(order));
        self.answer(request, Answer::Begun(id));
        Ok(())
    }

    fn reserve(&mut self, id: ChannelId, reservation: Reservation) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.withdrawal = Some(reservation);
            let record = record::orders(channel);
            self.persist(record);
            self.lively.insert(id);
            self.tell(Event::Changed(id));
        }
    }

    pub(super) fn handle_withdrawal(&mut self, from: Address, m: &Withdrawal) {
        let Some(id) = self.find(from, m.channel) else {
            return;
        };
        if m.answer {
            self.take_withdrawal(id, m);
            return;
        }
        match self.judge_withdrawal(id, m) {
            Ok(reservation) => {
                self.reserve(id, reservation);
                let answer = Withdrawal {
                    answer: true,
                    signature: reservation.other.unwrap_or(UNSIGNED),
                    ..*m
                };
                self.send(from, PaymentMessage::Withdrawal(answer));
            }
            Err(reason) => {
                self.counters.refused = self.counters.refused.saturating_add(1);
                self.refuse(from, m.channel, 0, reason);
            }
        }
    }

    /// Whether the partner may take this out, and our signature to it.
    fn judge_withdrawal(&self, id: ChannelId, m: &Withdrawal) -> Result<Reservation, Refusal> {
        let channel = self.channels.get(&id).ok_or(Refusal::UnknownChannel)?;
        if !channel.is_open() || channel.order.is_some() {
            return Err(Refusal::Closing);
        }
        if !channel.session.established {
            return Err(Refusal::NotEstablished);
        }
        let typed = typed_withdrawal(channel, m, channel.partner());
        if !self.signer.is_by(channel.partner(), &typed, &m.signature) {
            return Err(Refusal::BadSignature);
        }
        let reservation = Reservation {
            order: *m,
            ours: false,
            other: Some(self.signer.sign(&typed)),
        };
        if let Some(present) = channel.withdrawal {
            // The same request again: our answer was lost.
            let is_same = present.order == *m && !present.ours;
            return if is_same {
                Ok(present)
            } else {
                Err(Refusal::Busy)
            };
        }
        let clock = self.chain_clock();
        if m.expiry <= clock.saturating_add(self.config.skew)
            || m.expiry > clock.saturating_add(ORDER_LIFE_MAX)
            || m.expiry <= channel.chain.seen.word.time
        {
            return Err(Refusal::BadTerms);
        }
        if m.amount == 0 || m.fee > m.amount || m.amount > channel.partner_spendable() {
            return Err(Refusal::Overspent);
        }
        Ok(reservation)
    }

    /// The partner's signature to our withdrawal.
    fn take_withdrawal(&mut self, id: ChannelId, m: &Withdrawal) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(present) = channel.withdrawal.filter(|present| present.ours) else {
            return;
        };
        let is_same = Withdrawal {
            answer: false,
            signature: present.order.signature,
            ..*m
        } == present.order;
        let typed = typed_withdrawal(channel, &present.order, channel.me());
        if !is_same
            || present.other.is_some()
            || !self.signer.is_by(channel.partner(), &typed, &m.signature)
        {
            self.counters.unexpected = self.counters.unexpected.saturating_add(1);
            return;
        }
        self.reserve(
            id,
            Reservation {
                other: Some(m.signature),
                ..present
            },
        );
        self.submit_withdrawal(id);
    }

    /// Brings a withdrawal that both signed to the chain.
    pub(super) fn submit_withdrawal(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some((reservation, other)) = channel
            .withdrawal
            .filter(|reservation| reservation.ours)
            .and_then(|reservation| Some((reservation, reservation.other?)))
        else {
            return;
        };
        let order = reservation.order;
        let (ours, theirs) = (&order.signature, &other);
        let signatures = if channel.is_high() {
            (theirs, ours)
        } else {
            (ours, theirs)
        };
        let call = ContractCall::Signed {
            channel: Some(id),
            purpose: Purpose::Withdraw,
            contract: Contract::Channels,
            data: withdraw(channel, &order, channel.me(), signatures),
            agent: Account::new(order.agent),
            fee: order.fee,
            deadline: order.expiry,
        };
        self.outputs.push_back(Output::Submit(call));
    }

    pub(super) fn command_close_together(
        &mut self,
        request: RequestId,
        id: ChannelId,
        agency: (Account, u128),
    ) -> Result<(), CommandError> {
        let channel = self.open_channel(id)?;
        if !channel.session.established {
            return Err(CommandError::NotEstablished);
        }
        if channel.withdrawal.is_some() {
            return Err(CommandError::UnderWay);
        }
        if channel.out.state.locked != 0 || channel.inc.state().locked != 0 {
            return Err(CommandError::LocksPending);
        }
        if channel.out.is_under_way() || !channel.out.queue().is_empty() {
            return Err(CommandError::UnderWay);
        }
        let (agent, fee) = agency;
        let (ours, theirs) = shares(channel).ok_or(CommandError::NotOpen)?;
        let ours = ours.checked_sub(fee).ok_or(CommandError::TooMuch(ours))?;
        let payout = self.config.payout.0.0;
        let is_high = channel.is_high();
        let order = Payouts {
            channel: id.tag(),
            answer: false,
            amounts: if is_high {
                (theirs, ours)
            } else {
                (ours, theirs)
            },
            to: if is_high {
                ([0; 20], payout)
            } else {
                (payout, [0; 20])
            },
            agent: agent.0.0,
            fee,
            deadline: self.chain_clock().saturating_add(self.config.order_life),
            signature: UNSIGNED,
        };
        let peer = channel.peer;
        self.order(
            id,
            EndOrder {
                deadline: order.deadline,
                kind: EndKind::Together(order, None),
            },
        );
        self.send(peer, PaymentMessage::Payouts(order));
        self.answer(request, Answer::Begun(id));
        Ok(())
    }

    /// From here on this side signs no payment until the order is executed or expired.
    pub(super) fn order(&mut self, id: ChannelId, order: EndOrder) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.order = Some(order);
            let record = record::orders(channel);
            self.persist(record);
            self.lively.insert(id);
            self.tell(Event::Changed(id));
            self.fail_queue(id);
        }
    }

    pub(super) fn handle_payouts(&mut self, from: Address, m: Payouts) {
        let Some(id) = self.find(from, m.channel) else {
            return;
        };
        if m.answer {
            self.take_payouts(id, &m);
            return;
        }
        match self.judge_payouts(id, m) {
            Ok(answer) => {
                let order = EndOrder {
                    deadline: answer.deadline,
                    kind: EndKind::Together(answer, None),
                };
                self.order(id, order);
                self.send(from, PaymentMessage::Payouts(answer));
            }
            Err(reason) => {
                self.counters.refused = self.counters.refused.saturating_add(1);
                self.refuse(from, m.channel, 0, reason);
            }
        }
    }

    /// Whether these payouts give this side what is its own, and our signature to them.
    fn judge_payouts(&self, id: ChannelId, mut m: Payouts) -> Result<Payouts, Refusal> {
        let channel = self.channels.get(&id).ok_or(Refusal::UnknownChannel)?;
        if !channel.session.established {
            return Err(Refusal::NotEstablished);
        }
        if !channel.is_open() {
            return Err(Refusal::Closing);
        }
        let payout = self.config.payout.0.0;
        let is_high = channel.is_high();
        let (ours, their_place, our_place) = if is_high {
            (m.amounts.1, m.to.0, &mut m.to.1)
        } else {
            (m.amounts.0, m.to.1, &mut m.to.0)
        };
        *our_place = payout;
        m.answer = true;
        m.signature = UNSIGNED;
        m.signature = self.signer.sign(&typed_payouts(channel, &m));
        match channel.order.map(|order| order.kind) {
            // The same proposal again: our answer was lost.
            Some(EndKind::Together(present, _)) if present == m => return Ok(m),
            Some(EndKind::Together(..) | EndKind::Close { .. }) => return Err(Refusal::Closing),
            None => {}
        }
        let is_quiet = channel.out.state.locked == 0
            && channel.inc.state().locked == 0
            && channel.withdrawal.is_none();
        let clock = self.chain_clock();
        let is_timely = m.deadline > clock.saturating_add(self.config.skew)
            && m.deadline <= clock.saturating_add(ORDER_LIFE_MAX);
        if !is_quiet || !is_timely || their_place == [0; 20] {
            return Err(Refusal::BadTerms);
        }
        let (due, _) = shares(channel).ok_or(Refusal::NotConfirmed)?;
        if ours < due || !adds_up(channel, &m) {
            return Err(Refusal::Overspent);
        }
        Ok(m)
    }

    /// The partner's signature to the payouts that this side proposed.
    fn take_payouts(&mut self, id: ChannelId, m: &Payouts) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(EndKind::Together(proposed, None)) = channel.order.map(|order| order.kind) else {
            return;
        };
        let is_high = channel.is_high();
        let same_places = if is_high {
            m.to.1 == proposed.to.1
        } else {
            m.to.0 == proposed.to.0
        };
        let is_same = !proposed.answer
            && same_places
            && Payouts {
                answer: false,
                to: proposed.to,
                signature: UNSIGNED,
                ..*m
            } == proposed;
        let typed = typed_payouts(channel, m);
        // It may have paid us meanwhile; then it would have been frozen, so equal shares mean equal states.
        let is_fair = adds_up(channel, m);
        if !is_same || !is_fair || !self.signer.is_by(channel.partner(), &typed, &m.signature) {
            self.counters.unexpected = self.counters.unexpected.saturating_add(1);
            return;
        }
        let ours = Payouts {
            answer: false,
            signature: self.signer.sign(&typed),
            ..*m
        };
        self.order(
            id,
            EndOrder {
                deadline: m.deadline,
                kind: EndKind::Together(ours, Some(m.signature)),
            },
        );
        self.submit_payouts(id);
    }

    /// Brings payouts that both signed to the chain.
    pub(super) fn submit_payouts(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(EndKind::Together(order, Some(theirs))) = channel.order.map(|order| order.kind)
        else {
            return;
        };
        let signatures = if channel.is_high() {
            (&theirs, &order.signature)
        } else {
            (&order.signature, &theirs)
        };
        let call = ContractCall::Signed {
            channel: Some(id),
            purpose: Purpose::CloseTogether,
            contract: Contract::Channels,
            data: close_together(channel, &order, signatures),
            agent: Account::new(order.agent),
            fee: order.fee,
            deadline: order.deadline,
        };
        self.outputs.push_back(Output::Submit(call));
    }

    /// The partner does not sign what this side proposed: it is as if it had not been asked.
    pub(super) fn handle_order_refused(&mut self, id: ChannelId, reason: Refusal) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        // What this side has not signed yet binds nobody.
        let is_proposal = matches!(
            channel.order.map(|order| order.kind),
            Some(EndKind::Together(order, None)) if order.signature == UNSIGNED
        );
        if is_proposal {
            channel.order = None;
            let record = record::orders(channel);
            self.persist(record);
        }
        self.tell(Event::Waiting {
            channel: id,
            reason,
        });
    }
}

/// Our share and the partner's, if both are positive.
fn shares(channel: &Channel) -> Option<(u128, u128)> {
    let ours = channel.balance();
    let theirs = channel.total().checked_sub(ours)?;
    Some((u128::try_from(ours).ok()?, u128::try_from(theirs).ok()?))
}

fn adds_up(channel: &Channel, m: &Payouts) -> bool {
    let sum = m
        .amounts
        .0
        .checked_add(m.amounts.1)
        .and_then(|sum| sum.checked_add(m.fee));
    sum.and_then(|sum| i128::try_from(sum).ok()) == Some(channel.total())
}
