//! Who this node is, whom it knows, and who is near.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// Its mesh address.
    pub address: String,
    /// Its public key, 64 hex digits.
    pub key: String,
    /// What its user is called.
    pub name: String,
    /// Whether the user chose the name; else it was made from the address.
    #[serde(default)]
    pub name_chosen: bool,
}

/// Asks to call this node something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetName {
    /// 1 to 64 bytes of UTF-8.
    pub name: String,
}

/// A text that somebody else can add; holds the address and the keys for mail to this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invite {
    /// Begins with `SMARTMESH:`; capitals make a smaller QR code.
    pub invite: String,
}

/// Somebody who can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nearby {
    /// Whom, if it is a contact or wishes to be seen.
    pub address: Option<String>,
    /// The local name, or the one they chose.
    pub name: Option<String>,
    /// Links between.
    pub hops: u8,
    /// Expected cost of a 1,280-byte packet in microseconds.
    pub metric_us: u32,
    /// How long ago the route was last confirmed, in milliseconds.
    pub fresh_ms: u64,
    /// When they were last heard from end to end, if ever since the start.
    pub last_heard: Option<u64>,
}

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contact {
    /// Whom.
    pub address: String,
    /// The local name.
    pub name: Option<String>,
    /// Whether what they send is refused.
    pub blocked: bool,
    /// Whether the user has compared the safety phrase with them.
    #[serde(default)]
    pub verified: bool,
    /// Whether they wrote without having been added.
    #[serde(default)]
    pub stranger: bool,
    /// Whether a message can already be encrypted to them.
    pub keys_known: bool,
}

/// Asks to add a contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddContact {
    /// A mesh address or an invite.
    pub who: String,
    /// What to call them.
    #[serde(default)]
    pub name: Option<String>,
}

/// Whom [`AddContact`] added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Added {
    /// Their address.
    pub address: String,
}

/// Asks to call a contact something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameContact {
    /// The new name.
    pub name: String,
}

/// What two people read to each other to know that nobody stands between them; both ways say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Phrase {
    /// Four words.
    pub words: String,
    /// Four groups of five digits.
    pub digits: String,
    /// Whether the user has compared them.
    pub verified: bool,
}

/// Says whether the phrase is the same on both phones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyContact {
    /// Whether it is.
    pub verified: bool,
}

/// Asks to refuse or accept again what a contact sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockContact {
    /// Whether to refuse from now on.
    pub blocked: bool,
}
