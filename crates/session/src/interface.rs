//! What goes in and out of the core, its limits and its errors.

use smartmesh_types::{Duration, FlowId, NodeKey, Train};
use thiserror::Error;

use crate::connection::{Direction, StreamId};

/// Limits of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Thinnest path in bytes of flow payload: a 512-byte frame less the link's 28 bytes and up to 44 of the end-to-end layer.
    pub mtu_min: usize,
    /// Slowest path in bits per second; below it a handshake alone takes seconds.
    pub bits_per_second_min: u64,
    /// Sessions at once; more flows than this stay without one.
    pub sessions_max: usize,
    /// Flows known at once.
    pub flows_max: usize,
    /// Streams that the peer may have open in each direction.
    pub streams_max: u32,
    /// Unread bytes that a stream may hold.
    pub stream_window_bytes: u32,
    /// Unread bytes that all streams of a session may hold together; also the bytes written and not yet acknowledged.
    pub session_window_bytes: u32,
    /// Datagrams waiting to be sent or read, in bytes; beyond it the oldest go.
    pub datagram_buffer_bytes: u32,
    /// How long a session outlives its last packet: RFC 9308 §3.2 wants about 30 seconds, and a path heals sooner.
    pub idle_timeout: Duration,
    /// How often a session with open streams gives a sign of life; twice within the idle timeout, lest one be lost.
    pub keep_alive: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            mtu_min: 440,
            bits_per_second_min: 20_000,
            sessions_max: 256,
            flows_max: 1_024,
            streams_max: 64,
            stream_window_bytes: 1 << 20,
            session_window_bytes: 2 << 20,
            datagram_buffer_bytes: 256 << 10,
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(12),
        }
    }
}

/// Which end set the flow up; if both start a session at once, the flow's initiator prevails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowRole {
    /// This node.
    Initiator,
    /// The peer.
    Responder,
}

/// What comes in.
#[derive(Clone, Debug)]
pub enum SessionInput {
    /// A flow is up, or up again; the peer's key is authenticated.
    FlowUp {
        /// The flow.
        flow: FlowId,
        /// The peer's node key, which its TLS must show.
        key: NodeKey,
        /// Who set the flow up.
        role: FlowRole,
        /// Payload bytes of one unfragmented packet.
        mtu: usize,
        /// Rate of the path.
        bits_per_second: u64,
    },
    /// A flow has no path now; its session waits for [`Self::FlowUp`] until the idle timeout.
    FlowDown {
        /// The flow.
        flow: FlowId,
    },
    /// The flow took another path.
    PathChanged {
        /// The flow.
        flow: FlowId,
        /// Payload bytes of one unfragmented packet there.
        mtu: usize,
        /// The new round trip if it is known.
        rtt: Option<Duration>,
    },
    /// A packet of kind QUIC arrived on a flow.
    Datagram {
        /// The flow.
        flow: FlowId,
        /// The packet.
        bytes: Vec<u8>,
    },
    /// Starts a session if there is none; [`SessionEvent::Connected`] or [`SessionEvent::Closed`] follows.
    Connect {
        /// The flow.
        flow: FlowId,
    },
    /// Ends a session, telling the peer the code; streams are cut off.
    Close {
        /// The flow.
        flow: FlowId,
        /// The code told.
        code: u32,
    },
    /// Nothing but time has passed.
    Tick,
}

/// What goes out, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOutput {
    /// Send these packets of kind QUIC over the flow.
    Transmit {
        /// The flow.
        flow: FlowId,
        /// One or more packets.
        train: Train,
    },
    /// Tell the layers above.
    Event(SessionEvent),
}

/// What the layers above get to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The session is up, and the peer has proven this key.
    Connected {
        /// The flow.
        flow: FlowId,
        /// The peer.
        key: NodeKey,
    },
    /// The session is gone with all its streams; unread data is lost.
    Closed {
        /// The flow.
        flow: FlowId,
        /// Why.
        reason: CloseReason,
    },
    /// The peer opened a stream; read it until [`crate::Read::Blocked`].
    StreamOpened {
        /// The flow.
        flow: FlowId,
        /// The stream.
        stream: StreamId,
        /// Whether an answer may be written.
        direction: Direction,
        /// What the peer says it is for.
        purpose: u8,
    },
    /// Read the stream until [`crate::Read::Blocked`].
    Readable {
        /// The flow.
        flow: FlowId,
        /// The stream.
        stream: StreamId,
    },
    /// A write that took fewer bytes than given may go on.
    Writable {
        /// The flow.
        flow: FlowId,
        /// The stream.
        stream: StreamId,
    },
    /// The peer's QUIC has acknowledged everything up to the end of a finished stream.
    Delivered {
        /// The flow.
        flow: FlowId,
        /// The stream.
        stream: StreamId,
    },
    /// The peer wants no more of this stream.
    Stopped {
        /// The flow.
        flow: FlowId,
        /// The stream.
        stream: StreamId,
        /// The peer's code.
        code: u64,
    },
    /// Streams can be opened again after [`crate::StreamError::TooMany`].
    StreamsAvailable {
        /// The flow.
        flow: FlowId,
        /// Of this direction.
        direction: Direction,
    },
    /// A datagram arrived (RFC 9221).
    DatagramReceived {
        /// The flow.
        flow: FlowId,
        /// Its content.
        bytes: Vec<u8>,
    },
}

/// Why a session ended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CloseReason {
    /// [`SessionInput::Close`].
    #[error("closed here")]
    Local,
    /// The peer closed it with this code.
    #[error("closed by the peer with code {0}")]
    Peer(u64),
    /// Nothing was heard for the idle timeout.
    #[error("nothing heard for too long")]
    TimedOut,
    /// The peer lost the session, usually by a restart.
    #[error("the peer has forgotten the session")]
    Reset,
    /// A handshake failed, because of the peer's key or what it said.
    #[error("handshake refused: {0}")]
    Refused(String),
    /// The peer started another session on the flow, or the flow has another peer now.
    #[error("replaced by a newer session")]
    Replaced,
}

/// Why an input was refused; nothing has changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConnectError {
    /// No such flow is up.
    #[error("flow {0:?} is not up")]
    UnknownFlow(FlowId),
    /// The path is too thin for sessions: send messages and bundles instead.
    #[error(
        "a path of {mtu} bytes and {bits_per_second} bit/s is too thin for a session; messages and bundles go over it"
    )]
    PathTooThin {
        /// Payload bytes of one packet.
        mtu: usize,
        /// Rate.
        bits_per_second: u64,
    },
    /// As many flows or sessions as allowed.
    #[error("already {0} flows or sessions, no more are allowed")]
    TooMany(usize),
    /// The QUIC library refused to start.
    #[error("could not start: {0}")]
    Quic(String),
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Sessions that connected.
    pub connected: u64,
    /// Sessions that ended after connecting or failed to.
    pub closed: u64,
    /// Handshakes refused, mostly for a wrong key.
    pub refused: u64,
    /// Packets for an unknown flow or that belong to another flow's session.
    pub strays: u64,
    /// Packets that QUIC could make nothing of.
    pub undecodable: u64,
    /// Attempts to start a session on a path too thin or beyond the limits.
    pub unwelcome: u64,
    /// Probes for a size that the flow doesn't carry in one piece, dropped before sending.
    pub probes_dropped: u64,
    /// Trains sent.
    pub trains: u64,
}
