//! Whom to keep: a bounded set of neighbours that still holds everybody together. Neighbours tell each other who else is
//! linked to them on the same radio. Whoever is a neighbour of another neighbour too can be done without; whoever is heard
//! and is nobody's neighbour within two hops may live in a part of the mesh to which no way leads, and is worth a place.

use smartmesh_types::{Duration, Instant, NeighbourId, RadioId};
use smartmesh_wire::link::{AROUND_MAX, BeaconId, LinkMessage};

use super::agree::Claim;
use super::budget::Bucket;
use super::peer::Peer;
use super::{Links, count};

/// Links given up for others: a few at once when a new neighbourhood comes into reach, then seldom.
const DISPLACEMENTS_PER_1000_SECONDS: u64 = 20;
const DISPLACEMENTS_BURST: u64 = 4;
/// A link over which data went this lately is in use.
const IN_USE: Duration = Duration::from_secs(5);
/// Somebody with no more links than this needs each of them.
const LINKS_NEEDED: u8 = 3;
/// How long changes among the neighbours are gathered before the others are told.
const TELL_AROUND_AFTER: Duration = Duration::from_secs(1);

/// What displacements may cost, in thousandths.
pub(super) fn displacements(now: Instant) -> Bucket {
    let burst = DISPLACEMENTS_BURST.saturating_mul(1_000);
    Bucket::new(DISPLACEMENTS_PER_1000_SECONDS, burst, now)
}

impl Links {
    /// Whether to ask somebody for a link although there are enough: nobody near is linked to them, and it is our turn among
    /// all who hear them.
    pub(super) fn explores(&mut self, radio: RadioId, id: BeaconId, now: Instant) -> bool {
        let short = short(id);
        let near = |peer: &Peer| peer.radio == radio && peer.around.contains(&short);
        if self.peers.values().any(near) || !self.has_place(Claim::Displace, now) {
            return false;
        }
        let others = self.heard_on(radio);
        self.rng.below(others) == 0
    }

    /// Whether one more link can be kept.
    pub(super) fn has_place(&self, claim: Claim, now: Instant) -> bool {
        let free = self.peers.len() < self.config.kept_max;
        free || (claim == Claim::Displace && self.spare(now).is_some())
    }

    /// Makes sure that there is a place for one more link, by giving one up if the claim allows it.
    pub(super) fn make_place(&mut self, claim: Claim, now: Instant) -> bool {
        if self.peers.len() < self.config.kept_max {
            return true;
        }
        let spare = match claim {
            Claim::Free => None,
            Claim::Displace => self.spare(now),
        };
        let Some(spare) = spare.filter(|_| self.displacements.take(1_000, now)) else {
            return false;
        };
        count(&mut self.counters.displaced);
        self.drop_peer(spare, now);
        true
    }

    /// The neighbour that can best be done without: never a contact, nor one that carries data. At most half of the
    /// neighbours may have come by displacing others, so that nobody can take all places that way.
    pub(super) fn spare(&self, now: Instant) -> Option<NeighbourId> {
        let explored = self.peers.values().filter(|peer| peer.explored).count();
        let more_may_come = explored < self.config.kept_max / 2;
        let candidates = self.peers.values().filter_map(|peer| {
            let free = peer.identity.is_none() && now.since(peer.carried_at) >= IN_USE;
            let redundant = self.is_redundant(peer);
            let dispensable = if peer.explored {
                redundant
            } else {
                more_may_come && (redundant || peer.links > LINKS_NEEDED)
            };
            let key = (redundant, peer.links, peer.quality.announced(), peer.id);
            (free && dispensable).then_some(key)
        });
        candidates.max().map(|(_, _, _, id)| id)
    }

    /// Whether another neighbour is linked to this one too.
    fn is_redundant(&self, peer: &Peer) -> bool {
        let id = short(peer.beacon);
        let mut others = self.peers.values().filter(|other| other.id != peer.id);
        others.any(|other| {
            other.radio == peer.radio
                && (other.around.contains(&id) || peer.around.contains(&short(other.beacon)))
        })
    }

    /// The neighbours on a radio have changed: each will be told who the others are.
    pub(super) fn tell_around_soon(&mut self, radio: RadioId, now: Instant) {
        if let Some(here) = self.radios.get_mut(&radio) {
            here.around_at = here.around_at.min(now + TELL_AROUND_AFTER);
        }
    }

    /// Tells neighbours who else is one, where that has changed and it is time to.
    pub(super) fn tell_around(&mut self, now: Instant) {
        let due = self.radios.iter_mut().filter(|(_, r)| r.around_at <= now);
        let due: Vec<RadioId> = due
            .map(|(id, radio)| {
                radio.around_at = Instant::NEVER;
                *id
            })
            .collect();
        for radio in due {
            let linked = self.peers.values().filter(|peer| peer.radio == radio);
            let linked: Vec<(NeighbourId, [u8; 4])> =
                linked.map(|peer| (peer.id, short(peer.beacon))).collect();
            for (to, own) in &linked {
                let others = linked.iter().map(|(_, id)| *id).filter(|id| id != own);
                let others: Vec<[u8; 4]> = others.take(AROUND_MAX).collect();
                let peer = self.peers.get_mut(&to.0);
                if let Some(peer) = peer.filter(|peer| peer.told_around != others) {
                    peer.told_around.clone_from(&others);
                    self.send_message(*to, &LinkMessage::Around(others), now);
                }
            }
        }
    }

    pub(super) fn handle_around(&mut self, from: NeighbourId, around: Vec<[u8; 4]>) {
        if let Some(peer) = self.peers.get_mut(&from.0) {
            peer.around = around;
        }
    }
}

/// As much of a name as neighbours are told.
fn short(id: BeaconId) -> [u8; 4] {
    id.0.first_chunk().copied().unwrap_or_default()
}
