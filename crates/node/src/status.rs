//! What `status`, `nearby` and `contacts` show.

use std::collections::BTreeMap;

use smartmesh_crypto::address_of;
use smartmesh_messaging::Standing;
use smartmesh_types::{Duration, LinkAddr, Now, Tag};

use crate::{BundleStatus, ContactStatus, FlowStatus, NearbyStatus, NeighbourStatus, Node, Status};

impl Node {
    /// What `status` shows.
    pub fn status(&self, _now: Now) -> Status {
        let neighbours = self
            .mesh
            .links()
            .neighbours()
            .map(|neighbour| NeighbourStatus {
                radio: neighbour.radio,
                link_addr: neighbour.addr,
                contact: neighbour.identity.map(|key| address_of(&key)),
                metric_us: neighbour.metric,
                rtt: neighbour.rtt,
                loss_permille: neighbour.loss_permille,
                suspect: neighbour.suspect,
            });
        let flows = self.mesh.flows().flows().map(|flow| FlowStatus {
            flow: flow.flow,
            peer: Some(flow.peer),
            hops: flow.hops.unwrap_or(0),
            mtu: flow.mtu.unwrap_or(0),
        });
        let custody = self.mesh.custody();
        Status {
            address: self.identity.address(),
            key: self.identity.key(),
            epoch: self.mesh.routes().epoch(),
            neighbours: neighbours.collect(),
            destinations: self.mesh.routes().destinations().count(),
            flows: flows.collect(),
            relayed_labels: self.mesh.flows().labels_used(),
            bundles: BundleStatus {
                held: custody.held(),
                bytes: custody.held_bytes(),
                own: custody.own(),
            },
            counters: self.counters(),
        }
    }

    /// The tag by which this node is advertised now; for checkers that walk along routes.
    pub fn own_tag(&self) -> Tag {
        self.mesh.routes().tag_of(self.identity.address())
    }

    /// Where a packet for this tag would go from here by routing alone, on the neighbour's radio.
    pub fn next_hop(&self, tag: Tag) -> Option<LinkAddr> {
        let ways = self.mesh.routes().next_hops(tag);
        let way = ways.into_iter().find(|way| way.feasible)?;
        let neighbour = self.mesh.links().neighbour(way.neighbour)?;
        Some(neighbour.addr)
    }

    /// Who can be reached, nearest first.
    pub fn nearby(&self, now: Now) -> Vec<NearbyStatus> {
        let names: BTreeMap<_, _> = self
            .contacts()
            .into_iter()
            .map(|contact| (contact.address, contact.name))
            .collect();
        let mut nearby: Vec<NearbyStatus> = self
            .mesh
            .routes()
            .destinations()
            .map(|destination| {
                let address = self.people.by_tag(destination.tag);
                let seen = address.and_then(|address| self.people.seen().get(&address));
                let name = address.and_then(|address| names.get(&address).cloned().flatten());
                NearbyStatus {
                    address,
                    name: name.or_else(|| seen.map(|seen| seen.name.clone())),
                    hops: destination.hops,
                    metric_us: destination.metric,
                    fresh: now.instant.since(destination.heard_at),
                    last_heard: address.and_then(|address| self.people.last_heard(address)),
                }
            })
            .collect();
        nearby.sort_by_key(|person| (person.address.is_none(), person.hops, person.metric_us));
        nearby
    }

    /// The contacts, blocked ones included.
    pub fn contacts(&self) -> Vec<ContactStatus> {
        let contacts = self.messaging.contacts().into_iter();
        contacts
            .map(|contact| ContactStatus {
                address: contact.address,
                name: (!contact.name.is_empty()).then_some(contact.name),
                blocked: contact.standing == Standing::Blocked,
                key: contact.key,
                verified: contact.verified,
                stranger: contact.standing == Standing::Stranger,
                keys_known: contact.has_keys,
            })
            .collect()
    }

    /// How long ago the nearest proof of somebody's presence is; none if there is no way to them.
    pub fn freshness(&self, address: smartmesh_types::Address, now: Now) -> Option<Duration> {
        self.nearby(now)
            .into_iter()
            .find(|person| person.address == Some(address))
            .map(|person| person.fresh)
    }
}
