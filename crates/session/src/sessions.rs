//! The core: every session of this node, one for each flow at most.
//!
//! | flow | connect or first packet | TLS done | idle, closed, refused |
//! |---|---|---|---|
//! | up, no session | handshaking | | |
//! | up, handshaking | | connected | none |
//! | up, connected | | | none |
//! | down, with session | waits, sends nothing; goes on when the flow is up again | | none |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use quinn_proto::{ConnectionError, ConnectionHandle, Endpoint, Event, SendDatagramError};
use smartmesh_crypto::{Identity, Seed, TlsIdentity};
use smartmesh_types::{Duration, FlowId, Instant, NodeKey, Now};

use crate::connection::{Direction, Read, Session, State, StreamError, StreamId};
use crate::interface::{
    CloseReason, ConnectError, FlowRole, SessionConfig, SessionCounters, SessionEvent,
    SessionInput, SessionOutput,
};
use crate::quic::{Clock, PACKET_BYTES_MIN, Quic};

/// The name TLS insists on for the peer; never sent, never compared.
const SERVER_NAME: &str = "mesh";
/// How long after connecting a new attempt of the same peer on the same flow is taken for a stray of the old one.
const REPLACE_AFTER: Duration = Duration::from_secs(10);

struct Flow {
    key: NodeKey,
    role: FlowRole,
    mtu: usize,
    bits_per_second: u64,
    up: bool,
    session: Option<usize>,
}

/// Every QUIC session of this node.
///
/// Errors of `handle` change nothing. Output is bounded by the congestion windows: a flow that is down gets none.
pub struct Sessions {
    config: SessionConfig,
    quic: Quic,
    endpoint: Endpoint,
    clock: Clock,
    flows: BTreeMap<FlowId, Flow>,
    /// By quinn-proto's handle.
    sessions: BTreeMap<usize, Session>,
    deadlines: BTreeSet<(Instant, usize)>,
    outputs: VecDeque<SessionOutput>,
    now: Instant,
    counters: SessionCounters,
}

impl Sessions {
    /// A core without sessions.
    ///
    /// `origin` is any moment of the standard library's clock, taken by the shell: quinn-proto speaks in that clock's instants,
    /// and they can't be made from nothing. The core never asks what time it is; it adds to `origin` what has passed by `now`.
    pub fn new(
        config: SessionConfig,
        identity: &Identity,
        seed: &Seed,
        origin: std::time::Instant,
        now: Now,
    ) -> Self {
        let quic = Quic::new(TlsIdentity::new(identity), config.clone(), seed);
        // Only there so that first packets are announced; each is accepted with the configuration for its flow's key.
        let nobody = quic.server(identity.key(), usize::from(PACKET_BYTES_MIN), u64::MAX);
        let endpoint = Endpoint::new(
            Arc::new(quic.endpoint(seed)),
            Some(Arc::new(nobody)),
            true,
            None,
        );
        Self {
            quic,
            endpoint,
            clock: Clock::new(origin, now.instant),
            flows: BTreeMap::new(),
            sessions: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            outputs: VecDeque::new(),
            now: now.instant,
            counters: SessionCounters::default(),
            config,
        }
    }

    /// Takes one input.
    ///
    /// # Errors
    /// If a session can't be started or a flow not be known; the state is as before.
    pub fn handle(&mut self, input: SessionInput, now: Now) -> Result<(), ConnectError> {
        self.now = now.instant;
        match input {
            SessionInput::FlowUp {
                flow,
                key,
                role,
                mtu,
                bits_per_second,
            } => self.handle_flow_up(flow, key, role, mtu, bits_per_second),
            SessionInput::FlowDown { flow } => {
                self.handle_flow_down(flow);
                Ok(())
            }
            SessionInput::PathChanged { flow, mtu, rtt } => {
                self.handle_path_changed(flow, mtu, rtt);
                Ok(())
            }
            SessionInput::Datagram { flow, bytes } => {
                self.handle_datagram(flow, &bytes);
                Ok(())
            }
            SessionInput::Connect { flow } => self.handle_connect(flow),
            SessionInput::Close { flow, code } => {
                self.handle_close(flow, code);
                Ok(())
            }
            SessionInput::Tick => {
                self.handle_tick();
                Ok(())
            }
        }
    }

    /// Opens a stream; its first byte tells the peer what it is for.
    ///
    /// # Errors
    /// If the flow has no connected session or the peer allows no more streams now.
    pub fn open_stream(
        &mut self,
        flow: FlowId,
        direction: Direction,
        purpose: u8,
        now: Now,
    ) -> Result<StreamId, StreamError> {
        self.command(flow, now, |session| session.open(direction, purpose))
    }

    /// Writes as many of the bytes as there is room for and says how many; if fewer, [`SessionEvent::Writable`] follows.
    ///
    /// # Errors
    /// If the stream is not open for writing.
    pub fn write(
        &mut self,
        flow: FlowId,
        stream: StreamId,
        bytes: &[u8],
        now: Now,
    ) -> Result<usize, StreamError> {
        self.command(flow, now, |session| session.write(stream, bytes))
    }

    /// Reads up to `bytes_max` bytes in order; what is read makes room for as much more from the peer.
    ///
    /// # Errors
    /// If the stream is not open for reading.
    pub fn read(
        &mut self,
        flow: FlowId,
        stream: StreamId,
        bytes_max: usize,
        now: Now,
    ) -> Result<Read, StreamError> {
        self.command(flow, now, |session| session.read(stream, bytes_max))
    }

    /// Says that nothing more will be written; [`SessionEvent::Delivered`] follows when the peer has it all.
    ///
    /// # Errors
    /// If the stream is not open for writing.
    pub fn finish(&mut self, flow: FlowId, stream: StreamId, now: Now) -> Result<(), StreamError> {
        self.command(flow, now, |session| session.finish(stream))
    }

    /// Gives up writing; what was not delivered is forgotten.
    ///
    /// # Errors
    /// If the stream is not open for writing, or the code has more than 62 bits.
    pub fn reset(
        &mut self,
        flow: FlowId,
        stream: StreamId,
        code: u64,
        now: Now,
    ) -> Result<(), StreamError> {
        self.command(flow, now, |session| session.reset(stream, code))
    }

    /// Gives up reading and asks the peer to stop.
    ///
    /// # Errors
    /// If the stream is not open for reading, or the code has more than 62 bits.
    pub fn stop(
        &mut self,
        flow: FlowId,
        stream: StreamId,
        code: u64,
        now: Now,
    ) -> Result<(), StreamError> {
        self.command(flow, now, |session| session.stop(stream, code))
    }

    /// Sends a datagram that may be lost (RFC 9221); when too many wait, the oldest go first.
    ///
    /// # Errors
    /// If the flow has no connected session or the datagram is too large for one packet.
    pub fn send_datagram(
        &mut self,
        flow: FlowId,
        bytes: &[u8],
        now: Now,
    ) -> Result<(), StreamError> {
        self.command(flow, now, |session| {
            let mut datagrams = session.quic.datagrams();
            let bytes_max = datagrams.max_size().unwrap_or(0);
            datagrams
                .send(Bytes::copy_from_slice(bytes), true)
                .map_err(|error| match error {
                    SendDatagramError::UnsupportedByPeer
                    | SendDatagramError::Disabled
                    | SendDatagramError::TooLarge
                    | SendDatagramError::Blocked(_) => StreamError::DatagramTooLarge {
                        bytes: bytes.len(),
                        bytes_max,
                    },
                })
        })
    }

    /// The largest datagram that fits into one packet now, in bytes, or `None` without a connected session.
    pub fn datagram_bytes_max(&mut self, flow: FlowId) -> Option<usize> {
        let handle = self.connected(flow)?;
        self.sessions.get_mut(&handle)?.quic.datagrams().max_size()
    }

    /// The measured round trip, or `None` without a connected session.
    pub fn rtt(&self, flow: FlowId) -> Option<Duration> {
        let handle = self.connected(flow)?;
        Some(self.sessions.get(&handle)?.quic.rtt())
    }

    /// The next output, or `None` when drained.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with a tick if nothing comes before.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(self.now);
        }
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &SessionCounters {
        &self.counters
    }

    fn connected(&self, flow: FlowId) -> Option<usize> {
        let handle = self.flows.get(&flow)?.session?;
        let session = self.sessions.get(&handle)?;
        session.connected_at.map(|_| handle)
    }

    fn command<T>(
        &mut self,
        flow: FlowId,
        now: Now,
        act: impl FnOnce(&mut Session) -> Result<T, StreamError>,
    ) -> Result<T, StreamError> {
        self.now = now.instant;
        let handle = self
            .connected(flow)
            .ok_or(StreamError::NotConnected(flow))?;
        let session = self
            .sessions
            .get_mut(&handle)
            .ok_or(StreamError::NotConnected(flow))?;
        let result = act(session);
        self.pump(handle);
        result
    }

    fn handle_tick(&mut self) {
        let now = self.clock.to_std(self.now);
        let due: Vec<usize> = self
            .deadlines
            .iter()
            .take_while(|(at, _)| *at <= self.now)
            .map(|(_, handle)| *handle)
            .collect();
        for handle in due {
            if let Some(session) = self.sessions.get_mut(&handle) {
                if session.quic.poll_timeout().is_some_and(|at| at <= now) {
                    session.quic.handle_timeout(now);
                }
                let sign_of_life = session.keep_alive_at(self.config.keep_alive);
                if sign_of_life.is_some_and(|at| at <= self.now) {
                    session.quic.ping();
                    session.sent_at = self.now;
                }
            }
            self.pump(handle);
        }
    }

    /// Carries everything a connection has to say to where it belongs, and notes when it wants to be woken.
    fn pump(&mut self, handle: usize) {
        let now = self.clock.to_std(self.now);
        loop {
            self.pump_events(handle);
            let Some(session) = self.sessions.get_mut(&handle) else {
                return;
            };
            let flow = self.flows.get(&session.flow);
            let may_send = session.state != State::Muted && flow.is_some_and(|flow| flow.up);
            if !may_send {
                break;
            }
            let mtu = flow.map_or(0, |flow| flow.mtu);
            let packet_bytes_max = mtu.max(usize::from(PACKET_BYTES_MIN));
            let done = session.transmit(packet_bytes_max, now, &mut self.outputs);
            self.counters.trains = self.counters.trains.saturating_add(done.trains);
            self.counters.probes_dropped =
                self.counters.probes_dropped.saturating_add(done.dropped);
            if done.trains > 0 {
                session.sent_at = self.now;
            }
            if done.trains == 0 && done.dropped == 0 {
                break;
            }
        }
        self.note_deadline(handle);
    }

    fn pump_events(&mut self, handle: usize) {
        loop {
            let Some(session) = self.sessions.get_mut(&handle) else {
                return;
            };
            let mut quiet = true;
            while let Some(event) = session.quic.poll_endpoint_events() {
                quiet = false;
                if let Some(answer) = self.endpoint.handle_event(ConnectionHandle(handle), event) {
                    session.quic.handle_event(answer);
                }
            }
            if session.quic.is_drained() {
                self.apply_lost_events(handle);
                self.forget(handle);
                return;
            }
            while let Some(event) = self
                .sessions
                .get_mut(&handle)
                .and_then(|session| session.quic.poll())
            {
                quiet = false;
                self.apply_event(handle, event);
            }
            if quiet {
                return;
            }
        }
    }

    fn apply_lost_events(&mut self, handle: usize) {
        while let Some(event) = self
            .sessions
            .get_mut(&handle)
            .and_then(|session| session.quic.poll())
        {
            self.apply_event(handle, event);
        }
    }

    fn apply_event(&mut self, handle: usize, event: Event) {
        let Some(session) = self.sessions.get_mut(&handle) else {
            return;
        };
        if session.state != State::Live {
            return;
        }
        let (flow, key) = (session.flow, session.key);
        match event {
            Event::HandshakeDataReady | Event::DatagramsUnblocked => {}
            Event::Connected => {
                session.connected_at = Some(self.now);
                self.counters.connected = self.counters.connected.saturating_add(1);
                self.outputs
                    .push_back(SessionOutput::Event(SessionEvent::Connected { flow, key }));
            }
            Event::ConnectionLost { reason } => {
                session.state = State::Ending;
                let reason = close_reason(reason);
                if let Some(known) = self.flows.get_mut(&flow) {
                    known.session = None;
                    if !known.up {
                        self.flows.remove(&flow);
                    }
                }
                self.tell_closed(flow, reason);
            }
            Event::Stream(event) => session.apply_stream_event(event, &mut self.outputs),
            Event::DatagramReceived => {
                while let Some(bytes) = session.quic.datagrams().recv() {
                    let bytes = Vec::from(bytes);
                    self.outputs
                        .push_back(SessionOutput::Event(SessionEvent::DatagramReceived {
                            flow,
                            bytes,
                        }));
                }
            }
        }
    }

    fn forget(&mut self, handle: usize) {
        if let Some(session) = self.sessions.remove(&handle)
            && let Some(at) = session.deadline
        {
            self.deadlines.remove(&(at, handle));
        }
    }

    fn note_deadline(&mut self, handle: usize) {
        let clock = self.clock;
        let Some(session) = self.sessions.get_mut(&handle) else {
            return;
        };
        let timer = session.quic.poll_timeout().map(|at| clock.to_ours(at));
        let sign_of_life = session.keep_alive_at(self.config.keep_alive);
        let next = match (timer, sign_of_life) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(old) = session.deadline {
            self.deadlines.remove(&(old, handle));
        }
        session.deadline = next;
        if let Some(at) = next {
            self.deadlines.insert((at, handle));
        }
    }
}

fn close_reason(error: ConnectionError) -> CloseReason {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            CloseReason::Peer(close.error_code.into_inner())
        }
        ConnectionError::TimedOut => CloseReason::TimedOut,
        ConnectionError::Reset => CloseReason::Reset,
        ConnectionError::LocallyClosed => CloseReason::Local,
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::CidsExhausted => CloseReason::Refused(error.to_string()),
    }
}

mod lifecycle;

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test that overflows fails, as it should"
)]
mod tests;
