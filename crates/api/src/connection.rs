//! How a client finds the node, and how the node says no.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What every path of the API begins with; a later version that breaks clients gets another one.
pub const VERSION_PREFIX: &str = "/v1";

/// The file `api.json` in the node's data folder, readable by its user alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Where the API is, such as `http://127.0.0.1:21326`.
    pub url: String,
    /// 64 hex digits; sent as `Authorization: Bearer TOKEN`.
    pub token: String,
    /// The node's process.
    pub pid: u32,
}

/// An address that opens the app in a browser, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenKey {
    /// The address; its fragment holds the key.
    pub url: String,
    /// For how many seconds it opens.
    pub valid_secs: u64,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What was wrong, in one sentence.
    pub error: String,
    /// What to do about it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}
