//! A whole Ethereum in one process: EVM, state trie, blocks with true roots, transaction pool, and the JSON-RPC that wallets
//! and applications speak, with the controls of a development chain (time, mining, snapshots, reorganisations).
//!
//! It opens no socket, has no clock and keeps nothing on disk: who drives it brings requests and the time. Blocks are
//! final after a set depth; [`beacon::Beacon`] signs them as sync committees do. Blobs are refused. Read first: [`Devnet`], the chain, and [`Devnet::handle`], its
//! JSON-RPC.

pub mod beacon;
mod block;
mod chain;
mod contracts;
mod execute;
mod genesis;
mod pool;
mod rpc;
mod state;

pub use block::{Block, Included};
pub use chain::{Change, Devnet, Mining, Orphans};
pub use execute::{Invalid, Tx};
pub use genesis::{CHAIN_ID, DEV_ACCOUNTS, ETHER, Genesis};
pub use rpc::RpcError;
pub use state::AccountProof;
