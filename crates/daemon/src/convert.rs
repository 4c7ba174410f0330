//! The node's values as the API's JSON types.

pub(crate) mod board;
pub(crate) mod content;

use std::collections::BTreeMap;

use smartmesh_api as api;
use smartmesh_node as node;
use smartmesh_radio::{RadioState, socket_addr};
use smartmesh_types::{Duration, LinkAddr, MessageId, RadioId};

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The id of a message as the API writes it, taken apart.
pub(crate) fn message_id(text: &str) -> Option<MessageId> {
    let bytes = hex::decode(text).ok()?;
    Some(MessageId(bytes.try_into().ok()?))
}

pub(crate) fn message_state(state: node::MessageState) -> api::MessageState {
    match state {
        node::MessageState::Waiting { until } => api::MessageState::Waiting {
            until: until.as_secs(),
        },
        node::MessageState::Carried { by } => api::MessageState::Carried { by },
        node::MessageState::Sent => api::MessageState::Sent,
        node::MessageState::Arrived => api::MessageState::Arrived,
        node::MessageState::Read => api::MessageState::Read,
        node::MessageState::Failed { reason } => api::MessageState::Failed { reason },
    }
}

pub(crate) fn path(path: node::PathKind) -> api::Path {
    match path {
        node::PathKind::Live => api::Path::Live,
        node::PathKind::Carried => api::Path::Carried,
    }
}

pub(crate) fn file_offer(offer: &node::FileOffer) -> api::FileOffer {
    api::FileOffer {
        reference: hex::encode(&offer.reference),
        size: offer.size,
        name: offer.name.clone(),
        media_type: offer.media_type.clone(),
    }
}

/// The offer as the node takes it; `None` if the reference is not hex.
pub(crate) fn node_offer(offer: &api::FileOffer) -> Option<node::FileOffer> {
    Some(node::FileOffer {
        reference: hex::decode(&offer.reference).ok()?,
        size: offer.size,
        name: offer.name.clone(),
        media_type: offer.media_type.clone(),
    })
}

pub(crate) fn received_text(text: &node::TextReceived) -> api::Message {
    api::Message {
        id: text.message.to_string(),
        peer: text.from.to_string(),
        direction: api::Direction::In,
        text: text.text.clone(),
        sent_at: text.sent_at.as_secs(),
        path: Some(path(text.path)),
        ..api::Message::default()
    }
}

pub(crate) fn received_file(file: &node::FileReceived) -> api::Message {
    api::Message {
        id: file.message.to_string(),
        peer: file.from.to_string(),
        direction: api::Direction::In,
        file: Some(file_offer(&file.offer)),
        sent_at: file.sent_at.as_secs(),
        path: Some(path(file.path)),
        ..api::Message::default()
    }
}

pub(crate) fn contact(contact: node::ContactStatus) -> api::Contact {
    api::Contact {
        address: contact.address.to_string(),
        name: contact.name,
        blocked: contact.blocked,
        verified: contact.verified,
        stranger: contact.stranger,
        keys_known: contact.keys_known,
    }
}

pub(crate) fn nearby(nearby: node::NearbyStatus) -> api::Nearby {
    api::Nearby {
        address: nearby.address.map(|address| address.to_string()),
        name: nearby.name,
        hops: nearby.hops,
        metric_us: nearby.metric_us,
        fresh_ms: millis(nearby.fresh),
        last_heard: nearby.last_heard.map(|at| at.as_secs()),
    }
}

pub(crate) fn radio(state: &RadioState) -> api::Radio {
    let counters = state.counters;
    api::Radio {
        name: state.name.clone(),
        sent_frames: counters.sent_frames,
        sent_bytes: counters.sent_bytes,
        received_frames: counters.received_frames,
        received_bytes: counters.received_bytes,
        dropped_full: counters.dropped_full,
        dropped_refused: counters.dropped_refused,
        dropped_received: counters.dropped_received,
    }
}

pub(crate) fn neighbour(
    neighbour: &node::NeighbourStatus,
    radios: &BTreeMap<RadioId, String>,
) -> api::Neighbour {
    api::Neighbour {
        radio: radios.get(&neighbour.radio).cloned().unwrap_or_default(),
        link: link(&neighbour.link_addr),
        contact: neighbour.contact.map(|address| address.to_string()),
        metric_us: neighbour.metric_us,
        rtt_us: micros(neighbour.rtt),
        loss_permille: neighbour.loss_permille,
        suspect: neighbour.suspect,
    }
}

fn link(address: &LinkAddr) -> String {
    socket_addr(address).map_or_else(
        || hex::encode(address.as_bytes()),
        |address| address.to_string(),
    )
}

pub(crate) fn flow(flow: &node::FlowStatus) -> api::Flow {
    api::Flow {
        peer: flow.peer.map(|address| address.to_string()),
        hops: flow.hops,
        mtu: flow.mtu,
    }
}

pub(crate) fn bundles(bundles: node::BundleStatus) -> api::Bundles {
    api::Bundles {
        held: bundles.held,
        bytes: bundles.bytes,
        own: bundles.own,
    }
}
