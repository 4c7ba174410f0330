//! A finished channel as a file that anybody can judge without keys and without a chain (`docs/statement.md`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Amount;

/// Everything that decides who must get what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// 1.
    pub version: u8,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The channels contract.
    pub contract: String,
    /// The token.
    pub token: String,
    /// The lower key.
    pub low: String,
    /// The higher key.
    pub high: String,
    /// Hold index + 256 x factor of an unknown close.
    pub terms: u16,
    /// Which life of the channel.
    pub epoch: u32,
    /// Deposit of the lower key in base units, decimal; negative if it withdrew more than it deposited.
    pub low_deposit: String,
    /// The same of the higher key.
    pub high_deposit: String,
    /// Messages, any number of each direction.
    pub messages: Vec<StatementMessage>,
    /// How it was closed; `None` for a cooperative close, or if it was not closed.
    #[serde(default)]
    pub close: Option<StatementClose>,
    /// What was paid out in the end, if it was.
    #[serde(default)]
    pub paid_out: Option<StatementPayout>,
}

/// A party of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The lower key.
    Low,
    /// The higher key.
    High,
}

/// A payer's message with its signature; members as in docs/contracts.md, `State`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementMessage {
    /// Who pays.
    pub payer: Party,
    /// From 1.
    pub seq: u64,
    /// Cumulative.
    pub paid: Amount,
    /// Root of the conditions, 64 hex digits after 0x.
    pub root: String,
    /// What is locked.
    pub locked: Amount,
    /// Seconds.
    pub last_expiry: u64,
    /// Tip of the ticks, 64 hex digits after 0x.
    pub tip: String,
    /// Base units a tick.
    pub unit: u64,
    /// Ticks.
    pub max: u32,
    /// r, s, v; 130 hex digits after 0x.
    pub signature: String,
}

/// A close as the chain recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementClose {
    /// Who closed.
    pub closer: Party,
    /// Whether as one that may have forgotten.
    pub unknown: bool,
    /// Seq that the closer posted for its own direction; 0 for none.
    pub own_seq: u64,
    /// What the closer declared as paid.
    pub own_paid: Amount,
    /// Hash of the message it declared, 64 hex digits after 0x; zero for none.
    pub own_state: String,
}

/// What the contract paid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementPayout {
    /// To the lower key, agents' fees included.
    pub low: Amount,
    /// To the higher key.
    pub high: Amount,
}
