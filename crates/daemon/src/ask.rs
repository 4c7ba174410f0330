//! What the API asks of the loop, and what comes back.

use smartmesh_node::{Command, ContactStatus, NearbyStatus, RefusedReason, Status};
use smartmesh_radio::RadioState;
use smartmesh_types::{Address, Duration, MessageId};
use tokio::sync::oneshot;

/// Questions that may wait for the loop.
pub(crate) const ASKS_MAX: usize = 64;

/// A question to the loop.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Carry a command out.
    Command(Box<Command>, oneshot::Sender<Answer>),
    /// Show the state.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Who can be reached.
    Nearby(oneshot::Sender<Vec<NearbyStatus>>),
    /// Whom the user knows.
    Contacts(oneshot::Sender<Vec<ContactStatus>>),
    /// Bytes that have arrived of a file that is being fetched.
    Fetching(String, oneshot::Sender<Option<u64>>),
    /// Stop the node.
    Stop,
}

/// The state of the whole node at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    pub(crate) radios: Vec<RadioState>,
    pub(crate) tunnel: Option<String>,
    pub(crate) uptime: Duration,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done,
    Refused(RefusedReason),
    Invite(String),
    Added(Address),
    /// The message is on disk, in the history too.
    Queued(MessageId),
    Pong {
        rtt: Duration,
        hops: u8,
    },
    Trace(Vec<(u8, Option<Duration>)>),
    Perf {
        bytes_received: u64,
        packets_sent: u64,
        packets_received: u64,
        elapsed: Duration,
    },
}
