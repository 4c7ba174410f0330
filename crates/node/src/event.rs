//! What the node tells the shell, and through it the user.

use smartmesh_messaging::{BoardEvent, Content};
use smartmesh_types::{Address, Duration, MessageId, NodeKey, RequestId, UnixTime};

use crate::FileOffer;

/// Something a user or a script may want to know; not an answer unless it carries a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command was carried out and has nothing more to say.
    Done(RequestId),
    /// A command could not be carried out.
    Refused {
        /// Which command.
        request: RequestId,
        /// Why.
        reason: RefusedReason,
    },
    /// The answer to [`crate::Command::MakeInvite`].
    Invite {
        /// Which command.
        request: RequestId,
        /// The invite's text.
        text: String,
    },
    /// The answer to [`crate::Command::AddContact`].
    ContactAdded {
        /// Which command.
        request: RequestId,
        /// Whom.
        address: Address,
    },
    /// A contact's keys became known, or its name or state changed.
    ContactChanged {
        /// Whom.
        address: Address,
    },
    /// A message was accepted and stored; its state follows in [`Event::MessageState`].
    Queued {
        /// Which command.
        request: RequestId,
        /// The message's name from now on.
        message: MessageId,
    },
    /// A message that this node sent has a new state.
    MessageState {
        /// Which message.
        message: MessageId,
        /// Its state.
        state: MessageState,
    },
    /// A text arrived; each message is reported once.
    TextReceived(TextReceived),
    /// A file was offered.
    FileReceived(FileReceived),
    /// Words with more to them arrived, or a change of an earlier message.
    ContentReceived(ContentReceived),
    /// A fetch went on.
    FetchProgress {
        /// The file's reference.
        reference: Vec<u8>,
        /// Bytes of chunks that are here.
        bytes: u64,
    },
    /// A fetch is complete: all chunks are stored and verified.
    FetchComplete {
        /// The file's reference.
        reference: Vec<u8>,
        /// Chunks that came from each holder.
        holders: Vec<(Address, u64)>,
    },
    /// A fetch stopped; what arrived is kept.
    FetchFailed {
        /// The file's reference.
        reference: Vec<u8>,
        /// Why, in words.
        reason: String,
    },
    /// The answer to [`crate::Command::Ping`].
    Pong {
        /// Which command.
        request: RequestId,
        /// Round trip.
        rtt: Duration,
        /// Links on the path.
        hops: u8,
    },
    /// One relay's answer to [`crate::Command::Trace`].
    TraceHop {
        /// Which command.
        request: RequestId,
        /// How many links away the relay is.
        hop: u8,
        /// Round trip to it, or `None` if it did not answer.
        rtt: Option<Duration>,
    },
    /// The answer to [`crate::Command::Perf`].
    PerfReport {
        /// Which command.
        request: RequestId,
        /// Payload bytes that arrived.
        bytes_received: u64,
        /// Echoes sent beside the stream.
        packets_sent: u64,
        /// Echoes that came back; the rest was lost on one of the two ways.
        packets_received: u64,
        /// From the first to the last byte at the far end.
        elapsed: Duration,
    },
    /// Of payments and channels.
    Money(smartmesh_channel::Event),
    /// There is news on the board, or a [`crate::Command::Board`] was carried out.
    Board(BoardEvent),
    /// Somebody within a few hops who wishes to be seen.
    Seen {
        /// Whom.
        address: Address,
        /// Their key.
        key: NodeKey,
        /// The name they chose.
        name: String,
    },
}

/// A text from a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextReceived {
    /// The message.
    pub message: MessageId,
    /// From whom, proven.
    pub from: Address,
    /// What.
    pub text: String,
    /// When the sender's clock said it was written.
    pub sent_at: UnixTime,
    /// How it came.
    pub path: PathKind,
}

/// A file that a contact offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReceived {
    /// The message.
    pub message: MessageId,
    /// From whom, proven.
    pub from: Address,
    /// The file.
    pub offer: FileOffer,
    /// When the sender's clock said it was offered.
    pub sent_at: UnixTime,
    /// How the offer came.
    pub path: PathKind,
}

/// Words with more to them, or a change of an earlier message, from a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentReceived {
    /// The message.
    pub message: MessageId,
    /// From whom, proven.
    pub from: Address,
    /// What: [`Content::Say`] or [`Content::Change`].
    pub content: Content,
    /// When the sender's clock said it was written.
    pub sent_at: UnixTime,
    /// How it came.
    pub path: PathKind,
}

/// How a message reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathKind {
    /// Along a live path.
    Live,
    /// Carried by people.
    Carried,
}

/// Where a sent message is, honestly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// No path yet; tries until then.
    Waiting {
        /// When it gives up.
        until: UnixTime,
    },
    /// This many phones carry a copy.
    Carried {
        /// How many.
        by: u32,
    },
    /// It left along a live path and nobody has confirmed it yet.
    Sent,
    /// The other phone has it.
    Arrived,
    /// The other person has read it.
    Read,
    /// It will not arrive.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

/// Why a command was refused; the shell puts it into words with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// The address or invite cannot be read.
    #[error("this is neither a mesh address nor an invite: {0}")]
    NotAnInvite(String),
    /// No contact has this address.
    #[error("{0} is not among your contacts; add them first")]
    UnknownContact(Address),
    /// Too long, or not allowed.
    #[error("{0}")]
    Invalid(String),
    /// A bounded queue is full.
    #[error("too many things are waiting ({0}); try again when some are done")]
    Full(&'static str),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// No way leads there at this moment.
    #[error("no path to {0} at this moment: {1}")]
    NoPath(Address, String),
    /// Of payments and channels.
    #[error("{0}")]
    Money(smartmesh_channel::CommandError),
    /// Nobody answered in time.
    #[error("{0} did not answer in time")]
    Timeout(Address),
}
