//! Parameters as values.

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RpcError;
use crate::block::Block;
use crate::chain::Devnet;
use crate::execute::Call;

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

    /// A number, as a quantity or as a plain JSON number.
    pub(super) fn number(&self, at: usize) -> Result<Option<u64>, RpcError> {
        self.get(at).map(number).transpose()
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

/// A word given as a quantity or as 32 bytes.
pub(super) fn word(value: &Value) -> Result<U256, RpcError> {
    parse(value)
}

/// Which block a call means.
pub(super) enum At {
    /// One of the chain.
    Block(Arc<Block>),
    /// The one that would come next: the newest state in the next block's environment.
    Pending,
}

impl Devnet {
    /// The block that a tag, number or hash means; the newest if nothing is given.
    pub(super) fn at(&self, value: Option<&Value>) -> Result<At, RpcError> {
        let Some(value) = value else {
            return Ok(At::Block(Arc::clone(self.head())));
        };
        let found = match value {
            Value::String(tag) if tag == "pending" => return Ok(At::Pending),
            Value::String(tag) => match tag.as_str() {
                "latest" => Some(self.head()),
                "earliest" => self.block(0),
                "safe" | "finalized" => self.block(self.finalized()),
                hash if hash.len() == 66 => self.block_by_hash(parse(value)?),
                _ => self.block(number(value)?),
            },
            Value::Object(fields) => match (fields.get("blockHash"), fields.get("blockNumber")) {
                (Some(hash), None) => self.block_by_hash(parse(hash)?),
                (None, Some(tag)) if !tag.is_object() => return self.at(Some(tag)),
                (_, _) => return Err(RpcError::invalid_params("one of blockHash, blockNumber")),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                return Err(RpcError::invalid_params(
                    "a block is a tag, a number or a hash",
                ));
            }
        };
        found
            .map(|block| At::Block(Arc::clone(block)))
            .ok_or_else(RpcError::unknown_block)
    }

    /// The same where only blocks of the chain make sense; `pending` means the newest.
    pub(super) fn block_at(&self, value: Option<&Value>) -> Result<Arc<Block>, RpcError> {
        Ok(match self.at(value)? {
            At::Block(block) => block,
            At::Pending => Arc::clone(self.head()),
        })
    }

    /// A block whose state can be used, with the header in whose environment calls run.
    pub(super) fn header_at(
        &self,
        value: Option<&Value>,
        now: u64,
    ) -> Result<(u64, Header), RpcError> {
        Ok(match self.at(value)? {
            At::Block(block) => (block.header.number, block.header.clone()),
            At::Pending => (self.head().header.number, self.next_header(now)),
        })
    }
}

/// A transaction object as calls take it.
pub(super) fn call(value: &Value) -> Result<Call, RpcError> {
    let field = |name: &str| value.get(name).filter(|value| !value.is_null());
    let from: Option<Address> = field("from").map(parse).transpose()?;
    let to: Option<Address> = field("to").map(parse).transpose()?;
    let input = field("input").or_else(|| field("data"));
    let data: Option<Bytes> = input.map(parse).transpose()?;
    let amount: Option<U256> = field("value").map(parse).transpose()?;
    let gas: Option<U64> = field("gas").map(parse).transpose()?;
    let access_list: Option<AccessList> = field("accessList").map(parse).transpose()?;
    if !value.is_object() {
        return Err(RpcError::invalid_params("a transaction is an object"));
    }
    Ok(Call {
        from: from.unwrap_or_default(),
        to: to.map_or(TxKind::Create, TxKind::Call),
        data: data.unwrap_or_default(),
        value: amount.unwrap_or_default(),
        gas: gas.map(|gas| gas.to()),
        access_list: access_list.unwrap_or_default(),
    })
}

/// One hash or several.
pub(super) fn one_or_more<T: DeserializeOwned>(value: &Value) -> Result<Vec<T>, RpcError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) => values.iter().map(parse).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Ok(vec![parse(value)?])
        }
    }
}

/// A hash.
pub(super) fn hash(params: &Params<'_>, at: usize) -> Result<B256, RpcError> {
    params.take(at)
}
