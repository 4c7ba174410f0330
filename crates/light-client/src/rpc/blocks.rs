//! Blocks, transactions and receipts.

use alloy_consensus::ReceiptEnvelope;
use alloy_eips::Encodable2718;
use alloy_primitives::{B256, Bytes, keccak256};
use serde::Deserialize;
use serde_json::{Value, json};

use super::params::{Block, Params, number};
use super::{Answer, RpcError, Stop, Task, Trust, Verifier, hint, show};
use crate::execution::{Need, Tx};

/// Transactions of a block with their hashes.
type Body = [(B256, Tx)];

impl Verifier {
    pub(super) fn blocks(&self, task: &Task, params: &Params<'_>) -> Answer {
        match task.method.as_str() {
            "eth_getTransactionByHash"
            | "eth_getTransactionReceipt"
            | "eth_getRawTransactionByHash" => self.transaction(task, params.take(0)?),
            method => {
                let found = match self.find_block(task, params.get(0)) {
                    Err(Stop::Fail(error)) if error.code == -32_001 => None,
                    found => found?,
                };
                match found {
                    Some(block) => {
                        let value = self.of_block(method, params, &block)?;
                        Ok((value, block.trust))
                    }
                    // A block beyond the head has not happened; a hash that is not in the chain may be anything.
                    None => Ok((Value::Null, Trust::Unknown)),
                }
            }
        }
    }

    fn of_block(&self, method: &str, params: &Params<'_>, block: &Block) -> Result<Value, Stop> {
        Ok(match method {
            "eth_getHeaderByNumber" | "eth_getHeaderByHash" => Value::Object(show::header(block)),
            "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => json!("0x0"),
            "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => {
                show::index(self.body(block)?.len())
            }
            "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => {
                let at = params.get(1).map_or(Ok(0), number)?;
                let at = usize::try_from(at).map_err(RpcError::invalid_params)?;
                show::transaction(block, self.body(block)?, at).unwrap_or_default()
            }
            "eth_getBlockReceipts" => {
                let (body, receipts) = self.with_receipts(block)?;
                (0..body.len())
                    .filter_map(|at| show::receipt(block, body, receipts, at))
                    .collect()
            }
            _ => self.shown_block(block, params.optional(1)?.unwrap_or(false))?,
        })
    }

    fn shown_block(&self, block: &Block, in_full: bool) -> Result<Value, Stop> {
        let body = self.body(block)?;
        let mut shown = show::header(block);
        let transactions: Vec<Value> = if in_full {
            (0..body.len())
                .filter_map(|at| show::transaction(block, body, at))
                .collect()
        } else {
            body.iter().map(|(hash, _)| json!(hash)).collect()
        };
        let bodies: usize = body
            .iter()
            .map(|(_, tx)| tx.encode_2718_len())
            .fold(0, usize::saturating_add);
        let size = alloy_rlp::Encodable::length(&block.header).saturating_add(bodies);
        shown.insert("transactions".to_owned(), json!(transactions));
        shown.insert("uncles".to_owned(), json!([]));
        shown.insert("size".to_owned(), show::index(size));
        Ok(Value::Object(shown))
    }

    pub(super) fn body(&self, block: &Block) -> Result<&Body, Stop> {
        if block.header.transactions_root == alloy_trie::EMPTY_ROOT_HASH {
            return Ok(&[]);
        }
        self.known
            .body(block.hash)
            .ok_or_else(|| Stop::Need(vec![Need::Body(block.hash)]))
    }

    pub(super) fn receipts(&self, block: &Block) -> Result<&[ReceiptEnvelope], Stop> {
        if block.header.receipts_root == alloy_trie::EMPTY_ROOT_HASH {
            return Ok(&[]);
        }
        self.known
            .receipts(block.hash)
            .ok_or_else(|| Stop::Need(vec![Need::Receipts(block.hash)]))
    }

    /// Both, asked for at once.
    pub(super) fn with_receipts(&self, block: &Block) -> Result<(&Body, &[ReceiptEnvelope]), Stop> {
        match (self.body(block), self.receipts(block)) {
            (Ok(body), Ok(receipts)) => Ok((body, receipts)),
            (Err(Stop::Need(mut needs)), Err(Stop::Need(more))) => {
                needs.extend(more);
                Err(Stop::Need(needs))
            }
            (Err(stop), _) | (_, Err(stop)) => Err(stop),
        }
    }

    fn transaction(&self, task: &Task, wanted: B256) -> Answer {
        let place = hint(task, &Need::Transaction(wanted))?;
        let raw = task.method == "eth_getRawTransactionByHash";
        let is_receipt = task.method == "eth_getTransactionReceipt";
        let Some(block_hash) = place
            .get("blockHash")
            .and_then(|hash| B256::deserialize(hash).ok())
        else {
            // It may wait, and then proves itself by its hash; or nobody knows it, which proves nothing.
            let waiting = Tx::deserialize(place)
                .ok()
                .map(|tx| (tx.encoded_2718(), tx))
                .filter(|(encoded, _)| keccak256(encoded) == wanted && !is_receipt);
            return Ok(match waiting {
                Some((encoded, _)) if raw => (json!(Bytes::from(encoded)), Trust::Hint),
                Some((_, tx)) => (show::pending(wanted, &tx), Trust::Hint),
                None => (Value::Null, Trust::Unknown),
            });
        };
        let block = match self.canonical(task, block_hash) {
            // The source is ahead of the signed head: not yet.
            Err(Stop::Fail(error)) if error.code == -32_001 => {
                return Ok((Value::Null, Trust::Unknown));
            }
            block => block?,
        };
        let body = self.body(&block)?;
        let Some(at) = body.iter().position(|(hash, _)| *hash == wanted) else {
            return Err(
                RpcError::unproved("the transaction is not in the block named for it").into(),
            );
        };
        let shown = if is_receipt {
            let (body, receipts) = self.with_receipts(&block)?;
            show::receipt(&block, body, receipts, at)
        } else if raw {
            body.get(at)
                .map(|(_, tx)| json!(Bytes::from(tx.encoded_2718())))
        } else {
            show::transaction(&block, body, at)
        };
        Ok((shown.unwrap_or_default(), block.trust))
    }
}
