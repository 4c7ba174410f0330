//! Conditional payments of one direction: the tree, and which conditions this version takes.

use alloy_primitives::{Address as Account, B256, keccak256};
use smartmesh_contracts::{Leaf, tree_root};
use smartmesh_crypto::{AccountKey, sha256};
use smartmesh_wire::payment::{AddedLock, LOCKS_MAX, State};

/// The longest that a lock may hold, seconds: what the contract waits for at most.
pub(crate) const LOCK_LIFE_MAX: u64 = 60 * 86_400;

/// One conditional payment, with what this side knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) added: AddedLock,
    /// What opens it, once known.
    pub(crate) secret: Option<[u8; 32]>,
    /// The payee gave it up.
    pub(crate) released: bool,
    /// The lock that pays for it, and what leads from its secret to that one's.
    pub(crate) source: Option<Source>,
}

/// The incoming lock that a relay handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Slot of its channel.
    pub(crate) slot: u32,
    /// Its name there.
    pub(crate) lock: u64,
    /// Added to the outgoing secret.
    pub(crate) tweak: [u8; 32],
}

impl Lock {
    pub(crate) fn new(added: AddedLock) -> Self {
        Self {
            added,
            secret: None,
            released: false,
            source: None,
        }
    }

    pub(crate) fn leaf(&self) -> Leaf {
        Leaf {
            id: self.added.id,
            amount: self.added.amount,
            expiry: self.added.expiry,
            condition: self.added.condition.clone(),
        }
    }

    /// Whether the secret opens it.
    pub(crate) fn opens(&self, secret: &[u8; 32]) -> bool {
        match self.added.condition.split_first() {
            Some((1, hash)) => sha256(&[secret]) == *hash,
            Some((2, point)) => AccountKey::from_bytes(*secret)
                .is_ok_and(|secret| Account::from(secret.address()).as_slice() == point),
            Some(_) | None => false,
        }
    }

    /// Under which key the registry of conditions keeps it.
    pub(crate) fn registry_key(&self) -> B256 {
        match self.added.condition.split_first() {
            Some((1, hash)) if hash.len() == 32 => B256::from_slice(hash),
            Some(_) | None => keccak256(&self.added.condition),
        }
    }
}

/// Whether this version can judge a condition off the chain: hash locks and point locks.
pub(crate) fn is_supported(condition: &[u8]) -> bool {
    matches!(condition.split_first(), Some((1, rest)) if rest.len() == 32)
        || matches!(condition.split_first(), Some((2, rest)) if rest.len() == 20)
}

/// The fields of a state that follow from its locks; none if there are too many or their sum is too large.
pub(crate) fn totals<'a>(
    locks: impl IntoIterator<Item = &'a Lock>,
) -> Option<([u8; 32], u128, u64)> {
    let (mut leaves, mut locked, mut last) = (Vec::new(), 0_u128, 0);
    for lock in locks {
        leaves.push(lock.leaf().hash());
        locked = locked.checked_add(lock.added.amount)?;
        last = last.max(lock.added.expiry);
    }
    if leaves.len() > LOCKS_MAX {
        return None;
    }
    Some((tree_root(&leaves)?.0, locked, last))
}

/// Whether a state says of its locks what they are.
pub(crate) fn match_state(state: &State, locks: &[Lock]) -> bool {
    totals(locks) == Some((state.root, state.locked, state.last_expiry))
}
