//! What is signed: the EIP-712 structs of each contract, its domain, and the digest.
//!
//! Members have the names, types and order of docs/contracts.md, "Signatures"; the order is part of the digest. Amounts are base
//! units, times are seconds of a block's timestamp; a deadline or expiry is valid iff time < deadline.
//!
//! A struct's own hash (state hash, cheque hash) is [`SolStruct::eip712_hash_struct`].

use alloy_primitives::{Address, B256};
pub use alloy_sol_types::SolStruct;
use alloy_sol_types::{Eip712Domain, eip712_domain};

/// A contract that verifies signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verifier {
    /// The token.
    Smt,
    /// Conditions (receipts).
    Conditions,
    /// Payment channels.
    Channels,
    /// Chequebooks.
    Chequebook,
}

impl Verifier {
    /// Its domain on one chain, at one address (EIP-712, "Definition of `domainSeparator`"); version `1`, no salt.
    #[must_use]
    pub fn domain(self, chain_id: u64, address: Address) -> Eip712Domain {
        let name = match self {
            Self::Smt => "SmartMesh Token",
            Self::Conditions => "SmartMesh Conditions",
            Self::Channels => "SmartMesh Channels",
            Self::Chequebook => "SmartMesh Chequebook",
        };
        eip712_domain! { name: name, version: "1", chain_id: chain_id, verifying_contract: address, }
    }
}

/// The 32 bytes that are signed: `keccak(0x1901 || domainSeparator || structHash)`.
#[must_use]
pub fn digest(message: &impl SolStruct, domain: &Eip712Domain) -> B256 {
    message.eip712_signing_hash(domain)
}

/// Structs of the token.
pub mod token {
    alloy_sol_types::sol! {
        /// EIP-2612. The one deadline that includes its last second, as that standard says.
        #[derive(Debug, PartialEq, Eq)]
        struct Permit { address owner; address spender; uint256 value; uint256 nonce; uint256 deadline; }
        /// A transfer that an agent submits for a fee in SMT; agent zero = whoever submits.
        #[derive(Debug, PartialEq, Eq)]
        struct Transfer { address from; address to; uint256 value; uint256 fee; address agent; uint256 nonce; uint256 deadline; }
        /// An approval that an agent submits.
        #[derive(Debug, PartialEq, Eq)]
        struct Approve { address from; address spender; uint256 value; uint256 fee; address agent; uint256 nonce; uint256 deadline; }
        /// A deposit into a channel or a chequebook that an agent submits.
        #[derive(Debug, PartialEq, Eq)]
        struct Deposit { address from; address target; uint256 value; bytes data; uint256 fee; address agent; uint256 nonce; uint256 deadline; }
        /// Uses up the nonce it names.
        #[derive(Debug, PartialEq, Eq)]
        struct Cancel { address from; uint256 nonce; uint256 fee; address agent; uint256 deadline; }
    }
}

/// Structs of payment channels.
pub mod channels {
    alloy_sol_types::sol! {
        /// The payer's message in one direction; its struct hash is the state hash. Messages start at seq 1.
        #[derive(Debug, PartialEq, Eq)]
        struct State { bytes32 channel; uint32 epoch; address payer; uint64 seq; uint96 paid; bytes32 root; uint96 locked; uint40 lastExpiry; bytes32 tip; uint64 unit; uint32 max; }
        /// Withdrawal while open; both sign.
        #[derive(Debug, PartialEq, Eq)]
        struct Withdraw { bytes32 channel; uint32 epoch; address party; uint96 amount; address to; address agent; uint96 fee; uint40 expiry; }
        /// Cooperative close; both sign.
        #[derive(Debug, PartialEq, Eq)]
        struct CoopClose { bytes32 channel; uint32 epoch; uint96 lowAmount; uint96 highAmount; address lowTo; address highTo; address agent; uint96 fee; uint40 deadline; }
        /// A closer's order to whoever submits its close; binds the state hashes of both directions.
        #[derive(Debug, PartialEq, Eq)]
        struct Close { bytes32 channel; uint32 epoch; address closer; bool unknown; bytes32 own; bytes32 partner; address agent; uint96 fee; uint40 deadline; }
        /// A party's order to an agent or watchtower; `state` is the state hash of an update, zero otherwise.
        #[derive(Debug, PartialEq, Eq)]
        struct Mandate { bytes32 channel; uint32 epoch; address party; bytes32 state; address agent; uint96 fee; uint40 deadline; }
        /// The payee gives up one lock.
        #[derive(Debug, PartialEq, Eq)]
        struct Release { bytes32 channel; uint32 epoch; address payer; bytes32 leaf; }
        /// A deposit that an agent submits; the fee comes out of `amount`.
        #[derive(Debug, PartialEq, Eq)]
        struct Deposit { bytes32 channel; uint32 epoch; bool high; bytes32 locatorLow; bytes32 locatorHigh; address owner; uint96 amount; address agent; uint96 fee; uint256 nonce; uint40 deadline; }
    }
}

/// Structs of conditions.
pub mod conditions {
    alloy_sol_types::sol! {
        /// A destination's receipt for one message.
        #[derive(Debug, PartialEq, Eq)]
        struct Receipt { bytes32 message; }
    }
}

/// Structs of chequebooks.
pub mod chequebook {
    alloy_sol_types::sol! {
        /// Signed by the issuer; its struct hash is the cheque hash, which the next cheque carries as `previous`.
        #[derive(Debug, PartialEq, Eq)]
        struct Cheque { bytes32 book; uint64 index; uint96 increment; uint96 total; bytes32 previous; address beneficiary; uint96 cumulative; }
        /// A beneficiary's order to an agent who cashes for it.
        #[derive(Debug, PartialEq, Eq)]
        struct CashOrder { bytes32 book; bytes32 cheque; address to; address agent; uint96 fee; uint40 deadline; }
        /// Sets an amount aside for one beneficiary; by owner or issuer.
        #[derive(Debug, PartialEq, Eq)]
        struct Lock { bytes32 book; address beneficiary; uint96 amount; uint40 until; uint40 deadline; }
        /// The owner starts the delay before a withdrawal.
        #[derive(Debug, PartialEq, Eq)]
        struct Thaw { bytes32 book; uint40 deadline; }
        /// The owner takes out what is left.
        #[derive(Debug, PartialEq, Eq)]
        struct Withdraw { bytes32 book; address to; address agent; uint96 fee; uint40 deadline; }
    }
}
