//! One message, one signature: a payment from the command to the partner's confirmation.
//!
//! One message at a time is under way in each direction. What is asked for meanwhile waits, and payments without a memo
//! are covered by one next message. The content is on disk before the signature leaves; the number never goes back.

use smartmesh_types::{Address, Duration, RequestId};
use smartmesh_wire::payment::{
    ChannelTag, MEMO_BYTES_MAX, PaymentMessage, Refusal, SessionTag, State, Update,
};

use super::Channels;
use crate::balance::AMOUNT_LIMIT;
use crate::border::{Answer, CommandError, Event, Output};
use crate::calls::typed_state;
use crate::channel::{ChannelId, Pending, SignedState};
use crate::locks::Lock;
use crate::record;

/// Payments that wait in one channel at most.
const QUEUE_MAX: usize = 4_096;
/// How long a payment waits for the partner to be met.
const PATIENCE: Duration = Duration::from_secs(10);

impl Channels {
    pub(super) fn command_pay(
        &mut self,
        request: RequestId,
        id: ChannelId,
        amount: u128,
        memo: Vec<u8>,
    ) -> Result<(), CommandError> {
        let channel = self
            .channels
            .get_mut(&id)
            .ok_or(CommandError::UnknownChannel)?;
        if amount == 0 || amount >= AMOUNT_LIMIT {
            return Err(CommandError::Amount);
        }
        if memo.len() > MEMO_BYTES_MAX {
            return Err(CommandError::TooLong("the memo"));
        }
        if channel.recovering {
            return Err(CommandError::Recovering);
        }
        if channel.order.is_some() {
            return Err(CommandError::Closing);
        }
        if !channel.is_open() {
            return Err(CommandError::NotOpen);
        }
        if channel.out.queue().len() >= QUEUE_MAX {
            return Err(CommandError::Full("payments"));
        }
        let left = channel.spendable().saturating_sub(channel.queued());
        if amount > left {
            return Err(CommandError::TooMuch(left));
        }
        channel.out.push(Pending::Pay {
            request: Some(request),
            amount,
            memo,
        });
        self.be_patient(id);
        self.pump(id);
        Ok(())
    }

    /// Signs the next message if none is under way.
    pub(super) fn pump(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if channel.out.is_under_way() || channel.out.queue().is_empty() {
            return;
        }
        if !channel.may_sign() {
            let may_yet = channel.is_open()
                && !channel.recovering
                && channel.order.is_none()
                && !channel.session.established;
            if !may_yet {
                self.fail_queue(id);
            }
            return;
        }
        channel.out.patience = None;
        if matches!(
            channel.out.queue().front(),
            Some(Pending::Add(_) | Pending::Remove(..))
        ) {
            self.pump_locks(id);
            return;
        }
        let limit = channel.spendable();
        let (mut asked, mut sum, mut memo) = (Vec::new(), 0_u128, Vec::new());
        while let Some(Pending::Pay {
            amount, memo: word, ..
        }) = channel.out.queue().front()
        {
            let next = sum.saturating_add(*amount);
            // A memo speaks of one payment, so that one goes alone.
            if next > limit || (sum > 0 && !(word.is_empty() && memo.is_empty())) {
                break;
            }
            sum = next;
            if let Some(Pending::Pay {
                request,
                memo: word,
                ..
            }) = channel.out.pop()
            {
                asked.extend(request);
                memo = word;
            }
        }
        if sum == 0 {
            // The deposit fell under what was asked for.
            self.fail_queue(id);
            return;
        }
        let state = State {
            seq: channel.out.state.seq.saturating_add(1),
            paid: channel.out.state.paid.saturating_add(sum),
            ..channel.out.state
        };
        channel.out.state = state;
        channel.out.changes = Vec::new();
        channel.out.memo = memo;
        channel.out.asked.clone_from(&asked);
        let record = record::out(channel);
        self.persist(record);
        self.send_update(id);
        for request in asked {
            self.answer(
                request,
                Answer::Signed {
                    channel: id,
                    seq: state.seq,
                },
            );
        }
        let first = self.first_resend();
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.out.resend = Some(first);
        }
        self.reschedule(id);
    }

    /// Who is not met yet may be met in the next seconds.
    pub(super) fn be_patient(&mut self, id: ChannelId) {
        let until = self.now.instant + PATIENCE;
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if channel.session.established || channel.out.patience.is_some() {
            return;
        }
        channel.out.patience = Some(until);
        let peer = channel.peer;
        if self.reachable.contains(&peer) {
            self.greet(id);
        } else {
            self.outputs.push_back(Output::OpenPath { to: peer });
        }
        self.reschedule(id);
    }

    /// Nobody came: nothing was paid.
    pub(super) fn lose_patience(&mut self, id: ChannelId) {
        let now = self.now.instant;
        let is_over = self.channels.get(&id).is_some_and(|channel| {
            channel.out.patience.is_some_and(|until| until <= now) && !channel.session.established
        });
        if is_over {
            self.fail_queue(id);
        }
    }

    /// Nothing of what waits was signed: nothing was paid.
    pub(super) fn fail_queue(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let reason = if channel.session.established {
            Refusal::Closing
        } else {
            Refusal::NotEstablished
        };
        channel.out.patience = None;
        for pending in channel.out.take_queue() {
            match pending {
                Pending::Pay { request, .. } => {
                    if let Some(request) = request {
                        let failed = Answer::Failed {
                            channel: id,
                            reason,
                        };
                        self.answer(request, failed);
                    }
                }
                Pending::Add(lock) => self.lock_failed(&lock, reason),
                // The lock stays; its end is asked for again when it is due.
                Pending::Remove(..) => {}
            }
        }
    }

    /// Sends the message under way, whose content is on disk or waits before it in the queue.
    pub(super) fn send_update(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let typed = typed_state(id, channel.epoch, channel.me(), &channel.out.state);
        let update = Update {
            channel: id.tag(),
            session: channel.session_tag(self.nonce),
            state: channel.out.state,
            signature: self.signer.sign(&typed),
            changes: channel.out.changes.clone(),
            memo: channel.out.memo.clone(),
        };
        self.send(channel.peer, PaymentMessage::Update(update));
    }

    /// Offers again at once what is under way, because the path is new.
    pub(super) fn resend_now(&mut self, id: ChannelId) {
        let first = self.first_resend();
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if channel.out.is_under_way() && channel.session.established {
            channel.out.resend = Some(first);
            self.send_update(id);
        }
    }

    pub(super) fn resend_update(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(last) = channel
            .out
            .resend
            .filter(|last| last.at <= self.now.instant)
        else {
            return;
        };
        let is_due = channel.out.is_under_way()
            && channel.session.established
            && self.reachable.contains(&channel.peer);
        let next = is_due.then(|| self.next_resend(last));
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.out.resend = next;
        }
        if is_due {
            self.send_update(id);
        }
    }

    pub(super) fn handle_update(&mut self, from: Address, m: Update) {
        let Some(id) = self.find(from, m.channel) else {
            self.refuse(from, m.channel, m.state.seq, Refusal::UnknownChannel);
            return;
        };
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        if !channel.session.established || channel.session_tag(self.nonce) != m.session {
            self.refuse(from, m.channel, m.state.seq, Refusal::NotEstablished);
            return;
        }
        let newest = channel.inc.state();
        let signed = SignedState {
            state: m.state,
            signature: m.signature,
        };
        if m.state == newest {
            // Our confirmation was lost.
            self.counters.old = self.counters.old.saturating_add(1);
            self.confirm(id, m.session, m.state.seq);
            return;
        }
        if m.state.seq == newest.seq && newest.seq != 0 {
            self.note_contradiction(id, signed);
            return;
        }
        if m.state.seq < newest.seq {
            self.counters.old = self.counters.old.saturating_add(1);
            self.refuse(from, m.channel, m.state.seq, Refusal::OldNumber);
            return;
        }
        let outcome = if newest.seq.checked_add(1) == Some(m.state.seq) {
            channel
                .changed_locks(&m.changes)
                .and_then(|locks| self.accept(id, signed, locks, m.memo))
        } else {
            Err(Refusal::Gap)
        };
        match outcome {
            Ok(()) => self.confirm(id, m.session, m.state.seq),
            Err(reason) => {
                self.counters.refused = self.counters.refused.saturating_add(1);
                self.refuse(from, m.channel, m.state.seq, reason);
            }
        }
    }

    fn confirm(&mut self, id: ChannelId, session: SessionTag, seq: u64) {
        if let Some(channel) = self.channels.get(&id) {
            let accepted = PaymentMessage::Accepted {
                channel: id.tag(),
                session,
                seq,
            };
            self.send(channel.peer, accepted);
        }
    }

    /// Judges the partner's next message and, if it is good, makes it the newest; everything after waits for the disk.
    pub(super) fn accept(
        &mut self,
        id: ChannelId,
        signed: SignedState,
        locks: Vec<Lock>,
        memo: Vec<u8>,
    ) -> Result<(), Refusal> {
        let (clock, skew) = (self.chain_clock(), self.config.skew);
        let channel = self.channels.get(&id).ok_or(Refusal::UnknownChannel)?;
        let typed = typed_state(id, channel.epoch, channel.partner(), &signed.state);
        if !self
            .signer
            .is_by(channel.partner(), &typed, &signed.signature)
        {
            self.counters.bad_signatures = self.counters.bad_signatures.saturating_add(1);
            return Err(Refusal::BadSignature);
        }
        let amount = channel.judge(&signed.state, &locks, clock, skew)?;
        let channel = self.channels.get_mut(&id).ok_or(Refusal::UnknownChannel)?;
        let before = channel.inc.state();
        let have_locks_changed = channel.inc.locks != locks;
        channel.inc.last_lock = locks
            .iter()
            .map(|lock| lock.added.id)
            .fold(channel.inc.last_lock, u64::max);
        channel.inc.locks = locks;
        channel.inc.newest = Some(signed);
        let state = signed.state;
        if (state.tip, state.unit, state.max) != (before.tip, before.unit, before.max) {
            channel.inc.ticks = 0;
            channel.inc.preimage = state.tip;
        }
        let from = channel.peer;
        let record = record::inc(channel);
        let lock_record = have_locks_changed.then(|| record::inc_locks(channel));
        self.persist(record);
        if let Some(record) = lock_record {
            self.persist(record);
        }
        self.watch_later(id);
        if have_locks_changed {
            self.look_at_locks(id);
        }
        if amount > 0 {
            self.tell(Event::Received {
                channel: id,
                from,
                amount,
                seq: state.seq,
                memo,
            });
        }
        Ok(())
    }

    /// The partner signed another message with the number of its newest one: the proof is kept.
    fn note_contradiction(&mut self, id: ChannelId, signed: SignedState) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let peer = channel.peer;
        let typed = typed_state(id, channel.epoch, channel.partner(), &signed.state);
        let is_signed = self
            .signer
            .is_by(channel.partner(), &typed, &signed.signature);
        let mut record = None;
        if is_signed && channel.inc.contradiction.is_none() {
            channel.inc.contradiction = Some(signed);
            record = Some(record::inc(channel));
        }
        if let Some(record) = record {
            self.persist(record);
            self.tell(Event::Contradicted(id));
        }
        self.counters.refused = self.counters.refused.saturating_add(1);
        let reason = if is_signed {
            Refusal::Contradiction
        } else {
            Refusal::BadSignature
        };
        self.refuse(peer, id.tag(), signed.state.seq, reason);
    }

    pub(super) fn handle_accepted(
        &mut self,
        from: Address,
        tag: ChannelTag,
        session: SessionTag,
        seq: u64,
    ) {
        let Some(id) = self.find(from, tag) else {
            return;
        };
        let is_ours = self.channels.get(&id).is_some_and(|channel| {
            channel.session_tag(self.nonce) == session
                && channel.out.state.seq == seq
                && channel.out.is_under_way()
        });
        if is_ours {
            self.note_arrived(id);
            self.pump(id);
        }
    }

    /// The partner has the newest message on disk.
    pub(super) fn note_arrived(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let out = &mut channel.out;
        out.arrived = out.state.seq;
        out.arrived_paid = out.state.paid;
        out.resend = None;
        let seq = out.arrived;
        for request in std::mem::take(&mut out.asked) {
            self.answer(request, Answer::Arrived { channel: id, seq });
        }
        self.tell(Event::Changed(id));
        self.reschedule(id);
    }

    pub(super) fn handle_refused(
        &mut self,
        from: Address,
        tag: ChannelTag,
        seq: u64,
        reason: Refusal,
    ) {
        let Some(id) = self.find(from, tag) else {
            self.refuse_opening(from, reason);
            return;
        };
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if seq == 0 {
            // An order that both would have to sign.
            self.handle_order_refused(id, reason);
            return;
        }
        if seq != channel.out.state.seq || !channel.out.is_under_way() {
            return;
        }
        if matches!(reason, Refusal::NotEstablished | Refusal::Gap) {
            channel.session.established = false;
            self.greet(id);
        } else {
            self.tell(Event::Waiting {
                channel: id,
                reason,
            });
        }
    }
}
