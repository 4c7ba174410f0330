//! What goes into routing, what comes out, and what may be chosen.

use smartmesh_types::{Duration, Instant, NeighbourId, Tag};
use smartmesh_wire::route::SearchToken;

use super::search::{SearchId, SearchTarget};

/// What may be chosen about routing; the defaults suit phones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// Destinations kept, the nearest ones. 256: a village is one zone, and an entry takes some 150 bytes.
    pub zone_destinations: usize,
    /// Hops to the farthest destination kept. 64: a line of 64 is one zone.
    pub hops_max: u8,
    /// How long changes wait for others to share their message. 3 ms: 12 hops cost 36 ms of a cold start.
    pub batch: Duration,
    /// How long destination tags live. 15 minutes, as long as on-air link ids.
    pub epoch_length: Duration,
    /// How long the last epoch's tag is still answered. One minute: set-ups under way finish.
    pub epoch_overlap: Duration,
    /// How long the feasibility distance of a lost destination is remembered: longer than any stale advertisement of it
    /// can travel over links that die within seconds (RFC 8966 §3.5.1 suggests minutes).
    pub hold: Duration,
    /// How often neighbours compare digests. 5 minutes: about one byte a second and link with all headers.
    pub digest_every: Duration,
    /// How long a link keeps a cost before a lesser change is taken over.
    pub metric_damping: Duration,
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self {
            zone_destinations: 256,
            hops_max: 64,
            batch: Duration::from_millis(3),
            epoch_length: Duration::from_secs(900),
            epoch_overlap: Duration::from_secs(60),
            hold: Duration::from_secs(120),
            digest_every: Duration::from_secs(300),
            metric_damping: Duration::from_secs(5),
        }
    }
}

/// What happens to routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteInput {
    /// A link came up.
    NeighbourUp {
        /// The neighbour.
        neighbour: NeighbourId,
        /// Cost of the link, in microseconds.
        metric: u32,
    },
    /// A link is gone.
    NeighbourDown {
        /// The neighbour.
        neighbour: NeighbourId,
    },
    /// The link may be gone: alternates are preferred at once.
    Suspect {
        /// The neighbour.
        neighbour: NeighbourId,
    },
    /// The link is sound after all.
    Recovered {
        /// The neighbour.
        neighbour: NeighbourId,
    },
    /// The link's measured cost.
    Metric {
        /// The neighbour.
        neighbour: NeighbourId,
        /// Cost of the link, in microseconds.
        metric: u32,
    },
    /// The control channel refused or lost a message to the neighbour: everything is sent again soon.
    Undelivered {
        /// The neighbour.
        neighbour: NeighbourId,
    },
    /// A body of the route family.
    Message {
        /// Who sent it.
        from: NeighbourId,
        /// The body, without the family byte.
        body: Vec<u8>,
    },
    /// Look for a destination by expanding rings; ends with [`RouteOutput::Found`] or [`RouteOutput::NotFound`].
    Search {
        /// The caller's name for it.
        id: SearchId,
        /// Whom to find.
        target: SearchTarget,
        /// First hops not to take. If there are any, only the target itself may answer: a relay's route might lead back
        /// through this node.
        avoid: Vec<NeighbourId>,
        /// How many rings at most, of 4, 8, 16 and 32 hops.
        rings: u8,
    },
    /// Nothing but time has passed.
    Tick,
}

/// What routing wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteOutput {
    /// A body of the route family for the neighbour's reliable control channel.
    Send {
        /// The neighbour.
        to: NeighbourId,
        /// The body, without the family byte; at most about 1,100 bytes.
        body: Vec<u8>,
    },
    /// The best next hop to the destination is another one, or there is none any more, or there is one now.
    Changed {
        /// The destination.
        tag: Tag,
    },
    /// A search ended well.
    Found {
        /// The caller's name for it.
        id: SearchId,
        /// The path it left behind; see [`super::Routes::search_hop`].
        token: SearchToken,
        /// The tag it searched for.
        tag: Tag,
        /// Hops to the target.
        hops: u8,
        /// Cost to the target, in microseconds.
        metric: u32,
    },
    /// A search ended without an answer.
    NotFound {
        /// The caller's name for it.
        id: SearchId,
    },
    /// A new epoch of tags began.
    Epoch {
        /// Its number.
        epoch: u64,
    },
}

/// One way on to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The neighbour to hand the packet to.
    pub neighbour: NeighbourId,
    /// Cost to the destination this way, in microseconds.
    pub metric: u32,
    /// Hops to the destination this way.
    pub hops: u8,
    /// Whether this way is certain not to lead back here.
    pub feasible: bool,
}

/// One destination that can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationInfo {
    /// Its tag.
    pub tag: Tag,
    /// Hops to it.
    pub hops: u8,
    /// Cost to it, in microseconds.
    pub metric: u32,
    /// When a neighbour last said anything about it.
    pub heard_at: Instant,
}

/// What routing counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteCounters {
    /// Messages sent.
    pub messages_sent: u64,
    /// Bytes of message bodies sent.
    pub bytes_sent: u64,
    /// Messages received and understood.
    pub messages_received: u64,
    /// Updates received and taken in.
    pub updates_received: u64,
    /// Messages that could not be decoded.
    pub dropped_malformed: u64,
    /// Sections of unknown kind.
    pub dropped_unknown_sections: u64,
    /// Messages from a neighbour that is not up.
    pub dropped_unknown_neighbour: u64,
    /// Updates beyond a neighbour's budget.
    pub dropped_update_budget: u64,
    /// New destinations beyond a neighbour's budget.
    pub dropped_admission_budget: u64,
    /// New destinations too far for the zone.
    pub dropped_beyond_zone: u64,
    /// New destinations from a neighbour that is epochs behind.
    pub dropped_outdated: u64,
    /// Advertisements of this node's own tags.
    pub dropped_own_tag: u64,
    /// Requests beyond a neighbour's budget, or repeated too soon.
    pub dropped_requests: u64,
    /// Neighbours that found no free slot.
    pub refused_neighbours: u64,
    /// Destinations dropped because nearer ones filled the zone.
    pub evicted: u64,
    /// Requests for a newer sequence number sent or passed on.
    pub requests_sent: u64,
    /// Digests that did not match.
    pub digest_mismatches: u64,
    /// Searches beyond a neighbour's budget, or seen before, or without room.
    pub dropped_searches: u64,
    /// Answers nobody here asked for.
    pub dropped_answers: u64,
}
