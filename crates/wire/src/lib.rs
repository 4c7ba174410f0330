//! Everything that goes on the air: bytes to values and back, one file per message family.
//!
//! Packet headers are fixed big-endian structs; control messages are CBOR with numbered fields (`minicbor`), whose unknown
//! fields are skipped, so that a later version may add some. Sizes are capped before anything is parsed; a value that can
//! be built can be sent. No state, no cryptography.

pub mod bundle;
pub mod chunk;
mod family;
pub mod flow;
pub mod gossip;
pub mod ids;
pub mod invite;
pub mod link;
pub mod message;
pub mod mute_list;
pub mod payment;
pub mod post;
pub mod route;

pub use family::{Family, FamilyError};
