//! Messages between people, and where they honestly are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::FileOffer;

/// Asks to send a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendText {
    /// An address, a contact's name, or an invite.
    pub to: String,
    /// At most 16 KiB of UTF-8.
    pub text: String,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
}

/// Whether a message came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the other person.
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
