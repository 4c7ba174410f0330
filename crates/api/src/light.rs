//! What the light node believes, for people and programs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The light node's state.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LightStatus {
    /// Name of the network; empty before the checkpoint is reached.
    pub network: String,
    /// The newest head that a majority signed; it may still be replaced.
    pub head: Option<LightHead>,
    /// The newest head that is final.
    pub finalized: Option<LightHead>,
    /// Sync-committee period of the final head.
    pub period: u64,
    /// Root of the committee that signs in this period.
    pub committee: Option<String>,
    /// Whether the next committee is known.
    pub next_committee_known: bool,
    /// The most members that signed one head in this period.
    pub signed: u64,
    /// Members of a committee.
    pub members: u64,
    /// Who is asked.
    pub sources: Vec<LightSource>,
    /// Why nothing new is heard, if so.
    pub trouble: Option<String>,
}

/// A beacon head.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LightHead {
    /// Its slot.
    pub slot: u64,
    /// Hash of its execution block.
    pub block: Option<String>,
}

/// Somebody who is asked and not trusted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LightSource {
    /// Where it is.
    pub name: String,
    /// Whether it is the one asked now.
    pub in_use: bool,
    /// How often it lied, stalled or lacked something.
    pub faults: u64,
    /// What that was last.
    pub last_fault: Option<String>,
}
