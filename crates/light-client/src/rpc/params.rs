//! Parameters as values, and which block they mean.

use alloy_consensus::Header;
use alloy_eips::eip2930::AccessList;
use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{RpcError, Stop, Task, Trust, Verifier};
use crate::execution::{Call, Need, ProofError};

/// Blocks whose hashes the contract of EIP-2935 holds.
const HISTORY: u64 = 8_191;
/// Headers that are walked back one by one where that contract does not help.
const WALK_MAX: u64 = 64;

/// The positional parameters of one call.
pub(super) struct Params<'a>(&'a [Value]);

impl<'a> Params<'a> {
    pub(super) fn new(params: &'a Value) -> Result<Self, RpcError> {
        match params {
            Value::Null => Ok(Self(&[])),
            Value::Array(values) => Ok(Self(values)),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                Err(RpcError::invalid_params("they must be a list"))
            }
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&'a Value> {
        self.0.get(at).filter(|value| !value.is_null())
    }

    pub(super) fn take<T: DeserializeOwned>(&self, at: usize) -> Result<T, RpcError> {
        self.optional(at)?
            .ok_or_else(|| RpcError::invalid_params(format!("parameter {at} is missing")))
    }

    pub(super) fn optional<T: DeserializeOwned>(&self, at: usize) -> Result<Option<T>, RpcError> {
        self.get(at).map(parse).transpose()
    }
}

pub(super) fn parse<T: DeserializeOwned>(value: &Value) -> Result<T, RpcError> {
    T::deserialize(value).map_err(RpcError::invalid_params)
}

/// A number, as a quantity, as decimal digits or as a plain JSON number.
pub(super) fn number(value: &Value) -> Result<u64, RpcError> {
    if let Some(number) = value.as_u64() {
        return Ok(number);
    }
    let number: U256 = parse(value)?;
    u64::try_from(number).map_err(RpcError::invalid_params)
}

/// One value or several.
pub(super) fn one_or_more<T: DeserializeOwned>(value: &Value) -> Result<Vec<T>, RpcError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) => values.iter().map(parse).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Ok(vec![parse(value)?])
        }
    }
}

/// A transaction object as calls take it.
pub(super) fn call(value: &Value) -> Result<Call, RpcError> {
    if !value.is_object() {
        return Err(RpcError::invalid_params("a transaction is an object"));
    }
    let field = |name: &str| value.get(name).filter(|value| !value.is_null());
    let from: Option<Address> = field("from").map(parse).transpose()?;
    let to: Option<Address> = field("to").map(parse).transpose()?;
    let input = field("input").or_else(|| field("data"));
    let data: Option<Bytes> = input.map(parse).transpose()?;
    let amount: Option<U256> = field("value").map(parse).transpose()?;
    let gas: Option<U64> = field("gas").map(parse).transpose()?;
    let access_list: Option<AccessList> = field("accessList").map(parse).transpose()?;
    Ok(Call {
        from: from.unwrap_or_default(),
        to: to.map_or(TxKind::Create, TxKind::Call),
        data: data.unwrap_or_default(),
        value: amount.unwrap_or_default(),
        gas: gas.map(|gas| gas.to()),
        access_list: access_list.unwrap_or_default(),
    })
}

/// A block of the proved chain.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) hash: B256,
    pub(super) header: Header,
    pub(super) trust: Trust,
}

impl Verifier {
    /// The block that a tag, number or hash means; the newest if nothing is given.
    pub(super) fn block_at(&self, task: &Task, value: Option<&Value>) -> Result<Block, Stop> {
        self.find_block(task, value)?
            .ok_or_else(|| RpcError::new(-32_001, "header not found").into())
    }

    /// The same, `None` if the chain is not that long.
    pub(super) fn find_block(
        &self,
        task: &Task,
        value: Option<&Value>,
    ) -> Result<Option<Block>, Stop> {
        let found = match value {
            None => Some(task.heads.latest),
            Some(Value::String(tag)) => match tag.as_str() {
                "latest" | "pending" => Some(task.heads.latest),
                "safe" | "finalized" => Some(task.heads.finalized),
                "earliest" => self.hash_of(task, 0)?,
                text if text.len() == 66 => {
                    return self.canonical(task, parse(&Value::from(text))?).map(Some);
                }
                text => self.hash_of(task, number(&Value::from(text))?)?,
            },
            Some(Value::Object(fields)) => {
                match (fields.get("blockHash"), fields.get("blockNumber")) {
                    (Some(hash), None) => return self.canonical(task, parse(hash)?).map(Some),
                    (None, Some(tag)) if !tag.is_object() => {
                        return self.find_block(task, Some(tag));
                    }
                    (_, _) => {
                        return Err(
                            RpcError::invalid_params("one of blockHash, blockNumber").into()
                        );
                    }
                }
            }
            Some(value @ Value::Number(_)) => self.hash_of(task, number(value)?)?,
            Some(Value::Null | Value::Bool(_) | Value::Array(_)) => {
                return Err(
                    RpcError::invalid_params("a block is a tag, a number or a hash").into(),
                );
            }
        };
        found.map(|hash| self.block(task, hash)).transpose()
    }

    /// A block that is known to be in the chain.
    pub(super) fn block(&self, task: &Task, hash: B256) -> Result<Block, Stop> {
        // Both heads tell how far the answer can be trusted.
        self.header(task.heads.finalized)?;
        let header = self.header(hash)?.clone();
        Ok(Block {
            hash,
            trust: self.trust_of(task, header.number),
            header,
        })
    }

    /// A block by its hash, proved to be in the chain.
    pub(super) fn canonical(&self, task: &Task, hash: B256) -> Result<Block, Stop> {
        let block = self.block(task, hash)?;
        if self.hash_of(task, block.header.number)? == Some(hash) {
            Ok(block)
        } else {
            Err(RpcError::new(-32_001, "header not found").into())
        }
    }

    /// The hash of the chain's block with this number, by EIP-2935 or by walking back; `None` beyond the newest.
    pub(super) fn hash_of(&self, task: &Task, number: u64) -> Result<Option<B256>, Stop> {
        let mut hash = task.heads.latest;
        let newest = self.header(hash)?;
        if number > newest.number {
            return Ok(None);
        }
        let distance = newest.number.saturating_sub(number);
        if distance == 0 {
            return Ok(Some(hash));
        }
        if distance == 1 {
            return Ok(Some(newest.parent_hash));
        }
        if distance <= HISTORY {
            let slot = U256::from(number % HISTORY);
            let value = self.slot(hash, HISTORY_STORAGE_ADDRESS, slot)?;
            if !value.is_zero() {
                return Ok(Some(B256::from(value)));
            }
        }
        if distance > WALK_MAX {
            return Err(
                RpcError::unproved("the block is older than the chain's own history").into(),
            );
        }
        for _ in 0..distance {
            hash = self.header(hash)?.parent_hash;
        }
        Ok(Some(hash))
    }

    /// A slot in the state after a block.
    pub(super) fn slot(&self, block: B256, address: Address, slot: U256) -> Result<U256, Stop> {
        let header = self.header(block)?;
        let account = self.known.account(header.state_root, address);
        let value = match account {
            Ok(Some(account)) => self.known.slot(account.storage_root, slot),
            Ok(None) => return Ok(U256::ZERO),
            Err(error) => Err(error),
        };
        value.map_err(|error| unproved_state(error, block, header.number, address, vec![slot]))
    }
}

/// Asks for what a look-up missed.
pub(super) fn unproved_state(
    error: ProofError,
    block: B256,
    number: u64,
    address: Address,
    slots: Vec<U256>,
) -> Stop {
    match error {
        ProofError::Missing(_) => Stop::Need(vec![Need::State {
            block,
            number,
            address,
            slots,
        }]),
        ProofError::Malformed(_) | ProofError::TooDeep | ProofError::Value => {
            Stop::Fail(RpcError::new(-32_603, error.to_string()))
        }
    }
}
