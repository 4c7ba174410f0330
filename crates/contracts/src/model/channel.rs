//! One channel, and what can be asked of it.

use alloy_primitives::{Address, B256};

use super::{Mandate, Message, Pair, Phase, Refusal, Side, Signer};
use crate::layout::{Word, WordPhase, channel_id};

/// What names a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Terms {
    /// ERC-20 token.
    pub token: Address,
    /// Lower key.
    pub low: Address,
    /// Higher key.
    pub high: Address,
    /// Hold index + 256 x factor of an unknown close.
    pub terms: u16,
}

impl Terms {
    /// The channel's id.
    #[must_use]
    pub fn id(&self) -> B256 {
        channel_id(self.token, self.low, self.high, self.terms)
    }

    /// Both keys.
    #[must_use]
    pub fn parties(&self) -> Pair<Address> {
        Pair {
            low: self.low,
            high: self.high,
        }
    }
}

/// A channel as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Deposits, base units; one may be negative, their sum never.
    pub deposits: Pair<i128>,
    /// Rises with each settlement.
    pub epoch: u32,
    /// Expiry of the last withdrawal executed in this epoch, seconds.
    pub withdrawn_until: u64,
    /// Phase.
    pub phase: Phase,
    /// Some leaf of this epoch was released.
    pub released: bool,
}

impl Channel {
    /// Both deposits.
    ///
    /// # Errors
    /// [`Refusal::BadAmount`] if the sum is negative, which no call brings about.
    pub fn total(&self) -> Result<u128, Refusal> {
        let total = self
            .deposits
            .low
            .checked_add(self.deposits.high)
            .ok_or(Refusal::BadAmount)?;
        u128::try_from(total).map_err(|_| Refusal::BadAmount)
    }

    /// The word as the contract stores it for the channel of these terms.
    #[must_use]
    pub fn word(&self, terms: &Terms) -> Word {
        let present = Word {
            epoch: self.epoch,
            released: self.released,
            ..Word::default()
        };
        match &self.phase {
            Phase::None => present,
            Phase::Open => Word {
                low: self.deposits.low,
                high: self.deposits.high,
                time: self.withdrawn_until,
                phase: WordPhase::Open,
                ..present
            },
            Phase::Closing(closing) => Word {
                record: closing.record(terms, self).hash(),
                time: closing.end,
                phase: WordPhase::Closing,
                ..present
            },
        }
    }
}

/// How a deposit reaches the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funding {
    /// The caller let the contract take it.
    Allowance,
    /// The token called, and lets the contract take it from its owner in this call.
    Callback {
        /// Whose tokens they are.
        owner: Address,
    },
}

/// A deposit by whoever calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// Epoch it is meant for.
    pub epoch: u32,
    /// Whose deposit rises.
    pub side: Side,
    /// Base units.
    pub amount: u128,
    /// How it gets there.
    pub funding: Funding,
}

/// What a call in the unlock phase is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted<'a> {
    /// Hash of the closing record passed in.
    pub record: B256,
    /// Whose message it is.
    pub payer: Side,
    /// The message that counts.
    pub message: &'a Message,
    /// The payee's order to who submits for it.
    pub mandate: Option<&'a Mandate>,
}

/// An owner's signed order to deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepositOrder {
    /// Whose tokens.
    pub owner: Address,
    /// Base units, with the fee.
    pub amount: u128,
    /// Who may submit; zero: anybody.
    pub agent: Address,
    /// Base units.
    pub fee: u128,
    /// Unordered; works once.
    pub nonce: u64,
    /// Seconds.
    pub deadline: u64,
    /// Who signed.
    pub signer: Signer,
}

/// A withdrawal while open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Whose deposit falls.
    pub party: Address,
    /// Base units, with the fee.
    pub amount: u128,
    /// Who gets it.
    pub to: Address,
    /// Who may submit; zero: anybody.
    pub agent: Address,
    /// Base units.
    pub fee: u128,
    /// Seconds.
    pub expiry: u64,
    /// Who signed for low, for high.
    pub signers: Pair<Signer>,
}

/// Payouts of a cooperative close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payouts {
    /// Base units.
    pub amounts: Pair<u128>,
    /// Receivers.
    pub to: Pair<Address>,
    /// Who may submit; zero: anybody.
    pub agent: Address,
    /// Base units.
    pub fee: u128,
    /// Seconds.
    pub deadline: u64,
    /// Who signed for low, for high.
    pub signers: Pair<Signer>,
}
