//! Real links: bytes between this machine's radios and the cores.
//!
//! A radio moves trains of frames and knows nothing of what is in them; it refuses to authenticate, to retry and to
//! queue without bound. Four kinds exist: UDP on a local network interface, UDP to configured peers over the Internet, a
//! framed local socket into which a phone's own radio code plugs, and the wrappers [`Impairment`] (loss, delay, rate)
//! and the packet trace around any of them. [`Tunnel`] is the TUN interface for unchanged programs.
//!
//! Read [`Radios`] (the set that the daemon's loop drives) and [`LinkSpec`] (what the user asked for) first.

mod address;
mod interface;
mod internet;
mod lossy;
mod netlink;
mod radio;
mod radios;
mod socket;
mod spec;
mod trace;
mod tunnel;
mod udp;
mod watch;

pub use address::{link_addr, socket_addr};
pub use interface::{DISCOVERY_GROUP_V4, DISCOVERY_GROUP_V6, DISCOVERY_PORT};
pub use internet::{INTERNET_FRAME_BYTES, PeerName};
pub use lossy::Impairment;
pub use radio::{Clock, RadioCounters, RadioEvent};
pub use radios::{OpenRadiosError, RadioSettings, RadioState, Radios};
pub use socket::codec::{CodecError, PROTOCOL_VERSION, SocketMessage};
pub use spec::{LinkSpec, ParseLinkError};
pub use tunnel::{TUNNEL_MTU, Tunnel, TunnelError};
