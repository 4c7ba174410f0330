//! What must hold in every run, whatever the scenario: judged from outside, by code that shares nothing with the cores.
//!
//! | check | looks at |
//! |---|---|
//! | no plaintext, no static identity | every frame on the air, byte by byte (`World::forbid`) |
//! | delivered once | messages that a node reports again though it has not died meanwhile |
//! | no loops | for each destination, the way from every phone, once a simulated second |
//! | queues bounded | neighbours, routes, labels, flows, carried mail of every phone at the end |

use std::collections::BTreeSet;

use smartmesh_types::Tag;

use crate::World;

/// Worlds larger than this are not walked for loops: the walk looks at each pair.
const WALKED_MAX: usize = 64;

/// Neighbours that a node may keep (research: 6-8 of up to 170 heard).
const NEIGHBOURS_MAX: usize = 8;
/// Destinations of a zone and an eighth, doubled while an epoch's tags overlap.
const DESTINATIONS_MAX: usize = 2 * (256 + 32);
/// Flows that end at one phone.
const FLOWS_MAX: usize = 256;
/// Labels of one phone.
const LABELS_MAX: usize = 16_384;
/// Bytes of carried mail, own and others'.
const MAIL_BYTES_MAX: u64 = 128 * 1_024 * 1_024;

/// How often loops were found, and ways that were walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Ways from one phone to another.
    pub ways: u64,
    /// Of these, ways that come back to where they were.
    pub loops: u64,
}

/// Walks along the feasible next hops from every phone to every other, where all stand still for the moment.
pub(crate) fn walk(world: &World, walked: &mut Walked) {
    if world.len() > WALKED_MAX {
        return;
    }
    let count = u32::try_from(world.len()).unwrap_or(u32::MAX);
    for to in 0..count {
        let Some(tag) = world.node(to).map(smartmesh_node::Node::own_tag) else {
            continue;
        };
        // What is known not to loop, from any start.
        let mut good = BTreeSet::from([to]);
        for from in 0..count {
            let mut on_the_way = BTreeSet::new();
            let mut at = Some(from);
            while let Some(phone) = at.filter(|phone| !good.contains(phone)) {
                if !on_the_way.insert(phone) {
                    walked.loops = walked.loops.saturating_add(1);
                    break;
                }
                at = next(world, phone, tag);
            }
            walked.ways = walked.ways.saturating_add(1);
            good.extend(on_the_way);
        }
    }
}

fn next(world: &World, phone: u32, tag: Tag) -> Option<u32> {
    if world.is_cheat(phone) {
        return None;
    }
    let addr = world.node(phone)?.next_hop(tag)?;
    let bytes = addr.as_bytes().first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// What exceeds its bound at this moment, in words; empty if nothing does.
pub(crate) fn beyond_bounds(world: &World) -> Vec<String> {
    let count = u32::try_from(world.len()).unwrap_or(u32::MAX);
    let mut beyond = Vec::new();
    for phone in 0..count {
        let Some(node) = world.node(phone) else {
            continue;
        };
        let status = node.status(smartmesh_types::Now::default());
        let sizes = [
            ("neighbours", status.neighbours.len(), NEIGHBOURS_MAX),
            ("destinations", status.destinations, DESTINATIONS_MAX),
            ("flows", status.flows.len(), FLOWS_MAX),
            ("labels", status.relayed_labels, LABELS_MAX),
        ];
        for (what, size, most) in sizes {
            if size > most {
                beyond.push(format!(
                    "phone {phone} has {size} {what}, {most} are allowed"
                ));
            }
        }
        if status.bundles.bytes > MAIL_BYTES_MAX {
            beyond.push(format!(
                "phone {phone} carries {} bytes",
                status.bundles.bytes
            ));
        }
    }
    beyond
}
