//! One phone's node: every core and the edges between them. Still no I/O: bytes, commands and time go in, bytes, records
//! and events come out; the daemon and the simulator drive the same [`Node`].
//!
//! Read [`Input`] and [`Output`] first; `wiring.rs` is the data-flow diagram.

mod board;
mod carried;
mod command;
mod commands;
mod counters;
mod event;
mod fetch;
mod gate;
mod mail;
mod money;
mod node;
mod people;
mod perf;
mod probe;
mod snapshot;
mod status;
mod tunnel;
mod wiring;

pub use command::{Command, FileOffer};
pub use event::{
    ContentReceived, Event, FileReceived, MessageState, PathKind, RefusedReason, TextReceived,
};
pub use node::{Config, Input, Node, Output, PersistId, Record, RestoreError};
pub use smartmesh_mesh::Sabotage;
pub use smartmesh_messaging::{
    Alert, Attachment, Board, BoardCommand, BoardEvent, Bulletin, BulletinView, CallForHelp,
    CallView, Change, Condition, Content, FileOffer as AttachedFile, HelperView, INLINE_BYTES_MAX,
    Look, Need, PersonRecord, PersonView, Place, RoomView, Say, SourceView, Step,
};
pub use snapshot::{
    BundleStatus, ContactStatus, FlowStatus, NearbyStatus, NeighbourStatus, Status,
};
