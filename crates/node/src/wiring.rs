//! The data-flow diagram: which core's output wakes which other core.
//!
//! ```text
//! mesh flows ── QUIC ───→ sessions ── streams ──→ files (storage), perf
//!            ── IP ─────→ TUN
//!            ── message → messaging, pulls of carried mail, channels
//!            ── probe ──→ ping
//! mesh gossip ── prekeys → messaging        mesh routes ── changed → who is near
//!             ── mail ───→ carried mail
//!             ── posts ──→ board ── posts, refusals ──→ gossip
//! mesh custody ── read ──→ messaging, carried files ── chunks → the store, files
//! messaging ── packets → flows   ── deposits → custody, carried files → custody   ── prekeys → gossip
//! channels ── messages → flows   ── calls → chain
//! ```

use smartmesh_mesh::MeshOutput;
use smartmesh_mesh::flow::{FlowEvent, PayloadKind};
use smartmesh_messaging as messaging;
use smartmesh_session::{FlowRole, SessionInput, SessionOutput};
use smartmesh_types::{Address, FlowId, Now};

use crate::mail::Deposit;
use crate::money::{FOR_MONEY, FOR_MONEY_PIECE};
use crate::node::{CUSTODY_RECORDS, MESSAGING_RECORDS};
use crate::{Event, Node, Output, PersistId, Record};

/// First byte of a flow's payload of kind message.
const FOR_MESSAGING: u8 = 0;
/// The same for a pull of carried mail.
pub(crate) const FOR_MAIL: u8 = 1;

impl Node {
    /// Carries outputs from core to core until all are quiet.
    pub(crate) fn settle(&mut self, now: Now) {
        loop {
            if let Some(output) = self.mesh.poll_settled() {
                self.handle_mesh(output, now);
            } else if let Some(output) = self.messaging.poll_output() {
                self.gate_message(output);
            } else if let Some(output) = self.board.poll_output() {
                self.gate_board(output, now);
            } else if let Some((id, records)) = self.messages_gate.begin(&mut self.next_persist) {
                self.outputs.push_back(Output::Persist { id, records });
            } else if let Some((id, records)) = self.mail_gate.begin(&mut self.next_persist) {
                self.outputs.push_back(Output::Persist { id, records });
            } else if let Some((id, records)) = self.carried.gate.begin(&mut self.next_persist) {
                self.outputs.push_back(Output::Persist { id, records });
            } else if let Some((id, records)) = self.board_gate.begin(&mut self.next_persist) {
                self.outputs.push_back(Output::Persist { id, records });
            } else if let Some(output) = self.messages_gate.release() {
                self.handle_messaging(output, now);
            } else if let Some(output) = self.mail_gate.release() {
                self.handle_custody(output, now);
            } else if let Some(output) = self.carried.gate.release() {
                self.handle_carried(output, now);
            } else if let Some(output) = self.board_gate.release() {
                self.handle_board(output, now);
            } else if let Some(output) = self.sessions.poll_output() {
                self.handle_session(output, now);
            } else if !self.settle_money(now) && !self.settle_files(now) {
                return;
            }
        }
    }

    pub(crate) fn handle_persisted(&mut self, id: PersistId, now: Now) {
        for output in self.messages_gate.complete(id) {
            self.handle_messaging(output, now);
        }
        for output in self.mail_gate.complete(id) {
            self.handle_custody(output, now);
        }
        self.carried_persisted(id, now);
        self.money_persisted(id, now);
        for output in self.board_gate.complete(id) {
            self.handle_board(output, now);
        }
    }

    fn handle_mesh(&mut self, output: MeshOutput, now: Now) {
        match output {
            MeshOutput::Transmit { radio, to, train } => {
                self.outputs
                    .push_back(Output::Transmit { radio, to, train })
            }
            MeshOutput::Flow(event) => self.handle_flow(event, now),
            MeshOutput::Gossip(item) => self.handle_gossip(item, now),
            MeshOutput::Custody(output) => self.gate_mail(output),
            MeshOutput::Identified { .. } => {}
            MeshOutput::RouteChanged { tag } => self.handle_route_changed(tag, now),
            MeshOutput::Epoch { .. } => self.contacts_changed(now),
        }
    }

    fn handle_flow(&mut self, event: FlowEvent, now: Now) {
        match event {
            FlowEvent::Up {
                flow,
                peer,
                key,
                mtu,
                bits_per_second,
                hops,
                ..
            } => {
                self.people.flow_up(flow, peer, key, (mtu, hops), now);
                // Both ends take the same side without asking.
                let role = if self.identity.address() < peer {
                    FlowRole::Initiator
                } else {
                    FlowRole::Responder
                };
                let up = SessionInput::FlowUp {
                    flow,
                    key,
                    role,
                    mtu,
                    bits_per_second,
                };
                // A path too thin for sessions is none the less a path for messages.
                let _ = self.sessions.handle(up, now);
                let payload_bytes = mtu.saturating_sub(1);
                let up = messaging::Input::PathUp {
                    address: peer,
                    key,
                    payload_bytes,
                };
                let _ = self.messaging.handle(up, now);
                self.probes_flow_up(flow, now);
                self.files_flow_up(flow, now);
                self.perf_connect(flow, now);
                self.mail_flow_up(flow, now);
                self.money_flow_up(peer, now);
            }
            FlowEvent::Down { flow, reason } => {
                let peer = self.people.flow_down(flow);
                let _ = self.sessions.handle(SessionInput::FlowDown { flow }, now);
                self.probes_flow_down(flow, reason);
                self.perf_closed(flow, crate::probe::down_in_words(reason));
                self.mail_flow_down(flow, now);
                if let Some(address) = peer {
                    let _ = self
                        .messaging
                        .handle(messaging::Input::PathDown { address }, now);
                    self.files_flow_down(flow, address, now);
                    self.money_flow_down(address, now);
                }
            }
            FlowEvent::PathChanged { flow, mtu, hops } => {
                let _ = self.sessions.handle(
                    SessionInput::PathChanged {
                        flow,
                        mtu,
                        rtt: None,
                    },
                    now,
                );
                if let Some((address, key)) = self.people.path_changed(flow, mtu, hops) {
                    let payload_bytes = mtu.saturating_sub(1);
                    let _ = self.messaging.handle(
                        messaging::Input::PathUp {
                            address,
                            key,
                            payload_bytes,
                        },
                        now,
                    );
                }
            }
            FlowEvent::Received {
                flow,
                kind,
                payload,
            } => self.handle_payload(flow, kind, payload, now),
        }
    }

    fn handle_payload(&mut self, flow: FlowId, kind: PayloadKind, payload: Vec<u8>, now: Now) {
        let Some(peer) = self.people.heard(flow, now) else {
            return;
        };
        match kind {
            PayloadKind::Quic => {
                let _ = self.sessions.handle(
                    SessionInput::Datagram {
                        flow,
                        bytes: payload,
                    },
                    now,
                );
            }
            PayloadKind::Ip => self.handle_ip(peer, payload),
            PayloadKind::Message => match payload.split_first() {
                Some((&FOR_MESSAGING, rest)) => {
                    let packet = messaging::Input::Packet {
                        from: peer,
                        payload: rest.to_vec(),
                    };
                    let _ = self.messaging.handle(packet, now);
                }
                Some((&FOR_MAIL, rest)) => self.handle_mail_packet(flow, rest.to_vec(), now),
                Some((&FOR_MONEY, rest)) => self.handle_payment(peer, rest, now),
                Some((&FOR_MONEY_PIECE, rest)) => self.handle_payment_piece(peer, rest, now),
                // Of a later version.
                Some(_) | None => {}
            },
            PayloadKind::Probe => self.handle_probe(flow, &payload, now),
        }
    }

    fn gate_message(&mut self, output: messaging::Output) {
        match output {
            messaging::Output::Persist(record) => self.messages_gate.persist(Record {
                key: prefixed(MESSAGING_RECORDS, &record.key),
                value: record.value,
            }),
            other @ (messaging::Output::OpenPath { .. }
            | messaging::Output::SendPacket { .. }
            | messaging::Output::Deposit { .. }
            | messaging::Output::Reveal { .. }
            | messaging::Output::Publish { .. }
            | messaging::Output::Event(_)) => self.messages_gate.push(other),
        }
    }

    fn handle_messaging(&mut self, output: messaging::Output, now: Now) {
        match output {
            messaging::Output::Persist(_) => {}
            messaging::Output::OpenPath { to } => self.open_path(to, now),
            messaging::Output::SendPacket { to, payload } => {
                if let Some(flow) = self.people.flow_to(to) {
                    let framed = prefixed(FOR_MESSAGING, &payload);
                    self.mesh.send(flow, PayloadKind::Message, &framed, now);
                }
            }
            messaging::Output::Deposit {
                to,
                sealed,
                expires,
                receipt,
                urgency,
                file,
                message,
            } => {
                if let Some(offer) = file {
                    self.carry_file(message, to, &offer, expires, now);
                }
                self.deposit_message(
                    Deposit {
                        to,
                        sealed,
                        expires,
                        receipt,
                        urgency,
                    },
                    now,
                );
            }
            messaging::Output::Reveal { receipt } => self.reveal(receipt, now),
            messaging::Output::Publish { payload } => self.publish_prekeys(payload, now),
            messaging::Output::Event(event) => self.handle_message_event(event, now),
        }
    }

    /// Opens a flow for messaging; the answer comes at once if the flow is up already.
    fn open_path(&mut self, to: Address, now: Now) {
        let flow = self.mesh.open_flow(to, now);
        self.people.opening(flow, to);
        if let Some((key, mtu)) = self.people.path(to) {
            let payload_bytes = mtu.saturating_sub(1);
            let up = messaging::Input::PathUp {
                address: to,
                key,
                payload_bytes,
            };
            let _ = self.messaging.handle(up, now);
        }
    }

    fn handle_session(&mut self, output: SessionOutput, now: Now) {
        match output {
            SessionOutput::Transmit { flow, train } => {
                for packet in train.frames() {
                    self.mesh.send(flow, PayloadKind::Quic, packet, now);
                }
            }
            SessionOutput::Event(event) => self.handle_session_event(event, now),
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn custody_record(key: &[u8], value: Option<Vec<u8>>) -> Record {
        Record {
            key: prefixed(CUSTODY_RECORDS, key),
            value,
        }
    }
}

pub(crate) fn prefixed(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rest.len().saturating_add(1));
    bytes.push(first);
    bytes.extend_from_slice(rest);
    bytes
}
