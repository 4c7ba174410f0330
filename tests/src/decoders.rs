//! Every decoder of bytes from outside, each as one function over bytes: the body of a cargo-fuzz target in `fuzz/` and of
//! the mutation run in `tests/decoders.rs`. What decodes must encode and decode again to the same value.

use smartmesh_wire::Family;
use smartmesh_wire::bundle::{BundleHeader, BundleMessage, MailOffer, Vaccine};
use smartmesh_wire::chunk::{ChunkFrames, ChunkMessage};
use smartmesh_wire::flow::FlowMessage;
use smartmesh_wire::gossip::GossipMessage;
use smartmesh_wire::invite::PrekeyBundle;
use smartmesh_wire::link::{Acknowledgement, ClearFrame, Fragment, LinkMessage, Offer, Segment};
use smartmesh_wire::message::{Body, Envelope, Object, Piece};
use smartmesh_wire::mute_list::MuteList;
use smartmesh_wire::post::Post;
use smartmesh_wire::route::{decode_route_body, encode_route_body};

/// A decoder under test: its name, its body, and a folder of `fuzz/corpus` with inputs to start from.
pub struct Target {
    /// Also the name of the cargo-fuzz target and of its corpus.
    pub name: &'static str,
    /// Panics if something is wrong.
    pub body: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    Target {
        name: "link",
        body: link,
    },
    Target {
        name: "route",
        body: route,
    },
    Target {
        name: "flow",
        body: flow,
    },
    Target {
        name: "gossip",
        body: gossip,
    },
    Target {
        name: "bundle",
        body: bundle,
    },
    Target {
        name: "chunk",
        body: chunk,
    },
    Target {
        name: "message",
        body: message,
    },
    Target {
        name: "invite",
        body: invite,
    },
    Target {
        name: "post",
        body: post,
    },
    Target {
        name: "family",
        body: family,
    },
];

/// Frames between neighbours.
pub fn link(bytes: &[u8]) {
    if let Ok(frame) = ClearFrame::decode(bytes) {
        let again = frame.encode();
        assert_eq!(ClearFrame::decode(&again), Ok(frame));
    }
    if let Ok(message) = LinkMessage::decode(bytes) {
        assert_eq!(LinkMessage::decode(&message.encode()), Ok(message));
    }
    let _ = Offer::decode(bytes);
    let _ = Acknowledgement::decode(bytes);
    let _ = Segment::decode(bytes);
    let _ = Fragment::decode(bytes);
}

/// Public posts, and lists of muted people.
pub fn post(bytes: &[u8]) {
    if let Ok(post) = Post::decode(bytes) {
        let again = post.encode().expect("what was decoded can be encoded");
        assert_eq!(Post::decode(&again), Ok(post));
    }
    if let Some(list) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| MuteList::from_text(text).ok())
    {
        assert_eq!(MuteList::from_text(&list.to_text()), Ok(list));
    }
}

/// Routes and searches.
pub fn route(bytes: &[u8]) {
    if let Ok(body) = decode_route_body(bytes) {
        let again = decode_route_body(&encode_route_body(&body.sections))
            .expect("what was decoded can be encoded");
        assert_eq!(again.sections, body.sections);
    }
}

/// Set-up and repair of flows.
pub fn flow(bytes: &[u8]) {
    if let Ok(message) = FlowMessage::decode(bytes) {
        assert_eq!(FlowMessage::decode(&message.encode()).ok(), Some(message));
    }
}

/// Broadcasts.
pub fn gossip(bytes: &[u8]) {
    if let Ok(message) = GossipMessage::decode(bytes) {
        assert_eq!(GossipMessage::decode(&message.encode()).ok(), Some(message));
    }
}

/// Carried mail.
pub fn bundle(bytes: &[u8]) {
    let _ = BundleHeader::decode(bytes);
    let _ = Vaccine::decode(bytes);
    let _ = Vaccine::decode_list(bytes);
    let _ = MailOffer::decode(bytes);
    if let Ok(message) = BundleMessage::decode(bytes) {
        assert_eq!(BundleMessage::decode(&message.encode()).ok(), Some(message));
    }
}

/// Requests for chunks, alone and cut up in a stream.
pub fn chunk(bytes: &[u8]) {
    let _ = ChunkMessage::decode(bytes);
    let mut frames = ChunkFrames::default();
    for piece in bytes.chunks(7) {
        frames.push(piece);
        while let Ok(Some(_)) = frames.next_message() {}
    }
}

/// Messages between people.
pub fn message(bytes: &[u8]) {
    let _ = Piece::decode(bytes);
    let _ = Object::decode(bytes);
    let _ = Envelope::decode(bytes);
    let _ = Body::decode(bytes);
}

/// Invites, as bytes and as text.
pub fn invite(bytes: &[u8]) {
    let _ = PrekeyBundle::decode(bytes);
    let _ = PrekeyBundle::from_text(&String::from_utf8_lossy(bytes));
}

/// The first byte of each control message.
pub fn family(bytes: &[u8]) {
    if let Ok((family, body)) = Family::split(bytes) {
        assert_eq!(family.frame(body), bytes);
    }
}
