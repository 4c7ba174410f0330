//! Payment channels: what two phones owe each other, and what each may do about it on the chain.
//!
//! A core without I/O: messages, chain facts and commands go in; records, messages, contract calls and events come out.
//! It holds the channel key of this installation and nothing else of the wallet; it never asks a clock, never sends, and
//! never signs in a channel that it has not re-established live since this start. `docs/payments.md` is the protocol,
//! `docs/contracts.md` what the chain does.
//!
//! Read [`Input`] and [`Output`] first, then [`Channels`].

mod balance;
mod border;
mod calls;
mod channel;
mod channels;
mod config;
mod locks;
mod onchain;
mod record;

pub use alloy_primitives::{Address as Account, B256};
pub use border::{
    Answer, ChainFact, ChannelInfo, ChannelPhase, Command, CommandError, Contract, ContractCall,
    Ending, Event, Hop, Input, Output, Purpose, Record,
};
pub use channel::{ChannelId, Terms};
pub use channels::{Channels, Counters};
pub use config::{Chain, Config, Start};
pub use record::RestoreError;
