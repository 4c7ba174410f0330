//! The shape of a file's tree, which its length alone decides.
//!
//! A chunk whose span is at most 4,096 holds data. Any other holds references to its children: each covers the largest
//! `4,096 x branches^n` below the span, the last one what remains; 128 branches plain, 64 encrypted. A single chunk left over
//! at one level is referenced from a higher level as it is, which this rule gives by itself.

use smartmesh_wire::chunk::{ChunkAddress, PAYLOAD_BYTES_MAX};
use thiserror::Error;

use crate::{Chunk, Reference, encryption};

/// The longest file: far beyond any disk, and small enough that no sum overflows; spans beyond it also mark Swarm's erasure
/// coding, which is not understood here.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 50;
/// Bytes of data in a full chunk at the bottom.
pub(crate) const LEAF_BYTES: u64 = 4_096;
#[expect(clippy::cast_possible_truncation, reason = "4,096 fits anywhere")]
const _: () = assert!(LEAF_BYTES as usize == PAYLOAD_BYTES_MAX);

/// A chunk that exists and is no part of the tree that its parent promised.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TreeError {
    /// The span is not what the place in the file asks for.
    #[error("a chunk covers {found} bytes where {expected} were to come")]
    Span {
        /// What the parent promised.
        expected: u64,
        /// What the chunk says.
        found: u64,
    },
    /// The file is longer than allowed, or made by erasure coding.
    #[error("a file of {0} bytes is too long or of a kind not understood")]
    TooLong(u64),
    /// The payload has not the length that the span asks for.
    #[error("a chunk of {found} payload bytes where {expected} were to come")]
    Payload {
        /// What the span asks for.
        expected: usize,
        /// What is there.
        found: usize,
    },
}

/// A place in a file's tree: which chunk belongs there and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) reference: Reference,
    /// Where in the file it begins.
    pub(crate) offset: u64,
    /// Bytes of the file it covers; unknown for the root.
    pub(crate) span: Option<u64>,
}

/// What a chunk holds, seen from its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Bytes of the file.
    Data(Vec<u8>),
    /// Further places, in order; the first number is what they cover together.
    Branch(u64, Vec<Node>),
}

impl Node {
    pub(crate) fn root(reference: Reference) -> Self {
        Self {
            reference,
            offset: 0,
            span: None,
        }
    }

    pub(crate) fn address(&self) -> ChunkAddress {
        self.reference.address()
    }

    /// Whether its chunk can hold references; the root's may.
    pub(crate) fn may_branch(&self) -> bool {
        self.span.is_none_or(|span| span > LEAF_BYTES)
    }

    /// Where in the file it ends, if that is known.
    pub(crate) fn end(&self) -> Option<u64> {
        self.span.map(|span| self.offset.saturating_add(span))
    }

    /// Takes the chunk of this place, whose address has been verified.
    ///
    /// # Errors
    /// If the chunk is no part of the tree that the parent promised.
    pub(crate) fn open(&self, chunk: &Chunk) -> Result<Opened, TreeError> {
        let (span, payload) = self.plain(chunk)?;
        if let Some(expected) = self.span.filter(|expected| *expected != span) {
            return Err(TreeError::Span {
                expected,
                found: span,
            });
        }
        if span > FILE_BYTES_MAX {
            return Err(TreeError::TooLong(span));
        }
        let (child_span, reference_bytes, children) = shape(span, self.reference);
        let expected = if span <= LEAF_BYTES {
            usize::try_from(span).unwrap_or(usize::MAX)
        } else {
            children.saturating_mul(reference_bytes)
        };
        // Only encrypted chunks are padded.
        let padded = matches!(self.reference, Reference::Encrypted(..));
        let wrong = TreeError::Payload {
            expected,
            found: payload.len(),
        };
        let used = payload.get(..expected).ok_or(wrong)?;
        if !padded && payload.len() != expected {
            return Err(wrong);
        }
        if span <= LEAF_BYTES {
            return Ok(Opened::Data(used.to_vec()));
        }
        let end = self.offset.saturating_add(span);
        let offsets = std::iter::successors(Some(self.offset), |at| at.checked_add(child_span));
        let nodes = used
            .chunks(reference_bytes)
            .zip(offsets)
            .filter_map(|(bytes, offset)| {
                Some(Self {
                    reference: Reference::from_bytes(bytes).ok()?,
                    offset,
                    span: Some(child_span.min(end.saturating_sub(offset))),
                })
            })
            .collect();
        Ok(Opened::Branch(span, nodes))
    }

    fn plain(&self, chunk: &Chunk) -> Result<(u64, Vec<u8>), TreeError> {
        match self.reference {
            Reference::Plain(_) => Ok((
                u64::from_le_bytes(chunk.span_bytes()),
                chunk.payload().to_vec(),
            )),
            Reference::Encrypted(_, key) => {
                encryption::decrypt(chunk, &key).ok_or(TreeError::Payload {
                    expected: PAYLOAD_BYTES_MAX,
                    found: chunk.payload().len(),
                })
            }
        }
    }
}

/// For a span above one chunk: what a child covers, the bytes of its reference, and how many children there are.
fn shape(span: u64, reference: Reference) -> (u64, usize, usize) {
    let (reference_bytes, branches) = match reference {
        Reference::Plain(_) => (32, 128_u64),
        Reference::Encrypted(..) => (64, 64),
    };
    let mut child = LEAF_BYTES;
    while child.saturating_mul(branches) < span {
        child = child.saturating_mul(branches);
    }
    let children = usize::try_from(span.div_ceil(child)).unwrap_or(usize::MAX);
    (child, reference_bytes, children)
}
