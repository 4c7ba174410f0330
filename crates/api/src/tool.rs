//! Measuring and mending.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Names the other end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Whom {
    /// An address, a contact's name, or an invite.
    pub to: String,
}

/// The answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pong {
    /// Round trip in microseconds.
    pub rtt_us: u64,
    /// Links on the path.
    pub hops: u8,
}

/// One relay on a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceHop {
    /// How many links away.
    pub hop: u8,
    /// Round trip in microseconds; nothing if it did not answer.
    pub rtt_us: Option<u64>,
}

/// Asks for a throughput measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Perf {
    /// An address, a contact's name, or an invite.
    pub to: String,
    /// For how many milliseconds to send, at most 60,000.
    pub millis: u64,
}

/// What a throughput measurement found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PerfReport {
    /// Payload bits that arrived each second.
    pub bits_per_second: u64,
    /// Payload bytes that arrived.
    pub bytes_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets that arrived.
    pub packets_received: u64,
    /// From the first to the last packet at the far end, in microseconds.
    pub elapsed_us: u64,
}

/// What each layer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// From the disk upward.
    pub checks: Vec<Check>,
}

/// One layer's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Which layer.
    pub layer: String,
    /// Whether it works.
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// What to do, if something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It works.
    Ok,
    /// It works, but not as it could.
    Warning,
    /// It does not work.
    Broken,
}

/// Whether people within a few hops may see this node's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Visibility {
    /// Whether to be seen.
    pub visible: bool,
}
