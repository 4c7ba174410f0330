//! The rules of channels and chequebooks in plain Rust: what each call changes, and why it is refused.
//!
//! Written from the rules of money (docs/contracts.md, "Rules, by function") and not from the Solidity, so that a test which plays
//! one history against both shows where one of them is wrong. It checks no signature: a caller says who signed exactly the content
//! at hand, or that nobody did. A refused call changes nothing.

mod channel;
mod channels;
mod chequebook;
mod closing;
mod condition;
mod ledger;

pub use channel::{Channel, Deposit, DepositOrder, Funding, Payouts, Posted, Terms, Withdrawal};
pub use channels::Channels;
pub use chequebook::{
    Account, Book, BookPhase, BookTerms, CashOrder, Cheque, Chequebook, LockOrder, SignedCheque,
};
pub use closing::{Claim, Close, Closing, Direction, Mandate, Message, Phase, SignedMessage};
pub use condition::{Condition, Lock, Registry, Witness};
pub use ledger::{Bank, Ledger, Manner};

use alloy_primitives::Address;

/// Where and by whom a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env {
    /// Timestamp of the block, seconds.
    pub now: u64,
    /// Who submits.
    pub caller: Address,
}

/// Who signed exactly the content at hand; none if the signature is nobody's.
pub type Signer = Option<Address>;

/// A party of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The lower key.
    Low,
    /// The higher key.
    High,
}

impl Side {
    /// The partner.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// One value for each party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair<T> {
    /// Of the lower key.
    pub low: T,
    /// Of the higher key.
    pub high: T,
}

impl<T> Pair<T> {
    /// That of `side`.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Low => &self.low,
            Side::High => &self.high,
        }
    }

    /// That of `side`, to change.
    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Low => &mut self.low,
            Side::High => &mut self.high,
        }
    }
}

/// Why a call is refused; the names are those of the contracts' errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what was wrong")]
pub enum Refusal {
    #[error(
        "a party is zero, out of order, or no party of this channel; or the terms are not in the table"
    )]
    BadParties,
    #[error("not possible in this phase")]
    WrongPhase,
    #[error("another epoch than the channel's, or the last one")]
    WrongEpoch,
    #[error("a deadline or expiry has passed, or does not rise")]
    Expired,
    #[error("the caller is not the agent that was named")]
    WrongAgent,
    #[error("the caller is not who this order is for")]
    WrongCaller,
    #[error("the nonce was used")]
    NonceUsed,
    #[error("not the closing record that is stored")]
    WrongClosing,
    #[error("not a message that this call accepts")]
    WrongState,
    #[error("the message contradicts nothing")]
    NoContradiction,
    #[error("the message contradicts the closer: forfeit")]
    Contradiction,
    #[error("no such leaf, or used, released, or beyond the locked total")]
    BadLeaf,
    #[error("the condition is not fulfilled in time")]
    NotFulfilled,
    #[error("the witness does not have the condition's shape")]
    Malformed,
    #[error("not that many ticks, or no preimage of the tip")]
    BadTicks,
    #[error("not signed by who had to")]
    BadSignature,
    #[error("an amount is zero, too large, or does not add up")]
    BadAmount,
    #[error("the token refused")]
    TokenFailed,
    #[error("a book's owner, issuer or thaw, or a receiver, is not possible")]
    BadBook,
    #[error("nothing is due")]
    NothingDue,
    #[error("the two cheques do not contradict each other")]
    NoFraud,
}

/// Amounts are below 2^96, so a sum of few cannot leave 128 bits: were it to, the call is refused.
fn sum(a: u128, b: u128) -> Result<u128, Refusal> {
    a.checked_add(b).ok_or(Refusal::BadAmount)
}

fn difference(a: u128, b: u128) -> Result<u128, Refusal> {
    a.checked_sub(b).ok_or(Refusal::BadAmount)
}

fn require(holds: bool, otherwise: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(otherwise) }
}
