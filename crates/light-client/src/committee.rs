//! Sync committees: bound by two values, the root of the members' keys and the sum of their keys.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

use crate::merkle::{GeneralizedIndex, Nodes, hash_pair, helper_indices, root_of};

/// A compressed BLS12-381 public key.
pub type Key = [u8; 48];

/// Returns the tree hash of a key.
#[must_use]
pub fn key_leaf(key: &Key) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(key);
    hasher.update([0; 16]);
    B256::from(<[u8; 32]>::from(hasher.finalize()))
}

/// A sync committee as a verifier needs it: 80 bytes that bind everything, and whichever members' keys are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committee {
    /// Root of the tree of the members' keys.
    pub keys_root: B256,
    /// Sum of the members' keys.
    pub aggregate: Key,
    /// Keys of members by their position; each was proved under `keys_root`.
    known: BTreeMap<u16, Key>,
}

impl Committee {
    /// Builds the committee of the full form, all of whose keys are known.
    #[must_use]
    pub fn from_keys(keys: &[Key], aggregate: Key) -> Self {
        let leaves: Vec<B256> = keys.iter().map(key_leaf).collect();
        let depth = crate::merkle::depth(u64::try_from(keys.len()).unwrap_or(0));
        Self {
            keys_root: root_of(&leaves, depth),
            aggregate,
            known: (0..).zip(keys.iter().copied()).collect(),
        }
    }

    /// Builds a committee of which only the binding values are known.
    #[must_use]
    pub const fn from_commitment(keys_root: B256, aggregate: Key) -> Self {
        Self {
            keys_root,
            aggregate,
            known: BTreeMap::new(),
        }
    }

    /// Returns the tree hash of the `SyncCommittee`.
    #[must_use]
    pub fn root(&self) -> B256 {
        hash_pair(self.keys_root, key_leaf(&self.aggregate))
    }

    /// Returns whether both are the same committee, whatever is known of it.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.keys_root == other.keys_root && self.aggregate == other.aggregate
    }

    /// Returns a member's key if it is known.
    #[must_use]
    pub fn key(&self, position: u16) -> Option<&Key> {
        self.known.get(&position)
    }

    /// Returns the known keys by position.
    #[must_use]
    pub const fn known(&self) -> &BTreeMap<u16, Key> {
        &self.known
    }

    /// Takes over keys that are proved to belong to this committee.
    pub(crate) fn learn(&mut self, keys: impl IntoIterator<Item = (u16, Key)>) {
        self.known.extend(keys);
    }

    /// Forgets every key; the binding values stay.
    pub fn forget_keys(&mut self) {
        self.known.clear();
    }

    /// Returns the nodes that prove these members' keys, where all keys of the committee are known.
    #[must_use]
    pub fn prove(&self, positions: &[u16], size: u16) -> Option<Vec<B256>> {
        let mut nodes = Nodes::default();
        for position in 0..size {
            nodes.insert(member_index(size, position), key_leaf(self.key(position)?));
        }
        nodes.fold()?;
        let wanted: Vec<_> = positions.iter().map(|at| member_index(size, *at)).collect();
        helper_indices(&wanted)
            .into_iter()
            .map(|index| nodes.node(index))
            .collect()
    }

    /// Judges whether these members' keys belong to this committee, by a multiproof with the nodes of [`helper_indices`].
    #[must_use]
    pub fn verify_members(&self, keys: &BTreeMap<u16, Key>, proof: &[B256], size: u16) -> bool {
        if keys.is_empty() || keys.keys().any(|position| *position >= size) {
            return false;
        }
        let wanted: Vec<_> = keys.keys().map(|at| member_index(size, *at)).collect();
        let helpers = helper_indices(&wanted);
        if helpers.len() != proof.len() {
            return false;
        }
        let mut nodes = Nodes::default();
        for (index, node) in helpers.into_iter().zip(proof) {
            nodes.insert(index, *node);
        }
        for (index, key) in wanted.into_iter().zip(keys.values()) {
            nodes.insert(index, key_leaf(key));
        }
        nodes.fold() == Some(self.keys_root)
    }
}

/// Returns the place of a member in the tree of keys.
fn member_index(size: u16, position: u16) -> GeneralizedIndex {
    u64::from(size).saturating_add(u64::from(position))
}

/// Who of a committee signed, a bit for each member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participation(Vec<u8>);

impl Participation {
    /// Takes the bits, least significant first in each byte, if they are as many as the committee has members.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], committee_size: u16) -> Option<Self> {
        (bytes.len() == usize::from(committee_size).div_ceil(8)).then(|| Self(bytes.to_vec()))
    }

    /// Builds the bits of a committee where all but the given members signed.
    #[must_use]
    pub fn all_but(absent: &[u16], committee_size: u16) -> Self {
        let mut bytes = vec![0xff; usize::from(committee_size).div_ceil(8)];
        for position in absent {
            if let Some(byte) = bytes.get_mut(usize::from(position / 8)) {
                *byte &= !(1 << (position % 8));
            }
        }
        Self(bytes)
    }

    /// Returns the bits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns how many signed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }

    /// Returns how many members there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(0).saturating_mul(8)
    }

    /// Returns whether at least two thirds signed.
    #[must_use]
    pub fn is_supermajority(&self) -> bool {
        self.count().saturating_mul(3) >= self.size().saturating_mul(2)
    }

    /// Returns the members that did sign, or those that did not.
    pub fn members(&self, signed: Signed) -> impl Iterator<Item = u16> {
        (0_u16..)
            .zip(
                self.0
                    .iter()
                    .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)),
            )
            .filter(move |(_, bit)| (*bit == 1) == (signed == Signed::Yes))
            .map(|(position, _)| position)
    }
}

/// Whether a member signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// It did.
    Yes,
    /// It did not.
    No,
}
