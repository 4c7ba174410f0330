//! Files: offered, fetched, kept.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody needs to know of a file to fetch and show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileOffer {
    /// Swarm reference: 64 hex digits plain, 128 encrypted.
    pub reference: String,
    /// Bytes of the file.
    pub size: u64,
    /// File name without a path.
    pub name: String,
    /// Media type, such as `image/jpeg`; empty if unknown.
    pub media_type: String,
}

/// A file that has been stored here and offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shared {
    /// The message that offers it, if it was offered to somebody.
    pub message: Option<String>,
    /// The file.
    pub file: FileOffer,
}

/// A file that was offered to this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct File {
    /// The message that offers it.
    pub message: String,
    /// Who offers it.
    pub from: String,
    /// The file.
    pub file: FileOffer,
    /// How far it is.
    pub fetch: FetchState,
}

/// How far a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum FetchState {
    /// Nobody has asked for it yet.
    Offered,
    /// It is coming.
    Fetching {
        /// Bytes of chunks that are here.
        bytes: u64,
    },
    /// All of it is here and verified.
    Complete,
    /// It stopped; what arrived is kept and not fetched again.
    Stopped {
        /// Why.
        reason: String,
    },
}
