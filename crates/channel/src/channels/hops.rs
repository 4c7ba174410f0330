//! Payments over several hops: point locks, so that no two hops see the same secret and none can be skipped.
//!
//! The payee makes a secret t and gives its point T. The payer draws a scalar y for each relay: the last lock asks for t, each one before
//! it for y more. A relay that learns the secret of the lock it gave adds its own y and has that of the lock it got. Expiries fall
//! towards the payee, each relay's by what it says that it needs to reach the chain. The payer tells each relay its part over their own
//! flow, end to end: relays know the payer, and their two neighbours, and nothing else.

use alloy_primitives::Address as Account;
use smartmesh_crypto::{AccountKey, CurvePoint};
use smartmesh_types::{Address, Duration, Instant, RequestId};
use smartmesh_wire::payment::{AddedLock, PaymentMessage, Refusal, Relay};

use super::{Channels, Due};
use crate::balance::AMOUNT_LIMIT;
use crate::border::{Answer, CommandError, Event, Hop, Output};
use crate::channel::{ChannelId, Pending};
use crate::locks::{Lock, Source};

/// Payments over several hops under way at most.
const JOURNEYS_MAX: usize = 256;
/// Invoices open at most; the oldest make room.
const INVOICES_MAX: usize = 1_024;
/// Instructions kept at most; the oldest make room.
const RELAYS_MAX: usize = 4_096;
/// Relays of one payment at most: each adds its time to the locks.
const HOPS_MAX: usize = 20;
/// How long an instruction waits for its lock, and a lock for its instruction.
const MEETING: Duration = Duration::from_secs(60);
/// How long an invoice is taken, seconds.
const INVOICE_LIFE: u64 = 86_400;
/// How long the payer looks for the payee and the relays before anything is signed.
const LOOKING: Duration = Duration::from_secs(20);

/// A payment that this phone makes.
#[derive(Clone, Debug)]
pub(super) struct Journey {
    request: RequestId,
    hops: Vec<Hop>,
    token: Account,
    amount: u128,
    began: Instant,
    /// Once the payee gave its point: instructions, the first lock's channel, point and what it costs.
    set: Option<Set>,
}

#[derive(Clone, Debug)]
struct Set {
    relays: Vec<(Address, Relay)>,
    point: Account,
    cost: u128,
}

/// What this phone let somebody pay it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Invoice {
    secret: [u8; 32],
    token: Account,
    amount: u128,
    expires: u64,
}

fn fee_of(hop: &Hop, amount: u128) -> u128 {
    let share = amount
        .saturating_mul(u128::from(hop.fee.1))
        .div_ceil(1_000_000);
    u128::from(hop.fee.0).saturating_add(share)
}

impl Channels {
    pub(super) fn command_pay_over(
        &mut self,
        request: RequestId,
        hops: Vec<Hop>,
        token: Account,
        amount: u128,
    ) -> Result<(), CommandError> {
        if amount == 0 || amount >= AMOUNT_LIMIT {
            return Err(CommandError::Amount);
        }
        if hops.len() < 2 || hops.len() > HOPS_MAX {
            return Err(CommandError::TooLong("the way"));
        }
        if self.journeys.len() >= JOURNEYS_MAX {
            return Err(CommandError::Full("payments over several hops"));
        }
        let (Some(first), Some(payee)) = (hops.first().copied(), hops.last().copied()) else {
            return Err(CommandError::TooLong("the way"));
        };
        let id = self
            .channel_with(first.peer, token)
            .ok_or(CommandError::UnknownChannel)?;
        let relays = hops.len().saturating_sub(1);
        let cost = hops
            .iter()
            .take(relays)
            .rev()
            .fold(amount, |sum, hop| sum.saturating_add(fee_of(hop, sum)));
        let channel = self.channels.get(&id).ok_or(CommandError::UnknownChannel)?;
        if channel.recovering {
            return Err(CommandError::Recovering);
        }
        let left = channel.spendable().saturating_sub(channel.queued());
        if cost > left {
            return Err(CommandError::TooMuch(left));
        }
        let name = self.rng.bytes();
        let journey = Journey {
            request,
            hops,
            token,
            amount,
            began: self.now.instant,
            set: None,
        };
        self.journeys.insert(name, journey);
        self.reach(payee.peer);
        self.journey_due(name);
        self.be_patient(id);
        Ok(())
    }

    fn reach(&mut self, peer: Address) {
        if !self.reachable.contains(&peer) {
            self.outputs.push_back(Output::OpenPath { to: peer });
        }
    }

    /// Asks again for the invoice, or gives up looking.
    pub(super) fn journey_due(&mut self, name: [u8; 8]) {
        let Some(journey) = self.journeys.get(&name) else {
            return;
        };
        let is_over = self.now.instant.since(journey.began) > LOOKING;
        let at = self.now.instant + self.config.resend.saturating_mul(4);
        match &journey.set {
            None if is_over => {
                let request = journey.request;
                self.journeys.remove(&name);
                let reason = Refusal::NotEstablished;
                self.answer(request, Answer::NotPaid { reason });
                return;
            }
            None => {
                let payee = journey.hops.last().map(|hop| hop.peer);
                let wanted = PaymentMessage::InvoiceWanted {
                    id: name,
                    token: journey.token.0.0,
                    amount: journey.amount,
                };
                if let Some(payee) = payee.filter(|payee| self.reachable.contains(payee)) {
                    self.send(payee, wanted);
                }
            }
            Some(set) => {
                let relays = set.relays.clone();
                for (to, relay) in relays {
                    self.send_relay(to, relay);
                }
                if is_over {
                    return;
                }
            }
        }
        self.schedule(Due::Journey(name), Some(at));
    }

    fn send_relay(&mut self, to: Address, relay: Relay) {
        self.reach(to);
        self.send(to, PaymentMessage::Relay(relay));
    }

    pub(super) fn handle_invoice_wanted(
        &mut self,
        from: Address,
        id: [u8; 8],
        token: [u8; 20],
        amount: u128,
    ) {
        let mut name = from.octets().to_vec();
        name.extend(id);
        name.extend(amount.to_be_bytes());
        let secret = self.signer.secret(&name);
        let Ok(key) = AccountKey::from_bytes(secret) else {
            return;
        };
        let clock = self.chain_clock();
        if self.invoices.len() >= INVOICES_MAX {
            self.invoices.retain(|_, invoice| invoice.expires > clock);
            if self.invoices.len() >= INVOICES_MAX {
                self.invoices.pop_first();
            }
        }
        let expires = clock.saturating_add(INVOICE_LIFE);
        self.invoices.insert(
            Account::from(key.address()),
            Invoice {
                secret,
                token: Account::new(token),
                amount,
                expires,
            },
        );
        let invoice = PaymentMessage::Invoice {
            id,
            point: key.public().to_bytes(),
            account: self.signer.me.0.0,
            expires,
        };
        self.send(from, invoice);
    }

    /// The payee's point: every lock follows from it.
    pub(super) fn handle_invoice(&mut self, from: Address, name: [u8; 8], point: &[u8; 33]) {
        let Some(journey) = self.journeys.get(&name) else {
            return;
        };
        let is_payee = journey.hops.last().is_some_and(|hop| hop.peer == from);
        let (true, None, Ok(point)) = (is_payee, &journey.set, CurvePoint::from_bytes(point))
        else {
            return;
        };
        let journey = journey.clone();
        let step = |reach: u32| u64::from(reach).saturating_add(self.config.skew.saturating_mul(2));
        let clock = self.chain_clock();
        let mut hops = journey.hops.iter().rev();
        let Some(payee) = hops.next() else {
            return;
        };
        let (mut next, mut point) = (payee.peer, point);
        let mut amount = journey.amount;
        let mut expiry = clock.saturating_add(step(payee.reach));
        let mut relays = Vec::new();
        for hop in hops {
            let tweak: [u8; 32] = self.rng.bytes();
            let Ok(before) = point.plus(&tweak) else {
                return;
            };
            let relay = Relay {
                token: journey.token.0.0,
                incoming: before.address(),
                next: next.octets(),
                point: point.to_bytes(),
                tweak,
                amount,
                expiry,
            };
            relays.push((hop.peer, relay));
            amount = amount.saturating_add(fee_of(hop, amount));
            expiry = expiry
                .saturating_add(u64::from(hop.reach))
                .saturating_add(self.config.skew.saturating_mul(2));
            (next, point) = (hop.peer, before);
        }
        let set = Set {
            relays: relays.clone(),
            point: Account::from(point.address()),
            cost: amount,
        };
        let Some(id) = self.channel_with(next, journey.token) else {
            return;
        };
        if let Some(journey) = self.journeys.get_mut(&name) {
            journey.set = Some(set.clone());
        }
        for (to, relay) in relays {
            self.send_relay(to, relay);
        }
        self.add_lock(id, set.point, (amount, expiry), None);
        let locked = Answer::Locked {
            amount,
            until: expiry,
        };
        self.answer(journey.request, locked);
        let at = self.now.instant + self.config.resend.saturating_mul(4);
        self.schedule(Due::Journey(name), Some(at));
    }

    fn add_lock(
        &mut self,
        id: ChannelId,
        point: Account,
        terms: (u128, u64),
        source: Option<Source>,
    ) {
        let mut condition = vec![2];
        condition.extend_from_slice(point.as_slice());
        let (amount, expiry) = terms;
        let mut lock = Lock::new(AddedLock {
            id: 0,
            amount,
            expiry,
            condition,
            instructions: Vec::new(),
        });
        lock.source = source;
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.out.push(Pending::Add(lock));
            self.be_patient(id);
            self.pump(id);
        }
    }

    pub(super) fn handle_relay(&mut self, m: &Relay) {
        if self.relays.len() >= RELAYS_MAX {
            let now = self.now.instant;
            self.relays.retain(|_, (_, until)| *until > now);
            if self.relays.len() >= RELAYS_MAX {
                return;
            }
        }
        let point = CurvePoint::from_bytes(&m.point).and_then(|point| point.plus(&m.tweak));
        // Whoever tells must know what leads from the one point to the other.
        if !point.is_ok_and(|point| point.address() == m.incoming) {
            self.counters.unexpected = self.counters.unexpected.saturating_add(1);
            return;
        }
        let until = self.now.instant + MEETING;
        self.relays
            .entry(Account::new(m.incoming))
            .or_insert((*m, until));
        let waiting: Vec<ChannelId> = self
            .channels
            .iter()
            .filter(|(_, channel)| !channel.inc.locks.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.look_at_locks(id);
        }
    }

    /// What to do with the partner's locks that are not decided.
    pub(super) fn look_at_locks(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let slot = channel.slot;
        let token = channel.terms.token;
        let open: Vec<Lock> = channel
            .inc
            .locks
            .iter()
            .filter(|lock| lock.secret.is_none() && !lock.released)
            .cloned()
            .collect();
        for lock in open {
            let Some((2, point)) = lock.added.condition.split_first() else {
                continue;
            };
            let point = Account::from_slice(point);
            if let Some(invoice) = self.invoices.get(&point).copied() {
                self.take_invoiced(id, &lock, &invoice, token);
            } else if let Some((relay, _)) = self.relays.get(&point).copied() {
                let source = Source {
                    slot,
                    lock: lock.added.id,
                    tweak: relay.tweak,
                };
                if self.is_handed_on(&source) {
                    continue;
                }
                match self.judge_relay(id, &lock, &relay) {
                    Ok(next) => {
                        let point = CurvePoint::from_bytes(&relay.point)
                            .map_or(Account::ZERO, |point| Account::from(point.address()));
                        self.add_lock(next, point, (relay.amount, relay.expiry), Some(source));
                    }
                    Err(reason) => self.release(id, lock.added.id, reason),
                }
            }
        }
    }

    fn is_handed_on(&self, source: &Source) -> bool {
        self.channels.values().any(|channel| {
            let waits = channel.out.queue().iter().any(
                |pending| matches!(pending, Pending::Add(lock) if lock.source == Some(*source)),
            );
            waits
                || channel
                    .out
                    .locks
                    .iter()
                    .any(|lock| lock.source == Some(*source))
        })
    }

    /// Our own invoice is being paid: enough, in our token, with time to reach the chain.
    fn take_invoiced(&mut self, id: ChannelId, lock: &Lock, invoice: &Invoice, token: Account) {
        let clock = self.chain_clock();
        let needed = clock
            .saturating_add(u64::from(self.config.reach))
            .saturating_add(self.config.skew);
        let is_good = lock.added.amount >= invoice.amount
            && token == invoice.token
            && clock < invoice.expires
            && (lock.added.expiry > needed || self.may_lend(id, lock.added.amount));
        if is_good {
            self.claim(id, lock.added.id, invoice.secret);
            self.tell(Event::ReceivedOver {
                channel: id,
                amount: lock.added.amount,
            });
        } else {
            self.release(id, lock.added.id, Refusal::BadLock);
        }
    }

    /// Whether a lock with less time than this phone needs may be taken on credit.
    fn may_lend(&self, id: ChannelId, amount: u128) -> bool {
        let reach = u64::from(self.config.reach).saturating_add(self.config.skew);
        let clock = self.chain_clock();
        let lent = self.channels.get(&id).map_or(0, |channel| {
            channel
                .inc
                .locks
                .iter()
                .filter(|lock| {
                    lock.secret.is_some() && lock.added.expiry <= clock.saturating_add(reach)
                })
                .fold(0_u128, |sum, lock| sum.saturating_add(lock.added.amount))
        });
        lent.saturating_add(amount) <= self.config.lending_max
    }

    /// Where a lock is handed on, if its fee and its time are enough.
    fn judge_relay(&self, id: ChannelId, lock: &Lock, relay: &Relay) -> Result<ChannelId, Refusal> {
        let token = Account::new(relay.token);
        let channel = self.channels.get(&id).ok_or(Refusal::UnknownChannel)?;
        let next = Address::from_octets(relay.next).ok_or(Refusal::BadLock)?;
        let next = self
            .channel_with(next, token)
            .filter(|next| *next != id && token == channel.terms.token)
            .ok_or(Refusal::UnknownChannel)?;
        let own = Hop {
            peer: self.own,
            fee: self.config.fee,
            reach: self.config.reach,
        };
        let least = relay.amount.saturating_add(fee_of(&own, relay.amount));
        if lock.added.amount < least {
            return Err(Refusal::BadTerms);
        }
        let gap = lock.added.expiry.saturating_sub(relay.expiry);
        let needed = u64::from(self.config.reach).saturating_add(self.config.skew);
        if gap < needed && !self.may_lend(id, lock.added.amount) {
            return Err(Refusal::BadLock);
        }
        if relay.expiry <= self.chain_clock().saturating_add(self.config.skew) {
            return Err(Refusal::BadLock);
        }
        let onward = self.channels.get(&next).ok_or(Refusal::UnknownChannel)?;
        if relay.amount > onward.spendable().saturating_sub(onward.queued()) {
            return Err(Refusal::Overspent);
        }
        Ok(next)
    }

    /// The secret of a lock that we gave: whoever gave us one for it is asked in turn; or our payment is made.
    pub(super) fn hand_back(&mut self, lock: &Lock, secret: &[u8; 32]) {
        let Some(source) = lock.source else {
            if let Some((name, cost)) = self.journey_of(lock)
                && let Some(journey) = self.journeys.remove(&name)
            {
                self.schedule(Due::Journey(name), None);
                self.answer(journey.request, Answer::Paid { amount: cost });
            }
            return;
        };
        let before = AccountKey::from_bytes(*secret).and_then(|key| key.plus(&source.tweak));
        let (Some(id), Ok(before)) = (self.by_slot(source.slot), before) else {
            return;
        };
        let came = self.channels.get(&id).and_then(|channel| {
            let mut locks = channel.inc.locks.iter();
            locks
                .find(|incoming| incoming.added.id == source.lock)
                .map(|incoming| incoming.added.amount)
        });
        self.claim(id, source.lock, before.reveal());
        if let Some(came) = came {
            self.tell(Event::Relayed {
                channel: id,
                earned: came.saturating_sub(lock.added.amount),
            });
        }
    }

    /// A lock that we gave or wanted to give came to nothing: what pays for it is released.
    pub(super) fn lock_failed(&mut self, lock: &Lock, reason: Refusal) {
        match lock.source {
            Some(source) => {
                if let Some(id) = self.by_slot(source.slot) {
                    self.release(id, source.lock, reason);
                }
            }
            None => {
                if let Some((name, _)) = self.journey_of(lock)
                    && let Some(journey) = self.journeys.remove(&name)
                {
                    self.schedule(Due::Journey(name), None);
                    self.answer(journey.request, Answer::NotPaid { reason });
                }
            }
        }
    }

    fn journey_of(&self, lock: &Lock) -> Option<([u8; 8], u128)> {
        let (_, point) = lock.added.condition.split_first()?;
        self.journeys.iter().find_map(|(name, journey)| {
            let set = journey.set.as_ref()?;
            (set.point.as_slice() == point).then_some((*name, set.cost))
        })
    }

    fn by_slot(&self, slot: u32) -> Option<ChannelId> {
        self.channels
            .values()
            .find(|channel| channel.slot == slot)
            .map(|channel| channel.id)
    }
}
