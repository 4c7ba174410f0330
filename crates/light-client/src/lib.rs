//! The phone's own judgement of Ethereum: sync-committee headers and proofs under them, from sources it does not trust.
//!
//! It opens no socket, reads no clock and signs nothing; it never takes a source's word, and it never guesses: what cannot
//! be proved is an error with a name. `docs/light-client.md` is the specification of the compact form.
//!
//! Read first: [`Store`], what the phone believes, and [`Update`], what can change it.

mod bytes;
mod committee;
pub mod compact;
mod config;
pub mod execution;
mod form;
mod header;
pub mod json;
pub mod merkle;
mod network;
pub mod rpc;
mod signature;
pub mod ssz;
mod store;
mod update;

pub use committee::{Committee, Key, Participation, Signed, key_leaf};
pub use config::ConfigError;
pub use header::{BeaconHeader, ExecutionProof, Header};
pub use network::{Activation, Fork, HeaderForm, Network, Preset, Rules};
pub use signature::SignatureError;
pub use store::{BootstrapError, Changed, Store, UpdateError};
pub use update::{Bootstrap, Finality, FormError, Members, NextCommittee, Signature, Update};
