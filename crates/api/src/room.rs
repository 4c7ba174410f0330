//! The public room nearby, and whom the user does not want to hear there.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Words in the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomMessage {
    /// Its id, 32 hex digits.
    pub id: String,
    /// Who: an address.
    pub author: String,
    /// What they are called: by the user, or else by their own words.
    pub name: String,
    /// Whether it is this phone's own.
    pub own: bool,
    /// The words.
    pub text: String,
    /// When, Unix seconds by the author's clock.
    pub made: u64,
    /// When it was heard here.
    pub heard_at: u64,
    /// Links between.
    pub hops: u8,
}

/// Says something in the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SayInRoom {
    /// 1 to 800 bytes of UTF-8. Everybody near can read it, and that this phone said it.
    pub text: String,
}

/// Somebody the user does not want to hear in the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Muted {
    /// Their address.
    pub address: String,
    /// What the user calls them.
    pub name: Option<String>,
}

/// Mutes somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MutePerson {
    /// An address or a contact's name.
    pub who: String,
}

/// The user's list of muted people as a signed text: it can be given to others, who may adopt it, and taken to another phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MuteList {
    /// Begins with `SMARTMESH-MUTES:`.
    pub text: String,
}
