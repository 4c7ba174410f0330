//! A closing channel: messages, the record of the close, and what may change it.

use alloy_primitives::{Address, B256, U256};

use super::{Channel, Env, Lock, Pair, Refusal, Side, Signer, Terms, Witness, require, sum};
use crate::layout::{ClosingRecord, SideRecord, tree_root};
use crate::typed::{self, SolStruct};

/// Longest time after the challenge that a lock can hold up a settlement.
const LOCK_MAX_SECONDS: u64 = 60 * 86_400;

/// Content of a payer's message in one direction. The all-empty one with seq 0 stands for "none yet".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// From 1.
    pub seq: u64,
    /// Cumulative, base units.
    pub paid: u128,
    /// Locks, in the order of the tree.
    pub locks: Vec<Lock>,
    /// What the locks may add up to, base units.
    pub locked: u128,
    /// Latest expiry of the locks, seconds.
    pub last_expiry: u64,
    /// SHA-256 applied `max` times to the payer's seed.
    pub tip: B256,
    /// Base units a tick.
    pub unit: u64,
    /// Number of ticks.
    pub max: u32,
}

impl Message {
    /// The struct that is signed.
    #[must_use]
    pub fn typed(&self, channel: B256, epoch: u32, payer: Address) -> typed::channels::State {
        let leaves: Vec<B256> = self.locks.iter().map(|lock| lock.leaf().hash()).collect();
        typed::channels::State {
            channel,
            epoch,
            payer,
            seq: self.seq,
            paid: U256::from(self.paid).wrapping_to(),
            // Of more than 64 locks there is no tree; nothing can be unlocked then.
            root: tree_root(&leaves).unwrap_or(B256::ZERO),
            locked: U256::from(self.locked).wrapping_to(),
            lastExpiry: U256::from(self.last_expiry).wrapping_to(),
            tip: self.tip,
            unit: self.unit,
            max: self.max,
        }
    }
}

/// A message with who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedMessage {
    /// Content.
    pub message: Message,
    /// Who signed this content for this channel, epoch and payer.
    pub signer: Signer,
}

/// A party's order to an agent or watchtower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mandate {
    /// Who may submit; zero: anybody.
    pub agent: Address,
    /// Base units, out of the party's payout.
    pub fee: u128,
    /// Seconds; valid iff now < deadline.
    pub deadline: u64,
    /// Who signed this order for this act.
    pub signer: Signer,
}

impl Mandate {
    /// Checks the order and says who earns its fee.
    fn judge(&self, env: Env, party: Address) -> Result<Agent, Refusal> {
        let address = named(env, self.agent, self.deadline)?;
        require(self.signer == Some(party), Refusal::BadSignature)?;
        Ok(Agent {
            address,
            fee: self.fee,
        })
    }
}

/// Who submits for a party, if the deadline has not passed and it is the one that was named.
pub(super) fn named(env: Env, agent: Address, deadline: u64) -> Result<Address, Refusal> {
    require(env.now < deadline, Refusal::Expired)?;
    require(
        agent == Address::ZERO || agent == env.caller,
        Refusal::WrongAgent,
    )?;
    Ok(env.caller)
}

/// Who earns a fee of a party's payout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// Zero: nobody.
    pub address: Address,
    /// Base units.
    pub fee: u128,
}

/// What one party pays, in a closing channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// The message that counts.
    pub message: Message,
    /// Sum of the leaves unlocked, base units.
    pub unlocked: u128,
    /// Bit i is set when leaf i was unlocked.
    pub done: u64,
    /// Ticks redeemed.
    pub ticks: u32,
    /// Whom this party (the payer) named last.
    pub agent: Agent,
}

impl Direction {
    fn of(message: Message, agent: Agent) -> Self {
        Self {
            message,
            agent,
            ..Self::default()
        }
    }

    /// All that this party has paid, base units.
    pub(super) fn out(&self) -> Result<u128, Refusal> {
        let ticks = u128::from(self.ticks)
            .checked_mul(u128::from(self.message.unit))
            .ok_or(Refusal::BadAmount)?;
        sum(sum(self.message.paid, self.unlocked)?, ticks)
    }
}

/// What was posted since the close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Who closed.
    pub closer: Side,
    /// The closer said that it may not know the newest messages.
    pub unknown: bool,
    /// The partner showed a newer one.
    pub fined: bool,
    /// Seq that the closer posted for its own direction.
    pub declared: u64,
    /// End of the challenge, seconds.
    pub end: u64,
    /// Latest expiry of the locks posted, at most 60 days after the end.
    pub last_expiry: u64,
    /// What each party pays.
    pub sides: Pair<Direction>,
}

/// Phase of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is deposited in this epoch.
    #[default]
    None,
    /// Payments flow.
    Open,
    /// A close was posted.
    Closing(Box<Closing>),
}

/// What a close posts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Who closes.
    pub closer: Side,
    /// Whether it may not know the newest messages.
    pub unknown: bool,
    /// The closer's own newest message, authenticated by itself.
    pub own: Message,
    /// The partner's newest message.
    pub partner: SignedMessage,
    /// The closer's order to who submits for it.
    pub mandate: Option<Mandate>,
}

/// One leaf with what fulfils it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its place in the tree.
    pub index: u8,
    /// The leaf.
    pub lock: Lock,
    /// Fulfils its condition.
    pub witness: Witness,
}

impl Closing {
    /// Judges a close and gives its record.
    pub(super) fn post(
        close: &Close,
        end: u64,
        parties: Pair<Address>,
        env: Env,
    ) -> Result<Self, Refusal> {
        acceptable(&close.own)?;
        acceptable(&close.partner.message)?;
        let closer = *parties.of(close.closer);
        let partner = *parties.of(close.closer.other());
        if close.partner.message.seq != 0 {
            require(close.partner.signer == Some(partner), Refusal::BadSignature)?;
        }
        let agent = match &close.mandate {
            None => {
                require(env.caller == closer, Refusal::BadSignature)?;
                Agent::default()
            }
            Some(mandate) => mandate.judge(env, closer)?,
        };
        let mut closing = Self {
            closer: close.closer,
            unknown: close.unknown,
            fined: false,
            declared: close.own.seq,
            end,
            last_expiry: 0,
            sides: Pair::default(),
        };
        closing.place(close.closer, close.own.clone());
        closing.place(close.closer.other(), close.partner.message.clone());
        closing.sides.of_mut(close.closer).agent = agent;
        Ok(closing)
    }

    /// Puts a message in place; its locks keep the channel open, within the limit.
    fn place(&mut self, payer: Side, message: Message) {
        let limit = self.end.saturating_add(LOCK_MAX_SECONDS);
        self.last_expiry = self.last_expiry.max(message.last_expiry.min(limit));
        let side = self.sides.of_mut(payer);
        *side = Direction::of(message, side.agent);
    }

    /// Another message of `payer`, at the wish of its payee.
    pub(super) fn update(
        &mut self,
        payer: Side,
        shown: &SignedMessage,
        mandate: Option<&Mandate>,
        parties: Pair<Address>,
        env: Env,
    ) -> Result<(), Refusal> {
        let seq = shown.message.seq;
        let posted = self.sides.of(payer).message.seq;
        let mut fined = self.fined;
        if payer == self.closer {
            // What the closer declared gives way to any older message that its payee prefers, and then only to newer ones.
            let accepted = if posted == self.declared {
                seq != posted
            } else {
                seq > posted
            };
            require(accepted, Refusal::WrongState)?;
            if seq > self.declared {
                require(self.unknown, Refusal::Contradiction)?;
                fined = true;
            }
        } else {
            require(seq > posted, Refusal::WrongState)?;
        }
        require(seq != 0, Refusal::WrongState)?;
        require(
            shown.signer == Some(*parties.of(payer)),
            Refusal::BadSignature,
        )?;
        let payee = *parties.of(payer.other());
        let agent = match mandate {
            None => {
                require(env.caller == payee, Refusal::BadSignature)?;
                self.sides.of(payer.other()).agent
            }
            Some(mandate) => mandate.judge(env, payee)?,
        };
        self.fined = fined;
        self.place(payer, shown.message.clone());
        self.sides.of_mut(payer.other()).agent = agent;
        Ok(())
    }

    /// Whether a message signed by the closer contradicts its close.
    pub(super) fn contradicted_by(&self, shown: &Message) -> bool {
        let posted = &self.sides.of(self.closer).message;
        let replaced = posted.seq != self.declared;
        if shown.seq > self.declared {
            return !self.unknown;
        }
        if replaced || shown.seq == 0 {
            return false;
        }
        if shown.seq == self.declared {
            shown != posted
        } else {
            shown.paid > posted.paid
        }
    }

    /// The agent whom the party of `side` has, given an order of this call.
    pub(super) fn agent(
        &self,
        side: Side,
        mandate: Option<&Mandate>,
        party: Address,
        env: Env,
    ) -> Result<Agent, Refusal> {
        mandate.map_or(Ok(self.sides.of(side).agent), |mandate| {
            mandate.judge(env, party)
        })
    }

    /// When it can be settled, seconds: the locks' last expiry or the challenge's end, plus a quarter of the hold.
    #[must_use]
    pub fn settle_time(&self, hold: u64) -> u64 {
        // Division by a constant; times are below 2^41.
        self.end
            .max(self.last_expiry)
            .saturating_add(hold.saturating_div(4))
    }

    /// The record as the contract packs it.
    #[must_use]
    pub fn record(&self, terms: &Terms, channel: &Channel) -> ClosingRecord {
        let (id, parties) = (terms.id(), terms.parties());
        let side = |side: Side| {
            let direction = self.sides.of(side);
            SideRecord {
                seq: direction.message.seq,
                out: direction.out().unwrap_or(u128::MAX),
                done: direction.done,
                ticks: direction.ticks,
                state: direction
                    .message
                    .typed(id, channel.epoch, *parties.of(side))
                    .eip712_hash_struct(),
                agent: direction.agent.address,
                fee: direction.agent.fee,
            }
        };
        ClosingRecord {
            closer_high: self.closer == Side::High,
            unknown: self.unknown,
            fined: self.fined,
            last_expiry: self.last_expiry,
            declared: self.declared,
            sides: [side(Side::Low), side(Side::High)],
            deposits: [channel.deposits.low, channel.deposits.high],
        }
    }
}

/// Seq 0 stands for no message, and then there is no content.
fn acceptable(message: &Message) -> Result<(), Refusal> {
    require(
        message.seq != 0 || *message == Message::default(),
        Refusal::WrongState,
    )
}
