//! The contracts that hold people's money, as the rest of SmartMesh sees them: calls and logs, what is signed, how their
//! storage is laid out, their compiled bytecode, where they are deployed, and a model of their rules in plain Rust.
//!
//! It signs nothing, sends nothing and holds no keys: it says which 32 bytes must be signed and which bytes to submit.
//! `docs/contracts.md` is the specification; each item here names its section.
//!
//! Read first: [`typed::channels::State`], the one message a payer signs, and [`model::Channels`], the rules that judge it.

mod abi;
mod deployments;
mod events;
mod layout;
pub mod model;

pub mod typed;

pub use abi::{channels, chequebook, conditions, rewards, token};
pub use deployments::{Creation, Deployment, DeploymentPlan, deployment};
pub use events::{ContractEvent, EventError, decode_log};
pub use layout::{
    ClosingRecord, Leaf, SideRecord, Word, WordPhase, book_id, channel_id, hold_seconds,
    tree_proof, tree_root, unknown_factor, void_key,
};
