//! What the API asks of the loop, and what comes back.

use smartmesh_channel::ChannelInfo;
use smartmesh_node::{Command, ContactStatus, NearbyStatus, Node, RefusedReason, Status};
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
    /// Look at the node and answer by oneself.
    Look(Look),
    /// Every channel.
    Channels(oneshot::Sender<Vec<ChannelInfo>>),
    /// Stop the node.
    Stop,
}

/// A question that finds its answer, and its way back, by itself.
pub(crate) struct Look(pub(crate) Box<dyn FnOnce(&Node) + Send>);

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
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
    /// A payment or an order, and where it is.
    Money(smartmesh_channel::Answer),
    /// The message is on disk, in the history too.
    Queued(MessageId),
    /// The post is on disk and on its way to everybody near.
    Posted(MessageId),
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
