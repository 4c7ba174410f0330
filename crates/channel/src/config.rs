//! What the shell and the user set.

use alloy_primitives::Address as Account;
use smartmesh_types::Duration;

/// The chain and the contracts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The token SMT.
    pub token: Account,
    /// Conditions and their registry.
    pub conditions: Account,
    /// Payment channels.
    pub channels: Account,
    /// Chequebooks.
    pub chequebook: Account,
}

/// How this start came about, as the shell knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    /// The records are those that this very installation wrote last.
    Continued,
    /// They were restored from a copy, or the disk is another one: messages may be missing. No payment is signed in the
    /// epochs of those channels any more; they end by agreement or as unknown.
    Restored,
}

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The chain.
    pub chain: Chain,
    /// How this start came about.
    pub start: Start,
    /// Blocks on top of one before its deposits and settlements count; at least 1.
    pub confirmations: u64,
    /// What a dispute may cost, base units: a payer keeps at least this and a twentieth of its deposit.
    pub reserve: u128,
    /// Hold index + 256 x factor of channels that this side proposes.
    pub terms: u16,
    /// The shortest hold that is accepted from others, seconds: below a day one must be on-line or have a tower.
    pub hold_min: u64,
    /// Within how many seconds this phone reaches the chain, as it tells others.
    pub reach: u32,
    /// Allowance for wrong clocks, seconds.
    pub skew: u64,
    /// Fee of relayed payments: base units, and millionths of the amount.
    pub fee: (u64, u32),
    /// The most that one neighbour may be lent by locks that leave less time than this phone needs, base units.
    pub lending_max: u128,
    /// What an agent earns for bringing an order of this phone to the chain, base units; agents ask for more.
    pub order_fee: u128,
    /// What this phone asks as an agent for bringing orders of others to the chain, base units; none: it does not.
    pub agent_fee: Option<u128>,
    /// How long a signed order holds, seconds.
    pub order_life: u64,
    /// The first pause before something unanswered is sent again; doubles up to 64 times this.
    pub resend: Duration,
    /// Random bytes that let the wallet find this installation's channels from its mnemonic.
    pub locator: [u8; 32],
    /// Where what is withdrawn or settled by agreement goes: the wallet's account.
    pub payout: Account,
}

impl Config {
    /// Sound values for a phone on this chain, whose channels pay out to `payout`.
    #[must_use]
    pub fn new(chain: Chain, payout: Account, locator: [u8; 32]) -> Self {
        Self {
            chain,
            start: Start::Continued,
            confirmations: 6,
            // A twentieth of an SMT: a dispute of about 100,000 gas at 2 gwei with SMT near a milliether.
            reserve: 50_000_000_000_000_000,
            terms: 0x0405,
            hold_min: 86_400,
            reach: 86_400,
            skew: 600,
            fee: (0, 1_000),
            lending_max: 0,
            order_fee: 0,
            agent_fee: None,
            order_life: 7 * 86_400,
            resend: Duration::from_millis(500),
            locator,
            payout,
        }
    }
}
