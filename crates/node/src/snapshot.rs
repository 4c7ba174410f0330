//! The node's state as `status` and `nearby` show it.

use smartmesh_types::{Address, Duration, FlowId, LinkAddr, NodeKey, RadioId, UnixTime};

/// Everything `status` shows, taken at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who this node is.
    pub address: Address,
    /// Its key.
    pub key: NodeKey,
    /// Epoch of the routing tags that the mesh agreed on.
    pub epoch: u64,
    /// Neighbours that are kept.
    pub neighbours: Vec<NeighbourStatus>,
    /// Destinations in the zone, this node not counted.
    pub destinations: usize,
    /// Live flows that end here.
    pub flows: Vec<FlowStatus>,
    /// Labels installed for others' flows.
    pub relayed_labels: usize,
    /// Carried mail.
    pub bundles: BundleStatus,
    /// Each kind of dropped input and how often it happened, by name.
    pub counters: Vec<(String, u64)>,
}

/// One kept neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourStatus {
    /// On which radio.
    pub radio: RadioId,
    /// Where, in the radio's own form.
    pub link_addr: LinkAddr,
    /// Who, if it is a contact that has proven it.
    pub contact: Option<Address>,
    /// Expected cost of a 1,280-byte packet in microseconds.
    pub metric_us: u32,
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Lost frames in parts of 1,000.
    pub loss_permille: u32,
    /// Whether it has been silent for longer than it should.
    pub suspect: bool,
}

/// One flow that ends at this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatus {
    /// Its local name.
    pub flow: FlowId,
    /// With whom, once proven.
    pub peer: Option<Address>,
    /// Links on its path.
    pub hops: u8,
    /// Payload bytes of a packet that no link has to split.
    pub mtu: usize,
}

/// The custody store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BundleStatus {
    /// Bundles held for others.
    pub held: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Own mail on its way.
    pub own: usize,
}

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactStatus {
    /// Whom.
    pub address: Address,
    /// The local name.
    pub name: Option<String>,
    /// Whether what they send is refused.
    pub blocked: bool,
    /// Their key, once known.
    pub key: Option<NodeKey>,
    /// Whether the user has compared the safety phrase with them.
    pub verified: bool,
    /// Whether they wrote without having been added.
    pub stranger: bool,
    /// Whether a message can already be encrypted to them.
    pub keys_known: bool,
}

/// Somebody who can be reached, with proof of when that was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearbyStatus {
    /// Whom, if it is a contact or wishes to be seen.
    pub address: Option<Address>,
    /// The local name, or the one they chose.
    pub name: Option<String>,
    /// Links between.
    pub hops: u8,
    /// Expected cost of a 1,280-byte packet in microseconds.
    pub metric_us: u32,
    /// How long ago the route was last confirmed.
    pub fresh: Duration,
    /// When they were last heard from end to end, if ever since start.
    pub last_heard: Option<UnixTime>,
}
