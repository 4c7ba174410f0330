//! Carried mail and gossip, joined to messaging.
//!
//! A bundle's payload is `kind 1 | content`; kind 0 is a sealed message, kind 1 a part of a file.

use smartmesh_mesh::MeshInput;
use smartmesh_mesh::custody::{CustodyInput, CustodyOutput, PeerRef};
use smartmesh_mesh::flow::PayloadKind;
use smartmesh_mesh::gossip::{GossipInput, GossipOutput};
use smartmesh_messaging as messaging;
use smartmesh_types::{Duration, FlowId, Now, UnixTime};
use smartmesh_wire::bundle::Priority;
use smartmesh_wire::gossip::GossipKind;

use crate::carried::FILE_PART;
use crate::wiring::{FOR_MAIL, prefixed};
use crate::{Node, Record};

/// First byte of a bundle's payload that holds a sealed message.
const SEALED_MESSAGE: u8 = 0;

/// Links that prekeys, offers and vaccines cross: a village.
const SCOPE: u8 = 16;

/// How long broadcasts about mail and keys hold.
const LIFE: Duration = Duration::from_secs(600);

impl Node {
    pub(crate) fn gate_mail(&mut self, output: CustodyOutput) {
        match output {
            CustodyOutput::Persist(record) => {
                let record: Record = Self::custody_record(&record.key, record.value);
                self.mail_gate.persist(record);
            }
            other @ (CustodyOutput::Send { .. }
            | CustodyOutput::Delivered { .. }
            | CustodyOutput::Acked { .. }
            | CustodyOutput::Carried { .. }
            | CustodyOutput::Wanted { .. }
            | CustodyOutput::PublishOffer { .. }
            | CustodyOutput::PublishAcks { .. }) => self.mail_gate.push(other),
        }
    }

    pub(crate) fn handle_custody(&mut self, output: CustodyOutput, now: Now) {
        match output {
            CustodyOutput::Persist(_) => {}
            CustodyOutput::Send {
                to: PeerRef::Neighbour(neighbour),
                body,
            } => self.mesh.send_mail(neighbour, &body, now),
            CustodyOutput::Send {
                to: PeerRef::Flow(flow),
                body,
            } => {
                self.mesh
                    .send(flow, PayloadKind::Message, &prefixed(FOR_MAIL, &body), now);
            }
            CustodyOutput::Delivered { payload } => match payload.split_first() {
                Some((&SEALED_MESSAGE, sealed)) => {
                    let bundle = messaging::Input::Bundle {
                        sealed: sealed.to_vec(),
                    };
                    let _ = self.messaging.handle(bundle, now);
                }
                Some((&FILE_PART, part)) => self.handle_part(part.to_vec(), now),
                // Of a later version.
                Some(_) | None => {}
            },
            CustodyOutput::Acked { commitment } => {
                self.part_read(commitment);
                let _ = self
                    .messaging
                    .handle(messaging::Input::BundleAcked { commitment }, now);
            }
            CustodyOutput::Carried { commitment, copies } => {
                let _ = self
                    .messaging
                    .handle(messaging::Input::Carried { commitment, copies }, now);
            }
            // A carrier's tag alone is no address to dial; its copies come closer by contacts.
            CustodyOutput::Wanted { .. } => {}
            CustodyOutput::PublishOffer { payload } => {
                self.broadcast(GossipKind::MailOffer, payload, now)
            }
            CustodyOutput::PublishAcks { payload } => {
                self.broadcast(GossipKind::MailAck, payload, now)
            }
        }
    }

    /// A sealed message for carriers.
    pub(crate) fn deposit_message(&mut self, deposit: Deposit, now: Now) {
        let priority = match deposit.urgency {
            messaging::Urgency::Urgent => Priority::Sos,
            messaging::Urgency::Normal => Priority::Message,
        };
        let payload = prefixed(SEALED_MESSAGE, &deposit.sealed);
        let Deposit {
            to,
            expires,
            receipt,
            ..
        } = deposit;
        let input = CustodyInput::Deposit {
            to,
            payload,
            expires,
            priority,
            receipt,
        };
        self.mesh.handle(MeshInput::Custody(input), now);
    }

    pub(crate) fn reveal(&mut self, receipt: [u8; 32], now: Now) {
        self.mesh
            .handle(MeshInput::Custody(CustodyInput::Reveal { receipt }), now);
    }

    pub(crate) fn publish_prekeys(&mut self, payload: Vec<u8>, now: Now) {
        self.broadcast(GossipKind::Prekeys, payload, now);
    }

    fn broadcast(&mut self, kind: GossipKind, payload: Vec<u8>, now: Now) {
        self.mesh.publish(
            GossipInput::Publish {
                kind,
                scope: SCOPE,
                life: LIFE,
                payload,
            },
            now,
        );
    }

    pub(crate) fn handle_gossip(&mut self, item: GossipOutput, now: Now) {
        let GossipOutput::Deliver {
            id,
            kind,
            payload,
            hops,
            ..
        } = item
        else {
            return;
        };
        match kind {
            GossipKind::Prekeys => drop(
                self.messaging
                    .handle(messaging::Input::Gossip { payload }, now),
            ),
            GossipKind::MailOffer => {
                self.mesh.handle(
                    MeshInput::Custody(CustodyInput::OfferHeard { payload }),
                    now,
                );
            }
            GossipKind::MailAck => self
                .mesh
                .handle(MeshInput::Custody(CustodyInput::AcksHeard { payload }), now),
            GossipKind::Sos | GossipKind::Safety | GossipKind::PublicRoom => {
                self.post_heard(id.0, payload, hops, now);
            }
            // Relayed for others.
            GossipKind::Heads => {}
        }
    }

    pub(crate) fn handle_mail_packet(&mut self, flow: FlowId, body: Vec<u8>, now: Now) {
        let message = CustodyInput::Message {
            from: PeerRef::Flow(flow),
            body,
        };
        self.mesh.handle(MeshInput::Custody(message), now);
    }

    pub(crate) fn mail_flow_up(&mut self, flow: FlowId, now: Now) {
        self.mesh
            .handle(MeshInput::Custody(CustodyInput::FlowUp { flow }), now);
    }

    pub(crate) fn mail_flow_down(&mut self, flow: FlowId, now: Now) {
        self.mesh
            .handle(MeshInput::Custody(CustodyInput::FlowDown { flow }), now);
    }
}

/// What messaging wants carried.
pub(crate) struct Deposit {
    pub(crate) to: smartmesh_types::Address,
    pub(crate) sealed: Vec<u8>,
    pub(crate) expires: UnixTime,
    pub(crate) receipt: [u8; 32],
    pub(crate) urgency: messaging::Urgency,
}
