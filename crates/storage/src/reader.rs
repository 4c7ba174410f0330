//! Puts a file, or a part of it, together again from its chunks, in order.

use smartmesh_wire::chunk::ChunkAddress;
use thiserror::Error;

use crate::tree::{Node, Opened, TreeError};
use crate::{Chunk, ChunkError, Reference};

/// Why a file can't be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The bytes given are not the chunk that was wanted.
    #[error("not the chunk that was wanted")]
    Chunk(#[from] ChunkError),
    /// The chunk is right by itself, and the file is not.
    #[error("the file is damaged")]
    Tree(#[from] TreeError),
    /// A chunk was given that nobody asked for.
    #[error("no chunk was wanted")]
    NotWanted,
}

/// Reads a range of a file: asks for one chunk after the other, verifies each, and gives the file's bytes in order.
///
/// It holds the places still to visit: at most 128 for each level of the tree.
#[derive(Clone, Debug)]
pub struct Reader {
    /// What is still to come, the next on top.
    places: Vec<Node>,
    start: u64,
    end: u64,
    length: Option<u64>,
}

impl Reader {
    /// Reads the whole file.
    pub fn new(reference: Reference) -> Self {
        Self::range(reference, 0, u64::MAX)
    }

    /// Reads `length` bytes from `start` on, or as many as the file has there.
    pub fn range(reference: Reference, start: u64, length: u64) -> Self {
        Self {
            places: vec![Node::root(reference)],
            start,
            end: start.saturating_add(length),
            length: None,
        }
    }

    /// The chunk needed next, or `None` when the range is complete.
    pub fn wanted(&self) -> Option<ChunkAddress> {
        self.places.last().map(Node::address)
    }

    /// The file's length in bytes, once its root has been seen.
    pub fn file_length(&self) -> Option<u64> {
        self.length
    }

    /// Takes the chunk that was wanted and gives the bytes of the range it holds; none if it holds references.
    ///
    /// # Errors
    /// If it is another chunk, or not part of such a file; the reader still wants the same.
    pub fn supply(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let place = *self.places.last().ok_or(ReadError::NotWanted)?;
        let chunk = Chunk::verify(place.address(), bytes)?;
        let opened = place.open(&chunk)?;
        self.places.pop();
        match opened {
            Opened::Data(data) => {
                let length = u64::try_from(data.len()).unwrap_or(0);
                self.length.get_or_insert(length);
                let from = clamp(self.start, place.offset, length);
                let to = clamp(self.end, place.offset, length).max(from);
                Ok(data.get(from..to).unwrap_or_default().to_vec())
            }
            Opened::Branch(span, children) => {
                self.length.get_or_insert(span);
                let wanted = |node: &Node| {
                    node.offset < self.end && node.end().is_none_or(|end| end > self.start)
                };
                let children: Vec<Node> = children.into_iter().rev().filter(wanted).collect();
                self.places.extend(children);
                Ok(Vec::new())
            }
        }
    }
}

/// A position in the file as one in a piece of it.
fn clamp(position: u64, offset: u64, length: u64) -> usize {
    usize::try_from(position.saturating_sub(offset).min(length)).unwrap_or(usize::MAX)
}
