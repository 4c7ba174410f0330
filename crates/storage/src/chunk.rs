//! One chunk and its address.

use std::sync::LazyLock;

use alloy_primitives::keccak256;
use smartmesh_wire::chunk::{CHUNK_BYTES_MAX, ChunkAddress, PAYLOAD_BYTES_MAX, SPAN_BYTES};
use thiserror::Error;

/// Bytes of the smallest pieces that are hashed.
const SEGMENT_BYTES: usize = 32;
/// Levels between 128 segments and their root.
const LEVELS: usize = 7;

/// What the tree has at each level where the payload has ended: the hash of nothing but zeros.
static ZEROS: LazyLock<[[u8; SEGMENT_BYTES]; LEVELS]> = LazyLock::new(|| {
    let mut levels = [[0; SEGMENT_BYTES]; LEVELS];
    let mut below = [0; SEGMENT_BYTES];
    for level in &mut levels {
        *level = below;
        below = hash_pair(&below, &below);
    }
    levels
});

/// A chunk whose address is known to be right: an 8-byte little-endian span and up to 4,096 bytes of payload.
///
/// The address is `keccak256(span | root)`, where `root` is the root of the binary Merkle tree with Keccak-256 over the payload,
/// filled with zeros to 4,096 bytes, in segments of 32 bytes (Book of Swarm §2.2.2 and its appendix on the BMT hash).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    address: ChunkAddress,
    bytes: Vec<u8>,
}

/// Bytes that are no chunk, or not the one asked for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ChunkError {
    /// Shorter than a span or longer than a chunk may be.
    #[error("a chunk has 8 to 4,104 bytes, not {0}")]
    Length(usize),
    /// The bytes are another chunk's.
    #[error("the bytes belong to {0:?}")]
    Address(ChunkAddress),
}

impl Chunk {
    /// The chunk of this payload under this span; a payload beyond 4,096 bytes is cut.
    pub(crate) fn new(span: [u8; SPAN_BYTES], payload: &[u8]) -> Self {
        let payload = payload.get(..PAYLOAD_BYTES_MAX).unwrap_or(payload);
        let mut bytes = Vec::with_capacity(payload.len().saturating_add(SPAN_BYTES));
        bytes.extend_from_slice(&span);
        bytes.extend_from_slice(payload);
        Self {
            address: address_of(span, payload),
            bytes,
        }
    }

    /// Takes span and payload as they were stored or sent, and computes their address.
    ///
    /// # Errors
    /// If the length is no chunk's.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ChunkError> {
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(ChunkError::Length(bytes.len()));
        }
        let (span, payload) = bytes
            .split_first_chunk::<SPAN_BYTES>()
            .ok_or(ChunkError::Length(bytes.len()))?;
        Ok(Self {
            address: address_of(*span, payload),
            bytes,
        })
    }

    /// Takes span and payload if they are the chunk of this address.
    ///
    /// # Errors
    /// If they are no chunk or another.
    pub fn verify(address: ChunkAddress, bytes: Vec<u8>) -> Result<Self, ChunkError> {
        let chunk = Self::from_bytes(bytes)?;
        if chunk.address == address {
            Ok(chunk)
        } else {
            Err(ChunkError::Address(chunk.address))
        }
    }

    /// Its address.
    pub fn address(&self) -> ChunkAddress {
        self.address
    }

    /// Span and payload, 8 to 4,104 bytes: what is stored and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Span and payload, taken out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The 8 bytes of the span; little-endian unless encrypted.
    pub(crate) fn span_bytes(&self) -> [u8; SPAN_BYTES] {
        self.bytes.first_chunk().copied().unwrap_or_default()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.get(SPAN_BYTES..).unwrap_or_default()
    }
}

fn address_of(span: [u8; SPAN_BYTES], payload: &[u8]) -> ChunkAddress {
    let mut message = [0; SPAN_BYTES + SEGMENT_BYTES];
    let (front, back) = message.split_at_mut(SPAN_BYTES);
    front.copy_from_slice(&span);
    back.copy_from_slice(&root(payload));
    ChunkAddress(keccak256(message).0)
}

/// The root of the binary Merkle tree; hashes only where there is payload.
fn root(payload: &[u8]) -> [u8; SEGMENT_BYTES] {
    let mut filled = [0; PAYLOAD_BYTES_MAX];
    if let Some(front) = filled.get_mut(..payload.len()) {
        front.copy_from_slice(payload);
    }
    let (nodes, _) = filled.as_chunks_mut::<SEGMENT_BYTES>();
    let mut used = payload.len().div_ceil(SEGMENT_BYTES).max(1);
    for zero in ZEROS.iter() {
        if let Some(odd) = nodes.get_mut(used) {
            // What lies behind the payload at this level, in case the last pair needs it.
            *odd = *zero;
        }
        used = used.div_ceil(2);
        for at in 0..used {
            let left = at.saturating_mul(2);
            let pair = nodes.get(left).zip(nodes.get(left.saturating_add(1)));
            let hash = pair.map(|(left, right)| hash_pair(left, right));
            if let (Some(node), Some(hash)) = (nodes.get_mut(at), hash) {
                *node = hash;
            }
        }
    }
    nodes.first().copied().unwrap_or_default()
}

fn hash_pair(left: &[u8; SEGMENT_BYTES], right: &[u8; SEGMENT_BYTES]) -> [u8; SEGMENT_BYTES] {
    let mut both = [0; 2 * SEGMENT_BYTES];
    let (front, back) = both.split_at_mut(SEGMENT_BYTES);
    front.copy_from_slice(left);
    back.copy_from_slice(right);
    keccak256(both).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let chunk = Chunk::new(100_u64.to_le_bytes(), &[7; 100]);
        assert_eq!(
            Chunk::verify(chunk.address(), chunk.bytes().to_vec()),
            Ok(chunk.clone())
        );
        for at in 0..chunk.bytes().len() {
            let mut bytes = chunk.bytes().to_vec();
            bytes[at] ^= 1;
            assert!(matches!(
                Chunk::verify(chunk.address(), bytes),
                Err(ChunkError::Address(_))
            ));
        }
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(Chunk::from_bytes(vec![0; 7]), Err(ChunkError::Length(7)));
        assert_eq!(
            Chunk::from_bytes(vec![0; 4_105]),
            Err(ChunkError::Length(4_105))
        );
        assert!(Chunk::from_bytes(vec![0; 8]).is_ok());
        assert!(Chunk::from_bytes(vec![0; 4_104]).is_ok());
    }
}
