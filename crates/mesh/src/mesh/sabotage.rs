//! What a cheating node does. Only the simulator and tests switch this on: a network is judged by how it bears cheats, and
//! a cheat must speak the real protocol to be one.

use smartmesh_types::{Duration, Instant, Label, Now};
use smartmesh_wire::Family;
use smartmesh_wire::flow::FlowMessage;
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
    /// Drops set-ups, too.
    DropSetUps,
    /// Tells its neighbours to be next to every destination it has heard of, and drops what comes.
    ClaimEverybody,
    /// Sends each neighbour a hundred times what anybody else would.
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

    pub(super) fn swallows_packet(&self, decision: &Forward) -> bool {
        let relayed = match decision {
            Forward::Relay { .. } | Forward::RelayInside { .. } | Forward::Hold => true,
            Forward::Unwrap { .. } | Forward::Deliver { .. } | Forward::Drop(_) => false,
        };
        relayed && self.drops_packets()
    }

    fn drops_packets(&self) -> bool {
        match self.sabotage {
            Sabotage::DropRelayed | Sabotage::DropSetUps | Sabotage::ClaimEverybody => true,
            Sabotage::None | Sabotage::Flood => false,
        }
    }

    pub(super) fn swallows_control(&self, body: &[u8]) -> bool {
        self.sabotage == Sabotage::DropSetUps
            && matches!(FlowMessage::decode(body), Ok(FlowMessage::SetUp(_)))
    }

    pub(super) fn sabotage_timeout(&self) -> Option<Instant> {
        match self.sabotage {
            Sabotage::Flood | Sabotage::ClaimEverybody => Some(self.sabotage_at),
            Sabotage::None | Sabotage::DropRelayed | Sabotage::DropSetUps => None,
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
            Sabotage::None | Sabotage::DropRelayed | Sabotage::DropSetUps => {}
        }
    }

    fn flood(&mut self, now: Now) {
        let neighbours: Vec<_> = self
            .links
            .neighbours()
            .map(|neighbour| neighbour.id)
            .collect();
        for to in neighbours {
            for count in 0..FLOOD_MESSAGES {
                let mut bytes = now.instant.as_micros().to_be_bytes().to_vec();
                bytes.extend_from_slice(&count.to_be_bytes());
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
