//! Identifiers, the clocks and the limits that every part of SmartMesh shares.
//!
//! This crate parses, prints and does checked arithmetic; it holds no protocol logic, no cryptography and no I/O.
//! Read [`Address`] (who somebody is on the mesh) and [`Now`] (what time it is) first.

mod address;
mod frames;
mod ids;
mod time;

pub use address::{Address, NodeKey, ParseAddressError};
pub use frames::{Broadcast, Destination, RadioInfo, Train};
pub use ids::{
    FlowId, Label, LinkAddr, LinkAddrTooLong, MessageId, NeighbourId, RadioId, RequestId, Tag,
};
pub use time::{Duration, Instant, Now, UnixTime};

/// The smallest frame a link may offer, in bytes of link payload (a LoRa-like radio).
pub const FRAME_BYTES_MIN: usize = 200;
/// The largest frame a link may offer, in bytes; also the cap checked before anything is parsed.
pub const FRAME_BYTES_MAX: usize = 65_535;
