//! Conversations: contacts and their keys, the outbox, receipts, and messages sealed end to end that ride a flow when there
//! is a path and are carried when there is none.
//!
//! It refuses to find paths, to carry mail and to keep history: the node opens flows and takes deposits, the shell's
//! database keeps what was said. Read [`Messaging`] and [`Input`] first; `docs/messaging.md` has layouts and threats.

mod border;
mod config;
mod inbox;
mod keys;
mod messaging;
mod outbox;
mod peer;
mod pieces;
mod records;
mod state;
mod timers;

pub use border::{
    Answer, Command, CommandError, ContactInfo, Event, Input, Message, OutgoingInfo, Output,
    Record, Standing, Urgency, Via,
};
pub use config::Config;
pub use messaging::{Counters, Messaging, sealed_commitment};
pub use records::RestoreError;
pub use smartmesh_types::MessageId;
pub use smartmesh_wire::invite::{BundleError, PrekeyBundle};
pub use smartmesh_wire::message::{Content, FileOffer, TEXT_BYTES_MAX};
pub use state::{FailReason, MessageState};
