//! Who gets how many copies.
//!
//! Nodes that stay together would spend all copies on one another and then only wait. So a node tells how many others came
//! to it and left within the last hour: people who go from place to place have met many, a circle that stays together
//! nobody. Copies go to those who have met clearly more, in the manner of Spyropoulos et al. 2007 (spray and focus), half
//! of them to equals who get about (binary spray and wait), and half to one stranger at each new place.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use smartmesh_types::{Duration, Instant, NeighbourId, NodeKey};
use smartmesh_wire::bundle::{BundleId, BundleMessage};
use smartmesh_wire::ids::ShortId;

use super::store::{Held, Origin, find};
use super::{Custody, PeerRef, records};

/// How long somebody who left counts: longer than a walk to the next village.
const MET_FOR: Duration = Duration::from_secs(3_600);
/// Who has been here longer goes the same way.
const NEW_FOR: Duration = Duration::from_secs(60);
/// Most of them remembered; the one that left first is forgotten.
const MET_MAX: usize = 256;
/// One node met, in what the wire tells.
const ONE: u32 = 100;
/// Who has met so many gets about.
const ROAMS: u32 = 4 * ONE;

/// Somebody who came and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    Key(NodeKey),
    /// Left before it had proven its key.
    Nameless(NeighbourId),
}

impl Met {
    fn of(neighbour: NeighbourId, key: Option<NodeKey>) -> Self {
        key.map_or(Self::Nameless(neighbour), Self::Key)
    }
}

/// Whom this node has met, and whether it is still among the same people.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// When each one left; who has come back is not among them.
    met: BTreeMap<Met, Instant>,
    /// Counts up when somebody comes after nobody was there.
    stay: u64,
    told: u32,
}

impl Company {
    pub(super) fn stay(&self) -> u64 {
        self.stay
    }

    pub(super) fn came(&mut self, neighbour: NeighbourId, key: Option<NodeKey>, was_alone: bool) {
        self.met.remove(&Met::of(neighbour, key));
        if was_alone {
            self.stay = self.stay.saturating_add(1);
        }
    }

    fn left(&mut self, neighbour: NeighbourId, key: Option<NodeKey>, now: Instant) {
        self.met.insert(Met::of(neighbour, key), now);
        if self.met.len() > MET_MAX {
            let first = self.met.iter().min_by_key(|(_, at)| **at);
            if let Some(first) = first.map(|(met, _)| *met) {
                self.met.remove(&first);
            }
        }
    }

    /// Nodes that came and left within the last hour, in hundredths.
    fn utility(&self, now: Instant) -> u32 {
        let recent = self.met.values().filter(|at| now < **at + MET_FOR);
        u32::try_from(recent.count())
            .unwrap_or(u32::MAX)
            .saturating_mul(ONE)
    }
}

/// Whether the one gets about, and more than twice as much as the other.
fn clearly_more(one: u32, other: u32) -> bool {
    one >= ROAMS && one > other.saturating_mul(2)
}

impl Custody {
    pub(super) fn utility(&self) -> u32 {
        self.company.utility(self.now.instant)
    }

    /// A neighbour is gone; who is left hears of it if it makes this node a better carrier.
    pub(super) fn handle_down(&mut self, neighbour: NeighbourId) {
        let from = PeerRef::Neighbour(neighbour);
        if let Some(peer) = self.peers.get(&from) {
            self.company.left(neighbour, peer.key, self.now.instant);
        }
        self.forget_peer(from);
        let utility = self.utility();
        if utility < ROAMS || utility < self.company.told.saturating_mul(2) {
            return;
        }
        self.company.told = utility;
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for to in peers {
            if matches!(to, PeerRef::Neighbour(_)) {
                self.send(to, &BundleMessage::Utility { utility });
            }
        }
    }

    pub(super) fn note_told(&mut self, utility: u32) {
        self.company.told = utility;
    }

    /// Notes how much a neighbour gets about; true if that is news.
    pub(super) fn note_utility(&mut self, from: PeerRef, utility: u32) -> bool {
        let Some(peer) = self.peers.get_mut(&from) else {
            return false;
        };
        std::mem::replace(&mut peer.utility, utility) != utility
    }

    /// Tells a neighbour what it can have copies of.
    pub(super) fn tell_gifts(&mut self, to: PeerRef) {
        let ours = self.utility();
        let gifts: Vec<_> = self
            .store
            .held
            .iter()
            .filter(|(_, held)| self.share(held, to, ours) > 0)
            .map(|(id, _)| *id)
            .collect();
        self.tell_have(to, &gifts);
    }

    /// How many copies of a bundle this peer gets. `ours` is this node's utility.
    pub(super) fn share(&self, held: &Held, to: PeerRef, ours: u32) -> u8 {
        let peer = self.peers.get(&to);
        let gives = matches!(to, PeerRef::Neighbour(_)) && held.source != Some(to);
        let Some(peer) = peer.filter(|_| gives) else {
            return 0;
        };
        let half = held.copies / 2;
        let (we_roam, it_roams) = (ours >= ROAMS, peer.utility >= ROAMS);
        if clearly_more(peer.utility, ours) {
            // The sender keeps one, to hear that its mail was read.
            let most = match held.origin {
                Origin::Own => held.copies.saturating_sub(1),
                Origin::Key(_) | Origin::Strangers => held.copies,
            };
            // More in one grant is refused by who takes.
            return most.min(self.config.copies / 2);
        }
        let equal = we_roam && it_roams && peer.utility.saturating_mul(2) >= ours;
        let new = self.now.instant < peer.since + NEW_FOR;
        let stay = self.company.stay();
        if (equal && new) || (held.stay != stay && held.gave != Some(stay)) {
            return half;
        }
        // Nobody knows yet who gets about: a few copies leave, the rest waits for somebody who does.
        let kept = self.config.copies.saturating_sub(self.config.copies / 4);
        if !we_roam && held.copies > kept {
            return (held.copies / 4).max(1);
        }
        0
    }

    /// Who gets about collects copies of what it carries already; asked for once, for a second grant could not be told from the
    /// first one sent again.
    pub(super) fn ask_more(&mut self, from: PeerRef, spray: &[ShortId]) {
        let theirs = self.peers.get(&from).map_or(0, |peer| peer.utility);
        if !clearly_more(self.utility(), theirs) {
            return;
        }
        let stay = self.company.stay();
        let held = spray.iter().filter_map(|id| find(&self.store.held, *id));
        let held: Vec<_> = held
            .filter(|(_, held)| held.copies < self.config.copies && held.gave != Some(stay))
            .map(|(id, _)| id)
            .collect();
        for id in held {
            let Some(peer) = self.peers.get_mut(&from) else {
                return;
            };
            if let Entry::Vacant(entry) = peer.asked_more.entry(id) {
                entry.insert(true);
                self.send(from, &BundleMessage::Ready { id: id.0 });
            }
        }
    }

    /// Takes copies of what is held already; false if they were not asked for.
    pub(super) fn top_up(&mut self, from: PeerRef, id: BundleId, copies: u8) -> bool {
        let peer = self.peers.get_mut(&from);
        let Some(waits) = peer.and_then(|peer| peer.asked_more.get_mut(&id)) else {
            return false;
        };
        let waited = std::mem::replace(waits, false);
        let Some(held) = self.store.held.get_mut(&id).filter(|_| waited) else {
            return true;
        };
        let all = held.copies.saturating_add(copies);
        if all > self.config.copies {
            return true;
        }
        held.copies = all;
        let record = records::state(id, held, self.now);
        self.persist(record);
        self.send(from, &BundleMessage::Taken { id: id.0 });
        true
    }

    /// Lets go of what was handed over entirely, once nobody can ask for the grant again.
    pub(super) fn release(&mut self) {
        let under_way = |id: &BundleId| {
            self.peers
                .values()
                .any(|peer| peer.granted.contains_key(id))
        };
        let empty: Vec<_> = self
            .store
            .held
            .iter()
            .filter(|(id, held)| held.copies == 0 && !under_way(id))
            .map(|(id, _)| *id)
            .collect();
        for id in empty {
            self.let_go(id);
        }
    }
}
