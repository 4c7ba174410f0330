//! One phone's node: every core and the edges between them. Still no I/O: bytes, commands and time go in, bytes, records
//! and events come out; the daemon and the simulator drive the same [`Node`].
//!
//! Read [`Input`] and [`Output`] first; `wiring.rs` is the data-flow diagram.

mod command;
mod event;
mod node;
mod snapshot;

pub use command::{Command, FileOffer};
pub use event::{Event, FileReceived, MessageState, PathKind, RefusedReason, TextReceived};
pub use node::{Config, Input, Node, Output, PersistId, Record, RestoreError};
pub use snapshot::{
    BundleStatus, ContactStatus, FlowStatus, NearbyStatus, NeighbourStatus, Status,
};
