//! What the user (through the shell) asks of the node.

use smartmesh_messaging::{BoardCommand, Content};
use smartmesh_types::{Address, MessageId};

/// A local request; each is answered by events that carry its [`smartmesh_types::RequestId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Adds somebody from an address or the text of an invite.
    AddContact {
        /// An IPv6 mesh address or a `smartmesh:` invite.
        text: String,
        /// What the user calls them; at most 64 bytes of UTF-8.
        name: Option<String>,
    },
    /// Gives a contact another local name.
    RenameContact {
        /// Whom.
        address: Address,
        /// The new name.
        name: String,
    },
    /// Refuses or accepts again what a contact sends.
    BlockContact {
        /// Whom.
        address: Address,
        /// Whether to refuse from now on.
        blocked: bool,
    },
    /// Removes a contact and its keys.
    ForgetContact {
        /// Whom.
        address: Address,
    },
    /// Makes an invite that somebody else can add.
    MakeInvite,
    /// Sends a text to a contact.
    SendText {
        /// To whom.
        to: Address,
        /// At most 16 KiB of UTF-8.
        text: String,
    },
    /// Tells a contact of a file whose chunks the shell has already stored.
    OfferFile {
        /// To whom.
        to: Address,
        /// The file.
        offer: FileOffer,
    },
    /// Sends words with more to them, or a change of an earlier message, to a contact.
    SendContent {
        /// To whom.
        to: Address,
        /// What.
        content: Content,
    },
    /// Notes whether the user has compared the safety phrase with a contact.
    VerifyContact {
        /// Whom.
        address: Address,
        /// Whether it is the same on both phones.
        verified: bool,
    },
    /// Tells the sender that a message was read.
    MarkRead {
        /// Which.
        message: MessageId,
    },
    /// The shell has stored a received message for good; until then it is reported again after each start.
    Stored {
        /// Which.
        message: MessageId,
    },
    /// Gives up a message that is not confirmed yet.
    Cancel {
        /// Which.
        message: MessageId,
    },
    /// Fetches an offered file's chunks from whoever has them.
    FetchFile {
        /// Whose message offered it.
        from: Address,
        /// The file.
        offer: FileOffer,
    },
    /// Stops a fetch; what arrived stays and is not fetched again.
    CancelFetch {
        /// The reference given to [`Command::FetchFile`].
        reference: Vec<u8>,
    },
    /// Measures the round trip to a node once.
    Ping {
        /// Whom.
        to: Address,
    },
    /// Asks each relay on the path for its round trip.
    Trace {
        /// Whom.
        to: Address,
    },
    /// Measures throughput and loss end to end.
    Perf {
        /// Whom.
        to: Address,
        /// For how many milliseconds to send.
        millis: u64,
    },
    /// Says something to everybody near, or changes what is shown of what others say.
    Board(BoardCommand),
    /// From now on the user is called this; at most 64 bytes of UTF-8.
    SetName {
        /// The name.
        name: String,
    },
    /// Pays, or opens, changes or ends a channel.
    Money(smartmesh_channel::Command),
    /// Lets people within a few hops see this node's name and keys, or stops it.
    SetVisible {
        /// Whether to be seen.
        visible: bool,
    },
}

/// What somebody needs to know of a file to fetch and show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOffer {
    /// Swarm reference: 32 bytes plain, 64 bytes encrypted.
    pub reference: Vec<u8>,
    /// Bytes of the file.
    pub size: u64,
    /// File name without a path, at most 255 bytes of UTF-8.
    pub name: String,
    /// Media type, such as `image/jpeg`; empty if unknown.
    pub media_type: String,
}
