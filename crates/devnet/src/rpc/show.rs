//! Blocks, transactions, receipts and logs as JSON (execution-apis specification).

use alloy_consensus::{Transaction, Typed2718};
use alloy_primitives::{B256, Bloom, Log, U64, U256};
use serde_json::{Map, Value, json};

use crate::block::{Block, Included};
use crate::pool::Pending;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

fn quantity(number: u64) -> Value {
    json!(U64::from(number))
}

fn index(at: usize) -> Value {
    quantity(u64::try_from(at).unwrap_or(u64::MAX))
}

/// How much of its transactions a block shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Hashes,
    Full,
}

pub(super) fn header(block: &Block) -> Map<String, Value> {
    let mut shown = object(json!(block.header));
    shown.insert("hash".to_owned(), json!(block.hash));
    shown
}

pub(super) fn block(block: &Block, detail: Detail) -> Value {
    let mut shown = header(block);
    let transactions: Vec<Value> = match detail {
        Detail::Hashes => block
            .transactions
            .iter()
            .map(|one| json!(one.hash))
            .collect(),
        Detail::Full => (0..block.transactions.len())
            .filter_map(|at| transaction(block, at))
            .collect(),
    };
    let bodies: usize = block
        .transactions
        .iter()
        .map(|one| alloy_eips::Encodable2718::encode_2718_len(&one.tx))
        .fold(0, usize::saturating_add);
    let size = alloy_rlp::Encodable::length(&block.header).saturating_add(bodies);
    shown.insert("transactions".to_owned(), json!(transactions));
    shown.insert("uncles".to_owned(), json!([]));
    shown.insert("withdrawals".to_owned(), json!([]));
    shown.insert("size".to_owned(), index(size));
    Value::Object(shown)
}

/// A transaction of a block.
pub(super) fn transaction(block: &Block, at: usize) -> Option<Value> {
    let one = block.transactions.get(at)?;
    let base_fee = block.header.base_fee_per_gas;
    let mut shown = object(json!(one.tx));
    let price = one.tx.effective_gas_price(base_fee);
    for (name, value) in [
        ("blockHash", json!(block.hash)),
        ("blockNumber", quantity(block.header.number)),
        ("transactionIndex", index(at)),
        ("from", json!(one.from)),
        ("hash", json!(one.hash)),
        ("gasPrice", json!(U256::from(price))),
    ] {
        shown.insert(name.to_owned(), value);
    }
    Some(Value::Object(shown))
}

/// A transaction that waits.
pub(super) fn pending(one: &Pending) -> Value {
    let mut shown = object(json!(one.tx));
    for (name, value) in [
        ("blockHash", Value::Null),
        ("blockNumber", Value::Null),
        ("transactionIndex", Value::Null),
        ("from", json!(one.from)),
        ("hash", json!(one.hash)),
        ("gasPrice", json!(U256::from(one.tx.max_fee_per_gas()))),
    ] {
        shown.insert(name.to_owned(), value);
    }
    Value::Object(shown)
}

pub(super) fn receipt(block: &Block, at: usize) -> Option<Value> {
    let one = block.transactions.get(at)?;
    let price = one.tx.effective_gas_price(block.header.base_fee_per_gas);
    let logs: Vec<Value> = logs_of(block, at, one).collect();
    let bloom: Bloom = *one.receipt.logs_bloom();
    Some(json!({
        "transactionHash": one.hash,
        "transactionIndex": index(at),
        "blockHash": block.hash,
        "blockNumber": quantity(block.header.number),
        "from": one.from,
        "to": one.tx.to(),
        "cumulativeGasUsed": quantity(one.receipt.cumulative_gas_used()),
        "gasUsed": quantity(one.gas_used),
        "effectiveGasPrice": U256::from(price),
        "contractAddress": one.created,
        "logs": logs,
        "logsBloom": bloom,
        "type": quantity(u64::from(one.tx.ty())),
        "status": quantity(u64::from(one.succeeded())),
    }))
}

/// Logs of one transaction.
fn logs_of<'a>(block: &'a Block, at: usize, one: &'a Included) -> impl Iterator<Item = Value> + 'a {
    (one.first_log..)
        .zip(one.logs())
        .map(move |(place, log)| show_log(block, at, one.hash, place, log, Chain::Holds))
}

/// Whether a log's block is still in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    Holds,
    LeftIt,
}

/// Logs of a block that `wanted` accepts.
pub(super) fn logs(block: &Block, chain: Chain, wanted: impl Fn(&Log) -> bool) -> Vec<Value> {
    let mut shown = Vec::new();
    for (at, one) in block.transactions.iter().enumerate() {
        for (place, log) in (one.first_log..).zip(one.logs()) {
            if wanted(log) {
                shown.push(show_log(block, at, one.hash, place, log, chain));
            }
        }
    }
    shown
}

fn show_log(block: &Block, at: usize, tx: B256, place: u64, log: &Log, chain: Chain) -> Value {
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
