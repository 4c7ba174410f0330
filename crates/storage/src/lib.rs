//! Files as Swarm's chunks: content-addressed pieces of at most 4,096 bytes, each of which proves itself.
//!
//! A file is cut into chunks, whose addresses are cut into chunks again, up to one root; the root's address is the file's
//! reference, the same that Swarm's own clients compute. Encrypted references carry the root's key too. The crate refuses to
//! touch a disk or a network: [`Splitter`] and [`Reader`] pass chunks in and out, [`Retrieval`] fetches them from several
//! holders and serves them, by inputs and outputs.
//!
//! Read [`Chunk`] (what is stored and sent) and [`Reference`] (what people pass on) first.

mod chunk;
mod encryption;
mod reader;
mod reference;
mod retrieval;
mod splitter;
mod tree;

pub use chunk::{Chunk, ChunkError};
pub use reader::{ReadError, Reader};
pub use reference::{Reference, ReferenceError};
pub use retrieval::{
    FailReason, Held, HolderFault, Retrieval, RetrievalConfig, RetrievalCounters, RetrievalError,
    RetrievalEvent, RetrievalInput, RetrievalOutput,
};
pub use smartmesh_wire::chunk::{ChunkAddress, ChunkFrames, ChunkMessage, FileOffer};
pub use splitter::{Splitter, split};
pub use tree::TreeError;
