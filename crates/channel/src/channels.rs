//! The core itself: who holds what, and which part handles which input.

mod agree;
mod chain;
mod dispute;
mod establish;
mod hold;
mod hops;
mod open;
mod pay;
mod tower;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alloy_primitives::Address as Account;
use smartmesh_contracts::WordPhase;
use smartmesh_contracts::model::Side;
use smartmesh_crypto::{AccountKey, Rng, Seed};
use smartmesh_types::{Address, Duration, Instant, Now, RequestId};
use smartmesh_wire::payment::{ChannelTag, PaymentMessage, Refusal, Relay};

use crate::border::{
    Answer, ChainFact, ChannelInfo, ChannelPhase, Command, CommandError, Event, Input, Output,
    Record,
};
use crate::calls::Signer;
use crate::channel::{Channel, ChannelId, Resend};
use crate::config::{Config, Start};
use crate::onchain::FINAL_DEPTH;
use crate::record::{self, RestoreError};
use hops::{Invoice, Journey};
use open::Opening;
pub(crate) use tower::Tower;
use tower::Watching;

/// Channels of one node at most; each takes about a kilobyte.
const CHANNELS_MAX: usize = 100_000;
/// Introductions of this node under way at most.
const OPENINGS_MAX: usize = 64;
/// Peers with a path at once at most; of more, the core hears nothing.
const REACHABLE_MAX: usize = 65_536;
/// Timers run in one `handle`, so that its work is bounded; the others are due at once again.
const TIMERS_PER_CALL: usize = 1_024;
/// The longest pause before something is sent again, as a multiple of the first.
const PAUSES_MAX: u32 = 64;

/// What was dropped, by kind; only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages about channels that are not known, or from who is no party.
    pub strangers: u64,
    /// Messages with a signature that is not the payer's.
    pub bad_signatures: u64,
    /// Updates that were here already, or older ones.
    pub old: u64,
    /// Updates refused for any other reason.
    pub refused: u64,
    /// Messages that make no sense where the channel stands.
    pub unexpected: u64,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Channel(ChannelId),
    Opening(Address, Account),
    Journey([u8; 8]),
    Bring([u8; 8]),
}

/// The last block told.
#[derive(Clone, Copy, Debug)]
struct Head {
    block: u64,
    time: u64,
    at: Instant,
}

/// Every channel of this node.
#[derive(Debug)]
pub struct Channels {
    config: Config,
    own: Address,
    signer: Signer,
    /// Random at each start.
    nonce: [u8; 8],
    channels: BTreeMap<ChannelId, Channel>,
    by_tag: BTreeMap<(Address, ChannelTag), ChannelId>,
    openings: BTreeMap<(Address, Account), Opening>,
    /// Payments over several hops that this phone makes, by their names.
    journeys: BTreeMap<[u8; 8], Journey>,
    /// What this phone let others pay it, by the account of the point.
    invoices: BTreeMap<Account, Invoice>,
    /// What to do with locks that come, by the account of their point.
    relays: BTreeMap<Account, (Relay, Instant)>,
    rng: Rng,
    watching: Watching,
    reachable: BTreeSet<Address>,
    /// Channels of which something is above the final block, or that are closing.
    lively: BTreeSet<ChannelId>,
    head: Option<Head>,
    /// Heads that are not final, and the last one that is: number and time.
    heads: VecDeque<(u64, u64)>,
    /// Up to which block everything is in the records.
    cursor: (u64, u64),
    /// When this phone was restored, if it was: chain seconds by its own clock.
    restored_at: Option<u64>,
    due: BTreeSet<(Instant, Due)>,
    due_at: BTreeMap<Due, Instant>,
    outputs: VecDeque<Output>,
    next_slot: u32,
    counters: Counters,
    now: Now,
}

impl Channels {
    /// Starts without any record. `own` is this node's mesh address; `key` is this installation's channel key.
    pub fn new(config: Config, own: Address, key: AccountKey, seed: &Seed, now: Now) -> Self {
        let mut core = Self::empty(config, own, key, seed, now);
        core.persist(record::header());
        core
    }

    /// Starts from what an earlier start persisted, in any order.
    ///
    /// # Errors
    /// If a record is damaged or of a later version.
    pub fn restore(
        config: Config,
        own: Address,
        key: AccountKey,
        seed: &Seed,
        records: impl IntoIterator<Item = Record>,
        now: Now,
    ) -> Result<Self, RestoreError> {
        let restored = record::restore(records)?;
        let mut core = Self::empty(config, own, key, seed, now);
        core.persist(record::header());
        core.cursor = restored.cursor.unwrap_or_default();
        if config.start == Start::Restored {
            core.restored_at = Some(now.unix.as_secs());
        }
        for mut channel in restored.channels {
            let forgets = config.start == Start::Restored && !channel.recovering;
            channel.recovering |= forgets;
            core.next_slot = core.next_slot.max(channel.slot.saturating_add(1));
            let id = channel.id;
            if channel.chain.base.word.phase == WordPhase::Closing {
                core.lively.insert(id);
            }
            core.by_tag.insert((channel.peer, id.tag()), id);
            if forgets {
                core.persist(record::chain(&channel));
            }
            core.channels.insert(id, channel);
        }
        core.watching.towers = restored.towers;
        for (slot, watch, view) in restored.hints {
            core.restore_hint(slot, watch, view);
        }
        Ok(core)
    }

    fn empty(config: Config, own: Address, key: AccountKey, seed: &Seed, now: Now) -> Self {
        Self {
            signer: Signer::new(key, &config.chain),
            config,
            own,
            nonce: seed.rng().bytes(),
            channels: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            openings: BTreeMap::new(),
            journeys: BTreeMap::new(),
            invoices: BTreeMap::new(),
            relays: BTreeMap::new(),
            rng: seed.split("draws").rng(),
            watching: Watching::default(),
            reachable: BTreeSet::new(),
            lively: BTreeSet::new(),
            head: None,
            heads: VecDeque::new(),
            cursor: (0, 0),
            restored_at: None,
            due: BTreeSet::new(),
            due_at: BTreeMap::new(),
            outputs: VecDeque::new(),
            next_slot: 0,
            counters: Counters::default(),
            now,
        }
    }

    /// Takes one input.
    ///
    /// # Errors
    /// If a command cannot be carried out; the state is as before.
    pub fn handle(&mut self, input: Input, now: Now) -> Result<(), CommandError> {
        self.now = now;
        match input {
            Input::Received { from, message } => self.handle_message(from, message),
            Input::PathUp { peer } => self.handle_path_up(peer),
            Input::PathDown { peer } => {
                self.reachable.remove(&peer);
            }
            Input::Chain(fact) => match fact {
                ChainFact::Log {
                    block,
                    index,
                    event,
                } => self.handle_log(block, index, &event),
                ChainFact::Head { block, time } => self.handle_head(block, time),
                ChainFact::Rollback { to } => self.handle_rollback(to),
            },
            Input::Command(request, command) => return self.handle_command(request, command),
            Input::Tick => {}
        }
        self.run_timers();
        Ok(())
    }

    /// The next thing to be done, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Channels::handle`] with [`Input::Tick`] at the latest; not later than now while outputs are queued.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(Instant::ZERO);
        }
        self.due.first().map(|(at, _)| *at)
    }

    /// The block up to which everything is in the records: logs above it must be told again after a start.
    #[must_use]
    pub fn chain_cursor(&self) -> u64 {
        self.cursor.0
    }

    /// This installation's channel key, as its account.
    #[must_use]
    pub fn account(&self) -> Account {
        self.signer.me
    }

    /// What was dropped so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Every channel, as the user sees it.
    pub fn channels(&self) -> impl Iterator<Item = ChannelInfo> + '_ {
        self.channels.values().map(|channel| self.info_of(channel))
    }

    /// One channel, as the user sees it.
    #[must_use]
    pub fn channel(&self, id: ChannelId) -> Option<ChannelInfo> {
        self.channels.get(&id).map(|channel| self.info_of(channel))
    }

    /// The channel with somebody in some token that has most to spend.
    #[must_use]
    pub fn channel_with(&self, peer: Address, token: Account) -> Option<ChannelId> {
        self.channels
            .values()
            .filter(|channel| channel.peer == peer && channel.terms.token == token)
            .max_by_key(|channel| channel.spendable())
            .map(|channel| channel.id)
    }

    /// Chain seconds as this phone can best tell: the last block's time and what has passed since, else its own clock.
    #[must_use]
    pub fn chain_clock(&self) -> u64 {
        match self.head {
            Some(head) => head
                .time
                .saturating_add(self.now.instant.since(head.at).as_secs()),
            None => self.now.unix.as_secs().max(self.cursor.1),
        }
    }

    fn info_of(&self, channel: &Channel) -> ChannelInfo {
        let seen = &channel.chain.seen.word;
        let clamp = |amount: i128| u128::try_from(amount).unwrap_or(0);
        // What the chain has paid out is in the accounts, even while it is not final yet.
        let paid_out = seen.epoch > channel.epoch;
        ChannelInfo {
            id: channel.id,
            terms: channel.terms,
            peer: channel.peer,
            epoch: channel.epoch,
            phase: self.phase_of(channel),
            established: channel.session.established,
            recovering: channel.recovering,
            our_deposit: channel.deposit_of(channel.side),
            their_deposit: channel.deposit_of(channel.side.other()),
            pending_total: seen.low.saturating_add(seen.high),
            sent: channel.out.state.paid,
            unconfirmed: channel
                .out
                .state
                .paid
                .saturating_sub(channel.out.arrived_paid),
            received: channel.inc.state().paid,
            locked_out: channel.out.state.locked,
            locked_in: channel.inc.state().locked,
            spendable: if paid_out { 0 } else { channel.spendable() },
            balance: if paid_out {
                0
            } else {
                clamp(channel.balance())
            },
            reserved: channel.reserved_of(channel.side),
        }
    }

    fn phase_of(&self, channel: &Channel) -> ChannelPhase {
        match (channel.chain.seen.word.phase, channel.chain.seen.closing) {
            (WordPhase::Closing, Some(record)) => {
                let clock = self.chain_clock();
                let until = channel.chain.seen.word.time;
                let settle = dispute::settle_time(channel, until, &record);
                if clock < until {
                    ChannelPhase::Challenge { until }
                } else if clock < settle {
                    ChannelPhase::Unlocking { until: settle }
                } else {
                    ChannelPhase::Settling
                }
            }
            (WordPhase::Closing | WordPhase::Open, _) if channel.order.is_some() => {
                ChannelPhase::Ending
            }
            (WordPhase::Closing | WordPhase::Open, _) if channel.is_open() => ChannelPhase::Open,
            (WordPhase::None, _) if channel.chain.seen.word.epoch > 0 => ChannelPhase::Settled,
            (WordPhase::Closing | WordPhase::Open | WordPhase::None, _) => ChannelPhase::Opening,
        }
    }

    fn handle_command(&mut self, request: RequestId, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Open {
                peer,
                token,
                deposit,
            } => self.command_open(request, peer, token, deposit),
            Command::Deposit { channel, amount } => self.command_deposit(request, channel, amount),
            Command::Pay {
                channel,
                amount,
                memo,
            } => self.command_pay(request, channel, amount, memo),
            Command::PayOver {
                hops,
                token,
                amount,
            } => self.command_pay_over(request, hops, token, amount),
            Command::NameTower { peer, agent, fee } => {
                self.command_tower(request, Tower { peer, agent, fee })
            }
            Command::Bring { to, call } => self.command_bring(request, to, call),
            Command::Withdraw {
                channel,
                amount,
                to,
                agent,
                fee,
            } => self.command_withdraw(request, channel, amount, to, (agent, fee)),
            Command::CloseTogether {
                channel,
                agent,
                fee,
            } => self.command_close_together(request, channel, (agent, fee)),
            Command::Close {
                channel,
                agent,
                fee,
            } => self.command_close(request, channel, false, (agent, fee)),
            Command::CloseUnknown {
                channel,
                agent,
                fee,
            } => self.command_close(request, channel, true, (agent, fee)),
            Command::Sweep {
                token,
                amount,
                nonce,
                agent,
                fee,
            } => self.command_sweep(request, token, (amount, nonce), (agent, fee)),
            Command::Settle { channel } => self.command_settle(request, channel),
        }
    }

    fn handle_message(&mut self, from: Address, message: PaymentMessage) {
        match message {
            PaymentMessage::Introduction(m) => self.handle_introduction(from, &m),
            PaymentMessage::Hello(m) => self.handle_hello(from, &m),
            PaymentMessage::Update(m) => self.handle_update(from, m),
            PaymentMessage::Accepted {
                channel,
                session,
                seq,
            } => self.handle_accepted(from, channel, session, seq),
            PaymentMessage::Refused {
                channel,
                seq,
                reason,
            } => self.handle_refused(from, channel, seq, reason),
            PaymentMessage::Restate(m) => self.handle_restate(from, m),
            PaymentMessage::Withdrawal(m) => self.handle_withdrawal(from, &m),
            PaymentMessage::Payouts(m) => self.handle_payouts(from, m),
            PaymentMessage::Claim {
                channel,
                lock,
                secret,
            } => self.handle_claim(from, channel, lock, &secret),
            PaymentMessage::Release {
                channel,
                lock,
                signature,
                reason,
            } => self.handle_release(from, channel, lock, (signature, reason)),
            PaymentMessage::InvoiceWanted { id, token, amount } => {
                self.handle_invoice_wanted(from, id, token, amount);
            }
            PaymentMessage::Invoice { id, point, .. } => self.handle_invoice(from, id, &point),
            PaymentMessage::Relay(m) => self.handle_relay(&m),
            PaymentMessage::Watch(m) => self.handle_watch(from, *m),
            PaymentMessage::Watching { state } => self.handle_watching(from, state.into()),
            PaymentMessage::Bring {
                id,
                contract,
                fee,
                call,
            } => self.handle_bring(from, id, contract, (fee, call)),
            PaymentMessage::Brought { id, taken } => self.handle_brought(from, id, taken),
            PaymentMessage::Ticks(_)
            | PaymentMessage::TicksAccepted(_)
            | PaymentMessage::Cheque(..)
            | PaymentMessage::ChequeAccepted { .. }
            | PaymentMessage::Fork(..) => {
                self.counters.unexpected = self.counters.unexpected.saturating_add(1);
            }
        }
    }

    fn persist(&mut self, record: Record) {
        self.outputs.push_back(Output::Persist(record));
    }

    fn send(&mut self, to: Address, message: PaymentMessage) {
        self.outputs.push_back(Output::Send { to, message });
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        self.tell(Event::Answer { request, answer });
    }

    fn refuse(&mut self, to: Address, channel: ChannelTag, seq: u64, reason: Refusal) {
        self.send(
            to,
            PaymentMessage::Refused {
                channel,
                seq,
                reason,
            },
        );
    }

    /// The channel that a peer means.
    fn find(&mut self, from: Address, tag: ChannelTag) -> Option<ChannelId> {
        let found = self.by_tag.get(&(from, tag)).copied();
        if found.is_none() {
            self.counters.strangers = self.counters.strangers.saturating_add(1);
        }
        found
    }

    /// When something that was just sent is sent again.
    fn first_resend(&self) -> Resend {
        Resend {
            at: self.now.instant + self.config.resend,
            pause: self.config.resend,
        }
    }

    fn next_resend(&self, last: Resend) -> Resend {
        let longest = self.config.resend.saturating_mul(PAUSES_MAX);
        let pause = last
            .pause
            .saturating_mul(2)
            .min(longest)
            .max(Duration::from_millis(1));
        Resend {
            at: self.now.instant + pause,
            pause,
        }
    }

    fn schedule(&mut self, due: Due, at: Option<Instant>) {
        if let Some(old) = self.due_at.remove(&due) {
            self.due.remove(&(old, due));
        }
        if let Some(at) = at {
            self.due.insert((at, due));
            self.due_at.insert(due, at);
        }
    }

    /// Sets a channel's timer to the earlier of what it waits for.
    fn reschedule(&mut self, id: ChannelId) {
        let at = self.channels.get(&id).and_then(|channel| {
            let hello = channel.session.hello.map(|resend| resend.at);
            let update = channel.out.resend.map(|resend| resend.at);
            let remind = channel.inc.remind.map(|resend| resend.at);
            let watch = channel.watch.map(|resend| resend.at);
            let times = [hello, update, remind, watch, channel.out.patience];
            times.into_iter().flatten().min()
        });
        self.schedule(Due::Channel(id), at);
    }

    fn run_timers(&mut self) {
        for _ in 0..TIMERS_PER_CALL {
            let Some((at, due)) = self.due.first().copied() else {
                return;
            };
            if at > self.now.instant {
                return;
            }
            self.schedule(due, None);
            match due {
                Due::Channel(id) => {
                    self.resend_hello(id);
                    self.resend_update(id);
                    self.remind(id);
                    self.lose_patience(id);
                    self.watch_due(id);
                    self.reschedule(id);
                }
                Due::Bring(id) => self.bring_due(id),
                Due::Journey(id) => self.journey_due(id),
                Due::Opening(peer, token) => self.resend_introduction(peer, token),
            }
        }
    }

    fn side_of(&self, terms: &crate::channel::Terms) -> Option<Side> {
        if terms.low == self.signer.me {
            Some(Side::Low)
        } else {
            (terms.high == self.signer.me).then_some(Side::High)
        }
    }

    fn counts_to(&self) -> u64 {
        let depth = self.config.confirmations.max(1).saturating_sub(1);
        self.head.map_or(0, |head| head.block.saturating_sub(depth))
    }

    fn final_to(&self) -> u64 {
        let depth = FINAL_DEPTH.max(self.config.confirmations);
        self.head.map_or(0, |head| head.block.saturating_sub(depth))
    }
}
