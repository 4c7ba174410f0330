//! Accounts, code and storage.

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use serde_json::{Value, json};

use super::params::{Block, Params, parse, unproved_state};
use super::{Answer, RpcError, Stop, Task, Trust, Verifier, hint};
use crate::execution::Need;

/// Slots of one proof.
const SLOTS_MAX: usize = 256;

impl Verifier {
    pub(super) fn state(&self, task: &Task, params: &Params<'_>) -> Answer {
        let address: Address = params.take(0)?;
        match task.method.as_str() {
            "eth_getBalance" => {
                let (account, block) = self.account_at(task, params, 1, address)?;
                Ok((json!(account.balance), block.trust))
            }
            "eth_getTransactionCount" => {
                let (account, block) = self.account_at(task, params, 1, address)?;
                if params.get(1) == Some(&json!("pending")) {
                    // What waits cannot be proved; no fewer than are in blocks.
                    let told = hint(task, &Need::PendingNonce(address))?;
                    let told = parse::<U64>(told).map_or(0, |told| told.to::<u64>());
                    let nonce = account.nonce.max(told);
                    return Ok((json!(U64::from(nonce)), Trust::Hint));
                }
                Ok((json!(U64::from(account.nonce)), block.trust))
            }
            "eth_getCode" => {
                let (account, block) = self.account_at(task, params, 1, address)?;
                let code = self.code(&account, &block, address)?;
                Ok((json!(code), block.trust))
            }
            "eth_getStorageAt" => {
                let slot: U256 = params.take(1)?;
                let block = self.block_at(task, params.get(2))?;
                let value = self.slot(block.hash, address, slot)?;
                Ok((json!(B256::from(value)), block.trust))
            }
            "eth_getProof" => self.proved_values(task, params, address),
            method => Err(RpcError::unknown_method(method).into()),
        }
    }

    pub(super) fn account_at(
        &self,
        task: &Task,
        params: &Params<'_>,
        at: usize,
        address: Address,
    ) -> Result<(TrieAccount, Block), Stop> {
        let block = self.block_at(task, params.get(at))?;
        let account = self.account(&block, address, Vec::new())?;
        Ok((account.unwrap_or_default(), block))
    }

    fn account(
        &self,
        block: &Block,
        address: Address,
        slots: Vec<U256>,
    ) -> Result<Option<TrieAccount>, Stop> {
        let (hash, number) = (block.hash, block.header.number);
        self.known
            .account(block.header.state_root, address)
            .map_err(|error| unproved_state(error, hash, number, address, slots))
    }

    fn code(&self, account: &TrieAccount, block: &Block, address: Address) -> Result<Bytes, Stop> {
        let hash = account.code_hash;
        if hash == KECCAK256_EMPTY || hash.is_zero() {
            return Ok(Bytes::new());
        }
        self.known.code(hash).cloned().ok_or_else(|| {
            Stop::Need(vec![Need::Code {
                hash,
                number: block.header.number,
                address,
            }])
        })
    }

    /// `eth_getProof` without its nodes: who asks this verifier trusts it, and has no use for them.
    fn proved_values(&self, task: &Task, params: &Params<'_>, address: Address) -> Answer {
        let keys: Vec<Value> = params.optional(1)?.unwrap_or_default();
        if keys.len() > SLOTS_MAX {
            return Err(RpcError::invalid_params("too many slots").into());
        }
        let slots: Vec<U256> = keys.iter().map(parse).collect::<Result<_, _>>()?;
        let block = self.block_at(task, params.get(2))?;
        let account = self.account(&block, address, slots.clone())?;
        let storage_root = account.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
        let mut storage = Vec::new();
        for (key, slot) in keys.iter().zip(&slots) {
            let value = self.known.slot(storage_root, *slot).map_err(|error| {
                let number = block.header.number;
                unproved_state(error, block.hash, number, address, slots.clone())
            })?;
            storage.push(json!({ "key": key, "value": value, "proof": [] }));
        }
        let account = account.unwrap_or_default();
        let answer = json!({
            "address": address,
            "accountProof": [],
            "balance": account.balance,
            "codeHash": account.code_hash,
            "nonce": U64::from(account.nonce),
            "storageHash": account.storage_root,
            "storageProof": storage,
        });
        Ok((answer, block.trust))
    }
}
