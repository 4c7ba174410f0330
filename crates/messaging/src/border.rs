//! What goes into the core and what comes out.

use smartmesh_types::{Address, Duration, MessageId, NodeKey, RequestId, UnixTime};
use smartmesh_wire::invite::BundleError;
use smartmesh_wire::message::{Content, FileOffer};
use thiserror::Error;

use crate::state::MessageState;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A local request; answered by [`Event::Answer`] with the same id, or refused by the error of `handle`.
    Command(RequestId, Command),
    /// A flow to somebody is up, or its packets have another size.
    PathUp {
        /// Whom it leads to.
        address: Address,
        /// Their key, proven by the flow.
        key: NodeKey,
        /// The most payload bytes of one packet.
        payload_bytes: usize,
    },
    /// The flow to somebody is down, or none could be opened.
    PathDown {
        /// Whom.
        address: Address,
    },
    /// Somebody came into reach: a path is worth another try at once.
    Nearby {
        /// Whom.
        address: Address,
    },
    /// The payload of a flow's packet of kind 2.
    Packet {
        /// Who sent it, proven by the flow.
        from: Address,
        /// The payload.
        payload: Vec<u8>,
    },
    /// The payload of carried mail for this node.
    Bundle {
        /// The sealed message.
        sealed: Vec<u8>,
    },
    /// Somebody's prekeys heard by gossip.
    Gossip {
        /// The prekey bundle.
        payload: Vec<u8>,
    },
    /// So many other phones carry a copy of a deposit.
    Carried {
        /// SHA-256 of the deposit's receipt secret.
        commitment: [u8; 32],
        /// How many, this phone not counted.
        copies: u32,
    },
    /// The recipient revealed a deposit's receipt secret.
    BundleAcked {
        /// SHA-256 of the secret.
        commitment: [u8; 32],
    },
    /// Nothing but time has passed.
    Tick,
}

/// What a user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Adds a contact from an address or an invite; of one that is known it changes what is given.
    AddContact {
        /// The address or the invite's text.
        text: String,
        /// A local name of at most 64 bytes; without one, the invite's.
        name: Option<String>,
    },
    /// Makes an invite with fresh one-time prekeys, for one person or a few.
    Invite {
        /// The name to propose, at most 64 bytes; empty for none.
        name: String,
    },
    /// Sends words.
    Send {
        /// To whom; a contact.
        to: Address,
        /// At most [`crate::TEXT_BYTES_MAX`].
        text: String,
        /// How long to try; at most 30 days. `None` for the configured time.
        lifetime: Option<Duration>,
        /// Whether it passes others.
        urgency: Urgency,
    },
    /// Sends a file, words with more to them, or a change of an earlier message.
    SendContent {
        /// To whom; a contact.
        to: Address,
        /// What; none of the kinds that the core makes itself.
        content: Content,
        /// How long to try; at most 30 days. `None` for the configured time.
        lifetime: Option<Duration>,
    },
    /// Gives up a message that is not confirmed yet.
    Cancel {
        /// Which.
        message: MessageId,
    },
    /// Tells the sender that a message was read.
    MarkRead {
        /// Which received message.
        message: MessageId,
    },
    /// The shell has stored a received message for good; the core forgets its content.
    Stored {
        /// Which.
        message: MessageId,
    },
    /// Gives a person a local name; an empty one removes it.
    Rename {
        /// Whom.
        address: Address,
        /// At most 64 bytes.
        name: String,
    },
    /// Notes whether the user has compared the safety phrase with a person.
    Verify {
        /// Whom.
        address: Address,
        /// Whether it is the same on both phones.
        verified: bool,
    },
    /// Refuses everything from a person.
    Block {
        /// Whom; need not be a contact.
        address: Address,
    },
    /// Takes that back; the person is a contact afterwards.
    Unblock {
        /// Whom.
        address: Address,
    },
    /// Removes a person with all keys and unsent messages.
    Forget {
        /// Whom.
        address: Address,
    },
    /// Gossips this node's prekeys and name from now on, so that people near can write first; asked again at each start.
    Show {
        /// The name to show, at most 64 bytes.
        name: String,
    },
    /// Stops that.
    Hide,
}

/// Whether a message passes others where space or time is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// In turn.
    Normal,
    /// Before others.
    Urgent,
}

/// Why a command is refused; nothing has changed then.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// Neither an address nor an invite.
    #[error("this is neither a mesh address nor an invite: {0}")]
    NotAnInvite(BundleError),
    /// The invite's signature is wrong: damaged or forged.
    #[error("the invite is damaged or forged")]
    BadSignature,
    /// The address is this node's own.
    #[error("this is your own address")]
    Self_,
    /// No such person.
    #[error("{0} is not among your contacts; add them first")]
    UnknownContact(Address),
    /// The person is blocked.
    #[error("{0} is blocked; unblock them first")]
    Blocked(Address),
    /// No such message, or it is settled.
    #[error("no such message")]
    UnknownMessage(MessageId),
    /// Text, name or another field is too long or empty.
    #[error("{0}")]
    Invalid(&'static str),
    /// A bounded table is full.
    #[error("too many {0}; try again when some are done")]
    Full(&'static str),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Must be durable before any later output is carried out.
    Persist(Record),
    /// Find a path to somebody: open a flow and report [`Input::PathUp`] or [`Input::PathDown`].
    OpenPath {
        /// To whom.
        to: Address,
    },
    /// Send a packet of kind 2 along the flow to somebody; losing it is allowed.
    SendPacket {
        /// To whom.
        to: Address,
        /// Its payload, within the size the path has.
        payload: Vec<u8>,
    },
    /// Give a sealed message to carriers. Depositing the same bytes twice must not make two bundles.
    Deposit {
        /// To whom.
        to: Address,
        /// Which message this is.
        message: MessageId,
        /// The bundle's payload.
        sealed: Vec<u8>,
        /// When carriers may drop it.
        expires: UnixTime,
        /// What only the recipient (and this node) can reveal; the bundle commits to its SHA-256.
        receipt: [u8; 32],
        /// Whether it passes others.
        urgency: Urgency,
        /// The file it offers, whose content may be carried as well.
        file: Option<FileOffer>,
    },
    /// The message that this secret belongs to has arrived, here or there: carriers may drop their copies.
    Reveal {
        /// The secret.
        receipt: [u8; 32],
    },
    /// Gossip this node's prekeys.
    Publish {
        /// The prekey bundle, below 1 KiB.
        payload: Vec<u8>,
    },
    /// Tell the user.
    Event(Event),
}

/// One fact on disk: the newest value of a key, or its removal. Values hold keys and plaintext: the shell encrypts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Vec<u8>,
    /// The value, or `None` to remove the key.
    pub value: Option<Vec<u8>>,
}

/// What the user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command was carried out.
    Answer {
        /// Which.
        request: RequestId,
        /// What came of it.
        answer: Answer,
    },
    /// A message came. It comes again after a restart until [`Command::Stored`] confirms it; store by its id.
    MessageReceived(Message),
    /// A message of our own has a new state.
    StateChanged {
        /// Which.
        message: MessageId,
        /// Its state.
        state: MessageState,
    },
    /// There is a new person: added, or a stranger who wrote.
    ContactAdded {
        /// Whom.
        address: Address,
        /// As what.
        standing: Standing,
    },
    /// A person's name, keys or standing changed, or they were forgotten.
    ContactChanged {
        /// Whom.
        address: Address,
    },
    /// Somebody near shows their name.
    Seen {
        /// Whom.
        address: Address,
        /// Their key.
        key: NodeKey,
        /// The name they show.
        name: String,
    },
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing more to say.
    Done,
    /// Whom [`Command::AddContact`] added.
    Added(Address),
    /// The invite's text.
    Invite(String),
    /// The message is on disk; its state follows in [`Event::StateChanged`].
    Queued(MessageId),
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id; the same message never has two.
    pub id: MessageId,
    /// Who wrote it, proven.
    pub from: Address,
    /// When, by the sender's clock; shown beside `received_at` when the two are far apart.
    pub sent_at: UnixTime,
    /// When it came, by this node's clock.
    pub received_at: UnixTime,
    /// How it came.
    pub via: Via,
    /// What it says: text, file, words with more to them, a change, or something unsupported.
    pub content: Content,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// Along a live path.
    Flow,
    /// Carried by people.
    Bundle,
}

/// What a person is to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Added by the user.
    Contact,
    /// Wrote without having been added.
    Stranger,
    /// Refused.
    Blocked,
}

/// A person as the user sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactInfo {
    /// Their address.
    pub address: Address,
    /// Their key, once known.
    pub key: Option<NodeKey>,
    /// Their end-to-end X25519 key, signed by the other one, once known.
    pub seal_key: Option<[u8; 32]>,
    /// The local name, or the one they proposed; may be empty.
    pub name: String,
    /// What they are to the user.
    pub standing: Standing,
    /// Whether the user has compared the safety phrase with them.
    pub verified: bool,
    /// Whether a message could be sealed to them now.
    pub has_keys: bool,
    /// Messages to them under way.
    pub outgoing: usize,
}

/// A message of our own that is not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingInfo {
    /// Its id.
    pub message: MessageId,
    /// To whom.
    pub to: Address,
    /// Where it is.
    pub state: MessageState,
}
