//! Who is who on flows, links and routes.

use std::collections::BTreeMap;

use smartmesh_crypto::{Identity, PairSecret};
use smartmesh_mesh::link::LinkContact;
use smartmesh_types::{Address, FlowId, NodeKey, Now, Tag, UnixTime};

/// Visible strangers remembered at most; the one seen longest ago makes room.
const SEEN_MAX: usize = 256;

/// People heard from end to end remembered at most; contacts are few.
const HEARD_MAX: usize = 1_024;

/// A live path to somebody.
#[derive(Clone, Copy, Debug)]
struct Path {
    flow: FlowId,
    key: NodeKey,
    mtu: usize,
    hops: u8,
}

/// Somebody who shows their name.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) at: UnixTime,
}

/// What this node knows of people at this moment; nothing here survives a restart.
#[derive(Debug, Default)]
pub(crate) struct People {
    flows: BTreeMap<FlowId, Address>,
    paths: BTreeMap<Address, Path>,
    heard: BTreeMap<Address, UnixTime>,
    seen: BTreeMap<Address, Seen>,
    /// The contacts' tags of this epoch.
    tags: BTreeMap<Tag, Address>,
    /// The contacts' end-to-end keys, and what this node shares with each.
    pairs: BTreeMap<NodeKey, ([u8; 32], PairSecret)>,
}

impl People {
    pub(crate) fn opening(&mut self, flow: FlowId, to: Address) {
        self.flows.insert(flow, to);
    }

    pub(crate) fn flow_up(
        &mut self,
        flow: FlowId,
        peer: Address,
        key: NodeKey,
        size: (usize, u8),
        now: Now,
    ) {
        let (mtu, hops) = size;
        self.flows.insert(flow, peer);
        self.paths.insert(
            peer,
            Path {
                flow,
                key,
                mtu,
                hops,
            },
        );
        self.note_heard(peer, now);
    }

    pub(crate) fn flow_down(&mut self, flow: FlowId) -> Option<Address> {
        let peer = self.flows.remove(&flow)?;
        if self.paths.get(&peer).is_some_and(|path| path.flow == flow) {
            self.paths.remove(&peer);
        }
        Some(peer)
    }

    pub(crate) fn path_changed(
        &mut self,
        flow: FlowId,
        mtu: usize,
        hops: u8,
    ) -> Option<(Address, NodeKey)> {
        let peer = *self.flows.get(&flow)?;
        let path = self.paths.get_mut(&peer)?;
        path.mtu = mtu;
        path.hops = hops;
        Some((peer, path.key))
    }

    /// Whose flow this is, and that they were heard just now.
    pub(crate) fn heard(&mut self, flow: FlowId, now: Now) -> Option<Address> {
        let peer = *self.flows.get(&flow)?;
        self.note_heard(peer, now);
        Some(peer)
    }

    fn note_heard(&mut self, peer: Address, now: Now) {
        if self.heard.len() < HEARD_MAX || self.heard.contains_key(&peer) {
            self.heard.insert(peer, now.unix);
        }
    }

    pub(crate) fn last_heard(&self, peer: Address) -> Option<UnixTime> {
        self.heard.get(&peer).copied()
    }

    pub(crate) fn peer_of(&self, flow: FlowId) -> Option<Address> {
        self.flows.get(&flow).copied()
    }

    /// The live flow to somebody.
    pub(crate) fn flow_to(&self, peer: Address) -> Option<FlowId> {
        self.paths.get(&peer).map(|path| path.flow)
    }

    /// The key and packet size of the live path to somebody.
    pub(crate) fn path(&self, peer: Address) -> Option<(NodeKey, usize)> {
        self.paths.get(&peer).map(|path| (path.key, path.mtu))
    }

    pub(crate) fn hops(&self, flow: FlowId) -> Option<u8> {
        let peer = self.flows.get(&flow)?;
        self.paths.get(peer).map(|path| path.hops)
    }

    /// Everybody with a live path.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = Address> + '_ {
        self.paths.keys().copied()
    }

    pub(crate) fn set_tags(&mut self, tags: BTreeMap<Tag, Address>) {
        self.tags = tags;
    }

    /// Which contact or visible stranger has this tag.
    pub(crate) fn by_tag(&self, tag: Tag) -> Option<Address> {
        self.tags.get(&tag).copied()
    }

    /// Whom the links are to recognise, if the contacts' keys have changed. A key that cannot be one is left out.
    pub(crate) fn pair_up(
        &mut self,
        own: &Identity,
        keys: BTreeMap<NodeKey, [u8; 32]>,
    ) -> Option<Vec<LinkContact>> {
        let before = self.pairs.len();
        self.pairs
            .retain(|key, (seal_key, _)| keys.get(key) == Some(seal_key));
        let mut changed = self.pairs.len() != before;
        for (key, seal_key) in keys {
            if self.pairs.contains_key(&key) {
                continue;
            }
            if let Some(secret) = own.pair_secret(&seal_key) {
                self.pairs.insert(key, (seal_key, secret));
                changed = true;
            }
        }
        let contact = |(key, (_, secret)): (&NodeKey, &([u8; 32], PairSecret))| LinkContact {
            key: *key,
            secret: secret.clone(),
        };
        changed.then(|| self.pairs.iter().map(contact).collect())
    }

    pub(crate) fn note_seen(&mut self, address: Address, name: String, now: Now) {
        if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&address) {
            let oldest = self
                .seen
                .iter()
                .min_by_key(|(_, seen)| seen.at)
                .map(|(address, _)| *address);
            if let Some(oldest) = oldest {
                self.seen.remove(&oldest);
            }
        }
        self.seen.insert(address, Seen { name, at: now.unix });
    }

    pub(crate) fn seen(&self) -> &BTreeMap<Address, Seen> {
        &self.seen
    }
}
