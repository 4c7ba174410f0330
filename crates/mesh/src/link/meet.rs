//! Finding each other: beacons, who was heard, and the names under which a radio shows itself for a while.

use smartmesh_crypto::KeyPair;
use smartmesh_types::{
    Broadcast, Destination, Duration, Instant, LinkAddr, NeighbourId, RadioId, Train,
};
use smartmesh_wire::link::{Beacon, BeaconId, ClearFrame, Purpose};

use super::agree::VERSIONS;
use super::{LinkOutput, Links, count};

/// First and slowest pace of beacons: fast while something is new around, slow when nothing is.
pub(super) const BEACON_GAP_MIN: Duration = Duration::from_millis(10);
/// The pace to which a node with enough links returns when something changes.
pub(super) const BEACON_GAP_CALM: Duration = Duration::from_secs(1);
const BEACON_GAP_MAX: Duration = Duration::from_secs(6);
/// How long not to ask somebody again who was busy or did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long somebody is remembered who is not heard any more.
const HEARD_LIFETIME: Duration = Duration::from_secs(60);
/// How long a radio with neighbours is silent under its new name, so that they know it before others hear it.
const ROTATION_PAUSE: Duration = Duration::from_secs(2);
/// Of many who hear a beacon about this many answer.
const ANSWERS_WANTED: u64 = 8;

/// Somebody in reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    at: Instant,
    beacons: u32,
    not_before: Instant,
}

impl Links {
    pub(super) fn handle_clear(
        &mut self,
        radio: RadioId,
        from: LinkAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        let Ok(frame) = ClearFrame::decode(bytes) else {
            return count(&mut self.counters.malformed);
        };
        match frame {
            ClearFrame::Beacon(beacon) => self.handle_beacon(radio, from, beacon, now),
            ClearFrame::First(first) => self.handle_first(radio, from, &first, now),
            ClearFrame::Cookie { receiver, cookie } => self.handle_cookie(receiver, cookie, now),
            ClearFrame::Second {
                receiver,
                sender,
                noise,
            } => self.handle_second(radio, from, (receiver, sender), noise, now),
            ClearFrame::Third { receiver, noise } => self.handle_third(receiver, noise, now),
            ClearFrame::Versions { receiver, .. } | ClearFrame::Busy { receiver } => {
                self.give_up(receiver, now)
            }
        }
    }

    /// Sends the beacons that are due and gives new names to radios whose names are old.
    pub(super) fn send_beacons(&mut self, now: Instant) {
        let due = self.radios.iter().filter(|(_, r)| r.beacon_at <= now);
        let due: Vec<(RadioId, Instant)> = due.map(|(id, r)| (*id, r.id_until)).collect();
        for (radio, id_until) in due {
            if id_until <= now && self.rotate(radio, now) == Pause::Needed {
                continue;
            }
            self.send_beacon(radio, now);
        }
    }

    /// Gives a radio a new name and a new link key, so that it cannot be followed from one hour to the next. Its neighbours
    /// are told inside their sessions, under new session keys.
    fn rotate(&mut self, radio: RadioId, now: Instant) -> Pause {
        let lifetime = self.draw_key_lifetime();
        let Some(here) = self.radios.get_mut(&radio) else {
            return Pause::Needed;
        };
        here.id = BeaconId(self.rng.bytes());
        here.key = KeyPair::generate(&mut self.rng);
        here.id_until = now + lifetime;
        let linked = self.peers.values().filter(|peer| peer.radio == radio);
        let linked: Vec<NeighbourId> = linked.map(|peer| peer.id).collect();
        if linked.is_empty() {
            return Pause::Needless;
        }
        if let Some(here) = self.radios.get_mut(&radio) {
            here.beacon_at = now + ROTATION_PAUSE;
        }
        for neighbour in linked {
            self.renew(neighbour, now);
        }
        Pause::Needed
    }

    /// Three to five quarters of the lifetime: many nodes must not change at once, nor at times that can be foretold.
    pub(super) fn draw_key_lifetime(&mut self) -> Duration {
        let millis = u64::try_from(self.config.key_lifetime.as_millis()).unwrap_or(u64::MAX);
        let quarter = millis / 4;
        let drawn = self.rng.below(quarter.saturating_mul(2));
        Duration::from_millis(millis.saturating_sub(quarter).saturating_add(drawn))
    }

    fn send_beacon(&mut self, radio: RadioId, now: Instant) {
        let beacon = ClearFrame::Beacon(self.beacon(radio)).encode();
        let jitter = self.rng.below(1_000);
        let Some(here) = self.radios.get_mut(&radio) else {
            return;
        };
        here.beacon_gap = here.beacon_gap.saturating_mul(2).min(BEACON_GAP_MAX);
        let gap = u64::try_from(here.beacon_gap.as_micros()).unwrap_or(u64::MAX);
        let gap = Duration::from_micros(gap.saturating_add(gap.saturating_mul(jitter) / 4_000));
        here.beacon_at = now + gap;
        here.heard
            .retain(|_, heard| now.since(heard.at) < HEARD_LIFETIME);
        let broadcast = match here.info.broadcast {
            Broadcast::Yes => Some(Destination::Broadcast),
            Broadcast::No => None,
        };
        let linked = |addr: &LinkAddr| {
            let mut peers = self.peers.values();
            peers.any(|peer| peer.radio == radio && peer.addr == *addr)
        };
        let asked = here.info.peers.iter().filter(|addr| !linked(addr));
        let asked = asked.map(|addr| Destination::Peer(*addr));
        for to in broadcast.into_iter().chain(asked) {
            let train = Train::single(beacon.clone());
            self.outputs
                .push_back(LinkOutput::Transmit { radio, to, train });
        }
    }

    fn beacon(&self, radio: RadioId) -> Beacon {
        Beacon {
            versions: VERSIONS,
            links: self.links_on(radio),
            id: self.radio_id(radio),
        }
    }

    pub(super) fn links_on(&self, radio: RadioId) -> u8 {
        let links = self.peers.values().filter(|peer| peer.radio == radio);
        u8::try_from(links.count()).unwrap_or(u8::MAX)
    }

    pub(super) fn radio_id(&self, radio: RadioId) -> BeaconId {
        self.radios
            .get(&radio)
            .map(|radio| radio.id)
            .unwrap_or_default()
    }

    /// Whether this is the name of one of this node's radios: two of them may hear each other.
    pub(super) fn is_own(&self, id: BeaconId) -> bool {
        self.radios.values().any(|radio| radio.id == id)
    }

    /// Whether somebody of this name is a neighbour.
    pub(super) fn is_linked(&self, radio: RadioId, id: BeaconId) -> bool {
        self.peers
            .values()
            .any(|peer| peer.radio == radio && peer.beacon == id)
    }

    fn handle_beacon(&mut self, radio: RadioId, from: LinkAddr, beacon: Beacon, now: Instant) {
        let asking = self
            .pending
            .values()
            .any(|pending| pending.radio == radio && pending.to == beacon.id);
        if asking || self.is_own(beacon.id) || self.is_linked(radio, beacon.id) {
            return;
        }
        let Some(beacons) = self.note_heard(radio, beacon, now) else {
            return;
        };
        // Those under way count: otherwise a whole cell that starts at once would meet everybody.
        let under_way = self.pending.len().saturating_add(self.halves.len());
        let mine = self.peers.len().saturating_add(under_way);
        let theirs = usize::from(beacon.links);
        let wanted = self.config.kept_wanted;
        if mine >= wanted && (mine >= self.config.kept_max || theirs > 1) {
            if beacons > 1 && self.explores(radio, beacon.id, now) {
                self.begin(radio, from, beacon.id, Purpose::Explore, now);
            }
        } else if self.radio_id(radio) < beacon.id || theirs >= wanted || beacons > 1 {
            self.begin(radio, from, beacon.id, Purpose::Ordinary, now);
        } else if self.rng.below(self.heard_on(radio)) < ANSWERS_WANTED {
            // They begin once they know of us.
            let frame = ClearFrame::Beacon(self.beacon(radio));
            self.send_clear(radio, from, &frame);
        }
    }

    /// How many others were heard lately and are no neighbours, at least one.
    pub(super) fn heard_on(&self, radio: RadioId) -> u64 {
        let heard = self.radios.get(&radio).map_or(0, |here| here.heard.len());
        u64::try_from(heard).unwrap_or(u64::MAX).max(1)
    }

    /// Remembers that somebody was heard, and says how often; `None` if nothing is to be made of it now.
    fn note_heard(&mut self, radio: RadioId, beacon: Beacon, now: Instant) -> Option<u32> {
        let heard_max = self.config.heard_max;
        let here = self.radios.get_mut(&radio)?;
        if here.heard.len() >= heard_max && !here.heard.contains_key(&beacon.id) {
            let oldest = here.heard.iter().min_by_key(|(_, heard)| heard.at);
            let oldest = oldest.map(|(id, _)| *id);
            oldest.and_then(|id| here.heard.remove(&id));
        }
        let heard = here.heard.entry(beacon.id).or_insert(Heard {
            at: now,
            beacons: 0,
            not_before: now,
        });
        heard.at = now;
        heard.beacons = heard.beacons.saturating_add(1);
        let welcome = heard.not_before <= now;
        (welcome && VERSIONS.highest_common(beacon.versions).is_some()).then_some(heard.beacons)
    }

    /// Somebody was busy or did not answer: not asked again for a while.
    pub(super) fn leave_alone(&mut self, radio: RadioId, id: BeaconId, now: Instant) {
        let here = self.radios.get_mut(&radio);
        if let Some(heard) = here.and_then(|here| here.heard.get_mut(&id)) {
            heard.not_before = now + RETRY_AFTER;
        }
    }

    pub(super) fn send_clear(&mut self, radio: RadioId, to: LinkAddr, frame: &ClearFrame<'_>) {
        self.transmit(radio, to, Train::single(frame.encode()));
    }
}

/// Whether a radio has to wait before it shows its new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    Needed,
    Needless,
}
