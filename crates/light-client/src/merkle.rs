//! SHA-256 Merkle trees as SSZ builds them, addressed by generalized indices (consensus specs, `ssz/merkle-proofs.md`).
//!
//! A node's children are `2g` and `2g + 1`; the root is 1. A branch lists siblings from the leaf upward.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

/// A node's place in a Merkle tree.
pub type GeneralizedIndex = u64;

/// Hashes two nodes to their parent.
#[must_use]
pub fn hash_pair(left: B256, right: B256) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(left);
    hasher.update(right);
    B256::from(<[u8; 32]>::from(hasher.finalize()))
}

/// Returns the number of levels between a node and the root.
#[must_use]
pub fn depth(index: GeneralizedIndex) -> usize {
    index
        .checked_ilog2()
        .map_or(0, |log| usize::try_from(log).unwrap_or(0))
}

/// Returns the root of a tree of `2^depth` leaves, those after the given ones being zero.
#[must_use]
pub fn root_of(leaves: &[B256], depth: usize) -> B256 {
    let mut level: Vec<B256> = leaves.to_vec();
    let mut zero = B256::ZERO;
    for _ in 0..depth {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => hash_pair(*left, *right),
                [left] => hash_pair(*left, zero),
                _ => zero,
            })
            .collect();
        zero = hash_pair(zero, zero);
    }
    level.first().copied().unwrap_or(zero)
}

/// Returns the siblings on the way from leaf `position` up to the root of a tree of `2^depth` leaves.
#[must_use]
pub fn branch_of(leaves: &[B256], depth: usize, position: usize) -> Vec<B256> {
    let mut level: Vec<B256> = leaves.to_vec();
    let mut zero = B256::ZERO;
    let mut at = position;
    let mut branch = Vec::with_capacity(depth);
    for _ in 0..depth {
        branch.push(level.get(at ^ 1).copied().unwrap_or(zero));
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => hash_pair(*left, *right),
                [left] => hash_pair(*left, zero),
                _ => zero,
            })
            .collect();
        zero = hash_pair(zero, zero);
        at >>= 1;
    }
    branch
}

/// Returns the root that a leaf and its branch lead to.
#[must_use]
pub fn branch_root(leaf: B256, branch: &[B256], index: GeneralizedIndex) -> B256 {
    let mut node = leaf;
    let mut at = index;
    for sibling in branch {
        node = if at & 1 == 1 {
            hash_pair(*sibling, node)
        } else {
            hash_pair(node, *sibling)
        };
        at >>= 1;
    }
    node
}

/// Judges whether the branch proves the leaf at this index under the root; its length must be the index's depth.
#[must_use]
pub fn verify_branch(leaf: B256, branch: &[B256], index: GeneralizedIndex, root: B256) -> bool {
    branch.len() == depth(index) && branch_root(leaf, branch, index) == root
}

/// Returns the nodes that a proof of all these leaves must bring along, greatest index first.
#[must_use]
pub fn helper_indices(leaves: &[GeneralizedIndex]) -> Vec<GeneralizedIndex> {
    let mut on_path = std::collections::BTreeSet::new();
    for leaf in leaves {
        let mut at = *leaf;
        while at > 1 {
            on_path.insert(at);
            at >>= 1;
        }
    }
    let siblings: std::collections::BTreeSet<_> = on_path.iter().map(|at| at ^ 1).collect();
    siblings
        .into_iter()
        .rev()
        .filter(|at| !on_path.contains(at))
        .collect()
}

/// Known nodes of one tree.
#[derive(Clone, Debug, Default)]
pub struct Nodes(BTreeMap<GeneralizedIndex, B256>);

impl Nodes {
    /// Adds a node.
    pub fn insert(&mut self, index: GeneralizedIndex, node: B256) {
        self.0.insert(index, node);
    }

    /// Returns a node if it is known.
    #[must_use]
    pub fn node(&self, index: GeneralizedIndex) -> Option<B256> {
        self.0.get(&index).copied()
    }

    /// Computes every parent whose children are known, and returns the root if that reaches it.
    ///
    /// Work is linear in the number of nodes times the depth.
    pub fn fold(&mut self) -> Option<B256> {
        let mut open = self.0.last_key_value().map(|(index, _)| *index);
        while let Some(index) = open {
            if index > 1
                && let (Some(left), Some(right)) = (
                    self.0.get(&(index & !1)).copied(),
                    self.0.get(&(index | 1)).copied(),
                )
            {
                self.0.insert(index >> 1, hash_pair(left, right));
            }
            open = self.0.range(..index).next_back().map(|(next, _)| *next);
        }
        self.node(1)
    }

    /// Returns the branch of a node, where every sibling is known.
    #[must_use]
    pub fn branch(&self, index: GeneralizedIndex) -> Option<Vec<B256>> {
        let mut at = index;
        let mut branch = Vec::with_capacity(depth(index));
        while at > 1 {
            branch.push(self.node(at ^ 1)?);
            at >>= 1;
        }
        Some(branch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<B256> {
        (1..=count).map(B256::repeat_byte).collect()
    }

    #[test]
    fn a_branch_proves_its_leaf_and_no_other() {
        let leaves = leaves(11);
        let root = root_of(&leaves, 4);
        for (at, leaf) in leaves.iter().enumerate() {
            let branch = branch_of(&leaves, 4, at);
            let index = 16 + u64::try_from(at).unwrap();
            assert!(verify_branch(*leaf, &branch, index, root));
            assert!(!verify_branch(*leaf, &branch, index ^ 1, root));
            assert!(!verify_branch(*leaf, &branch[..3], index, root));
            assert!(!verify_branch(B256::ZERO, &branch, index, root));
        }
    }

    #[test]
    fn several_leaves_share_a_proof() {
        let leaves = leaves(16);
        let root = root_of(&leaves, 4);
        let wanted = [18_u64, 19, 27];
        let mut all = Nodes::default();
        for (at, leaf) in leaves.iter().enumerate() {
            all.insert(16 + u64::try_from(at).unwrap(), *leaf);
        }
        assert_eq!(all.fold(), Some(root));
        let helpers = helper_indices(&wanted);
        assert_eq!(helpers, [26, 12, 8, 7, 5]);
        let mut nodes = Nodes::default();
        for index in wanted.iter().chain(&helpers) {
            nodes.insert(*index, all.node(*index).unwrap());
        }
        assert_eq!(nodes.fold(), Some(root));
        assert_eq!(nodes.branch(27), Some(branch_of(&leaves, 4, 11)));
    }
}
