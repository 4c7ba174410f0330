//! Blocks, transactions, receipts and logs as JSON (execution-apis specification), built from what is proved alone.

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{ReceiptEnvelope, Transaction};
use alloy_primitives::{Address, B256, Log, U64, U256};
use serde_json::{Map, Value, json};

use super::params::Block;
use crate::execution::Tx;
use crate::execution::{first_log, gas_used, kind};

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

pub(super) fn quantity(number: u64) -> Value {
    json!(U64::from(number))
}

pub(super) fn index(at: usize) -> Value {
    quantity(u64::try_from(at).unwrap_or(u64::MAX))
}

pub(super) fn header(block: &Block) -> Map<String, Value> {
    let mut shown = object(json!(block.header));
    shown.insert("hash".to_owned(), json!(block.hash));
    shown
}

/// Who signed; a transaction in a block has a valid signature.
fn sender(tx: &Tx) -> Address {
    tx.recover_signer().unwrap_or_default()
}

pub(super) fn transaction(block: &Block, body: &[(B256, Tx)], at: usize) -> Option<Value> {
    let (hash, tx) = body.get(at)?;
    let price = tx.effective_gas_price(block.header.base_fee_per_gas);
    let mut shown = object(json!(tx));
    for (name, value) in [
        ("blockHash", json!(block.hash)),
        ("blockNumber", quantity(block.header.number)),
        ("transactionIndex", index(at)),
        ("from", json!(sender(tx))),
        ("hash", json!(hash)),
        ("gasPrice", json!(U256::from(price))),
    ] {
        shown.insert(name.to_owned(), value);
    }
    Some(Value::Object(shown))
}

/// A transaction that waits.
pub(super) fn pending(hash: B256, tx: &Tx) -> Value {
    let mut shown = object(json!(tx));
    for (name, value) in [
        ("blockHash", Value::Null),
        ("blockNumber", Value::Null),
        ("transactionIndex", Value::Null),
        ("from", json!(sender(tx))),
        ("hash", json!(hash)),
        ("gasPrice", json!(U256::from(tx.max_fee_per_gas()))),
    ] {
        shown.insert(name.to_owned(), value);
    }
    Value::Object(shown)
}

pub(super) fn receipt(
    block: &Block,
    body: &[(B256, Tx)],
    receipts: &[ReceiptEnvelope],
    at: usize,
) -> Option<Value> {
    let (hash, tx) = body.get(at)?;
    let receipt = receipts.get(at)?;
    let price = tx.effective_gas_price(block.header.base_fee_per_gas);
    let from = sender(tx);
    let created = tx.to().is_none().then(|| from.create(tx.nonce()));
    let logs: Vec<Value> = (first_log(receipts, at)..)
        .zip(receipt.logs())
        .map(|(place, shown)| log(block, at, *hash, place, shown, Chain::Holds))
        .collect();
    Some(json!({
        "transactionHash": hash,
        "transactionIndex": index(at),
        "blockHash": block.hash,
        "blockNumber": quantity(block.header.number),
        "from": from,
        "to": tx.to(),
        "cumulativeGasUsed": quantity(receipt.cumulative_gas_used()),
        "gasUsed": quantity(gas_used(receipts, at)),
        "effectiveGasPrice": U256::from(price),
        "contractAddress": created,
        "logs": logs,
        "logsBloom": receipt.logs_bloom(),
        "type": quantity(kind(tx)),
        "status": quantity(u64::from(receipt.is_success())),
    }))
}

/// Whether a log's block is still in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    Holds,
    LeftIt,
}

/// A log, with all that says where it is taken from proved blocks and not from a source.
pub(super) fn log(
    block: &Block,
    at: usize,
    tx: B256,
    place: u64,
    log: &Log,
    chain: Chain,
) -> Value {
    json!({
        "address": log.address,
        "topics": log.topics(),
        "data": log.data.data,
        "blockHash": block.hash,
        "blockNumber": quantity(block.header.number),
        "blockTimestamp": quantity(block.header.timestamp),
        "transactionHash": tx,
        "transactionIndex": index(at),
        "logIndex": quantity(place),
        "removed": chain == Chain::LeftIt,
    })
}
