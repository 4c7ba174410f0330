//! How sessions begin, follow their flow and end.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quinn_proto::{ConnectionHandle, DatagramEvent, VarInt};
use smartmesh_types::{Duration, FlowId, NodeKey, Train};

use super::{Flow, REPLACE_AFTER, SERVER_NAME, Sessions};
use crate::connection::{Session, State};
use crate::interface::{CloseReason, ConnectError, FlowRole, SessionEvent, SessionOutput};
use crate::quic::{PACKET_BYTES_MIN, address_of_flow, flow_of_address};

impl Sessions {
    pub(super) fn handle_flow_up(
        &mut self,
        flow: FlowId,
        key: NodeKey,
        role: FlowRole,
        mtu: usize,
        bits_per_second: u64,
    ) -> Result<(), ConnectError> {
        if !self.flows.contains_key(&flow) && self.flows.len() >= self.config.flows_max {
            return Err(ConnectError::TooMany(self.flows.len()));
        }
        if self.flows.get(&flow).is_some_and(|known| known.key != key) {
            self.drop_session(flow, CloseReason::Replaced, State::Muted);
        }
        let session = self.flows.get(&flow).and_then(|known| known.session);
        self.flows.insert(
            flow,
            Flow {
                key,
                role,
                mtu,
                bits_per_second,
                up: true,
                session,
            },
        );
        if let Some(handle) = session {
            self.restart_path(handle, PathRestart::Forget);
        }
        Ok(())
    }

    pub(super) fn handle_flow_down(&mut self, flow: FlowId) {
        let Some(known) = self.flows.get_mut(&flow) else {
            return;
        };
        known.up = false;
        match known.session {
            Some(handle) => self.pump(handle),
            None => {
                self.flows.remove(&flow);
            }
        }
    }

    pub(super) fn handle_path_changed(&mut self, flow: FlowId, mtu: usize, rtt: Option<Duration>) {
        let Some(known) = self.flows.get_mut(&flow) else {
            return;
        };
        known.mtu = mtu;
        let Some(handle) = known.session else {
            return;
        };
        let Some(session) = self.sessions.get(&handle) else {
            return;
        };
        let shrunk =
            mtu.max(usize::from(PACKET_BYTES_MIN)) < usize::from(session.quic.current_mtu());
        let measured = session.quic.rtt();
        let far_off = rtt.is_some_and(|rtt| {
            rtt > measured.saturating_mul(2) || rtt.saturating_mul(2) < measured
        });
        let restart = if shrunk || far_off {
            PathRestart::Forget
        } else {
            PathRestart::Keep
        };
        self.restart_path(handle, restart);
    }

    /// Lets a session notice at once what the change of path has lost, instead of when its timer says so.
    fn restart_path(&mut self, handle: usize, restart: PathRestart) {
        let now = self.clock.to_std(self.now);
        let Some(session) = self.sessions.get_mut(&handle) else {
            return;
        };
        match restart {
            PathRestart::Forget => session.quic.path_changed(now),
            PathRestart::Keep => {}
        }
        if session.connected_at.is_some() {
            session.quic.ping();
        }
        self.pump(handle);
    }

    pub(super) fn handle_connect(&mut self, flow: FlowId) -> Result<(), ConnectError> {
        let known = self
            .flows
            .get(&flow)
            .filter(|known| known.up)
            .ok_or(ConnectError::UnknownFlow(flow))?;
        if known.session.is_some() {
            return Ok(());
        }
        let key = known.key;
        self.verify_welcome(known)?;
        let config = self.quic.client(key, known.mtu, known.bits_per_second);
        let now = self.clock.to_std(self.now);
        let (handle, quic) = self
            .endpoint
            .connect(now, config, address_of_flow(flow), SERVER_NAME)
            .map_err(|error| ConnectError::Quic(error.to_string()))?;
        self.insert_session(flow, key, handle, quic);
        Ok(())
    }

    fn verify_welcome(&self, flow: &Flow) -> Result<(), ConnectError> {
        if flow.mtu < self.config.mtu_min || flow.bits_per_second < self.config.bits_per_second_min
        {
            return Err(ConnectError::PathTooThin {
                mtu: flow.mtu,
                bits_per_second: flow.bits_per_second,
            });
        }
        if self.sessions.len() >= self.config.sessions_max {
            return Err(ConnectError::TooMany(self.sessions.len()));
        }
        Ok(())
    }

    fn insert_session(
        &mut self,
        flow: FlowId,
        key: NodeKey,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
    ) {
        self.sessions
            .insert(handle.0, Session::new(flow, key, quic, self.now));
        if let Some(known) = self.flows.get_mut(&flow) {
            known.session = Some(handle.0);
        }
        self.pump(handle.0);
    }

    pub(super) fn handle_close(&mut self, flow: FlowId, code: u32) {
        let Some(handle) = self.flows.get(&flow).and_then(|known| known.session) else {
            return;
        };
        let now = self.clock.to_std(self.now);
        if let Some(session) = self.sessions.get_mut(&handle) {
            session
                .quic
                .close(now, VarInt::from_u32(code), Bytes::new());
        }
        self.drop_session(flow, CloseReason::Local, State::Ending);
    }

    /// Parts a flow from its session, which then only says farewell, or nothing if muted.
    fn drop_session(&mut self, flow: FlowId, reason: CloseReason, state: State) {
        let Some(handle) = self
            .flows
            .get_mut(&flow)
            .and_then(|known| known.session.take())
        else {
            return;
        };
        let now = self.clock.to_std(self.now);
        if let Some(session) = self.sessions.get_mut(&handle) {
            if state == State::Muted {
                session.quic.close(now, VarInt::from_u32(0), Bytes::new());
            }
            session.state = state;
        }
        self.tell_closed(flow, reason);
        self.pump(handle);
        if self.flows.get(&flow).is_some_and(|known| !known.up) {
            self.flows.remove(&flow);
        }
    }

    pub(super) fn tell_closed(&mut self, flow: FlowId, reason: CloseReason) {
        self.counters.closed = self.counters.closed.saturating_add(1);
        if matches!(reason, CloseReason::Refused(_)) {
            self.counters.refused = self.counters.refused.saturating_add(1);
        }
        tracing::debug!(flow = flow.0, %reason, "session closed");
        self.outputs
            .push_back(SessionOutput::Event(SessionEvent::Closed { flow, reason }));
    }

    pub(super) fn handle_datagram(&mut self, flow: FlowId, bytes: &[u8]) {
        if !self.flows.get(&flow).is_some_and(|known| known.up) {
            self.counters.strays = self.counters.strays.saturating_add(1);
            return;
        }
        let now = self.clock.to_std(self.now);
        let mut answer = Vec::new();
        let event = self.endpoint.handle(
            now,
            address_of_flow(flow),
            None,
            None,
            BytesMut::from(bytes),
            &mut answer,
        );
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                match self.sessions.get_mut(&handle.0) {
                    Some(session) if session.flow == flow => session.quic.handle_event(event),
                    Some(_) | None => {
                        self.counters.strays = self.counters.strays.saturating_add(1);
                        return;
                    }
                }
                self.pump(handle.0);
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.handle_incoming(incoming),
            Some(DatagramEvent::Response(packet)) => {
                answer.truncate(packet.size);
                self.transmit_single(flow, answer);
            }
            None => self.counters.undecodable = self.counters.undecodable.saturating_add(1),
        }
    }

    /// The peer of a flow starts a session.
    fn handle_incoming(&mut self, incoming: quinn_proto::Incoming) {
        let flow = flow_of_address(incoming.remote_address());
        let Some(known) = self.flows.get(&flow) else {
            self.endpoint.ignore(incoming);
            return;
        };
        if self.verify_welcome(known).is_err() {
            self.counters.unwelcome = self.counters.unwelcome.saturating_add(1);
            self.endpoint.ignore(incoming);
            return;
        }
        let (key, mtu, rate) = (known.key, known.mtu, known.bits_per_second);
        if let Some(session) = known.session.and_then(|handle| self.sessions.get(&handle)) {
            let stray = match session.connected_at {
                Some(since) => self.now.since(since) < REPLACE_AFTER,
                None => known.role == FlowRole::Initiator,
            };
            if stray {
                self.endpoint.ignore(incoming);
                return;
            }
            let was_connected = session.connected_at.is_some();
            self.give_way(flow, was_connected);
        }
        let config = self.quic.server(key, mtu, rate);
        let mut answer = Vec::new();
        let now = self.clock.to_std(self.now);
        match self
            .endpoint
            .accept(incoming, now, &mut answer, Some(Arc::new(config)))
        {
            Ok((handle, quic)) => self.insert_session(flow, key, handle, quic),
            Err(refused) => {
                self.counters.refused = self.counters.refused.saturating_add(1);
                if let Some(packet) = refused.response {
                    answer.truncate(packet.size);
                    self.transmit_single(flow, answer);
                }
            }
        }
    }

    /// The peer's attempt takes the place of ours (unseen by the layers above) or of the old session (told as replaced).
    fn give_way(&mut self, flow: FlowId, was_connected: bool) {
        if was_connected {
            self.drop_session(flow, CloseReason::Replaced, State::Muted);
            return;
        }
        let Some(handle) = self
            .flows
            .get_mut(&flow)
            .and_then(|known| known.session.take())
        else {
            return;
        };
        let now = self.clock.to_std(self.now);
        if let Some(session) = self.sessions.get_mut(&handle) {
            session.quic.close(now, VarInt::from_u32(0), Bytes::new());
            session.state = State::Muted;
        }
        self.pump(handle);
    }

    fn transmit_single(&mut self, flow: FlowId, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.counters.trains = self.counters.trains.saturating_add(1);
            self.outputs.push_back(SessionOutput::Transmit {
                flow,
                train: Train::single(bytes),
            });
        }
    }
}

/// What a session does with what it knows of its path when that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathRestart {
    /// Packet size, round trip and congestion window start anew.
    Forget,
    /// They are still about right.
    Keep,
}
