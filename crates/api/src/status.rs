//! The node's own state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Everything that `smartmesh status` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The node's mesh address.
    pub address: String,
    /// The name its user chose.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// The data folder.
    pub data: String,
    /// What protects the keys at rest: `passphrase` or `device`.
    pub protection: String,
    /// The TUN interface, if there is one.
    pub tunnel: Option<String>,
    /// The routing epoch that the mesh agreed on.
    pub epoch: u64,
    /// Radios that are on.
    pub radios: Vec<Radio>,
    /// Neighbours that are kept.
    pub neighbours: Vec<Neighbour>,
    /// Destinations in the zone, this node not counted.
    pub destinations: usize,
    /// Live flows that end here.
    pub flows: Vec<Flow>,
    /// Labels installed for others' flows.
    pub relayed_labels: usize,
    /// Carried mail.
    pub bundles: Bundles,
    /// Each kind of dropped input and how often it happened.
    pub counters: BTreeMap<String, u64>,
}

/// One radio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Radio {
    /// What it is, such as `udp:wlan0`.
    pub name: String,
    /// Frames sent since it came up.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames received.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames dropped because its queue was full.
    pub dropped_full: u64,
    /// Frames dropped because the medium refused them.
    pub dropped_refused: u64,
    /// Received frames dropped as malformed or our own.
    pub dropped_received: u64,
}

/// One kept neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Neighbour {
    /// On which radio.
    pub radio: String,
    /// Where, such as `[fe80::1%3]:21325`.
    pub link: String,
    /// Who, if it is a contact that has proven it.
    pub contact: Option<String>,
    /// Expected cost of a 1,280-byte packet in microseconds.
    pub metric_us: u32,
    /// Smoothed round trip in microseconds.
    pub rtt_us: u64,
    /// Lost frames in parts of 1,000.
    pub loss_permille: u32,
    /// Whether it has been silent for longer than it should.
    pub suspect: bool,
}

/// One flow that ends at this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// With whom, once proven.
    pub peer: Option<String>,
    /// Links on its path.
    pub hops: u8,
    /// Payload bytes of a packet that no link has to split.
    pub mtu: usize,
}

/// The store of carried mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bundles {
    /// Bundles held for others.
    pub held: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Own mail on its way.
    pub own: usize,
}
