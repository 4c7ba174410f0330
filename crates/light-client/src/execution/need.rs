//! What is missing to answer a question, and how an execution node is asked for it.

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde_json::{Value, json};

/// Something that a source can bring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The header with this hash.
    Header(B256),
    /// An account and some of its slots in the state after a block.
    State {
        /// The block.
        block: B256,
        /// Its number, for sources that know blocks by number only.
        number: u64,
        /// The account.
        address: Address,
        /// Its slots.
        slots: Vec<U256>,
    },
    /// Code with this hash, which this account has after a block.
    Code {
        /// Keccak of the code.
        hash: B256,
        /// The block's number.
        number: u64,
        /// The account.
        address: Address,
    },
    /// The transactions of a block.
    Body(B256),
    /// The receipts of a block.
    Receipts(B256),
    /// Where a transaction is: a hint only.
    Transaction(B256),
    /// The nonce with what waits: a hint only.
    PendingNonce(Address),
    /// A usual tip: a hint only.
    Tip,
    /// Take a signed transaction along.
    Send(Bytes),
}

impl Need {
    /// Returns the question in JSON-RPC.
    #[must_use]
    pub fn request(&self) -> (&'static str, Value) {
        match self {
            Self::Header(hash) => ("eth_getBlockByHash", json!([hash, false])),
            Self::State {
                number,
                address,
                slots,
                ..
            } => {
                let slots: Vec<B256> = slots.iter().map(|slot| B256::from(*slot)).collect();
                ("eth_getProof", json!([address, slots, U64::from(*number)]))
            }
            Self::Code {
                number, address, ..
            } => ("eth_getCode", json!([address, U64::from(*number)])),
            Self::Body(hash) => ("eth_getBlockByHash", json!([hash, true])),
            Self::Receipts(hash) => ("eth_getBlockReceipts", json!([hash])),
            Self::Transaction(hash) => ("eth_getTransactionByHash", json!([hash])),
            Self::PendingNonce(address) => ("eth_getTransactionCount", json!([address, "pending"])),
            Self::Tip => ("eth_maxPriorityFeePerGas", json!([])),
            Self::Send(raw) => ("eth_sendRawTransaction", json!([raw])),
        }
    }

    /// Returns whether the answer cannot be proved and is used as a hint.
    #[must_use]
    pub const fn is_hint(&self) -> bool {
        match self {
            Self::Transaction(_) | Self::PendingNonce(_) | Self::Tip | Self::Send(_) => true,
            Self::Header(_)
            | Self::State { .. }
            | Self::Code { .. }
            | Self::Body(_)
            | Self::Receipts(_) => false,
        }
    }
}
