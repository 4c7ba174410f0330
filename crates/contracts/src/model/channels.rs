//! Payment channels: every call of the contract, on plain values.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};

use super::closing::{Agent, named};
use super::condition::sha256;
use super::{
    Bank, Channel, Claim, Close, Closing, Deposit, DepositOrder, Env, Funding, Mandate, Pair,
    Payouts, Phase, Posted, Refusal, Registry, Side, SignedMessage, Signer, Terms, Withdrawal,
    difference, require, sum,
};
use crate::layout::{hold_seconds, unknown_factor, void_key};

/// Limit of each deposit and of their sum, base units.
const DEPOSIT_LIMIT: i128 = 1 << 95;
/// Last epoch of a channel, which takes no deposit.
const EPOCH_MAX: u32 = (1 << 24) - 1;
/// Times on chain have 36 bits.
const TIME_MAX: u64 = (1 << 36) - 1;
/// Share of the closer that an outdated unknown close costs: one in ten.
const FINE_DIVISOR: u128 = 10;

/// All channels of one contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// The contract's own address.
    pub address: Address,
    /// Channels by id.
    pub channels: BTreeMap<B256, Channel>,
    /// What tokens refused to pay, by token and account, base units.
    pub credits: BTreeMap<(Address, Address), u128>,
    /// Released leaves.
    pub voided: BTreeSet<B256>,
    /// Nonces of deposits that were used.
    pub nonces: BTreeSet<(Address, u64)>,
}

impl Channels {
    /// A contract at `address` in which nothing happened yet.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }

    /// The channel `id`; one never used is empty.
    #[must_use]
    pub fn channel(&self, id: B256) -> Channel {
        self.channels.get(&id).cloned().unwrap_or_default()
    }

    /// What the contract owes in `token`: deposits and credits, base units.
    ///
    /// # Errors
    /// [`Refusal::BadAmount`] if a sum is negative or too large, which no call brings about.
    pub fn liabilities<'a>(
        &self,
        token: Address,
        terms: impl IntoIterator<Item = &'a Terms>,
    ) -> Result<u128, Refusal> {
        let mut owed = 0;
        for terms in terms.into_iter().filter(|terms| terms.token == token) {
            owed = sum(owed, self.channel(terms.id()).total()?)?;
        }
        for ((of, _), credit) in &self.credits {
            if *of == token {
                owed = sum(owed, *credit)?;
            }
        }
        Ok(owed)
    }

    /// Deposits, and opens the channel if nothing is in it.
    ///
    /// # Errors
    /// `TokenFailed`, `BadAmount`, `WrongEpoch`, `WrongPhase`, `BadParties`.
    pub fn deposit(
        &mut self,
        bank: &mut Bank,
        terms: &Terms,
        deposit: &Deposit,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut after = bank.clone();
        let (owner, allowed) = match deposit.funding {
            Funding::Allowance => (env.caller, false),
            Funding::Callback { owner } => (owner, true),
        };
        let got = after.pull(terms.token, owner, self.address, deposit.amount, allowed)?;
        let channel = self.credited(terms, deposit.epoch, deposit.side, got)?;
        *bank = after;
        self.channels.insert(terms.id(), channel);
        Ok(())
    }

    /// Deposits by an owner's order, for a fee.
    ///
    /// # Errors
    /// As [`Channels::deposit`], and `Expired`, `WrongAgent`, `NonceUsed`, `BadSignature`.
    pub fn deposit_for(
        &mut self,
        bank: &mut Bank,
        terms: &Terms,
        epoch: u32,
        side: Side,
        order: &DepositOrder,
        env: Env,
    ) -> Result<(), Refusal> {
        let agent = named(env, order.agent, order.deadline)?;
        require(
            !self.nonces.contains(&(order.owner, order.nonce)),
            Refusal::NonceUsed,
        )?;
        require(order.signer == Some(order.owner), Refusal::BadSignature)?;
        let mut after = bank.clone();
        let got = after.pull(terms.token, order.owner, self.address, order.amount, false)?;
        require(got > order.fee, Refusal::BadAmount)?;
        let channel = self.credited(terms, epoch, side, difference(got, order.fee)?)?;
        *bank = after;
        self.channels.insert(terms.id(), channel);
        self.nonces.insert((order.owner, order.nonce));
        self.pay(bank, terms.token, agent, order.fee)
    }

    fn credited(
        &self,
        terms: &Terms,
        epoch: u32,
        side: Side,
        amount: u128,
    ) -> Result<Channel, Refusal> {
        let mut channel = self.channel(terms.id());
        require(
            epoch == channel.epoch && epoch != EPOCH_MAX,
            Refusal::WrongEpoch,
        )?;
        match channel.phase {
            Phase::Closing(_) => return Err(Refusal::WrongPhase),
            Phase::Open => {}
            Phase::None => {
                require(
                    terms.low != Address::ZERO && terms.low < terms.high,
                    Refusal::BadParties,
                )?;
                require(hold_seconds(terms.terms).is_some(), Refusal::BadParties)?;
            }
        }
        let amount = i128::try_from(amount).map_err(|_| Refusal::BadAmount)?;
        let deposit = channel.deposits.of_mut(side);
        *deposit = deposit.checked_add(amount).ok_or(Refusal::BadAmount)?;
        let Pair { low, high } = channel.deposits;
        let total = low.checked_add(high).ok_or(Refusal::BadAmount)?;
        require(
            low < DEPOSIT_LIMIT && high < DEPOSIT_LIMIT && total < DEPOSIT_LIMIT,
            Refusal::BadAmount,
        )?;
        channel.phase = Phase::Open;
        Ok(channel)
    }

    /// Takes out while open; both agree.
    ///
    /// # Errors
    /// `WrongPhase`, `Expired`, `WrongAgent`, `BadAmount`, `BadParties`, `BadSignature`.
    pub fn withdraw(
        &mut self,
        bank: &mut Bank,
        terms: &Terms,
        order: &Withdrawal,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut channel = self.channel(terms.id());
        require(channel.phase == Phase::Open, Refusal::WrongPhase)?;
        let agent = named(env, order.agent, order.expiry)?;
        require(
            order.expiry > channel.withdrawn_until && order.expiry <= TIME_MAX,
            Refusal::Expired,
        )?;
        let fits =
            order.amount != 0 && order.fee <= order.amount && order.amount <= channel.total()?;
        require(fits, Refusal::BadAmount)?;
        let side = if order.party == terms.high {
            Side::High
        } else {
            require(order.party == terms.low, Refusal::BadParties)?;
            Side::Low
        };
        both_signed(terms, order.signers)?;
        let net = difference(order.amount, order.fee)?;
        require(net == 0 || order.to != Address::ZERO, Refusal::BadParties)?;
        let amount = i128::try_from(order.amount).map_err(|_| Refusal::BadAmount)?;
        let deposit = channel.deposits.of_mut(side);
        *deposit = deposit.checked_sub(amount).ok_or(Refusal::BadAmount)?;
        channel.withdrawn_until = order.expiry;
        self.channels.insert(terms.id(), channel);
        self.pay(bank, terms.token, order.to, net)?;
        self.pay(bank, terms.token, agent, order.fee)
    }

    /// Ends the epoch with payouts that both agree to: of an open channel without a `record`, of a closing one with it.
    ///
    /// # Errors
    /// `WrongPhase`, `WrongClosing`, `Expired`, `WrongAgent`, `BadAmount`, `BadSignature`, `BadParties`.
    pub fn coop_close(
        &mut self,
        bank: &mut Bank,
        terms: &Terms,
        record: Option<B256>,
        payouts: &Payouts,
        env: Env,
    ) -> Result<(), Refusal> {
        let channel = match record {
            None => self.channel(terms.id()),
            Some(record) => self.closing(terms, record)?.0,
        };
        let open = channel.phase == Phase::Open;
        require(open || record.is_some(), Refusal::WrongPhase)?;
        let agent = named(env, payouts.agent, payouts.deadline)?;
        let Pair { low, high } = payouts.amounts;
        require(
            sum(sum(low, high)?, payouts.fee)? == channel.total()?,
            Refusal::BadAmount,
        )?;
        both_signed(terms, payouts.signers)?;
        require(
            low == 0 || payouts.to.low != Address::ZERO,
            Refusal::BadParties,
        )?;
        require(
            high == 0 || payouts.to.high != Address::ZERO,
            Refusal::BadParties,
        )?;
        self.end(terms, channel.epoch)?;
        self.pay(bank, terms.token, payouts.to.low, low)?;
        self.pay(bank, terms.token, payouts.to.high, high)?;
        self.pay(bank, terms.token, agent, payouts.fee)
    }

    /// Posts both directions' messages; the challenge begins.
    ///
    /// # Errors
    /// `WrongPhase`, `WrongState`, `BadSignature`, `Expired`, `WrongAgent`.
    pub fn close(&mut self, terms: &Terms, close: &Close, env: Env) -> Result<(), Refusal> {
        let mut channel = self.channel(terms.id());
        require(channel.phase == Phase::Open, Refusal::WrongPhase)?;
        let hold = hold_seconds(terms.terms).ok_or(Refusal::BadParties)?;
        let factor = if close.unknown {
            unknown_factor(terms.terms).ok_or(Refusal::BadParties)?
        } else {
            1
        };
        let end = env.now.saturating_add(hold.saturating_mul(factor));
        let closing = Closing::post(close, end, terms.parties(), env)?;
        channel.phase = Phase::Closing(Box::new(closing));
        self.channels.insert(terms.id(), channel);
        Ok(())
    }

    /// The closing channel, if `record` is what is stored.
    fn closing(&self, terms: &Terms, record: B256) -> Result<(Channel, Closing), Refusal> {
        let channel = self.channel(terms.id());
        let Phase::Closing(closing) = &channel.phase else {
            return Err(Refusal::WrongPhase);
        };
        let closing = (**closing).clone();
        require(
            record == closing.record(terms, &channel).hash(),
            Refusal::WrongClosing,
        )?;
        Ok((channel, closing))
    }

    /// The closing channel in its challenge.
    fn challenged(
        &self,
        terms: &Terms,
        record: B256,
        env: Env,
    ) -> Result<(Channel, Closing), Refusal> {
        let (channel, closing) = self.closing(terms, record)?;
        require(env.now < closing.end, Refusal::WrongPhase)?;
        Ok((channel, closing))
    }

    /// Puts another message of `payer` in place, at the wish of its payee.
    ///
    /// # Errors
    /// `WrongPhase`, `WrongClosing`, `WrongState`, `Contradiction`, `BadSignature`, `Expired`, `WrongAgent`.
    pub fn update(
        &mut self,
        terms: &Terms,
        record: B256,
        payer: Side,
        shown: &SignedMessage,
        mandate: Option<&Mandate>,
        env: Env,
    ) -> Result<(), Refusal> {
        let (channel, mut closing) = self.challenged(terms, record, env)?;
        closing.update(payer, shown, mandate, terms.parties(), env)?;
        self.store(terms, channel, closing);
        Ok(())
    }

    /// Shows that the closer signed what contradicts its close: the victim gets both deposits.
    ///
    /// # Errors
    /// `WrongPhase`, `WrongClosing`, `NoContradiction`, `BadSignature`, `Expired`, `WrongAgent`.
    pub fn forfeit(
        &mut self,
        bank: &mut Bank,
        terms: &Terms,
        record: B256,
        shown: &SignedMessage,
        mandate: Option<&Mandate>,
        env: Env,
    ) -> Result<(), Refusal> {
        let (channel, closing) = self.challenged(terms, record, env)?;
        require(
            closing.contradicted_by(&shown.message),
            Refusal::NoContradiction,
        )?;
        let closer = *terms.parties().of(closing.closer);
        require(shown.signer == Some(closer), Refusal::BadSignature)?;
        let side = closing.closer.other();
        let victim = *terms.parties().of(side);
        let agent = closing.agent(side, mandate, victim, env)?;
        let total = channel.total()?;
        self.end(terms, channel.epoch)?;
        self.share(bank, terms.token, victim, total, agent)
    }

    /// Marks a leaf of the present epoch that its payee released.
    ///
    /// # Errors
    /// `WrongEpoch`, `WrongPhase`, `BadSignature`.
    pub fn void_leaf(
        &mut self,
        terms: &Terms,
        epoch: u32,
        payer: Side,
        leaf: B256,
        signer: Signer,
    ) -> Result<(), Refusal> {
        let mut channel = self.channel(terms.id());
        require(epoch == channel.epoch, Refusal::WrongEpoch)?;
        require(channel.phase != Phase::None, Refusal::WrongPhase)?;
        let parties = terms.parties();
        require(
            signer == Some(*parties.of(payer.other())),
            Refusal::BadSignature,
        )?;
        channel.released = true;
        self.channels.insert(terms.id(), channel);
        self.voided
            .insert(void_key(terms.id(), epoch, *parties.of(payer), leaf));
        Ok(())
    }

    /// The closing channel in its unlock phase, if `record` is what is stored and `message` what counts.
    fn unlocking(
        &self,
        terms: &Terms,
        posted: &Posted<'_>,
        env: Env,
    ) -> Result<(Channel, Closing), Refusal> {
        let (channel, mut closing) = self.closing(terms, posted.record)?;
        let hold = hold_seconds(terms.terms).ok_or(Refusal::BadParties)?;
        let unlockable = env.now >= closing.end && env.now < closing.settle_time(hold);
        require(unlockable, Refusal::WrongPhase)?;
        require(
            closing.sides.of(posted.payer).message == *posted.message,
            Refusal::WrongState,
        )?;
        let payee = posted.payer.other();
        let agent = closing.agent(payee, posted.mandate, *terms.parties().of(payee), env)?;
        closing.sides.of_mut(payee).agent = agent;
        Ok((channel, closing))
    }

    /// Unlocks leaves of the message that counts.
    ///
    /// # Errors
    /// `WrongPhase`, `WrongClosing`, `WrongState`, `Expired`, `WrongAgent`, `BadSignature`, `BadLeaf`, `NotFulfilled`, `Malformed`.
    pub fn unlock(
        &mut self,
        registry: &Registry,
        terms: &Terms,
        posted: &Posted<'_>,
        claims: &[Claim],
        env: Env,
    ) -> Result<(), Refusal> {
        let (channel, mut closing) = self.unlocking(terms, posted, env)?;
        let payer_key = *terms.parties().of(posted.payer);
        let rising = claims.is_sorted_by(|a, b| a.index < b.index);
        let mut in_tree = rising && !claims.is_empty();
        let side = closing.sides.of_mut(posted.payer);
        for Claim {
            index,
            lock,
            witness,
        } in claims
        {
            // A place outside the tree has no bit; no leaf is there.
            let bit = 1_u64.checked_shl(u32::from(*index)).unwrap_or(0);
            require(side.done & bit == 0, Refusal::BadLeaf)?;
            side.done |= bit;
            side.unlocked = sum(side.unlocked, lock.amount)?;
            let key = void_key(terms.id(), channel.epoch, payer_key, lock.leaf().hash());
            require(!self.voided.contains(&key), Refusal::BadLeaf)?;
            let holds = registry.satisfied(&lock.condition, witness, lock.expiry, env.now)?;
            require(holds, Refusal::NotFulfilled)?;
            in_tree &= posted.message.locks.get(usize::from(*index)) == Some(lock);
        }
        require(in_tree, Refusal::BadLeaf)?;
        require(side.unlocked <= posted.message.locked, Refusal::BadLeaf)?;
        self.store(terms, channel, closing);
        Ok(())
    }

    /// Redeems ticks of the message that counts: `preimage` hashed `n` times is its tip.
    ///
    /// # Errors
    /// `WrongPhase`, `WrongClosing`, `WrongState`, `Expired`, `WrongAgent`, `BadSignature`, `BadTicks`.
    pub fn redeem(
        &mut self,
        terms: &Terms,
        posted: &Posted<'_>,
        preimage: B256,
        n: u32,
        env: Env,
    ) -> Result<(), Refusal> {
        let (channel, mut closing) = self.unlocking(terms, posted, env)?;
        let side = closing.sides.of_mut(posted.payer);
        require(n <= posted.message.max && n > side.ticks, Refusal::BadTicks)?;
        let tip = (0..n).fold(preimage, |value, _| sha256(value));
        require(tip == posted.message.tip, Refusal::BadTicks)?;
        side.ticks = n;
        self.store(terms, channel, closing);
        Ok(())
    }

    /// Ends the epoch by what was posted and unlocked.
    ///
    /// # Errors
    /// `WrongPhase`, also for another record than the one stored.
    pub fn settle(
        &mut self,
        bank: &mut Bank,
        terms: &Terms,
        record: B256,
        env: Env,
    ) -> Result<(), Refusal> {
        let channel = self.channel(terms.id());
        let Phase::Closing(closing) = &channel.phase else {
            return Err(Refusal::WrongPhase);
        };
        let hold = hold_seconds(terms.terms).ok_or(Refusal::BadParties)?;
        let due = env.now >= closing.settle_time(hold)
            && record == closing.record(terms, &channel).hash();
        require(due, Refusal::WrongPhase)?;
        let total = channel.total()?;
        let shares = shares(&channel, closing, total)?;
        self.end(terms, channel.epoch)?;
        let Pair { low, high } = &closing.sides;
        self.share(bank, terms.token, terms.low, shares.low, low.agent)?;
        self.share(bank, terms.token, terms.high, shares.high, high.agent)
    }

    /// Settles what can be settled, each with the record given, and skips the rest; returns how many were settled.
    pub fn settle_batch(&mut self, bank: &mut Bank, items: &[(Terms, B256)], env: Env) -> usize {
        items
            .iter()
            .filter(|(terms, record)| self.settle(bank, terms, *record, env).is_ok())
            .count()
    }

    /// Pays out a credit.
    ///
    /// # Errors
    /// `WrongAgent`, `BadAmount`, `TokenFailed`.
    pub fn claim(
        &mut self,
        bank: &mut Bank,
        token: Address,
        account: Address,
        to: Address,
        env: Env,
    ) -> Result<(), Refusal> {
        require(to == account || env.caller == account, Refusal::WrongAgent)?;
        let amount = self.credits.get(&(token, account)).copied().unwrap_or(0);
        require(amount != 0, Refusal::BadAmount)?;
        require(
            bank.push(token, self.address, to, amount),
            Refusal::TokenFailed,
        )?;
        self.credits.remove(&(token, account));
        Ok(())
    }

    fn store(&mut self, terms: &Terms, mut channel: Channel, closing: Closing) {
        channel.phase = Phase::Closing(Box::new(closing));
        self.channels.insert(terms.id(), channel);
    }

    fn end(&mut self, terms: &Terms, epoch: u32) -> Result<(), Refusal> {
        let epoch = epoch.checked_add(1).ok_or(Refusal::WrongEpoch)?;
        self.channels.insert(
            terms.id(),
            Channel {
                epoch,
                ..Channel::default()
            },
        );
        Ok(())
    }

    /// Pays a party its share, and its agent out of that share.
    fn share(
        &mut self,
        bank: &mut Bank,
        token: Address,
        party: Address,
        amount: u128,
        agent: Agent,
    ) -> Result<(), Refusal> {
        let fee = if agent.address == Address::ZERO {
            0
        } else {
            agent.fee.min(amount)
        };
        self.pay(bank, token, agent.address, fee)?;
        self.pay(bank, token, party, difference(amount, fee)?)
    }

    /// What a token refuses becomes a credit.
    fn pay(
        &mut self,
        bank: &mut Bank,
        token: Address,
        to: Address,
        amount: u128,
    ) -> Result<(), Refusal> {
        if amount == 0 || bank.push(token, self.address, to, amount) {
            return Ok(());
        }
        let credit = self.credits.entry((token, to)).or_insert(0);
        *credit = sum(*credit, amount)?;
        Ok(())
    }
}

fn both_signed(terms: &Terms, signers: Pair<Signer>) -> Result<(), Refusal> {
    let signed = signers.low == Some(terms.low) && signers.high == Some(terms.high);
    require(signed, Refusal::BadSignature)
}

/// What each party gets: deposits and payments, never less than nothing nor more than all, less a fine.
fn shares(channel: &Channel, closing: &Closing, total: u128) -> Result<Pair<u128>, Refusal> {
    let out =
        |side: Side| i128::try_from(closing.sides.of(side).out()?).map_err(|_| Refusal::BadAmount);
    let low = channel
        .deposits
        .low
        .checked_sub(out(Side::Low)?)
        .and_then(|low| low.checked_add(out(Side::High).ok()?));
    let low = u128::try_from(low.ok_or(Refusal::BadAmount)?.max(0))
        .map_err(|_| Refusal::BadAmount)?
        .min(total);
    let mut shares = Pair {
        low,
        high: difference(total, low)?,
    };
    if closing.fined {
        let fine = shares
            .of(closing.closer)
            .checked_div(FINE_DIVISOR)
            .unwrap_or(0);
        *shares.of_mut(closing.closer) = difference(*shares.of(closing.closer), fine)?;
        *shares.of_mut(closing.closer.other()) = sum(*shares.of(closing.closer.other()), fine)?;
    }
    Ok(shares)
}
