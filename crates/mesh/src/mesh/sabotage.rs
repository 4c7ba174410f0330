//! What a cheating node does. Only the simulator and tests switch this on: a network is judged by how it bears cheats, and
//! a cheat must speak the real protocol to be one.

use smartmesh_crypto::sha256;
use smartmesh_types::{Duration, Instant, Label, NeighbourId, Now, Tag};
use smartmesh_wire::Family;
use smartmesh_wire::flow::{FlowMessage, PathToken, Purpose, SetUp};
use smartmesh_wire::gossip::{GossipKind, GossipMessage, Item};
use smartmesh_wire::route::{RouteSection, Update, encode_route_body};

use super::Mesh;
use crate::flow::Forward;
use crate::link::ControlClass;

/// How a node cheats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sabotage {
    /// Not at all.
    #[default]
    None,
    /// Takes part in everything and drops the packets it should relay.
    DropRelayed,
    /// Takes part in everything and drops every second packet that it should relay.
    DropSome,
    /// Drops set-ups, too.
    DropSetUps,
    /// Tells its neighbours to be next to every destination it has heard of, and drops what comes.
    ClaimEverybody,
    /// Sends what it relays four times.
    Replay,
    /// Sends each neighbour a hundred times what anybody else would: packets, set-ups, calls for help and other gossip, noise.
    Flood,
}

/// How often the flooder sends its load.
const FLOOD_EVERY: Duration = Duration::from_millis(10);

/// Messages of each kind that it sends to each neighbour at once.
const FLOOD_MESSAGES: u32 = 10;

impl Mesh {
    /// Makes this node cheat from now on.
    pub fn sabotage(&mut self, how: Sabotage) {
        self.sabotage = how;
    }

    pub(super) fn swallows_packet(&mut self, decision: &Forward) -> bool {
        let relayed = match decision {
            Forward::Relay { .. } | Forward::RelayInside { .. } | Forward::Hold => true,
            Forward::Unwrap { .. } | Forward::Deliver { .. } | Forward::Drop(_) => false,
        };
        relayed && self.drops_packet()
    }

    fn drops_packet(&mut self) -> bool {
        match self.sabotage {
            Sabotage::DropRelayed | Sabotage::DropSetUps | Sabotage::ClaimEverybody => true,
            Sabotage::DropSome => {
                self.sabotage_count = self.sabotage_count.wrapping_add(1);
                self.sabotage_count.is_multiple_of(2)
            }
            Sabotage::None | Sabotage::Replay | Sabotage::Flood => false,
        }
    }

    /// What a packet to be relayed is followed by.
    pub(super) fn replay(&mut self, to: NeighbourId, label: Label, payload: &[u8], now: Now) {
        if self.sabotage == Sabotage::Replay {
            for _ in 0..3 {
                self.send_packet(to, label, payload, now);
            }
        }
    }

    pub(super) fn swallows_control(&self, body: &[u8]) -> bool {
        self.sabotage == Sabotage::DropSetUps
            && matches!(FlowMessage::decode(body), Ok(FlowMessage::SetUp(_)))
    }

    pub(super) fn sabotage_timeout(&self) -> Option<Instant> {
        match self.sabotage {
            Sabotage::Flood | Sabotage::ClaimEverybody => Some(self.sabotage_at),
            Sabotage::None
            | Sabotage::DropRelayed
            | Sabotage::DropSome
            | Sabotage::DropSetUps
            | Sabotage::Replay => None,
        }
    }

    pub(super) fn sabotage_tick(&mut self, now: Now) {
        if now.instant < self.sabotage_at {
            return;
        }
        match self.sabotage {
            Sabotage::Flood => {
                self.sabotage_at = now.instant + FLOOD_EVERY;
                self.flood(now);
            }
            Sabotage::ClaimEverybody => {
                self.sabotage_at = now.instant + Duration::from_secs(1);
                self.claim(now);
            }
            Sabotage::None
            | Sabotage::DropRelayed
            | Sabotage::DropSome
            | Sabotage::DropSetUps
            | Sabotage::Replay => {}
        }
    }

    fn flood(&mut self, now: Now) {
        let neighbours: Vec<_> = self
            .links
            .neighbours()
            .map(|neighbour| neighbour.id)
            .collect();
        let tags: Vec<_> = self
            .routes
            .destinations()
            .map(|destination| destination.tag)
            .collect();
        for to in neighbours {
            for (count, tag) in (0..FLOOD_MESSAGES).zip(tags.iter().cycle()) {
                self.sabotage_count = self.sabotage_count.wrapping_add(1);
                let mut bytes = now.instant.as_micros().to_be_bytes().to_vec();
                bytes.extend_from_slice(&self.sabotage_count.to_be_bytes());
                let messages = [
                    (Family::Flow, made_up_set_up(*tag, &bytes)),
                    (Family::Gossip, made_up_item(GossipKind::Sos, &bytes)),
                    (Family::Gossip, made_up_item(GossipKind::PublicRoom, &bytes)),
                    (Family::Gossip, made_up_item(GossipKind::Prekeys, &bytes)),
                ];
                for (family, body) in messages {
                    let urgent = ControlClass::Urgent;
                    let _ = self
                        .links
                        .send_control(to, family.frame(&body), urgent, now);
                }
                bytes.resize(600, 7);
                for family in [Family::Route, Family::Flow, Family::Gossip, Family::Bundle] {
                    let _ = self.links.send_control(
                        to,
                        family.frame(&bytes),
                        ControlClass::Urgent,
                        now,
                    );
                }
                self.send_packet(to, Label(1_000_000_u32.saturating_add(count)), &bytes, now);
            }
        }
    }

    fn claim(&mut self, now: Now) {
        let tags: Vec<_> = self
            .routes
            .destinations()
            .map(|destination| destination.tag)
            .collect();
        let neighbours: Vec<_> = self
            .links
            .neighbours()
            .map(|neighbour| neighbour.id)
            .collect();
        let seqno = u32::try_from(now.instant.as_micros() / 1_000_000).unwrap_or(0);
        for tags in tags.chunks(32) {
            let updates = tags
                .iter()
                .map(|tag| Update {
                    tag: *tag,
                    seqno,
                    hops: 1,
                    metric: 1,
                })
                .collect();
            let body = encode_route_body(&[RouteSection::Updates(updates)]);
            for to in &neighbours {
                let _ = self.links.send_control(
                    *to,
                    Family::Route.frame(&body),
                    ControlClass::Urgent,
                    now,
                );
            }
        }
    }
}

/// A set-up that every relay takes for a real one; its knock is wrong, which only the destination can see.
fn made_up_set_up(tag: Tag, unique: &[u8]) -> Vec<u8> {
    let hash = sha256(&[unique]);
    let mut token = [0; 16];
    token.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    let [a, b, c, d, ..] = hash;
    FlowMessage::SetUp(SetUp {
        token: PathToken(token),
        purpose: Purpose::Flow,
        tag: tag.0,
        search: None,
        hop_limit: 48,
        tries: 32,
        nonce: 0,
        explore: 0,
        label: u32::from_be_bytes([a, b, c, d]) | 0x0010_0000,
        payload_bytes: u32::MAX,
        bits_per_second: u64::MAX,
        price: 0,
        lifetime_secs: 60,
        proof: hash,
        first: vec![7; 48],
    })
    .encode()
}

/// A broadcast that nobody has heard before.
fn made_up_item(kind: GossipKind, unique: &[u8]) -> Vec<u8> {
    let mut payload = unique.to_vec();
    payload.resize(200, 7);
    let item = Item {
        kind: kind.code(),
        scope: 16,
        hops: 1,
        life_secs: 600,
        age_secs: 0,
        payload,
    };
    GossipMessage::Items(vec![item]).encode()
}
