//! Conversations: contacts and their keys, the outbox, receipts, and messages sealed end to end that ride a flow when there
//! is a path and are carried when there is none; and the board, where people speak to everybody near.
//!
//! It refuses to find paths, to carry mail and to keep history: the node opens flows and takes deposits, the shell's
//! database keeps what was said. Read [`Messaging`] and [`Input`] first, then [`Board`]; `docs/messaging.md` and
//! `docs/safety.md` have layouts and threats.

mod board;
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

pub use board::{
    Board, BoardCommand, BoardCounters, BoardError, BoardEvent, BoardInput, BoardOutput,
    BulletinView, CallForHelp, CallView, HelperView, PersonView, RoomView, SourceView,
};
pub use border::{
    Answer, Command, CommandError, ContactInfo, Event, Input, Message, OutgoingInfo, Output,
    Record, Standing, Urgency, Via,
};
pub use config::Config;
pub use messaging::{Counters, Messaging, sealed_commitment};
pub use records::RestoreError;
pub use smartmesh_types::MessageId;
pub use smartmesh_wire::invite::{BundleError, PrekeyBundle};
pub use smartmesh_wire::message::{
    Attachment, Change, Content, EMOJI_BYTES_MAX, FileOffer, INLINE_BYTES_MAX, Look, Say,
    TEXT_BYTES_MAX, THUMBNAIL_BYTES_MAX, WAVEFORM_BYTES_MAX,
};
pub use smartmesh_wire::post::{Alert, Bulletin, Condition, Need, PersonRecord, Place, Step};
pub use state::{FailReason, MessageState};
