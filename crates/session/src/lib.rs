//! Live end-to-end sessions: QUIC (RFC 9000) over the mesh's flows, with streams for files, proxies and calls of functions, and
//! datagrams (RFC 9221) for voice and games.
//!
//! A flow below is already an authenticated, sealed pipe of datagrams between two node keys; QUIC adds what it lacks: order,
//! retransmission, flow and congestion control. Its TLS shows the same node key as the flow, so a session that connects is
//! with the peer of the flow and nobody else. The crate refuses to know routes, files or messages, and starts no session on a
//! path too thin for it (see [`SessionConfig`]): there, messages and bundles go.
//!
//! Read [`Sessions`] (the core) and [`SessionEvent`] (what it tells) first.

mod connection;
mod interface;
mod quic;
mod sessions;

pub use connection::{Direction, Read, StreamError, StreamId};
pub use interface::{
    CloseReason, ConnectError, FlowRole, SessionConfig, SessionCounters, SessionEvent,
    SessionInput, SessionOutput,
};
pub use sessions::Sessions;
