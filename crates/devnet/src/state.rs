//! Accounts and storage in the order of the trie that commits to them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::proof::ProofRetainer;
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount};
use revm::database_interface::DatabaseRef;
use revm::state::{AccountInfo, Bytecode, EvmState};

/// One account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    pub(crate) code_hash: B256,
    pub(crate) code: Bytecode,
    /// Values that are not zero, by the hash of their slot.
    storage: BTreeMap<B256, U256>,
    storage_root: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            nonce: 0,
            balance: U256::ZERO,
            code_hash: KECCAK256_EMPTY,
            code: Bytecode::default(),
            storage: BTreeMap::new(),
            storage_root: EMPTY_ROOT_HASH,
        }
    }
}

impl Account {
    fn is_empty(&self) -> bool {
        self.nonce == 0 && self.balance.is_zero() && self.code_hash == KECCAK256_EMPTY
    }

    fn trie_account(&self) -> TrieAccount {
        TrieAccount::new(self.nonce, self.balance, self.storage_root, self.code_hash)
    }

    fn set_slot(&mut self, slot: U256, value: U256) {
        let key = keccak256(slot.to_be_bytes::<32>());
        if value.is_zero() {
            self.storage.remove(&key);
        } else {
            self.storage.insert(key, value);
        }
    }

    fn hash_storage(&mut self) {
        let leaves = self.storage.iter().map(|(key, value)| (*key, *value));
        self.storage_root = alloy_trie::root::storage_root(leaves);
    }

    pub(crate) fn slot(&self, slot: U256) -> U256 {
        let key = keccak256(slot.to_be_bytes::<32>());
        self.storage.get(&key).copied().unwrap_or_default()
    }

    pub(crate) fn set_code(&mut self, code: Bytes) {
        self.code = Bytecode::new_raw(code);
        self.code_hash = self.code.hash_slow();
    }
}

/// All accounts after one block; a copy shares what did not change.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// By the hash of the address.
    accounts: BTreeMap<B256, Arc<Account>>,
}

/// `eth_getProof` in values (EIP-1186).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account as the trie has it; all zero if it is absent.
    pub account: TrieAccount,
    /// Nodes from the state root to the account, or to where it would be.
    pub nodes: Vec<Bytes>,
    /// Slot, value and nodes from the storage root.
    pub slots: Vec<(U256, U256, Vec<Bytes>)>,
}

impl State {
    pub(crate) fn account(&self, address: Address) -> Option<&Account> {
        self.accounts.get(&keccak256(address)).map(Arc::as_ref)
    }

    /// Changes one account by hand; an account that ends up empty is removed (EIP-161).
    pub(crate) fn change(&mut self, address: Address, change: impl FnOnce(&mut Account)) {
        let key = keccak256(address);
        let mut account = self
            .accounts
            .remove(&key)
            .map(Arc::unwrap_or_clone)
            .unwrap_or_default();
        change(&mut account);
        account.hash_storage();
        if !account.is_empty() {
            self.accounts.insert(key, Arc::new(account));
        }
    }

    /// Sets one word of storage by hand.
    pub(crate) fn set_storage(&mut self, address: Address, slot: U256, value: U256) {
        self.change(address, |account| account.set_slot(slot, value));
    }

    /// Takes over what a transaction changed.
    pub(crate) fn apply(&mut self, changes: EvmState) {
        for (address, changed) in changes {
            if !changed.is_touched() {
                continue;
            }
            let key = keccak256(address);
            if changed.is_selfdestructed() || changed.is_empty() {
                self.accounts.remove(&key);
                continue;
            }
            let mut account = self
                .accounts
                .remove(&key)
                .map(Arc::unwrap_or_clone)
                .unwrap_or_default();
            if changed.is_created() {
                account.storage.clear();
            }
            account.nonce = changed.info.nonce;
            account.balance = changed.info.balance;
            if account.code_hash != changed.info.code_hash
                && let Some(code) = &changed.info.code
            {
                account.code_hash = changed.info.code_hash;
                account.code = code.clone();
            }
            let mut storage_changed = changed.is_created();
            for (slot, value) in changed.changed_storage_slots() {
                account.set_slot(*slot, value.present_value());
                storage_changed = true;
            }
            if storage_changed {
                account.hash_storage();
            }
            self.accounts.insert(key, Arc::new(account));
        }
    }

    pub(crate) fn root(&self) -> B256 {
        let leaves = self
            .accounts
            .iter()
            .map(|(key, account)| (*key, account.trie_account()));
        alloy_trie::root::state_root(leaves)
    }

    /// Proves an account and some of its slots, present or absent.
    pub(crate) fn proof(&self, address: Address, slots: &[U256]) -> AccountProof {
        let target = keccak256(address);
        let leaves = self
            .accounts
            .iter()
            .map(|(key, account)| (*key, alloy_rlp::encode(account.trie_account())));
        let nodes = prove(leaves, target);
        let account = self.account(address);
        let slots = slots
            .iter()
            .map(|slot| match account {
                Some(account) => {
                    let leaves = account
                        .storage
                        .iter()
                        .map(|(key, value)| (*key, alloy_rlp::encode(value)));
                    let nodes = prove(leaves, keccak256(slot.to_be_bytes::<32>()));
                    (*slot, account.slot(*slot), nodes)
                }
                None => (*slot, U256::ZERO, Vec::new()),
            })
            .collect();
        AccountProof {
            account: account.map_or_else(TrieAccount::default, Account::trie_account),
            nodes,
            slots,
        }
    }
}

/// The nodes of a trie from its root towards a key.
fn prove(leaves: impl Iterator<Item = (B256, Vec<u8>)>, key: B256) -> Vec<Bytes> {
    let target = Nibbles::unpack(key);
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![target]));
    let mut empty = true;
    for (key, value) in leaves {
        builder.add_leaf(Nibbles::unpack(key), &value);
        empty = false;
    }
    if empty {
        return Vec::new();
    }
    let _ = builder.root();
    let nodes = builder.take_proof_nodes();
    nodes
        .matching_nodes_sorted(&target)
        .into_iter()
        .map(|(_, node)| node)
        .collect()
}

/// What the EVM may look at: one state and the hashes of earlier blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) hashes: &'a BTreeMap<u64, B256>,
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.account(address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code: Some(account.code.clone()),
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash_ref(&self, _: B256) -> Result<Bytecode, Infallible> {
        // Every account brings its code.
        Ok(Bytecode::default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        let account = self.state.account(address);
        Ok(account.map_or(U256::ZERO, |account| account.slot(slot)))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.get(&number).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_trie::proof::verify_proof;

    fn state() -> State {
        let mut state = State::default();
        for n in 1..=40_u8 {
            state.change(Address::repeat_byte(n), |account| {
                account.balance = U256::from(n);
            });
        }
        for slot in 0..20_u64 {
            let value = U256::from(slot.saturating_mul(1_000).saturating_add(1));
            state.set_storage(Address::repeat_byte(7), U256::from(slot), value);
        }
        state
    }

    #[test]
    fn proofs_verify_against_the_root() {
        let state = state();
        for address in [Address::repeat_byte(7), Address::repeat_byte(99)] {
            let proof = state.proof(address, &[U256::from(3), U256::from(999)]);
            let present = state.account(address).is_some();
            let expected = present.then(|| alloy_rlp::encode(proof.account));
            verify_proof(
                state.root(),
                Nibbles::unpack(keccak256(address)),
                expected,
                &proof.nodes,
            )
            .unwrap();
            for (slot, value, nodes) in &proof.slots {
                let key = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
                let expected = (!value.is_zero()).then(|| alloy_rlp::encode(value));
                verify_proof(proof.account.storage_root, key, expected, nodes).unwrap();
            }
        }
    }

    #[test]
    fn an_emptied_account_leaves_no_trace() {
        let mut state = state();
        let before = state.root();
        let address = Address::repeat_byte(0xee);
        state.change(address, |account| account.nonce = 5);
        assert_ne!(state.root(), before);
        state.change(address, |account| account.nonce = 0);
        assert_eq!(state.root(), before);
        assert_eq!(State::default().root(), EMPTY_ROOT_HASH);
    }
}
