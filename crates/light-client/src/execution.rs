//! Execution state, blocks and calls, proved under an execution block hash.
//!
//! What is known is content-addressed: headers, trie nodes and code by their keccak, bodies and receipts by the roots in
//! their header. So anybody may bring it, in any order, and a lie has no place where it would be found.

mod evm;
mod knowledge;
mod need;
mod trie;

pub(crate) use evm::{Call, Ended, Outcome, call, call_gas_max};
pub use knowledge::{Knowledge, Lie, Tx};
pub(crate) use knowledge::{first_log, gas_used, kind};
pub use need::Need;
pub use trie::{ProofError, TrieNodes, verify_indexed, verify_value};
