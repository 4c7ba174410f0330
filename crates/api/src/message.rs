//! Messages between people, and where they honestly are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::FileOffer;

/// Asks to send a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendText {
    /// An address, a contact's name, an invite, or a group (`group:` and its id, or its name).
    pub to: String,
    /// At most 16 KiB of UTF-8, 4 KiB beside a file; may be empty beside a file.
    #[serde(default)]
    pub text: String,
    /// The id of the message it answers.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// After so many seconds both sides remove it: the sender's from sending, the reader's from reading.
    #[serde(default)]
    pub vanish_secs: Option<u32>,
    /// A file that `POST /v1/files` has stored. One of at most 12 KiB under a plain reference rides inside the message and
    /// is carried with it.
    #[serde(default)]
    pub file: Option<FileOffer>,
    /// Makes the file a picture that is seen before it is fetched.
    #[serde(default)]
    pub photo: Option<Photo>,
    /// Makes the file something spoken.
    #[serde(default)]
    pub voice: Option<Voice>,
}

/// A picture, before it is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Photo {
    /// A small picture in base64, at most 8 KiB before that.
    pub thumbnail: String,
    /// Width of the file's picture in pixels.
    pub width: u16,
    /// Its height.
    pub height: u16,
}

/// Something spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Voice {
    /// How long it is, in milliseconds.
    pub duration_ms: u32,
    /// How loud it is from begin to end: at most 128 steps of 0 to 255.
    #[serde(default)]
    pub waveform: Vec<u8>,
}

/// One person's sign on a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reaction {
    /// Who: an address.
    pub who: String,
    /// Whether it is this phone's user's.
    pub own: bool,
    /// The sign.
    pub emoji: String,
}

/// Puts a sign on a message; an empty one takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct React {
    /// At most 32 bytes.
    pub emoji: String,
}

/// Gives a message of one's own other words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditText {
    /// At most 16 KiB of UTF-8.
    pub text: String,
}

/// All that was said with one person or in one group, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Conversation {
    /// The person's address, or `group:` and the group's id.
    pub peer: String,
    /// What the user calls them, or the group's name.
    pub name: Option<String>,
    /// The newest message.
    pub last: Message,
    /// Received messages that were not read here.
    pub unread: u64,
}

/// A message that is stored and on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Queued {
    /// Its id, 32 hex digits.
    pub id: String,
    /// To whom.
    pub to: String,
}

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Its id, 32 hex digits.
    pub id: String,
    /// Its place in this node's history; larger is later.
    pub sequence: u64,
    /// The other person.
    pub peer: String,
    /// What the user calls them.
    #[serde(default)]
    pub peer_name: Option<String>,
    /// Whether it came or went.
    pub direction: Direction,
    /// The text; empty for a file.
    pub text: String,
    /// The file, if it offers one.
    #[serde(default)]
    pub file: Option<FileOffer>,
    /// When its sender's clock said it was written.
    pub sent_at: u64,
    /// How it came, for a received one.
    #[serde(default)]
    pub path: Option<Path>,
    /// Where it is, for a sent one.
    #[serde(default)]
    pub state: Option<MessageState>,
    /// Whether a received one has been read here.
    pub read: bool,
    /// Who wrote it, in a group; `peer` is the group then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What the user calls the author, or what they call themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_name: Option<String>,
    /// The id of the message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// What the file's picture looks like, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo: Option<Photo>,
    /// How the file sounds, if it is something spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<Voice>,
    /// Signs that people have put on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    /// When its author gave it other words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<u64>,
    /// Whether its author has removed it.
    #[serde(default)]
    pub deleted: bool,
    /// So many seconds after sending (one's own) or reading it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vanish_secs: Option<u32>,
    /// When it will be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vanish_at: Option<u64>,
}

/// Whether a message came or went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the other person.
    #[default]
    In,
    /// To the other person.
    Out,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Along a live path.
    Live,
    /// Carried by people.
    Carried,
}

/// Where a sent message is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum MessageState {
    /// No path yet.
    Waiting {
        /// When it gives up, Unix seconds.
        until: u64,
    },
    /// Phones carry copies.
    Carried {
        /// How many.
        by: u32,
    },
    /// It left along a live path.
    Sent,
    /// The other phone has it.
    Arrived,
    /// The other person has read it.
    Read,
    /// It will not arrive.
    Failed {
        /// Why.
        reason: String,
    },
}

impl MessageState {
    /// Whether the other phone has it.
    pub fn has_arrived(&self) -> bool {
        match self {
            Self::Arrived | Self::Read => true,
            Self::Waiting { .. } | Self::Carried { .. } | Self::Sent | Self::Failed { .. } => false,
        }
    }
}

impl std::fmt::Display for MessageState {
    /// The state in words; the time of giving up is left to who knows the user's clock.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting { .. } => f.write_str("waiting (no path yet)"),
            Self::Carried { by: 1 } => f.write_str("carried by 1 phone"),
            Self::Carried { by } => write!(f, "carried by {by} phones"),
            Self::Sent => f.write_str("sent"),
            Self::Arrived => f.write_str("arrived"),
            Self::Read => f.write_str("read"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
        }
    }
}
