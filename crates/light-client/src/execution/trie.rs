//! Merkle-Patricia tries from loose nodes, each known by its keccak (Yellow Paper, appendix D).

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::nodes::{RlpNode, TrieNode};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};
use thiserror::Error;

use super::knowledge::Cache;

/// Nodes on one way: a key of 32 bytes has 64 nibbles.
const DEPTH_MAX: usize = 65;

/// Bytes of one node: a branch has 532; a leaf of a receipt may hold a long log.
pub(super) const NODE_BYTES_MAX: usize = 1 << 20;

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// The node with this hash is not among those that came.
    #[error("the node {0} is missing")]
    Missing(B256),
    /// A node of the trie is no node.
    #[error("the node {0} is malformed")]
    Malformed(B256),
    /// More nodes on one way than a key has nibbles.
    #[error("the way is longer than the key")]
    TooDeep,
    /// The value is not of its kind.
    #[error("the value in the trie is malformed")]
    Value,
}

/// Nodes of any number of tries.
#[derive(Clone, Debug)]
pub struct TrieNodes(Cache<Bytes>);

impl TrieNodes {
    /// Keeps nodes of up to this many bytes together; the oldest go first.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self(Cache::new(bytes_max))
    }

    /// Takes a node in, under the hash that it has.
    pub fn insert(&mut self, node: Bytes) {
        if node.len() <= NODE_BYTES_MAX {
            let weight = node.len();
            self.0.insert(keccak256(&node), node, weight);
        }
    }

    /// Looks a key up under a root: its value, or `None` if the trie proves that there is none.
    ///
    /// # Errors
    ///
    /// [`ProofError::Missing`] if a node on the way is not known; the others if the trie itself is malformed.
    pub fn lookup(&self, root: B256, key: &[u8]) -> Result<Option<Vec<u8>>, ProofError> {
        if root == EMPTY_ROOT_HASH {
            return Ok(None);
        }
        let mut rest = Nibbles::unpack(key);
        let mut hash = root;
        let mut node = self.node(root)?;
        for _ in 0..DEPTH_MAX {
            let next = match node {
                TrieNode::EmptyRoot => return Ok(None),
                TrieNode::Leaf(leaf) => return Ok((leaf.key == rest).then_some(leaf.value)),
                TrieNode::Extension(extension) => {
                    if !rest.starts_with(&extension.key) {
                        return Ok(None);
                    }
                    rest = rest.slice(extension.key.len()..);
                    extension.child
                }
                TrieNode::Branch(branch) => {
                    let Some(nibble) = rest.first() else {
                        return Ok(None);
                    };
                    rest = rest.slice(1..);
                    let child = branch
                        .as_ref()
                        .children()
                        .find(|(at, _)| *at == nibble)
                        .and_then(|(_, child)| child.cloned());
                    match child {
                        Some(child) => child,
                        None => return Ok(None),
                    }
                }
            };
            (hash, node) = self.child(&next, hash)?;
        }
        Err(ProofError::TooDeep)
    }

    fn node(&self, hash: B256) -> Result<TrieNode, ProofError> {
        let bytes = self.0.get(&hash).ok_or(ProofError::Missing(hash))?;
        decode(bytes, hash)
    }

    /// A child is known by its hash, or stands inside its parent if it is short.
    fn child(&self, child: &RlpNode, parent: B256) -> Result<(B256, TrieNode), ProofError> {
        match child.as_hash() {
            Some(hash) => Ok((hash, self.node(hash)?)),
            None => Ok((parent, decode(child.as_slice(), parent)?)),
        }
    }
}

fn decode(mut bytes: &[u8], hash: B256) -> Result<TrieNode, ProofError> {
    let node = TrieNode::decode(&mut bytes).map_err(|_| ProofError::Malformed(hash))?;
    if bytes.is_empty() {
        Ok(node)
    } else {
        Err(ProofError::Malformed(hash))
    }
}

/// Judges one proof alone: the value at a hashed key under a root, or `None` if it is proved absent.
///
/// # Errors
///
/// As [`TrieNodes::lookup`].
pub fn verify_value(
    root: B256,
    key: &[u8],
    nodes: &[Bytes],
) -> Result<Option<Vec<u8>>, ProofError> {
    let mut known = TrieNodes::new(usize::MAX);
    for node in nodes.iter().take(DEPTH_MAX) {
        known.insert(node.clone());
    }
    known.lookup(root, key)
}

/// Judges the inclusion of an item in an ordered trie, such as a receipt or transaction under its block's root.
///
/// # Errors
///
/// As [`TrieNodes::lookup`].
pub fn verify_indexed(
    root: B256,
    index: u64,
    nodes: &[Bytes],
) -> Result<Option<Vec<u8>>, ProofError> {
    verify_value(root, &alloy_rlp::encode(index), nodes)
}
