//! Blocks, transactions, accounts and proofs.

use std::sync::Arc;

use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde_json::{Value, json};

use super::params::{At, Params, hash, word};
use super::show::{self, Detail};
use super::{Answer, RpcError, unknown_method};
use crate::block::Block;
use crate::chain::Devnet;
use crate::state::Account;

/// Slots of one proof.
const PROOF_SLOTS_MAX: usize = 1_024;

impl Devnet {
    pub(super) fn read(&self, method: &str, params: &Params<'_>, now: u64) -> Answer {
        match method {
            "eth_blockNumber" => Ok(json!(U64::from(self.head().header.number))),
            "eth_getBalance" => Ok(json!(self.account(params, 1)?.balance)),
            "eth_getTransactionCount" => self.transaction_count(params),
            "eth_getCode" => Ok(json!(self.account(params, 1)?.code.original_bytes())),
            "eth_getStorageAt" => {
                let slot = word(params.get(1).unwrap_or(&Value::Null))?;
                let value = self.account(params, 2)?.slot(slot);
                Ok(json!(B256::from(value)))
            }
            "eth_getProof" => self.proof_shown(params),
            "eth_getBlockByNumber" | "eth_getBlockByHash" => self.block_shown(params, now),
            "eth_getHeaderByNumber" => {
                let block = self.found(params)?;
                Ok(block.map_or(Value::Null, |block| Value::Object(show::header(&block))))
            }
            "eth_getBlockReceipts" => Ok(match self.found(params)? {
                Some(block) => (0..block.transactions.len())
                    .filter_map(|at| show::receipt(&block, at))
                    .collect(),
                None => Value::Null,
            }),
            "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => {
                let block = self.found(params)?;
                Ok(block.map_or(Value::Null, |block| {
                    json!(U64::from(block.transactions.len()))
                }))
            }
            "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => {
                let block = self.found(params)?;
                Ok(block.map_or(Value::Null, |_| json!("0x0")))
            }
            "eth_getTransactionByHash" => Ok(self.transaction_shown(hash(params, 0)?)),
            "eth_getTransactionReceipt" => {
                let found = self.transaction(hash(params, 0)?);
                Ok(found
                    .and_then(|(block, at)| show::receipt(block, at))
                    .unwrap_or_default())
            }
            "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => {
                let at = params.number(1)?.and_then(|at| usize::try_from(at).ok());
                let block = self.found(params)?;
                Ok(block
                    .zip(at)
                    .and_then(|(block, at)| show::transaction(&block, at))
                    .unwrap_or_default())
            }
            "eth_getRawTransactionByHash" | "debug_getRawTransaction" => {
                Ok(self.raw_transaction(hash(params, 0)?))
            }
            "debug_getRawHeader" => {
                let block = self.block_at(params.get(0))?;
                Ok(json!(Bytes::from(alloy_rlp::encode(&block.header))))
            }
            "debug_getRawReceipts" => {
                let block = self.block_at(params.get(0))?;
                let receipts = block.transactions.iter();
                Ok(receipts
                    .map(|one| json!(Bytes::from(one.receipt.encoded_2718())))
                    .collect())
            }
            "txpool_status" => {
                let count = U64::from(self.pool().iter().count());
                Ok(json!({ "pending": count, "queued": "0x0" }))
            }
            _ => Err(unknown_method(method)),
        }
    }

    /// The account that the first parameter names, after the block that parameter `at` names.
    fn account(&self, params: &Params<'_>, at: usize) -> Result<Account, RpcError> {
        let address: Address = params.take(0)?;
        let block = self.block_at(params.get(at))?;
        self.account_at(block.header.number, address)
            .ok_or_else(RpcError::state_gone)
    }

    fn transaction_count(&self, params: &Params<'_>) -> Answer {
        let nonce = self.account(params, 1)?.nonce;
        let nonce = match self.at(params.get(1))? {
            At::Pending => self.pool().next_nonce(params.take(0)?, nonce),
            At::Block(_) => nonce,
        };
        Ok(json!(U64::from(nonce)))
    }

    /// The block that the first parameter names, if there is one.
    fn found(&self, params: &Params<'_>) -> Result<Option<Arc<Block>>, RpcError> {
        match self.block_at(params.get(0)) {
            Ok(block) => Ok(Some(block)),
            Err(error) if error == RpcError::unknown_block() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn block_shown(&self, params: &Params<'_>, now: u64) -> Answer {
        let detail = match params.optional::<bool>(1)? {
            Some(true) => Detail::Full,
            Some(false) | None => Detail::Hashes,
        };
        if let Ok(At::Pending) = self.at(params.get(0)) {
            // Nothing of it is certain but its environment.
            let mut shown = json!(self.next_header(now));
            for (name, value) in [
                ("hash", Value::Null),
                ("nonce", Value::Null),
                ("transactions", json!([])),
                ("uncles", json!([])),
                ("size", json!("0x0")),
            ] {
                if let Some(shown) = shown.as_object_mut() {
                    shown.insert(name.to_owned(), value);
                }
            }
            return Ok(shown);
        }
        let block = self.found(params)?;
        Ok(block.map_or(Value::Null, |block| show::block(&block, detail)))
    }

    fn transaction_shown(&self, hash: B256) -> Value {
        if let Some((block, at)) = self.transaction(hash) {
            return show::transaction(block, at).unwrap_or_default();
        }
        self.pool().get(hash).map_or(Value::Null, show::pending)
    }

    fn raw_transaction(&self, hash: B256) -> Value {
        let mined = self
            .transaction(hash)
            .and_then(|(block, at)| block.transactions.get(at))
            .map(|one| &one.tx);
        let tx = mined.or_else(|| self.pool().get(hash).map(|one| &one.tx));
        tx.map_or(Value::Null, |tx| json!(Bytes::from(tx.encoded_2718())))
    }

    fn proof_shown(&self, params: &Params<'_>) -> Answer {
        let address: Address = params.take(0)?;
        let keys: Vec<Value> = params.optional(1)?.unwrap_or_default();
        if keys.len() > PROOF_SLOTS_MAX {
            return Err(RpcError::invalid_params("too many slots"));
        }
        let slots: Vec<U256> = keys.iter().map(word).collect::<Result<_, _>>()?;
        let block = self.block_at(params.get(2))?;
        let proof = self
            .proof(block.header.number, address, &slots)
            .ok_or_else(RpcError::state_gone)?;
        let storage: Vec<Value> = keys
            .iter()
            .zip(&proof.slots)
            .map(|(key, (_, value, nodes))| json!({ "key": key, "value": value, "proof": nodes }))
            .collect();
        Ok(json!({
            "address": address,
            "accountProof": proof.nodes,
            "balance": proof.account.balance,
            "codeHash": proof.account.code_hash,
            "nonce": U64::from(proof.account.nonce),
            "storageHash": proof.account.storage_root,
            "storageProof": storage,
        }))
    }
}
